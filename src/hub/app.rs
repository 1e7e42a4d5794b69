//! One app's part of the hub: its connections, channels and users.
//!
//! Everything of an app hangs here, so that nothing of one app can be reached
//! from another. Channels and connections are spread over shards with a short
//! lock each. Lock order: a channel shard, then the event stream; the lock of
//! the users and those of the connections are taken alone. No lock is held while
//! anything is sent.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use fanfare_protocol::error::ClientError;
use fanfare_protocol::{AppId, ChannelName, Close, EventId, Frame, SocketId, UserId};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use tokio::sync::oneshot;

use super::HubCore;
use super::bookmarks::Reader;
use super::channel::{Channel, ChannelRules, Entered};
use super::connection::{Connection, Liveness};
use super::drain::Drain;
use super::engine::{CachedEvent, Occupancy};
use super::events::HubEventKind;
use super::history::Past;
use super::lane::{Peers, Work};
use super::presence::Member;
use super::recall::Recollection;
use super::users::{Changed, Users};
use crate::apps::{App, OverQuota};

/// Locks per app. More than the cores of a large machine; 1,000 apps still cost
/// under 4 MB.
pub(super) const SHARDS: usize = 32;

/// Subscribers that the task which published writes to itself. A larger
/// channel's fan-out goes on in a task of its own, so that the API answers
/// within a fraction of a millisecond.
pub(super) const INLINE_WRITES: usize = 32;

/// Of so many publications on the channels of a shard one is timed: reading the
/// clock for each would be seen in what a delivery costs.
const TIMED_EVERY: u32 = 8;

/// One app's part of the hub.
#[derive(Debug)]
pub struct AppHub {
    id: AppId,
    /// As it is at the moment; changed by [`super::Hub::update`].
    app: ArcSwap<App>,
    core: Arc<HubCore>,
    hasher: RandomState,
    pub(super) channels: [Mutex<ChannelShard>; SHARDS],
    connections: [Mutex<HashMap<SocketId, Arc<Connection>>>; SHARDS],
    pub(super) users: Users,
    /// Client events of all connections together, where the app limits them.
    client_events: ArcSwapOption<ClientEventRate>,
    /// `limits.messages_per_second` of the app, 0 for none: looked at for every
    /// message, so it is not behind a pointer.
    messages_per_second: AtomicU32,
    /// Whether any channel has a history: the one thing that a publication of an
    /// app without pays for.
    pub(super) has_history: AtomicBool,
    /// Connections that count towards the app's limit.
    counted: AtomicUsize,
    /// What happened since the start, for metrics.
    pub counters: Counters,
}

#[derive(Debug)]
struct ClientEventRate {
    per_second: NonZeroU32,
    bucket: DefaultDirectRateLimiter,
}

#[derive(Debug, Default)]
pub(super) struct ChannelShard {
    pub(super) channels: HashMap<ChannelName, Channel>,
    /// Publications so far, to time some of them.
    publications: u32,
    /// Past events, also of channels that nobody is subscribed to.
    pub(super) past: Past,
    /// Channels with a subscription count that was put off.
    late_counts: HashSet<ChannelName>,
}

impl ChannelShard {
    /// Puts `frame` into the lane of its channel, if anybody here is subscribed. With
    /// a budget the caller gets what is to be drained, if nobody is at it.
    pub(super) fn publish<B>(
        &mut self,
        channel: &ChannelName,
        frame: Frame,
        except: Option<SocketId>,
        cached: Option<CachedEvent>,
        budget: Option<B>,
    ) -> Option<(Work, B)> {
        let tick = self.publications;
        self.publications = tick.wrapping_add(1);
        let record = self.channels.get_mut(channel)?;
        if let Some(event) = cached {
            record.cache(event);
        }
        let since = tick.is_multiple_of(TIMED_EVERY).then(Instant::now);
        record.publish_since(frame, except, since);
        let budget = budget?;
        record.lane.take_work().map(|work| (work, budget))
    }
}

