//! What became of webhooks, in numbers.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use fanfare_protocol::AppId;
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

/// Upper ends of the latency buckets, in seconds; the last is the time-out.
const LATENCY_BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Counters of all webhooks. Clones share them.
#[derive(Clone, Debug)]
pub struct Figures {
    fates: IntCounterVec,
    /// Those of each app that has any: to look at them is one look-up, and makes
    /// none for the others.
    of_apps: Arc<RwLock<HashMap<AppId, Arc<AppFates>>>>,
    latency: Histogram,
    missed: IntCounter,
}

/// The counters of one app.
#[derive(Debug)]
struct AppFates {
    delivered: IntCounter,
    retried: IntCounter,
    given_up: IntCounter,
    refused: IntCounter,
    dropped: IntCounter,
}

/// What became of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was taken.
    Delivered,
    /// It was not taken, and will be tried again.
    Retried,
    /// It was not taken in all its time.
    GivenUp,
    /// It must not be sent, or nobody wants it any more.
    Refused,
    /// Too much waited for its URL, or the server ended.
    Dropped,
}

impl Fate {
    /// How the journal calls a request of this fate.
    pub(super) fn state(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retried => "waiting",
            Self::GivenUp => "given_up",
            Self::Refused => "refused",
            Self::Dropped => "dropped",
        }
    }
}

/// What became of the webhooks of one app, since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcomes {
    /// Taken.
    pub delivered: u64,
    /// Not taken, and tried again.
    pub retried: u64,
    /// Not taken in all their time.
    pub given_up: u64,
    /// Not to be sent, or not wanted any more.
    pub refused: u64,
    /// Had to make room.
    pub dropped: u64,
}

impl Outcomes {
    /// How often something was sent.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.delivered + self.retried + self.given_up
    }
}

impl Figures {
    /// Starts at nothing.
    ///
    /// # Errors
    /// A name or a bucket is not valid.
    pub(super) fn new() -> prometheus::Result<Self> {
        Ok(Self {
            fates: IntCounterVec::new(
                Opts::new(
                    "fanfare_webhooks_total",
                    "Webhook requests by outcome: delivered, retried, given_up, refused; dropped counts events that had to make room too.",
                ),
                &["app_id", "outcome"],
            )?,
            of_apps: Arc::default(),
            latency: Histogram::with_opts(
                HistogramOpts::new(
                    "fanfare_webhook_duration_seconds",
                    "Time of one attempt to deliver a webhook.",
                )
                .buckets(LATENCY_BUCKETS.to_vec()),
            )?,
            missed: IntCounter::new(
                "fanfare_webhook_missed_events_total",
                "Events of the hub that came faster than webhooks could be made of them.",
            )?,
        })
    }

    pub(super) fn count(&self, app: &AppId, fate: Fate, number: u64) {
        let fates = self.find(app).unwrap_or_else(|| self.begin(app));
        let counter = match fate {
            Fate::Delivered => &fates.delivered,
            Fate::Retried => &fates.retried,
            Fate::GivenUp => &fates.given_up,
            Fate::Refused => &fates.refused,
            Fate::Dropped => &fates.dropped,
        };
        counter.inc_by(number);
    }

    /// What became of the webhooks of an app.
    #[must_use]
    pub fn outcomes(&self, app: &AppId) -> Outcomes {
        let Some(fates) = self.find(app) else {
            return Outcomes::default();
        };
        Outcomes {
            delivered: fates.delivered.get(),
            retried: fates.retried.get(),
            given_up: fates.given_up.get(),
            refused: fates.refused.get(),
            dropped: fates.dropped.get(),
        }
    }

    fn find(&self, app: &AppId) -> Option<Arc<AppFates>> {
        let of_apps = self.of_apps.read().unwrap_or_else(PoisonError::into_inner);
        of_apps.get(app).cloned()
    }

    fn begin(&self, app: &AppId) -> Arc<AppFates> {
        let counter = |outcome| self.fates.with_label_values(&[app.as_str(), outcome]);
        let mut of_apps = self.of_apps.write().unwrap_or_else(PoisonError::into_inner);
        let fates = of_apps.entry(app.clone()).or_insert_with(|| {
            Arc::new(AppFates {
                delivered: counter("delivered"),
                retried: counter("retried"),
                given_up: counter("given_up"),
                refused: counter("refused"),
                dropped: counter("dropped"),
            })
        });
        Arc::clone(fates)
    }

    pub(super) fn latency(&self, latency: Duration) {
        self.latency.observe(latency.as_secs_f64());
    }

    pub(super) fn missed(&self, number: u64) {
        self.missed.inc_by(number);
    }

    #[cfg(test)]
    pub(super) fn missed_events(&self) -> u64 {
        self.missed.get()
    }

    /// Adds the figures to those that are told.
    ///
    /// # Errors
    /// One of the names is taken.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        let all: [Box<dyn Collector>; 3] = [
            Box::new(self.fates.clone()),
            Box::new(self.latency.clone()),
            Box::new(self.missed.clone()),
        ];
        all.into_iter()
            .try_for_each(|figure| registry.register(figure))
    }
}
