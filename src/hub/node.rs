//! This node as a whole: how many connections it has, and whether it takes more.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use fanfare_protocol::Close;

/// What all apps of this node share.
#[derive(Debug)]
pub struct Node {
    connections: AtomicUsize,
    max_connections: usize,
    is_draining: AtomicBool,
    /// Clients that were closed because too much waited for them, since the start.
    pub slow_readers: AtomicU64,
}

impl Node {
    pub(super) fn new(max_connections: usize) -> Self {
        Self {
            connections: AtomicUsize::new(0),
            max_connections,
            is_draining: AtomicBool::new(false),
            slow_readers: AtomicU64::new(0),
        }
    }

    /// Connections at the moment.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections that this node takes.
    pub fn max_connections(&self) -> usize {
        self.max_connections
    }

    /// Whether the node sends its clients away.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    pub(super) fn begin_drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Takes a place for one connection.
    pub(super) fn enter(&self) -> Result<(), Close> {
        self.connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |connections| {
                (connections < self.max_connections).then_some(connections + 1)
            })
            .map_err(|_| Close::OverCapacity)?;
        if self.is_draining() {
            self.leave();
            return Err(Close::Reconnect);
        }
        Ok(())
    }

    pub(super) fn leave(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
