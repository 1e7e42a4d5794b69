//! Puts the server together, runs it and stops it. The only place that constructs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use fanfare_protocol::AppKey;
use fastwebsockets::upgrade::is_upgrade_request;
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{Api, Health, Ops};
use crate::apps::{AppStore, ConfigFileApps};
use crate::config::{AppConfig, Config, WebhooksConfig};
use crate::engine::MemoryEngine;
use crate::http::{Answer, Handler, Peer, text_answer};
use crate::hub::{Hub, Timeouts};
use crate::limits::{Addresses, Meters};
use crate::store::{Change, Database, Journal, Replica};
use crate::transport::{
    CertificateFiles, Certificates, Listener, ListenerSettings, WebSocketSettings, WebSockets,
};
use crate::webhook::{WebhookSettings, Webhooks};

/// The longest time between two rounds over all connections.
const MAX_SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Time for what is under way when the clients are gone.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Descriptors that are not connections: the ports, the runtime, log and
/// certificate files, and requests of back ends.
const SPARE_FILES: u64 = 256;

/// Below this the limit of open files was probably never looked at.
const FEW_CONNECTIONS: usize = 10_000;

/// A server whose ports are open, but which accepts nothing yet.
#[derive(Debug)]
pub struct Server {
    hub: Arc<Hub>,
    port: Arc<ClientPort>,
    ops: Arc<Ops>,
    listener: Listener,
    ops_listener: Listener,
    address: SocketAddr,
    metrics_address: SocketAddr,
    certificates: Option<Arc<Certificates>>,
    meters: Arc<Meters>,
    /// Absent: no app has any, and the hub need not tell what happens.
    webhooks: Option<Webhooks>,
    /// Absent: the apps of the configuration are all there are.
    replica: Option<Arc<Replica>>,
    shutdown_grace: Duration,
    sweep_interval: Duration,
    tasks: TaskTracker,
}

impl Server {
    /// Opens the ports and constructs everything.
    ///
    /// # Errors
    /// An address is taken, a certificate cannot be read, or the database cannot
    /// be used.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let certificates = config
            .server
            .tls
            .as_ref()
            .map(|files| {
                Certificates::load(CertificateFiles {
                    cert: files.cert.clone(),
                    key: files.key.clone(),
                })
            })
            .transpose()?
            .map(Arc::new);
        let settings = ListenerSettings {
            request_header_timeout: config.connection.request_header_timeout,
            trusted_proxies: config.server.trusted_proxies.clone(),
        };
        let address = SocketAddr::new(config.server.host, config.server.port);
        let listener = open(
            address,
            certificates.clone(),
            settings.clone(),
            "server.port",
        )?;
        let ops_address = SocketAddr::new(config.server.metrics_host, config.server.metrics_port);
        let ops_listener = open(ops_address, None, settings, "server.metrics_port")?;

        let fixed = config.apps.iter().map(AppConfig::to_app).collect();
        let fixed = ConfigFileApps::new(fixed);
        let (mut replica, mut journal) = (None, None);
        let apps: Arc<dyn AppStore> = match Database::connect(&config.store).await? {
            None => Arc::new(fixed),
            Some(database) => {
                if !database.is_read_only() {
                    database.migrate().await?;
                    journal = Some(Journal::new(database.clone()));
                }
                let loaded = Arc::new(Replica::load(database, fixed).await?);
                replica = Some(Arc::clone(&loaded));
                loaded
            }
        };

        let tasks = TaskTracker::new();
        let timeouts = Timeouts {
            ping_after: config.connection.ping_after,
            pong_wait: config.connection.pong_wait,
            authorization: config.connection.authorization_timeout,
            stalled_write: config.connection.stalled_write,
        };
        let hub = Arc::new(Hub::new(
            Arc::new(MemoryEngine::new()),
            timeouts,
            max_connections(config.server.max_connections),
            tasks.clone(),
        ));
        let has_webhooks =
            replica.is_some() || config.apps.iter().any(|app| !app.webhooks.is_empty());
        let webhooks = has_webhooks
            .then(|| {
                Webhooks::new(
                    &hub,
                    Arc::clone(&apps),
                    journal,
                    webhook_settings(&config.webhooks),
                )
            })
            .transpose()?;
        let meters = Arc::new(Meters::new(webhooks.as_ref().map(Webhooks::figures)));
        let addresses = Arc::new(Addresses::new(
            config.connection.attempts_per_minute,
            config.connection.failures_per_minute,
        ));
        let sockets = WebSockets::new(
            Arc::clone(&hub),
            Arc::clone(&apps),
            WebSocketSettings {
                activity_timeout: config.connection.activity_timeout,
                max_message_bytes: config.connection.max_message_bytes,
                outbox_bytes: config.connection.outbox_bytes,
                raw_key: config.raw_ws.key.as_deref().map(AppKey::new),
                addresses: Arc::clone(&addresses),
            },
            tasks.clone(),
        );
        Ok(Self {
            port: Arc::new(ClientPort {
                api: Api::new(Arc::clone(&hub), apps, Arc::clone(&meters), addresses),
                health: Health::new(Arc::clone(&hub)),
                sockets: Arc::new(sockets),
            }),
            ops: Arc::new(Ops::new(
                Arc::clone(&hub),
                webhooks.as_ref().map(Webhooks::figures),
                replica.clone(),
            )),
            webhooks,
            meters,
            replica,
            address: listener.address()?,
            metrics_address: ops_listener.address()?,
            listener,
            ops_listener,
            certificates,
            shutdown_grace: config.server.shutdown_grace,
            sweep_interval: sweep_interval(timeouts),
            hub,
            tasks,
        })
    }

    /// Where clients and back ends connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics and health are.
    #[must_use]
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics_address
    }

    /// The certificates, to be read again when the operator says so.
    #[must_use]
    pub fn certificates(&self) -> Option<Arc<Certificates>> {
        self.certificates.clone()
    }

    /// Serves until `stop`, then drains: no new clients, and those that exist are
    /// sent to another node over the grace period.
    ///
    /// # Errors
    /// None at the moment; a server that runs deals with what happens.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        // Probes are answered until the end, clients only until `stop`.
        let finish = CancellationToken::new();
        let end = CancellationToken::new();
        let background = TaskTracker::new();
        background.spawn(measure(self.meters, Arc::clone(&self.hub), end.clone()));
        background.spawn(sweep(
            Arc::clone(&self.hub),
            self.sweep_interval,
            end.clone(),
        ));
        background.spawn(self.ops_listener.run(
            self.ops,
            end.clone(),
            end.clone(),
            background.clone(),
        ));
        let webhooks = self.webhooks.map(Webhooks::start);
        if let Some(replica) = self.replica {
            background.spawn(follow(replica, Arc::clone(&self.hub), end.clone()));
        }
        self.listener
            .run(self.port, stop.clone(), finish.clone(), self.tasks.clone())
            .await;

        let connections = self.hub.node().connections();
        tracing::info!(
            connections,
            grace_seconds = self.shutdown_grace.as_secs_f64(),
            "shutting down: sending clients to another node"
        );
        self.hub.drain(self.shutdown_grace).await;
        finish.cancel();
        self.tasks.close();
        if tokio::time::timeout(LAST_WORDS, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                tasks = self.tasks.len(),
                "stopped before everything had ended"
            );
        }
        if let Some(webhooks) = webhooks {
            // The last clients are gone, which is the last that back ends hear.
            let outcome = tokio::time::timeout(LAST_WORDS, webhooks.finish()).await;
            if outcome.is_err() {
                tracing::warn!("stopped before all webhooks were sent");
            }
        }
        end.cancel();
        background.close();
        background.wait().await;
        tracing::info!("stopped");
        Ok(())
    }
}

