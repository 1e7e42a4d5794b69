//! The id of one connection: two decimal numbers joined by a dot (section 2.4).

use std::fmt;
use std::str::FromStr;

/// `<n>.<n>`, as every server SDK checks it before signing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId {
    first: u64,
    second: u64,
}

/// Numbers above this lose digits in clients that keep them as doubles.
const LARGEST_EXACT_DOUBLE: u64 = 1 << 53;

impl SocketId {
    /// Makes an id out of 128 random bits, of which about 84 stay unpredictable.
    ///
    /// The last digit is never 0, so that an app which treats the id as a
    /// number by mistake keeps its text; a signed token is valid for its socket
    /// id for ever, so ids must never repeat.
    #[must_use]
    pub fn from_random([high, low]: [u64; 2]) -> Self {
        let first = 1 + (high & 0xffff_ffff);
        let last_digit = 1 + (high >> 32) % 9;
        let second = (low >> 15) * 10 + last_digit;
        Self { first, second }
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.first, self.second)
    }
}

/// The text is not `<n>.<n>` with canonical numbers up to 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a socket id of the form <number>.<number>")]
pub struct InvalidSocketId;

impl FromStr for SocketId {
    type Err = InvalidSocketId;

    fn from_str(text: &str) -> Result<Self, InvalidSocketId> {
        let (first, second) = text.split_once('.').ok_or(InvalidSocketId)?;
        Ok(Self {
            first: canonical_number(first)?,
            second: canonical_number(second)?,
        })
    }
}

/// Refuses signs, leading zeros and spaces: two texts must never name one id.
fn canonical_number(text: &str) -> Result<u64, InvalidSocketId> {
    let is_canonical =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if !is_canonical {
        return Err(InvalidSocketId);
    }
    let number: u64 = text.parse().map_err(|_| InvalidSocketId)?;
    if number > LARGEST_EXACT_DOUBLE {
        return Err(InvalidSocketId);
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checklist 3.
    #[test]
    fn ids_from_any_randomness_are_two_numbers_without_a_trailing_zero() {
        for random in [
            [0, 0],
            [0, 1],
            [u64::MAX, u64::MAX],
            [0x0123_4567_89ab_cdef, 42],
        ] {
            let id = SocketId::from_random(random);
            let text = id.to_string();

            assert!(!text.ends_with('0'), "{text}");
            assert_eq!(text.parse(), Ok(id), "{text}");
        }
    }

    #[test]
    fn only_canonical_texts_parse() {
        for text in [
            "",
            "1",
            "1.",
            ".1",
            "01.2",
            "1.02",
            "+1.2",
            "1.2.3",
            "1 .2",
            "1.9007199254740993",
        ] {
            assert_eq!(text.parse::<SocketId>(), Err(InvalidSocketId), "{text:?}");
        }
        assert_eq!(
            "218840.5562713".parse::<SocketId>().unwrap().to_string(),
            "218840.5562713"
        );
    }
}
