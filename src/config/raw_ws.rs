//! `[raw_ws]`: the plain WebSocket at `/ws`.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// The plain WebSocket at `/ws`, for development machines without Pusher
/// credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawWsConfig {
    /// The key of the app whose public channels are served there. Default: none,
    /// and nothing is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl RawWsConfig {
    pub(super) fn check(&self, known: &HashSet<String>) -> Result<(), ConfigError> {
        match &self.key {
            Some(key) if !known.contains(key) => Err(ConfigError::bad_value(
                "raw_ws.key",
                key,
                "the key of an app",
                None,
            )),
            _ => Ok(()),
        }
    }
}
