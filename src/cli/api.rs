//! Which server and which app the commands talk to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use fanfare::adapter::client::{ApiClient, ApiClientError, Credentials};
use fanfare::adapter::trust::Trust;
use fanfare::config::{AppConfig, StoreConfig};
use fanfare::store::Database;
use fanfare_protocol::{AppId, AppKey, AppSecret};

use super::ConfigFile;

/// Which server and which app.
#[derive(Debug, Args)]
pub(super) struct Api {
    #[command(flatten)]
    file: ConfigFile,
    /// URL of the server [default: that of the configuration]
    #[arg(long)]
    url: Option<String>,
    /// App id [default: the first app of the configuration, or the only one of
    /// the database that it names]
    #[arg(long)]
    app_id: Option<String>,
    /// App key
    #[arg(long)]
    key: Option<String>,
    /// App secret; better set as PUSHER_APP_SECRET, which other users of the
    /// machine cannot see
    #[arg(long)]
    secret: Option<String>,
    /// PEM file with authorities to trust beside those of the web
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// A server and the app's credentials for it.
pub(super) struct Target {
    /// Without a slash at the end.
    pub(super) url: String,
    pub(super) credentials: Credentials,
    /// Whose certificate the server may have.
    pub(super) trust: Trust,
}

impl Target {
    pub(super) fn client(&self) -> anyhow::Result<ApiClient> {
        let credentials = self.credentials.clone();
        Ok(ApiClient::trusting(&self.url, credentials, &self.trust)?)
    }
}

/// Says what to do about a call that did not succeed.
pub(super) fn advise(error: ApiClientError) -> anyhow::Error {
    let advice = match &error {
        ApiClientError::Unreachable { .. } | ApiClientError::Timeout { .. } => {
            "no server answers; start one with `fanfare serve`, or name it with --url"
        }
        ApiClientError::Refused { status, .. } if matches!(status.as_u16(), 401 | 404) => {
            "the server does not know the app by these credentials; name it with --app-id, --key and --secret, or with --config"
        }
        _ => return error.into(),
    };
    anyhow::Error::new(error).context(advice)
}

impl Api {
    pub(super) async fn target(&self) -> anyhow::Result<Target> {
        let config = self.file.load()?.config;
        let app = match &self.app_id {
            Some(id) => config.apps.iter().find(|app| app.id == *id).cloned(),
            None => config.apps.first().cloned(),
        };
        let is_told = self.app_id.is_some() && self.key.is_some() && self.secret.is_some();
        let app = match app {
            None if !is_told => self.stored_app(&config.store).await?,
            app => app,
        };
        let pairs = app.as_ref().map(AppConfig::pairs).unwrap_or_default();
        let pair = match &self.key {
            Some(key) => pairs.iter().find(|pair| pair.key == *key),
            None => pairs.first(),
        };
        let unknown = "is neither in the configuration nor in its database; name the app with --app-id, --key and --secret";
        let key = self.key.clone().or(pair.map(|pair| pair.key.clone()));
        let secret = self
            .secret
            .clone()
            .or(pair.map(|pair| pair.secret.reveal().to_owned()));
        let id = self.app_id.clone().or(app.map(|app| app.id));
        let credentials = Credentials {
            app_id: AppId::new(&id.with_context(|| format!("the app {unknown}"))?),
            key: AppKey::new(&key.with_context(|| format!("the app key {unknown}"))?),
            secret: AppSecret::new(&secret.with_context(|| format!("the app secret {unknown}"))?),
        };
        let url = self.url.clone().unwrap_or_else(|| {
            let host = match config.server.host {
                IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                host => host,
            };
            let tls = config.server.tls.as_ref();
            // Beside a port of its own for TLS, the server's port is plain.
            let scheme = match tls {
                Some(tls) if tls.port.is_none() => "https",
                _ => "http",
            };
            let address = std::net::SocketAddr::new(host, config.server.port);
            format!("{scheme}://{address}{}", config.server.path_prefix)
        });
        let trust = match &self.ca {
            Some(path) => Trust::web().and_file(path)?,
            None => Trust::web(),
        };
        Ok(Target {
            url: url.trim_end_matches('/').to_owned(),
            credentials,
            trust,
        })
    }

    /// The app of the database, if one is configured.
    async fn stored_app(&self, store: &StoreConfig) -> anyhow::Result<Option<AppConfig>> {
        let Some(database) = Database::connect(store).await? else {
            return Ok(None);
        };
        let apps = database.all_apps().await?.into_iter();
        let mut apps: Vec<AppConfig> = apps.map(|(app, _)| app).collect();
        if let Some(id) = &self.app_id {
            return Ok(apps.into_iter().find(|app| app.id == *id));
        }
        if let Some(key) = &self.key {
            apps.retain(|app| app.pairs().iter().any(|pair| pair.key == *key));
        }
        let one_of_many = "the database has several apps; name one with --app-id";
        ensure!(apps.len() <= 1, one_of_many);
        Ok(apps.pop())
    }
}
