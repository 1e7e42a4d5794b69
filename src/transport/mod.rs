//! Brings clients to the hub: ports, TLS, WebSocket frames.
//!
//! Knows the hub, the apps and the protocol; the hub knows a transport only as an
//! [`Outbox`](crate::hub::Outbox).

pub mod frame;
mod listener;
mod outbox;
mod tls;
mod websocket;

pub use self::listener::{Listener, ListenerSettings};
pub use self::tls::{CertificateError, CertificateFiles, Certificates};
pub use self::websocket::{WebSocketSettings, WebSockets};
