//! How long to wait before the next attempt.

use std::time::Duration;

/// The pause after the first failure.
const FIRST: Duration = Duration::from_secs(1);

/// The longest one.
pub(super) const LONGEST: Duration = Duration::from_secs(30);

/// Pauses that double, each shortened by chance, so that many nodes do not come back
/// to a broker at the same moment.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The next pause: from a half of it to the whole. `chance` is from 0 to 1.
    pub(super) fn pause(&mut self, chance: f64) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST);
        shortened(whole, chance)
    }

    /// The longest pause, for what only a person can change.
    pub(super) fn long_pause(&mut self, chance: f64) -> Duration {
        self.next = LONGEST;
        shortened(LONGEST, chance)
    }

    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }
}

fn shortened(whole: Duration, chance: f64) -> Duration {
    whole.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute() {
        let mut backoff = Backoff::new();

        let pauses: Vec<u64> = (0..7).map(|_| backoff.pause(1.0).as_secs()).collect();

        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(backoff.pause(0.0), Duration::from_secs(15));
        backoff.reset();
        assert_eq!(backoff.pause(0.0), Duration::from_millis(500));
        assert_eq!(backoff.long_pause(1.0), LONGEST);
        assert_eq!(backoff.pause(1.0), LONGEST);
    }
}
