//! The Pusher Channels wire protocol, versions 4 to 7.
//!
//! What goes over the wire and nothing else: names, ids, messages, signatures,
//! error and close codes, request and response bodies. There is no IO here, no
//! runtime and no clock: the time of day and randomness are passed in. The
//! server, the load generator and the tests all build on it.
//!
//! | module | noun |
//! | --- | --- |
//! | [`app`] | app id, key and secret |
//! | [`socket_id`] | the id of one connection |
//! | [`channel`] | channel names and kinds |
//! | [`user`] | user ids, sign-in data, presence data |
//! | [`client_message`] | what a client may send |
//! | [`server_message`] | what a server may send, and its encoding |
//! | [`event_id`] | the place of an event in the history of its channel |
//! | [`frame`] | the bytes of one server message, shared by all receivers |
//! | [`error`] | refusals, close codes and error texts |
//! | [`auth`] | signatures of subscriptions, sign-ins and webhooks |
//! | [`request`] | signatures of HTTP API requests |
//! | [`trigger`] | bodies of `events` and `batch_events` |
//! | [`raw`] | the plain WebSocket of development machines |
//! | [`webhook`] | events and bodies of webhooks |
//! | [`limits`] | sizes and counts that the protocol fixes, with Pusher's defaults |

pub mod app;
pub mod auth;
pub mod channel;
pub mod client_message;
pub mod error;
pub mod event_id;
pub mod frame;
mod json;
pub mod limits;
pub mod raw;
pub mod request;
pub mod server_message;
pub mod socket_id;
pub mod trigger;
pub mod user;
pub mod webhook;

pub use app::{AppId, AppKey, AppSecret};
pub use channel::{ChannelKind, ChannelName};
pub use client_message::ClientMessage;
pub use error::{ClientError, Close};
pub use event_id::EventId;
pub use frame::Frame;
pub use limits::Limits;
pub use server_message::ServerMessage;
pub use socket_id::SocketId;
pub use user::{ChannelData, UserData, UserId};
pub use webhook::{WebhookEvent, WebhookEventKind, WebhookEventType};
