//! The order worker, by the names that its environment has always had. It is a process
//! of its own and reads no file: nothing of the server's configuration concerns it.

mod names;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Uri;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

pub use self::names::ORDER_WORKER_NAMES;
use self::names::{Names, bad};
use super::app::MASK;
use super::{ConfigError, EngineConfig, LogConfig, LogFormat, Secret};

/// Where Docker puts the password of the database, if it was given as a secret.
const PASSWORD_FILE: &str = "/run/secrets/db-password";

/// What the order worker is told.
#[derive(Clone, Debug)]
pub struct OrderWorkerConfig {
    /// The account that it works for.
    pub account: Option<String>,
    /// PostgreSQL.
    pub database: DatabaseConfig,
    /// Redis, and the prefix of the queue.
    pub redis: EngineConfig,
    /// The name of the queue.
    pub queue: String,
    /// How long a lock of a job lasts.
    pub lock: Duration,
    /// Between two looks for lost jobs.
    pub look: Duration,
    /// What passwords are sealed with.
    pub crypto: CryptoConfig,
    /// Who has the documents.
    pub egrn: EgrnConfig,
    /// Who hears of orders.
    pub publish: Option<PublishConfig>,
    /// Address of the port for metrics or for the API.
    pub host: IpAddr,
    /// That port.
    pub port: Option<u16>,
    /// Time that an order has when the worker stops.
    pub grace: Duration,
    /// Jobs that fail in ten minutes before somebody is told.
    pub alert_failed: u64,
    /// What the tokens of administrators are signed with.
    pub jwt_secret: Option<Secret>,
    /// Where browsers find Fanfare.
    pub public_url: Option<String>,
    /// Where the page has pusher-js from.
    pub pusher_js: String,
    /// What is logged.
    pub log: LogConfig,
}

/// Where PostgreSQL is.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the parts of an address")]
pub struct DatabaseConfig {
    pub host: String,
    pub port: u16,
    pub username: String,
    pub password: Option<Secret>,
    pub name: String,
}

/// What passwords are sealed with.
#[derive(Clone, Debug, Default)]
pub struct CryptoConfig {
    /// Seals and opens.
    pub secret: Option<Secret>,
    /// Opens what was sealed before.
    pub previous: Option<Secret>,
    /// Whether to write what services in Node can read.
    pub writes_v0: bool,
}

/// Who has the documents.
#[derive(Clone, Debug)]
pub struct EgrnConfig {
    /// What is spoken there.
    pub client: EgrnClientKind,
    /// Without a slash at the end; always there but for the stub.
    pub base_url: Option<String>,
    /// What a gateway knows us by.
    pub gateway_token: Option<Secret>,
    /// The only authorities that are trusted.
    pub ca_file: Option<PathBuf>,
    /// Between two requests.
    pub interval: Duration,
    /// For one answer.
    pub timeout: Duration,
    /// Time that the stub takes for an order.
    pub stub_time: Duration,
    /// Between two questions whether a document is ready.
    pub poll: Duration,
}

/// What is spoken there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EgrnClientKind {
    /// Nobody is asked, and every order succeeds.
    Stub,
    /// An intermediary with an API.
    Gateway,
    /// The cabinet of a person, in a session that somebody has opened in a browser.
    Cabinet,
}

/// Who hears of orders.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "what every back end is told")]
pub struct PublishConfig {
    pub url: String,
    pub app_id: String,
    pub key: String,
    pub secret: Secret,
}

