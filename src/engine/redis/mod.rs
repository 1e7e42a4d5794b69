//! The engine of many nodes: Redis or Valkey between them.
//!
//! Four things go through Redis. Events go through pub/sub, to the nodes that
//! have subscribers. Who is where stands in a registry, which scripts change and
//! which tell who was first or last, so that each edge is reported once in the
//! deployment. Cached events are values with a time to live. The past of channels
//! with a history is in streams ([`past`]), and how far sessions are in hashes
//! ([`sessions`]).
//!
//! The registry is told states, not steps: a task ([`registry`]) compares what the
//! hub has with what the registry was told, and makes it true. So nothing has to
//! be repeated in order after an outage, and a node that was away heals by being
//! compared again. Local delivery never waits for Redis, but for events that need a
//! place in the order of all nodes, and those only while it is there.

mod burial;
mod commands;
mod delivery;
mod edge;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod holds;
mod inquiry;
mod keys;
mod link;
mod message;
mod outgoing;
mod past;
mod queries;
mod registry;
mod replica;
mod script;
mod sessions;
mod topic;
mod usage;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use fanfare_protocol::{AppId, ChannelName, UserId};
use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use self::commands::{RedisCommands, RedisUnavailable, WaitingConnection};
use self::inquiry::Inquiries;
use self::keys::{Keys, TopicId};
use self::link::{Connection, Connector};
use self::message::{Event, TERMINATE};
use self::outgoing::{Keep, Outgoing, OutgoingQueue, Record};
use self::past::Holes;
use self::registry::Registry;
use self::usage::Usage;
use super::MemoryEngine;
use crate::apps::HistoryRule;
use crate::hub::engine::{
    CachedEvent, ClaimedSession, Departure, Engine, EngineError, Figure, Health, Inquiry,
    Occupancy, PastRange, Publication, Respondent, SessionClaim, SharedPast, SharedState,
};
use crate::hub::{AppHub, Hub};

/// How Redis is reached.
#[derive(Clone)]
pub struct RedisSettings {
    /// What runs there.
    pub deployment: Deployment,
    /// Host and port of the server, or of the Sentinels or Cluster nodes that
    /// are asked first.
    pub hosts: Vec<(String, u16)>,
    /// Whether the connection is encrypted.
    pub is_tls: bool,
    /// The ACL user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// The database number; always 0 in a Cluster.
    pub database: u32,
    /// What all keys and topics begin with.
    pub prefix: String,
    /// Time within which the entries of a dead node are removed.
    pub node_timeout: Duration,
    /// Time that departures wait for a return before back ends are told.
    pub hold_back: Duration,
}

/// What runs there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deployment {
    /// One server.
    Single,
    /// Servers of which Sentinels choose one.
    Sentinel {
        /// What the Sentinels call it.
        master: String,
    },
    /// A Redis Cluster.
    Cluster,
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("deployment", &self.deployment)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl RedisSettings {
    fn url_of(&self, (host, port): &(String, u16)) -> String {
        let scheme = if self.is_tls { "rediss" } else { "redis" };
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let username = self.username.as_deref().map(encode).unwrap_or_default();
        let user = match self.password.as_deref().map(encode) {
            Some(password) => format!("{username}:{password}@"),
            None => String::new(),
        };
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        let database = self.database;
        format!("{scheme}://{user}{host}:{port}/{database}?protocol=resp3")
    }

    /// Between two signs of life. A node is dead after four missing ones, and
    /// the next sign of another node finds that out.
    fn beat_interval(&self) -> Duration {
        self.node_timeout / 6
    }

    fn patience(&self) -> Duration {
        self.beat_interval() * 4
    }

    /// For one answer of Redis.
    fn answer_timeout(&self) -> Duration {
        self.beat_interval()
            .clamp(Duration::from_millis(250), Duration::from_secs(2))
    }
}

