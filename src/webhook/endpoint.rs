//! The queues: one per app and webhook, each with a task of its own.
//!
//! A URL that is slow, dead or refuses is the problem of its own queue and of no
//! other. While everything is taken, requests go out one after the other and so
//! keep the order; one that is not taken waits for its next attempt beside the
//! queue, and those behind it go on. The task ends when nothing is left to do.
//!
//! With a database a request is written down before it is sent, and so is what
//! came of it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fanfare_protocol::webhook::{MAX_BODY_BYTES, MAX_EVENTS};
use fanfare_protocol::{AppId, ChannelName, WebhookEvent, WebhookEventKind};
use futures_util::future::{BoxFuture, FutureExt, OptionFuture};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::TestOutcome;
use super::book::{self, Book};
use super::delivery::{Delivery, Schedule};
use super::figures::{Fate, Figures};
use super::sender::{Attempt, Lane, Outcome, Sender};
use crate::apps::{App, AppStore, Webhook, WebhookId};
use crate::hub::{Hub, Sight};
use crate::store::{Entry, KEEP_INTERVAL, Progress};

/// Bytes that may wait for one webhook; above it the oldest are dropped.
const MAX_BYTES: usize = 4 << 20;

/// The same while all webhooks together have more than [`MAX_TOTAL_BYTES`]: so
/// much is everybody's, however much others have.
const MIN_BYTES: usize = 64 << 10;

/// Bytes that may wait for all webhooks before the greedy are cut down.
const MAX_TOTAL_BYTES: usize = 256 << 20;

/// Requests of one webhook that wait for another attempt. With more than these
/// the next ones are not even tried; the URL is as good as dead.
const MAX_RETRYING: usize = 8;

/// The channel of events that try a webhook out.
const TEST_CHANNEL: &str = "fanfare-test";

/// What one event or request costs beside its text.
const OVERHEAD: usize = 128;

/// Rounds of the keeper between two prunings of the log: a minute.
const ROUNDS_PER_PRUNING: u32 = 20;

/// A task with nothing to do ends after this time.
const IDLE: Duration = Duration::from_secs(30);

/// Names a queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct EndpointKey {
    app: AppId,
    webhook: WebhookId,
}

/// All queues.
#[derive(Debug)]
pub(super) struct Endpoints {
    shared: Arc<Shared>,
    queues: Arc<Mutex<HashMap<EndpointKey, Arc<Queue>>>>,
    tasks: TaskTracker,
}

/// What the tasks of all queues share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Whose operators may look on.
    pub(super) hub: Arc<Hub>,
    pub(super) apps: Arc<dyn AppStore>,
    pub(super) sender: Sender,
    pub(super) schedule: Schedule,
    pub(super) batch_window: Duration,
    pub(super) figures: Figures,
    pub(super) book: Book,
    /// Bytes that wait in all queues, or beside them for another attempt.
    pub(super) total_bytes: AtomicUsize,
    /// From now on what was not tried yet is tried once, and no retry is waited
    /// for.
    pub(super) finish: CancellationToken,
}

/// What waits for one webhook.
#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    /// An event has come.
    arrived: Notify,
    /// A request has come that was made elsewhere.
    resumed: Notify,
}

#[derive(Debug)]
struct State {
    /// Where it goes, for the journal.
    url: Arc<str>,
    /// Whether events share requests.
    is_batching: bool,
    /// Events that no request was made of yet.
    events: VecDeque<Waiting>,
    /// Requests that were not tried yet.
    deliveries: VecDeque<Delivery>,
    /// Of both.
    bytes: usize,
    /// Requests that were written down and then had to make room.
    dropped: Vec<u64>,
}

#[derive(Debug)]
struct Waiting {
    text: Arc<str>,
    /// Events of encrypted channels do not share a request with others.
    is_encrypted: bool,
    since: Instant,
}

