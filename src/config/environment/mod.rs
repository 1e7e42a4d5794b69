//! Reads the environment: variables of the tables in [`names`], and what they set.
//!
//! `fanfare check-config` prints what was found of them.

mod names;

use std::collections::HashMap;
use std::fmt;

use figment::value::Value;

use self::names::{CHAT_NAMES, ROOMS_NAMES, STO_NAMES};
pub use self::names::{FOREIGN_NAMES, ForeignName, OWN_NAMES};
use super::app::MAX_RATE;
use super::unsupported::{Loss, advice};
use super::{AppConfig, ConfigError, error, redis_names};

/// How the text of a variable is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it stands.
    Text,
    /// A number.
    Number,
    /// `true` or `false`, also 1 and 0.
    Flag,
    /// Texts with commas between them.
    List,
    /// A number of milliseconds, for a key in seconds.
    Milliseconds,
    /// A number of kilobytes, for a key in bytes.
    Kilobytes,
    /// A path; a slash at its end is left out, a missing one at its start added.
    Path,
    /// A number; -1 and nothing mean no limit.
    Limit,
    /// A number per second; -1 means the largest that we have.
    Rate,
    /// Reverb's `members`, `all` or `none`, for a flag.
    Senders,
    /// A flag that means the log level `debug`.
    Debug,
    /// A URL with id, key and secret of an app.
    PusherUrl,
}

impl Form {
    /// The form of one of our keys.
    pub(super) fn of(key: &str) -> Self {
        OWN_NAMES
            .iter()
            .find(|(_, own_key, _)| *own_key == key)
            .map_or(Self::Text, |(_, _, form)| *form)
    }

    /// Reads `text`; `Ok(None)` leaves the key at its default. The error says
    /// what is expected.
    pub(super) fn read(self, text: &str) -> Result<Option<Value>, String> {
        let number = |expected: &str| -> Result<Value, String> {
            if let Ok(whole) = text.trim().parse::<i64>() {
                return Ok(Value::from(whole));
            }
            match text.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Value::from(number)),
                _ => Err(expected.to_owned()),
            }
        };
        let whole = |expected: &str| -> Result<u32, String> {
            text.trim().parse().map_err(|_| expected.to_owned())
        };
        match self {
            Self::Text | Self::PusherUrl => Ok(Some(Value::from(text))),
            Self::Number => number("a number").map(Some),
            Self::Flag => flag(text).map(|flag| Some(Value::from(flag))),
            Self::List => {
                let texts: Vec<Value> = text
                    .split(',')
                    .map(str::trim)
                    .filter(|text| !text.is_empty())
                    .map(Value::from)
                    .collect();
                Ok(Some(Value::from(texts)))
            }
            Self::Milliseconds => {
                let milliseconds = whole("a number of milliseconds")?;
                Ok(Some(Value::from(f64::from(milliseconds) / 1_000.0)))
            }
            Self::Kilobytes => {
                let kilobytes = whole("a number of kilobytes")?;
                Ok(Some(Value::from(u64::from(kilobytes) * 1_024)))
            }
            Self::Path => {
                let path = text.trim().trim_matches('/');
                let slash = if path.is_empty() { "" } else { "/" };
                Ok(Some(Value::from(format!("{slash}{path}"))))
            }
            Self::Limit if matches!(text.trim(), "-1" | "") => Ok(None),
            Self::Limit => {
                let limit = whole("a whole number, or -1 for no limit")?;
                Ok(Some(Value::from(limit)))
            }
            Self::Rate if text.trim() == "-1" => Ok(Some(Value::from(MAX_RATE))),
            Self::Rate => {
                let rate = whole("a whole number, or -1 for as many as possible")?;
                Ok(Some(Value::from(rate)))
            }
            Self::Senders => match text {
                "members" | "all" => Ok(Some(Value::from(true))),
                "none" => Ok(Some(Value::from(false))),
                _ => Err("members, all or none".to_owned()),
            },
            Self::Debug => {
                let level = if flag(text)? { "debug" } else { "info" };
                Ok(Some(Value::from(level)))
            }
        }
    }
}

