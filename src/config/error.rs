//! What is wrong with a configuration, in words that say what to do.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use figment::Figment;
use figment::error::Kind;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that was named cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    UnreadableFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not TOML.
    #[error("{path} is not TOML: {source}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
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
    /// A key that must be set.
    #[error("{key} is missing: expected {expected}")]
    Missing {
        /// The key with its section.
        key: String,
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
    pub(super) fn bad_value(
        key: &str,
        value: &str,
        expected: &str,
        variable: Option<&str>,
    ) -> Self {
        let is_secret = key.ends_with("secret");
        Self::BadValue {
            key: key.to_owned(),
            value: if is_secret {
                "..".to_owned()
            } else {
                format!("{value:?}")
            },
            origin: origin(variable),
            expected: expected.to_owned(),
        }
    }

    pub(super) fn from_figment(
        error: &figment::Error,
        figment: &Figment,
        origins: &HashMap<&'static str, String>,
    ) -> Self {
        let path = key_path(&error.path);
        let origin = origin(origins.get(path.as_str()).map(String::as_str));
        let expected = match &error.kind {
            Kind::UnknownField(name, expected) => {
                return Self::UnknownKey {
                    // The path ends with the unknown name already.
                    key: if path.ends_with(name.as_str()) {
                        path
                    } else if path.is_empty() {
                        name.clone()
                    } else {
                        format!("{path}.{name}")
                    },
                    origin,
                    expected: expected.join(", "),
                };
            }
            Kind::MissingField(name) => {
                return Self::Missing {
                    key: format!("{path}.{name}"),
                    expected: "a value".to_owned(),
                };
            }
            Kind::InvalidType(_, expected)
            | Kind::InvalidValue(_, expected)
            | Kind::InvalidLength(_, expected) => expected.clone(),
            Kind::UnknownVariant(_, expected) => format!("one of: {}", expected.join(", ")),
            other => other.to_string(),
        };
        let value = match figment.find_value(&error.path.join(".")) {
            Ok(value) => toml::Value::try_from(&value)
                .map_or_else(|_| "..".to_owned(), |value| value.to_string()),
            Err(_) => "..".to_owned(),
        };
        let is_secret = path.ends_with("secret");
        Self::BadValue {
            key: path,
            value: if is_secret { "..".to_owned() } else { value },
            origin,
            expected,
        }
    }
}

fn origin(variable: Option<&str>) -> String {
    variable.map_or_else(String::new, |variable| format!(" (set by {variable})"))
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
