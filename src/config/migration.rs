//! What a configuration of soketi, Reverb or Pusher becomes here.
//!
//! Reads an env file, or soketi's JSON, and finds out which configuration it is
//! here, what behaves differently, and what is lost. Changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::Value;
use toml::Table;

use super::app::MAX_RATE;
use super::unsupported::{Loss, advice};
use super::{Config, ConfigError, Effect, Loaded, Sources};

/// The server that somebody comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// soketi 1.x.
    Soketi,
    /// Laravel Reverb.
    Reverb,
    /// The hosted service.
    Pusher,
}

/// What a configuration becomes.
#[derive(Clone, Debug)]
pub struct Migration {
    /// The configuration here.
    pub config: Config,
    /// What sets what.
    pub understood: Vec<String>,
    /// What behaves differently, and how to have it as before.
    pub changes: Vec<String>,
    /// What is not done here, and what to do about it.
    pub lost: Vec<String>,
}

/// A default of another server that is not ours.
struct Default {
    key: &'static str,
    theirs: &'static str,
    meaning: &'static str,
}

const fn default(key: &'static str, theirs: &'static str, meaning: &'static str) -> Default {
    Default {
        key,
        theirs,
        meaning,
    }
}

const SOKETI_DEFAULTS: &[Default] = &[
    default("server.host", "0.0.0.0", "the address that is listened on"),
    default(
        "connection.activity_timeout",
        "30",
        "the silence that clients allow",
    ),
    default(
        "server.shutdown_grace",
        "3",
        "the time to send clients away",
    ),
    default(
        "apps.limits.event_data_bytes",
        "102400",
        "the data of one event",
    ),
    default(
        "apps.limits.channel_name_length",
        "200",
        "the length of a channel name",
    ),
    default(
        "apps.limits.presence_user_info_bytes",
        "2048",
        "the data of a presence member",
    ),
    default(
        "apps.limits.cache_seconds",
        "3600",
        "how long the event of a cache channel is kept",
    ),
    default(
        "apps.limits.client_events_per_second",
        "1000000",
        "client events per second and connection",
    ),
];

const REVERB_DEFAULTS: &[Default] = &[
    default("server.host", "0.0.0.0", "the address that is listened on"),
    default("server.port", "8080", "the port"),
    default(
        "connection.activity_timeout",
        "30",
        "the silence that clients allow",
    ),
    default(
        "connection.ping_after",
        "60",
        "the silence that the server allows",
    ),
    default(
        "connection.max_message_bytes",
        "10000",
        "the size of a client's message",
    ),
];

/// Bytes of a value in an env file. A longer one is cut: the environment of a process
/// could not hold it either.
const MAX_VALUE: usize = 128 << 10;

/// Names in soketi's JSON that are called otherwise in the environment.
const JSON_NAMES: &[(&str, &str)] = &[
    ("host", "SOKETI_HOST"),
    ("port", "SOKETI_PORT"),
    ("pathPrefix", "SOKETI_PATH_PREFIX"),
    ("debug", "SOKETI_DEBUG"),
    ("mode", "SOKETI_MODE"),
    ("shutdownGracePeriod", "SOKETI_SHUTDOWN_GRACE_PERIOD"),
    (
        "userAuthenticationTimeout",
        "SOKETI_USER_AUTHENTICATION_TIMEOUT",
    ),
    ("ssl.certPath", "SOKETI_SSL_CERT"),
    ("ssl.keyPath", "SOKETI_SSL_KEY"),
    ("ssl.passphrase", "SOKETI_SSL_PASS"),
    ("ssl.caPath", "SOKETI_SSL_CA"),
    ("metrics.host", "SOKETI_METRICS_HOST"),
    ("metrics.port", "SOKETI_METRICS_SERVER_PORT"),
    ("metrics.enabled", "SOKETI_METRICS_ENABLED"),
    ("metrics.driver", "SOKETI_METRICS_DRIVER"),
    (
        "metrics.prometheus.prefix",
        "SOKETI_METRICS_PROMETHEUS_PREFIX",
    ),
    ("httpApi.requestLimitInMb", "SOKETI_HTTP_MAX_REQUEST_SIZE"),
    (
        "httpApi.acceptTraffic.memoryThreshold",
        "SOKETI_HTTP_ACCEPT_TRAFFIC_MEMORY_THRESHOLD",
    ),
];

