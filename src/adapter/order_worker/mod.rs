//! Orders documents of the real-estate register for the jobs of a queue.
//!
//! ```text
//! orders service (Node) -> bull (Redis) -> processor -> egrn (the portal)
//!                                              |-> orders, accounts (PostgreSQL)
//!                                              `-> live (Fanfare's HTTP API)
//! ```
//!
//! A process of its own, one for each account, which publishes as any back end would. It
//! knows nothing of a server that runs. Passwords are opened here and nowhere else, and
//! never logged.

pub mod accounts;
pub mod api;
pub mod bull;
mod cadastre;
pub mod database;
pub mod egrn;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod live;
pub mod ops;
pub mod orders;
pub mod processor;
pub mod sealing;
pub mod watch;
