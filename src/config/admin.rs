//! `[admin]`: the API of the operator, and the console in the browser.

use serde::{Deserialize, Serialize};

use super::{ConfigError, Secret};

/// Characters of a token, at least: what nobody guesses.
const MIN_TOKEN: usize = 16;

/// The API of the operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// What programs authenticate with; absent: none may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// Whether there is a console at `/console`, for people with accounts. Without it
    /// and without a token there is no admin API. Default true.
    pub console: bool,
    /// Whether both are served on the port of the clients too, beside that of the
    /// metrics. Default true.
    pub on_client_port: bool,
    /// Whether the live feed shows the data of events on private, presence and
    /// encrypted channels. Default false.
    pub feed_shows_private_data: bool,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            token: None,
            console: true,
            on_client_port: true,
            feed_shows_private_data: false,
        }
    }
}

impl AdminConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        let token = token.reveal();
        if token.len() < MIN_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConfigError::BadValue {
                key: "admin.token".to_owned(),
                value: super::app::MASK.to_owned(),
                origin: String::new(),
                expected: format!(
                    "at least {MIN_TOKEN} letters, digits or signs without spaces, such as `openssl rand -hex 32` prints"
                ),
            });
        }
        Ok(())
    }
}
