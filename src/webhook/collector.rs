//! Reads what happens in the hub and makes webhook events of it.
//!
//! Does nothing that could take long, so that it keeps up with the stream. If it
//! falls behind nevertheless, the stream loses the oldest events; then what the
//! apps were told is compared with what the hub has, and the difference is told.
//! Client events, cache misses and counts of that time are lost, and counted.
//!
//! With other nodes around, the engine knows who returned, and a departure is told
//! by the node that claims it. What this node does not claim, another one inherits.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::{AppId, ChannelKind, ChannelName, UserId, WebhookEvent, WebhookEventKind};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::endpoint::Endpoints;
use super::figures::Figures;
use crate::apps::App;
use crate::hub::{AppHub, Departure, Holds, Hub, HubEvent, HubEventKind, Scope};

/// Events that are taken before the others get a turn.
const BURST: usize = 256;

/// Departures that are claimed at once.
const CLAIMS: usize = 1_000;

/// Time for the engine to answer the last claim when the server ends. An engine that
/// is out of reach never does.
const LAST_CLAIM: Duration = Duration::from_secs(2);

/// Makes webhook events out of what happens in the hub.
pub(super) struct Collector {
    hub: Arc<Hub>,
    is_clustered: bool,
    endpoints: Arc<Endpoints>,
    figures: Figures,
    holds: Holds,
    /// Departures that the engine is asked for. Those behind them wait in `holds`.
    claims: Option<BoxFuture<'static, Vec<Departure>>>,
    /// What is occupied, as far as the stream has told. Unused with other nodes
    /// around: then it tells only a part.
    known: HashMap<AppId, Known>,
    /// Events to come that the last comparison with the hub may have seen.
    seen_already: usize,
}

/// What the stream has told of one app.
#[derive(Debug, Default)]
struct Known {
    /// Occupied channels, with the users of presence channels.
    channels: HashMap<ChannelName, HashSet<UserId>>,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

impl Collector {
    pub(super) fn new(
        hub: Arc<Hub>,
        endpoints: Arc<Endpoints>,
        figures: Figures,
        holds: Holds,
    ) -> Self {
        Self {
            is_clustered: hub.engine().is_clustered(),
            hub,
            endpoints,
            figures,
            holds,
            claims: None,
            known: HashMap::new(),
            seen_already: 0,
        }
    }