impl OrderWorkerConfig {
    /// Reads and checks all of it.
    ///
    /// # Errors
    /// The first value that is wrong, with its name and what is expected.
    pub fn from_variables(variables: &HashMap<String, String>) -> Result<Self, ConfigError> {
        let names = Names(variables);
        let store = names.text("ORDER_STORE").unwrap_or("pg");
        if store != "pg" {
            let expected = "pg; writing through the orders service is not supported";
            return Err(bad("ORDER_STORE", store, expected));
        }
        let config = Self {
            account: names.text("ROSREESTR_USER_NAME").map(str::to_owned),
            database: DatabaseConfig::read(&names)?,
            redis: redis(&names)?,
            queue: names
                .text("BULL_QUEUE")
                .unwrap_or("order-processing")
                .to_owned(),
            lock: names.milliseconds("BULL_LOCK_MS", 30_000)?,
            look: names.milliseconds("BULL_STALLED_MS", 30_000)?,
            crypto: CryptoConfig::read(&names)?,
            egrn: EgrnConfig::read(&names)?,
            publish: PublishConfig::read(&names)?,
            host: names.number(
                "ORDER_WORKER_HOST",
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                "an IP address",
            )?,
            port: match names.text("ORDER_WORKER_PORT") {
                Some(_) => Some(names.port("ORDER_WORKER_PORT", 0)?),
                None => None,
            },
            grace: names.milliseconds("ORDER_WORKER_GRACE_MS", 30_000)?,
            alert_failed: names.number("ORDER_WORKER_ALERT_FAILED", 10, "a number of jobs")?,
            jwt_secret: names.secret("JWT_SECRET"),
            public_url: match names.text("PUSHER_PUBLIC_URL") {
                Some(url) => {
                    check_url("PUSHER_PUBLIC_URL", url)?;
                    Some(url.trim_end_matches('/').to_owned())
                }
                None => None,
            },
            pusher_js: names
                .text("PUSHER_JS_URL")
                .unwrap_or("https://js.pusher.com/8.6.0/pusher.min.js")
                .to_owned(),
            log: log(&names)?,
        };
        config.check_times()?;
        Ok(config)
    }

    /// A lock must last long enough to be renewed, and lost jobs be looked for now and
    /// then.
    fn check_times(&self) -> Result<(), ConfigError> {
        if self.lock < Duration::from_millis(200) {
            let lock = self.lock.as_millis().to_string();
            return Err(bad("BULL_LOCK_MS", &lock, "at least 200"));
        }
        if self.look.is_zero() {
            return Err(bad("BULL_STALLED_MS", "0", "at least 1"));
        }
        Ok(())
    }

    /// The account; a worker cannot be without.
    ///
    /// # Errors
    /// None is named.
    pub fn account(&self) -> Result<&str, ConfigError> {
        let expected = "the username of an account in the table rosreestr_users";
        self.account
            .as_deref()
            .ok_or_else(|| ConfigError::missing("ROSREESTR_USER_NAME".to_owned(), expected))
    }

    /// The secret of the API.
    ///
    /// # Errors
    /// There is none.
    pub fn jwt_secret(&self) -> Result<&Secret, ConfigError> {
        let expected = "the secret that tokens of administrators are signed with";
        self.jwt_secret
            .as_ref()
            .ok_or_else(|| ConfigError::missing("JWT_SECRET".to_owned(), expected))
    }

    /// The address for metrics or for the API.
    #[must_use]
    pub fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.host, self.port.unwrap_or(port))
    }
}

impl DatabaseConfig {
    fn read(names: &Names<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            host: names.text("DB_HOST").unwrap_or("localhost").to_owned(),
            port: names.port("DB_PORT", 5_432)?,
            username: names.text("DB_USERNAME").unwrap_or("postgres").to_owned(),
            password: match names.secret("DB_PASSWORD") {
                Some(password) => Some(password),
                None => password_file(names.text("DB_PASSWORD_FILE"))?,
            },
            name: names
                .text("DB_NAME")
                .unwrap_or("rosreestr_extracts")
                .to_owned(),
        })
    }
}

/// A file that was named must be there; the usual one may.
fn password_file(named: Option<&str>) -> Result<Option<Secret>, ConfigError> {
    let path = Path::new(named.unwrap_or(PASSWORD_FILE));
    if named.is_none() && !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).map_err(|error| {
        let expected = format!("a file with the password ({error})");
        bad("DB_PASSWORD_FILE", &path.display().to_string(), &expected)
    })?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).into()))
}

