//! The hub against a model of it: what each client must have received, channel by
//! channel, after any sequence of comings, goings and events.
//!
//! The model keeps a few maps and no locks, queues or shards. The steps are read
//! from bytes, so that a test can feed it chance and `fuzz/` what it finds worth
//! trying.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfare::apps::App;
use fanfare::engine::MemoryEngine;
use fanfare::hub::{
    ClientInfo, Connection, Hub, Origin, Outbox, Publish, Scope, Session, Timeouts,
};
use fanfare_protocol::{AppSecret, ChannelName, Close, Frame, SocketId, auth};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

/// More than a publisher writes to itself, so that tasks go on with it.
const CLIENTS: usize = 40;

const CHANNELS: [&str; 8] = [
    "news",
    "private-x",
    "presence-a",
    "presence-b",
    "cache-c",
    "presence-cache-d",
    "private-cache-e",
    "#server-to-user-u0",
];

const USERS: [&str; 4] = ["u0", "u1", "u2", "u3"];

/// Users on one presence channel, one less than there are.
const PRESENCE_MEMBERS: usize = 3;

const KEY: &str = "key";
const SECRET: &str = "secret";

/// Keeps what a client would have received.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<Value>>);

impl Outbox for Recorder {
    fn push(&self, frames: &[Frame]) {
        let mut received = self.0.lock().unwrap();
        for frame in frames {
            received.push(serde_json::from_slice(frame.payload()).unwrap());
        }
    }

    fn close(&self, close: &Close) {
        panic!("nobody is closed here: {close}");
    }

    fn abort(&self, close: &Close) {
        panic!("nobody is dropped here: {close}");
    }

    fn probe(&self) {}

    fn stalled_ms(&self, _now_ms: u64) -> Option<u64> {
        None
    }
}

/// One client, and what the model says about it.
struct Client {
    session: Session,
    connection: Arc<Connection<Recorder>>,
    user: Option<&'static str>,
    watchlist: BTreeSet<&'static str>,
    /// Event and data in order, by channel; without one under the empty name.
    expected: BTreeMap<&'static str, Vec<String>>,
}

impl Client {
    fn socket_id(&self) -> SocketId {
        self.connection.socket_id
    }

    fn expect(&mut self, channel: &'static str, event: &str, data: &str) {
        let line = format!("{event} {data}");
        self.expected.entry(channel).or_default().push(line);
    }

    fn expect_error(&mut self, text: &str) {
        self.expect("", "pusher:error", text);
    }

    /// Compares what has come since the last time.
    fn check(&mut self) {
        let mut received: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let messages = std::mem::take(&mut *self.connection.outbox().0.lock().unwrap());
        for message in &messages {
            let data = match &message["data"] {
                Value::String(text) => text,
                error => error["message"].as_str().unwrap(),
            };
            let line = format!("{} {data}", message["event"].as_str().unwrap());
            let channel = message["channel"].as_str().unwrap_or_default();
            received.entry(channel).or_default().push(line);
        }
        let expected = std::mem::take(&mut self.expected);
        assert_eq!(received, expected, "{}", self.socket_id());
    }
}

/// What the model knows of a channel.
#[derive(Default)]
struct Channel {
    /// Client and, on presence channels, its user.
    subscribers: BTreeMap<usize, Option<&'static str>>,
    /// The `user_info` of each user's first connection.
    infos: BTreeMap<&'static str, String>,
    cached: Option<(String, String)>,
}

struct World {
    hub: Hub,
    tasks: TaskTracker,
    app: Arc<App>,
    clients: Vec<Option<Client>>,
    channels: BTreeMap<&'static str, Channel>,
    connected: u64,
}

/// Runs the steps that `bytes` spell, and compares after each.
///
/// # Panics
/// The hub does not do what the model does.
pub(crate) async fn run(bytes: &[u8]) {
    let mut world = World::new();
    let mut bytes = bytes.iter().copied().map(usize::from);
    while let Some(()) = world.step(&mut bytes).await {
        world.settle().await;
        world.compare();
    }
    for index in 0..CLIENTS {
        world.leave(index).await;
    }
    world.compare();
    assert_eq!(world.hub.app(&world.app).channels("").len(), 0);
}