    /// Reads until `stop`; then takes what has come until then, and holds
    /// nothing back any more.
    pub(super) async fn run(mut self, mut events: Receiver<HubEvent>, stop: CancellationToken) {
        loop {
            let next_due = self.holds.next_due().filter(|_| self.claims.is_none());
            tokio::select! {
                received = events.recv() => match received {
                    Ok(event) => {
                        self.take(event);
                        self.take_burst(&mut events);
                    }
                    Err(RecvError::Lagged(lost)) => self.catch_up(lost, events.len()),
                    Err(RecvError::Closed) => break,
                },
                claimed = answer(&mut self.claims) => {
                    for departure in claimed {
                        self.tell_departure(&departure);
                    }
                }
                () = until(next_due) => self.release(Instant::now()),
                () = stop.cancelled() => break,
            }
        }
        loop {
            match events.try_recv() {
                Ok(event) => self.take(event),
                Err(TryRecvError::Lagged(lost)) => self.catch_up(lost, events.len()),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if self.is_clustered {
            // What is claimed already nobody else tells. The rest the others inherit,
            // who are told that this node leaves.
            if let Some(claims) = self.claims.take() {
                let claimed = tokio::time::timeout(LAST_CLAIM, claims).await;
                for departure in claimed.unwrap_or_default() {
                    self.tell_departure(&departure);
                }
            }
            return;
        }
        while let Some(departure) = self.holds.take_first() {
            self.tell_departure(&departure);
        }
    }

    fn take_burst(&mut self, events: &mut Receiver<HubEvent>) {
        for _ in 0..BURST {
            match events.try_recv() {
                Ok(event) => self.take(event),
                Err(TryRecvError::Lagged(lost)) => self.catch_up(lost, events.len()),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    fn release(&mut self, now: Instant) {
        if self.is_clustered {
            let due = std::iter::from_fn(|| self.holds.release(now));
            let due = due.take(CLAIMS).collect();
            self.claims = Some(self.hub.engine().claim(due));
            return;
        }
        while let Some(departure) = self.holds.release(now) {
            self.tell_departure(&departure);
        }
    }

    /// The app, if it has webhooks. It may never have been used on this node, which
    /// tells the departures of one that has died.
    fn app(&self, id: &AppId) -> Option<Arc<App>> {
        let app = match self.hub.find(id) {
            Some(hub) => Arc::clone(&hub.app()),
            // A store that has to ask somebody does not know the app.
            None if self.is_clustered => self.endpoints.app(id).now_or_never().flatten()?,
            None => return None,
        };
        (!app.webhooks.is_empty()).then_some(app)
    }

    fn take(&mut self, event: HubEvent) {
        let was_seen = self.seen_already > 0;
        self.seen_already = self.seen_already.saturating_sub(1);
        // The node where a change reached the whole deployment tells it.
        if event.scope != Scope::Cluster {
            return;
        }
        let Some(app) = self.app(&event.app) else {
            return;
        };
        match event.kind {
            HubEventKind::Occupied { .. } | HubEventKind::MemberAdded { .. } if event.is_return => {
            }
            HubEventKind::Occupied { channel } => self.came(&app, channel, None, was_seen),
            HubEventKind::MemberAdded { channel, user_id } => {
                self.came(&app, channel, Some(user_id), was_seen);
            }
            HubEventKind::Inherited(departure) => self.hold(departure),
            HubEventKind::Vacated { channel } => self.left(&app, channel, None, was_seen),
            HubEventKind::MemberRemoved { channel, user_id } => {
                self.left(&app, channel, Some(user_id), was_seen);
            }
            HubEventKind::ClientEvent {
                channel,
                event,
                data,
                socket_id,
                user_id,
            } => self.tell(
                &app,
                &channel,
                WebhookEventKind::ClientEvent {
                    event: &event,
                    data: &data,
                    socket_id,
                    user_id: user_id.as_ref(),
                },
            ),
            HubEventKind::CacheMiss { channel } => {
                self.tell(&app, &channel, WebhookEventKind::CacheMiss);
            }
            HubEventKind::SubscriptionCount { channel, count } => {
                self.tell(&app, &channel, WebhookEventKind::SubscriptionCount(count));
            }
            HubEventKind::ConnectionOpened { .. }
            | HubEventKind::ConnectionClosed { .. }
            | HubEventKind::Subscribed { .. }
            | HubEventKind::Unsubscribed { .. }
            | HubEventKind::QuotaWarning { .. }
            | HubEventKind::UserOnline { .. }
            | HubEventKind::UserOffline { .. } => {}
        }
    }

    fn tell(&self, app: &App, channel: &ChannelName, kind: WebhookEventKind<'_>) {
        self.endpoints.tell(app, &WebhookEvent { channel, kind });
    }

    /// A channel is occupied, or a user is there.
    fn came(
        &mut self,
        app: &Arc<App>,
        channel: ChannelName,
        user_id: Option<UserId>,
        was_seen: bool,
    ) {
        if !app.tells_changes() {
            return;
        }
        let departure = Departure {
            app: app.id.clone(),
            channel,
            user_id,
        };
        if !self.is_clustered {
            let known = self.known.entry(app.id.clone()).or_default();
            let is_news = known.came(&departure.channel, departure.user_id.as_ref());
            // The comparison has told it already.
            if was_seen && !is_news {
                return;
            }
            if self.holds.cancel(&departure) {
                return;
            }
        }
        let kind = match &departure.user_id {
            Some(user_id) => WebhookEventKind::MemberAdded(user_id),
            None => WebhookEventKind::ChannelOccupied,
        };
        self.tell(app, &departure.channel, kind);
    }

    /// A channel was vacated, or a user has left.
    fn left(
        &mut self,
        app: &Arc<App>,
        channel: ChannelName,
        user_id: Option<UserId>,
        was_seen: bool,
    ) {
        if !app.tells_changes() {
            return;
        }
        if !self.is_clustered {
            let known = self.known.entry(app.id.clone()).or_default();
            let is_news = known.left(&channel, user_id.as_ref());
            if known.channels.is_empty() {
                self.known.remove(&app.id);
            }
            if was_seen && !is_news {
                return;
            }
        }
        self.hold(Departure {
            app: app.id.clone(),
            channel,
            user_id,
        });
    }

    fn hold(&mut self, departure: Departure) {
        let early = self.holds.hold(departure, Instant::now());
        // With other nodes around it is inherited when its time has come.
        if let Some(early) = early.filter(|_| !self.is_clustered) {
            self.tell_departure(&early);
        }
    }

    fn tell_departure(&self, departure: &Departure) {
        let Some(app) = self.app(&departure.app) else {
            return;
        };
        let kind = match &departure.user_id {
            Some(user_id) => WebhookEventKind::MemberRemoved(user_id),
            None => WebhookEventKind::ChannelVacated,
        };
        self.tell(&app, &departure.channel, kind);
    }

    /// Compares what is known with what the hub has, after `lost` events went by.
    /// `waiting` events are still in the stream; they are newer than the lost
    /// ones, and what they say may be in the hub's state already.
    fn catch_up(&mut self, lost: u64, waiting: usize) {
        self.figures.missed(lost);
        if self.is_clustered {
            tracing::warn!(
                lost,
                "more happened than could be told as webhooks; departures are told later, the rest is lost"
            );
            return;
        }
        tracing::warn!(
            lost,
            "more happened than could be told as webhooks; comparing with the hub"
        );
        for app_hub in self.hub.apps() {
            let app = Arc::clone(&app_hub.app());
            if app.tells_changes() {
                self.compare(&app, &snapshot(&app_hub));
            }
        }
        self.seen_already = waiting;
    }

    fn compare(&mut self, app: &Arc<App>, current: &Known) {
        let known = self.known.remove(&app.id).unwrap_or_default();
        let mut gone = Vec::new();
        for (channel, users) in &known.channels {
            let now_there = current.channels.get(channel);
            for user_id in users {
                if !now_there.is_some_and(|users| users.contains(user_id)) {
                    gone.push((channel.clone(), Some(user_id.clone())));
                }
            }
            if now_there.is_none() {
                gone.push((channel.clone(), None));
            }
        }
        let mut come = Vec::new();
        for (channel, users) in &current.channels {
            let were_there = known.channels.get(channel);
            if were_there.is_none() {
                come.push((channel.clone(), None));
            }
            for user_id in users {
                if !were_there.is_some_and(|users| users.contains(user_id)) {
                    come.push((channel.clone(), Some(user_id.clone())));
                }
            }
        }
        self.known.insert(app.id.clone(), known);
        for (channel, user_id) in gone {
            self.left(app, channel, user_id, false);
        }
        for (channel, user_id) in come {
            self.came(app, channel, user_id, false);
        }
    }
}

impl Known {
    /// Returns whether that is news.
    fn came(&mut self, channel: &ChannelName, user_id: Option<&UserId>) -> bool {
        match user_id {
            Some(user_id) => self
                .channels
                .entry(channel.clone())
                .or_default()
                .insert(user_id.clone()),
            None => {
                let is_news = !self.channels.contains_key(channel);
                self.channels.entry(channel.clone()).or_default();
                is_news
            }
        }
    }

    /// Returns whether that is news.
    fn left(&mut self, channel: &ChannelName, user_id: Option<&UserId>) -> bool {
        match user_id {
            Some(user_id) => self
                .channels
                .get_mut(channel)
                .is_some_and(|users| users.remove(user_id)),
            None => self.channels.remove(channel).is_some(),
        }
    }
}

/// What this node has at the moment.
fn snapshot(app: &AppHub) -> Known {
    let mut channels = HashMap::new();
    for occupancy in app.channels("") {
        let channel = occupancy.channel;
        if channel.kind() == ChannelKind::ServerToUser {
            continue;
        }
        let users = if channel.kind() == ChannelKind::Presence {
            app.users(&channel).into_iter().collect()
        } else {
            HashSet::new()
        };
        channels.insert(channel, users);
    }
    Known { channels }
}

/// Waits for the answer of the engine; for ever when it was not asked.
///
/// # Cancel safety
/// The question stays where it is.
async fn answer(claims: &mut Option<BoxFuture<'static, Vec<Departure>>>) -> Vec<Departure> {
    let Some(question) = claims else {
        return std::future::pending().await;
    };
    let claimed = question.await;
    *claims = None;
    claimed
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use fanfare_protocol::WebhookEventType;
    use fanfare_protocol::webhook::MAX_EVENTS;
    use tokio::sync::oneshot;
    use tokio_util::task::TaskTracker;

    use super::super::book::Book;
    use super::super::delivery::Schedule;
    use super::super::endpoint::Shared;
    use super::super::sender::Sender;
    use super::super::target::Connector;
    use super::*;
    use crate::apps::{ChannelFilter, ConfigFileApps, Webhook};
    use crate::engine::MemoryEngine;
    use crate::hub::recorder::Recorder;
    use crate::hub::{ClientInfo, Session, Timeouts};

    const LONG: Duration = Duration::from_secs(3_600);

    fn hub() -> Arc<Hub> {
        let timeouts = Timeouts {
            ping_after: LONG,
            pong_wait: LONG,
            authorization: LONG,
            stalled_write: LONG,
        };
        let engine = Arc::new(MemoryEngine::new());
        Arc::new(Hub::new(engine, timeouts, 1_000, TaskTracker::new()))
    }

    fn app() -> Arc<App> {
        let types = [
            WebhookEventType::ChannelOccupied,
            WebhookEventType::ChannelVacated,
        ];
        let webhook = Webhook::new("http://127.0.0.1:9/", types, ChannelFilter::default()).unwrap();
        let mut app = App::new("1", "key", "secret");
        app.webhooks.push(Arc::new(webhook));
        Arc::new(app)
    }

    /// Whose queue is never emptied.
    fn collector(hub: &Arc<Hub>, app: &App) -> (Collector, Arc<Endpoints>) {
        let figures = Figures::new().unwrap();
        let connector = Connector {
            deny_private: true,
            timeout: LONG,
        };
        let endpoints = Arc::new(Endpoints::new(Shared {
            apps: Arc::new(ConfigFileApps::new(vec![app.clone()])),
            sender: Sender::new(connector, LONG),
            schedule: Schedule {
                first_retry: LONG,
                retry_for: LONG,
            },
            batch_window: LONG,
            figures: figures.clone(),
            book: Book::new(None),
            total_bytes: AtomicUsize::new(0),
            finish: CancellationToken::new(),
        }));
        let holds = Holds::new(LONG);
        let collector = Collector::new(Arc::clone(hub), Arc::clone(&endpoints), figures, holds);
        (collector, endpoints)
    }

    async fn say(session: &mut Session, event: &str, channel: &str) {
        let text = format!(r#"{{"event":"pusher:{event}","data":{{"channel":"{channel}"}}}}"#);
        session.handle(&text).await.unwrap();
    }

    /// Nobody else tells it: its answer was on the way when the server ended.
    #[tokio::test]
    async fn what_was_claimed_is_told_before_the_end() {
        let (hub, app) = (hub(), app());
        let (mut collector, endpoints) = collector(&hub, &app);
        let (answer, claimed) = oneshot::channel();
        collector.is_clustered = true;
        collector.claims = Some(async { claimed.await.unwrap() }.boxed());
        let stop = CancellationToken::new();
        let running = tokio::spawn(collector.run(hub.events(), stop.clone()));

        stop.cancel();
        // There is one thread, so the collector has seen that afterwards.
        tokio::task::yield_now().await;
        let departure = Departure {
            app: app.id.clone(),
            channel: ChannelName::parse("news", &app.limits).unwrap(),
            user_id: None,
        };
        answer.send(vec![departure]).unwrap();
        running.await.unwrap();

        let told = endpoints.waiting();
        assert_eq!(told, [r#"{"name":"channel_vacated","channel":"news"}"#]);
    }

    /// More events than the stream holds: the first ones are lost. What the apps
    /// are told fits what is there nevertheless.
    #[tokio::test]
    async fn what_was_lost_is_found_out_from_the_hub() {
        let (hub, app) = (hub(), app());
        let (mut collector, endpoints) = collector(&hub, &app);
        let mut events = hub.events();
        let place = hub.app(&app).admit().unwrap();
        let client = ClientInfo {
            client: "js",
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            session: None,
        };
        let socket_id = "1.1".parse().unwrap();
        let (mut session, _connection) =
            Session::open(place, socket_id, Recorder::default(), 120, client);
        say(&mut session, "subscribe", "left-unseen").await;
        say(&mut session, "subscribe", "stays").await;
        collector.take_burst(&mut events);

        say(&mut session, "unsubscribe", "left-unseen").await;
        say(&mut session, "subscribe", "came-unseen").await;
        for _ in 0..5_000 {
            say(&mut session, "subscribe", "flood").await;
            say(&mut session, "unsubscribe", "flood").await;
        }
        say(&mut session, "subscribe", "last").await;
        // As many as the stream holds, and more.
        for _ in 0..100 {
            collector.take_burst(&mut events);
        }

        assert!(collector.figures.missed_events() > 0);
        assert_eq!(collector.seen_already, 0);
        let mut told = endpoints.waiting();
        assert!(told.len() < MAX_EVENTS, "{told:?}");
        told.sort();
        let occupied =
            |channel: &str| format!(r#"{{"name":"channel_occupied","channel":"{channel}"}}"#);
        assert_eq!(
            told,
            [
                occupied("came-unseen"),
                occupied("flood"),
                occupied("last"),
                occupied("left-unseen"),
                occupied("stays"),
            ]
        );
        let mut held: Vec<String> = std::iter::from_fn(|| collector.holds.take_first())
            .map(|departure| departure.channel.to_string())
            .collect();
        held.sort();
        assert_eq!(held, ["flood", "left-unseen"]);
    }
}