fn redis(names: &Names<'_>) -> Result<EngineConfig, ConfigError> {
    let url = match names.text("REDIS_URL") {
        Some(url) => url.to_owned(),
        None => {
            let host = names.text("REDIS_HOST").unwrap_or("localhost");
            let port = names.port("REDIS_PORT", 6_379)?;
            let database: u32 = names.number("REDIS_DB", 0, "the number of a database")?;
            let user = match names.text("REDIS_PASSWORD") {
                Some(password) => format!(":{}@", utf8_percent_encode(password, NON_ALPHANUMERIC)),
                None => String::new(),
            };
            let host = match host.parse::<std::net::Ipv6Addr>() {
                Ok(address) => format!("[{address}]"),
                Err(_) => host.to_owned(),
            };
            format!("redis://{user}{host}:{port}/{database}")
        }
    };
    let config = EngineConfig {
        url: Some(url.as_str().into()),
        prefix: names.text("BULL_PREFIX").unwrap_or("bull").to_owned(),
        ..EngineConfig::default()
    };
    if config.url.as_ref().is_none_or(|url| url.parse().is_none()) {
        let expected = "redis://[user:password@]host[:port][/database], or one of the other forms of engine.url";
        return Err(bad("REDIS_URL", MASK, expected));
    }
    Ok(config)
}

impl CryptoConfig {
    fn read(names: &Names<'_>) -> Result<Self, ConfigError> {
        let format = names.text("ROSREESTR_CRYPTO_FORMAT").unwrap_or("v1");
        if !matches!(format, "v0" | "v1") {
            return Err(bad("ROSREESTR_CRYPTO_FORMAT", format, "v1 or v0"));
        }
        let config = Self {
            secret: names.secret("ROSREESTR_CRYPTO_SECRET"),
            previous: names.secret("ROSREESTR_CRYPTO_SECRET_PREVIOUS"),
            writes_v0: format == "v0",
        };
        if let Some(secret) = &config.secret
            && is_guessable(secret.reveal())
        {
            return Err(bad(
                "ROSREESTR_CRYPTO_SECRET",
                MASK,
                "at least 12 characters that nobody can guess, such as `openssl rand -hex 32` prints",
            ));
        }
        Ok(config)
    }

    /// The secret; without it no password can be sealed or opened.
    ///
    /// # Errors
    /// There is none.
    pub fn secret(&self) -> Result<&Secret, ConfigError> {
        let expected = "what the passwords of the accounts are sealed with, such as `openssl rand -hex 32` prints";
        self.secret
            .as_ref()
            .ok_or_else(|| ConfigError::missing("ROSREESTR_CRYPTO_SECRET".to_owned(), expected))
    }
}

/// Too short, or what stands in examples.
fn is_guessable(secret: &str) -> bool {
    let lower = secret.to_lowercase();
    let words = lower.replace(['-', '_', ' '], "");
    secret.chars().count() < 12
        || [
            "changeme",
            "yoursecret",
            "yourcryptosecret",
            "yoursupersecret",
            "yourencryption",
            "secretkeyhere",
        ]
        .iter()
        .any(|example| words.contains(example))
}

