//! This node as a whole: how many connections it has, and whether it takes more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use fanfare_protocol::Close;

/// What all apps of this node share.
#[derive(Debug)]
pub struct Node {
    connections: AtomicUsize,
    max_connections: usize,
    is_draining: AtomicBool,
    /// Clients that were closed because too much waited for them, since the start.
    pub slow_readers: AtomicU64,
    /// Connections that this node has closed or refused, by close code.
    pub closes: Tally,
    /// API requests that this node has refused, by HTTP status.
    pub api_refusals: Tally,
}

/// How often each of a few codes came up since the start; for what is rare.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<u16, u64>>);

impl Tally {
    /// Counts one more of `code`.
    pub fn count(&self, code: u16) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(code).or_default() += 1;
    }

    /// The codes that came up, and how often.
    pub fn counts(&self) -> Vec<(u16, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(code, count)| (*code, *count)).collect()
    }
}

impl Node {
    pub(crate) fn new(max_connections: usize) -> Self {
        Self {
            connections: AtomicUsize::new(0),
            max_connections,
            is_draining: AtomicBool::new(false),
            slow_readers: AtomicU64::new(0),
            closes: Tally::default(),
            api_refusals: Tally::default(),
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
