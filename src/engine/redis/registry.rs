//! Keeps the registry in Redis equal to what this node has, and this node's hub
//! informed of what the others have.
//!
//! One task owns all of it, so that what it tells the hub comes in order. For each
//! topic it knows what the registry was told (`told`), and compares that with the
//! hub whenever the hub says that something has changed. A request whose answer
//! is lost is sent again with the same number, and the registry answers as it did
//! the first time: so an edge is neither lost nor reported twice.
//!
//! After an outage everything is compared anew. For a while after it the others
//! may not have come back yet; until then nobody is taken for gone (`grace`).

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ::redis::RedisError;
use fanfare_protocol::AppId;
use futures_util::future::{join_all, try_join_all};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::delivery::deliver;
use super::edge::{Edge, topic_id};
use super::keys::{Subject, TopicId};
use super::link::{Connections, Connector, Pushed};
use super::message::{Delta, Message};
use super::past::millis;
use super::replica::{Applied, Part, Replica};
use super::script::{self, Parting, Standing, Synced};
use super::topic::{Call, Told, Topic, here, is_same, tell};
use super::{Link, Shared, burial, holds};
use crate::hub::Hub;

/// Topics in one round trip.
const BATCH: usize = 512;

/// The first and the longest pause between two attempts to reach Redis.
const PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Nodes come back within this time after an outage, each at a moment of its own.
const JITTER: Duration = Duration::from_millis(500);

/// Everything is compared with the hub this often, in case a change was missed.
const REVIEW_INTERVAL: Duration = Duration::from_secs(60);

/// Time for the last words to the other nodes.
const FAREWELL: Duration = Duration::from_secs(3);

/// The task's state.
pub(super) struct Registry {
    shared: Arc<Shared>,
    connector: Connector,
    node: Arc<str>,
    /// What this process was called before it was declared dead.
    former: HashSet<Arc<str>>,
    topics: HashMap<TopicId, Topic>,
    /// Partitions in which this node may write.
    enrolled: HashSet<String>,
    has_beaten: bool,
    /// Until when others may still be coming back.
    grace: Option<Instant>,
    burials: JoinSet<String>,
    under_burial: HashSet<String>,
    requests: u64,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// A name for one life of one process.
pub(super) fn new_node() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// Why a connection is not used any more.
#[derive(Debug, thiserror::Error)]
enum Away {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("messages of other nodes were missed, or the subscription was cut")]
    Broken,
}

/// How a time with Redis ended.
enum End {
    Away(Away),
    Stopped,
}

impl Registry {
    pub(super) fn new(shared: Arc<Shared>, connector: Connector) -> Self {
        Self {
            node: shared.node(),
            shared,
            connector,
            former: HashSet::new(),
            topics: HashMap::new(),
            enrolled: HashSet::new(),
            has_beaten: false,
            grace: None,
            burials: JoinSet::new(),
            under_burial: HashSet::new(),
            requests: 0,
        }
    }

    pub(super) async fn run(mut self, hub: Arc<Hub>, stop: CancellationToken) {
        loop {
            let Some(mut connections) = Box::pin(self.connect(&stop)).await else {
                break;
            };
            let _deliveries = connections.events.take().map(|events| {
                let deliveries = deliver(Arc::clone(&self.shared), Arc::clone(&hub), events);
                AbortOnDropHandle::new(tokio::spawn(deliveries))
            });
            self.shared.set_link(Some(Link {
                commands: connections.commands.clone(),
                publish_command: connections.publish_command(),
            }));
            let end = match self.serve(&hub, &mut connections, &stop).await {
                Ok(()) => End::Stopped,
                Err(away) => End::Away(away),
            };
            self.shared.set_link(None);
            for app in hub.apps() {
                app.go_alone();
            }
            self.release();
            match end {
                End::Stopped => break,
                End::Away(away) => tracing::warn!(
                    error = %away,
                    "Redis is out of reach; serving this node's clients without the others"
                ),
            }
        }
        self.release();
    }