/// Totals since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Clients that connected.
    pub connections_opened: AtomicU64,
    /// Clients that went.
    pub connections_closed: AtomicU64,
    /// The most connections at the same time since [`Self::take_peak`].
    peak: AtomicU64,
    /// Messages that clients sent.
    pub messages_received: AtomicU64,
    /// Their bytes.
    pub received_bytes: AtomicU64,
    /// Messages that were handed to clients.
    pub messages_sent: AtomicU64,
    /// Their bytes, with the heads of the frames.
    pub sent_bytes: AtomicU64,
    /// Those of them that greet a new subscriber, and count towards no quota.
    pub greetings: AtomicU64,
    /// Requests to publish that the HTTP API accepted; twice if they asked for
    /// information too.
    pub api_calls: AtomicU64,
    /// Requests of the app's back end that could be believed, refused ones
    /// among them.
    pub api_requests: AtomicU64,
    /// Events that the HTTP API accepted, each channel counted.
    pub api_events: AtomicU64,
    /// Client events that were accepted.
    pub client_events: AtomicU64,
    /// Messages and API requests that came faster than a limit allows.
    pub rate_refusals: AtomicU64,
}

impl Counters {
    /// Connections at the moment.
    #[must_use]
    pub fn connections(&self) -> u64 {
        // Read in this order, so that the difference is never negative.
        let closed = self.connections_closed.load(Ordering::Relaxed);
        let opened = self.connections_opened.load(Ordering::Relaxed);
        opened.saturating_sub(closed)
    }

    /// The most connections at the same time since the last call.
    #[must_use]
    pub fn take_peak(&self) -> u64 {
        let now = self.connections();
        self.peak.swap(now, Ordering::Relaxed).max(now)
    }

    /// What the hosted service calls messages: API calls and deliveries.
    #[must_use]
    pub fn messages(&self) -> u64 {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Read in this order, so that the difference is never negative.
        let greetings = count(&self.greetings);
        count(&self.api_calls) + count(&self.messages_sent).saturating_sub(greetings)
    }
}

/// Whether a publication on a channel would reach anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    Nobody,
    Somebody,
    /// Somebody, but too much waits already.
    Full,
}

impl ChannelShard {
    /// Without channels, at a time from which on their past will be known.
    fn new(now_ms: u64) -> Self {
        let mut shard = Self::default();
        shard.past.begin(EventId::at(now_ms));
        shard
    }
}

impl AppHub {
    pub(super) fn new(app: Arc<App>, core: Arc<HubCore>) -> Self {
        let now_ms = core.unix_ms();
        let hub = Self {
            id: app.id.clone(),
            app: ArcSwap::new(Arc::clone(&app)),
            core,
            hasher: RandomState::new(),
            channels: std::array::from_fn(|_| Mutex::new(ChannelShard::new(now_ms))),
            connections: std::array::from_fn(|_| Mutex::default()),
            users: Users::default(),
            client_events: ArcSwapOption::empty(),
            messages_per_second: AtomicU32::new(0),
            has_history: AtomicBool::new(false),
            counted: AtomicUsize::new(0),
            counters: Counters::default(),
        };
        hub.take_over_rates(&app);
        let has_history = !app.history.is_empty();
        hub.has_history.store(has_history, Ordering::Relaxed);
        hub
    }

    /// Rates that are what they were keep what is left in their buckets.
    fn take_over_rates(&self, app: &App) {
        let messages = app.limits.messages_per_second.unwrap_or(0);
        self.messages_per_second.store(messages, Ordering::Relaxed);
        let wanted = app.limits.app_client_events_per_second;
        let wanted = wanted.and_then(NonZeroU32::new);
        let present = self.client_events.load();
        if present.as_ref().map(|rate| rate.per_second) != wanted {
            self.client_events.store(wanted.map(|per_second| {
                let bucket = RateLimiter::direct(Quota::per_second(per_second));
                Arc::new(ClientEventRate { per_second, bucket })
            }));
        }
    }