fn flag(text: &str) -> Result<bool, String> {
    match text.trim() {
        "true" | "1" | "on" | "yes" => Ok(true),
        "false" | "0" | "off" | "no" | "" => Ok(false),
        _ => Err("true or false".to_owned()),
    }
}

/// Beginnings of foreign names, to tell which of them mean nothing here.
const FOREIGN_PREFIXES: [&str; 3] = ["SOKETI_", "REVERB_", "PUSHER_"];

/// A variable that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub effect: Effect,
}

/// What became of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It sets this key.
    Sets(&'static str),
    /// It would set `key`, but `by` goes before it.
    Overruled {
        /// The key.
        key: &'static str,
        /// Another variable, a flag or the file.
        by: String,
    },
    /// It means nothing here, for this reason.
    Ignored(&'static str),
    /// It sets nothing, and something is lost unless this is done.
    Unsupported(&'static str),
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sets(key) => write!(f, "sets {key}"),
            Self::Overruled { key, by } => write!(f, "is ignored: {by} sets {key}"),
            Self::Ignored(reason) => write!(f, "is ignored: {reason}"),
            Self::Unsupported(advice) => write!(f, "is not supported: {advice}"),
        }
    }
}

/// Whether Kubernetes or Docker made a variable for a service that happens to be
/// called as our prefix, such as `FANFARE_PORT_6001_TCP=tcp://10.0.0.1:6001`.
pub(super) fn is_service_link(name: &str, text: &str) -> bool {
    let has_port = name.rsplit_once("_PORT_").is_some_and(|(_, rest)| {
        let (port, protocol) = rest.split_once('_').unwrap_or((rest, ""));
        port.parse::<u16>().is_ok()
            && ["TCP", "UDP", "SCTP"]
                .iter()
                .any(|known| protocol.starts_with(known))
    });
    has_port
        || name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && text.contains("://"))
}

/// What the environment sets.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// Foreign names first, so that our own win.
    pub(super) settings: Vec<Setting>,
    /// The app that foreign names define.
    pub(super) app: Option<AppConfig>,
    pub(super) used: Vec<Used>,
}

#[derive(Debug)]
pub(super) struct Setting {
    pub(super) key: &'static str,
    pub(super) variable: String,
    pub(super) value: Value,
}

impl Environment {
    /// `is_on` says whether the file has turned an adapter on.
    pub(super) fn read(
        variables: &HashMap<String, String>,
        is_on: impl Fn(&str) -> bool,
    ) -> Result<Self, ConfigError> {
        let mut environment = Self::default();
        let mut app = Vec::new();
        for known in FOREIGN_NAMES {
            let Some(text) = variables.get(known.name) else {
                continue;
            };
            if known.form == Form::PusherUrl {
                environment.read_pusher_url(known.name, text, &mut app)?;
                continue;
            }
            // Laravel's `.env` files are full of names without a value.
            if text.is_empty() || is_service_link(known.name, text) {
                continue;
            }
            environment.note(known.name, known.key);
            let Some(value) = read(known.name, known.key, known.form, text)? else {
                continue;
            };
            match known.key.strip_prefix("app.") {
                Some(key) => app.push((key, known.name, value)),
                None => environment.settings.push(Setting {
                    key: known.key,
                    variable: known.name.to_owned(),
                    value,
                }),
            }
        }
        let is_wanted = |adapter: &str, variable: &str| {
            // Nonsense is found when the variable itself is read.
            let wish = variables.get(variable);
            wish.map_or(is_on(adapter), |wish| flag(wish).unwrap_or_default())
        };
        let has_rooms = is_wanted("rooms", "FANFARE_ADAPTERS_ROOMS_ENABLED");
        if let Some(found) = redis_names::find(variables, has_rooms)? {
            for name in &found.names {
                environment.used.push(Used {
                    name: (*name).to_owned(),
                    effect: Effect::Sets("engine.url"),
                });
            }
            environment.settings.push(Setting {
                key: "engine.url",
                variable: found.names.join(", "),
                value: Value::from(found.url),
            });
        }
        if has_rooms {
            environment.read_adapter(ROOMS_NAMES, variables)?;
        }
        if is_wanted("chat", "FANFARE_ADAPTERS_CHAT_ENABLED") {
            environment.read_adapter(CHAT_NAMES, variables)?;
        }
        if is_wanted("sto", "FANFARE_ADAPTERS_STO_ENABLED") {
            environment.read_adapter(STO_NAMES, variables)?;
        }
        for (name, key, form) in OWN_NAMES {
            let Some(text) = variables.get(*name) else {
                continue;
            };
            if is_service_link(name, text) {
                continue;
            }
            environment.note(name, key);
            if let Some(value) = read(name, key, *form, text)? {
                environment.settings.push(Setting {
                    key,
                    variable: (*name).to_owned(),
                    value,
                });
            }
        }
        environment.look_for_unknown(variables)?;
        environment.app = define_app(&app)?;
        Ok(environment)
    }

