//! The core: who is connected, who is subscribed, who gets what.
//!
//! Knows the protocol and nothing of HTTP, sockets, Redis, SQL or configuration
//! files. Transports bring it clients (a [`Session`] each) and carry its frames
//! (their [`Outbox`]); the API and adapters publish through [`Publisher`]; an
//! [`engine::Engine`] connects it to other nodes; whoever wants to know what
//! happens reads [`HubEvent`]s.

mod app;
mod bookmarks;
mod channel;
mod clients;
mod connection;
mod consumed;
mod drain;
mod elsewhere;
pub mod engine;
mod events;
mod history;
mod holds;
mod inspect;
mod lane;
mod node;
mod presence;
mod publisher;
mod recall;
mod session;
mod users;
mod watch;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, TryLockError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fanfare_protocol::{AppId, Close, SocketId, UserId};
use tokio::sync::broadcast;
use tokio_util::task::TaskTracker;

pub use self::app::{AppHub, Counters, Place};
use self::bookmarks::Bookmarks;
pub use self::bookmarks::SessionFigures;
use self::clients::Clients;
#[cfg(test)]
pub(crate) use self::connection::recorder;
pub use self::connection::{Connection, Outbox};
pub use self::consumed::ConsumedEvents;
pub use self::engine::Departure;
use self::engine::{Engine, SessionState};
use self::events::HubEvents;
pub use self::events::{HubEvent, HubEventKind, Scope};
pub use self::history::{HistoryFigures, Page};
pub use self::holds::Holds;
pub use self::inspect::ConnectionState;
pub use self::node::Node;
pub use self::presence::Member;
pub use self::publisher::{ChannelFull, Origin, Publish, Publisher};
pub use self::session::{ClientInfo, Session};
use self::watch::Watch;
pub use self::watch::{Published, Sight, Watcher};
use crate::apps::App;

/// When the hub loses patience with a connection.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Silence after which a client is asked for a sign of life.
    pub ping_after: Duration,
    /// Time for the answer.
    pub pong_wait: Duration,
    /// Time to sign in or subscribe to a private channel, where the app asks.
    pub authorization: Duration,
    /// Time without progress of a write that waits.
    pub stalled_write: Duration,
}

/// What past events and sessions may take of a node.
#[derive(Clone, Copy, Debug)]
pub struct HistoryLimits {
    /// Bytes of past events.
    pub bytes: usize,
    /// Sessions whose client is away.
    pub sessions: usize,
    /// Bytes of these.
    pub session_bytes: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self {
            bytes: 256 << 20,
            sessions: 100_000,
            session_bytes: 64 << 20,
        }
    }
}

/// The whole of the hub. One per server.
#[derive(Debug)]
pub struct Hub {
    core: Arc<HubCore>,
    /// Apps that had a connection or a request since the start.
    apps: RwLock<HashMap<AppId, Arc<AppHub>>>,
    /// Rounds of [`Hub::recall`] so far.
    rounds: AtomicUsize,
}

/// What the apps of a hub share.
#[derive(Debug)]
pub struct HubCore {
    engine: Arc<dyn Engine>,
    /// Whether there are other nodes that every publication has to go to.
    is_clustered: bool,
    events: HubEvents,
    watch: Watch,
    clients: Clients,
    /// Client events that adapters have for themselves; unset: none, and nobody
    /// looks.
    consumed: OnceLock<Vec<ConsumedEvents>>,
    node: Arc<Node>,
    /// Fan-outs that go on after their publisher was answered.
    tasks: TaskTracker,
    timeouts: TimeoutsMs,
    started: Instant,
    /// Unix time at `started`, so that event ids do not follow a clock that jumps.
    started_unix_ms: u64,
    /// The apps again, for whoever has to make room among all histories.
    app_hubs: Mutex<Vec<Weak<AppHub>>>,
    history: HistoryFigures,
    bookmarks: Bookmarks,
    /// Events so far that the engine was given to record.
    numbers: AtomicU64,
    /// Held by the one who drops histories to make room.
    making_room: Mutex<()>,
}

#[derive(Debug)]
struct TimeoutsMs {
    ping_after_ms: u64,
    pong_wait_ms: u64,
    authorization_ms: u64,
    stalled_write_ms: u64,
}

impl HubCore {
    fn node(&self) -> &Node {
        &self.node
    }

    fn now_ms(&self) -> u64 {
        millis(self.started.elapsed())
    }

    fn bookmarks(&self) -> &Bookmarks {
        &self.bookmarks
    }

