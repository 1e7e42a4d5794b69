//! Where soketi, Reverb and the call centre say that their Redis is: several variables
//! make one `engine.url`.
//!
//! They count only where the other server would have used Redis between its nodes:
//! the same names also stand for caches and queues.

use std::collections::HashMap;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::environment::is_service_link;
use super::{ConfigError, MASK};

/// What soketi calls the server behind Sentinels unless it is told.
const DEFAULT_MASTER: &str = "mymaster";

/// `engine.url`, and the variables that it was made of; the first says that Redis is
/// to be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) url: String,
    pub(super) names: Vec<&'static str>,
}

/// One entry of soketi's lists.
#[derive(Deserialize)]
struct Node {
    host: String,
    port: u16,
}

/// Looks for all; soketi's go before Reverb's, and those before the names of the call
/// centre, which count with `has_rooms`.
///
/// # Errors
/// Redis is to be used, and a value cannot be.
pub(super) fn find(
    variables: &HashMap<String, String>,
    has_rooms: bool,
) -> Result<Option<Found>, ConfigError> {
    let mut names = Names {
        variables,
        used: Vec::new(),
    };
    let is_on = |text: &str| matches!(text.trim(), "true" | "1");
    let url = if names.take("SOKETI_ADAPTER_DRIVER") == Some("redis") {
        soketi(&mut names)?
    } else {
        names.used.clear();
        if names.take("REVERB_SCALING_ENABLED").is_some_and(is_on) {
            reverb(&mut names)
        } else {
            names.used.clear();
            match names.take("REDIS_HOST").filter(|_| has_rooms) {
                Some(host) => redis(&mut names, host),
                None => return Ok(None),
            }
        }
    };
    Ok(Some(Found {
        url,
        names: names.used,
    }))
}

fn soketi(names: &mut Names<'_>) -> Result<String, ConfigError> {
    let user = names.user("SOKETI_DB_REDIS_USERNAME", "SOKETI_DB_REDIS_PASSWORD");
    if names.take("SOKETI_ADAPTER_REDIS_CLUSTER_MODE") == Some("true") {
        let nodes = names.nodes("SOKETI_DB_REDIS_CLUSTER_NODES")?;
        return Ok(format!(
            "redis+cluster://{user}{}",
            nodes.unwrap_or_default()
        ));
    }
    let database = names.take("SOKETI_DB_REDIS_DB").unwrap_or("0");
    if let Some(sentinels) = names.nodes("SOKETI_DB_REDIS_SENTINELS")? {
        let master = names.take("SOKETI_DB_REDIS_INSTANCE_NAME");
        let master = encoded(master.unwrap_or(DEFAULT_MASTER));
        return Ok(format!(
            "redis+sentinel://{user}{sentinels}/{master}/{database}"
        ));
    }
    let host = names.take("SOKETI_DB_REDIS_HOST").unwrap_or("127.0.0.1");
    let port = names.take("SOKETI_DB_REDIS_PORT").unwrap_or("6379");
    Ok(format!("redis://{user}{host}:{port}/{database}"))
}

fn reverb(names: &mut Names<'_>) -> String {
    if let Some(url) = names.take("REDIS_URL") {
        return url.to_owned();
    }
    let host = names.take("REDIS_HOST").unwrap_or("127.0.0.1");
    redis(names, host)
}

fn redis(names: &mut Names<'_>, host: &str) -> String {
    let user = names.user("REDIS_USERNAME", "REDIS_PASSWORD");
    let port = names.take("REDIS_PORT").unwrap_or("6379");
    let database = names.take("REDIS_DB").unwrap_or("0");
    format!("redis://{user}{host}:{port}/{database}")
}

/// Reads variables and remembers which.
struct Names<'a> {
    variables: &'a HashMap<String, String>,
    used: Vec<&'static str>,
}

