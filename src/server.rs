//! Puts the server together, runs it and stops it. The only place that constructs.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use fanfare_protocol::AppKey;
use fastwebsockets::upgrade::is_upgrade_request;
use futures_util::future::join_all;
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use listenfd::ListenFd;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::adapter::auth::AuthEndpoint;
use crate::adapter::chat::{self, Chat};
use crate::adapter::ground::{Adapter, Ground};
use crate::adapter::rooms::{self, Rooms};
use crate::adapter::supervisor::Adapters;
use crate::api::{
    Admin, AdminParts, Api, ApiFigures, Health, Ops, SignedPath, Sources, TestLog, statistics,
};
use crate::apps::{AppStore, ConfigFileApps};
use crate::config::{
    AppConfig, AuthConfig, Config, ConfigError, ConnectionConfig, EngineConfig, RedisDeployment,
    TlsConfig, WebhooksConfig,
};
use crate::engine::{
    Deployment, MemoryEngine, RedisCommands, RedisEngine, RedisSettings, RedisTask,
};
use crate::http::{Answer, Handler, Peer, text_answer};
use crate::hub::engine::Engine;
use crate::hub::{HistoryLimits, Hub, Timeouts};
use crate::limits::{Addresses, Meters, NodeLimits};
use crate::store::{Change, Database, Journal, Replica};
use crate::transport::{
    CertificateError, CertificateFiles, Certificates, HttpFallback, HttpFallbackSettings, Listener,
    ListenerSettings, WebSocketSettings, WebSockets,
};
use crate::usage::{self, Retention, Usage};
use crate::webhook::{WebhookSettings, Webhooks};

/// The shortest time between two rounds over all connections.
const MIN_SWEEP_INTERVAL: Duration = Duration::from_millis(1);

/// The longest one.
const MAX_SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Time for what is under way when the clients are gone.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Descriptors that are not connections: the ports, the runtime, log and
/// certificate files, and requests of back ends.
const SPARE_FILES: u64 = 256;

/// Time for a connection that speaks HTTP to take its answer and bring a further
/// request. Longer than an idle one is kept, and than a body may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

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
    tls_listener: Option<Listener>,
    rooms_listener: Option<Listener>,
    ops_listener: Listener,
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    rooms_address: Option<SocketAddr>,
    metrics_address: SocketAddr,
    certificates: Option<Arc<Certificates>>,
    meters: Arc<Meters>,
    usage: Arc<Usage>,
    /// Absent: no token is set.
    admin: Option<Arc<Admin>>,
    /// Our own tables, if there are any.
    database: Option<Database>,
    adapters: Adapters,
    /// Absent: no app has any, and the hub need not tell what happens.
    webhooks: Option<Webhooks>,
    /// Absent: the apps of the configuration are all there are.
    replica: Option<Arc<Replica>>,
    shutdown_grace: Duration,
    sweep_interval: Duration,
    /// Whether another process may answer on the same ports when this one stops.
    has_successor: bool,
    tasks: TaskTracker,
}

