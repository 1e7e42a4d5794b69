//! Departures that are held back in case somebody returns (section 14.3).
//!
//! Decides only; the time is passed in, and the caller tells what is released. For
//! the readers of the stream of events: webhooks and adapters.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::engine::Departure;

/// Departures held back at the same time. Above it the oldest are told before
/// their time: a client that subscribes and unsubscribes without end must not
/// fill the memory.
const CAPACITY: usize = 100_000;

/// All departures that are held back, in the order in which they are due.
#[derive(Debug)]
pub struct Holds {
    hold_back: Duration,
    capacity: usize,
    /// All wait equally long, so the order of coming is that of going.
    waiting: BTreeMap<u64, (Instant, Departure)>,
    numbers: HashMap<Departure, u64>,
    next_number: u64,
}

impl Holds {
    /// Each departure waits for `hold_back`.
    #[must_use]
    pub fn new(hold_back: Duration) -> Self {
        Self {
            hold_back,
            capacity: CAPACITY,
            waiting: BTreeMap::new(),
            numbers: HashMap::new(),
            next_number: 0,
        }
    }

    /// Holds a departure back. Returns one that has to be told now instead, when
    /// there are too many.
    pub fn hold(&mut self, departure: Departure, now: Instant) -> Option<Departure> {
        let number = self.next_number;
        self.next_number += 1;
        // It left, returned unnoticed and left again: the later time counts.
        if let Some(earlier) = self.numbers.insert(departure.clone(), number) {
            self.waiting.remove(&earlier);
        }
        self.waiting
            .insert(number, (now + self.hold_back, departure));
        (self.waiting.len() > self.capacity)
            .then(|| self.take_first())
            .flatten()
    }

    /// Forgets a departure because of a return. Returns whether there was one.
    pub fn cancel(&mut self, departure: &Departure) -> bool {
        let Some(number) = self.numbers.remove(departure) else {
            return false;
        };
        self.waiting.remove(&number);
        true
    }

    /// Whether a departure waits.
    #[must_use]
    pub fn contains(&self, departure: &Departure) -> bool {
        self.numbers.contains_key(departure)
    }

    /// When the next departure is to be told.
    pub fn next_due(&self) -> Option<Instant> {
        self.waiting.values().next().map(|(due, _)| *due)
    }

    /// The next departure that nobody returned for by `now`.
    pub fn release(&mut self, now: Instant) -> Option<Departure> {
        self.next_due()
            .is_some_and(|due| due <= now)
            .then(|| self.take_first())
            .flatten()
    }

    /// The next departure, whether its time has come or not.
    pub fn take_first(&mut self) -> Option<Departure> {
        let (_, (_, departure)) = self.waiting.pop_first()?;
        self.numbers.remove(&departure);
        Some(departure)
    }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::{AppId, ChannelName, Limits, UserId};

    use super::*;

    fn departure(channel: &str, user_id: Option<&str>) -> Departure {
        Departure {
            app: AppId::new("1"),
            channel: ChannelName::parse(channel, &Limits::default()).unwrap(),
            user_id: user_id.map(UserId::new),
        }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// Checklist 170 and 171.
    #[test]
    fn a_departure_is_told_after_its_time_unless_somebody_returned() {
        let start = Instant::now();
        let mut holds = Holds::new(seconds(3));
        let (user, channel) = (
            departure("presence-a", Some("u")),
            departure("presence-a", None),
        );
        let other = departure("presence-b", Some("u"));
        holds.hold(user.clone(), start);
        holds.hold(channel.clone(), start);
        holds.hold(other.clone(), start + seconds(1));

        assert!(holds.cancel(&other));
        assert!(!holds.cancel(&other));
        assert_eq!(holds.release(start + seconds(2)), None);
        assert_eq!(holds.next_due(), Some(start + seconds(3)));
        // Checklist 172: removed before vacated.
        assert_eq!(holds.release(start + seconds(3)), Some(user));
        assert_eq!(holds.release(start + seconds(3)), Some(channel));
        assert_eq!(holds.next_due(), None);
    }

    #[test]
    fn leaving_again_starts_the_time_anew() {
        let start = Instant::now();
        let mut holds = Holds::new(seconds(3));
        holds.hold(departure("a", None), start);
        holds.hold(departure("a", None), start + seconds(2));

        assert_eq!(holds.release(start + seconds(4)), None);
        assert!(holds.release(start + seconds(5)).is_some());
        assert_eq!(holds.release(start + seconds(9)), None);
    }

    #[test]
    fn too_many_are_told_before_their_time() {
        let start = Instant::now();
        let mut holds = Holds::new(seconds(3));
        holds.capacity = 1;

        assert_eq!(holds.hold(departure("a", None), start), None);
        assert_eq!(
            holds.hold(departure("b", None), start),
            Some(departure("a", None))
        );
    }
}
