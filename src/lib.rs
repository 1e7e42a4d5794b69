//! Fanfare: a self-hosted realtime server that speaks the Pusher Channels protocol.

pub mod accounts;
pub mod adapter;
pub mod api;
pub mod apps;
pub mod config;
pub mod console;
pub mod engine;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod http;
pub mod hub;
pub mod limits;
pub mod server;
pub mod store;
pub mod transport;
pub mod usage;
pub mod webhook;
pub mod worker;