    /// Reads the names of an old back end whose adapter is on.
    fn read_adapter(
        &mut self,
        names: &[ForeignName],
        variables: &HashMap<String, String>,
    ) -> Result<(), ConfigError> {
        for known in names {
            let Some(text) = variables.get(known.name) else {
                continue;
            };
            if text.is_empty() || is_service_link(known.name, text) {
                continue;
            }
            self.note(known.name, known.key);
            let value = read(known.name, known.key, known.form, text)?;
            self.settings.extend(value.map(|value| Setting {
                key: known.key,
                variable: known.name.to_owned(),
                value,
            }));
        }
        Ok(())
    }

    /// `http://KEY:SECRET@HOST:PORT/apps/ID`, as SDKs read it.
    fn read_pusher_url(
        &mut self,
        name: &'static str,
        text: &str,
        app: &mut Vec<(&'static str, &str, Value)>,
    ) -> Result<(), ConfigError> {
        if text.is_empty() {
            return Ok(());
        }
        let parts = || {
            let (_, rest) = text.split_once("://")?;
            let (credentials, rest) = rest.split_once('@')?;
            let (key, secret) = credentials.split_once(':')?;
            let (_, id) = rest.split_once("/apps/")?;
            Some([
                ("id", id.trim_end_matches('/')),
                ("key", key),
                ("secret", secret),
            ])
        };
        let Some(parts) = parts() else {
            // The text holds a secret, so it is not shown.
            let expected = "http://KEY:SECRET@HOST/apps/ID";
            return Err(ConfigError::bad_value("app", "..", expected, Some(name)));
        };
        self.note(name, "app.id");
        for (key, value) in parts {
            app.push((key, name, Value::from(value)));
        }
        Ok(())
    }

    /// Notes that the variable `name` sets `key`, before all that did so far.
    fn note(&mut self, name: &str, key: &'static str) {
        self.overrule(key, name);
        self.used.push(Used {
            name: name.to_owned(),
            effect: Effect::Sets(key),
        });
    }

    /// Notes that `by` goes before the variables that set `key` so far.
    pub(super) fn overrule(&mut self, key: &str, by: &str) {
        for used in &mut self.used {
            if let Effect::Sets(set) = used.effect
                && set == key
            {
                used.effect = Effect::Overruled {
                    key: set,
                    by: by.to_owned(),
                };
            }
        }
    }

    /// The keys of the app that the environment defines, each with its variable.
    pub(super) fn app_variables(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.used.iter().filter_map(|used| match used.effect {
            Effect::Sets(key) => Some((key.strip_prefix("app.")?, used.name.clone())),
            _ => None,
        })
    }

    fn look_for_unknown(&mut self, variables: &HashMap<String, String>) -> Result<(), ConfigError> {
        let mut sorted: Vec<(&String, &String)> = variables.iter().collect();
        sorted.sort();
        for (name, text) in sorted {
            if self.used.iter().any(|used| used.name == *name) {
                continue;
            }
            let is_service_link = is_service_link(name, text);
            if name.starts_with("FANFARE_") && !is_service_link {
                return Err(ConfigError::UnknownVariable {
                    name: name.clone(),
                    expected: nearest(name),
                });
            }
            if FOREIGN_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix))
            {
                self.used.push(Used {
                    name: name.clone(),
                    effect: if is_service_link {
                        Effect::Ignored("it describes a service, as Kubernetes and Docker set it")
                    } else if text.is_empty() {
                        Effect::Ignored("it is empty")
                    } else {
                        match advice(name) {
                            Some((Loss::None, reason)) => Effect::Ignored(reason),
                            Some((Loss::Behaviour, advice)) => Effect::Unsupported(advice),
                            None => Effect::Ignored("it has no counterpart here"),
                        }
                    },
                });
            }
        }
        Ok(())
    }

    /// Notes that the file has apps of its own.
    pub(super) fn app_is_ignored(&mut self) {
        for used in &mut self.used {
            if let Effect::Sets(key) = used.effect
                && key.starts_with("app.")
            {
                used.effect = Effect::Overruled {
                    key,
                    by: "[[apps]] of the file".to_owned(),
                };
            }
        }
    }
}