impl<'a> Names<'a> {
    /// Laravel's `.env` files say nothing with an empty text, or with `null`;
    /// Kubernetes has other things to say under the same names.
    fn take(&mut self, name: &'static str) -> Option<&'a str> {
        let text = self.variables.get(name)?.trim();
        if text.is_empty() || text == "null" || is_service_link(name, text) {
            return None;
        }
        self.used.push(name);
        Some(text)
    }

    /// What stands before the host.
    fn user(&mut self, username: &'static str, password: &'static str) -> String {
        let username = self.take(username).map(encoded).unwrap_or_default();
        match self.take(password) {
            Some(password) => format!("{username}:{}@", encoded(password)),
            None => String::new(),
        }
    }

    fn nodes(&mut self, name: &'static str) -> Result<Option<String>, ConfigError> {
        let Some(text) = self.take(name) else {
            return Ok(None);
        };
        let nodes: Vec<Node> = serde_json::from_str(text).unwrap_or_default();
        if nodes.is_empty() {
            // An entry may hold a password, so the text is not shown.
            let expected = r#"[{"host": "redis-1", "port": 6379}]"#;
            return Err(ConfigError::bad_value(
                "engine.url",
                MASK,
                expected,
                Some(name),
            ));
        }
        let hosts = nodes
            .iter()
            .map(|Node { host, port }| format!("{host}:{port}"));
        Ok(Some(hosts.collect::<Vec<_>>().join(",")))
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(variables: &[(&str, &str)], has_rooms: bool) -> Option<String> {
        let variables = variables
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        let found = find(&variables, has_rooms).unwrap();
        found.map(|found| found.url)
    }

    #[test]
    fn soketi_and_reverb_find_their_redis_here_too() {
        let soketi = ("SOKETI_ADAPTER_DRIVER", "redis");
        let reverb = ("REVERB_SCALING_ENABLED", "true");
        let list = r#"[{"host": "a", "port": 1}, {"host": "b", "port": 2}]"#;
        for (variables, expected) in [
            (&[soketi][..], "redis://127.0.0.1:6379/0"),
            (
                &[
                    soketi,
                    ("SOKETI_DB_REDIS_HOST", "redis"),
                    ("SOKETI_DB_REDIS_PORT", "7000"),
                    ("SOKETI_DB_REDIS_DB", "2"),
                    ("SOKETI_DB_REDIS_USERNAME", "app"),
                    ("SOKETI_DB_REDIS_PASSWORD", "p@ss"),
                ],
                "redis://app:p%40ss@redis:7000/2",
            ),
            (
                &[
                    soketi,
                    ("SOKETI_DB_REDIS_SENTINELS", list),
                    ("SOKETI_DB_REDIS_INSTANCE_NAME", "main"),
                    ("SOKETI_DB_REDIS_PASSWORD", "x"),
                ],
                "redis+sentinel://:x@a:1,b:2/main/0",
            ),
            (
                &[
                    soketi,
                    ("SOKETI_ADAPTER_REDIS_CLUSTER_MODE", "true"),
                    ("SOKETI_DB_REDIS_CLUSTER_NODES", list),
                ],
                "redis+cluster://a:1,b:2",
            ),
            (
                &[reverb, ("REDIS_HOST", "redis"), ("REDIS_PASSWORD", "null")],
                "redis://redis:6379/0",
            ),
            (&[reverb, ("REDIS_URL", "rediss://r")], "rediss://r"),
            // As Kubernetes has it beside a service that is called `redis`.
            (
                &[
                    reverb,
                    ("REDIS_HOST", "redis"),
                    ("REDIS_PORT", "tcp://10.0.0.1:6379"),
                ],
                "redis://redis:6379/0",
            ),
        ] {
            let found = url(variables, false);
            assert_eq!(found.as_deref(), Some(expected), "{variables:?}");
        }
    }

    #[test]
    fn the_names_of_the_call_centre_count_where_it_is_served() {
        for (variables, expected) in [
            (&[][..], None),
            (&[("REDIS_URL", "redis://r")], None),
            (&[("REDIS_HOST", "redis")], Some("redis://redis:6379/0")),
            (
                &[
                    ("REDIS_HOST", "redis"),
                    ("REDIS_PORT", "tcp://10.0.0.1:6379"),
                    ("REDIS_PASSWORD", "null"),
                ],
                Some("redis://redis:6379/0"),
            ),
            (
                &[
                    ("REDIS_HOST", "redis"),
                    ("REDIS_PORT", "6380"),
                    ("REDIS_PASSWORD", "p@ss"),
                ],
                Some("redis://:p%40ss@redis:6380/0"),
            ),
        ] {
            assert_eq!(url(variables, true).as_deref(), expected, "{variables:?}");
            assert_eq!(url(variables, false), None, "{variables:?}");
        }
    }

    /// They may stand there for a cache or a queue.
    #[test]
    fn redis_is_used_only_where_it_connected_nodes() {
        for variables in [
            &[][..],
            &[
                ("SOKETI_DB_REDIS_HOST", "redis"),
                ("REDIS_URL", "redis://r"),
            ],
            &[("SOKETI_ADAPTER_DRIVER", "local")],
            &[("REVERB_SCALING_ENABLED", "false"), ("REDIS_HOST", "redis")],
        ] {
            assert_eq!(url(variables, false), None, "{variables:?}");
        }
    }

    #[test]
    fn a_list_that_is_none_is_refused() {
        let variables = [
            ("SOKETI_ADAPTER_DRIVER", "redis"),
            ("SOKETI_DB_REDIS_SENTINELS", r#"["redis://:precious@a:1"]"#),
        ];
        let variables = variables.map(|(name, text)| (name.to_owned(), text.to_owned()));

        let error = find(&variables.into(), false).unwrap_err().to_string();

        assert!(error.contains("SOKETI_DB_REDIS_SENTINELS"), "{error}");
        assert!(!error.contains("precious"), "{error}");
    }
}
