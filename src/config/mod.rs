//! The configuration: what an operator may set, and where it comes from.
//!
//! Flags come before the environment, the environment before the file, the file
//! before the defaults. Everything is read and checked once, before the server
//! starts; an unknown key or a bad value is an error that names the key, the
//! value and what is expected. Secrets are masked wherever they are shown.

mod adapters;
mod admin;
mod app;
mod auth;
mod broker;
mod connection;
mod engine;
mod environment;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod history;
mod http_fallback;
mod log;
mod migration;
mod order_worker;
mod raw_ws;
mod redis_names;
mod seconds;
mod server;
mod sto;
mod store;
mod unsupported;
mod usage;
mod webhook;
mod webhooks;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;

use fanfare_protocol::AppId;
use figment::Figment;
use figment::providers::Serialized;
use serde::{Deserialize, Serialize};

pub use self::adapters::{AdaptersConfig, ChatConfig, OnlineScope, QueueMode, RoomsConfig};
pub use self::admin::AdminConfig;
pub use self::app::{AppConfig, KeyConfig, MASK, MAX_RATE, Plan, Secret};
pub use self::auth::{AllowConfig, AuthConfig, JwtAlgorithm, RuleConfig, RuleKind};
pub use self::broker::{BrokerAddress, BrokerUrl};
pub use self::connection::ConnectionConfig;
pub use self::engine::{EngineConfig, RedisAddress, RedisDeployment, RedisUrl};
use self::environment::Environment;
pub use self::environment::{Effect, FOREIGN_NAMES, ForeignName, Form, OWN_NAMES, Used};
pub use self::error::ConfigError;
pub use self::history::{HistoryConfig, HistoryRuleConfig};
pub use self::http_fallback::HttpFallbackConfig;
pub use self::log::{LogConfig, LogFormat};
pub use self::migration::{From as MigrationFrom, Migration};
pub use self::order_worker::{
    CryptoConfig, DatabaseConfig, EgrnClientKind, EgrnConfig, ORDER_WORKER_NAMES,
    OrderWorkerConfig, PublishConfig,
};
pub use self::raw_ws::RawWsConfig;
pub use self::server::{CertificateConfig, ServerConfig, TlsConfig};
pub use self::sto::{DeadLetters, StoConfig};
pub use self::store::StoreConfig;
pub use self::unsupported::Loss;
pub use self::usage::UsageConfig;
pub use self::webhook::WebhookConfig;
pub use self::webhooks::WebhooksConfig;

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Ports, certificates, start and stop.
    pub server: ServerConfig,
    /// Patience and bounds for one client.
    pub connection: ConnectionConfig,
    /// How the nodes of one deployment find one another.
    pub engine: EngineConfig,
    /// What past events and sessions may take of this node.
    pub history: HistoryConfig,
    /// Clients that cannot use WebSockets.
    pub http_fallback: HttpFallbackConfig,
    /// What is logged, and how.
    pub log: LogConfig,
    /// The plain WebSocket at `/ws`.
    pub raw_ws: RawWsConfig,
    /// How webhooks are sent, and where they may go.
    pub webhooks: WebhooksConfig,
    /// Who may subscribe to what, for people with JWTs.
    pub auth: AuthConfig,
    /// Foreign systems that this server takes the place of.
    pub adapters: AdaptersConfig,
    /// The database of apps.
    pub store: StoreConfig,
    /// How long statistics are kept.
    pub usage: UsageConfig,
    /// The API of the operator.
    pub admin: AdminConfig,
    /// The tenants.
    pub apps: Vec<AppConfig>,
}

/// Where a configuration is read from. The environment is passed in, so that
/// nothing else ever reads it.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, if one was named; it must exist then.
    pub file: Option<PathBuf>,
    /// The variables of the environment.
    pub variables: HashMap<String, String>,
    /// Flags of the command line, each with the key that it sets.
    pub flags: Vec<(&'static str, String)>,
    /// Whether certificates must be readable. Only the server needs them; the
    /// other commands may run as a user who must not read the key.
    pub needs_certificates: bool,
}