    /// Messages that one connection may send in a second, where there is a limit.
    pub(super) fn messages_per_second(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.messages_per_second.load(Ordering::Relaxed))
    }

    /// Whether the app may have one more client event now.
    pub(super) fn takes_client_event(&self) -> bool {
        let rate = self.client_events.load();
        rate.as_ref().is_none_or(|rate| rate.bucket.check().is_ok())
    }

    /// The app's id.
    #[must_use]
    pub fn id(&self) -> &AppId {
        &self.id
    }

    /// The app as it is at the moment. Not to be kept: it may change.
    #[must_use]
    pub fn app(&self) -> Guard<Arc<App>> {
        self.app.load()
    }

    /// Takes over a change of the app. Connections of one that was disabled are
    /// closed with 4003.
    pub(super) fn update(&self, app: Arc<App>) {
        debug_assert_eq!(app.id, self.id);
        let is_enabled = app.enabled;
        self.take_over_rates(&app);
        let before = self.app.swap(Arc::clone(&app));
        self.update_history(&before, &app);
        if !is_enabled {
            self.close_all(&Close::AppDisabled);
        }
    }

    /// Closes all connections of this node.
    pub(super) fn close_all(&self, close: &Close) {
        for connection in self.connections() {
            connection.outbox().close(close);
        }
    }

    pub(super) fn core(&self) -> &HubCore {
        &self.core
    }

    pub(super) fn rules(&self) -> ChannelRules {
        let app = self.app.load();
        ChannelRules {
            subscription_count: app.subscription_count,
            presence_members: app.limits.presence_members,
        }
    }

    pub(super) fn channel_shard(&self, channel: &ChannelName) -> MutexGuard<'_, ChannelShard> {
        self.channels[self.shard_of(channel)]
            .lock()
            .expect("a shard is never poisoned: no panic under its lock")
    }

    fn connection_shard(
        &self,
        socket_id: SocketId,
    ) -> MutexGuard<'_, HashMap<SocketId, Arc<Connection>>> {
        self.connections[self.shard_of(&socket_id)]
            .lock()
            .expect("a shard is never poisoned: no panic under its lock")
    }

    fn shard_of(&self, key: &impl std::hash::Hash) -> usize {
        usize::try_from(self.hasher.hash_one(key) % SHARDS as u64)
            .expect("the remainder is below the number of shards")
    }

    fn emit(&self, events: Vec<HubEventKind>) {
        for event in events {
            // With other nodes around, the engine knows who was first or last.
            if self.core.is_clustered && event.is_edge() {
                continue;
            }
            self.core.events.emit(&self.id, || event);
        }
    }

    /// Has the other nodes told. Called under the lock of the channel's shard.
    fn tell_others(&self, channel: &ChannelName) {
        if self.core.is_clustered {
            self.core.engine.changed(&self.id, channel);
        }
    }

    /// Reports something that others have found out about the app.
    pub fn report(&self, kind: HubEventKind) {
        self.core.events.emit(&self.id, || kind);
    }

    // Connections.

    /// Takes a place among the connections of the app and of the node.
    ///
    /// # Errors
    /// One of the two has all that it may have, or the node is shutting down.
    pub fn admit(self: &Arc<Self>) -> Result<Place, Close> {
        // With authorised connections on, only those count that have proved it.
        let mut place = Place {
            app: Arc::clone(self),
            is_counted: false,
            is_on_node: false,
        };
        if !self.app.load().authorized_connections {
            place.count()?;
        }
        self.core.node.enter()?;
        place.is_on_node = true;
        Ok(place)
    }

    pub(super) fn enter(&self, connection: Arc<Connection>) {
        let socket_id = connection.socket_id;
        self.connection_shard(socket_id)
            .insert(socket_id, connection);
        self.counters
            .connections_opened
            .fetch_add(1, Ordering::Relaxed);
        let connections = self.counters.connections();
        self.counters.peak.fetch_max(connections, Ordering::Relaxed);
        self.core
            .events
            .emit(&self.id, || HubEventKind::ConnectionOpened { socket_id });
    }

    pub(super) fn dismiss(&self, socket_id: SocketId) {
        self.connection_shard(socket_id).remove(&socket_id);
        self.counters
            .connections_closed
            .fetch_add(1, Ordering::Relaxed);
        self.core
            .events
            .emit(&self.id, || HubEventKind::ConnectionClosed { socket_id });
    }

    /// One connection of this node.
    pub(super) fn connection(&self, socket_id: SocketId) -> Option<Arc<Connection>> {
        self.connection_shard(socket_id).get(&socket_id).cloned()
    }

    /// The connections of this node, as they are at the moment.
    pub(super) fn connections(&self) -> Vec<Arc<Connection>> {
        let mut all = Vec::new();
        for shard in &self.connections {
            let shard = shard
                .lock()
                .expect("a shard is never poisoned: no panic under its lock");
            all.extend(shard.values().cloned());
        }
        all
    }

    /// How many connections this node has for the app.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.connections
            .iter()
            .map(|shard| {
                shard
                    .lock()
                    .expect("a shard is never poisoned: no panic under its lock")
                    .len()
            })
            .sum()
    }

    /// Reports and carries out what a sign-in or sign-out changed.
    pub(super) fn changed(self: &Arc<Self>, user_id: &UserId, changed: &Changed, is_online: bool) {
        if self.core.is_clustered {
            self.core.engine.user_changed(&self.id, user_id);
        } else if changed.is_edge {
            let user_id = user_id.clone();
            self.core.events.emit(&self.id, || {
                if is_online {
                    HubEventKind::UserOnline { user_id }
                } else {
                    HubEventKind::UserOffline { user_id }
                }
            });
        }
        if changed.must_drain {
            let app = Arc::clone(self);
            self.core
                .tasks
                .spawn(async move { app.users.drain().await });
        }
    }

    /// Closes the connections of this node that are signed in as `user`.
    pub fn terminate(&self, user: &UserId) {
        for connection in self.users.connections(user) {
            connection.outbox().close(&Close::Terminated);
        }
    }

    // Channels.

    /// Subscribes `connection` to `channel`; it is authorised and was not
    /// subscribed before. When this returns, the greeting is on its way.
    ///
    /// # Errors
    /// The channel is full, or the deployment cannot be asked.
    pub(super) async fn subscribe(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        channel: &ChannelName,
        member: Option<&Member>,
        recollection: Option<&Recollection>,
    ) -> Result<(), ClientError> {
        let mut joining = Joining::new(self, channel);
        let has_past = self.expect_past(channel);
        let state = if joining.needs_attach {
            let attached = self.core.engine.attach(&self.id, channel).await;
            Some(attached.map_err(|error| {
                tracing::warn!(%error, app.id = %self.id, "subscription refused");
                ClientError::Unavailable
            })?)
        } else {
            None
        };
        if has_past {
            self.fetch_past(channel, recollection).await;
        }

        let now_ms = self.core.now_ms();
        let (greeted, work) = {
            let mut shard = self.channel_shard(channel);
            let replay = recollection.map(|seen| self.replay(&mut shard, channel, seen));
            let head = replay.as_ref().map(|replay| replay.head);
            let record = shard
                .channels
                .get_mut(channel)
                .expect("a channel stays while somebody is joining it");
            if let Some(state) = state {
                record.attached(state);
            }
            let peer = Arc::clone(connection);
            let Entered { events, greeted } =
                record.enter(channel, peer, member, replay, self.rules(), now_ms)?;
            joining.finish(record);
            let work = record.lane.take_work();
            if let (Some(seen), Some(head)) = (recollection, head) {
                self.follow(&mut shard, channel, seen, head);
            }
            self.put_off_count(&mut shard, channel);
            self.emit(events);
            self.tell_others(channel);
            (greeted, work)
        };
        self.drain(channel, work);
        wait_for(greeted).await;
        Ok(())
    }

    /// Ends a subscription that exists. When what it returns has completed,
    /// nothing of the channel is on its way to the connection any more.
    pub(super) fn unsubscribe(
        self: &Arc<Self>,
        socket_id: SocketId,
        channel: &ChannelName,
        user_id: Option<&UserId>,
        reader: Option<&Reader>,
    ) -> Option<oneshot::Receiver<()>> {
        let now_ms = self.core.now_ms();
        let (done, work) = {
            let mut shard = self.channel_shard(channel);
            if let Some(reader) = reader {
                self.unfollow(&mut shard, channel, reader);
            }
            let Some(record) = shard.channels.get_mut(channel) else {
                debug_assert!(false, "a subscription keeps its channel");
                return None;
            };
            let Entered { events, greeted } =
                record.leave(channel, socket_id, user_id, self.rules(), now_ms);
            let work = record.lane.take_work();
            self.put_off_count(&mut shard, channel);
            self.emit(events);
            self.tell_others(channel);
            (greeted, work)
        };
        self.drain(channel, work);
        done
    }

    pub(super) fn put_off_count(&self, shard: &mut ChannelShard, channel: &ChannelName) {
        let is_late = self.app.load().subscription_count
            && shard
                .channels
                .get(channel)
                .is_some_and(|record| record.has_late_count(channel));
        if is_late {
            shard.late_counts.insert(channel.clone());
        }
    }

    /// Whether an adapter has this client event for itself.
    pub(super) fn consumes(&self, channel: &ChannelName, event: &str) -> bool {
        self.core.consumed.get().is_some_and(|consumed| {
            consumed
                .iter()
                .any(|events| events.has(&self.id, channel, event))
        })
    }

    /// What a user said of itself when it came to a presence channel, if one of its
    /// connections is here.
    #[must_use]
    pub fn member(&self, channel: &ChannelName, user_id: &UserId) -> Option<Member> {
        self.channel_shard(channel)
            .channels
            .get(channel)?
            .member(user_id)
    }

    /// Whether this node has a connection with this id.
    #[must_use]
    pub fn has_connection(&self, socket_id: SocketId) -> bool {
        self.connection_shard(socket_id).contains_key(&socket_id)
    }

    /// Whether a publication on `channel` would reach anybody here.
    pub(super) fn audience(&self, channel: &ChannelName) -> Audience {
        match self.channel_shard(channel).channels.get(channel) {
            None => Audience::Nobody,
            Some(record) if record.lane.has_room() => Audience::Somebody,
            Some(_) => Audience::Full,
        }
    }

    /// Sends `frame` to the subscribers of this node. Writes up to `budget` of
    /// them itself and leaves the rest to a task. Without a budget, the caller
    /// is about to send more and has it all delivered together.
    pub(super) fn deliver(
        self: &Arc<Self>,
        channel: &ChannelName,
        frame: Frame,
        except: Option<SocketId>,
        cached: Option<CachedEvent>,
        budget: Option<&mut usize>,
    ) {
        let work = self
            .channel_shard(channel)
            .publish(channel, frame, except, cached, budget);
        if let Some((work, budget)) = work {
            self.drain_within(channel, Some(work), budget);
        }
    }

    pub(super) fn drain(self: &Arc<Self>, channel: &ChannelName, work: Option<Work>) {
        self.drain_within(channel, work, &mut { INLINE_WRITES });
    }

    pub(super) fn drain_within(
        self: &Arc<Self>,
        channel: &ChannelName,
        work: Option<Work>,
        budget: &mut usize,
    ) {
        let Some(work) = work else {
            return;
        };
        let mut drain = Drain::new(Arc::clone(self), channel.clone(), work);
        if !drain.run(budget) {
            self.core.tasks.spawn(drain.finish());
        }
    }

    /// Takes the subscribers back from a drainer, or gives it more to do.
    pub(super) fn hand_back(&self, channel: &ChannelName, peers: Peers) -> Option<Work> {
        let mut shard = self.channel_shard(channel);
        let record = shard.channels.get_mut(channel)?;
        let work = record.lane.hand_back(peers);
        if work.is_none() && record.is_deserted() {
            self.forget(&mut shard, channel);
        }
        work
    }

    fn forget(&self, shard: &mut ChannelShard, channel: &ChannelName) {
        shard.late_counts.remove(channel);
        if shard.channels.remove(channel).is_some() {
            shard.past.leave(channel, &self.core.history);
            self.tell_others(channel);
        }
        if shard.channels.len() < shard.channels.capacity() / 8 {
            shard.channels.shrink_to_fit();
        }
    }

    /// The occupied channels of this node whose names start with `prefix`.
    #[must_use]
    pub fn channels(&self, prefix: &str) -> Vec<Occupancy> {
        let mut found = Vec::new();
        for shard in &self.channels {
            let shard = shard
                .lock()
                .expect("a shard is never poisoned: no panic under its lock");
            found.extend(
                shard
                    .channels
                    .iter()
                    .filter(|(name, record)| {
                        record.is_occupied() && name.as_str().starts_with(prefix)
                    })
                    .map(|(name, record)| record.occupancy(name)),
            );
        }
        found
    }

    /// How many channels have a subscriber on this node.
    #[must_use]
    pub fn channel_count(&self) -> usize {
        self.channels
            .iter()
            .map(|shard| {
                let shard = shard
                    .lock()
                    .expect("a shard is never poisoned: no panic under its lock");
                shard
                    .channels
                    .values()
                    .filter(|record| record.is_occupied())
                    .count()
            })
            .sum()
    }

    /// How a channel is occupied on this node.
    #[must_use]
    pub fn occupancy(&self, channel: &ChannelName) -> Occupancy {
        match self.channel_shard(channel).channels.get(channel) {
            Some(record) => record.occupancy(channel),
            None => Occupancy {
                channel: channel.clone(),
                subscriptions: 0,
                users: 0,
            },
        }
    }

    /// The users of a presence channel on this node.
    #[must_use]
    pub fn users(&self, channel: &ChannelName) -> Vec<UserId> {
        self.channel_shard(channel)
            .channels
            .get(channel)
            .map(Channel::user_ids)
            .unwrap_or_default()
    }

    // The sweep.

    /// Asks the silent, drops the dead and the stuck, and tells late counts.
    pub(super) fn sweep(self: &Arc<Self>) {
        let now_ms = self.core.now_ms();
        for connection in self.connections() {
            self.check(&connection, now_ms);
        }
        for shard in &self.channels {
            let mut shard = shard
                .lock()
                .expect("a shard is never poisoned: no panic under its lock");
            let late: Vec<ChannelName> = shard.late_counts.iter().cloned().collect();
            let mut todo = Vec::new();
            for channel in late {
                let Some(record) = shard.channels.get_mut(&channel) else {
                    continue;
                };
                self.emit(record.tell_late_count(&channel, self.rules(), now_ms));
                let work = record.lane.take_work();
                if !record.has_late_count(&channel) {
                    shard.late_counts.remove(&channel);
                }
                todo.push((channel, work));
            }
            drop(shard);
            for (channel, work) in todo {
                self.drain(&channel, work);
            }
        }
    }

    fn check(&self, connection: &Connection, now_ms: u64) {
        let timeouts = &self.core.timeouts;
        let outbox = connection.outbox();
        if outbox
            .stalled_ms(now_ms)
            .is_some_and(|stalled_ms| stalled_ms >= timeouts.stalled_write_ms)
        {
            outbox.abort(&Close::OverCapacity);
            return;
        }
        let is_unauthorized = self.app.load().authorized_connections
            && !connection.is_authorized()
            && connection.age_ms(now_ms) >= timeouts.authorization_ms;
        if is_unauthorized {
            outbox.close(&Close::NotAuthorized);
            return;
        }
        if connection.has_ended(now_ms) {
            outbox.close(&Close::TokenExpired);
            return;
        }
        match connection.liveness(now_ms, timeouts.ping_after_ms, timeouts.pong_wait_ms) {
            Liveness::Fine => {}
            Liveness::Silent => outbox.probe(),
            Liveness::Dead => outbox.abort(&Close::PongTimeout),
        }
    }
}

