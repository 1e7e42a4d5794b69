//! Which channels of an app keep their past events, and for how long.

use std::time::Duration;

use fanfare_protocol::ChannelName;

/// What the channels that match a pattern keep. Whichever bound is reached first
/// holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRule {
    /// Names of channels; `*` stands for any characters.
    pub channels: String,
    /// The newest events that are kept.
    pub events: usize,
    /// Bytes of them that are kept.
    pub bytes: usize,
    /// How long an event is kept, and a session that has ended.
    pub age: Duration,
    /// Whether events of clients are kept too.
    pub client_events: bool,
}

impl HistoryRule {
    /// Whether the rule holds for a channel.
    #[must_use]
    pub fn covers(&self, channel: &ChannelName) -> bool {
        matches(&self.channels, channel.as_str())
    }
}

/// Whether `text` has the parts of `pattern` between its stars, in order.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(start) else {
        return false;
    };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        // The earliest place leaves the most for what follows.
        let Some(found) = text.find(part) else {
            return false;
        };
        text = &text[found + part.len()..];
    }
    text.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, expected) in [
            ("kitchen", "kitchen", true),
            ("kitchen", "kitchen-1", false),
            ("kitchen*", "kitchen", true),
            ("kitchen*", "private-kitchen", false),
            ("*kitchen", "private-kitchen", true),
            ("*", "anything", true),
            ("private-*-bar", "private-north-bar", true),
            ("private-*-bar", "private-bar", false),
            ("a*a", "a", false),
            ("*-north-*-1", "x-north-y-1", true),
            ("*-north-*-1", "x-south-y-1", false),
            ("**", "", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} and {text}");
        }
    }
}
