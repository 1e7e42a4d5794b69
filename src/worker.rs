//! Construction, start and stop of the order worker, a process of its own: what
//! `server.rs` is for the server.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prometheus::Registry;
use prometheus::process_collector::ProcessCollector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::adapter::auth::Authority;
use crate::adapter::order_worker::accounts::Account;
use crate::adapter::order_worker::api::{OrdersApi, PageConfig};
use crate::adapter::order_worker::bull::{BullQueue, QueueTimes, Worker, WorkerSettings};
use crate::adapter::order_worker::database::{Database, DatabaseError};
use crate::adapter::order_worker::egrn::Portal;
use crate::adapter::order_worker::live::{Live, LiveTask};
use crate::adapter::order_worker::ops::WorkerOps;
use crate::adapter::order_worker::processor::Processor;
use crate::adapter::order_worker::sealing::{SealError, Sealer};
use crate::adapter::order_worker::watch::Watch;
use crate::config::{AuthConfig, EngineConfig, OrderWorkerConfig};
use crate::engine::RedisCommands;
use crate::http::Handler;
use crate::server::redis_settings;
use crate::transport::{Listener, ListenerSettings};

/// The port of the API, if none is named.
const API_PORT: u16 = 5_004;

/// Time for the head of a request on the worker's port, and for its answer.
const HTTP_TIMEOUT: Duration = Duration::from_secs(30);

/// A worker that is about to begin.
#[derive(Debug)]
pub struct OrderWorker {
    worker: Worker<BullQueue, Processor>,
    watch: Watch,
    live: Live,
    live_task: Option<LiveTask>,
    port: Option<Listener>,
    registry: Registry,
}

/// The account of a worker cannot be used. Starting again does not help.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// It is not in the table.
    #[error(
        "ROSREESTR_USER_NAME = {username:?} is not in the table: add it with `fanfare order-worker users add`; those that are there: SELECT id, username, is_active FROM rosreestr_users"
    )]
    Unknown {
        /// Its name.
        username: String,
    },
    /// It is switched off.
    #[error(
        "ROSREESTR_USER_NAME = {username:?} is not active: switch it on with `fanfare order-worker users activate`, or UPDATE rosreestr_users SET is_active = true WHERE id = {id}"
    )]
    Inactive {
        /// Its name.
        username: String,
        /// Its number.
        id: i32,
    },
    /// Its password cannot be opened.
    #[error("the account {username:?}: {error}")]
    Sealed {
        /// Its name.
        username: String,
        /// Why.
        error: SealError,
    },
}

impl OrderWorker {
    /// Looks that everything is there.
    ///
    /// # Errors
    /// [`AccountError`] or [`crate::config::ConfigError`] where starting again does not
    /// help; else something is out of reach.
    pub async fn prepare(config: &OrderWorkerConfig) -> anyhow::Result<Self> {
        let username = config.account()?;
        config.crypto.secret()?;
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let database = database(config).await?;
        let sealer = sealer(config, &database).await?;
        let account = account(&database, username).await?;
        sealer
            .open(&account.password, &account.username)
            .map_err(|error| AccountError::Sealed {
                username: account.username.clone(),
                error,
            })?;
        let queue = Arc::new(queue(config)?);
        let (live, live_task) = Live::new(config.publish.as_ref(), username, &registry)?;
        let portal = Portal::new(&config.egrn, &registry)?;
        let watch = Watch::new(
            Arc::clone(&queue),
            live.clone(),
            config.alert_failed,
            &registry,
        )?;
        let port = match config.port {
            Some(port) => Some(listen(config, port)?),
            None => None,
        };
        let processor = Processor {
            database,
            queue: Arc::clone(&queue),
            sealer,
            portal,
            live: live.clone(),
            account: account.id,
            poll: config.egrn.poll,
        };
        let settings = WorkerSettings {
            grace: config.grace,
        };
        let worker = Worker::new(queue, Arc::new(processor), settings, &registry)?;
        if let Some(port) = &port {
            tracing::info!(address = %port.address()?, "metrics and health of the worker");
        }
        Ok(Self {
            worker,
            watch,
            live,
            live_task,
            port,
            registry,
        })
    }

