//! Where RabbitMQ is, and how it is spoken to: the URLs of AMQP.

use std::fmt;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize, Serializer};

use super::app::masked_url;

/// The port of RabbitMQ, where a URL names none.
const PORT: u16 = 5_672;

/// Seconds without a sign of life after which a connection is dead, unless the URL
/// says otherwise.
const HEARTBEAT_S: u16 = 30;

/// Time to be connected, unless the URL says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest time that a URL may give for it, in milliseconds.
const MAX_CONNECT_TIMEOUT_MS: u64 = 300_000;

/// What a URL must be, for error messages.
pub(super) const EXPECTED_URL: &str = "amqp://[USER:PASSWORD@]HOST[:PORT][/VHOST][?heartbeat=SECONDS&connection_timeout=MILLISECONDS]; TLS (amqps) is left to a proxy beside this server";

/// Where RabbitMQ is. Its password is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct BrokerUrl(String);

/// What a [`BrokerUrl`] says.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    /// The host; an address of IPv6 without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user, `guest` if none is named.
    pub username: String,
    /// Its password.
    pub password: String,
    /// The virtual host.
    pub vhost: String,
    /// Seconds without a sign of life after which the connection is dead; 0: never.
    pub heartbeat_s: u16,
    /// Time to be connected.
    pub connect_timeout: Duration,
}

impl BrokerUrl {
    /// What the URL says; `None` if it is none.
    ///
    /// A path of nothing but `/` is the virtual host `/`, as Node's amqplib takes it,
    /// although the letter of AMQP's URLs would make it one without a name.
    #[must_use]
    pub fn parse(&self) -> Option<BrokerAddress> {
        let rest = self.0.strip_prefix("amqp://")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let (username, password) = match user {
            None => ("guest".to_owned(), "guest".to_owned()),
            Some(user) => {
                let (username, password) = user.split_once(':').unwrap_or((user, ""));
                (decode(username)?, decode(password)?)
            }
        };
        let (host, port) = host_and_port(host)?;
        let vhost = match path {
            "" => "/".to_owned(),
            path if path.contains('/') => return None,
            path => decode(path)?,
        };
        let mut address = BrokerAddress {
            host,
            port,
            username,
            password,
            vhost,
            heartbeat_s: HEARTBEAT_S,
            connect_timeout: CONNECT_TIMEOUT,
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "heartbeat" => address.heartbeat_s = value.parse().ok()?,
                "connection_timeout" => {
                    let milliseconds: u64 = value.parse().ok()?;
                    if !(1..=MAX_CONNECT_TIMEOUT_MS).contains(&milliseconds) {
                        return None;
                    }
                    address.connect_timeout = Duration::from_millis(milliseconds);
                }
                _ => return None,
            }
        }
        // Names on the wire have one byte for their length.
        let is_sendable = |text: &str| text.len() <= 255 && !text.contains('\0');
        let is_sendable = is_sendable(&address.vhost)
            && is_sendable(&address.username)
            && is_sendable(&address.password);
        is_sendable.then_some(address)
    }

    /// The URL without its password.
    pub(super) fn masked(&self) -> String {
        masked_url(&self.0)
    }
}

fn decode(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        match port {
            "" => (host, None),
            port => (host, Some(port.strip_prefix(':')?)),
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let is_host = !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte));
    let port = match port {
        None => PORT,
        Some(port) => port.parse().ok()?,
    };
    is_host.then(|| (host.to_owned(), port))
}

impl From<&str> for BrokerUrl {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl fmt::Debug for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerAddress")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("vhost", &self.vhost)
            .finish_non_exhaustive()
    }
}

impl Serialize for BrokerUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.masked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Option<BrokerAddress> {
        BrokerUrl::from(url).parse()
    }

    /// C-36: the URL of Chat3's `.env` means the virtual host `/`.
    #[test]
    fn c3_vhost_trailing_slash() {
        for (url, vhost) in [
            ("amqp://rmuser:rmpassword@localhost:5672/", "/"),
            ("amqp://rmuser:rmpassword@localhost:5672", "/"),
            ("amqp://rmuser:rmpassword@localhost:5672/%2f", "/"),
            ("amqp://rmuser:rmpassword@localhost:5672/chat", "chat"),
        ] {
            let address = parse(url).unwrap();

            assert_eq!(address.vhost, vhost, "{url}");
            assert_eq!(address.host, "localhost");
            assert_eq!(address.port, 5672);
            assert_eq!(address.username, "rmuser");
            assert_eq!(address.password, "rmpassword");
        }
    }

    #[test]
    fn times_stand_in_the_query() {
        let address = parse("amqp://mq.example?heartbeat=10&connection_timeout=1500").unwrap();

        assert_eq!(address.port, 5672);
        assert_eq!(
            (address.username.as_str(), address.heartbeat_s),
            ("guest", 10)
        );
        assert_eq!(address.connect_timeout, Duration::from_millis(1_500));
        assert_eq!(parse("amqp://[::1]:1/").unwrap().host, "::1");
    }

    #[test]
    fn what_is_no_url_is_refused_and_no_password_shown() {
        for url in [
            "",
            "localhost",
            "http://localhost",
            "amqps://localhost",
            "amqp://",
            "amqp://:5672",
            "amqp://host:port",
            "amqp://host:70000",
            "amqp://host/a/b",
            "amqp://host/%ff",
            "amqp://a b/",
            "amqp://host?heartbeat=soon",
            "amqp://host?connection_timeout=0",
            "amqp://host?frames=1",
            "amqp://[::1",
        ] {
            assert_eq!(parse(url), None, "{url}");
        }
        assert!(parse(&format!("amqp://{}@host", "u".repeat(256))).is_none());
        let url = BrokerUrl::from("amqp://me:p%40ss@host/");
        assert!(!format!("{url:?} {:?}", url.parse()).contains("p%40ss"));
        assert_eq!(url.masked(), "amqp://me:..@host/");
    }
}