impl Endpoints {
    pub(super) fn new(shared: Shared) -> Self {
        Self {
            shared: Arc::new(shared),
            queues: Arc::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// The app, if the store knows it.
    pub(super) async fn app(&self, id: &AppId) -> Option<Arc<App>> {
        self.shared.apps.by_id(id).await.ok().flatten()
    }

    /// Queues an event for the webhooks of `app` that want it.
    pub(super) fn tell(&self, app: &App, event: &WebhookEvent<'_>) {
        let event_type = event.event_type();
        let mut text: Option<Arc<str>> = None;
        for webhook in &app.webhooks {
            if webhook.wants(event_type, event.channel) {
                let text = text.get_or_insert_with(|| event.encode().into());
                self.push(app, webhook, text, event.is_encrypted());
            }
        }
    }

    fn push(&self, app: &App, webhook: &Webhook, text: &Arc<str>, is_encrypted: bool) {
        let key = EndpointKey {
            app: app.id.clone(),
            webhook: webhook.id.clone(),
        };
        let mut queues = lock(&self.queues);
        let queue = self.queue(&mut queues, key, || webhook.url.to_string());
        // Still under the lock of the map, so that the task does not end between.
        let dropped = queue.push(
            Waiting {
                text: Arc::clone(text),
                is_encrypted,
                since: Instant::now(),
            },
            app.webhook_batching,
            &self.shared.total_bytes,
        );
        if dropped > 0 {
            self.shared.figures.count(&app.id, Fate::Dropped, dropped);
        }
    }

    /// The queue of that name, with a task of its own.
    fn queue<'a>(
        &self,
        queues: &'a mut HashMap<EndpointKey, Arc<Queue>>,
        key: EndpointKey,
        url: impl FnOnce() -> String,
    ) -> &'a Arc<Queue> {
        queues.entry(key.clone()).or_insert_with(|| {
            let queue = Arc::new(Queue::new(url().into()));
            let worker = Worker {
                key,
                queue: Arc::clone(&queue),
                shared: Arc::clone(&self.shared),
                retrying: BTreeMap::new(),
                is_failing: false,
            };
            self.tasks.spawn(worker.run(Arc::clone(&self.queues)));
            queue
        })
    }

    /// Goes on with a request that was written down, perhaps by another server.
    fn resume(&self, entry: &Entry) {
        let Some(delivery) = book::read(entry) else {
            return;
        };
        let key = EndpointKey {
            app: AppId::new(&entry.app_id),
            webhook: WebhookId::new(&entry.webhook_id),
        };
        let mut queues = lock(&self.queues);
        let queue = self.queue(&mut queues, key, || entry.url.clone());
        queue.resume(delivery, &self.shared.total_bytes);
    }

    /// Keeps the promise to send what was written down, and takes over what
    /// nobody sends, until `stop`.
    pub(super) async fn keep(&self, stop: CancellationToken) {
        if !self.shared.book.is_durable() {
            return;
        }
        let mut rounds = tokio::time::interval(KEEP_INTERVAL);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut round: u32 = 0;
        while stop.run_until_cancelled(rounds.tick()).await.is_some() {
            // What is not taken over waits in the database, not in memory.
            let waiting = self.shared.total_bytes.load(Ordering::Relaxed);
            for entry in self.shared.book.keep(waiting < MAX_TOTAL_BYTES / 2).await {
                self.resume(&entry);
            }
            if round.is_multiple_of(ROUNDS_PER_PRUNING) {
                self.shared.book.prune().await;
            }
            round = round.wrapping_add(1);
        }
    }

    /// Sends an event that nobody has caused, once and past all queues.
    pub(super) async fn test(&self, app: &App, webhook: &Webhook) -> TestOutcome {
        let channel = ChannelName::parse(TEST_CHANNEL, &app.limits);
        let outcome = |body, attempt: Attempt| TestOutcome {
            body,
            status: attempt.status.map(|status| status.as_u16()),
            latency: attempt.latency,
            error: match attempt.outcome {
                Outcome::Delivered => None,
                Outcome::Failed(reason) | Outcome::Refused(reason) => Some(reason),
            },
        };
        let (Ok(channel), Some(pair)) = (channel, app.keys.first()) else {
            let reason = "the app has no key, or allows no channel name of this length";
            return outcome(String::new(), Attempt::refused(reason.to_owned()));
        };
        let event = WebhookEvent {
            channel: &channel,
            kind: WebhookEventKind::ChannelOccupied,
        };
        let body = Delivery::new(event.encode(), Instant::now()).body();
        let sent = String::from_utf8_lossy(&body).into_owned();
        let sender = &self.shared.sender;
        let attempt = sender.send(webhook, pair, body, Lane::Failing).await;
        outcome(sent, attempt)
    }

