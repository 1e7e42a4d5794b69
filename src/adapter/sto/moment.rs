//! Points in time as JavaScript writes them.

use time::{Date, Month, OffsetDateTime, Time};

/// A point in time, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Moment(i64);

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

impl Moment {
    pub(super) fn now() -> Self {
        let nanoseconds = OffsetDateTime::now_utc().unix_timestamp_nanos();
        Self(i64::try_from(nanoseconds / 1_000_000).unwrap_or(i64::MAX))
    }

    /// Reads `2026-11-25T12:00:00.123Z` and its kin; without an offset it is UTC.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (date, rest) = text.split_at_checked(10)?;
        let rest = rest.strip_prefix(['T', 't', ' '])?;
        let at = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
        let (clock, zone) = rest.split_at_checked(at)?;
        let offset_minutes = match zone {
            "" | "Z" | "z" => 0,
            zone => {
                let (hours, minutes) = zone.get(1..)?.split_once(':')?;
                let minutes = number(hours)? * 60 + number(minutes)?;
                if zone.starts_with('-') {
                    -minutes
                } else {
                    minutes
                }
            }
        };
        let mut parts = date.splitn(3, '-').map(number);
        let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
        let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
        let date =
            Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?)
                .ok()?;
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
        let mut parts = clock.splitn(3, ':').map(number);
        let mut part = || u8::try_from(parts.next().flatten()?).ok();
        let clock = Time::from_hms(part()?, part()?, part()?).ok()?;
        number(fraction)?;
        let milliseconds = number(format!("{fraction:0<3}").get(..3)?)?;
        let seconds = date.with_time(clock).assume_utc().unix_timestamp();
        Some(Self((seconds - offset_minutes * 60) * 1_000 + milliseconds))
    }

    /// `2026-11-25T12:00:00.123Z`.
    pub(super) fn text(self) -> String {
        let nanoseconds = i128::from(self.0) * 1_000_000;
        let at = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.millisecond()
        )
    }

    /// The day on a clock that is `offset_minutes` before UTC.
    pub(super) fn day(self, offset_minutes: i16) -> i64 {
        (self.0 + i64::from(offset_minutes) * 60_000).div_euclid(DAY)
    }

    /// Seconds since 1970; 0 before.
    pub(super) fn unix_seconds(self) -> u64 {
        u64::try_from(self.0 / 1_000).unwrap_or_default()
    }

    /// Whole minutes since `earlier`; 0 when that is later.
    pub(super) fn minutes_since(self, earlier: Self) -> i64 {
        ((self.0 - earlier.0) / 60_000).max(0)
    }
}

/// Up to nine digits, and nothing else.
fn number(digits: &str) -> Option<i64> {
    let is_number =
        (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_javascript_and_postgresql_write_is_read() {
        let noon = Moment::parse("2026-11-25T12:00:00.120Z").unwrap();

        assert_eq!(noon.text(), "2026-11-25T12:00:00.120Z");
        for text in [
            "2026-11-25T12:00:00.12Z",
            "2026-11-25 12:00:00.120",
            "2026-11-25T17:00:00.120345+05:00",
            "2026-11-25T08:30:00.120-03:30",
        ] {
            assert_eq!(Moment::parse(text), Some(noon), "{text}");
        }
        assert_eq!(noon.day(300), noon.day(0));
        assert_eq!(noon.day(720), noon.day(0) + 1);
        let later = Moment::parse("2026-11-25T12:01:59.000Z").unwrap();
        assert_eq!(
            (later.minutes_since(noon), noon.minutes_since(later)),
            (1, 0)
        );
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2026-11-25",
            "2026-13-25T12:00:00Z",
            "2026-02-30T12:00:00Z",
            "2026-11-25T24:00:00Z",
            "2026-11-25T12:00Z",
            "2026-11-25T12:00:00.Z",
            "2026-11-25T12:00:00+0500",
            "-026-11-25T12:00:00Z",
            "Ж026-11-25T12:00:00Z",
            "2026-11-25T12:00:00.99999999999999Z",
        ] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
    }
}