impl World {
    fn new() -> Self {
        let hours = Duration::from_secs(7_200);
        let timeouts = Timeouts {
            ping_after: hours,
            pong_wait: hours,
            authorization: hours,
            stalled_write: hours,
        };
        let tasks = TaskTracker::new();
        let mut app = App::new("1", KEY, SECRET);
        app.client_events = true;
        app.subscription_count = true;
        app.watchlist = true;
        app.limits.presence_members = PRESENCE_MEMBERS;
        app.limits.client_events_per_second = 1_000_000;
        Self {
            hub: Hub::new(
                Arc::new(MemoryEngine::new()),
                timeouts,
                CLIENTS,
                tasks.clone(),
            ),
            tasks,
            app: Arc::new(app),
            clients: (0..CLIENTS).map(|_| None).collect(),
            channels: BTreeMap::new(),
            connected: 0,
        }
    }

    /// Lets the tasks of large fan-outs end.
    async fn settle(&self) {
        while !self.tasks.is_empty() {
            tokio::task::yield_now().await;
        }
    }

    /// `None` when there are no more bytes.
    async fn step(&mut self, bytes: &mut impl Iterator<Item = usize>) -> Option<()> {
        let index = bytes.next()? % CLIENTS;
        if self.clients[index].is_none() {
            self.connect(index);
            return Some(());
        }
        let kind = bytes.next()? % 12;
        let channel = CHANNELS[bytes.next()? % CHANNELS.len()];
        let choice = bytes.next()?;
        let user = USERS[choice % USERS.len()];
        match kind {
            0..=3 => self.subscribe(index, channel, user).await,
            4 | 5 => self.unsubscribe(index, channel).await,
            6 => self.leave(index).await,
            7 | 8 => self.publish(channel, choice),
            9 => self.client_event(index, channel, choice).await,
            10 => self.sign_in(index, user, choice).await,
            _ => self.publish_to_all(index),
        }
        Some(())
    }

    fn client(&mut self, index: usize) -> &mut Client {
        self.clients[index].as_mut().unwrap()
    }

