//! `[http_fallback]`: clients that cannot use WebSockets.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::seconds;
use crate::transport::is_script_address;

/// Clients that cannot use WebSockets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpFallbackConfig {
    /// Whether they are served at all. Default true.
    pub enabled: bool,
    /// Where their requests go: `httpPath` of pusher-js. Default `/pusher`.
    pub path: String,
    /// The name of this node that clients reach it by, where a load balancer spreads
    /// requests: pusher-js then sends the other requests of a session to it, with the
    /// port unchanged. Default none: they go where the first one went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Seconds of silence after which a client gets a heartbeat; must be shorter
    /// than what proxies allow. Default 25.
    #[serde(with = "seconds")]
    pub heartbeat: Duration,
    /// Seconds to answer it; then the client is gone. Default 15.
    #[serde(with = "seconds")]
    pub answer_wait: Duration,
    /// Seconds between two receive requests; then the client is gone. Default 10.
    #[serde(with = "seconds")]
    pub session_grace: Duration,
    /// Seconds that a stream rests after 256 KiB for the client to replace it;
    /// then it goes on. Default 10.
    #[serde(with = "seconds")]
    pub reopen_wait: Duration,
    /// Addresses of SockJS that the page for old browsers may load, beside those
    /// of js.pusher.com. Default none.
    pub sockjs_scripts: Vec<String>,
}

impl Default for HttpFallbackConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            path: "/pusher".to_owned(),
            hostname: None,
            heartbeat: Duration::from_secs(25),
            answer_wait: Duration::from_secs(15),
            session_grace: Duration::from_secs(10),
            reopen_wait: Duration::from_secs(10),
            sockjs_scripts: Vec::new(),
        }
    }
}

impl HttpFallbackConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let is_taken = matches!(self.path.as_str(), "/app" | "/apps" | "/users" | "/s")
            || self.path.starts_with("/s/");
        if !is_path(&self.path) || is_taken {
            return Err(ConfigError::bad_value(
                "http_fallback.path",
                &self.path,
                "a path such as /pusher, without a slash at the end; not /app, /apps, /users or /s",
                None,
            ));
        }
        if let Some(hostname) = self.hostname.as_deref().filter(|name| !is_hostname(name)) {
            return Err(ConfigError::bad_value(
                "http_fallback.hostname",
                hostname,
                "a host name such as node-1.example.com, without a port",
                None,
            ));
        }
        if let Some(script) = self
            .sockjs_scripts
            .iter()
            .find(|script| !is_script_address(script))
        {
            return Err(ConfigError::bad_value(
                "http_fallback.sockjs_scripts",
                script,
                "an address such as https://static.example/sockjs.js",
                None,
            ));
        }
        Ok(())
    }
}

/// Whether `text` is a name by the rules of host names (RFC 1123), which hold for
/// IPv4 addresses too.
fn is_hostname(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

/// Whether `text` is a path of one or more plain segments.
pub(super) fn is_path(text: &str) -> bool {
    text.len() <= 256
        && text.strip_prefix('/').is_some_and(|rest| {
            rest.split('/').all(|segment| {
                !segment.is_empty()
                    && !segment.bytes().all(|byte| byte == b'.')
                    && segment
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
            })
        })
}
