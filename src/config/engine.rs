//! `[engine]`: how the nodes of one deployment find one another.

use std::fmt;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize, Serializer};

use super::app::masked_url;
use super::{ConfigError, seconds};

/// The port of Redis, where a URL names none.
const REDIS_PORT: u16 = 6_379;

/// The port of a Sentinel.
const SENTINEL_PORT: u16 = 26_379;

/// What a URL must be, for error messages.
const EXPECTED_URL: &str = "redis://[user:password@]host[:port][/database], redis+sentinel://host[:port],…/name[/database] or redis+cluster://host[:port],…; rediss with TLS";

/// How the nodes of one deployment find one another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// Redis or Valkey, 6.2 or newer: `redis://[user:password@]host[:port][/database]`,
    /// `redis+sentinel://host[:port],…/name[/database]` or
    /// `redis+cluster://host[:port],…`, with `rediss` for TLS. Default: none, and this
    /// node is alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<RedisUrl>,
    /// What all keys and topics in Redis begin with. Default `fanfare`.
    pub prefix: String,
    /// Seconds within which what a dead node has left is removed. Default 30.
    #[serde(with = "seconds")]
    pub node_timeout: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            url: None,
            prefix: "fanfare".to_owned(),
            node_timeout: Duration::from_secs(30),
        }
    }
}

impl EngineConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if let Some(url) = &self.url
            && url.parse().is_none()
        {
            return Err(ConfigError::bad_value(
                "engine.url",
                &url.masked(),
                EXPECTED_URL,
                None,
            ));
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
        if !(1..=64).contains(&self.prefix.len()) || !self.prefix.bytes().all(is_name) {
            return Err(ConfigError::bad_value(
                "engine.prefix",
                &self.prefix,
                "1 to 64 letters, digits, _, -, . or :",
                None,
            ));
        }
        // Below it a busy machine takes its own pauses for death.
        if !(Duration::from_secs(3)..=Duration::from_secs(3_600)).contains(&self.node_timeout) {
            return Err(ConfigError::bad_value(
                "engine.node_timeout",
                &self.node_timeout.as_secs_f64().to_string(),
                "a number of seconds from 3 to 3,600",
                None,
            ));
        }
        Ok(())
    }
}

/// Where Redis is. Its password is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct RedisUrl(String);

/// What a [`RedisUrl`] says.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisAddress {
    /// What runs there.
    pub deployment: RedisDeployment,
    /// `rediss`: over TLS.
    pub is_tls: bool,
    /// Host and port, at least one.
    pub hosts: Vec<(String, u16)>,
    /// The ACL user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// The database number.
    pub database: u32,
}

/// What runs at a [`RedisAddress`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisDeployment {
    /// One server.
    Single,
    /// Sentinels, and what they call the server.
    Sentinel(String),
    /// A Redis Cluster.
    Cluster,
}

impl RedisUrl {
    /// What the URL says; `None` if it is not of a known form.
    #[must_use]
    pub fn parse(&self) -> Option<RedisAddress> {
        let (scheme, rest) = self.0.split_once("://")?;
        let (transport, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        let is_tls = match transport {
            "redis" => false,
            "rediss" => true,
            _ => return None,
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, authority),
        };
        let (username, password) = match user {
            None => (None, None),
            Some(user) => {
                let (username, password) = user.split_once(':')?;
                (
                    Some(decode(username)?).filter(|name| !name.is_empty()),
                    Some(decode(password)?),
                )
            }
        };
        let port = if kind == "sentinel" {
            SENTINEL_PORT
        } else {
            REDIS_PORT
        };
        let hosts: Vec<(String, u16)> = hosts
            .split(',')
            .map(|host| host_and_port(host, port))
            .collect::<Option<_>>()?;
        let (deployment, database) = match kind {
            "" => (RedisDeployment::Single, path),
            "cluster" => (RedisDeployment::Cluster, path),
            "sentinel" => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                let master = decode(master).filter(|master| !master.is_empty())?;
                (RedisDeployment::Sentinel(master), database)
            }
            _ => return None,
        };
        let database = match database {
            "" => 0,
            number => number.parse().ok()?,
        };
        let is_possible = match deployment {
            RedisDeployment::Single => hosts.len() == 1,
            RedisDeployment::Cluster => database == 0,
            RedisDeployment::Sentinel(_) => true,
        };
        is_possible.then_some(RedisAddress {
            deployment,
            is_tls,
            hosts,
            username,
            password,
            database,
        })
    }

    /// The URL without its password.
    fn masked(&self) -> String {
        masked_url(&self.0)
    }
}

impl From<&str> for RedisUrl {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisAddress")
            .field("deployment", &self.deployment)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl Serialize for RedisUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.masked())
    }
}

fn decode(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

fn host_and_port(text: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        (
            host,
            port.strip_prefix(':').or(port.is_empty().then_some("")),
        )
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, Some("")),
        }
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_name) {
        return None;
    }
    let port = match port? {
        "" => default,
        port => port.parse().ok().filter(|port| *port > 0)?,
    };
    Some((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<RedisAddress> {
        RedisUrl::from(text).parse()
    }

    #[test]
    fn urls_tell_what_runs_where() {
        let single = parse("redis://127.0.0.1").unwrap();
        assert_eq!(single.deployment, RedisDeployment::Single);
        assert_eq!(single.hosts, [("127.0.0.1".to_owned(), 6_379)]);
        assert_eq!((single.is_tls, single.database), (false, 0));

        let full = parse("rediss://app:p%40ss:w@[::1]:7000/3").unwrap();
        assert_eq!(full.hosts, [("::1".to_owned(), 7_000)]);
        assert_eq!(full.username.as_deref(), Some("app"));
        assert_eq!(full.password.as_deref(), Some("p@ss:w"));
        assert_eq!((full.is_tls, full.database), (true, 3));

        let sentinel = parse("redis+sentinel://:pw@a,b:1/mymaster/2").unwrap();
        assert_eq!(
            sentinel.deployment,
            RedisDeployment::Sentinel("mymaster".to_owned())
        );
        assert_eq!(
            sentinel.hosts,
            [("a".to_owned(), 26_379), ("b".to_owned(), 1)]
        );
        assert_eq!((sentinel.username, sentinel.database), (None, 2));

        let cluster = parse("redis+cluster://a:7000,b:7001").unwrap();
        assert_eq!(cluster.deployment, RedisDeployment::Cluster);
    }

    #[test]
    fn other_urls_are_refused() {
        for text in [
            "",
            "127.0.0.1:6379",
            "http://127.0.0.1",
            "redis://",
            "redis://a,b",
            "redis://a:0",
            "redis://a:x",
            "redis://a/x",
            "redis://a b",
            "redis://[::g]",
            "redis://[::1]x",
            "redis://password@a",
            "redis+sentinel://a",
            "redis+cluster://a/1",
            "redis+raft://a",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_password_is_never_shown() {
        for (text, shown) in [
            ("redis://a", "redis://a"),
            ("redis://u:hunter2@a/1", "redis://u:..@a/1"),
            ("redis://hunter2@a", "redis://:..@a"),
            ("redis:hunter2@a", ".."),
        ] {
            assert_eq!(format!("{:?}", RedisUrl::from(text)), shown);
        }
    }
}
