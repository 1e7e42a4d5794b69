//! The number of a piece of land or a building: `77:01:0004012:1234`.

use std::fmt;

/// A cadastral number of the right form. Only such a one is worth money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CadastralNumber(String);

/// The text is no cadastral number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a cadastral number: expected NN:NN:NNNNNNN:N")]
pub struct NoCadastralNumber(String);

/// Digits that the parts have at most: district, region, block, object.
const PARTS: [usize; 4] = [2, 2, 7, 20];

impl CadastralNumber {
    /// # Errors
    /// The text has another form.
    pub fn parse(text: &str) -> Result<Self, NoCadastralNumber> {
        let text = text.trim();
        let parts: Vec<&str> = text.split(':').collect();
        let is_number = parts.len() == PARTS.len()
            && parts.iter().zip(PARTS).all(|(part, most)| {
                (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
            });
        if is_number {
            Ok(Self(text.to_owned()))
        } else {
            Err(NoCadastralNumber(text.chars().take(60).collect()))
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CadastralNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_form_of_the_register_is_a_number() {
        for good in ["77:01:0004012:1234", "7:1:1:1", " 77:01:0000000:200 "] {
            assert!(CadastralNumber::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "77:01:0004012",
            "77:01:0004012:1234:5",
            "777:01:0004012:1",
            "77:01:00040121:1",
            "77:01::1",
            "77:01:0004012:12a",
            "77:01:0004012:٣",
            "77-01-0004012-1",
            "77:01:0004012:1; DROP TABLE orders",
        ] {
            assert!(CadastralNumber::parse(bad).is_err(), "{bad}");
        }
    }
}