/// Connects this node with the others.
#[derive(Debug)]
pub struct RedisEngine {
    shared: Arc<Shared>,
    /// Cached events while Redis is away.
    local_cache: MemoryEngine,
}

/// The engine's own task. Nothing reaches the other nodes before it runs.
#[derive(Debug)]
pub struct RedisTask {
    registry: Registry,
    shared: Arc<Shared>,
}

/// What the engine and its tasks have in common.
#[derive(Debug)]
struct Shared {
    settings: RedisSettings,
    keys: Keys,
    /// The name of this node: random, so that no two lives of one have the same.
    node: RwLock<Arc<str>>,
    /// As random, and the same as long as this process lives.
    process: Arc<str>,
    inbox: Mutex<Inbox>,
    /// Something is in the inbox.
    work: Notify,
    link: RwLock<Option<Link>>,
    /// The link has changed.
    linked: Notify,
    /// A command failed: the registry's task is to look at the link.
    is_suspect: AtomicBool,
    outgoing: OutgoingQueue,
    holes: Holes,
    usage: Usage,
    inquiries: Inquiries,
    counters: Counters,
}

struct Link {
    commands: Connection,
    publish_command: &'static str,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

/// Totals since the start.
#[derive(Debug, Default)]
struct Counters {
    reconnects: AtomicU64,
    received: AtomicU64,
    received_lost: AtomicU64,
    resyncs: AtomicU64,
    buried: AtomicU64,
    nodes: AtomicU64,
    catch_ups: AtomicU64,
    sessions_forgotten: AtomicU64,
}

/// What the hub wants of the registry's task. Bounded by what the hub has.
#[derive(Debug, Default)]
struct Inbox {
    changed: HashSet<TopicId>,
    attaching: HashMap<TopicId, Vec<oneshot::Sender<()>>>,
    /// Questions that wait until what changed before them has been told.
    settling: Vec<oneshot::Sender<()>>,
    /// Whether the task is at work on what it took last.
    is_busy: bool,
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self) -> Arc<str> {
        Arc::clone(&self.node.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_node(&self, node: &str) {
        *self.node.write().unwrap_or_else(PoisonError::into_inner) = node.into();
    }

    /// The connection for commands and the command that publishes, if Redis is
    /// there.
    fn try_connection(&self) -> Option<(Connection, &'static str)> {
        let link = self.link.read().unwrap_or_else(PoisonError::into_inner);
        let link = link.as_ref()?;
        Some((link.commands.clone(), link.publish_command))
    }

    /// Waits until Redis is there.
    async fn connection(&self) -> (Connection, &'static str) {
        loop {
            let mut changed = std::pin::pin!(self.linked.notified());
            changed.as_mut().enable();
            if let Some(connection) = self.try_connection() {
                return connection;
            }
            changed.await;
        }
    }

    fn set_link(&self, link: Option<Link>) {
        *self.link.write().unwrap_or_else(PoisonError::into_inner) = link;
        self.linked.notify_waiters();
    }

    fn suspect(&self) {
        self.is_suspect.store(true, Ordering::Relaxed);
        self.work.notify_one();
    }

    /// Waits until the registry has been told what has happened so far.
    async fn settled(&self) {
        let waiting = {
            let mut inbox = self.inbox();
            if inbox.changed.is_empty() && !inbox.is_busy {
                return;
            }
            let (sender, receiver) = oneshot::channel();
            inbox.settling.push(sender);
            receiver
        };
        self.work.notify_one();
        // An error means that Redis went away; the question will find out.
        let _ = waiting.await;
    }
}

impl RedisEngine {
    /// Prepares the engine and its task. Nothing is connected yet.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub fn new(settings: RedisSettings) -> Result<(Self, RedisTask), EngineError> {
        let connector =
            Connector::new(&settings).map_err(|error| EngineError(error.to_string()))?;
        let shared = Arc::new(Shared {
            keys: Keys::new(&settings.prefix, settings.database),
            settings,
            node: RwLock::new(registry::new_node().into()),
            process: registry::new_node().into(),
            inbox: Mutex::default(),
            work: Notify::new(),
            link: RwLock::new(None),
            linked: Notify::new(),
            is_suspect: AtomicBool::new(false),
            outgoing: OutgoingQueue::default(),
            holes: Holes::default(),
            usage: Usage::default(),
            inquiries: Inquiries::default(),
            counters: Counters::default(),
        });
        let task = RedisTask {
            registry: Registry::new(Arc::clone(&shared), connector),
            shared: Arc::clone(&shared),
        };
        let engine = Self {
            shared,
            local_cache: MemoryEngine::new(),
        };
        Ok((engine, task))
    }

    fn attach_topic(&self, topic: TopicId) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.shared
            .inbox()
            .attaching
            .entry(topic)
            .or_default()
            .push(sender);
        self.shared.work.notify_one();
        receiver
    }

