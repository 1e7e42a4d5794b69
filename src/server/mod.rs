//! Puts the server together, runs it and stops it. The only place that constructs.

mod client_port;
mod rounds;
mod settings;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use fanfare_protocol::AppKey;
use futures_util::future::join_all;
use listenfd::ListenFd;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::client_port::ClientPort;
use self::rounds::{Books, follow, measure, recall, sweep};
pub(crate) use self::settings::redis_settings;
use self::settings::{
    ahead_of_sweep, http_fallback_settings, max_connections, node_name, sweep_interval,
    webhook_settings,
};
pub use self::settings::{auth_config, certificates};
use crate::accounts::Accounts;
use crate::adapter::auth::{AuthEndpoint, Authority};
use crate::adapter::chat::Chat;
use crate::adapter::ground::{Adapter, Ground};
use crate::adapter::rooms::Rooms;
use crate::adapter::sto::Sto;
use crate::adapter::supervisor::Adapters;
use crate::api::{Admin, AdminParts, Api, ApiFigures, Health, Ops, Sources, TestLog};
use crate::apps::{AppStore, ConfigFileApps};
use crate::config::{AppConfig, Config, EngineConfig, Secret};
use crate::engine::{MemoryEngine, RedisCommands, RedisEngine, RedisTask};
use crate::hub::engine::Engine;
use crate::hub::{HistoryLimits, Hub, Timeouts};
use crate::limits::{Addresses, Meters, NodeLimits};
use crate::store::{Database, Journal, Replica};
use crate::transport::{
    Certificates, HttpFallback, Listener, ListenerSettings, WebSocketSettings, WebSockets,
};
use crate::usage::{Retention, Usage};
use crate::webhook::Webhooks;