impl EgrnConfig {
    fn read(names: &Names<'_>) -> Result<Self, ConfigError> {
        let name = names.text("ROSREESTR_CLIENT").unwrap_or("stub");
        let client = match name {
            "stub" => EgrnClientKind::Stub,
            "gateway" => EgrnClientKind::Gateway,
            "cabinet" => EgrnClientKind::Cabinet,
            _ => return Err(bad("ROSREESTR_CLIENT", name, "stub, gateway or cabinet")),
        };
        let base_url = names.text("ROSREESTR_BASE_URL");
        match base_url {
            Some(url) => check_private_url("ROSREESTR_BASE_URL", url)?,
            None if client == EgrnClientKind::Stub => {}
            None => {
                let expected = "the address of the gateway or of the cabinet";
                return Err(ConfigError::missing(
                    "ROSREESTR_BASE_URL".to_owned(),
                    expected,
                ));
            }
        }
        let gateway_token = names.secret("ROSREESTR_GATEWAY_TOKEN");
        if client == EgrnClientKind::Gateway && gateway_token.is_none() {
            let expected = "what the gateway knows you by";
            return Err(ConfigError::missing(
                "ROSREESTR_GATEWAY_TOKEN".to_owned(),
                expected,
            ));
        }
        Ok(Self {
            client,
            base_url: base_url.map(|url| url.trim_end_matches('/').to_owned()),
            gateway_token,
            ca_file: names.text("ROSREESTR_CA_FILE").map(PathBuf::from),
            interval: names.milliseconds("ROSREESTR_INTERVAL_MS", 2_000)?,
            timeout: names.milliseconds("ROSREESTR_TIMEOUT_MS", 25_000)?,
            stub_time: names.milliseconds("ROSREESTR_STUB_MS", 3_000)?,
            poll: names.milliseconds("ROSREESTR_POLL_MS", 60_000)?,
        })
    }
}

impl PublishConfig {
    fn read(names: &Names<'_>) -> Result<Option<Self>, ConfigError> {
        let Some(app_id) = names.text("PUSHER_APP_ID") else {
            return Ok(None);
        };
        let missing = |name: &str| {
            let expected = "the credentials of the app that PUSHER_APP_ID names";
            ConfigError::missing(name.to_owned(), expected)
        };
        let key = names.text("PUSHER_APP_KEY").or(names.text("PUSHER_KEY"));
        let secret = names
            .secret("PUSHER_APP_SECRET")
            .or(names.secret("PUSHER_SECRET"));
        let host = names.text("PUSHER_HOST").unwrap_or("127.0.0.1");
        let port = names.port("PUSHER_PORT", 6_001)?;
        let scheme = names.text("PUSHER_SCHEME").unwrap_or("http");
        if !matches!(scheme, "http" | "https") {
            return Err(bad("PUSHER_SCHEME", scheme, "http or https"));
        }
        let url = format!("{scheme}://{host}:{port}");
        check_url("PUSHER_HOST", &url)?;
        Ok(Some(Self {
            url,
            app_id: app_id.to_owned(),
            key: key.ok_or_else(|| missing("PUSHER_APP_KEY"))?.to_owned(),
            secret: secret.ok_or_else(|| missing("PUSHER_APP_SECRET"))?,
        }))
    }
}

fn log(names: &Names<'_>) -> Result<LogConfig, ConfigError> {
    let format = names.text("LOG_FORMAT").unwrap_or("auto");
    let config = LogConfig {
        level: names.text("LOG_LEVEL").unwrap_or("info").to_owned(),
        format: match format {
            "auto" => LogFormat::Auto,
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            _ => return Err(bad("LOG_FORMAT", format, "auto, text or json")),
        },
    };
    config.check().map_err(|_| {
        bad(
            "LOG_LEVEL",
            &config.level,
            "error, warn, info, debug or trace",
        )
    })?;
    Ok(config)
}

fn check_url(name: &str, url: &str) -> Result<(), ConfigError> {
    let is_url = url.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.query().is_none()
    });
    if is_url {
        return Ok(());
    }
    Err(bad(
        name,
        url,
        "http://HOST or https://HOST, perhaps with a port and a path",
    ))
}

