//! Engines: what connects the nodes of one deployment.
//!
//! The contract, [`crate::hub::engine::Engine`], stands with the hub that needs
//! it, so that the hub depends on no engine.

mod memory;
mod redis;

pub use memory::MemoryEngine;
#[cfg(any(test, fuzzing))]
pub use redis::fuzz;
pub use redis::{
    Deployment, RedisCommands, RedisEngine, RedisSettings, RedisTask, RedisUnavailable,
    WaitingConnection,
};