    /// Later ones are larger, from 1 on.
    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn unix_ms(&self) -> u64 {
        self.started_unix_ms + self.now_ms()
    }

    /// Drops the histories of the channels that have been quiet for longest, until
    /// an eighth of the room is free. Called with no lock held; whoever comes while
    /// another is at it has nothing to do.
    fn make_room(&self) {
        let _guard = match self.making_room.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let mut candidates = Vec::new();
        let apps = self
            .app_hubs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for app in apps.iter().filter_map(Weak::upgrade) {
            for (last, bytes, channel) in app.past_sizes() {
                candidates.push((last, bytes, Arc::clone(&app), channel));
            }
        }
        candidates.sort_unstable_by_key(|(last, ..)| *last);
        let goal = self.history.max_bytes / 8 * 7;
        let mut excess = self
            .history
            .bytes
            .load(Ordering::Relaxed)
            .saturating_sub(goal);
        for (_, bytes, app, channel) in candidates {
            if excess == 0 {
                return;
            }
            excess = excess.saturating_sub(bytes);
            app.evict_past(&channel);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Hub {
    /// Starts empty, with room for `max_connections` of all apps together.
    /// `tasks` gets the fan-outs that take longer.
    #[must_use]
    pub fn new(
        engine: Arc<dyn Engine>,
        timeouts: Timeouts,
        max_connections: usize,
        tasks: TaskTracker,
    ) -> Self {
        let history = HistoryLimits::default();
        Self::with_history(engine, timeouts, max_connections, tasks, history)
    }

    /// As [`Self::new`], with other bounds for past events and sessions.
    #[must_use]
    pub fn with_history(
        engine: Arc<dyn Engine>,
        timeouts: Timeouts,
        max_connections: usize,
        tasks: TaskTracker,
        history: HistoryLimits,
    ) -> Self {
        let core = HubCore {
            is_clustered: engine.is_clustered(),
            engine,
            events: HubEvents::new(),
            watch: Watch::new(),
            clients: Clients::default(),
            consumed: OnceLock::new(),
            node: Arc::new(Node::new(max_connections)),
            tasks,
            timeouts: TimeoutsMs {
                ping_after_ms: millis(timeouts.ping_after),
                pong_wait_ms: millis(timeouts.pong_wait),
                authorization_ms: millis(timeouts.authorization),
                stalled_write_ms: millis(timeouts.stalled_write),
            },
            started: Instant::now(),
            started_unix_ms: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, millis),
            app_hubs: Mutex::default(),
            history: HistoryFigures::new(history.bytes),
            bookmarks: Bookmarks::new(history.sessions, history.session_bytes),
            numbers: AtomicU64::new(0),
            making_room: Mutex::default(),
        };
        Self {
            core: Arc::new(core),
            apps: RwLock::default(),
            rounds: AtomicUsize::new(0),
        }
    }

    /// The part of the hub that belongs to `app`.
    #[must_use]
    pub fn app(&self, app: &Arc<App>) -> Arc<AppHub> {
        if let Some(known) = self.find(&app.id) {
            return known;
        }
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        let entry = apps.entry(app.id.clone()).or_insert_with(|| {
            let app_hub = Arc::new(AppHub::new(Arc::clone(app), Arc::clone(&self.core)));
            let mut all = self
                .core
                .app_hubs
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            all.push(Arc::downgrade(&app_hub));
            app_hub
        });
        Arc::clone(entry)
    }

    /// Has client events only reported, not relayed. To be called once, before the
    /// first client comes.
    pub fn consume(&self, events: Vec<ConsumedEvents>) {
        if !events.is_empty() {
            // A second call would be a mistake in the wiring; the first one counts.
            let is_first = self.core.consumed.set(events).is_ok();
            debug_assert!(is_first);
        }
    }

    /// Reports a first or a last that an engine has found out.
    pub fn report(&self, event: HubEvent) {
        self.core.events.send(event);
    }

    /// The part of the hub that belongs to an app, if it was used since the start.
    #[must_use]
    pub fn find(&self, id: &AppId) -> Option<Arc<AppHub>> {
        self.apps
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    /// Takes over a change of an app. Connections of one that was disabled are
    /// closed with 4003.
    pub fn update(&self, app: Arc<App>) {
        if let Some(app_hub) = self.find(&app.id) {
            app_hub.update(app);
        }
    }

    /// Closes the connections of an app that is no more with 4001.
    pub fn remove(&self, id: &AppId) {
        let Some(app_hub) = self.find(id) else {
            return;
        };
        let key = app_hub.app().keys.first().map(|pair| pair.key.to_string());
        app_hub.close_all(&Close::UnknownApp {
            key: key.unwrap_or_default(),
        });
    }

    /// All apps that were used since the start.
    #[must_use]
    pub fn apps(&self) -> Vec<Arc<AppHub>> {
        self.apps
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// The publisher of an app.
    #[must_use]
    pub fn publisher(&self, app: &Arc<App>) -> Publisher {
        Publisher::new(self.app(app))
    }

    /// The deployment, for questions about all nodes.
    #[must_use]
    pub fn engine(&self) -> &dyn Engine {
        self.core.engine.as_ref()
    }

    /// Closes the connections signed in as `user`, on all nodes.
    pub fn terminate(&self, app: &Arc<App>, user: &UserId) {
        self.core.engine.terminate(&app.id, user);
        self.app(app).terminate(user);
    }

    /// What happens from now on. A reader that falls behind loses the oldest.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<HubEvent> {
        self.core.events.subscribe()
    }

    /// What back ends publish from now on, for as long as the answer is held.
    #[must_use]
    pub fn watch(&self) -> Watcher {
        self.core.watch.watch()
    }

    /// Shows a client that was not let in to those who look. `app` is there if its key
    /// is that of one.
    pub fn turned_away(&self, app: Option<&AppId>, address: IpAddr, close: &Close) {
        self.core.watch.turned_away(app, address, close);
    }

    /// Shows something to those who look; it is made only if there are any.
    pub fn show(&self, make: impl FnOnce() -> Sight) {
        self.core.watch.sight(make);
    }

    /// Since when it is here.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.core.started.elapsed()
    }

    /// The hub's clock, for [`Connection::seen`].
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.core.now_ms()
    }

    /// This node as a whole.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.core.node
    }

