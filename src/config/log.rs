//! `[log]`: what is logged, and how.

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::ConfigError;

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug` or `trace`, or a directive for single
    /// modules such as `info,fanfare::transport=debug`. Default `info`.
    pub level: String,
    /// How a line looks. Default `auto`.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// For machines: one object per line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Auto,
        }
    }
}

impl LogConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        // A word that is no level would be taken for a module, and silence all.
        let has_levels = self.level.split(',').all(|directive| {
            let level = directive.rsplit('=').next().unwrap_or(directive);
            level.trim().parse::<LevelFilter>().is_ok()
        });
        if has_levels && EnvFilter::try_new(&self.level).is_ok() {
            return Ok(());
        }
        Err(ConfigError::bad_value(
            "log.level",
            &self.level,
            "error, warn, info, debug, trace or a directive such as info,fanfare::transport=debug",
            None,
        ))
    }
}