/// A place among the connections of an app and of the node, given back when
/// dropped.
#[derive(Debug)]
pub struct Place {
    pub(super) app: Arc<AppHub>,
    /// Whether it counts towards the app's limit.
    is_counted: bool,
    /// Whether it counts towards the node's limit.
    is_on_node: bool,
}

impl Place {
    /// The app that the place is in, as it is at the moment.
    #[must_use]
    pub fn app(&self) -> Arc<App> {
        self.app.app.load_full()
    }

    /// Counts this place towards the app's limit from now on.
    pub(super) fn count(&mut self) -> Result<(), Close> {
        if self.is_counted {
            return Ok(());
        }
        let app = self.app.app();
        let limit = app.limits.connections.unwrap_or(usize::MAX);
        self.app
            .counted
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < limit).then_some(count + 1)
            })
            .map_err(|_| match app.over_quota {
                OverQuota::RetryLater => Close::OverCapacity,
                OverQuota::Refuse => Close::OverQuota,
            })?;
        self.is_counted = true;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_counted {
            self.app.counted.fetch_sub(1, Ordering::Relaxed);
        }
        if self.is_on_node {
            self.app.core.node.leave();
        }
    }
}

/// Waits until another task has sent what this connection must see first.
pub(super) async fn wait_for(done: Option<oneshot::Receiver<()>>) {
    if let Some(done) = done {
        // An error means that the step was dropped with its channel.
        let _ = done.await;
    }
}

/// Keeps a channel alive while a subscriber waits for the engine.
struct Joining<'a> {
    app: &'a AppHub,
    channel: &'a ChannelName,
    needs_attach: bool,
    is_finished: bool,
}

impl<'a> Joining<'a> {
    fn new(app: &'a AppHub, channel: &'a ChannelName) -> Self {
        let mut shard = app.channel_shard(channel);
        let record = shard
            .channels
            .entry(channel.clone())
            .or_insert_with(|| Channel::new(channel));
        record.joining += 1;
        Self {
            app,
            channel,
            needs_attach: !record.is_attached,
            is_finished: false,
        }
    }

    fn finish(&mut self, record: &mut Channel) {
        record.joining -= 1;
        self.is_finished = true;
    }
}

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        let mut shard = self.app.channel_shard(self.channel);
        if let Some(record) = shard.channels.get_mut(self.channel) {
            record.joining -= 1;
            if record.is_deserted() && !record.lane.is_draining() {
                self.app.forget(&mut shard, self.channel);
            }
        }
    }
}
