//! The names of the environment, and how their values are read.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use super::{ConfigError, Secret};

/// Every name, its default and what it is for: the table of docs/adapters/orders.md.
pub const ORDER_WORKER_NAMES: &[(&str, &str, &str)] = &[
    ("ROSREESTR_USER_NAME", "-", "the account of this worker"),
    ("DB_HOST", "localhost", "PostgreSQL"),
    ("DB_PORT", "5432", "its port"),
    ("DB_USERNAME", "postgres", "its user"),
    (
        "DB_PASSWORD",
        "-",
        "the password; without it DB_PASSWORD_FILE counts",
    ),
    (
        "DB_PASSWORD_FILE",
        "/run/secrets/db-password",
        "a file with the password, if it is there",
    ),
    ("DB_NAME", "rosreestr_extracts", "the database"),
    ("REDIS_HOST", "localhost", "Redis"),
    ("REDIS_PORT", "6379", "its port"),
    ("REDIS_PASSWORD", "-", "its password"),
    (
        "REDIS_DB",
        "0",
        "its database; the same as that of the producers",
    ),
    (
        "REDIS_URL",
        "-",
        "in place of these four, for TLS, users, Sentinel and Cluster",
    ),
    ("BULL_QUEUE", "order-processing", "the name of the queue"),
    (
        "BULL_PREFIX",
        "bull",
        "the prefix of the queue; on a Redis Cluster `{bull}`",
    ),
    (
        "BULL_LOCK_MS",
        "30000",
        "a lock lasts so long; it is renewed twice in that time",
    ),
    (
        "BULL_STALLED_MS",
        "30000",
        "between two looks for jobs whose worker is gone",
    ),
    (
        "ROSREESTR_CRYPTO_SECRET",
        "-",
        "what passwords are sealed with",
    ),
    (
        "ROSREESTR_CRYPTO_SECRET_PREVIOUS",
        "-",
        "the secret of before, which still opens",
    ),
    (
        "ROSREESTR_CRYPTO_FORMAT",
        "v1",
        "v0 while services in Node still read the column",
    ),
    ("ROSREESTR_CLIENT", "stub", "stub, gateway or cabinet"),
    ("ROSREESTR_BASE_URL", "-", "of the gateway or the cabinet"),
    (
        "ROSREESTR_GATEWAY_TOKEN",
        "-",
        "what the gateway knows us by",
    ),
    (
        "ROSREESTR_CA_FILE",
        "-",
        "the only authorities that are trusted there",
    ),
    (
        "ROSREESTR_INTERVAL_MS",
        "2000",
        "between two requests of this account",
    ),
    (
        "ROSREESTR_TIMEOUT_MS",
        "25000",
        "for one answer; shorter than the lock",
    ),
    (
        "ROSREESTR_STUB_MS",
        "3000",
        "time that the stub takes for an order",
    ),
    (
        "ROSREESTR_POLL_MS",
        "60000",
        "between two questions whether a document is ready",
    ),
    (
        "PUSHER_APP_ID",
        "-",
        "the app that hears of orders; without it nobody does",
    ),
    ("PUSHER_APP_KEY", "-", "its key"),
    ("PUSHER_APP_SECRET", "-", "its secret"),
    ("PUSHER_HOST", "127.0.0.1", "where Fanfare is"),
    ("PUSHER_PORT", "6001", "its port"),
    ("PUSHER_SCHEME", "http", "http or https"),
    (
        "PUSHER_PUBLIC_URL",
        "-",
        "where browsers find Fanfare, if that is elsewhere",
    ),
    (
        "ORDER_WORKER_HOST",
        "127.0.0.1",
        "address of the port below",
    ),
    (
        "ORDER_WORKER_PORT",
        "-",
        "metrics and health of a worker; the API: 5004",
    ),
    (
        "ORDER_WORKER_GRACE_MS",
        "30000",
        "time that an order has when the worker stops",
    ),
    (
        "ORDER_WORKER_ALERT_FAILED",
        "10",
        "jobs that fail in ten minutes before an `alert`",
    ),
    (
        "JWT_SECRET",
        "-",
        "what the tokens of administrators are signed with; for the API",
    ),
    (
        "PUSHER_JS_URL",
        "https://js.pusher.com/8.6.0/pusher.min.js",
        "pusher-js for the page of the API",
    ),
    ("LOG_LEVEL", "info", "as `log.level` of the server"),
    ("LOG_FORMAT", "auto", "auto, text or json"),
    ("ORDER_STORE", "pg", "nothing else"),
    (
        "ORDERS_SERVICE_HOST",
        "-",
        "not used: orders are written to the database",
    ),
    ("ORDERS_SERVICE_PORT", "-", "not used"),
    (
        "BCRYPT_SALT_ROUNDS",
        "-",
        "not used: passwords that must be read again cannot be hashed",
    ),
];

/// The variables. One that is empty says nothing.
pub(super) struct Names<'a>(pub(super) &'a HashMap<String, String>);

impl<'a> Names<'a> {
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        debug_assert!(
            name == "PUSHER_KEY" || ORDER_WORKER_NAMES.iter().any(|(known, ..)| *known == name),
            "{name} is not in the table"
        );
        let text = self.0.get(name)?.trim();
        (!text.is_empty()).then_some(text)
    }

    pub(super) fn secret(&self, name: &str) -> Option<Secret> {
        let text = self.0.get(name)?.trim();
        (!text.is_empty()).then(|| text.into())
    }

    pub(super) fn number<T: FromStr>(
        &self,
        name: &str,
        default: T,
        expected: &str,
    ) -> Result<T, ConfigError> {
        match self.text(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| bad(name, text, expected)),
        }
    }

    pub(super) fn port(&self, name: &str, default: u16) -> Result<u16, ConfigError> {
        self.number(name, default, "a port from 0 to 65535")
    }

    pub(super) fn milliseconds(&self, name: &str, default: u64) -> Result<Duration, ConfigError> {
        let expected = "a number of milliseconds up to 86,400,000";
        let number = self.number(name, default, expected)?;
        if number > 86_400_000 {
            return Err(bad(name, &number.to_string(), expected));
        }
        Ok(Duration::from_millis(number))
    }
}

/// A value that cannot be.
pub(super) fn bad(name: &str, value: &str, expected: &str) -> ConfigError {
    ConfigError::bad_value(name, value, expected, None)
}