    /// The events that wait for the webhooks of all apps.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> Vec<String> {
        let queues = lock(&self.queues);
        queues
            .values()
            .flat_map(|queue| {
                let state = lock(&queue.state);
                let texts = state.events.iter().map(|event| event.text.to_string());
                texts.collect::<Vec<_>>()
            })
            .collect()
    }

    /// Tries once what was not tried yet, and waits until that is done.
    pub(super) async fn finish(&self) {
        self.shared.finish.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.shared.book.give_back().await;
    }
}

impl Queue {
    fn new(url: Arc<str>) -> Self {
        Self {
            state: Mutex::new(State {
                url,
                is_batching: true,
                events: VecDeque::new(),
                deliveries: VecDeque::new(),
                bytes: 0,
                dropped: Vec::new(),
            }),
            arrived: Notify::new(),
            resumed: Notify::new(),
        }
    }

    /// Adds an event, and returns how many things were dropped to make room.
    fn push(&self, event: Waiting, is_batching: bool, total_bytes: &AtomicUsize) -> u64 {
        let cost = event.text.len() + OVERHEAD;
        let mut state = lock(&self.state);
        state.is_batching = is_batching;
        let limit = if total_bytes.load(Ordering::Relaxed) > MAX_TOTAL_BYTES {
            MIN_BYTES
        } else {
            MAX_BYTES
        };
        let mut dropped = 0;
        while state.bytes + cost > limit && state.drop_oldest(total_bytes) {
            dropped += 1;
        }
        state.events.push_back(event);
        state.add(cost, total_bytes);
        drop(state);
        self.arrived.notify_one();
        dropped
    }

    /// Completes when a request can be made of what waits.
    ///
    /// # Cancel safety
    /// It takes nothing.
    async fn ready(&self, window: Duration, finish: &CancellationToken) {
        loop {
            let arrived = self.arrived.notified();
            let window_end = {
                let state = lock(&self.state);
                match state.events.front() {
                    None => None,
                    Some(_) if !state.is_batching || state.events.len() >= MAX_EVENTS => return,
                    Some(first) => Some(first.since + window),
                }
            };
            let Some(window_end) = window_end else {
                arrived.await;
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(window_end) => return,
                () = finish.cancelled() => return,
                () = arrived => {}
            }
        }
    }

    /// Makes a request of the events that wait the longest.
    fn form(&self, total_bytes: &AtomicUsize) -> Option<Delivery> {
        let mut state = lock(&self.state);
        let most = if state.is_batching { MAX_EVENTS } else { 1 };
        let first = state.events.pop_front()?;
        let mut events = String::from(first.text.as_ref());
        let mut cost = first.text.len() + OVERHEAD;
        let mut count = 1;
        while count < most
            && let Some(next) = state.events.front()
            && next.is_encrypted == first.is_encrypted
            && events.len() + next.text.len() < MAX_BODY_BYTES
        {
            events.push(',');
            events.push_str(&next.text);
            cost += next.text.len() + OVERHEAD;
            count += 1;
            state.events.pop_front();
        }
        state.remove(cost, total_bytes);
        let delivery = Delivery::new(events, Instant::now());
        state.add(self::cost(&delivery), total_bytes);
        Some(delivery)
    }

    /// Puts a request that [`Self::form`] made in line.
    fn enqueue(&self, delivery: Delivery) {
        lock(&self.state).deliveries.push_back(delivery);
    }

    /// Puts a request in line that was in none here.
    fn resume(&self, delivery: Delivery, total_bytes: &AtomicUsize) {
        let mut state = lock(&self.state);
        state.add(cost(&delivery), total_bytes);
        state.deliveries.push_back(delivery);
        drop(state);
        self.resumed.notify_one();
    }

    fn take_dropped(&self) -> Vec<u64> {
        std::mem::take(&mut lock(&self.state).dropped)
    }

    fn next_delivery(&self, total_bytes: &AtomicUsize) -> Option<Delivery> {
        let mut state = lock(&self.state);
        let delivery = state.deliveries.pop_front()?;
        state.remove(cost(&delivery), total_bytes);
        Some(delivery)
    }

    fn is_empty(&self) -> bool {
        let state = lock(&self.state);
        state.events.is_empty() && state.deliveries.is_empty()
    }
}

