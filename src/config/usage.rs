//! `[usage]`: how long statistics are kept.

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// How long statistics are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UsageConfig {
    /// Hours for which the counts of each minute are kept. Default 48.
    pub minute_counts_hours: u32,
    /// Days for which the counts of each hour are kept. Default 90.
    pub hour_counts_days: u32,
}

impl Default for UsageConfig {
    fn default() -> Self {
        Self {
            minute_counts_hours: 48,
            hour_counts_days: 90,
        }
    }
}

impl UsageConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (key, value, most) in [
            (
                "usage.minute_counts_hours",
                self.minute_counts_hours,
                24 * 31,
            ),
            ("usage.hour_counts_days", self.hour_counts_days, 3_660),
        ] {
            if !(1..=most).contains(&value) {
                let expected = format!("a whole number from 1 to {most}");
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