    fn connect(&mut self, index: usize) {
        self.connected += 1;
        let place = self.hub.app(&self.app).admit().unwrap();
        let socket_id: SocketId = format!("1.{}", self.connected).parse().unwrap();
        let info = ClientInfo {
            client: "js",
            version: "",
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            session: None,
        };
        let (session, connection) = Session::open(place, socket_id, Recorder::default(), 120, info);
        let mut client = Client {
            session,
            connection,
            user: None,
            watchlist: BTreeSet::new(),
            expected: BTreeMap::new(),
        };
        let data = format!(r#"{{"socket_id":"{socket_id}","activity_timeout":120}}"#);
        client.expect("", "pusher:connection_established", &data);
        self.clients[index] = Some(client);
    }

    async fn send(&mut self, index: usize, message: Value) {
        let text = message.to_string();
        self.client(index).session.handle(&text).await.unwrap();
    }

    async fn subscribe(&mut self, index: usize, channel: &'static str, user: &'static str) {
        let info = format!(r#"{{"by":{}}}"#, self.connected);
        let channel_data = channel
            .starts_with("presence-")
            .then(|| format!(r#"{{"user_id":"{user}","user_info":{info}}}"#));
        let signature = auth::sign_channel(
            &AppSecret::new(SECRET),
            self.client(index).socket_id(),
            channel,
            channel_data.as_deref(),
        );
        self.send(
            index,
            json!({"event": "pusher:subscribe", "data": {
                "channel": channel, "auth": format!("{KEY}:{signature}"), "channel_data": channel_data,
            }}),
        )
        .await;

        let state = self.channels.entry(channel).or_default();
        let client = self.clients[index].as_mut().unwrap();
        if state.subscribers.contains_key(&index) {
            client.expect_error(&format!("Existing subscription to channel {channel}"));
            return;
        }
        let refusal = if channel.starts_with('#') && client.user != Some("u0") {
            let text = format!("Not signed in as the user of channel {channel}");
            Some((text, "AuthError", 401))
        } else if channel_data.is_some()
            && !state.infos.contains_key(user)
            && state.infos.len() == PRESENCE_MEMBERS
        {
            let text = format!(
                "Presence channel {channel} is over the limit of {PRESENCE_MEMBERS} members"
            );
            Some((text, "LimitReached", 403))
        } else {
            None
        };
        if let Some((text, name, status)) = refusal {
            client.expect_error(&text);
            let data = format!(r#"{{"type":"{name}","error":"{text}","status":{status}}}"#);
            client.expect(channel, "pusher:subscription_error", &data);
            return;
        }
        let user = channel_data.is_some().then_some(user);
        if let Some(user) = user
            && !state.infos.contains_key(user)
        {
            state.infos.insert(user, info.clone());
            let data = format!(r#"{{"user_id":"{user}","user_info":{info}}}"#);
            self.tell(channel, None, "pusher_internal:member_added", &data);
        }
        let state = self.channels.get_mut(channel).unwrap();
        state.subscribers.insert(index, user);
        let success = if user.is_some() {
            let list = |each: fn((&&str, &String)) -> String| {
                let texts: Vec<String> = state.infos.iter().map(each).collect();
                texts.join(",")
            };
            format!(
                r#"{{"presence":{{"count":{},"ids":[{}],"hash":{{{}}}}}}}"#,
                state.infos.len(),
                list(|(user, _)| format!("\"{user}\"")),
                list(|(user, info)| format!("\"{user}\":{info}")),
            )
        } else {
            "{}".to_owned()
        };
        let cached = state.cached.clone();
        let client = self.clients[index].as_mut().unwrap();
        client.expect(channel, "pusher_internal:subscription_succeeded", &success);
        match cached {
            Some((event, data)) => client.expect(channel, &event, &data),
            None if channel.contains("cache-") => client.expect(channel, "pusher:cache_miss", "{}"),
            None => {}
        }
        self.tell_count(channel);
    }

    async fn unsubscribe(&mut self, index: usize, channel: &'static str) {
        let message = json!({"event": "pusher:unsubscribe", "data": {"channel": channel}});
        self.send(index, message).await;

        if !self.left(index, channel) {
            self.client(index).expect_error(&format!(
                "No current subscription to channel {channel}, or subscription in progress"
            ));
        }
    }

    /// Whether the client was subscribed.
    fn left(&mut self, index: usize, channel: &'static str) -> bool {
        let state = self.channels.entry(channel).or_default();
        let Some(user) = state.subscribers.remove(&index) else {
            return false;
        };
        if let Some(user) = user
            && !state.subscribers.values().any(|other| *other == Some(user))
        {
            state.infos.remove(user);
            let data = format!(r#"{{"user_id":"{user}"}}"#);
            self.tell(channel, None, "pusher_internal:member_removed", &data);
        }
        self.tell_count(channel);
        true
    }

    async fn leave(&mut self, index: usize) {
        let Some(mut client) = self.clients[index].take() else {
            return;
        };
        client.check();
        drop(client.session);
        for channel in CHANNELS {
            self.left(index, channel);
        }
        if let Some(user) = client.user
            && !self.is_online(user)
        {
            self.tell_watchers(user, "offline");
        }
        self.settle().await;
        let late = client.connection.outbox().0.lock().unwrap();
        assert!(late.is_empty(), "for one who has gone: {late:?}");
    }

    fn publish(&mut self, channel: &'static str, choice: usize) {
        let excepted = choice % CLIENTS;
        let except = self.clients[excepted].as_ref().map(Client::socket_id);
        let data = format!("data-{choice}");
        self.hub
            .publisher(&self.app)
            .publish(&Publish {
                channels: &[parse(channel, &self.app)],
                event: "event",
                data: &data,
                except,
                scope: Scope::Cluster,
                origin: Origin::Api,
            })
            .unwrap();

        self.published(channel, except.map(|_| excepted), &data);
    }

    /// One event on every channel, so that several drainers are under way.
    fn publish_to_all(&mut self, index: usize) {
        let channels: Vec<ChannelName> = CHANNELS
            .iter()
            .map(|channel| parse(channel, &self.app))
            .collect();
        let data = format!("to-all-{index}");
        self.hub
            .publisher(&self.app)
            .publish(&Publish {
                channels: &channels,
                event: "event",
                data: &data,
                except: None,
                scope: Scope::Cluster,
                origin: Origin::Api,
            })
            .unwrap();

        for channel in CHANNELS {
            self.published(channel, None, &data);
        }
    }

    fn published(&mut self, channel: &'static str, except: Option<usize>, data: &str) {
        self.tell(channel, except, "event", data);
        if channel.contains("cache-") {
            let state = self.channels.entry(channel).or_default();
            state.cached = Some(("event".to_owned(), data.to_owned()));
        }
    }

    async fn client_event(&mut self, index: usize, channel: &'static str, choice: usize) {
        let data = format!("from-{choice}");
        let message = json!({"event": "client-e", "channel": channel, "data": data});
        self.send(index, message).await;

        let state = self.channels.entry(channel).or_default();
        let is_subscribed = state.subscribers.contains_key(&index);
        if !channel.starts_with("private-") && !channel.starts_with("presence-") {
            self.client(index)
                .expect_error("Client events are only supported on private and presence channels");
        } else if !is_subscribed {
            self.client(index).expect_error(&format!(
                "Cannot broadcast client event (connection not subscribed to channel {channel})"
            ));
        } else {
            self.tell(channel, Some(index), "client-e", &data);
        }
    }

    async fn sign_in(&mut self, index: usize, user: &'static str, choice: usize) {
        let watchlist: BTreeSet<&'static str> = USERS
            .into_iter()
            .enumerate()
            .filter(|(number, _)| choice >> (number + 2) & 1 == 1)
            .map(|(_, user)| user)
            .collect();
        let user_data = json!({"id": user, "watchlist": watchlist}).to_string();
        let socket_id = self.client(index).socket_id();
        let signature = auth::sign_user(&AppSecret::new(SECRET), socket_id, &user_data);
        self.send(
            index,
            json!({"event": "pusher:signin", "data": {
                "auth": format!("{KEY}:{signature}"), "user_data": user_data,
            }}),
        )
        .await;

        if self.client(index).user.is_some_and(|other| other != user) {
            self.client(index)
                .expect_error("Connection is already signed in as another user");
            return;
        }
        let was_online = self.is_online(user);
        let client = self.client(index);
        client.user = Some(user);
        client.watchlist.clear();
        if !was_online {
            self.tell_watchers(user, "online");
        }
        let client = self.client(index);
        client.watchlist.clone_from(&watchlist);
        let data = json!({"user_data": user_data}).to_string();
        client.expect("", "pusher:signin_success", &data);
        let (online, offline): (Vec<&str>, Vec<&str>) = watchlist
            .into_iter()
            .partition(|watched| self.is_online(watched));
        let lists: Vec<String> = [("online", online), ("offline", offline)]
            .into_iter()
            .filter(|(_, users)| !users.is_empty())
            .map(|(name, users)| format!(r#"{{"name":"{name}","user_ids":{}}}"#, json!(users)))
            .collect();
        if !lists.is_empty() {
            let data = format!(r#"{{"events":[{}]}}"#, lists.join(","));
            self.client(index)
                .expect("", "pusher_internal:watchlist_events", &data);
        }
    }

    fn is_online(&self, user: &str) -> bool {
        let mut clients = self.clients.iter().flatten();
        clients.any(|client| client.user == Some(user))
    }

    fn tell_watchers(&mut self, user: &str, name: &str) {
        let data = format!(r#"{{"events":[{{"name":"{name}","user_ids":["{user}"]}}]}}"#);
        for client in self.clients.iter_mut().flatten() {
            if client.watchlist.contains(user) {
                client.expect("", "pusher_internal:watchlist_events", &data);
            }
        }
    }

    /// Expects a message at all subscribers but one.
    fn tell(&mut self, channel: &'static str, except: Option<usize>, event: &str, data: &str) {
        let Some(state) = self.channels.get(channel) else {
            return;
        };
        for index in state.subscribers.keys() {
            if Some(*index) != except
                && let Some(client) = &mut self.clients[*index]
            {
                client.expect(channel, event, data);
            }
        }
    }

    fn tell_count(&mut self, channel: &'static str) {
        if channel.starts_with("presence-") || channel.starts_with('#') {
            return;
        }
        let count = self.channels[channel].subscribers.len();
        let data = format!(r#"{{"subscription_count":{count}}}"#);
        self.tell(channel, None, "pusher_internal:subscription_count", &data);
    }

    /// What the hub answers to questions, and what its clients have received.
    fn compare(&mut self) {
        let hub = self.hub.app(&self.app);
        let connected = self.clients.iter().flatten().count();
        assert_eq!(hub.connection_count(), connected);
        assert_eq!(self.hub.node().connections(), connected);
        let mut occupied = 0;
        for (name, state) in &self.channels {
            let channel = parse(name, &self.app);
            let occupancy = hub.occupancy(&channel);
            assert_eq!(occupancy.subscriptions, state.subscribers.len(), "{name}");
            assert_eq!(occupancy.users, state.infos.len(), "{name}");
            let users = hub.users(&channel);
            let users: BTreeSet<&str> = users.iter().map(|user| user.as_str()).collect();
            assert_eq!(users, state.infos.keys().copied().collect(), "{name}");
            occupied += usize::from(!state.subscribers.is_empty());
        }
        assert_eq!(hub.channel_count(), occupied);
        for client in self.clients.iter_mut().flatten() {
            client.check();
        }
    }
}

fn parse(channel: &str, app: &App) -> ChannelName {
    ChannelName::parse(channel, &app.limits).unwrap()
}
