//! What is wrong with a configuration, in words that say what to do.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::error::Kind;
use figment::value::Value;

use super::app::MASK;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that was named cannot be read.
    #[error("cannot read the configuration file {path}")]
    UnreadableFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not TOML. The line is not shown: a secret may stand in it.
    #[error("{path} is not TOML: line {line}, column {column}: {problem}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// Counted from one.
        column: usize,
        /// What the parser says.
        problem: String,
    },
    /// A key that nobody knows.
    #[error("unknown key {key}{origin}; expected one of: {expected}")]
    UnknownKey {
        /// The key with its section.
        key: String,
        /// Where it was set.
        origin: String,
        /// The keys that stand in that section.
        expected: String,
    },
    /// A variable with our prefix that nobody knows.
    #[error("unknown variable {name}; {expected}")]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The names that are near, or where to find them.
        expected: String,
    },
    /// A key with a value that it cannot have.
    #[error("{key} = {value}{origin} is not valid: expected {expected}")]
    BadValue {
        /// The key with its section.
        key: String,
        /// The value, masked if it is a secret.
        value: String,
        /// Where it was set.
        origin: String,
        /// What it should be.
        expected: String,
    },
    /// A file of another server that cannot be read as JSON.
    #[error("{path} is not JSON: {source}")]
    NotJson {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A key that must be set.
    #[error("{key} is missing{origin}: expected {expected}")]
    Missing {
        /// The key with its section.
        key: String,
        /// Where it should have been set.
        origin: String,
        /// What it should be.
        expected: String,
    },
    /// Everybody knows these credentials.
    #[error(
        "server.host = {host} is reachable from other machines, and the app has the default credentials that everybody knows; set PUSHER_APP_ID, PUSHER_APP_KEY and PUSHER_APP_SECRET or an [[apps]] section with credentials of your own, or listen on 127.0.0.1"
    )]
    DefaultCredentials {
        /// The address.
        host: IpAddr,
    },
}

impl ConfigError {
    /// `origin` is a variable, a flag or a file.
    #[must_use]
    pub fn bad_value(key: &str, value: &str, expected: &str, origin: Option<&str>) -> Self {
        Self::BadValue {
            key: key.to_owned(),
            value: if key.ends_with("secret") {
                MASK.to_owned()
            } else {
                format!("{value:?}")
            },
            origin: origin.map_or_else(String::new, set_by),
            expected: expected.to_owned(),
        }
    }

    /// What must be set and is not.
    #[must_use]
    pub fn missing(key: String, expected: &str) -> Self {
        Self::Missing {
            key,
            origin: String::new(),
            expected: expected.to_owned(),
        }
    }

    pub(super) fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or_default();
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Self::Syntax {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column,
            problem: error.message().lines().collect::<Vec<_>>().join(", "),
        }
    }

    pub(super) fn from_figment(error: &figment::Error, figment: &Figment) -> Self {
        let key = key_path(&error.path);
        let origin = String::new();
        match &error.kind {
            // The path ends with the unknown name already.
            Kind::UnknownField(_, expected) => Self::UnknownKey {
                key,
                origin,
                expected: expected.join(", "),
            },
            Kind::MissingField(name) => Self::missing(
                if key.is_empty() {
                    name.to_string()
                } else {
                    format!("{key}.{name}")
                },
                "a value",
            ),
            kind => Self::BadValue {
                value: shown(find(figment, &error.path).as_ref(), &error.path),
                expected: form(&key, kind),
                key,
                origin,
            },
        }
    }

    /// Adds where the key was set, if that is not told yet.
    pub(super) fn located(mut self, find: impl FnOnce(&str) -> Option<String>) -> Self {
        match &mut self {
            Self::UnknownKey { key, origin, .. } | Self::BadValue { key, origin, .. }
                if origin.is_empty() =>
            {
                *origin = find(key).map_or_else(String::new, |source| set_by(&source));
            }
            Self::Missing { key, origin, .. } if origin.is_empty() => {
                *origin = find(key).map_or_else(String::new, |source| format!(" in {source}"));
            }
            _ => {}
        }
        self
    }
}

fn set_by(source: &str) -> String {
    format!(" (set by {source})")
}

/// What a value must be, where its type has only a name for programmers.
pub(super) fn form(key: &str, kind: &Kind) -> String {
    if key.ends_with("host") {
        return "an IP address such as 127.0.0.1 or ::".to_owned();
    }
    if key.starts_with("server.trusted_proxies[") {
        return "a network such as 10.0.0.0/8".to_owned();
    }
    match kind {
        Kind::InvalidType(_, expected)
        | Kind::InvalidValue(_, expected)
        | Kind::InvalidLength(_, expected) => match expected.as_str() {
            "u16" => "a whole number from 0 to 65535".to_owned(),
            "u32" | "usize" => "a whole number".to_owned(),
            "a boolean" => "true or false".to_owned(),
            "a string" | "path string" => "text".to_owned(),
            "a sequence" => "a list".to_owned(),
            expected if expected.starts_with("struct ") => "a table".to_owned(),
            expected => expected.to_owned(),
        },
        Kind::UnknownVariant(_, expected) => format!("one of: {}", expected.join(", ")),
        other => other.to_string(),
    }
}

/// The value at `path`, in which lists are counted.
fn find(figment: &Figment, path: &[String]) -> Option<Value> {
    let (first, rest) = path.split_first()?;
    let mut value = figment.find_value(first).ok()?;
    for segment in rest {
        value = match value {
            Value::Dict(_, mut table) => table.remove(segment)?,
            Value::Array(_, mut list) => {
                let index = segment.parse().ok().filter(|index| *index < list.len())?;
                list.swap_remove(index)
            }
            _ => return None,
        };
    }
    Some(value)
}

/// A value as an error shows it. Tables and lists are not: a secret may stand
/// in them.
fn shown(value: Option<&Value>, path: &[String]) -> String {
    let is_secret = path.iter().any(|segment| {
        matches!(
            segment.as_str(),
            "secret" | "keys" | "headers" | "token" | "jwt_secret" | "webhook_token" | "orders_url"
        )
    }) || path.first().is_some_and(|section| section == "store");
    match value {
        _ if is_secret => MASK.to_owned(),
        Some(Value::Dict(..)) => "a table".to_owned(),
        Some(Value::Array(..)) => "a list".to_owned(),
        Some(value) => {
            toml::Value::try_from(value).map_or_else(|_| MASK.to_owned(), |value| value.to_string())
        }
        None => MASK.to_owned(),
    }
}

/// `apps.0.limits` reads as `apps[0].limits`.
fn key_path(path: &[String]) -> String {
    let mut text = String::new();
    for segment in path {
        if segment.bytes().all(|byte| byte.is_ascii_digit()) {
            text.push_str(&format!("[{segment}]"));
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(segment);
        }
    }
    text
}