/// Time for what is under way when the clients are gone.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Time for a connection that speaks HTTP to take its answer and bring a further
/// request. Longer than an idle one is kept, and than a body may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// A server whose ports are open, but which accepts nothing yet.
#[derive(Debug)]
pub struct Server {
    hub: Arc<Hub>,
    /// What connects this node with others, if there may be any, and what they may ask
    /// it.
    engine_task: Option<(RedisTask, Arc<AdminParts>)>,
    port: Arc<ClientPort>,
    ops: Arc<Ops>,
    listener: Listener,
    tls_listener: Option<Listener>,
    rooms_listener: Option<Listener>,
    sto_listener: Option<Listener>,
    ops_listener: Listener,
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    rooms_address: Option<SocketAddr>,
    sto_address: Option<SocketAddr>,
    metrics_address: SocketAddr,
    certificates: Option<Arc<Certificates>>,
    meters: Arc<Meters>,
    usage: Arc<Usage>,
    /// Absent: neither programs nor people may call it.
    admin: Option<Arc<Admin>>,
    accounts: Arc<Accounts>,
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
        let sto = Some(&config.adapters.sto).filter(|sto| sto.enabled);
        let sto_listener = sto
            .and_then(|sto| sto.port)
            .map(|port| {
                let address = SocketAddr::new(config.server.host, port);
                open(address, None, settings.clone(), "adapters.sto.port")
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
            // Boxed: it is large, and waited for once.
            Box::pin(loaded)
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
        let auth = auth_config(config);
        let authority = auth.as_ref().map(|auth| Arc::new(Authority::new(auth)));
        let signs_in = auth.as_ref().zip(authority);
        let rooms = rooms
            .zip(signs_in.clone())
            .and_then(|(rooms, (auth, authority))| {
                let app = config.app_id(rooms.app.as_deref())?;
                let (hub, apps) = (Arc::clone(&hub), Arc::clone(&apps));
                let ground = Ground::new(hub, apps, app, config.adapters.vacate_grace());
                let redis = redis_settings(&config.engine, config.webhooks.hold_back)
                    .map(RedisCommands::new);
                Some(Arc::new(Rooms::new(ground, rooms, auth, authority, redis)))
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
        let sto = sto
            .zip(signs_in.clone())
            .and_then(|(sto, (auth, authority))| {
                let app = config.app_id(sto.app.as_deref())?;
                let (hub, apps) = (Arc::clone(&hub), Arc::clone(&apps));
                let ground = Ground::new(hub, apps, app, config.adapters.vacate_grace());
                let node = node_name(config.server.port);
                Some(Sto::new(ground, sto, auth, authority, &node).map(Arc::new))
            })
            .transpose()?;
        let rooms_adapter = rooms.clone().map(|rooms| rooms as Arc<dyn Adapter>);
        let chat_adapter = chat.clone().map(|chat| chat as Arc<dyn Adapter>);
        let sto_adapter = sto.clone().map(|sto| sto as Arc<dyn Adapter>);
        let adapters: Vec<_> = [rooms_adapter, chat_adapter, sto_adapter]
            .into_iter()
            .flatten()
            .collect();
        let consumed = adapters.iter().flat_map(|adapter| adapter.consumes());
        hub.consume(consumed.collect());
        let adapters = Adapters::new(adapters);
        let auth = signs_in.and_then(|(auth, authority)| {
            let app = config.app_id(auth.app.as_deref())?;
            Some(AuthEndpoint::new(auth, authority, app, Arc::clone(&apps)))
        });
        let listener_address = listener.address()?;
        let metrics_address = ops_listener.address()?;
        let usage = Arc::new(Usage::new(
            Arc::clone(&hub),
            webhooks.as_ref().map(Webhooks::figures),
            own.clone(),
            Retention {
                minutes: Duration::from_secs(3_600 * u64::from(config.usage.minute_counts_hours)),
                hours: Duration::from_secs(86_400 * u64::from(config.usage.hour_counts_days)),
            },
            node_name(listener_address.port()),
        ));
        // Where everybody knows the secret, nobody but this machine can connect.
        let is_for_trying = config.apps.iter().any(AppConfig::has_default_credentials);
        let accounts = Arc::new(Box::pin(Accounts::new(own.clone(), is_for_trying)).await?);
        let has_console = config.admin.console;
        let token = config.admin.token.as_ref();
        // Other nodes may ask what operators may, whether these come in here or not.
        let admin_parts = Arc::new(AdminParts {
            hub: Arc::clone(&hub),
            apps: Arc::clone(&apps),
            file_apps: config.apps.clone(),
            database,
            replica: replica.clone(),
            usage: Arc::clone(&usage),
            meters: Arc::clone(&meters),
            tester: webhooks.as_ref().map(Webhooks::tester),
            feed_shows_private_data: config.admin.feed_shows_private_data,
            client_port: listener_address.port(),
            metrics_port: metrics_address.port(),
            adapters: adapters.clone(),
            accounts: Arc::clone(&accounts),
            has_console,
        });
        let admin = (has_console || token.is_some()).then(|| {
            let parts = Arc::clone(&admin_parts);
            Arc::new(Admin::new(parts, token.map(Secret::reveal)))
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
                sto,
                http_fallback,
                path_prefix: config.server.path_prefix.clone(),
            }),
            admin: admin.clone(),
            accounts,
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
            metrics_address,
            tls_address: tls_listener.as_ref().map(Listener::address).transpose()?,
            rooms_address: rooms_listener.as_ref().map(Listener::address).transpose()?,
            sto_address: sto_listener.as_ref().map(Listener::address).transpose()?,
            listener,
            tls_listener,
            rooms_listener,
            sto_listener,
            ops_listener,
            certificates,
            shutdown_grace: config.server.shutdown_grace,
            sweep_interval,
            has_successor: config.server.reuse_port,
            engine_task: engine_task.map(|task| (task, admin_parts)),
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

    /// The further port of the car service, if it has one.
    #[must_use]
    pub fn sto_address(&self) -> Option<SocketAddr> {
        self.sto_address
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

    /// What the first account of the console is made with; `None` when there are
    /// accounts, or when none is needed.
    #[must_use]
    pub fn invitation(&self) -> Option<String> {
        self.accounts.invitation_to_tell()
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
        if let Some((task, respondent)) = self.engine_task {
            engine.spawn(task.run(Arc::clone(&self.hub), respondent, leave.clone()));
        }
        engine.close();
        let webhooks = self.webhooks.map(Webhooks::start);
        if let Some(replica) = self.replica {
            background.spawn(follow(replica, Arc::clone(&self.hub), end.clone()));
        }
        // Most are not to tell of the going of those who are sent to another node.
        self.adapters.start(&self.tasks, &stop, &finish);
        let further = [self.tls_listener, self.rooms_listener, self.sto_listener];
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
        // Twice as long, since the books have last words of their own. Whoever asks on
        // the second port and does not read would wait for ever.
        let outcome = tokio::time::timeout(2 * LAST_WORDS, background.wait()).await;
        if outcome.is_err() {
            tracing::warn!(
                tasks = background.len(),
                "stopped before the second port and the statistics had ended"
            );
        }
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