/// A configuration, and what of the environment went into it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration, checked.
    pub config: Config,
    /// Variables that were found, and what became of them.
    pub variables: Vec<Used>,
    /// Whether the app with the credentials that everybody knows is served.
    pub has_default_app: bool,
}

impl Config {
    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// The first thing that is wrong, with key, value and what is expected.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
        let table = match &sources.file {
            Some(path) => read_file(path)?,
            None => toml::Table::new(),
        };
        Self::from_table(table, sources)
    }

    /// As [`Self::load`], with the content of the file given.
    fn from_table(table: toml::Table, sources: &Sources) -> Result<Loaded, ConfigError> {
        let mut origins: HashMap<String, String> = HashMap::new();
        let mut environment =
            Environment::read(&sources.variables, |adapter| is_on(&table, adapter))?;
        let mut figment = Figment::from(Serialized::globals(table));
        for setting in environment.settings.drain(..) {
            origins.insert(setting.key.to_owned(), setting.variable);
            figment = figment.merge((setting.key, setting.value));
        }
        for (key, text) in &sources.flags {
            let flag = format!("--{}", flag_name(key));
            let value = Form::of(key)
                .read(text)
                .map_err(|expected| ConfigError::bad_value(key, text, &expected, Some(&flag)))?;
            if let Some(value) = value {
                figment = figment.merge((*key, value));
            }
            environment.overrule(key, &flag);
            origins.insert((*key).to_owned(), flag);
        }
        let file = sources.file.as_ref().map(|path| path.display().to_string());
        let mut config: Self = figment.extract().map_err(|error| {
            ConfigError::from_figment(&error, &figment)
                .located(|key| origins.get(key).cloned().or(file.clone()))
        })?;
        let mut has_default_app = false;
        if config.apps.is_empty() {
            let app = match environment.app.take() {
                Some(app) => {
                    for (key, variable) in environment.app_variables() {
                        origins.insert(format!("apps[0].{key}"), variable);
                    }
                    Some(app)
                }
                // A server with a database has the apps of that.
                None => config.store.url.is_none().then(AppConfig::default_app),
            };
            has_default_app = app.as_ref().is_some_and(AppConfig::has_default_credentials);
            config.apps.extend(app);
        } else {
            environment.app_is_ignored();
        }
        config.share_origins();
        let mut checked = config.check();
        if sources.needs_certificates {
            checked = checked.and_then(|()| config.server.check_files());
        }
        checked.map_err(|error| {
            error.located(|key| {
                let is_in_file = key.starts_with("apps[") || figment.contains(key);
                origins.get(key).cloned().or(file.filter(|_| is_in_file))
            })
        })?;
        Ok(Loaded {
            config,
            variables: environment.used,
            has_default_app,
        })
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.server.check()?;
        self.connection.check()?;
        self.engine.check()?;
        self.history.check()?;
        self.http_fallback.check()?;
        self.log.check()?;
        self.store.check()?;
        self.usage.check()?;
        self.admin.check()?;
        self.adapters.check()?;
        let (rooms, chat) = (&self.adapters.rooms, &self.adapters.chat);
        let sto = &self.adapters.sto;
        if rooms.enabled {
            self.check_app("adapters.rooms.app", rooms.app.as_deref())?;
        }
        if chat.enabled {
            self.check_app("adapters.chat.app", chat.app.as_deref())?;
        }
        if sto.enabled {
            self.check_app("adapters.sto.app", sto.app.as_deref())?;
        }
        self.auth
            .check(rooms.enabled || chat.enabled || sto.enabled)?;
        // As `server::auth_config` has it.
        if self.auth.enabled || rooms.enabled || chat.enabled || sto.enabled {
            self.check_app("auth.app", self.auth.app.as_deref())?;
        }
        let mut ids = HashSet::new();
        let mut keys = HashSet::new();
        for (index, app) in self.apps.iter().enumerate() {
            app.check(&format!("apps[{index}]"))?;
            if !ids.insert(app.id.as_str()) {
                let key = format!("apps[{index}].id");
                return Err(ConfigError::bad_value(
                    &key,
                    &app.id,
                    "an id that no other app has",
                    None,
                ));
            }
            for pair in app.pairs() {
                if !keys.insert(pair.key.clone()) {
                    let key = format!("apps[{index}].key");
                    return Err(ConfigError::bad_value(
                        &key,
                        &pair.key,
                        "a key that no other app and no other pair has",
                        None,
                    ));
                }
            }
        }
        self.raw_ws.check(&keys)?;
        self.check_host(self.server.host)
    }

    /// The app that a part of the server belongs to: the one that it names, else
    /// the first. Only a database can have one that is not known here.
    #[must_use]
    pub fn app_id(&self, named: Option<&str>) -> Option<AppId> {
        named
            .or_else(|| self.apps.first().map(|app| app.id.as_str()))
            .map(AppId::new)
    }

    /// The pages of a call centre, a chat or a car service are named once, for HTTP paths and
    /// WebSockets.
    fn share_origins(&mut self) {
        let origins = self.auth.allowed_origins.clone();
        if origins.iter().any(|origin| origin == "*") {
            return;
        }
        let (rooms, chat) = (&self.adapters.rooms, &self.adapters.chat);
        let sto = &self.adapters.sto;
        let adapters = [
            (rooms.enabled, &rooms.app),
            (chat.enabled, &chat.app),
            (sto.enabled, &sto.app),
        ];
        let ids: Vec<_> = adapters
            .into_iter()
            .filter(|(is_enabled, _)| *is_enabled)
            .filter_map(|(_, app)| self.app_id(app.as_deref()))
            .collect();
        for app in &mut self.apps {
            if app.allowed_origins.is_empty() && ids.iter().any(|id| app.id == id.as_str()) {
                app.allowed_origins.clone_from(&origins);
            }
        }
    }

    fn check_app(&self, key: &str, named: Option<&str>) -> Result<(), ConfigError> {
        let Some(id) = self.app_id(named) else {
            return Err(ConfigError::missing(
                key.to_owned(),
                "the id of an app, since none is in the configuration",
            ));
        };
        let is_known = self.apps.iter().any(|app| app.id == id.as_str());
        if is_known || self.store.url.is_some() {
            return Ok(());
        }
        Err(ConfigError::bad_value(
            key,
            id.as_str(),
            "the id of an app",
            None,
        ))
    }

    /// Whether the apps may be served on `host`: not with credentials that
    /// everybody knows, where everybody can connect.
    ///
    /// # Errors
    /// They may not.
    pub fn check_host(&self, host: IpAddr) -> Result<(), ConfigError> {
        let is_known = self.apps.iter().any(AppConfig::has_default_credentials);
        if is_known && !host.to_canonical().is_loopback() {
            return Err(ConfigError::DefaultCredentials { host });
        }
        Ok(())
    }

    /// The configuration as a TOML file, secrets masked.
    ///
    /// # Errors
    /// A path that is not UTF-8.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }
}

/// Whether the file turns an adapter on.
fn is_on(table: &toml::Table, adapter: &str) -> bool {
    table
        .get("adapters")
        .and_then(|adapters| adapters.get(adapter)?.get("enabled")?.as_bool())
        .unwrap_or_default()
}

/// `server.metrics_port` is `--metrics-port`.
fn flag_name(key: &str) -> String {
    key.rsplit('.').next().unwrap_or(key).replace('_', "-")
}

fn read_file(path: &std::path::Path) -> Result<toml::Table, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::UnreadableFile {
        path: path.to_owned(),
        source,
    })?;
    text.parse()
        .map_err(|error| ConfigError::syntax(path, &text, &error))
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