fn read(name: &str, key: &str, form: Form, text: &str) -> Result<Option<Value>, ConfigError> {
    form.read(text)
        .map_err(|expected| ConfigError::bad_value(key, text, &expected, Some(name)))
}

/// Half of a key pair would leave the other half at what everybody knows.
fn define_app(settings: &[(&'static str, &str, Value)]) -> Result<Option<AppConfig>, ConfigError> {
    let has = |wanted: &str| settings.iter().any(|(key, ..)| *key == wanted);
    if has("key") != has("secret") {
        let (missing, expected) = if has("key") {
            (
                "secret",
                "PUSHER_APP_SECRET beside the key of the environment",
            )
        } else {
            ("key", "PUSHER_APP_KEY beside the secret of the environment")
        };
        return Err(ConfigError::missing(format!("app.{missing}"), expected));
    }
    if settings.is_empty() {
        return Ok(None);
    }
    let values = settings.iter().map(|(key, _, value)| (*key, value.clone()));
    let app = AppConfig::from_settings(values).map_err(|error| {
        let path = error.path.join(".");
        let setting = settings.iter().rev().find(|(key, ..)| *key == path);
        let value = setting
            .and_then(|(.., value)| toml::Value::try_from(value).ok())
            .map_or_else(String::new, |value| value.to_string());
        let expected = error::form(&path, &error.kind);
        let variable = setting.map(|(_, name, _)| *name);
        ConfigError::bad_value(&format!("app.{path}"), &value, &expected, variable)
    })?;
    Ok(Some(app))
}

/// Our names that share the longest beginning with `name`, or all of them.
fn nearest(name: &str) -> String {
    let shared = |own: &str| {
        own.bytes()
            .zip(name.bytes())
            .take_while(|(one, other)| one == other)
            .count()
    };
    let longest = OWN_NAMES
        .iter()
        .map(|(own, ..)| shared(own))
        .max()
        .unwrap_or(0);
    let names: Vec<&str> = OWN_NAMES
        .iter()
        .map(|(own, ..)| *own)
        .filter(|own| shared(own) == longest)
        .collect();
    format!("did you mean {}?", names.join(" or "))
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::Limits;

    use super::*;

    #[test]
    fn limits_of_foreign_names_exist() {
        let limits = toml::Value::try_from(Limits {
            connections: Some(1),
            backend_events_per_second: Some(1),
            reads_per_second: Some(1),
            ..Limits::default()
        })
        .unwrap();
        for known in FOREIGN_NAMES {
            if let Some(name) = known.key.strip_prefix("app.limits.") {
                assert!(limits.get(name).is_some(), "{}", known.name);
            }
        }
    }
}
