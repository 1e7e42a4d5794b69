//! How long the HTTP API takes to answer.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, Registry};

use super::Route;

/// Upper ends of the buckets, in seconds.
const BUCKETS: [f64; 12] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5,
];

/// Times of the HTTP API. Clones share them.
#[derive(Clone, Debug)]
pub struct ApiFigures {
    seconds: HistogramVec,
    /// Found once, not for each request.
    by_route: [Histogram; Route::NAMES.len()],
}

impl ApiFigures {
    /// Starts at nothing.
    ///
    /// # Errors
    /// A name or a bucket is not valid.
    pub fn new() -> prometheus::Result<Self> {
        let seconds = HistogramVec::new(
            HistogramOpts::new(
                "fanfare_api_request_duration_seconds",
                "From the head of a request of a back end to its answer.",
            )
            .buckets(BUCKETS.to_vec()),
            &["route"],
        )?;
        let by_route = Route::NAMES.map(|name| seconds.with_label_values(&[name]));
        Ok(Self { seconds, by_route })
    }

    pub(super) fn observe(&self, route: &Route<'_>, duration: Duration) {
        self.by_route[route.number()].observe(duration.as_secs_f64());
    }

    pub(super) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.seconds.clone()))
    }
}