    fn topic_changed(&self, topic: TopicId) {
        self.shared.inbox().changed.insert(topic);
        self.shared.work.notify_one();
    }

    fn publish_to(&self, topic: &TopicId, message: Vec<u8>, keep: Option<CachedEvent>) {
        let name = topic.name();
        let partition = self.shared.keys.partition(&topic.app, &name);
        let keep = keep.map(|event| Keep {
            key: partition.cached(&name),
            text: event.frame.payload().to_vec(),
            milliseconds: milliseconds_left(&event),
        });
        self.shared.outgoing.push(Outgoing {
            topic: partition.topic(&name),
            message,
            keep,
            record: None,
        });
    }
}

fn milliseconds_left(event: &CachedEvent) -> u64 {
    let left = event.expires.saturating_duration_since(Instant::now());
    past::millis(left).max(1)
}

impl RedisTask {
    /// Works until `stop`, then says good-bye to the other nodes. `respondent` knows
    /// what they may ask of this one.
    pub async fn run(
        self,
        hub: Arc<Hub>,
        respondent: Arc<dyn Respondent>,
        stop: CancellationToken,
    ) {
        let Self { registry, shared } = self;
        let sending = outgoing::send(&shared, &hub);
        let sharing = usage::share(&shared);
        let catching_up = past::catch_up(&shared, &hub);
        // A task of its own: a page of many connections must hold up neither events nor
        // signs of life.
        let asked = Arc::clone(&shared);
        let _answering = AbortOnDropHandle::new(tokio::spawn(async move {
            inquiry::answer(&asked, &respondent).await;
        }));
        let leave = CancellationToken::new();
        let saving = async {
            sessions::save(&shared, &hub, &stop).await;
            outgoing::emptied(&shared).await;
            leave.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = registry.run(Arc::clone(&hub), leave.clone()) => {}
            () = sending => {}
            () = sharing => {}
            () = catching_up => {}
            () = saving => {}
        }
    }
}

impl Engine for RedisEngine {
    fn is_clustered(&self) -> bool {
        true
    }

    fn publish(&self, publication: &Publication) {
        self.local_cache.publish(publication);
        let Ok(payload) = std::str::from_utf8(publication.frame.payload()) else {
            debug_assert!(false, "messages of the server are text");
            return;
        };
        let keep_seconds = publication
            .cached
            .as_ref()
            .and_then(|event| event.seconds_left(Instant::now()));
        let event = Event {
            node: &self.shared.node(),
            except: publication.except,
            keep_seconds: keep_seconds.unwrap_or(0),
            payload,
        };
        let topic = TopicId::channel(&publication.app, &publication.channel);
        self.publish_to(&topic, event.encode(), publication.cached.clone());
    }