/// Passwords and cookies go there: in the open only within this machine.
fn check_private_url(name: &str, url: &str) -> Result<(), ConfigError> {
    check_url(name, url)?;
    let uri: Uri = url.parse().unwrap_or_default();
    let is_local = uri.host().is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    });
    if uri.scheme_str() == Some("https") || is_local {
        return Ok(());
    }
    Err(bad(name, url, "https, since passwords go there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<OrderWorkerConfig, ConfigError> {
        let variables = variables
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        OrderWorkerConfig::from_variables(&variables)
    }

    #[test]
    fn the_names_of_the_old_worker_count() {
        let config = read(&[
            ("ROSREESTR_USER_NAME", "user-1"),
            ("DB_HOST", "db"),
            ("DB_PORT", "5433"),
            ("DB_PASSWORD", "p"),
            ("REDIS_HOST", "redis"),
            ("REDIS_PASSWORD", "a b@"),
            ("REDIS_DB", "3"),
            ("PUSHER_APP_ID", "1"),
            ("PUSHER_KEY", "k"),
            ("PUSHER_SECRET", "s"),
            ("BCRYPT_SALT_ROUNDS", "10"),
        ])
        .unwrap();

        let address = config.redis.url.as_ref().unwrap().parse().unwrap();
        assert_eq!(address.hosts, [("redis".to_owned(), 6_379)]);
        assert_eq!(address.password.as_deref(), Some("a b@"));
        assert_eq!(address.database, 3);
        assert_eq!(
            (config.database.port, config.account().unwrap()),
            (5_433, "user-1")
        );
        assert_eq!(config.publish.unwrap().url, "http://127.0.0.1:6001");
    }

    #[test]
    fn a_value_that_cannot_be_is_named_with_what_is_expected() {
        for (name, value, expected) in [
            ("DB_PORT", "70000", "a port"),
            ("REDIS_URL", "http://redis", "redis://"),
            ("REDIS_DB", "-1", "the number of a database"),
            ("ROSREESTR_CRYPTO_SECRET", "short", "12 characters"),
            ("ROSREESTR_CRYPTO_SECRET", "your-secret-key-here", "guess"),
            ("ROSREESTR_CRYPTO_FORMAT", "v2", "v1 or v0"),
            ("ROSREESTR_CLIENT", "browser", "stub, gateway"),
            (
                "ROSREESTR_CLIENT",
                "gateway",
                "ROSREESTR_BASE_URL is missing",
            ),
            ("ROSREESTR_BASE_URL", "lk.example", "http://"),
            ("ROSREESTR_BASE_URL", "http://lk.example", "https, since"),
            ("ROSREESTR_INTERVAL_MS", "1e3", "milliseconds"),
            ("ORDER_STORE", "grpc", "pg"),
            ("PUSHER_APP_ID", "1", "PUSHER_APP_KEY is missing"),
            ("LOG_LEVEL", "loud", "error, warn"),
            ("BULL_LOCK_MS", "5", "at least 200"),
            ("ORDER_WORKER_HOST", "localhost", "an IP address"),
            ("DB_PASSWORD_FILE", "/nowhere/password", "a file"),
        ] {
            let error = read(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
            if name.ends_with("SECRET") {
                assert!(!error.contains(value), "{error}");
            }
        }
    }

    #[test]
    fn what_is_not_named_is_asked_for() {
        let config = read(&[]).unwrap();

        assert!(config.account().is_err());
        assert!(config.crypto.secret().is_err());
        assert!(config.jwt_secret().is_err());
        assert!(config.publish.is_none());
    }

    #[test]
    fn every_name_is_documented() {
        const DOCUMENT: &str = include_str!("../../../docs/adapters/orders.md");
        let documented: Vec<(String, String)> = DOCUMENT
            .lines()
            .skip_while(|line| *line != "## Names of the environment")
            .skip(1)
            .take_while(|line| !line.starts_with("## "))
            .filter(|line| line.starts_with("| `"))
            .map(|line| {
                let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
                let plain = |cell: &str| cell.trim().trim_matches('`').to_owned();
                (plain(cells[0]), plain(cells[1]))
            })
            .collect();
        let expected: Vec<(String, String)> = ORDER_WORKER_NAMES
            .iter()
            .map(|(name, default, _)| ((*name).to_owned(), (*default).to_owned()))
            .collect();

        assert_eq!(documented, expected);
    }
}
