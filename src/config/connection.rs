//! `[connection]`: patience and bounds for one client.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::seconds;

/// Patience and bounds for one client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectionConfig {
    /// Seconds of silence after which clients ask for a sign of life; told to
    /// them in `pusher:connection_established`. Default 120.
    pub activity_timeout: u32,
    /// Seconds of silence after which the server asks a client. Default 45.
    #[serde(with = "seconds")]
    pub ping_after: Duration,
    /// Seconds for the answer; then the client is closed with 4201. Default 30.
    #[serde(with = "seconds")]
    pub pong_wait: Duration,
    /// Seconds to sign in or to subscribe to a private channel, where the app
    /// asks for it; then 4009. Default 30.
    #[serde(with = "seconds")]
    pub authorization_timeout: Duration,
    /// Bytes of one message from a client; a larger one closes it with 1009.
    /// Default 65,536.
    pub max_message_bytes: usize,
    /// Bytes that may wait for a slow reader; at the limit it is closed with
    /// 4100, so that it comes back after a pause. Default 1,048,576.
    pub outbox_bytes: usize,
    /// Seconds that a reader may take nothing of what waits for it; then it is
    /// dropped. Default 10.
    #[serde(with = "seconds")]
    pub stalled_write: Duration,
    /// Clients that may come from one address within a minute, also the size of a
    /// burst; a further one is closed with 4100. An IPv6 address counts as its
    /// /64. Absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts_per_minute: Option<u32>,
    /// Wrong keys and signatures that may come from one address within a minute;
    /// after a further one nothing from there is looked at for a minute. Absent:
    /// no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures_per_minute: Option<u32>,
    /// Seconds for a TLS handshake and for the head of the first request.
    /// Default 10.
    #[serde(with = "seconds")]
    pub request_header_timeout: Duration,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            activity_timeout: 120,
            ping_after: Duration::from_secs(45),
            pong_wait: Duration::from_secs(30),
            authorization_timeout: Duration::from_secs(30),
            max_message_bytes: 64 << 10,
            outbox_bytes: 1 << 20,
            stalled_write: Duration::from_secs(10),
            attempts_per_minute: None,
            failures_per_minute: None,
            request_header_timeout: Duration::from_secs(10),
        }
    }
}

impl ConnectionConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        // pusher-js hangs in its handshake when this is 0.
        if !(1..=86_400).contains(&self.activity_timeout) {
            return Err(ConfigError::bad_value(
                "connection.activity_timeout",
                &self.activity_timeout.to_string(),
                "a whole number of seconds from 1 to 86,400",
                None,
            ));
        }
        for (key, value) in [
            ("connection.attempts_per_minute", self.attempts_per_minute),
            ("connection.failures_per_minute", self.failures_per_minute),
        ] {
            if value == Some(0) {
                return Err(ConfigError::bad_value(
                    key,
                    "0",
                    "a whole number above 0, or nothing for no limit",
                    None,
                ));
            }
        }
        for (key, value, range) in [
            (
                "connection.max_message_bytes",
                self.max_message_bytes,
                1_024..=16 << 20,
            ),
            (
                "connection.outbox_bytes",
                self.outbox_bytes,
                16 << 10..=1 << 30,
            ),
        ] {
            if !range.contains(&value) {
                return Err(ConfigError::bad_value(
                    key,
                    &value.to_string(),
                    &format!(
                        "a number of bytes from {} to {}",
                        range.start(),
                        range.end()
                    ),
                    None,
                ));
            }
        }
        Ok(())
    }
}
