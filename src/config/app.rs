//! `[[apps]]`: the tenants of the file.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use fanfare_protocol::{AppId, AppKey, AppSecret, Limits};
use figment::Figment;
use figment::providers::Serialized;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use super::history::MAX_RULES;
use super::{ConfigError, HistoryRuleConfig, WebhookConfig};
use crate::apps::{App, KeyPair, OverQuota};

/// What the app is called when none is configured, as soketi users know it.
const DEFAULT_ID: &str = "app-id";
const DEFAULT_KEY: &str = "app-key";
const DEFAULT_SECRET: &str = "app-secret";

/// The largest number of client events per second, which is to say no limit.
pub const MAX_RATE: u32 = 1_000_000;

/// Webhooks of one app: each costs a look at every event of the app.
const MAX_WEBHOOKS: usize = 20;

/// What stands in the place of a secret.
pub const MASK: &str = "..";

/// A URL without its password. What has no scheme is not shown at all: nobody knows where
/// in it a password is.
pub(super) fn masked_url(text: &str) -> String {
    let is_scheme = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'+')
    };
    let parts = text.split_once("://");
    let Some((scheme, rest)) = parts.filter(|(scheme, _)| is_scheme(scheme)) else {
        return MASK.to_owned();
    };
    match rest.rsplit_once('@') {
        None => text.to_owned(),
        Some((user, rest)) => {
            // Alone, it may be the password.
            let username = user.split_once(':').map_or("", |(username, _)| username);
            format!("{scheme}://{username}:{MASK}@{rest}")
        }
    }
}

/// What an error says of an origin.
pub(super) const EXPECTED_ORIGIN: &str =
    "an origin as browsers send it, such as https://shop.example";

/// One app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppConfig {
    /// The id in HTTP API paths; the Python SDK wants digits only.
    pub id: String,
    /// The public key, for an app with one key pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The secret that goes with `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// Key pairs that are valid at the same time, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyConfig>,
    /// Off: clients are refused with 4003, the API with 403. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// On: plain connections are refused with 4000. Default false.
    #[serde(default)]
    pub tls_only: bool,
    /// Whether clients may send `client-…` events. Default false.
    #[serde(default)]
    pub client_events: bool,
    /// Whether subscribers are told how many they are. Default false.
    #[serde(default)]
    pub subscription_count: bool,
    /// Whether signed-in users hear of the users they watch. Default false.
    #[serde(default)]
    pub watchlist: bool,
    /// Whether a connection must sign in or subscribe to a private channel
    /// within `connection.authorization_timeout`. Default false.
    #[serde(default)]
    pub authorized_connections: bool,
    /// Whether a refused subscription is told to its channel too. Default true.
    #[serde(default = "yes")]
    pub subscription_errors: bool,
    /// Whether answers of the HTTP API have the member `"ok":true`, as those of
    /// soketi. Default false.
    #[serde(default)]
    pub soketi_answers: bool,
    /// What a connection above `limits.connections` is told: `retry_later`
    /// (4100) or `refuse` (4004). Default `retry_later`.
    #[serde(default)]
    pub over_quota: OverQuota,
    /// Whether a session belongs to the first user who is known on it, so that
    /// nobody else can take it over. Default false.
    #[serde(default)]
    pub bind_sessions: bool,
    /// Origins of pages that may connect. Default: all.
    #[serde(default)]
    pub allowed_origins: Vec<String>,
    /// A preset for `limits.connections` and `limits.messages_per_day`, where
    /// those are not set. Default `unlimited`.
    #[serde(default)]
    pub plan: Plan,
    /// Whether events that come shortly after one another share a webhook
    /// request. Default true.
    #[serde(default = "yes")]
    pub webhook_batching: bool,
    /// What the back end is told, and where.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<WebhookConfig>,
    /// Which channels keep their past events. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryRuleConfig>,
    /// Sizes, counts and rates.
    #[serde(default)]
    pub limits: Limits,
}

