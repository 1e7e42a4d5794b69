//! Durations in the configuration: numbers of seconds, fractions allowed.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserializer, Serializer};

/// No time-out of a server is longer than this, in seconds.
const MAX: f64 = 86_400.0;

/// What a value must be, for error messages.
const EXPECTED: &str = "a number of seconds above 0 and up to 86,400";

pub(super) fn serialize<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if duration.subsec_nanos() == 0 {
        serializer.serialize_u64(duration.as_secs())
    } else {
        serializer.serialize_f64(duration.as_secs_f64())
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    deserializer.deserialize_f64(Seconds)
}

struct Seconds;

impl Visitor<'_> for Seconds {
    type Value = Duration;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(EXPECTED)
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Duration, E> {
        // NaN is in no range.
        if !(0.001..=MAX).contains(&seconds) {
            return Err(E::invalid_value(Unexpected::Float(seconds), &self));
        }
        Ok(Duration::from_secs_f64(seconds))
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Duration, E> {
        let seconds = u32::try_from(seconds)
            .map_err(|_| E::invalid_value(Unexpected::Unsigned(seconds), &self))?;
        self.visit_f64(f64::from(seconds))
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<Duration, E> {
        let seconds = u64::try_from(seconds)
            .map_err(|_| E::invalid_value(Unexpected::Signed(seconds), &self))?;
        self.visit_u64(seconds)
    }
}
