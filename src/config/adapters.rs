//! `[adapters]`: foreign systems that this server takes the place of.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfigError, Secret};

/// The longest grace, in milliseconds.
const MAX_GRACE_MS: u64 = 3_600_000;

/// Foreign systems that this server takes the place of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptersConfig {
    /// Milliseconds that a departure waits for a return before an adapter hears of
    /// it. Default 3,000: pusher-js is back within about one second.
    pub vacate_grace_ms: u64,
    /// The call centre.
    pub rooms: RoomsConfig,
}

/// The realtime service of a call centre: rooms, broadcasts, who is online.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoomsConfig {
    /// Whether it is served; turns `[auth]` on as well. Default false.
    pub enabled: bool,
    /// The id of its app. Default: the first of `[[apps]]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// What back ends send as `token`. Absent: they are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_token: Option<Secret>,
    /// A port of its own, which serves everything that the main one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Who hears that a user is online. Default all.
    pub online_scope: OnlineScope,
    /// Whether a token with the claim `cities` opens only those. Default true.
    pub check_cities: bool,
}

/// Who hears that a user has come online or gone offline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnlineScope {
    /// Everybody.
    #[default]
    All,
    /// Directors, and operators about operators.
    Relevant,
}

impl Default for AdaptersConfig {
    fn default() -> Self {
        Self {
            vacate_grace_ms: 3_000,
            rooms: RoomsConfig::default(),
        }
    }
}

impl Default for RoomsConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            app: None,
            webhook_token: None,
            port: None,
            online_scope: OnlineScope::All,
            check_cities: true,
        }
    }
}

impl AdaptersConfig {
    /// See `vacate_grace_ms`.
    #[must_use]
    pub fn vacate_grace(&self) -> Duration {
        Duration::from_millis(self.vacate_grace_ms)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.vacate_grace_ms > MAX_GRACE_MS {
            return Err(ConfigError::bad_value(
                "adapters.vacate_grace_ms",
                &self.vacate_grace_ms.to_string(),
                "a number of milliseconds up to 3,600,000",
                None,
            ));
        }
        let token = self.rooms.webhook_token.as_ref().map(Secret::reveal);
        if token.is_some_and(str::is_empty) {
            return Err(ConfigError::missing(
                "adapters.rooms.webhook_token".to_owned(),
                "a text that is not empty; without the key all broadcasts are refused",
            ));
        }
        Ok(())
    }
}