    /// Works until `stop`, and then until the end of the order that it has.
    pub async fn run(self, stop: CancellationToken) {
        let finish = CancellationToken::new();
        let tasks = TaskTracker::new();
        if let Some(port) = self.port {
            let ops = Arc::new(WorkerOps {
                registry: self.registry,
                stop: stop.clone(),
            });
            // It tells that the worker stops, until the worker has.
            tasks.spawn(port.run(ops, finish.clone(), finish.clone(), tasks.clone()));
        }
        if let Some(live_task) = self.live_task {
            tasks.spawn(live_task.run(finish.clone()));
        }
        self.live.worker("worker.up", None);
        tokio::select! {
            () = self.worker.run(&stop) => {}
            () = self.watch.run() => {}
        }
        self.live.worker("worker.down", None);
        finish.cancel();
        tasks.close();
        tasks.wait().await;
    }
}

/// The API for administrators, and its port.
///
/// # Errors
/// Something is missing in the configuration, or out of reach.
pub async fn api(config: &OrderWorkerConfig) -> anyhow::Result<(OrdersApi, Listener)> {
    let auth = AuthConfig {
        jwt_secret: Some(config.jwt_secret()?.clone()),
        ..AuthConfig::default()
    };
    config.crypto.secret()?;
    let registry = Registry::new();
    registry.register(Box::new(ProcessCollector::for_self()))?;
    let database = database(config).await?;
    let sealer = sealer(config, &database).await?;
    let publish = config.publish.as_ref();
    let url = config
        .public_url
        .clone()
        .or_else(|| publish.map(|publish| publish.url.clone()));
    let api = OrdersApi {
        database,
        queue: queue(config)?,
        sealer,
        authority: Authority::new(&auth),
        addresses: OrdersApi::addresses(),
        page: PageConfig {
            key: publish.map(|publish| publish.key.clone()),
            url: url.unwrap_or_default(),
            pusher_js: config.pusher_js.clone(),
        },
        registry,
    };
    Ok((api, listen(config, API_PORT)?))
}

/// Serves `handler` on a port until `stop`.
pub async fn serve<H: Handler>(listener: Listener, handler: Arc<H>, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    listener
        .run(handler, stop.clone(), stop, tasks.clone())
        .await;
    tasks.close();
    tasks.wait().await;
}

/// The database of the configuration.
///
/// # Errors
/// It cannot be reached.
pub async fn database(config: &OrderWorkerConfig) -> anyhow::Result<Database> {
    let address = &config.database;
    Database::connect(address).await.with_context(|| {
        format!(
            "PostgreSQL at {}:{}, database {}",
            address.host, address.port, address.name
        )
    })
}

/// Seals and opens with the secret of the configuration.
///
/// # Errors
/// There is none, or the tables are not there.
pub async fn sealer(config: &OrderWorkerConfig, database: &Database) -> anyhow::Result<Sealer> {
    let salt = database.salt().await.map_err(about_tables)?;
    Ok(Sealer::new(&config.crypto, &salt)?)
}

/// The queue of the configuration.
///
/// # Errors
/// The address of Redis is none.
pub fn queue(config: &OrderWorkerConfig) -> anyhow::Result<BullQueue> {
    let times = QueueTimes {
        lock: config.lock,
        look: config.look,
    };
    Ok(BullQueue::new(redis(&config.redis)?, &config.queue, times))
}

fn redis(config: &EngineConfig) -> anyhow::Result<RedisCommands> {
    let settings = redis_settings(config, Duration::ZERO).context("REDIS_URL is not valid")?;
    Ok(RedisCommands::new(settings))
}

/// Opens the port of the configuration.
///
/// # Errors
/// It is in use.
pub fn listen(config: &OrderWorkerConfig, port: u16) -> anyhow::Result<Listener> {
    let address = config.address(port);
    let settings = ListenerSettings {
        request_header_timeout: HTTP_TIMEOUT,
        answer_timeout: HTTP_TIMEOUT,
        trusted_proxies: Vec::new(),
        reuse_port: false,
    };
    Listener::bind(address, None, settings).with_context(|| format!("cannot listen on {address}"))
}

async fn account(database: &Database, username: &str) -> anyhow::Result<Account> {
    let found = database
        .account_named(username)
        .await
        .map_err(about_tables)?;
    match found {
        None => Err(AccountError::Unknown {
            username: username.to_owned(),
        }
        .into()),
        Some(account) if !account.is_active => Err(AccountError::Inactive {
            username: account.username,
            id: account.id,
        }
        .into()),
        Some(account) => Ok(account),
    }
}

/// Says what to do about tables that are not there.
#[must_use]
pub fn about_tables(error: DatabaseError) -> anyhow::Error {
    let is_about_tables = error.is_about_tables();
    let error = anyhow::Error::new(error);
    if is_about_tables {
        error.context("the tables are missing or old; run `fanfare order-worker migrate`")
    } else {
        error
    }
}
