//! Brings clients to the hub: ports, TLS, WebSocket frames, and HTTP for
//! clients without WebSockets.
//!
//! Knows the hub, the apps and the protocol; the hub knows a transport only as an
//! [`Outbox`](crate::hub::Outbox).

pub mod frame;
mod http_fallback;
mod listener;
mod outbox;
mod tls;
mod websocket;

#[cfg(any(test, fuzzing))]
pub use self::http_fallback::fuzz;
pub use self::http_fallback::{HttpFallback, HttpFallbackSettings, is_script_address};
pub use self::listener::{Listener, ListenerSettings};
pub use self::tls::{CertificateError, CertificateFiles, Certificates};
pub use self::websocket::{WebSocketSettings, WebSockets};