    /// Tries until Redis is there; `None` when it is time to stop.
    async fn connect(&mut self, stop: &CancellationToken) -> Option<Connections> {
        let mut pause = PAUSE;
        let shared = Arc::clone(&self.shared);
        let timeout = shared.settings.answer_timeout();
        loop {
            let attempt = tokio::time::timeout(timeout * 4, self.connector.connect(timeout));
            let outcome = tokio::select! {
                () = stop.cancelled() => return None,
                () = answer_alone(&shared) => return None,
                outcome = attempt => outcome,
            };
            match outcome {
                Ok(Ok(connections)) => {
                    shared.counters.reconnects.fetch_add(1, Ordering::Relaxed);
                    if self.has_beaten {
                        wait(jitter(JITTER), stop, &shared).await?;
                    }
                    return Some(connections);
                }
                Ok(Err(error)) => tracing::debug!(%error, "Redis is still out of reach"),
                Err(_) => tracing::debug!("Redis is still out of reach: no answer in time"),
            }
            if pause == PAUSE && !self.has_beaten {
                tracing::warn!("Redis is not there yet; serving this node's clients alone");
            }
            wait(pause / 2 + jitter(pause / 2), stop, &shared).await?;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Works while Redis answers.
    async fn serve(
        &mut self,
        hub: &Arc<Hub>,
        connections: &mut Connections,
        stop: &CancellationToken,
    ) -> Result<(), Away> {
        self.shared.is_suspect.store(false, Ordering::Relaxed);
        let is_return = self.has_beaten;
        for topic in self.topics.values_mut() {
            topic.is_subscribed = false;
        }
        if is_return {
            self.restore_all();
        }
        let own = self.shared.keys.process_topic(&self.shared.process);
        let common = self.shared.keys.common_topic();
        connections.subscribe(&[own, common]).await?;
        self.beat(hub, connections).await?;
        self.review(hub);
        if is_return {
            tracing::info!(topics = self.topics.len(), "Redis is back");
        } else {
            tracing::info!(node = %self.node, "connected to the other nodes");
        }
        let mut beats = tokio::time::interval(self.shared.settings.beat_interval());
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beats.tick().await;
        let mut reviews = tokio::time::interval(REVIEW_INTERVAL);
        reviews.set_missed_tick_behavior(MissedTickBehavior::Delay);
        reviews.tick().await;
        let shared = Arc::clone(&self.shared);
        loop {
            if connections.is_broken.load(Ordering::Relaxed) {
                return Err(Away::Broken);
            }
            let grace = self.grace;
            tokio::select! {
                // Time first: news must not keep a node from being alive.
                biased;
                () = stop.cancelled() => {
                    self.say_farewell(hub, connections).await;
                    return Ok(());
                }
                _ = beats.tick() => self.beat(hub, connections).await?,
                () = end_of(grace) => self.end_grace(hub),
                Some(finished) = self.burials.join_next() => self.buried(finished.ok()),
                Some(pushed) = connections.control.recv() => self.take(hub, &pushed),
                _ = reviews.tick() => {
                    self.review(hub);
                    self.inherit(hub, connections).await?;
                }
                () = shared.work.notified() => {
                    if shared.is_suspect.swap(false, Ordering::Relaxed) {
                        connections.probe().await?;
                    }
                }
            }
            // What is there already is looked at before the registry is asked.
            while let Ok(pushed) = connections.control.try_recv() {
                self.take(hub, &pushed);
            }
            self.sync(hub, connections).await?;
        }
    }

    // Signs of life.

    async fn beat(&mut self, hub: &Arc<Hub>, connections: &mut Connections) -> Result<(), Away> {
        connections.probe().await?;
        let shared = Arc::clone(&self.shared);
        let settings = &shared.settings;
        let nodes = shared.keys.nodes();
        loop {
            let beaten = script::beat(
                &mut connections.commands,
                &nodes,
                &self.node,
                millis(settings.patience()),
                millis(settings.beat_interval() * 3),
            )
            .await?;
            match beaten.state {
                Standing::Dead => {
                    self.begin_anew();
                    continue;
                }
                Standing::New if self.has_beaten => {
                    tracing::warn!("Redis has lost the registry; telling it again");
                    self.restore_all();
                    self.review(hub);
                }
                Standing::New | Standing::Known => {}
            }
            self.has_beaten = true;
            shared.counters.nodes.store(beaten.nodes, Ordering::Relaxed);
            for dead in beaten.dead {
                if !self.under_burial.contains(&dead) {
                    tracing::warn!(node = dead, "a node gives no sign of life");
                }
                self.bury(hub, connections, dead);
            }
            for left in beaten.left {
                self.bury(hub, connections, left);
            }
            return Ok(());
        }
    }

    /// The others have taken this node for dead and removed what it had, as it
    /// was away for too long. It comes back as a new one.
    fn begin_anew(&mut self) {
        tracing::warn!(
            node = %self.node,
            "was away for so long that the other nodes took this one for dead; coming back as a new one"
        );
        self.former.insert(Arc::clone(&self.node));
        self.node = new_node().into();
        self.shared.set_node(&self.node);
        self.enrolled.clear();
        self.has_beaten = false;
        let mut inbox = self.shared.inbox();
        for (id, topic) in &mut self.topics {
            topic.told = Told::default();
            topic.request = None;
            topic.must_restore = false;
            topic.wants_whole = true;
            inbox.changed.insert(id.clone());
        }
    }

    fn bury(&mut self, hub: &Arc<Hub>, connections: &Connections, dead: String) {
        if !self.under_burial.insert(dead.clone()) {
            return;
        }
        let burial = burial::bury(
            Arc::clone(&self.shared),
            Arc::clone(hub),
            connections.commands.clone(),
            connections.publish_command(),
            dead.clone(),
        );
        let shared = Arc::clone(&self.shared);
        self.burials.spawn(async move {
            match burial.await {
                Ok(true) => {
                    shared.counters.buried.fetch_add(1, Ordering::Relaxed);
                }
                Ok(false) => tracing::debug!(node = dead, "is left to the living"),
                Err(error) => tracing::warn!(%error, node = dead, "will try again to remove it"),
            }
            dead
        });
    }

    fn buried(&mut self, dead: Option<String>) {
        match dead {
            Some(dead) => {
                self.under_burial.remove(&dead);
            }
            None => self.under_burial.clear(),
        }
    }

    // After an outage.

    /// The registry may have lost something, and so may this node's replicas.
    fn restore_all(&mut self) {
        self.enrolled.clear();
        for topic in self.topics.values_mut() {
            topic.must_restore = true;
            topic.wants_whole = true;
        }
        self.begin_grace();
    }

    fn begin_grace(&mut self) {
        let time = self.shared.settings.beat_interval() * 2 + JITTER;
        self.grace = Some(Instant::now() + time + jitter(JITTER));
    }

    fn is_in_grace(&self) -> bool {
        self.grace.is_some()
    }

    /// All who are alive have come back by now: what the registry does not have
    /// is gone.
    fn end_grace(&mut self, hub: &Hub) {
        self.grace = None;
        for topic in self.topics.values_mut() {
            topic.wants_whole = true;
        }
        self.review(hub);
    }

    /// Compares everything.
    fn review(&mut self, hub: &Hub) {
        let mut inbox = self.shared.inbox();
        inbox.changed.extend(self.topics.keys().cloned());
        for app in hub.apps() {
            let id = &app.app().id;
            let channels = app.channels_here();
            inbox
                .changed
                .extend(channels.iter().map(|channel| TopicId::channel(id, channel)));
            let users = app.users_here();
            inbox
                .changed
                .extend(users.iter().map(|user| TopicId::user(id, user)));
        }
        drop(inbox);
        self.shared.work.notify_one();
    }

    /// Takes over departures that other nodes, or this one, have forgotten. The
    /// questions go out together: one after the other they would take, with many
    /// apps, so long that this node's next beat came too late.
    async fn inherit(&self, hub: &Hub, connections: &Connections) -> Result<(), Away> {
        let tags: Vec<_> = self.enrolled.iter().collect();
        for batch in tags.chunks(BATCH) {
            let asked = batch.iter().map(|&tag| {
                let partition = self.shared.keys.tagged_partition(tag.clone());
                let mut connection = connections.commands.clone();
                async move { holds::inherit(hub, &mut connection, &partition, true).await }
            });
            try_join_all(asked).await?;
        }
        Ok(())
    }

    /// Lets go of everybody who waits for Redis.
    fn release(&self) {
        let mut inbox = self.shared.inbox();
        inbox.attaching.clear();
        inbox.settling.clear();
        inbox.is_busy = false;
    }

    // What this node has.

    async fn sync(&mut self, hub: &Arc<Hub>, connections: &mut Connections) -> Result<(), Away> {
        let (changed, mut attaching, settling) = {
            let mut inbox = self.shared.inbox();
            let changed = std::mem::take(&mut inbox.changed);
            let attaching = std::mem::take(&mut inbox.attaching);
            inbox.is_busy = !changed.is_empty() || !attaching.is_empty();
            (changed, attaching, std::mem::take(&mut inbox.settling))
        };
        let mut ids = changed;
        ids.extend(attaching.keys().cloned());
        let ids: Vec<TopicId> = ids.into_iter().collect();
        for batch in ids.chunks(BATCH) {
            self.sync_batch(hub, connections, batch, &mut attaching)
                .await?;
        }
        self.shared.inbox().is_busy = false;
        for settled in settling {
            // Whoever asked may have gone.
            let _ = settled.send(());
        }
        Ok(())
    }

    async fn sync_batch(
        &mut self,
        hub: &Arc<Hub>,
        connections: &mut Connections,
        ids: &[TopicId],
        attaching: &mut HashMap<TopicId, Vec<oneshot::Sender<()>>>,
    ) -> Result<(), Away> {
        let mut todo: Vec<(TopicId, Told)> = Vec::new();
        let (mut come, mut go) = (Vec::new(), Vec::new());
        let mut appeared = Vec::new();
        for id in ids {
            let here = here(hub, id);
            let is_wanted = here.is_some() || attaching.contains_key(id);
            if !is_wanted && !self.topics.contains_key(id) {
                continue;
            }
            let pubsub_topic = topic_of(&self.shared, id);
            let topic = self.topics.entry(id.clone()).or_default();
            if is_wanted && !topic.is_subscribed {
                topic.wants_whole = true;
                come.push(pubsub_topic.clone());
                appeared.push(id.clone());
            }
            if !is_wanted && topic.is_subscribed {
                topic.is_subscribed = false;
                topic.wants_whole = false;
                topic.replica = Replica::default();
                go.push(pubsub_topic);
            }
            todo.push((id.clone(), here.unwrap_or_default()));
        }
        connections.unsubscribe(&go).await?;
        connections.subscribe(&come).await?;
        for id in appeared {
            if let Some(topic) = self.topics.get_mut(&id) {
                topic.is_subscribed = true;
            }
            if let (Subject::Channel(channel), Some(app)) = (&id.subject, hub.find(&id.app))
                && app.may_have_missed(channel)
            {
                self.shared.holes.add(id.clone());
            }
        }
        self.call_registry(hub, connections, todo).await?;
        for id in ids {
            self.conclude(hub, id, attaching.remove(id));
        }
        Ok(())
    }

    /// Calls the registry for topics until all of them are told.
    async fn call_registry(
        &mut self,
        hub: &Arc<Hub>,
        connections: &mut Connections,
        mut todo: Vec<(TopicId, Told)>,
    ) -> Result<(), Away> {
        while !todo.is_empty() {
            let mut calls = Vec::new();
            for (id, target) in &todo {
                let Some(topic) = self.topics.get_mut(id) else {
                    continue;
                };
                self.requests += 1;
                calls.extend(topic.call(&self.shared, hub, id, target, self.requests));
            }
            if !self.enroll(hub, connections, &calls).await? {
                continue;
            }
            let publish_command = connections.publish_command();
            let answers = join_all(calls.iter().map(|call| {
                call.sync(&self.node, publish_command)
                    .call(connections.commands.clone())
            }))
            .await;
            let mut again = HashSet::new();
            let mut is_dead = false;
            for (call, answer) in calls.iter().zip(answers) {
                match answer? {
                    Synced::Done {
                        version,
                        edges,
                        whole,
                    } => {
                        self.told(hub, call, version, &edges, whole);
                    }
                    Synced::Lost => {
                        if let Some(topic) = self.topics.get_mut(&call.id) {
                            topic.must_restore = true;
                        }
                        if !self.is_in_grace() {
                            tracing::warn!("Redis has lost a part of the registry");
                            self.restore_all();
                            self.review(hub);
                        }
                        again.insert(call.id.clone());
                    }
                    Synced::Dead => {
                        is_dead = true;
                        again.insert(call.id.clone());
                    }
                }
            }
            if is_dead {
                // The next sign of life finds it out, too, and begins anew.
                self.beat(hub, connections).await?;
            }
            todo.retain(|(id, _)| again.contains(id));
        }
        Ok(())
    }

    /// Announces where this node will write. Returns false when the registry has
    /// another opinion of this node, so that the calls have to be made anew.
    async fn enroll(
        &mut self,
        hub: &Arc<Hub>,
        connections: &mut Connections,
        calls: &[Call],
    ) -> Result<bool, Away> {
        let missing: HashSet<&String> = calls
            .iter()
            .map(|call| &call.partition.tag)
            .filter(|tag| !self.enrolled.contains(*tag))
            .collect();
        if missing.is_empty() {
            return Ok(true);
        }
        let missing: Vec<String> = missing.into_iter().cloned().collect();
        let is_alive = script::enroll(
            &mut connections.commands,
            &self.shared.keys.nodes(),
            &self.shared.keys.partitions_of(&self.node),
            &self.node,
            &missing,
        )
        .await?;
        if is_alive {
            self.enrolled.extend(missing);
        } else {
            self.beat(hub, connections).await?;
        }
        Ok(is_alive)
    }

    /// Takes over an answer.
    fn told(
        &mut self,
        hub: &Arc<Hub>,
        call: &Call,
        version: u64,
        edges: &[Edge],
        whole: HashMap<String, Part>,
    ) {
        let is_in_grace = self.is_in_grace();
        let Some(topic) = self.topics.get_mut(&call.id) else {
            return;
        };
        call.report(hub, &topic.told, edges);
        topic.told = call.request.target.clone();
        topic.told_version = version;
        topic.request = None;
        topic.must_restore = false;
        // While others may not be back yet, what was known of them stays.
        if call.wants_whole && topic.is_subscribed && !(is_in_grace && topic.replica.is_filled()) {
            let mut others = whole;
            others.retain(|node, _| **node != *self.node && !self.former.contains(node.as_str()));
            topic.wants_whole = false;
            self.shared.counters.resyncs.fetch_add(1, Ordering::Relaxed);
            let elsewhere = topic.replica.fill(version, others);
            tell(hub, &call.id, &elsewhere);
        } else if is_in_grace {
            // The end of the grace asks again.
            topic.wants_whole = false;
        }
        // What has changed since the request was made needs another one.
        let here = here(hub, &call.id).unwrap_or_default();
        if !is_same(&here, &topic.told) {
            self.shared.inbox().changed.insert(call.id.clone());
            self.shared.work.notify_one();
        }
    }

    /// Lets those go on who wait for a topic, and forgets one that is over.
    fn conclude(&mut self, hub: &Hub, id: &TopicId, waiting: Option<Vec<oneshot::Sender<()>>>) {
        let Some(topic) = self.topics.get(id) else {
            return;
        };
        if let Some(waiting) = waiting {
            // The hub may have made a new record since the replica was filled.
            tell(hub, id, &topic.replica.whole());
            for attached in waiting {
                let _ = attached.send(());
            }
            return;
        }
        let is_over = !topic.is_subscribed && topic.request.is_none() && topic.told.count == 0;
        if is_over {
            self.topics.remove(id);
            if let (Subject::User(user), Some(app)) = (&id.subject, hub.find(&id.app)) {
                app.forget_user(user);
            }
        }
    }

    /// Takes away what this node has, so that the others need not wait.
    async fn say_farewell(&mut self, hub: &Arc<Hub>, connections: &mut Connections) {
        let shared = Arc::clone(&self.shared);
        let farewell = async {
            self.review(hub);
            self.sync(hub, connections).await?;
            self.sync(hub, connections).await?;
            // They take over the departures that are held back.
            script::leave(
                &mut connections.commands,
                &shared.keys.nodes(),
                &self.node,
                Parting::Left,
            )
            .await?;
            Ok::<(), Away>(())
        };
        match tokio::time::timeout(FAREWELL, farewell).await {
            Ok(Ok(())) => tracing::debug!("said good-bye to the other nodes"),
            Ok(Err(error)) => tracing::warn!(%error, "left without a good-bye"),
            Err(_) => tracing::warn!("left without a good-bye: Redis is too slow"),
        }
    }

    // What the others have.

    fn take(&mut self, hub: &Arc<Hub>, pushed: &Pushed) {
        let own = self.shared.keys.process_topic(&self.shared.process);
        if pushed.topic == own.as_bytes() {
            self.take_own(hub, pushed);
            return;
        }
        if pushed.topic == self.shared.keys.common_topic().as_bytes() {
            if let Some(Message::Question {
                number,
                process,
                question,
            }) = Message::parse(&pushed.payload)
                && *process != *self.shared.process
            {
                let inquiries = &self.shared.inquiries;
                inquiries.note_question(number, process, question);
            }
            return;
        }
        let Some((id, message)) = self.read(hub, pushed) else {
            return;
        };
        match message {
            Message::Delta {
                version,
                is_first,
                delta,
            } => self.take_delta(hub, &id, version, is_first, &delta),
            Message::Terminate => {
                if let (Subject::User(user), Some(app)) = (&id.subject, hub.find(&id.app)) {
                    app.terminate(user);
                }
            }
            // Have a queue of their own, or a topic.
            Message::Event(_)
            | Message::Recorded(_)
            | Message::Taken { .. }
            | Message::Question { .. }
            | Message::Answer { .. } => {}
        }
    }

    /// Takes what concerns this process alone.
    fn take_own(&self, hub: &Hub, pushed: &Pushed) {
        match Message::parse(&pushed.payload) {
            Some(Message::Taken {
                app,
                session,
                socket_id,
            }) => hub.session_taken(&app, session, socket_id),
            Some(Message::Answer { number, answer }) => {
                self.shared.inquiries.note_answer(number, answer);
            }
            _ => {}
        }
    }

    /// The topic and the meaning of a message; `None` when this node has no use
    /// for it.
    fn read<'a>(&self, hub: &Hub, pushed: &'a Pushed) -> Option<(TopicId, Message<'a>)> {
        let topic = std::str::from_utf8(&pushed.topic).ok()?;
        let (app, name) = self.shared.keys.parse_topic(topic)?;
        let app = hub.find(&AppId::new(app))?;
        let id = topic_id(&app.app().id, name, &app.app().limits)?;
        let message = Message::parse(&pushed.payload)?;
        Some((id, message))
    }

    fn take_delta(
        &mut self,
        hub: &Arc<Hub>,
        id: &TopicId,
        version: u64,
        is_first: bool,
        delta: &Delta,
    ) {
        let is_own = *delta.node == *self.node || self.former.contains(delta.node.as_str());
        if delta.is_restored && !is_own {
            self.begin_grace();
        }
        let is_in_grace = self.is_in_grace();
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        let is_news = version > topic.told_version;
        if is_first && is_news && !is_own && topic.told.count > 0 {
            // It cannot be the first, since this node is there.
            topic.must_restore = true;
            self.shared.inbox().changed.insert(id.clone());
            self.shared.work.notify_one();
            self.begin_grace();
            return;
        }
        let applied = topic
            .replica
            .apply(version, is_first, delta, is_own, is_in_grace);
        match applied {
            Applied::Changed(elsewhere) => tell(hub, id, &elsewhere),
            Applied::Nothing => {}
            Applied::Gap => {
                topic.wants_whole = true;
                self.shared.inbox().changed.insert(id.clone());
                self.shared.work.notify_one();
            }
        }
    }
}

/// The pub/sub topic of a topic.
fn topic_of(shared: &Shared, id: &TopicId) -> String {
    let name = id.name();
    shared.keys.partition(&id.app, &name).topic(&name)
}

/// Answers those who wait for Redis while it is not there: they go on alone.
async fn answer_alone(shared: &Shared) {
    loop {
        {
            let mut inbox = shared.inbox();
            inbox.attaching.clear();
            inbox.settling.clear();
            // Everything is compared when Redis is back.
            inbox.changed.clear();
        }
        shared.work.notified().await;
    }
}

/// Waits while Redis is away; `None` when it is time to stop.
async fn wait(time: Duration, stop: &CancellationToken, shared: &Shared) -> Option<()> {
    tokio::select! {
        () = stop.cancelled() => None,
        () = answer_alone(shared) => None,
        () = tokio::time::sleep(time) => Some(()),
    }
}

/// Ends when the grace does; never when there is none.
async fn end_of(grace: Option<Instant>) {
    match grace {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

fn jitter(most: Duration) -> Duration {
    most.mul_f64(rand::random::<f64>())
}
