//! What goes over the wire, one file per subject. The numbers in the comments
//! are those of the checklist in docs/protocol.md.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

mod admin;
mod all_nodes;
mod api;
mod api_authentication;
mod auth;
mod autobahn;
mod backing;
mod cache;
mod channels;
mod chat;
mod client_events;
mod cluster;
mod connection;
mod console;
mod crowd;
mod delivery;
mod deployment;
mod faults;
mod framing;
mod hostile;
mod http_fallback;
mod limits;
mod liveness;
mod model;
mod monitoring;
mod moving_in;
mod ops;
mod orders;
mod postgres;
mod presence;
mod private;
mod proxy;
mod rabbitmq;
mod raw_ws;
mod redis;
mod redis_kinds;
mod rooms;
mod sessions;
mod shared_past;
mod sto;
mod store;
mod subscription_count;
mod tls;
mod users;
mod webhooks;