impl State {
    fn add(&mut self, bytes: usize, total_bytes: &AtomicUsize) {
        self.bytes += bytes;
        total_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn remove(&mut self, bytes: usize, total_bytes: &AtomicUsize) {
        self.bytes -= bytes;
        total_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Returns whether there was anything to drop.
    fn drop_oldest(&mut self, total_bytes: &AtomicUsize) -> bool {
        let length = match self.deliveries.pop_front() {
            Some(delivery) => {
                self.dropped.push(delivery.id);
                delivery.events.len()
            }
            None => match self.events.pop_front() {
                Some(event) => event.text.len(),
                None => return false,
            },
        };
        self.remove(length + OVERHEAD, total_bytes);
        true
    }
}

/// The task of one queue.
struct Worker {
    key: EndpointKey,
    queue: Arc<Queue>,
    shared: Arc<Shared>,
    /// Requests that were not taken, by the time of their next attempt.
    retrying: BTreeMap<(Instant, u64), Delivery>,
    /// Whether the last attempt failed.
    is_failing: bool,
}

type Sending = BoxFuture<'static, (Delivery, Verdict)>;

type Accepting = BoxFuture<'static, Option<Delivery>>;

/// What an attempt means for a request.
enum Verdict {
    End(Fate),
    /// It is tried again after this time.
    Again(Duration),
}

impl Worker {
    async fn run(mut self, queues: Arc<Mutex<HashMap<EndpointKey, Arc<Queue>>>>) {
        let shared = Arc::clone(&self.shared);
        let queue = Arc::clone(&self.queue);
        let mut sending: Option<Sending> = None;
        // Beside the sending, so that neither waits for the other.
        let mut accepting: Option<Accepting> = None;
        loop {
            if sending.is_none() {
                sending = self.next().map(|delivery| self.send(delivery));
            }
            if accepting.is_none() {
                accepting = self.note_dropped();
            }
            let is_quiet = sending.is_none() && accepting.is_none();
            let is_idle = is_quiet && self.retrying.is_empty() && queue.is_empty();
            let is_finishing = shared.finish.is_cancelled();
            if is_finishing && is_quiet && !self.has_untried() {
                break;
            }
            let next_due = self.retrying.keys().next().map(|(due, _)| *due);
            tokio::select! {
                Some((delivery, verdict)) = OptionFuture::from(sending.as_mut()) => {
                    sending = None;
                    self.settle(delivery, verdict);
                }
                Some(delivery) = OptionFuture::from(accepting.as_mut()) => {
                    accepting = None;
                    delivery.into_iter().for_each(|delivery| queue.enqueue(delivery));
                }
                () = queue.ready(shared.batch_window, &shared.finish), if accepting.is_none() => {
                    accepting = self.accept();
                }
                Some(()) = OptionFuture::from(next_due.map(tokio::time::sleep_until)),
                    if sending.is_none() => {}
                () = queue.resumed.notified() => {}
                () = shared.finish.cancelled(), if !is_finishing => {}
                () = tokio::time::sleep(IDLE), if is_idle => {
                    let mut queues = lock(&queues);
                    if queue.is_empty() {
                        queues.remove(&self.key);
                        return;
                    }
                }
            }
        }
        let unmade = std::iter::from_fn(|| queue.form(&shared.total_bytes)).count();
        let untried = std::iter::from_fn(|| queue.next_delivery(&shared.total_bytes)).count();
        // What was written down waits for the next start of a server.
        let left = match shared.book.is_durable() {
            true => unmade,
            false => unmade + untried + self.retrying.len(),
        };
        if left > 0 {
            tracing::warn!(app.id = %self.key.app, webhook = self.key.webhook.as_str(), left, "webhooks lost at the end");
            shared
                .figures
                .count(&self.key.app, Fate::Dropped, left as u64);
        }
        lock(&queues).remove(&self.key);
    }

    /// Whether anything waits that was not tried, and may be.
    fn has_untried(&self) -> bool {
        self.retrying.len() < MAX_RETRYING && !self.queue.is_empty()
    }

    /// The request that is to be tried now.
    fn next(&mut self) -> Option<Delivery> {
        let now = Instant::now();
        if let Some(entry) = self.retrying.first_entry()
            && entry.key().0 <= now
        {
            return Some(entry.remove());
        }
        if self.retrying.len() >= MAX_RETRYING {
            return None;
        }
        let delivery = self.queue.next_delivery(&self.shared.total_bytes)?;
        // It takes its bytes along until it has come to an end.
        self.shared
            .total_bytes
            .fetch_add(cost(&delivery), Ordering::Relaxed);
        Some(delivery)
    }

    fn send(&self, delivery: Delivery) -> Sending {
        let shared = Arc::clone(&self.shared);
        let key = self.key.clone();
        let lane = if self.is_failing {
            Lane::Failing
        } else {
            Lane::Healthy
        };
        let url = Arc::clone(&lock(&self.queue.state).url);
        async move { shared.deliver(&key, &url, delivery, lane).await }.boxed()
    }

    /// Makes a request and writes it down.
    fn accept(&self) -> Option<Accepting> {
        let delivery = self.queue.form(&self.shared.total_bytes)?;
        if !self.shared.book.is_durable() {
            self.queue.enqueue(delivery);
            return None;
        }
        let entry = Entry {
            id: book::name(delivery.id),
            app_id: self.key.app.to_string(),
            webhook_id: self.key.webhook.as_str().to_owned(),
            url: lock(&self.queue.state).url.to_string(),
            events: delivery.events.clone(),
            created_ms: i64::try_from(delivery.created_ms).unwrap_or(i64::MAX),
            state: Fate::Retried.state().to_owned(),
            attempts: 0,
            status: None,
            latency_ms: None,
            error: None,
        };
        let shared = Arc::clone(&self.shared);
        let accepting = async move {
            shared.book.accept(&entry).await;
            Some(delivery)
        };
        Some(accepting.boxed())
    }

    /// Writes down which requests had to make room.
    fn note_dropped(&self) -> Option<Accepting> {
        let dropped = self.queue.take_dropped();
        if dropped.is_empty() || !self.shared.book.is_durable() {
            return None;
        }
        let shared = Arc::clone(&self.shared);
        let noting = async move {
            for id in dropped {
                let progress = Progress {
                    state: Fate::Dropped.state(),
                    attempts: 0,
                    status: None,
                    latency: Duration::ZERO,
                    error: Some("too much waited for this URL"),
                };
                shared.book.note(id, &progress).await;
            }
            None
        };
        Some(noting.boxed())
    }

    /// Does what follows from an attempt.
    fn settle(&mut self, mut delivery: Delivery, verdict: Verdict) {
        match verdict {
            Verdict::Again(gap) => {
                self.is_failing = true;
                delivery.due = Instant::now() + gap;
                self.retrying.insert((delivery.due, delivery.id), delivery);
            }
            Verdict::End(fate) => {
                self.is_failing = fate != Fate::Delivered;
                self.shared
                    .total_bytes
                    .fetch_sub(cost(&delivery), Ordering::Relaxed);
            }
        }
    }
}

/// What a request costs while it waits.
fn cost(delivery: &Delivery) -> usize {
    delivery.events.len() + OVERHEAD
}

impl Shared {
    /// Tries a request once, and notes what came of it.
    async fn deliver(
        &self,
        key: &EndpointKey,
        url: &Arc<str>,
        mut delivery: Delivery,
        lane: Lane,
    ) -> (Delivery, Verdict) {
        let attempt = self.attempt(key, &delivery, lane).await;
        delivery.attempts += 1;
        self.figures.latency(attempt.latency);
        let verdict = self.judge(key, &delivery, &attempt);
        let fate = match verdict {
            Verdict::End(fate) => fate,
            Verdict::Again(_) => Fate::Retried,
        };
        self.figures.count(&key.app, fate, 1);
        let progress = Progress {
            state: fate.state(),
            attempts: delivery.attempts,
            status: attempt.status.map(|status| status.as_u16()),
            latency: attempt.latency,
            error: match &attempt.outcome {
                Outcome::Delivered => None,
                Outcome::Failed(reason) | Outcome::Refused(reason) => Some(reason),
            },
        };
        self.hub.show(|| Sight::Webhook {
            app: key.app.clone(),
            url: Arc::clone(url),
            outcome: match fate {
                Fate::Retried => "retried",
                fate => fate.state(),
            },
            status: progress.status,
            latency: progress.latency,
            error: progress.error.map(Arc::from),
        });
        self.book.note(delivery.id, &progress).await;
        (delivery, verdict)
    }

    /// Decides what an attempt means, and logs what an operator should see.
    fn judge(&self, key: &EndpointKey, delivery: &Delivery, attempt: &Attempt) -> Verdict {
        let (app, webhook) = (&key.app, key.webhook.as_str());
        let attempts = delivery.attempts;
        match &attempt.outcome {
            Outcome::Delivered => Verdict::End(Fate::Delivered),
            Outcome::Refused(reason) => {
                tracing::warn!(app.id = %app, webhook, reason, "webhook refused");
                Verdict::End(Fate::Refused)
            }
            Outcome::Failed(reason) => {
                match self.schedule.gap(attempts, delivery.age(), rand::random()) {
                    Some(gap) => {
                        tracing::debug!(app.id = %app, webhook, attempts, reason, "webhook not taken");
                        Verdict::Again(gap)
                    }
                    None => {
                        tracing::warn!(app.id = %app, webhook, attempts, reason, "webhook given up");
                        Verdict::End(Fate::GivenUp)
                    }
                }
            }
        }
    }

    /// Looks up where a request goes today, and sends it there.
    async fn attempt(&self, key: &EndpointKey, delivery: &Delivery, lane: Lane) -> Attempt {
        if !self.schedule.is_current(delivery.age()) {
            return Attempt::refused("too old".to_owned());
        }
        let app = match self.apps.by_id(&key.app).await {
            Ok(Some(app)) => app,
            Ok(None) => return Attempt::refused("the app does not exist any more".to_owned()),
            Err(error) => return Attempt::postponed(error.to_string()),
        };
        let webhook = app.webhooks.iter().find(|known| known.id == key.webhook);
        let Some(webhook) = webhook else {
            return Attempt::refused("the webhook was removed from the app".to_owned());
        };
        // The oldest pair signs (section 1).
        let Some(pair) = app.keys.first() else {
            return Attempt::refused("the app has no key".to_owned());
        };
        self.sender.send(webhook, pair, delivery.body(), lane).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("a queue is never poisoned: no panic under its lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(text: &str, is_encrypted: bool) -> Waiting {
        Waiting {
            text: text.into(),
            is_encrypted,
            since: Instant::now(),
        }
    }

    fn requests(queue: &Queue, total: &AtomicUsize) -> Vec<String> {
        while let Some(delivery) = queue.form(total) {
            queue.enqueue(delivery);
        }
        std::iter::from_fn(|| queue.next_delivery(total))
            .map(|delivery| delivery.events)
            .collect()
    }

    /// Checklist 176 and 179.
    #[test]
    fn events_share_requests_but_not_with_those_of_encrypted_channels() {
        let total = AtomicUsize::new(0);
        let queue = Queue::new("".into());
        for (text, is_encrypted) in [("1", false), ("2", false), ("3", true), ("4", false)] {
            queue.push(waiting(text, is_encrypted), true, &total);
        }

        assert_eq!(requests(&queue, &total), ["1,2", "3", "4"]);
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_request_has_at_most_a_hundred_events_and_one_without_batching() {
        let total = AtomicUsize::new(0);
        let queue = Queue::new("".into());
        for _ in 0..101 {
            queue.push(waiting("x", false), true, &total);
        }
        let sizes: Vec<usize> = requests(&queue, &total)
            .iter()
            .map(|events| events.split(',').count())
            .collect();
        assert_eq!(sizes, [100, 1]);

        for _ in 0..2 {
            queue.push(waiting("x", false), false, &total);
        }
        assert_eq!(requests(&queue, &total), ["x", "x"]);
    }

    #[test]
    fn large_events_go_alone() {
        let total = AtomicUsize::new(0);
        let queue = Queue::new("".into());
        let large = "x".repeat(MAX_BODY_BYTES);
        queue.push(waiting(&large, false), true, &total);
        queue.push(waiting("y", false), true, &total);

        assert_eq!(requests(&queue, &total), [large.as_str(), "y"]);
    }

    #[test]
    fn a_full_queue_drops_the_oldest_and_the_total_bounds_the_greedy() {
        let total = AtomicUsize::new(0);
        let queue = Queue::new("".into());
        let text = "x".repeat(1 << 20);
        for _ in 0..3 {
            assert_eq!(queue.push(waiting(&text, false), true, &total), 0);
        }
        assert_eq!(queue.push(waiting(&text, false), true, &total), 1);

        total.fetch_add(MAX_TOTAL_BYTES, Ordering::Relaxed);
        assert_eq!(queue.push(waiting("y", false), true, &total), 3);
        assert_eq!(requests(&queue, &total), ["y"]);
        assert_eq!(total.load(Ordering::Relaxed), MAX_TOTAL_BYTES);
    }
}