impl Server {
    /// Opens the ports and constructs everything.
    ///
    /// Ports that systemd hands over are taken instead: the first for clients,
    /// the second, if there is one, for metrics.
    ///
    /// # Errors
    /// An address is taken, a certificate cannot be read, or the database cannot
    /// be used.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        Self::construct(config, None).await
    }

    /// As [`Self::bind`], with a log of what happens that anybody may read: for
    /// the tests of applications.
    ///
    /// # Errors
    /// As for [`Self::bind`].
    pub async fn bind_for_tests(config: &Config) -> anyhow::Result<Self> {
        Self::construct(config, Some(Arc::default())).await
    }

    async fn construct(config: &Config, test_log: Option<Arc<TestLog>>) -> anyhow::Result<Self> {
        let certificates = certificates(config)?.map(Arc::new);
        let settings = ListenerSettings {
            request_header_timeout: config.connection.request_header_timeout,
            answer_timeout: ANSWER_TIMEOUT,
            reuse_port: config.server.reuse_port,
            trusted_proxies: config.server.trusted_proxies.clone(),
        };
        let mut inherited = ListenFd::from_env();
        let tls_port = config.server.tls.as_ref().and_then(|tls| tls.port);
        let on_server_port = certificates.clone().filter(|_| tls_port.is_none());
        let listener = match inherited.take_tcp_listener(0)? {
            Some(socket) => Listener::on(socket, on_server_port, settings.clone())?,
            None => open(
                SocketAddr::new(config.server.host, config.server.port),
                on_server_port,
                settings.clone(),
                "server.port",
            )?,
        };
        // The port of another process may be more public than our own would be.
        config.check_host(listener.address()?.ip())?;
        let tls_listener = tls_port
            .map(|port| {
                let address = SocketAddr::new(config.server.host, port);
                let certificates = certificates.clone();
                open(address, certificates, settings.clone(), "server.tls.port")
            })
            .transpose()?;
        let rooms = Some(&config.adapters.rooms).filter(|rooms| rooms.enabled);
        let rooms_listener = rooms
            .and_then(|rooms| rooms.port)
            .map(|port| {
                let address = SocketAddr::new(config.server.host, port);
                open(address, None, settings.clone(), "adapters.rooms.port")
            })
            .transpose()?;
        let ops_listener = match inherited.take_tcp_listener(1)? {
            Some(socket) => Listener::on(socket, None, settings)?,
            None => open(
                SocketAddr::new(config.server.metrics_host, config.server.metrics_port),
                None,
                settings,
                "server.metrics_port",
            )?,
        };

        let fixed = config.apps.iter().map(AppConfig::to_app).collect();
        let fixed = ConfigFileApps::new(fixed);
        let (mut replica, mut journal, mut own) = (None, None, None);
        let database = Database::connect(&config.store).await?;
        let apps: Arc<dyn AppStore> = match database.clone() {
            None => Arc::new(fixed),
            Some(database) => {
                if !database.is_read_only() {
                    database.migrate().await?;
                    journal = Some(Journal::new(database.clone()));
                    own = Some(database.clone());
                }
                let loaded = Arc::new(Replica::load(database, fixed).await?);
                replica = Some(Arc::clone(&loaded));
                loaded
            }
        };

        let tasks = TaskTracker::new();
        let sweep_interval = sweep_interval(&config.connection);
        let timeouts = Timeouts {
            ping_after: ahead_of_sweep(config.connection.ping_after, sweep_interval),
            pong_wait: ahead_of_sweep(config.connection.pong_wait, sweep_interval),
            authorization: config.connection.authorization_timeout,
            stalled_write: config.connection.stalled_write,
        };
        let (engine, engine_task) = engine(&config.engine, config.webhooks.hold_back)?;
        let hub = Arc::new(Hub::with_history(
            engine,
            timeouts,
            max_connections(config.server.max_connections),
            tasks.clone(),
            HistoryLimits {
                bytes: config.history.bytes,
                sessions: config.history.sessions,
                session_bytes: config.history.session_bytes,
            },
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
        if let Some(database) = &own {
            // What a restart must not give away again.
            let loaded = meters.store(&hub, database, SystemTime::now());
            loaded
                .await
                .context("the messages of this day are not known")?;
        }
        let api_figures = ApiFigures::new()?;
        let addresses = Arc::new(Addresses::new(
            config.connection.attempts_per_minute,
            config.connection.failures_per_minute,
        ));
        let sockets = Arc::new(WebSockets::new(
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
        ));
        let http_fallback = config.http_fallback.enabled.then(|| {
            Arc::new(HttpFallback::new(
                Arc::clone(&hub),
                Arc::clone(&sockets),
                http_fallback_settings(config),
                tasks.clone(),
            ))
        });
        let rooms = rooms.zip(auth_config(config)).and_then(|(rooms, auth)| {
            let app = config.app_id(rooms.app.as_deref())?;
            let (hub, apps) = (Arc::clone(&hub), Arc::clone(&apps));
            let ground = Ground::new(hub, apps, app, config.adapters.vacate_grace());
            let redis =
                redis_settings(&config.engine, config.webhooks.hold_back).map(RedisCommands::new);
            Some(Arc::new(Rooms::new(ground, rooms, &auth, redis)))
        });
        let chat = Some(&config.adapters.chat).filter(|chat| chat.enabled);
        let chat = chat.and_then(|chat| {
            let app = config.app_id(chat.app.as_deref())?;
            let (hub, apps) = (Arc::clone(&hub), Arc::clone(&apps));
            let grace = config.adapters.vacate_grace();
            let ground = Ground::new(hub, apps, app, grace);
            let node = node_name(config.server.port);
            Some(Arc::new(Chat::new(ground, chat, grace, &node)?))
        });
        let rooms_adapter = rooms.clone().map(|rooms| rooms as Arc<dyn Adapter>);
        let chat_adapter = chat.clone().map(|chat| chat as Arc<dyn Adapter>);
        let adapters: Vec<_> = rooms_adapter.into_iter().chain(chat_adapter).collect();
        let consumed = adapters.iter().flat_map(|adapter| adapter.consumes());
        hub.consume(consumed.collect());
        let adapters = Adapters::new(adapters);
        let auth = auth_config(config).and_then(|auth| {
            let app = config.app_id(auth.app.as_deref())?;
            Some(AuthEndpoint::new(&auth, app, Arc::clone(&apps)))
        });
        let listener_address = listener.address()?;
        let usage = Arc::new(Usage::new(
            Arc::clone(&hub),
            webhooks.as_ref().map(Webhooks::figures),
            own.clone(),
            Retention {
                minutes: Duration::from_secs(3_600 * u64::from(config.usage.minute_counts_hours)),
                hours: Duration::from_secs(86_400 * u64::from(config.usage.hour_counts_days)),
            },
            node_name(config.server.port),
        ));
        let admin = config.admin.token.as_ref().map(|token| {
            let parts = AdminParts {
                hub: Arc::clone(&hub),
                apps: Arc::clone(&apps),
                file_apps: config.apps.clone(),
                database,
                replica: replica.clone(),
                usage: Arc::clone(&usage),
                meters: Arc::clone(&meters),
                tester: webhooks.as_ref().map(Webhooks::tester),
                feed_shows_private_data: config.admin.feed_shows_private_data,
            };
            Arc::new(Admin::new(parts, token.reveal()))
        });
        let soketi_port = config
            .server
            .soketi_metrics
            .then(|| listener_address.port());
        Ok(Self {
            port: Arc::new(ClientPort {
                api: Api::new(
                    Arc::clone(&hub),
                    apps,
                    NodeLimits {
                        meters: Arc::clone(&meters),
                        addresses,
                    },
                    api_figures.clone(),
                    test_log.clone(),
                ),
                test_log,
                admin: admin.clone().filter(|_| config.admin.on_client_port),
                health: Health::new(Arc::clone(&hub), adapters.clone()),
                sockets,
                auth,
                rooms,
                chat,
                http_fallback,
                path_prefix: config.server.path_prefix.clone(),
            }),
            admin: admin.clone(),
            ops: Arc::new(Ops::new(
                Sources {
                    hub: Arc::clone(&hub),
                    api: api_figures,
                    meters: Arc::clone(&meters),
                    webhooks: webhooks.as_ref().map(Webhooks::figures),
                    replica: replica.clone(),
                    adapters: adapters.clone(),
                    soketi_port,
                },
                admin,
            )),
            adapters,
            webhooks,
            meters,
            usage,
            database: own,
            replica,
            address: listener_address,
            metrics_address: ops_listener.address()?,
            tls_address: tls_listener.as_ref().map(Listener::address).transpose()?,
            rooms_address: rooms_listener.as_ref().map(Listener::address).transpose()?,
            listener,
            tls_listener,
            rooms_listener,
            ops_listener,
            certificates,
            shutdown_grace: config.server.shutdown_grace,
            sweep_interval,
            has_successor: config.server.reuse_port,
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

    /// Where they connect with TLS, if that is a port of its own.
    #[must_use]
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// The further port of the call centre, if it has one.
    #[must_use]
    pub fn rooms_address(&self) -> Option<SocketAddr> {
        self.rooms_address
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
        background.spawn(measure(
            Arc::clone(&self.meters),
            Arc::clone(&self.hub),
            end.clone(),
        ));
        let books = Books {
            hub: Arc::clone(&self.hub),
            meters: self.meters,
            usage: self.usage,
            database: self.database,
        };
        background.spawn(books.keep(end.clone()));
        background.spawn(sweep(
            Arc::clone(&self.hub),
            self.sweep_interval,
            end.clone(),
        ));
        background.spawn(recall(Arc::clone(&self.hub), end.clone()));
        if let Some(log) = &self.port.test_log {
            let following = Arc::clone(log).follow(self.hub.events());
            let end = end.clone();
            background.spawn(async move { end.run_until_cancelled(following).await });
        }
        // A successor's probes must not be answered by the one that leaves.
        let ops_stop = if self.has_successor { &stop } else { &end };
        background.spawn(self.ops_listener.run(
            self.ops,
            ops_stop.clone(),
            end.clone(),
            background.clone(),
        ));
        let leave = CancellationToken::new();
        let engine = TaskTracker::new();
        if let Some(task) = self.engine_task {
            engine.spawn(task.run(Arc::clone(&self.hub), leave.clone()));
        }
        engine.close();
        let webhooks = self.webhooks.map(Webhooks::start);
        if let Some(replica) = self.replica {
            background.spawn(follow(replica, Arc::clone(&self.hub), end.clone()));
        }
        // Most are not to tell of the going of those who are sent to another node.
        self.adapters.start(&self.tasks, &stop, &finish);
        let further = [self.tls_listener, self.rooms_listener];
        let on_further = further.into_iter().flatten().map(|listener| {
            let port = Arc::clone(&self.port);
            listener.run(port, stop.clone(), finish.clone(), self.tasks.clone())
        });
        let on_further: Vec<_> = on_further.collect();
        let on_server_port =
            self.listener
                .run(self.port, stop.clone(), finish.clone(), self.tasks.clone());
        tokio::join!(on_server_port, join_all(on_further));

        if let Some(admin) = &self.admin {
            admin.close();
        }
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

/// Reads the certificate files, if any are named.
///
/// # Errors
/// A file is not what it should be, or the two do not fit together.
pub fn certificates(config: &Config) -> Result<Option<Certificates>, ConfigError> {
    let Some(tls) = &config.server.tls else {
        return Ok(None);
    };
    let bad_value = |key: &str, value: String, expected| ConfigError::BadValue {
        key: key.to_owned(),
        value,
        origin: String::new(),
        expected,
    };
    Certificates::load(certificate_files(tls))
        .map(Some)
        .map_err(|error| match error {
            CertificateError::Unreadable {
                path,
                reason,
                expected,
            } => {
                let key = if path == tls.cert {
                    "server.tls.cert"
                } else if path == tls.key {
                    "server.tls.key"
                } else {
                    "server.tls.also"
                };
                let expected = format!("a PEM file with {expected} ({reason})");
                bad_value(key, format!("{path:?}"), expected)
            }
            CertificateError::Unusable { cert, key, reason } => bad_value(
                "server.tls",
                format!("{cert:?} with {key:?}"),
                format!("a certificate and the key that belongs to it ({reason})"),
            ),
        })
}

/// How people with JWTs are authorised, if they are.
#[must_use]
pub fn auth_config(config: &Config) -> Option<AuthConfig> {
    let (rooms, chat) = (&config.adapters.rooms, &config.adapters.chat);
    let mut auth = config.auth.clone();
    if rooms.enabled {
        auth = rooms::rules::extend(&auth, rooms);
    }
    if chat.enabled {
        auth = chat::rules::extend(&auth, chat);
    }
    (auth.enabled || rooms.enabled || chat.enabled).then_some(auth)
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
    Listener::bind(address, certificates, settings).map_err(|error| {
        let advice = if error.kind() == io::ErrorKind::PermissionDenied {
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE or a lower net.ipv4.ip_unprivileged_port_start."
        } else {
            "is the port taken?"
        };
        anyhow::Error::new(error).context(format!(
            "cannot listen on {address}; {advice} Set {key} to another one"
        ))
    })
}

/// How Redis is reached, if it connects this node with others.
fn redis_settings(config: &EngineConfig, hold_back: Duration) -> Option<RedisSettings> {
    let address = config.url.as_ref().and_then(|url| url.parse())?;
    Some(RedisSettings {
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
        hold_back,
    })
}

/// The engine of the configuration, and the task that it needs.
fn engine(
    config: &EngineConfig,
    hold_back: Duration,
) -> anyhow::Result<(Arc<dyn Engine>, Option<RedisTask>)> {
    let Some(settings) = redis_settings(config, hold_back) else {
        return Ok((Arc::new(MemoryEngine::new()), None));
    };
    let (engine, task) = RedisEngine::new(settings).context("engine.url cannot be used")?;
    Ok((Arc::new(engine), Some(task)))
}

fn certificate_files(tls: &TlsConfig) -> Vec<CertificateFiles> {
    let first = (&tls.cert, &tls.key);
    let also = tls.also.iter().map(|more| (&more.cert, &more.key));
    std::iter::once(first)
        .chain(also)
        .map(|(cert, key)| CertificateFiles {
            cert: cert.clone(),
            key: key.clone(),
        })
        .collect()
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

fn http_fallback_settings(config: &Config) -> HttpFallbackSettings {
    let fallback = &config.http_fallback;
    HttpFallbackSettings {
        path: fallback.path.clone(),
        hostname: fallback.hostname.clone(),
        activity_timeout: config.connection.activity_timeout,
        max_message_bytes: config.connection.max_message_bytes,
        outbox_bytes: config.connection.outbox_bytes,
        heartbeat: fallback.heartbeat,
        answer_wait: fallback.answer_wait,
        session_grace: fallback.session_grace,
        reopen_wait: fallback.reopen_wait,
        sockjs_scripts: fallback.sockjs_scripts.clone(),
    }
}

fn sweep_interval(connection: &ConnectionConfig) -> Duration {
    let shortest = connection
        .ping_after
        .min(connection.pong_wait)
        .min(connection.authorization_timeout)
        .min(connection.stalled_write);
    (shortest / 4).clamp(MIN_SWEEP_INTERVAL, MAX_SWEEP_INTERVAL)
}

/// A sweep finds out up to one interval late; looking for what is older than
/// this keeps the time that was promised.
fn ahead_of_sweep(promised: Duration, interval: Duration) -> Duration {
    promised.saturating_sub(interval).max(MIN_SWEEP_INTERVAL)
}

/// Looks at the quotas of all apps once a second.
async fn measure(meters: Arc<Meters>, hub: Arc<Hub>, end: CancellationToken) {
    let mut rounds = tokio::time::interval(Duration::from_secs(1));
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while end.run_until_cancelled(rounds.tick()).await.is_some() {
        meters.sweep(&hub, SystemTime::now());
    }
}

/// What is written down about the apps: their days and their statistics.
#[derive(Debug)]
struct Books {
    hub: Arc<Hub>,
    meters: Arc<Meters>,
    usage: Arc<Usage>,
    database: Option<Database>,
}

impl Books {
    /// Writes every few seconds until `end`, and once more then.
    async fn keep(self, end: CancellationToken) {
        let mut rounds = tokio::time::interval(usage::ROUND);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while end.run_until_cancelled(rounds.tick()).await.is_some() {
            self.write().await;
        }
        if tokio::time::timeout(LAST_WORDS, self.write())
            .await
            .is_err()
        {
            tracing::warn!("stopped before the last statistics were written down");
        }
    }

    async fn write(&self) {
        let now = SystemTime::now();
        if let Some(database) = &self.database {
            let stored = self.meters.store(&self.hub, database, now);
            let problem = match tokio::time::timeout(LAST_WORDS, stored).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer within {} s", LAST_WORDS.as_secs())),
            };
            if let Some(problem) = problem {
                tracing::warn!(
                    problem,
                    "the messages of this day are not written down for the moment"
                );
            }
        }
        self.usage.round(now).await;
    }
}

/// What this node is called in the database: the same after a restart, and
/// another one for each server of a machine.
fn node_name(port: u16) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{port}", host.trim())
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

/// Looks once a second at what happened on channels with a history.
async fn recall(hub: Arc<Hub>, end: CancellationToken) {
    let mut rounds = tokio::time::interval(Duration::from_secs(1));
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while end.run_until_cancelled(rounds.tick()).await.is_some() {
        hub.recall();
    }
}

/// The port of clients and back ends.
#[derive(Debug)]
struct ClientPort {
    api: Api,
    test_log: Option<Arc<TestLog>>,
    admin: Option<Arc<Admin>>,
    health: Health,
    sockets: Arc<WebSockets>,
    /// Absent: apps have endpoints of their own for it.
    auth: Option<AuthEndpoint>,
    /// Absent: there is no call centre.
    rooms: Option<Arc<Rooms>>,
    /// Absent: there is no chat.
    chat: Option<Arc<Chat>>,
    http_fallback: Option<Arc<HttpFallback>>,
    path_prefix: String,
}

impl ClientPort {
    /// Takes the prefix away, so that nobody further in has to know of it; the
    /// path that was signed is kept with the request. False when the request has
    /// another prefix.
    fn strip_prefix(&self, request: &mut Request<Incoming>) -> bool {
        if self.path_prefix.is_empty() {
            return true;
        }
        let uri = request.uri();
        let signed = SignedPath(uri.path().to_owned());
        let stripped = uri
            .path_and_query()
            .and_then(|target| target.as_str().strip_prefix(&self.path_prefix))
            .map(|rest| if rest.is_empty() { "/" } else { rest })
            .filter(|rest| rest.starts_with(['/', '?']))
            .and_then(|rest| rest.parse().ok());
        let Some(stripped) = stripped else {
            return false;
        };
        *request.uri_mut() = stripped;
        request.extensions_mut().insert(signed);
        true
    }
}

impl Handler for ClientPort {
    async fn handle(self: Arc<Self>, mut request: Request<Incoming>, peer: Peer) -> Answer {
        if !self.strip_prefix(&mut request) {
            // Probes know nothing of prefixes.
            let path = request.uri().path();
            return self.health.answer(path).unwrap_or_else(not_found);
        }
        if is_upgrade_request(&request) {
            return self.sockets.upgrade(request, peer);
        }
        let path = request.uri().path();
        if Api::owns(path) {
            return self.api.handle(request, peer).await;
        }
        if let Some(rooms) = self.rooms.as_ref().filter(|_| Rooms::owns(path)) {
            // Boxed, as the next one: most connections need no room for them.
            return Box::pin(rooms.handle(request, peer)).await;
        }
        if let Some(chat) = self.chat.as_ref().filter(|_| Chat::owns(path)) {
            return Box::pin(chat.handle(request, peer)).await;
        }
        // Before the fallback, whose paths begin alike.
        if let Some(auth) = self.auth.as_ref().filter(|_| AuthEndpoint::owns(path)) {
            return Box::pin(auth.handle(request, peer)).await;
        }
        if let Some(fallback) = &self.http_fallback
            && fallback.owns(path)
        {
            return fallback.handle(request, peer).await;
        }
        if let Some(admin) = self.admin.as_ref().filter(|_| Admin::owns(path)) {
            return admin.handle(request, peer).await;
        }
        if let Some(log) = self.test_log.as_ref().filter(|_| TestLog::owns(path)) {
            return log
                .answer(request.method(), path, request.uri().query())
                .await;
        }
        statistics::answer(request.method(), path)
            .or_else(|| self.health.answer(path))
            .unwrap_or_else(not_found)
    }
}

fn not_found() -> Answer {
    text_answer(
        StatusCode::NOT_FOUND,
        "Path not found: WebSockets connect to /app/KEY, the HTTP API is under /apps/ID\n",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checklist 35: 75 s from the last sign of life to `member_removed`.
    #[test]
    fn a_silent_client_is_gone_within_the_times_that_are_configured() {
        let connection = ConnectionConfig::default();

        let interval = sweep_interval(&connection);
        let asked = ahead_of_sweep(connection.ping_after, interval) + interval;
        let closed = ahead_of_sweep(connection.pong_wait, interval) + interval;

        assert!(interval <= Duration::from_secs(1));
        assert_eq!(asked + closed, Duration::from_secs(75));
    }
}