fn webhook_settings(config: &WebhooksConfig) -> WebhookSettings {
    WebhookSettings {
        deny_private_targets: config.deny_private_targets,
        hold_back: config.hold_back,
        batch_window: config.batch_window,
        connect_timeout: config.connect_timeout,
        timeout: config.timeout,
        first_retry: config.first_retry,
        retry_for: config.retry_for,
    }
}

fn open(
    address: SocketAddr,
    certificates: Option<Arc<Certificates>>,
    settings: ListenerSettings,
    key: &str,
) -> anyhow::Result<Listener> {
    Listener::bind(address, certificates, settings).with_context(|| {
        format!("cannot listen on {address}; is the port taken? Set {key} to another one")
    })
}

/// How many connections this process can have, and what was asked for at most.
fn max_connections(wanted: Option<usize>) -> usize {
    let files = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(files) => files,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files cannot be raised");
            rlimit::Resource::NOFILE.get_soft().unwrap_or(1_024)
        }
    };
    let possible = usize::try_from(files.saturating_sub(SPARE_FILES).max(1)).unwrap_or(usize::MAX);
    match wanted {
        Some(wanted) if wanted > possible => {
            tracing::warn!(
                wanted,
                possible,
                "the limit of open files allows fewer connections than server.max_connections; raise it with ulimit -n or LimitNOFILE"
            );
            possible
        }
        Some(wanted) => wanted,
        None => {
            if possible < FEW_CONNECTIONS {
                tracing::warn!(
                    possible,
                    "the limit of open files allows few connections; raise it with ulimit -n or LimitNOFILE"
                );
            }
            possible
        }
    }
}

fn sweep_interval(timeouts: Timeouts) -> Duration {
    let shortest = timeouts
        .ping_after
        .min(timeouts.pong_wait)
        .min(timeouts.authorization)
        .min(timeouts.stalled_write);
    (shortest / 4).clamp(Duration::from_millis(1), MAX_SWEEP_INTERVAL)
}

/// Looks at the quotas of all apps once a second.
async fn measure(meters: Arc<Meters>, hub: Arc<Hub>, end: CancellationToken) {
    let mut rounds = tokio::time::interval(Duration::from_secs(1));
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while end.run_until_cancelled(rounds.tick()).await.is_some() {
        meters.sweep(&hub, SystemTime::now());
    }
}

/// Carries changes of the database over to connections that exist.
async fn follow(replica: Arc<Replica>, hub: Arc<Hub>, end: CancellationToken) {
    let tell = |change| match change {
        Change::Updated(app) => hub.update(app),
        Change::Deleted(id) => hub.remove(&id),
    };
    replica.follow(end, tell).await;
}

async fn sweep(hub: Arc<Hub>, interval: Duration, end: CancellationToken) {
    let mut rounds = tokio::time::interval(interval);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while end.run_until_cancelled(rounds.tick()).await.is_some() {
        hub.sweep();
    }
}

/// The port of clients and back ends.
#[derive(Debug)]
struct ClientPort {
    api: Api,
    health: Health,
    sockets: Arc<WebSockets>,
}

impl Handler for ClientPort {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Answer {
        if is_upgrade_request(&request) {
            return self.sockets.upgrade(request, peer);
        }
        let path = request.uri().path();
        if Api::owns(path) {
            return self.api.handle(request, peer).await;
        }
        self.health.answer(path).unwrap_or_else(|| {
            text_answer(
                StatusCode::NOT_FOUND,
                "Path not found: WebSockets connect to /app/KEY, the HTTP API is under /apps/ID\n",
            )
        })
    }
}
