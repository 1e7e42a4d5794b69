//! Brings clients to the hub: sockets, TLS, WebSocket frames.
//!
//! Knows the hub, the apps and the protocol; the hub knows a transport only as an
//! [`Outbox`](crate::hub::Outbox).

pub mod frame;
