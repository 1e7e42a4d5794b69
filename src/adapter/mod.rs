//! Parts around the server that publish into it as a back end would.
//!
//! Know the [`Publisher`](crate::hub::Publisher) or the HTTP API, and their own
//! client library; nothing of the hub behind it, of transports or of each other.

pub mod auth;
pub mod client;
pub mod trust;