    /// One round over all connections: asks the silent, drops the dead. To be
    /// called about four times in the shortest of the time-outs.
    pub fn sweep(&self) {
        for app in self.apps() {
            app.sweep();
        }
    }

    /// One round over what has happened on channels with a history: asks sessions
    /// how far they are, and forgets what is too old. To be called once a second.
    pub fn recall(&self) {
        let round = self.rounds.fetch_add(1, Ordering::Relaxed);
        for app in self.apps() {
            app.ask_readers();
            app.expire_past(round);
        }
        self.core.bookmarks.expire(self.core.unix_ms());
    }

    /// What histories take, and what became of them.
    #[must_use]
    pub fn history(&self) -> &HistoryFigures {
        &self.core.history
    }

    /// The sessions of this node.
    #[must_use]
    pub fn session_figures(&self) -> SessionFigures {
        self.core.bookmarks.figures()
    }

    /// Sessions of an app whose client is away that may be kept.
    #[must_use]
    pub fn max_sessions(&self) -> usize {
        self.core.bookmarks.max_sessions()
    }

    /// How far sessions are of which the engine has not been told: `limit` of them,
    /// and the next ones with the next call.
    #[must_use]
    pub fn unsaved_sessions(&self, limit: usize) -> Vec<SessionState> {
        let age_of = |app: &AppId| self.find(app).map(|app| app.session_age());
        let now_ms = self.core.now_ms();
        self.core.bookmarks.unsaved(now_ms, limit, age_of)
    }

    /// Notes that the engine could not be told.
    pub fn not_saved(&self, sessions: &[SessionState]) {
        self.core.bookmarks.not_saved(sessions);
    }

    /// A connection of another node has taken a session from `socket_id`, which is
    /// closed.
    pub fn session_taken(&self, app: &AppId, name: &str, socket_id: SocketId) {
        self.core.bookmarks.taken(app, name, socket_id);
    }

