//! Looks at the queue every few seconds: for metrics, for those who look on, and whether
//! many jobs fail.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntGaugeVec, Opts, Registry};

use super::bull::{BullQueue, Counts, JobQueue, QueueError, unix_ms};
use super::live::Live;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(5);

/// Of all workers one tells; a little less than the interval, so that none is left out.
const TOLD: Duration = Duration::from_millis(4_500);

/// In so many minutes failed jobs count, and so rarely somebody is told.
const ALERT_MINUTES: u64 = 10;

/// Looks at one queue.
#[derive(Debug)]
pub struct Watch {
    queue: Arc<BullQueue>,
    live: Live,
    alert_failed: u64,
    jobs: IntGaugeVec,
}

impl Watch {
    /// Tells of `alert_failed` jobs that have failed in ten minutes; zero: never.
    ///
    /// # Errors
    /// Its figures are there already.
    pub fn new(
        queue: Arc<BullQueue>,
        live: Live,
        alert_failed: u64,
        registry: &Registry,
    ) -> prometheus::Result<Self> {
        let jobs = IntGaugeVec::new(
            Opts::new("bull_jobs", "Jobs of the queue, by state."),
            &["state"],
        )?;
        registry.register(Box::new(jobs.clone()))?;
        Ok(Self {
            queue,
            live,
            alert_failed,
            jobs,
        })
    }

    /// Looks for ever.
    pub async fn run(&self) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            // Workers tell of an outage themselves.
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "the queue cannot be looked at");
            }
        }
    }

    async fn look(&self) -> Result<(), QueueError> {
        let counts = self.queue.counts().await?;
        self.show(&counts);
        if self.live.is_watched().await.unwrap_or(false)
            && self.queue.is_first("counts", TOLD).await?
        {
            self.live.counts(&counts);
        }
        if self.alert_failed > 0 {
            let since = unix_ms().saturating_sub(ALERT_MINUTES * 60_000);
            let failed = self.queue.failed_since(since).await?;
            let pause = Duration::from_secs(ALERT_MINUTES * 60);
            if failed >= self.alert_failed && self.queue.is_first("alert", pause).await? {
                tracing::error!(
                    failed,
                    "{failed} jobs have failed in {ALERT_MINUTES} minutes"
                );
                self.live.alert(failed, ALERT_MINUTES);
            }
        }
        Ok(())
    }

    fn show(&self, counts: &Counts) {
        for (state, count) in [
            ("waiting", counts.waiting),
            ("active", counts.active),
            ("completed", counts.completed),
            ("failed", counts.failed),
            ("delayed", counts.delayed),
            ("paused", counts.paused),
        ] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.jobs.with_label_values(&[state]).set(count);
        }
    }
}