    fn record(&self, publication: &Publication, number: u64, rule: &HistoryRule) -> bool {
        let is_away = self.shared.try_connection().is_none();
        self.local_cache.publish(publication);
        let id = TopicId::channel(&publication.app, &publication.channel);
        let name = id.name();
        let partition = self.shared.keys.partition(&id.app, &name);
        let cached = publication.cached.as_ref();
        self.shared.outgoing.push(Outgoing {
            topic: partition.topic(&name),
            message: publication.frame.payload().to_vec(),
            keep: None,
            record: Some(Box::new(Record {
                past: partition.past(&name),
                bounds: partition.bounds(&name),
                began: partition.began(),
                cached: partition.cached(&name),
                process: Some(Arc::clone(&self.shared.process)),
                number,
                except: publication.except,
                keep_ms: cached.map_or(0, milliseconds_left),
                events: rule.events,
                bytes: rule.bytes,
                age_ms: past::millis(rule.age),
                is_again: false,
                id,
            })),
        });
        !is_away
    }

    fn ask<'a>(&'a self, question: &'a [u8]) -> BoxFuture<'a, Inquiry> {
        inquiry::ask(&self.shared, question).boxed()
    }

    fn past<'a>(
        &'a self,
        app: &'a AppId,
        channel: &'a ChannelName,
        range: PastRange,
        rule: &'a HistoryRule,
    ) -> BoxFuture<'a, Result<SharedPast, EngineError>> {
        async move {
            let past = past::read(&self.shared, app, channel, range, rule).await;
            past.inspect_err(|_| self.shared.suspect())
        }
        .boxed()
    }

    fn catch_up(&self, app: &AppId, channel: &ChannelName) {
        self.shared.holes.add(TopicId::channel(app, channel));
    }

    fn claim_session<'a>(
        &'a self,
        claim: SessionClaim<'a>,
    ) -> BoxFuture<'a, Result<ClaimedSession, EngineError>> {
        async move {
            let claimed = sessions::claim(&self.shared, claim).await;
            claimed.inspect_err(|_| self.shared.suspect())
        }
        .boxed()
    }

    fn attach<'a>(
        &'a self,
        app: &'a AppId,
        channel: &'a ChannelName,
    ) -> BoxFuture<'a, Result<SharedState, EngineError>> {
        async move {
            // An error means that Redis is away: the channel works without the
            // others until it is back.
            let _ = self.attach_topic(TopicId::channel(app, channel)).await;
            let cached = if channel.is_cache() {
                self.cached(app, channel).await?
            } else {
                None
            };
            Ok(SharedState { cached })
        }
        .boxed()
    }

    fn changed(&self, app: &AppId, channel: &ChannelName) {
        self.topic_changed(TopicId::channel(app, channel));
    }

    fn attach_users<'a>(&'a self, app: &'a AppId, users: Vec<UserId>) -> BoxFuture<'a, ()> {
        async move {
            let waiting: Vec<_> = users
                .iter()
                .map(|user| self.attach_topic(TopicId::user(app, user)))
                .collect();
            for attached in waiting {
                let _ = attached.await;
            }
        }
        .boxed()
    }

    fn user_changed(&self, app: &AppId, user: &UserId) {
        self.topic_changed(TopicId::user(app, user));
    }

    fn cached<'a>(
        &'a self,
        app: &'a AppId,
        channel: &'a ChannelName,
    ) -> BoxFuture<'a, Result<Option<CachedEvent>, EngineError>> {
        async move {
            match queries::cached(&self.shared, app, channel).await {
                Ok(cached) => Ok(cached),
                Err(error) => {
                    self.shared.answered_locally(&error);
                    self.local_cache.cached(app, channel).await
                }
            }
        }
        .boxed()
    }

    fn channels<'a>(
        &'a self,
        local: &'a AppHub,
        prefix: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Occupancy>, EngineError>> {
        async move {
            match queries::channels(&self.shared, &local.app(), prefix).await {
                Ok(channels) => Ok(channels),
                Err(error) => {
                    self.shared.answered_locally(&error);
                    Ok(local.channels(prefix))
                }
            }
        }
        .boxed()
    }

    fn occupancy<'a>(
        &'a self,
        local: &'a AppHub,
        channel: &'a ChannelName,
    ) -> BoxFuture<'a, Result<Occupancy, EngineError>> {
        async move {
            match queries::occupancy(&self.shared, &local.app().id, channel).await {
                Ok(occupancy) => Ok(occupancy),
                Err(error) => {
                    self.shared.answered_locally(&error);
                    Ok(local.occupancy(channel))
                }
            }
        }
        .boxed()
    }

    fn users<'a>(
        &'a self,
        local: &'a AppHub,
        channel: &'a ChannelName,
    ) -> BoxFuture<'a, Result<Vec<UserId>, EngineError>> {
        async move {
            match queries::users(&self.shared, &local.app().id, channel).await {
                Ok(users) => Ok(users),
                Err(error) => {
                    self.shared.answered_locally(&error);
                    Ok(local.users(channel))
                }
            }
        }
        .boxed()
    }

    fn terminate(&self, app: &AppId, user: &UserId) {
        self.publish_to(&TopicId::user(app, user), TERMINATE.to_vec(), None);
    }

    fn claim(&self, departures: Vec<Departure>) -> BoxFuture<'static, Vec<Departure>> {
        holds::claim(Arc::clone(&self.shared), departures).boxed()
    }

    fn used_elsewhere(&self, app: &AppId, day: u64, here: u64) -> u64 {
        self.shared.usage.note(app, day, here)
    }

    fn health(&self) -> Health {
        let is_away = self.shared.try_connection().is_none();
        let counters = &self.shared.counters;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let outgoing = &self.shared.outgoing;
        Health {
            degraded: is_away.then(|| "Redis is out of reach".to_owned()),
            figures: vec![
                Figure::gauge(
                    "fanfare_engine_up",
                    "1 while Redis is reached.",
                    u64::from(!is_away),
                ),
                Figure::gauge(
                    "fanfare_engine_nodes",
                    "Nodes alive, as seen at the last sign of life.",
                    load(&counters.nodes),
                ),
                Figure::gauge(
                    "fanfare_engine_waiting_publications",
                    "Events that wait to be sent to the other nodes.",
                    outgoing.len() as u64,
                ),
                Figure::total(
                    "fanfare_engine_publications_total",
                    "Events sent to the other nodes.",
                    load(&outgoing.sent),
                ),
                Figure::total(
                    "fanfare_engine_publications_lost_total",
                    "Events that the other nodes may have missed.",
                    load(&outgoing.lost),
                ),
                Figure::total(
                    "fanfare_engine_events_received_total",
                    "Events of other nodes.",
                    load(&counters.received),
                ),
                Figure::total(
                    "fanfare_engine_events_received_lost_total",
                    "Events of other nodes for channels whose subscribers did not keep up.",
                    load(&counters.received_lost),
                ),
                Figure::total(
                    "fanfare_engine_reconnects_total",
                    "Times that the connection to Redis was made.",
                    load(&counters.reconnects),
                ),
                Figure::total(
                    "fanfare_engine_resyncs_total",
                    "Channels and users whose state on other nodes was fetched again.",
                    load(&counters.resyncs),
                ),
                Figure::total(
                    "fanfare_engine_catch_ups_total",
                    "Times that this node read what it had missed of a channel with a history.",
                    load(&counters.catch_ups),
                ),
                Figure::total(
                    "fanfare_engine_sessions_forgotten_total",
                    "Sessions that Redis has forgotten before their time, for newer ones.",
                    load(&counters.sessions_forgotten),
                ),
                Figure::total(
                    "fanfare_engine_buried_nodes_total",
                    "Dead nodes whose entries this node has removed.",
                    load(&counters.buried),
                ),
            ],
        }
    }
}

impl Shared {
    fn answered_locally(&self, error: &EngineError) {
        tracing::debug!(%error, "answered for this node only");
    }
}
