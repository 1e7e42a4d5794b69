//! Who has received what: finds every delivery that is missing, doubled or out of
//! order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use hdrhistogram::Histogram;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, watch};

/// Between two looks at how far a run is.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How many deliveries there were, of how many.
#[derive(Debug)]
pub(crate) struct Tally {
    delivered: AtomicUsize,
    expected: usize,
    /// Time without any delivery after which the run has failed.
    stalled: Duration,
    /// Turns true when nothing more may come.
    is_over: watch::Sender<bool>,
}

impl Tally {
    pub(crate) fn new(expected: usize, stalled: Duration) -> Self {
        Self {
            delivered: AtomicUsize::new(0),
            expected,
            stalled,
            is_over: watch::Sender::new(false),
        }
    }

    pub(crate) fn expected(&self) -> usize {
        self.expected
    }

    pub(crate) fn delivered(&self) -> usize {
        self.delivered.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until everything has arrived.
    pub(crate) async fn complete(&self) -> anyhow::Result<()> {
        let mut progress = (self.delivered(), Instant::now());
        while progress.0 < self.expected {
            tokio::time::sleep(LOOK_EVERY).await;
            let delivered = self.delivered();
            if delivered > progress.0 {
                progress = (delivered, Instant::now());
            } else if progress.1.elapsed() > self.stalled {
                bail!(
                    "{} of {} deliveries are missing",
                    self.expected - delivered,
                    self.expected
                );
            }
        }
        Ok(())
    }

    /// Says that nothing more may come.
    pub(crate) fn end(&self) {
        self.is_over.send_replace(true);
    }

    /// Waits until nothing more may come.
    pub(crate) async fn ended(&self) {
        let mut is_over = self.is_over.subscribe();
        // The sender lives as long as `self`.
        let _ = is_over.wait_for(|is_over| *is_over).await;
    }
}

/// The deliveries of one run, message by message.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) tally: Tally,
    /// Deliveries of each message that are still missing.
    missing: Vec<AtomicUsize>,
    /// The room that each message takes among those under way.
    permits: Mutex<Vec<Option<OwnedSemaphorePermit>>>,
    under_way: Arc<Semaphore>,
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
            tally: Tally::new(messages * receivers, stalled),
            missing: (0..messages).map(|_| AtomicUsize::new(receivers)).collect(),
            permits: Mutex::new((0..messages).map(|_| None).collect()),
            under_way: Arc::new(Semaphore::new(under_way)),
            began: Instant::now(),
            latency: std::sync::Mutex::new(histogram()),
        }
    }

    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Waits until `message` may be published.
    pub(crate) async fn admit(&self, message: usize) -> anyhow::Result<()> {
        let permit = Arc::clone(&self.under_way).acquire_owned();
        let Ok(permit) = tokio::time::timeout(self.tally.stalled, permit).await else {
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
        self.tally.count();
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
        match self.tally.complete().await {
            Ok(()) => Ok(()),
            Err(_) => bail!(self.what_is_missing()),
        }
    }

    fn what_is_missing(&self) -> String {
        let first = self
            .missing
            .iter()
            .position(|missing| missing.load(Ordering::Relaxed) > 0)
            .unwrap_or(0);
        format!(
            "{} of {} deliveries are missing; the first missing message is {first}",
            self.tally.expected - self.tally.delivered(),
            self.tally.expected
        )
    }

    /// Microseconds from when a message was due until it arrived.
    pub(crate) fn latency_us(&self) -> Histogram<u64> {
        self.latency
            .lock()
            .map_or_else(|_| histogram(), |histogram| histogram.clone())
    }
}

/// An empty histogram of microseconds, up to an hour.
pub(crate) fn histogram() -> Histogram<u64> {
    // Bounds of its own: one that grows by itself does so in `record` only, and
    // `saturating_record` would take two milliseconds for the longest time there is.
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("bounds and digits are in range")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_times_are_kept_as_they_are() {
        let mut histogram = histogram();
        for time_us in [10, 5_000, 5_000, 90_000_000] {
            histogram.saturating_record(time_us);
        }

        assert_eq!(histogram.value_at_quantile(0.5) / 10, 500);
        assert!(histogram.equivalent(histogram.max(), 90_000_000));
    }
}
