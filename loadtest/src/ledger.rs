//! Who has received what: finds every delivery that is missing, doubled or out of
//! order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use hdrhistogram::Histogram;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

/// The deliveries of one run.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Deliveries of each message that are still missing.
    missing: Vec<AtomicUsize>,
    /// The room that each message takes among those under way.
    permits: Mutex<Vec<Option<OwnedSemaphorePermit>>>,
    under_way: Arc<Semaphore>,
    delivered: AtomicUsize,
    expected: usize,
    /// Time without any delivery after which the run has failed.
    stalled: Duration,
    began: Instant,
    latency: std::sync::Mutex<Histogram<u64>>,
}

impl Ledger {
    pub(crate) fn new(
        messages: usize,
        receivers: usize,
        under_way: usize,
        stalled: Duration,
    ) -> Self {
        Self {
            missing: (0..messages).map(|_| AtomicUsize::new(receivers)).collect(),
            permits: Mutex::new((0..messages).map(|_| None).collect()),
            under_way: Arc::new(Semaphore::new(under_way)),
            delivered: AtomicUsize::new(0),
            expected: messages * receivers,
            stalled,
            began: Instant::now(),
            latency: std::sync::Mutex::new(
                Histogram::new(3).expect("three digits are a precision"),
            ),
        }
    }

    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Waits until `message` may be published.
    pub(crate) async fn admit(&self, message: usize) -> anyhow::Result<()> {
        let permit = Arc::clone(&self.under_way).acquire_owned();
        let Ok(permit) = tokio::time::timeout(self.stalled, permit).await else {
            bail!(self.what_is_missing());
        };
        self.permits.lock().await[message] = Some(permit?);
        Ok(())
    }

    /// Notes that a subscriber got `message`, which was due at `due_us`.
    pub(crate) async fn delivered(&self, message: usize, due_us: u64) -> anyhow::Result<()> {
        let Some(missing) = self.missing.get(message) else {
            bail!("message {message} was never published");
        };
        let before = missing.load(Ordering::Relaxed);
        if before == 0 {
            bail!("message {message} was delivered more often than there are subscribers");
        }
        missing.store(before - 1, Ordering::Relaxed);
        self.delivered.fetch_add(1, Ordering::Relaxed);
        let latency = self.now_us().saturating_sub(due_us);
        if let Ok(mut histogram) = self.latency.lock() {
            histogram.saturating_record(latency);
        }
        if before == 1 {
            self.permits.lock().await[message] = None;
        }
        Ok(())
    }

    /// Waits until everything has arrived.
    pub(crate) async fn complete(&self) -> anyhow::Result<()> {
        let mut progress = (self.delivered.load(Ordering::Relaxed), Instant::now());
        while progress.0 < self.expected {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let delivered = self.delivered.load(Ordering::Relaxed);
            if delivered > progress.0 {
                progress = (delivered, Instant::now());
            } else if progress.1.elapsed() > self.stalled {
                bail!(self.what_is_missing());
            }
        }
        Ok(())
    }

    fn what_is_missing(&self) -> String {
        let first = self
            .missing
            .iter()
            .position(|missing| missing.load(Ordering::Relaxed) > 0)
            .unwrap_or(0);
        format!(
            "{} of {} deliveries are missing; the first missing message is {first}",
            self.expected - self.delivered.load(Ordering::Relaxed),
            self.expected
        )
    }

    /// Milliseconds from when a message was due until it arrived, at a quantile.
    pub(crate) fn latency_ms(&self, quantile: f64) -> f64 {
        self.latency.lock().map_or(f64::NAN, |histogram| {
            histogram.value_at_quantile(quantile) as f64 / 1_000.0
        })
    }
}
