//! `[adapters]`: foreign systems that this server takes the place of.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::auth::check_url;
use super::broker::{self, BrokerUrl};
use super::sto::StoConfig;
use super::{ConfigError, Secret};

/// The longest grace, in milliseconds.
const MAX_GRACE_MS: u64 = 3_600_000;

/// The longest time for which updates are kept, in seconds: a day.
const MAX_OFFLINE_BUFFER_S: u32 = 86_400;

/// Forms of routing keys of one exchange.
const MAX_BINDINGS: usize = 8;

/// Bytes of a name in AMQP.
const MAX_NAME: usize = 255;

/// Foreign systems that this server takes the place of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptersConfig {
    /// Milliseconds that a departure waits for a return before an adapter hears of
    /// it. Default 3,000: pusher-js is back within about one second.
    pub vacate_grace_ms: u64,
    /// The call centre.
    pub rooms: RoomsConfig,
    /// The chat.
    pub chat: ChatConfig,
    /// The car service.
    pub sto: StoConfig,
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

/// Personal updates of a chat, from RabbitMQ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChatConfig {
    /// Whether they are served; turns `[auth]` on as well. Default false.
    pub enabled: bool,
    /// The id of its app. Default: the first of `[[apps]]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Where RabbitMQ is. Default `amqp://127.0.0.1:5672/`.
    pub url: BrokerUrl,
    /// The topic exchange that the chat publishes to and declares. Default
    /// `chat3_updates`.
    pub exchange: String,
    /// The forms of the routing keys of one user, in which `{userId}` and `{type}`
    /// stand for theirs. Default `user.{userId}.*`.
    pub bindings: Vec<String>,
    /// How many queues a node has. Default `auto`.
    pub queue_mode: QueueMode,
    /// Users of this node up to whom each has a queue of their own with `auto`; when
    /// more come, all share one. Default 5,000.
    pub per_node_above: u32,
    /// Updates of one queue that may be on their way to us. Default 50.
    pub prefetch: u16,
    /// Seconds for which updates wait for a user who has no page open. Default 0: they
    /// do not.
    pub offline_buffer_s: u32,
    /// What operators send to read what the adapter knows. Absent: only this machine
    /// itself may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// A back end that is asked who belongs to a dialog. Absent: dialogs have no
    /// channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub membership_url: Option<String>,
}

/// How many queues a node has for its users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueMode {
    /// One for each of the first users, and one for all others.
    #[default]
    Auto,
    /// One for each user.
    PerUser,
    /// One.
    PerNode,
}

impl Default for AdaptersConfig {
    fn default() -> Self {
        Self {
            vacate_grace_ms: 3_000,
            rooms: RoomsConfig::default(),
            chat: ChatConfig::default(),
            sto: StoConfig::default(),
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

impl Default for ChatConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            app: None,
            url: BrokerUrl::from("amqp://127.0.0.1:5672/"),
            exchange: "chat3_updates".to_owned(),
            bindings: vec!["user.{userId}.*".to_owned()],
            queue_mode: QueueMode::Auto,
            per_node_above: 5_000,
            prefetch: 50,
            offline_buffer_s: 0,
            token: None,
            membership_url: None,
        }
    }
}

impl ChatConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let bad = |key: &str, value: &str, expected: &str| {
            Err(ConfigError::bad_value(
                &format!("adapters.chat.{key}"),
                value,
                expected,
                None,
            ))
        };
        if self.url.parse().is_none() {
            return bad("url", &self.url.masked(), broker::EXPECTED_URL);
        }
        if !(1..=MAX_NAME).contains(&self.exchange.len()) {
            return bad("exchange", &self.exchange, "1 to 255 bytes");
        }
        if !(1..=MAX_BINDINGS).contains(&self.bindings.len()) {
            let value = format!("{} forms", self.bindings.len());
            return bad("bindings", &value, "1 to 8 forms of routing keys");
        }
        if let Some(binding) = self.bindings.iter().find(|binding| !is_binding(binding)) {
            return bad("bindings", binding, EXPECTED_BINDING);
        }
        if self.prefetch == 0 {
            return bad("prefetch", "0", "a number from 1 to 65,535");
        }
        if self.offline_buffer_s > MAX_OFFLINE_BUFFER_S {
            let value = self.offline_buffer_s.to_string();
            return bad(
                "offline_buffer_s",
                &value,
                "a number of seconds up to 86,400",
            );
        }
        if self.offline_buffer_s > 0 && self.queue_mode == QueueMode::PerNode {
            return bad(
                "queue_mode",
                "per_node",
                "per_user or auto while offline_buffer_s is set: what is kept for a user needs a queue of theirs",
            );
        }
        if self
            .token
            .as_ref()
            .is_some_and(|token| token.reveal().is_empty())
        {
            return Err(ConfigError::missing(
                "adapters.chat.token".to_owned(),
                "a text that is not empty",
            ));
        }
        check_url(
            "adapters.chat.membership_url",
            self.membership_url.as_deref(),
        )
    }
}

/// What a form of a routing key must be, for error messages.
const EXPECTED_BINDING: &str = "words with dots between them, one of which is {userId}, such as user.{userId}.*; {type} stands for what is before the first _ of an id, * for any word";

/// Whether it says in one place whose update it is.
fn is_binding(binding: &str) -> bool {
    let words: Vec<&str> = binding.split('.').collect();
    let is_word = |word: &str| match word {
        "*" | "{type}" | "{userId}" => true,
        word => !word.is_empty() && !word.contains(['*', '#', '{', '}']),
    };
    binding.len() + 128 <= MAX_NAME
        && words.iter().all(|word| is_word(word))
        && words.iter().filter(|word| **word == "{userId}").count() == 1
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
        self.chat.check()?;
        self.sto.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_names_one_user_and_no_more() {
        for binding in [
            "user.{userId}.*",
            "user.{type}.{userId}.*",
            "update.*.{type}.{userId}.*",
            "{userId}",
        ] {
            assert!(is_binding(binding), "{binding}");
        }
        for binding in [
            "",
            "#",
            "user.#",
            "user.*.*",
            "user.{userId}.#",
            "user.x{userId}.*",
            "user.{userId}.{userId}",
            "user..{userId}",
            "{user}.{userId}",
        ] {
            assert!(!is_binding(binding), "{binding}");
        }
    }

    #[test]
    fn what_cannot_be_served_is_refused_by_its_key() {
        let refused = |change: fn(&mut ChatConfig)| {
            let mut config = AdaptersConfig::default();
            change(&mut config.chat);
            config.check().unwrap_err().to_string()
        };
        for (change, key) in [
            (
                (|chat| chat.url = "amqp://".into()) as fn(&mut ChatConfig),
                "url",
            ),
            (|chat| chat.exchange.clear(), "exchange"),
            (|chat| chat.bindings.clear(), "bindings"),
            (|chat| chat.bindings = vec!["user.#".to_owned()], "bindings"),
            (|chat| chat.prefetch = 0, "prefetch"),
            (|chat| chat.offline_buffer_s = 86_401, "offline_buffer_s"),
            (
                |chat| {
                    chat.offline_buffer_s = 1;
                    chat.queue_mode = QueueMode::PerNode;
                },
                "queue_mode",
            ),
            (|chat| chat.token = Some("".into()), "token"),
            (
                |chat| chat.membership_url = Some("chat".to_owned()),
                "membership_url",
            ),
        ] {
            let error = refused(change);

            assert!(error.contains(&format!("adapters.chat.{key}")), "{error}");
        }
        assert!(!refused(|chat| chat.url = "amqp://u:secret@".into()).contains("secret"));
    }
}