    /// Refuses new connections from now on, and closes all that this node has
    /// with 4200, evenly spread over `over`, so that they do not all come to
    /// another node at once.
    pub async fn drain(&self, over: Duration) {
        self.core.node.begin_drain();
        let connections: Vec<_> = self
            .apps()
            .iter()
            .flat_map(|app| app.connections())
            .collect();
        let total = u32::try_from(connections.len()).unwrap_or(u32::MAX);
        let begin = tokio::time::Instant::now();
        for (position, connection) in (0u32..).zip(connections) {
            let due = begin + over.mul_f64(f64::from(position) / f64::from(total));
            tokio::time::sleep_until(due).await;
            connection.outbox().close(&Close::Reconnect);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::connection::recorder::Recorder;
    use super::*;
    use crate::engine::MemoryEngine;

    fn hub() -> Hub {
        hub_for(1_000)
    }

    fn hub_for(connections: usize) -> Hub {
        let timeouts = Timeouts {
            ping_after: Duration::from_secs(45),
            pong_wait: Duration::from_secs(30),
            authorization: Duration::from_secs(30),
            stalled_write: Duration::from_secs(10),
        };
        Hub::new(
            Arc::new(MemoryEngine::new()),
            timeouts,
            connections,
            TaskTracker::new(),
        )
    }

    async fn subscriber(
        hub: &Hub,
        app: &Arc<App>,
        number: u64,
    ) -> (Session, Arc<Connection<Recorder>>) {
        let place = hub.app(app).admit().unwrap();
        let socket_id = format!("1.{number}").parse().unwrap();
        let client = ClientInfo {
            client: "js",
            version: "",
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            session: None,
        };
        let (mut session, connection) =
            Session::open(place, socket_id, Recorder::default(), 120, client);
        session
            .handle(r#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#)
            .await
            .unwrap();
        (session, connection)
    }

    /// The queue of a channel with more subscribers than its publisher writes to
    /// itself, while the task that does has not run yet.
    #[tokio::test]
    async fn a_batch_with_one_full_channel_goes_nowhere() {
        let hub = hub();
        let app = Arc::new(App::new("1", "key", "secret"));
        let mut clients = Vec::new();
        for number in 0..50 {
            clients.push(subscriber(&hub, &app, number).await);
        }
        let (mut session, other) = subscriber(&hub, &app, 50).await;
        session
            .handle(r#"{"event":"pusher:subscribe","data":{"channel":"other"}}"#)
            .await
            .unwrap();
        let parse = |name| [fanfare_protocol::ChannelName::parse(name, &app.limits).unwrap()];
        let (news, elsewhere) = (parse("news"), parse("other"));
        let event = |channels| Publish {
            channels,
            event: "tick",
            data: "1",
            except: None,
            scope: Scope::Cluster,
            origin: Origin::Api,
        };
        let publisher = hub.publisher(&app);

        let accepted = (0..10_000)
            .take_while(|_| publisher.publish(&event(&news)).is_ok())
            .count();
        let refused = publisher.publish_burst(&[event(&elsewhere), event(&news)]);

        assert!((1_000..=1_100).contains(&accepted), "{accepted}");
        let [channel] = news;
        assert_eq!(refused, Err(ChannelFull { channel }));
        let received = other.outbox().received();
        assert!(
            !received
                .iter()
                .any(|text| text.contains("\"channel\":\"other\"") && text.contains("tick"))
        );
    }

    /// Ten at the same time on an empty cache channel.
    ///
    /// Checklist 104: each is told, and the miss is reported once.
    #[tokio::test]
    async fn a_cache_miss_is_told_to_each_and_reported_once() {
        let hub = hub();
        let app = Arc::new(App::new("1", "key", "secret"));
        let mut events = hub.events();
        let mut clients = Vec::new();
        for number in 0..10 {
            clients.push(subscriber(&hub, &app, number).await);
        }
        let subscribe = r#"{"event":"pusher:subscribe","data":{"channel":"cache-x"}}"#;

        let subscribing = clients
            .iter_mut()
            .map(|(session, _)| session.handle(subscribe));
        futures_util::future::join_all(subscribing).await;

        for (_, connection) in &clients {
            let received = connection.outbox().received();
            let misses = received
                .iter()
                .filter(|text| text.contains("pusher:cache_miss"))
                .count();
            assert_eq!(misses, 1, "{received:?}");
        }
        let mut reported = 0;
        while let Ok(event) = events.try_recv() {
            reported += u32::from(matches!(event.kind, HubEventKind::CacheMiss { .. }));
        }
        assert_eq!(reported, 1);
    }

    /// Sends 20 events to `subscribers`, and looks at what each has received.
    async fn all_events_reach(subscribers: u64) {
        let hub = hub_for(5_000);
        let app = Arc::new(App::new("1", "key", "secret"));
        let mut clients = Vec::new();
        for number in 0..subscribers {
            clients.push(subscriber(&hub, &app, number).await);
        }
        let channel = fanfare_protocol::ChannelName::parse("news", &app.limits).unwrap();

        for number in 0..20 {
            hub.publisher(&app)
                .publish(&Publish {
                    channels: std::slice::from_ref(&channel),
                    event: "tick",
                    data: &number.to_string(),
                    except: None,
                    scope: Scope::Cluster,
                    origin: Origin::Api,
                })
                .unwrap();
            tokio::task::yield_now().await;
        }
        let (late, latecomer) = subscriber(&hub, &app, subscribers).await;
        hub.core.tasks.close();
        hub.core.tasks.wait().await;

        for (_, connection) in &clients {
            let received = connection.outbox().received();
            let ticks: Vec<_> = received
                .iter()
                .filter(|text| text.contains(r#""event":"tick""#))
                .collect();
            assert_eq!(ticks.len(), 20);
            for (number, text) in ticks.iter().enumerate() {
                assert!(text.contains(&format!(r#""data":"{number}""#)), "{text}");
            }
        }
        let received = latecomer.outbox().received();
        assert!(
            !received.iter().any(|text| text.contains("tick")),
            "{received:?}"
        );
        drop(late);
    }

    /// More subscribers than the publisher writes to itself, so that a task of
    /// its own goes on with the first event while the others arrive.
    #[tokio::test]
    async fn every_subscriber_gets_every_event_once_and_in_order() {
        all_events_reach(100).await;
    }

    /// So many that several threads write the same event, and the next one and the
    /// subscriber who comes last must wait for all of them.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn several_threads_share_a_large_channel_and_keep_its_order() {
        all_events_reach(4_000).await;
    }

    #[tokio::test]
    async fn events_that_come_together_share_a_push() {
        let hub = hub();
        let app = Arc::new(App::new("1", "key", "secret"));
        let (_session, connection) = subscriber(&hub, &app, 1).await;
        let channel = fanfare_protocol::ChannelName::parse("news", &app.limits).unwrap();
        let before = connection.outbox().pushes();
        let numbers: Vec<String> = (0..10).map(|number| number.to_string()).collect();
        let events: Vec<_> = numbers
            .iter()
            .map(|number| Publish {
                channels: std::slice::from_ref(&channel),
                event: "tick",
                data: number,
                except: None,
                scope: Scope::Cluster,
                origin: Origin::Api,
            })
            .collect();

        hub.publisher(&app).publish_burst(&events).unwrap();

        assert_eq!(connection.outbox().pushes() - before, 1);
        let received = connection.outbox().received();
        let ticks = &received[received.len() - 10..];
        for (number, text) in ticks.iter().enumerate() {
            assert!(text.contains(&format!(r#""data":"{number}""#)), "{text}");
        }
    }

    #[tokio::test]
    async fn a_consumed_client_event_is_reported_and_relayed_to_nobody() {
        let hub = hub();
        let mut app = App::new("1", "key", "secret");
        app.client_events = true;
        let app = Arc::new(app);
        hub.consume(vec![ConsumedEvents {
            app: app.id.clone(),
            channel_prefix: "private-display".to_owned(),
            event: "client-filters".to_owned(),
        }]);
        let (mut sender, connection) = subscriber(&hub, &app, 1).await;
        let (mut reader, other) = subscriber(&hub, &app, 2).await;
        for channel in ["private-display-1", "private-else"] {
            for (session, socket_id) in [
                (&mut sender, connection.socket_id),
                (&mut reader, other.socket_id),
            ] {
                let secret = &app.keys[0].secret;
                let signature =
                    fanfare_protocol::auth::sign_channel(secret, socket_id, channel, None);
                let subscribe = format!(
                    r#"{{"event":"pusher:subscribe","data":{{"auth":"key:{signature}","channel":"{channel}"}}}}"#
                );
                session.handle(&subscribe).await.unwrap();
            }
        }
        let mut events = hub.events();

        for (channel, event) in [
            ("private-display-1", "client-filters"),
            ("private-display-1", "client-other"),
            ("private-else", "client-filters"),
        ] {
            let message = format!(r#"{{"event":"{event}","channel":"{channel}","data":"x"}}"#);
            sender.handle(&message).await.unwrap();
        }

        let relayed: Vec<_> = other.outbox().received();
        let relayed: Vec<_> = relayed
            .iter()
            .filter(|text| text.contains("client-"))
            .collect();
        assert_eq!(relayed.len(), 2, "{relayed:?}");
        assert!(relayed[0].contains("client-other") && relayed[1].contains("private-else"));
        let mut reported = 0;
        while let Ok(event) = events.try_recv() {
            reported += u32::from(matches!(event.kind, HubEventKind::ClientEvent { .. }));
        }
        assert_eq!(reported, 3);
    }
}
