//! What past events take: `[history]` bounds the node, `[[apps.history]]` says
//! which channels of an app keep theirs.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ConfigError;
use crate::apps::HistoryRule;

/// Patterns of one app: each publication is compared with them.
pub(super) const MAX_RULES: usize = 20;

/// What history and sessions may take of this node, over all apps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// Bytes of past events; at the limit the channels that have been quiet for
    /// longest lose theirs. Default 268,435,456.
    pub bytes: usize,
    /// Sessions that wait for their client to come back; at the limit the one
    /// that would end first is forgotten. Default 100,000.
    pub sessions: usize,
    /// Bytes of them. Default 67,108,864.
    pub session_bytes: usize,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self {
            bytes: 256 << 20,
            sessions: 100_000,
            session_bytes: 64 << 20,
        }
    }
}

impl HistoryConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (key, value, range) in [
            ("history.bytes", self.bytes, 1 << 20..=1 << 40),
            ("history.sessions", self.sessions, 1..=100_000_000),
            (
                "history.session_bytes",
                self.session_bytes,
                1 << 16..=1 << 40,
            ),
        ] {
            if !range.contains(&value) {
                let expected = format!("a whole number from {} to {}", range.start(), range.end());
                return Err(ConfigError::bad_value(
                    key,
                    &value.to_string(),
                    &expected,
                    None,
                ));
            }
        }
        Ok(())
    }
}

/// What the channels that match a pattern keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryRuleConfig {
    /// Names of channels; `*` stands for any characters. The first rule that
    /// matches holds.
    pub channels: String,
    /// The newest events that are kept. Default 1,000.
    #[serde(default = "events")]
    pub events: usize,
    /// Seconds that an event is kept, and a session after its client has gone.
    /// Default 3,600.
    #[serde(default = "seconds")]
    pub seconds: u64,
    /// Bytes of events that are kept per channel. Default 4,194,304.
    #[serde(default = "bytes")]
    pub bytes: usize,
    /// Whether events of clients are kept too. Default false.
    #[serde(default)]
    pub client_events: bool,
}

fn events() -> usize {
    1_000
}

fn seconds() -> u64 {
    3_600
}

fn bytes() -> usize {
    4 << 20
}

impl HistoryRuleConfig {
    /// Everything at its default.
    #[must_use]
    pub fn new(channels: &str) -> Self {
        Self {
            channels: channels.to_owned(),
            events: events(),
            seconds: seconds(),
            bytes: bytes(),
            client_events: false,
        }
    }

    /// The settings of a rule.
    pub(super) fn of(rule: &HistoryRule) -> Self {
        Self {
            channels: rule.channels.clone(),
            events: rule.events,
            seconds: rule.age.as_secs(),
            bytes: rule.bytes,
            client_events: rule.client_events,
        }
    }

    /// Name, value and expected form of what it cannot have.
    pub(super) fn wrong(&self) -> Option<(&'static str, String, String)> {
        let is_pattern = (1..=200).contains(&self.channels.len())
            && self
                .channels
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-=@,.;#*".contains(&byte));
        if !is_pattern {
            let expected = "the name of a channel, in which * stands for any characters";
            return Some(("channels", self.channels.clone(), expected.to_owned()));
        }
        for (name, value, range) in [
            ("events", self.events as u64, 1..=100_000),
            ("seconds", self.seconds, 1..=604_800),
            ("bytes", self.bytes as u64, 1_024..=64 << 20),
        ] {
            if !range.contains(&value) {
                let expected = format!("a whole number from {} to {}", range.start(), range.end());
                return Some((name, value.to_string(), expected));
            }
        }
        None
    }

    pub(super) fn to_rule(&self) -> HistoryRule {
        HistoryRule {
            channels: self.channels.clone(),
            events: self.events,
            bytes: self.bytes,
            age: Duration::from_secs(self.seconds),
            client_events: self.client_events,
        }
    }
}
