//! Puts the server together, runs it and stops it. The only place that constructs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use fastwebsockets::upgrade::is_upgrade_request;
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{Api, Health, Ops};
use crate::apps::{AppStore, ConfigFileApps};
use crate::config::{AppConfig, Config, EngineConfig, RedisDeployment};
use crate::engine::{Deployment, MemoryEngine, RedisEngine, RedisSettings, RedisTask};
use crate::http::{Answer, Handler, Peer, text_answer};
use crate::hub::engine::Engine;
use crate::hub::{Hub, Timeouts};
use crate::transport::{
    CertificateFiles, Certificates, Listener, ListenerSettings, WebSocketSettings, WebSockets,
};

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
    /// What connects this node with others, if there may be any.
    engine_task: Option<RedisTask>,
    port: Arc<ClientPort>,
    ops: Arc<Ops>,
    listener: Listener,
    ops_listener: Listener,
    address: SocketAddr,
    metrics_address: SocketAddr,
    certificates: Option<Arc<Certificates>>,
    shutdown_grace: Duration,
    sweep_interval: Duration,
    tasks: TaskTracker,
}

impl Server {
    /// Opens the ports and constructs everything. Must be called on a runtime.
    ///
    /// # Errors
    /// An address is taken, or a certificate cannot be read.
    pub fn bind(config: &Config) -> anyhow::Result<Self> {
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

        let apps = config.apps.iter().map(AppConfig::to_app).collect();
        let apps: Arc<dyn AppStore> = Arc::new(ConfigFileApps::new(apps));

        let tasks = TaskTracker::new();
        let timeouts = Timeouts {
            ping_after: config.connection.ping_after,
            pong_wait: config.connection.pong_wait,
            authorization: config.connection.authorization_timeout,
            stalled_write: config.connection.stalled_write,
        };
        let (engine, engine_task) = engine(&config.engine)?;
        let hub = Arc::new(Hub::new(
            engine,
            timeouts,
            max_connections(config.server.max_connections),
            tasks.clone(),
        ));
        let sockets = WebSockets::new(
            Arc::clone(&hub),
            Arc::clone(&apps),
            WebSocketSettings {
                activity_timeout: config.connection.activity_timeout,
                max_message_bytes: config.connection.max_message_bytes,
                outbox_bytes: config.connection.outbox_bytes,
            },
            tasks.clone(),
        );
        Ok(Self {
            port: Arc::new(ClientPort {
                api: Api::new(Arc::clone(&hub), apps),
                health: Health::new(Arc::clone(&hub)),
                sockets: Arc::new(sockets),
            }),
            ops: Arc::new(Ops::new(Arc::clone(&hub))),
            address: listener.address()?,
            metrics_address: ops_listener.address()?,
            listener,
            ops_listener,
            certificates,
            shutdown_grace: config.server.shutdown_grace,
            sweep_interval: sweep_interval(timeouts),
            engine_task,
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
        let leave = CancellationToken::new();
        let engine = TaskTracker::new();
        if let Some(task) = self.engine_task {
            engine.spawn(task.run(Arc::clone(&self.hub), leave.clone()));
        }
        engine.close();
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
        // Nobody is here any more, which the other nodes are to know.
        leave.cancel();
        engine.wait().await;
        end.cancel();
        background.close();
        background.wait().await;
        tracing::info!("stopped");
        Ok(())
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

/// The engine of the configuration, and the task that it needs.
fn engine(config: &EngineConfig) -> anyhow::Result<(Arc<dyn Engine>, Option<RedisTask>)> {
    let Some(address) = config.url.as_ref().and_then(|url| url.parse()) else {
        return Ok((Arc::new(MemoryEngine::new()), None));
    };
    let settings = RedisSettings {
        deployment: match address.deployment {
            RedisDeployment::Single => Deployment::Single,
            RedisDeployment::Sentinel(master) => Deployment::Sentinel { master },
            RedisDeployment::Cluster => Deployment::Cluster,
        },
        hosts: address.hosts,
        is_tls: address.is_tls,
        username: address.username,
        password: address.password,
        database: address.database,
        prefix: config.prefix.clone(),
        node_timeout: config.node_timeout,
    };
    let (engine, task) = RedisEngine::new(settings).context("engine.url cannot be used")?;
    Ok((Arc::new(engine), Some(task)))
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
            return self.api.handle(request).await;
        }
        self.health.answer(path).unwrap_or_else(|| {
            text_answer(
                StatusCode::NOT_FOUND,
                "Path not found: WebSockets connect to /app/KEY, the HTTP API is under /apps/ID\n",
            )
        })
    }
}
