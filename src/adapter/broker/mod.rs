//! RabbitMQ, for adapters: a connection that is kept, and what goes over it.
//!
//! ```text
//! Link   keeps one connection up; each time it stands, the adapter's work gets a
//! Session, over which it declares, binds, consumes and publishes anew.
//! ```
//!
//! Nothing is recovered behind the adapter's back: when anything of a session fails,
//! the session ends as a whole, and the next one is built from what the adapter knows.
//! So there is one way in which a topology comes to be, at the start and after a crash.
//! Every wait for the broker is bounded. Nothing here knows what the messages mean.

mod backoff;
mod link;
mod outbox;
mod session;
mod trouble;

pub use self::link::{Link, LinkState};
pub use self::outbox::{Full, Letter, Outbox, OutboxFigures};
pub use self::session::{QueueState, Session, within};
pub use self::trouble::Trouble;
