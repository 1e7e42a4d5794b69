//! Parts around the server that publish into it as a back end would, and those that
//! let people in whom only a back end knows.
//!
//! Know the [`Publisher`](crate::hub::Publisher) or the HTTP API, what [`ground`] shows
//! of the hub, and their own client library; nothing of sessions and transports, and of
//! each other only [`auth`], [`broker`], [`client`], `page` and [`trust`].

pub mod auth;
pub mod broker;
pub mod chat;
pub mod client;
mod count;
pub mod ground;
pub mod order_worker;
mod page;
mod refusal;
pub mod rooms;
pub mod sto;
pub mod supervisor;
mod token;
pub mod trust;
