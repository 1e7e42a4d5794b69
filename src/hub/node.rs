//! This node as a whole: how many connections it has, and whether it takes more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use fanfare_protocol::Close;
use prometheus::{Histogram, HistogramOpts};

/// Upper ends of the buckets of [`Node::publish_seconds`].
const PUBLISH_BUCKETS: [f64; 14] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0,
];

/// What all apps of this node share.
#[derive(Debug)]
pub struct Node {
    connections: AtomicUsize,
    /// The most of them since [`Self::take_peak`].
    peak: AtomicUsize,
    max_connections: usize,
    is_draining: AtomicBool,
    /// Clients that were closed because too much waited for them, since the start.
    pub slow_readers: AtomicU64,
    /// From the place in the order of a channel to the write to the last subscriber
    /// of this node, of one publication in eight.
    pub publish_seconds: Histogram,
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
            peak: AtomicUsize::new(0),
            max_connections,
            is_draining: AtomicBool::new(false),
            slow_readers: AtomicU64::new(0),
            publish_seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "fanfare_publish_duration_seconds",
                    "From the place in the order of a channel to the write to its last subscriber, of one event in eight.",
                )
                .buckets(PUBLISH_BUCKETS.to_vec()),
            )
            .expect("the name is valid and the buckets rise"),
            closes: Tally::default(),
            api_refusals: Tally::default(),
        }
    }

    /// Connections at the moment.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// The most connections at the same time since the last call.
    #[must_use]
    pub fn take_peak(&self) -> usize {
        let now = self.connections();
        self.peak.swap(now, Ordering::Relaxed).max(now)
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
            .map(|before| self.peak.fetch_max(before + 1, Ordering::Relaxed))
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