/// Beginnings of names in soketi's JSON, and of those in the environment.
const JSON_SECTIONS: &[(&str, &str)] = &[
    ("adapter.", "SOKETI_ADAPTER_"),
    ("appManager.", "SOKETI_APP_MANAGER_"),
    ("cache.", "SOKETI_CACHE_"),
    ("cluster.", "SOKETI_CLUSTER_"),
    ("database.", "SOKETI_DB_"),
    ("queue.", "SOKETI_QUEUE_"),
    ("rateLimiter.", "SOKETI_RATE_LIMITER_"),
    ("webhooks.", "SOKETI_WEBHOOKS_"),
];

/// Limits of all apps in soketi's JSON, and of one app in its list of apps: the
/// limit here, and how many of ours one of theirs is.
const JSON_LIMITS: &[(&str, &str, &str, i64)] = &[
    (
        "channelLimits.maxNameLength",
        "maxChannelNameLength",
        "channel_name_length",
        1,
    ),
    ("channelLimits.cacheTtl", "", "cache_seconds", 1),
    (
        "eventLimits.maxChannelsAtOnce",
        "maxEventChannelsAtOnce",
        "channels_per_event",
        1,
    ),
    (
        "eventLimits.maxNameLength",
        "maxEventNameLength",
        "event_name_length",
        1,
    ),
    (
        "eventLimits.maxPayloadInKb",
        "maxEventPayloadInKb",
        "event_data_bytes",
        1_024,
    ),
    (
        "eventLimits.maxBatchSize",
        "maxEventBatchSize",
        "events_per_batch",
        1,
    ),
    (
        "presence.maxMembersPerChannel",
        "maxPresenceMembersPerChannel",
        "presence_members",
        1,
    ),
    (
        "presence.maxMemberSizeInKb",
        "maxPresenceMemberSizeInKb",
        "presence_user_info_bytes",
        1_024,
    ),
    ("", "maxConnections", "connections", 1),
    (
        "",
        "maxClientEventsPerSecond",
        "client_events_per_second",
        1,
    ),
];

/// Switches of one app in soketi's JSON, and here.
const JSON_SWITCHES: &[(&str, &str)] = &[
    ("enabled", "enabled"),
    ("enableClientMessages", "client_events"),
    ("enableUserAuthentication", "authorized_connections"),
];

