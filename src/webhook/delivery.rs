//! One request on its way, and when it is tried again (section 14.4).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fanfare_protocol::webhook;
use tokio::time::Instant;

/// How much a gap may differ from its length: URLs that failed together must
/// not all be tried again together.
const JITTER: f64 = 0.1;

/// Events that go to one URL in one request.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    /// Names it in the log.
    pub(super) id: u64,
    /// Encoded events with commas between them.
    pub(super) events: String,
    /// When it was made, in milliseconds of Unix time: `time_ms` of the body.
    pub(super) created_ms: u64,
    /// How often it was tried.
    pub(super) attempts: u32,
    /// When it is to be tried next.
    pub(super) due: Instant,
}

impl Delivery {
    pub(super) fn new(events: String, now: Instant) -> Self {
        Self {
            id: rand::random(),
            events,
            created_ms: unix_ms(),
            attempts: 0,
            due: now,
        }
    }

    pub(super) fn body(&self) -> Bytes {
        webhook::body(self.created_ms, &self.events).into()
    }

    /// How long ago it was made. A clock that was set back makes it young.
    pub(super) fn age(&self) -> Duration {
        Duration::from_millis(unix_ms().saturating_sub(self.created_ms))
    }
}

/// Milliseconds of Unix time.
pub(super) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

/// When a delivery that was not taken is tried again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// The first gap; each further one is twice as long.
    pub(super) first_retry: Duration,
    /// Nothing is tried when it is older than this.
    pub(super) retry_for: Duration,
}

impl Schedule {
    /// The gap after `attempts` attempts, for a delivery of this `age`; `None`
    /// when it is given up. `chance` is from 0 to 1.
    pub(super) fn gap(&self, attempts: u32, age: Duration, chance: f64) -> Option<Duration> {
        let doublings = attempts.saturating_sub(1).min(31);
        let gap = self.first_retry.saturating_mul(1 << doublings);
        let gap = gap.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance);
        (age.saturating_add(gap) <= self.retry_for).then_some(gap)
    }

    /// Whether a delivery of this age may still be tried.
    pub(super) fn is_current(&self, age: Duration) -> bool {
        age <= self.retry_for
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule {
        first_retry: Duration::from_secs(1),
        retry_for: Duration::from_secs(300),
    };

    /// Checklist 177.
    #[test]
    fn gaps_double_and_end_after_five_minutes() {
        let mut age = Duration::ZERO;
        let mut gaps = Vec::new();
        while let Some(gap) = SCHEDULE.gap(u32::try_from(gaps.len()).unwrap() + 1, age, 0.5) {
            age += gap;
            gaps.push(gap.as_secs());
        }

        assert_eq!(gaps, [1, 2, 4, 8, 16, 32, 64, 128]);
    }

    #[test]
    fn time_that_attempts_take_counts() {
        let age = Duration::from_secs(200);

        assert!(SCHEDULE.gap(7, age, 0.5).is_some());
        assert_eq!(SCHEDULE.gap(8, age, 0.5), None);
        assert!(!SCHEDULE.is_current(Duration::from_secs(301)));
    }

    #[test]
    fn chance_moves_a_gap_by_a_tenth() {
        assert_eq!(
            SCHEDULE.gap(1, Duration::ZERO, 0.0),
            Some(Duration::from_millis(900))
        );
        assert_eq!(
            SCHEDULE.gap(1, Duration::ZERO, 1.0),
            Some(Duration::from_millis(1_100))
        );
    }
}
