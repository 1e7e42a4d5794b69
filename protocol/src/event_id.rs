//! The place of an event in the history of its channel.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// Digits of the milliseconds: enough until the year 2286.
const MS_DIGITS: usize = 13;

/// Digits of the number within a millisecond.
const NUMBER_DIGITS: usize = 5;

/// The largest number within a millisecond.
const MAX_NUMBER: u32 = 99_999;

/// The id of one event of one channel: the Unix time at which it took its place,
/// and a number within that millisecond.
///
/// Ids of a channel grow. They say nothing about the order of two channels. As
/// text they all have [`EventId::WIDTH`] characters, so that they sort as text
/// too, and can be written into a message that is already encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// Milliseconds of Unix time.
    pub ms: u64,
    /// From 1 on; 0 stands before all events of the millisecond.
    pub number: u32,
}

impl EventId {
    /// Characters of its text.
    pub const WIDTH: usize = MS_DIGITS + 1 + NUMBER_DIGITS;

    /// The place before all events from `ms` on.
    #[must_use]
    pub fn at(ms: u64) -> Self {
        Self { ms, number: 0 }
    }

    /// The id of an event that comes after this one, at `now_ms` or as soon after
    /// it as there is room.
    #[must_use]
    pub fn next(self, now_ms: u64) -> Self {
        if now_ms > self.ms {
            Self {
                ms: now_ms,
                number: 1,
            }
        } else if self.number < MAX_NUMBER {
            Self {
                ms: self.ms,
                number: self.number + 1,
            }
        } else {
            Self {
                ms: self.ms + 1,
                number: 1,
            }
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:013}-{:05}", self.ms, self.number)
    }
}

/// The text is no event id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no event id: two numbers with a hyphen between them are expected")]
pub struct InvalidEventId;

impl FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        let is_number = |part: &str, digits| {
            (1..=digits).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        let (ms, number) = text.split_once('-').ok_or(InvalidEventId)?;
        if !is_number(ms, MS_DIGITS) || !is_number(number, NUMBER_DIGITS) {
            return Err(InvalidEventId);
        }
        let invalid = |_: ParseIntError| InvalidEventId;
        Ok(Self {
            ms: ms.parse().map_err(invalid)?,
            number: number.parse().map_err(invalid)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_whatever_the_clock_does() {
        let first = EventId::default().next(1_764_037_286_123);
        let same_ms = first.next(1_764_037_286_123);
        let clock_went_back = same_ms.next(1_764_037_000_000);
        let later = clock_went_back.next(1_764_037_286_124);
        let full = EventId {
            ms: 7,
            number: MAX_NUMBER,
        };

        let ids = [first, same_ms, clock_went_back, later];
        assert!(ids.is_sorted_by(|a, b| a < b && a.to_string() < b.to_string()));
        assert_eq!(full.next(7), EventId { ms: 8, number: 1 });
    }

    #[test]
    fn the_text_is_read_back_and_nothing_else_is() {
        let id = EventId {
            ms: 1_764_037_286_123,
            number: 42,
        };
        assert_eq!(id.to_string(), "1764037286123-00042");
        assert_eq!(id.to_string().len(), EventId::WIDTH);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("1764037286123-42".parse(), Ok(id));
        for text in [
            "",
            "-",
            "7",
            "7-",
            "-7",
            "+7-1",
            "7-1-1",
            "7 -1",
            "99999999999999-1",
            "1-999999",
        ] {
            assert_eq!(text.parse::<EventId>(), Err(InvalidEventId), "{text}");
        }
    }
}