impl Migration {
    /// Reads the file of another server.
    ///
    /// # Errors
    /// The file cannot be read, or a value in it is one that cannot be here.
    pub fn read(from: From, path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::UnreadableFile {
            path: path.to_owned(),
            source,
        })?;
        Self::of_text(from, path, &text)
    }

    /// As [`Self::read`], with the content of the file given.
    pub(super) fn of_text(from: From, path: &Path, text: &str) -> Result<Self, ConfigError> {
        if from == From::Soketi && text.trim_start().starts_with('{') {
            let json = serde_json::from_str(text).map_err(|error| ConfigError::NotJson {
                path: path.to_owned(),
                source: error,
            })?;
            return Self::of_soketi_json(&json);
        }
        let variables = parse_env(text);
        let mut migration = Self::new(Config::from_table(Table::new(), &sources(&variables))?);
        migration.compare(from, &Table::new());
        for name in variables.keys() {
            if name.starts_with("VITE_") || name.starts_with("NEXT_PUBLIC_") {
                migration.understood.push(format!("{name} is for pages"));
            }
        }
        migration.understood.sort();
        Ok(migration)
    }

    fn new(loaded: Loaded) -> Self {
        let mut migration = Self {
            config: loaded.config,
            understood: Vec::new(),
            changes: Vec::new(),
            lost: Vec::new(),
        };
        for used in loaded.variables {
            let text = format!("{} {}", used.name, used.effect);
            match used.effect {
                Effect::Sets(_) | Effect::Ignored(_) => migration.understood.push(text),
                Effect::Overruled { .. } => migration.changes.push(text),
                Effect::Unsupported(_) => migration.lost.push(text),
            }
        }
        migration
    }

    fn of_soketi_json(json: &Value) -> Result<Self, ConfigError> {
        let mut flat = BTreeMap::new();
        flatten("", json, &mut flat);
        let mut variables = HashMap::new();
        let mut limits = Table::new();
        let mut unknown = Vec::new();
        let mut apps: BTreeMap<usize, BTreeMap<String, Value>> = BTreeMap::new();
        for (name, value) in flat {
            if let Some((index, member)) = app_member(&name) {
                apps.entry(index)
                    .or_default()
                    .insert(member.to_owned(), value);
            } else if let Some((.., limit, factor)) =
                JSON_LIMITS.iter().find(|(global, ..)| *global == name)
            {
                insert_limit(&mut limits, limit, *factor, &value);
            } else if let Some(variable) = variable_of(&name) {
                variables.insert(variable, plain(&value));
            } else {
                unknown.push(format!("{name} has no counterpart here"));
            }
        }
        let mut file = Table::new();
        let mut lost = Vec::new();
        let tables: Vec<toml::Value> = apps
            .iter()
            .map(|(index, members)| app_table(*index, members, &limits, &mut lost).into())
            .collect();
        if !tables.is_empty() {
            file.insert("apps".to_owned(), tables.into());
        }
        let mut migration = Self::new(Config::from_table(file.clone(), &sources(&variables))?);
        migration.compare(From::Soketi, &file);
        migration.lost.extend(lost);
        migration.lost.extend(unknown);
        if !apps.is_empty() {
            let count = apps.len();
            migration
                .understood
                .push(format!("appManager.array.apps sets {count} [[apps]]"));
        }
        migration.understood.sort();
        Ok(migration)
    }

    /// Finds the defaults that are others here.
    fn compare(&mut self, from: From, file: &Table) {
        let defaults = match from {
            From::Soketi => SOKETI_DEFAULTS,
            From::Reverb => REVERB_DEFAULTS,
            From::Pusher => &[],
        };
        let is_set = |key: &str| {
            let in_app = key.strip_prefix("apps.");
            let variable = in_app.map_or_else(|| key.to_owned(), |rest| format!("app.{rest}"));
            let in_file = in_app.is_some_and(|rest| {
                let pointer = rest.split('.').next_back().unwrap_or(rest);
                file.get("apps")
                    .and_then(toml::Value::as_array)
                    .is_some_and(|apps| {
                        apps.iter().any(|app| {
                            app.get("limits")
                                .is_some_and(|limits| limits.get(pointer).is_some())
                        })
                    })
            });
            in_file
                || self
                    .understood
                    .iter()
                    .any(|text| text.ends_with(&format!(" sets {variable}")))
        };
        let changes: Vec<String> = defaults
            .iter()
            .filter(|default| !is_set(default.key))
            .map(|default| {
                format!(
                    "{}: the default for {} is another one here; {} is what it was",
                    default.key, default.meaning, default.theirs
                )
            })
            .collect();
        self.changes.extend(changes);
    }
}

fn sources(variables: &HashMap<String, String>) -> Sources {
    Sources {
        variables: variables.clone(),
        ..Sources::default()
    }
}

/// The variables of an env file: `NAME=value`, with or without `export` and
/// quotes; `${NAME}` stands for a variable above.
fn parse_env(text: &str) -> HashMap<String, String> {
    let mut variables = HashMap::new();
    for line in text.lines() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let name = name.trim();
        let is_name = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            continue;
        }
        let value = unquote(value.trim(), &variables);
        variables.insert(name.to_owned(), value);
    }
    variables
}

fn unquote(value: &str, variables: &HashMap<String, String>) -> String {
    if let Some(rest) = value.strip_prefix('\'') {
        return rest.split('\'').next().unwrap_or_default().to_owned();
    }
    let text = match value.strip_prefix('"') {
        Some(rest) => rest.split('"').next().unwrap_or_default(),
        None => value.split(" #").next().unwrap_or_default().trim_end(),
    };
    let mut replaced = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        append(&mut replaced, before);
        let Some((name, after)) = after.split_once('}') else {
            rest = after;
            break;
        };
        append(
            &mut replaced,
            variables.get(name).map_or("", String::as_str),
        );
        rest = after;
    }
    append(&mut replaced, rest);
    replaced
}

/// Adds at most what fits. Values may repeat others that repeat others, and a file of
/// thirty such lines would fill any memory.
fn append(value: &mut String, more: &str) {
    let room = MAX_VALUE.saturating_sub(value.len());
    value.push_str(&more[..more.floor_char_boundary(room)]);
}