/// A preset of limits, as plans of the hosted service set them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// 100 connections, 200,000 messages a day: Pusher's free plan.
    Sandbox,
    /// 500 connections, 1 million messages a day.
    Startup,
    /// 2,000 connections, 5 million messages a day.
    Pro,
    /// No limit.
    #[default]
    Unlimited,
}

impl Plan {
    fn apply(self, limits: &Limits) -> Limits {
        let (connections, messages) = match self {
            Self::Sandbox => (100, 200_000),
            Self::Startup => (500, 1_000_000),
            Self::Pro => (2_000, 5_000_000),
            Self::Unlimited => return limits.clone(),
        };
        Limits {
            connections: limits.connections.or(Some(connections)),
            messages_per_day: limits.messages_per_day.or(Some(messages)),
            ..limits.clone()
        }
    }
}

/// A key and its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// The public half.
    pub key: String,
    /// The half that signs.
    pub secret: Secret,
}

impl KeyConfig {
    /// A new pair. Key and secret are as hosted ones are: lower-case hex, which
    /// suits the Swift client.
    #[must_use]
    pub fn random() -> Self {
        let hex = || {
            rand::random::<[u8; 10]>()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        Self {
            key: hex(),
            secret: Secret(hex() + &hex()),
        }
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text, for the one who needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

fn yes() -> bool {
    true
}

impl AppConfig {
    /// An app with one key pair, everything at its default.
    #[must_use]
    pub fn new(id: &str, key: &str, secret: &str) -> Self {
        Self {
            id: id.to_owned(),
            key: Some(key.to_owned()),
            secret: Some(secret.into()),
            keys: Vec::new(),
            enabled: true,
            tls_only: false,
            client_events: false,
            subscription_count: false,
            watchlist: false,
            authorized_connections: false,
            subscription_errors: true,
            soketi_answers: false,
            over_quota: OverQuota::default(),
            bind_sessions: false,
            allowed_origins: Vec::new(),
            plan: Plan::default(),
            webhook_batching: true,
            webhooks: Vec::new(),
            history: Vec::new(),
            limits: Limits::default(),
        }
    }

    /// The settings of an app that stands in no file of ours. Its plan is in its
    /// limits.
    #[must_use]
    pub fn of(app: &App) -> Self {
        let pair = |pair: &KeyPair| KeyConfig {
            key: pair.key.to_string(),
            secret: pair.secret.reveal().into(),
        };
        Self {
            id: app.id.to_string(),
            key: None,
            secret: None,
            keys: app.keys.iter().map(pair).collect(),
            enabled: app.enabled,
            tls_only: app.tls_only,
            client_events: app.client_events,
            subscription_count: app.subscription_count,
            watchlist: app.watchlist,
            authorized_connections: app.authorized_connections,
            subscription_errors: app.subscription_errors,
            soketi_answers: app.soketi_answers,
            over_quota: app.over_quota,
            bind_sessions: app.bind_sessions,
            allowed_origins: app.allowed_origins.clone(),
            plan: Plan::Unlimited,
            webhook_batching: app.webhook_batching,
            webhooks: app
                .webhooks
                .iter()
                .map(|webhook| WebhookConfig::of(webhook))
                .collect(),
            history: app.history.iter().map(HistoryRuleConfig::of).collect(),
            limits: app.limits.clone(),
        }
    }

    /// The app of a server that was not told of any.
    #[must_use]
    pub fn default_app() -> Self {
        Self {
            client_events: true,
            ..Self::new(DEFAULT_ID, DEFAULT_KEY, DEFAULT_SECRET)
        }
    }

    /// Reads one app from settings of the environment on top of the default app.
    pub(super) fn from_settings<'a>(
        settings: impl Iterator<Item = (&'a str, figment::value::Value)>,
    ) -> Result<Self, Box<figment::Error>> {
        let base = Self::default_app();
        let mut figment = Figment::from(Serialized::defaults(&base))
            // Serialised secrets are masked.
            .merge(("secret", DEFAULT_SECRET));
        for (key, value) in settings {
            figment = figment.merge((key, value));
        }
        figment.extract().map_err(Box::new)
    }

    /// Whether anybody can sign for it.
    #[must_use]
    pub fn has_default_credentials(&self) -> bool {
        self.pairs()
            .iter()
            .any(|pair| pair.secret.reveal() == DEFAULT_SECRET)
    }

    /// An id for an app that was given none: digits alone suit every SDK.
    #[must_use]
    pub fn random_id() -> String {
        rand::random_range(1_000_000..10_000_000_u32).to_string()
    }

    /// All key pairs.
    #[must_use]
    pub fn pairs(&self) -> Vec<KeyConfig> {
        let single = self.key.clone().zip(self.secret.clone());
        single
            .map(|(key, secret)| KeyConfig { key, secret })
            .into_iter()
            .chain(self.keys.iter().cloned())
            .collect()
    }

    /// Checks an app that stands in no file.
    ///
    /// # Errors
    /// The first value that it cannot have.
    pub fn check_alone(&self) -> Result<(), ConfigError> {
        self.check("app")
    }

    /// `path` is where the app stands.
    pub(super) fn check(&self, path: &str) -> Result<(), ConfigError> {
        let bad = |name: &str, value: &str, expected: &str| {
            ConfigError::bad_value(&format!("{path}.{name}"), value, expected, None)
        };
        if !is_path_segment(&self.id) {
            return Err(bad(
                "id",
                &self.id,
                "letters, digits, dots, - and _ (digits alone suit every SDK)",
            ));
        }
        let missing = |name: &str| {
            ConfigError::missing(
                format!("{path}.{name}"),
                "key and secret, or keys = [{ key = \"…\", secret = \"…\" }]",
            )
        };
        if self.key.is_some() != self.secret.is_some() {
            return Err(missing(if self.key.is_some() { "secret" } else { "key" }));
        }
        let pairs = self.pairs();
        if pairs.is_empty() {
            return Err(missing("key"));
        }
        for pair in &pairs {
            if !is_path_segment(&pair.key) {
                return Err(bad("key", &pair.key, "letters, digits, dots, - and _"));
            }
            if pair.secret.reveal().is_empty() {
                return Err(bad("secret", "", "a secret that is not empty"));
            }
        }
        for origin in &self.allowed_origins {
            if !is_origin(origin) {
                return Err(bad("allowed_origins", origin, EXPECTED_ORIGIN));
            }
        }
        self.check_webhooks(&bad)?;
        self.check_history(&bad)?;
        self.check_limits(&bad)
    }

    fn check_webhooks(
        &self,
        bad: &impl Fn(&str, &str, &str) -> ConfigError,
    ) -> Result<(), ConfigError> {
        if self.webhooks.len() > MAX_WEBHOOKS {
            let expected = format!("at most {MAX_WEBHOOKS} webhooks");
            return Err(bad("webhooks", &self.webhooks.len().to_string(), &expected));
        }
        let mut ids = HashSet::new();
        for (index, webhook) in self.webhooks.iter().enumerate() {
            let at = |key: &str| format!("webhooks[{index}].{key}");
            let checked = webhook.to_webhook().map_err(|invalid| {
                let shown = webhook.shown(invalid.key);
                bad(&at(invalid.key), shown, &invalid.expected)
            })?;
            if !ids.insert(checked.id) {
                let expected =
                    "a webhook that differs from those before it in URL, events or channels";
                return Err(bad(&at("url"), webhook.shown("url"), expected));
            }
        }
        Ok(())
    }

    fn check_history(
        &self,
        bad: &impl Fn(&str, &str, &str) -> ConfigError,
    ) -> Result<(), ConfigError> {
        if self.history.len() > MAX_RULES {
            let expected = format!("at most {MAX_RULES} patterns");
            return Err(bad("history", &self.history.len().to_string(), &expected));
        }
        for (index, rule) in self.history.iter().enumerate() {
            if let Some((key, value, expected)) = rule.wrong() {
                return Err(bad(&format!("history[{index}].{key}"), &value, &expected));
            }
        }
        Ok(())
    }

    fn check_limits(
        &self,
        bad: &impl Fn(&str, &str, &str) -> ConfigError,
    ) -> Result<(), ConfigError> {
        let limits = &self.limits;
        let per_second = |limit: Option<u32>| limit.map(|limit| limit as usize);
        for (name, value) in [
            (
                "backend_events_per_second",
                per_second(limits.backend_events_per_second),
            ),
            ("reads_per_second", per_second(limits.reads_per_second)),
            (
                "app_client_events_per_second",
                per_second(limits.app_client_events_per_second),
            ),
            (
                "messages_per_second",
                per_second(limits.messages_per_second),
            ),
        ] {
            if value.is_some_and(|value| !(1..=MAX_RATE as usize).contains(&value)) {
                return Err(bad(
                    &format!("limits.{name}"),
                    &value.unwrap_or_default().to_string(),
                    &format!("a whole number from 1 to {MAX_RATE}, or nothing for no limit"),
                ));
            }
        }
        for (name, value, range) in [
            ("channel_name_length", limits.channel_name_length, 1..=200),
            ("event_name_length", limits.event_name_length, 1..=200),
            ("event_data_bytes", limits.event_data_bytes, 1..=200 << 10),
            ("channels_per_event", limits.channels_per_event, 1..=1_000),
            ("events_per_batch", limits.events_per_batch, 1..=1_000),
            ("presence_members", limits.presence_members, 1..=10_000),
            (
                "presence_user_id_length",
                limits.presence_user_id_length,
                1..=1_024,
            ),
            (
                "presence_user_info_bytes",
                limits.presence_user_info_bytes,
                1..=16 << 10,
            ),
            (
                "client_events_per_second",
                limits.client_events_per_second as usize,
                1..=MAX_RATE as usize,
            ),
            ("watchlist_ids", limits.watchlist_ids, 1..=10_000),
            ("cache_seconds", limits.cache_seconds as usize, 1..=86_400),
            (
                "channels_per_connection",
                limits.channels_per_connection,
                1..=1_000_000,
            ),
        ] {
            if !range.contains(&value) {
                let expected = format!("a whole number from {} to {}", range.start(), range.end());
                return Err(bad(
                    &format!("limits.{name}"),
                    &value.to_string(),
                    &expected,
                ));
            }
        }
        Ok(())
    }

    /// The app as the server knows it. Call it after the configuration was
    /// checked; a key without its secret is left out, and so is a webhook that
    /// cannot be used.
    #[must_use]
    pub fn to_app(&self) -> App {
        App {
            id: AppId::new(&self.id),
            keys: self
                .pairs()
                .iter()
                .map(|pair| KeyPair {
                    key: AppKey::new(&pair.key),
                    secret: AppSecret::new(pair.secret.reveal()),
                })
                .collect(),
            enabled: self.enabled,
            tls_only: self.tls_only,
            client_events: self.client_events,
            subscription_count: self.subscription_count,
            watchlist: self.watchlist,
            authorized_connections: self.authorized_connections,
            subscription_errors: self.subscription_errors,
            soketi_answers: self.soketi_answers,
            over_quota: self.over_quota,
            bind_sessions: self.bind_sessions,
            allowed_origins: self.allowed_origins.clone(),
            webhook_batching: self.webhook_batching,
            webhooks: self
                .webhooks
                .iter()
                .filter_map(|webhook| webhook.to_webhook().ok().map(Arc::new))
                .collect(),
            history: self
                .history
                .iter()
                .map(HistoryRuleConfig::to_rule)
                .collect(),
            limits: self.plan.apply(&self.limits),
        }
    }
}

/// Whether `text` is an origin: no path, no slash at the end.
pub(super) fn is_origin(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, host)| {
        !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '?', '#', ' '])
    })
}

/// Ids and keys stand in URL paths, escaped by some clients and not by others;
/// dots alone would be steps in the path.
fn is_path_segment(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !text.bytes().all(|byte| byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, shown) in [
            ("redis://host:1/2", "redis://host:1/2"),
            ("amqp://me:se:cret@host/", "amqp://me:..@host/"),
            ("redis://secret@host", "redis://:..@host"),
            // The slashes stand in the wrong place.
            ("amqp:me:secret@host/?next=http://x", ".."),
        ] {
            assert_eq!(masked_url(url), shown);
        }
    }
}
