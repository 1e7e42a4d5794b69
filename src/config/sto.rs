//! `[adapters.sto]`: the queue of a car service.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::auth::check_url;
use super::broker::{self, BrokerUrl};
use super::{ConfigError, Secret};

/// The queue of a car service: displays, mechanics, customers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoConfig {
    /// Whether it is served; turns `[auth]` on as well. Default false.
    pub enabled: bool,
    /// The id of its app. Default: the first of `[[apps]]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// What the order service sends as `X-Webhook-Token`. Absent: it signs its requests
    /// with the app's secret instead, which it may always do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_token: Option<Secret>,
    /// A port of its own, which serves everything that the main one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Milliseconds between two updates of the displays. Default 3,000.
    pub broadcast_interval_ms: u64,
    /// Whether a display is told what it shows already. Default true.
    pub send_unchanged: bool,
    /// Seconds after which it is told even so. Default 30.
    pub heartbeat_s: u32,
    /// Whether displays need no token; they see no customers then. Default false.
    pub public_displays: bool,
    /// Where the pages have pusher-js from. Default: the hosted service's copy.
    pub pusher_js: String,
    /// Minutes that the clock of the car service is before UTC. Default 0.
    pub utc_offset_minutes: i16,
    /// The database with the table `sto_orders`, which is only read. Absent: the orders
    /// are those that hooks have told this node of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orders_url: Option<Secret>,
    /// Where RabbitMQ is. Absent: nobody else hears of orders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_url: Option<BrokerUrl>,
    /// Messages of one queue that may be on their way to us. Default 10.
    pub prefetch: u16,
    /// Messages that wait while the broker is out of reach. Default 1,000.
    pub outbox: u32,
    /// What becomes of messages that mean nothing. Default app.
    pub dead_letters: DeadLetters,
}

/// What becomes of messages that mean nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetters {
    /// They are put into the queue `sto.dead`.
    #[default]
    App,
    /// They are rejected, and a policy of the broker says where they go.
    Policy,
    /// They are gone.
    Drop,
}

impl Default for StoConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            app: None,
            webhook_token: None,
            port: None,
            broadcast_interval_ms: 3_000,
            send_unchanged: true,
            heartbeat_s: 30,
            public_displays: false,
            pusher_js: "https://js.pusher.com/8.6.0/pusher.min.js".to_owned(),
            utc_offset_minutes: 0,
            orders_url: None,
            broker_url: None,
            prefetch: 10,
            outbox: 1_000,
            dead_letters: DeadLetters::App,
        }
    }
}

impl StoConfig {
    /// See `broadcast_interval_ms`.
    #[must_use]
    pub fn broadcast_interval(&self) -> Duration {
        Duration::from_millis(self.broadcast_interval_ms)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let bad = |key: &str, value: &str, expected: &str| {
            Err(ConfigError::bad_value(
                &format!("adapters.sto.{key}"),
                value,
                expected,
                None,
            ))
        };
        let token = self.webhook_token.as_ref().map(Secret::reveal);
        if token.is_some_and(str::is_empty) {
            return Err(ConfigError::missing(
                "adapters.sto.webhook_token".to_owned(),
                "a text that is not empty; without the key requests must be signed",
            ));
        }
        if !(100..=3_600_000).contains(&self.broadcast_interval_ms) {
            let value = self.broadcast_interval_ms.to_string();
            return bad(
                "broadcast_interval_ms",
                &value,
                "a number of milliseconds from 100 to 3,600,000",
            );
        }
        if !(1..=86_400).contains(&self.heartbeat_s) {
            let value = self.heartbeat_s.to_string();
            return bad(
                "heartbeat_s",
                &value,
                "a number of seconds from 1 to 86,400",
            );
        }
        check_url("adapters.sto.pusher_js", Some(&self.pusher_js))?;
        if !(-840..=840).contains(&self.utc_offset_minutes) {
            let value = self.utc_offset_minutes.to_string();
            return bad(
                "utc_offset_minutes",
                &value,
                "a number of minutes from -840 to 840, such as 300 for UTC+5",
            );
        }
        let orders = self.orders_url.as_ref().map(Secret::reveal);
        let is_database = |url: &str| {
            (url.starts_with("postgres://") || url.starts_with("postgresql://"))
                && url.parse::<sqlx::postgres::PgConnectOptions>().is_ok()
        };
        if orders.is_some_and(|url| !is_database(url)) {
            // It may hold a password.
            return bad(
                "orders_url",
                "what is set",
                "postgres://USER:PASSWORD@HOST:PORT/DATABASE",
            );
        }
        if let Some(url) = self.broker_url.as_ref().filter(|url| url.parse().is_none()) {
            return bad("broker_url", &url.masked(), broker::EXPECTED_URL);
        }
        if self.prefetch == 0 {
            return bad("prefetch", "0", "a number from 1 to 65,535");
        }
        if !(1..=100_000).contains(&self.outbox) {
            let value = self.outbox.to_string();
            return bad("outbox", &value, "a number of messages from 1 to 100,000");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_served_is_refused_by_its_key() {
        for (change, key) in [
            (
                (|sto| sto.webhook_token = Some("".into())) as fn(&mut StoConfig),
                "webhook_token",
            ),
            (
                |sto| sto.broadcast_interval_ms = 99,
                "broadcast_interval_ms",
            ),
            (|sto| sto.heartbeat_s = 0, "heartbeat_s"),
            (|sto| sto.pusher_js = "pusher.js".to_owned(), "pusher_js"),
            (|sto| sto.utc_offset_minutes = 841, "utc_offset_minutes"),
            (
                |sto| sto.orders_url = Some("mysql://me:secret@host/".into()),
                "orders_url",
            ),
            (
                |sto| sto.broker_url = Some("amqps://me:secret@host".into()),
                "broker_url",
            ),
            (|sto| sto.prefetch = 0, "prefetch"),
            (|sto| sto.outbox = 0, "outbox"),
        ] {
            let mut config = StoConfig::default();
            assert!(config.check().is_ok());
            change(&mut config);

            let error = config.check().unwrap_err().to_string();

            assert!(error.contains(&format!("adapters.sto.{key}")), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