/// Objects and lists become names with dots, as soketi allows them too.
fn flatten(prefix: &str, value: &Value, flat: &mut BTreeMap<String, Value>) {
    let join = |name: &str| match prefix {
        "" => name.to_owned(),
        prefix => format!("{prefix}.{name}"),
    };
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                flatten(&join(name), value, flat);
            }
        }
        Value::Array(elements) => {
            for (index, value) in elements.iter().enumerate() {
                flatten(&join(&index.to_string()), value, flat);
            }
        }
        value => {
            flat.insert(prefix.to_owned(), value.clone());
        }
    }
}

/// The index of an app, and the name of one of its members.
fn app_member(name: &str) -> Option<(usize, &str)> {
    let rest = name.strip_prefix("appManager.array.apps.")?;
    let (index, member) = rest.split_once('.')?;
    Some((index.parse().ok()?, member))
}

fn variable_of(name: &str) -> Option<String> {
    if let Some((_, variable)) = JSON_NAMES.iter().find(|(json, _)| *json == name) {
        return Some((*variable).to_owned());
    }
    JSON_SECTIONS.iter().find_map(|(section, prefix)| {
        let rest = name.strip_prefix(section)?;
        let rest = rest.replace('.', "_").to_ascii_uppercase();
        Some(format!("{prefix}{rest}"))
    })
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn insert_limit(limits: &mut Table, limit: &str, factor: i64, value: &Value) {
    let number = value
        .as_i64()
        .or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
    match number {
        // No limit: the largest that we have, or none at all.
        Some(..0) if limit == "client_events_per_second" => {
            limits.insert(limit.to_owned(), i64::from(MAX_RATE).into());
        }
        Some(number @ 0..) => {
            limits.insert(limit.to_owned(), number.saturating_mul(factor).into());
        }
        _ => {}
    }
}

fn app_table(
    index: usize,
    members: &BTreeMap<String, Value>,
    of_all: &Table,
    lost: &mut Vec<String>,
) -> Table {
    let mut app = Table::new();
    let mut limits = of_all.clone();
    let mut has_webhooks = false;
    for (name, value) in members {
        let switch = JSON_SWITCHES.iter().find(|(theirs, _)| theirs == name);
        let limit = JSON_LIMITS.iter().find(|(_, theirs, ..)| theirs == name);
        if matches!(name.as_str(), "id" | "key" | "secret") {
            app.insert(name.clone(), plain(value).into());
        } else if let Some((_, ours)) = switch {
            let is_on = matches!(plain(value).as_str(), "true" | "1");
            app.insert((*ours).to_owned(), is_on.into());
        } else if let Some((.., ours, factor)) = limit {
            insert_limit(&mut limits, ours, *factor, value);
        } else if name.starts_with("webhooks") {
            has_webhooks = true;
        } else if !matches!(plain(value).as_str(), "-1" | "") {
            let variable = match name.as_str() {
                "maxBackendEventsPerSecond" => "SOKETI_DEFAULT_APP_MAX_BACKEND_EVENTS_PER_SEC",
                "maxReadRequestsPerSecond" => "SOKETI_DEFAULT_APP_MAX_READ_REQ_PER_SEC",
                _ => "",
            };
            let reason = advice(variable).map_or("it has no counterpart here", |(_, text)| text);
            lost.push(format!("apps.{index}.{name} is not supported: {reason}"));
        }
    }
    if has_webhooks && let Some((Loss::Behaviour, reason)) = advice("SOKETI_DEFAULT_APP_WEBHOOKS") {
        lost.push(format!("apps.{index}.webhooks is not supported: {reason}"));
    }
    if !limits.is_empty() {
        app.insert("limits".to_owned(), limits.into());
    }
    app
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(from: From, text: &str) -> Result<Migration, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Migration::read(from, file.path())
    }

    #[test]
    fn values_that_repeat_one_another_fill_no_memory() {
        let mut text = "A=xxxxxxxx\n".to_owned();
        for _ in 0..60 {
            text.push_str("A=\"${A}${A}\"\n");
        }

        let variables = parse_env(&text);

        assert_eq!(variables["A"].len(), MAX_VALUE);
    }

    #[test]
    fn an_env_file_of_laravel_becomes_a_configuration() {
        let migration = read(
            From::Reverb,
            "APP_NAME=Shop\n# comment\nREVERB_APP_ID=12\nREVERB_APP_KEY='k1'\nexport REVERB_APP_SECRET=\"s1\" \nREVERB_HOST=\"ws.shop.example\"\nREVERB_SERVER_PORT=9000 # behind nginx\nREVERB_SERVER_PATH=/realtime/\nREVERB_SCALING_ENABLED=true\nREDIS_HOST=redis\nREDIS_PASSWORD=null\nREVERB_MAX_REQUEST_SIZE=10\nVITE_REVERB_APP_KEY=\"${REVERB_APP_KEY}\"\n",
        )
        .unwrap();

        let app = &migration.config.apps[0];
        assert_eq!((app.id.as_str(), app.key.as_deref()), ("12", Some("k1")));
        assert_eq!(app.secret.as_ref().unwrap().reveal(), "s1");
        assert_eq!(migration.config.server.port, 9000);
        assert_eq!(migration.config.server.path_prefix, "/realtime");
        assert_eq!(
            migration.config.engine.url,
            Some("redis://redis:6379/0".into())
        );
        assert!(migration.lost[0].starts_with("REVERB_MAX_REQUEST_SIZE is not supported"));
        assert!(
            migration
                .changes
                .iter()
                .any(|text| text.starts_with("server.host:"))
        );
        assert!(
            !migration
                .changes
                .iter()
                .any(|text| text.starts_with("server.port:"))
        );
        assert!(
            migration
                .understood
                .contains(&"VITE_REVERB_APP_KEY is for pages".to_owned())
        );
    }

    #[test]
    fn a_json_file_of_soketi_becomes_a_configuration() {
        for text in [
            r#"{"port": 6002, "metrics": {"port": 9700}, "eventLimits": {"maxPayloadInKb": 100}, "adapter": {"driver": "redis"}, "database": {"redis": {"host": "redis", "port": 7000}},
               "appManager": {"array": {"apps": [
                 {"id": "1", "key": "k1", "secret": "s1", "enableClientMessages": true, "maxConnections": 50, "maxBackendEventsPerSecond": 10, "webhooks": [{"url": "https://x.example"}]},
                 {"id": "2", "key": "k2", "secret": "s2", "maxConnections": -1, "maxEventPayloadInKb": 20}]}}}"#,
            r#"{"port": 6002, "metrics.port": "9700", "eventLimits.maxPayloadInKb": 100, "adapter.driver": "redis", "database.redis.host": "redis", "database.redis.port": 7000,
               "appManager.array.apps.0.id": "1", "appManager.array.apps.0.key": "k1", "appManager.array.apps.0.secret": "s1",
               "appManager.array.apps.0.enableClientMessages": true, "appManager.array.apps.0.maxConnections": 50,
               "appManager.array.apps.0.maxBackendEventsPerSecond": 10, "appManager.array.apps.0.webhooks.0.url": "https://x.example",
               "appManager.array.apps.1.id": "2", "appManager.array.apps.1.key": "k2", "appManager.array.apps.1.secret": "s2",
               "appManager.array.apps.1.maxConnections": -1, "appManager.array.apps.1.maxEventPayloadInKb": 20}"#,
        ] {
            let migration = read(From::Soketi, text).unwrap();

            let server = &migration.config.server;
            assert_eq!((server.port, server.metrics_port), (6002, 9700));
            let [one, two] = &migration.config.apps[..] else {
                panic!("two apps");
            };
            assert!(one.client_events && !two.client_events);
            assert_eq!(one.limits.connections, Some(50));
            assert_eq!(two.limits.connections, None);
            assert_eq!(one.limits.event_data_bytes, 100 << 10);
            assert_eq!(two.limits.event_data_bytes, 20 << 10);
            assert_eq!(
                migration.config.engine.url,
                Some("redis://redis:7000/0".into())
            );
            let mut lost = migration.lost.clone();
            lost.sort();
            assert!(
                lost[0].starts_with("apps.0.maxBackendEventsPerSecond"),
                "{lost:?}"
            );
            assert!(lost[1].starts_with("apps.0.webhooks"), "{lost:?}");
            assert_eq!(lost.len(), 2);
        }
    }

    #[test]
    fn a_file_that_is_none_is_an_error_or_empty() {
        assert!(read(From::Soketi, "{").is_err());
        assert!(read(From::Soketi, "{\"port\": \"many\"}").is_err());
        let nothing = read(From::Pusher, "\u{0}\n=\n==\n${\nA=${B\n").unwrap();
        assert!(nothing.understood.is_empty());
        assert!(Migration::read(From::Pusher, Path::new("/nowhere/at/all")).is_err());
    }
}
