//! Statistics: what each app, and the server as a whole, has done in each minute
//! and each hour.
//!
//! Nothing here is on the way of an event: the hub counts, and six times a minute
//! the difference to the time before is added to the minute and the hour. With a
//! database it is written there, and read for all nodes; while that does not
//! answer it waits in memory, and without one memory is all there is.

mod ledger;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use self::ledger::Ledger;
use crate::hub::{AppHub, Hub};
use crate::store::{Database, PORTION, StoreError, UsageRow};
pub use crate::store::{Point, Span, Sums};
use crate::webhook;

/// Time between two looks at the counters: what a server that is killed loses.
pub const ROUND: Duration = Duration::from_secs(10);

/// Counts that wait for a database that does not answer; above it the oldest go.
const MAX_WAITING: usize = 20_000;

/// What stands for all apps together; no app can be called so.
const TOTAL: &str = "*";

/// How long counts are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Those of minutes.
    pub minutes: Duration,
    /// Those of hours.
    pub hours: Duration,
}

/// The statistics of one server.
#[derive(Debug)]
pub struct Usage {
    hub: Arc<Hub>,
    webhooks: Option<webhook::Figures>,
    database: Option<Database>,
    retention: Retention,
    /// Names this node in the database; the same after a restart.
    node: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the counters said the time before.
    before: HashMap<String, Sums>,
    ledger: Ledger,
    /// What the database has not taken yet.
    waiting: BTreeMap<(Span, u64, String), Sums>,
    /// The hour in which old counts were last removed.
    pruned: u64,
}

impl Usage {
    /// Counts what happens in `hub` from now on, in the name of `node`.
    #[must_use]
    pub fn new(
        hub: Arc<Hub>,
        webhooks: Option<webhook::Figures>,
        database: Option<Database>,
        retention: Retention,
        node: String,
    ) -> Self {
        Self {
            hub,
            webhooks,
            database,
            retention,
            node,
            state: Mutex::default(),
        }
    }

    /// The name of this node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// What this node has now, and has counted since its start: of one app, or of
    /// all together.
    #[must_use]
    pub fn now(&self, app: Option<&AppHub>) -> Sums {
        let webhooks = self.webhooks.as_ref();
        if let Some(app) = app {
            return count(app, webhooks);
        }
        let mut total = Sums::default();
        for app in self.hub.apps() {
            total.join(&count(&app, webhooks));
        }
        total
    }

    /// Adds what has come since the last round to the minute and the hour that
    /// `now` is in; to be called every [`ROUND`].
    pub async fn round(&self, now: SystemTime) {
        let now = unix_seconds(now);
        self.look(now);
        let Some(database) = &self.database else {
            return;
        };
        let mut rows = self.take_waiting();
        // One by one, so that what an outage has heaped up goes down bit by bit.
        while !rows.is_empty() {
            let others = rows.split_off(rows.len().min(PORTION));
            if let Err(error) = database.add_usage(&self.node, &rows).await {
                tracing::warn!(%error, "statistics are not written down for the moment");
                rows.extend(others);
                self.put_back(rows);
                return;
            }
            rows = others;
        }
        self.prune_database(database, now).await;
    }

    /// Takes the difference to the last round into memory.
    fn look(&self, now: u64) {
        let mut total = Sums::default();
        let mut changes = Vec::new();
        let apps = self.hub.apps();
        let mut state = self.lock();
        for app in &apps {
            let mut present = count(app, self.webhooks.as_ref());
            present.connections_peak = app.counters.take_peak();
            let id = app.id().as_str();
            let before = state.before.insert(id.to_owned(), present);
            let change = present.since(&before.unwrap_or_default());
            total.join(&change);
            // What has just become nothing has to be told too.
            let was_nothing = before.is_none_or(|before| before.connections == 0);
            if !change.is_nothing() || !was_nothing {
                changes.push((id.to_owned(), change));
            }
        }
        total.connections_peak = self.hub.node().take_peak() as u64;
        changes.push((TOTAL.to_owned(), total));
        for span in [Span::Minute, Span::Hour] {
            let start = span.start(now);
            for (app, change) in &changes {
                if self.database.is_some() {
                    let key = (span, start, app.clone());
                    state.waiting.entry(key).or_default().add(change);
                } else {
                    state.ledger.add(span, start, app, change);
                }
            }
        }
        if self.database.is_none() && state.pruned != Span::Hour.start(now) {
            state.pruned = Span::Hour.start(now);
            for span in [Span::Minute, Span::Hour] {
                let oldest = self.oldest(span, now);
                state.ledger.prune(span, oldest);
            }
        }
    }

    fn take_waiting(&self) -> Vec<UsageRow> {
        let waiting = std::mem::take(&mut self.lock().waiting);
        waiting
            .into_iter()
            .map(|((span, start, app), sums)| UsageRow {
                span,
                start,
                app,
                sums,
            })
            .collect()
    }

    fn put_back(&self, rows: Vec<UsageRow>) {
        let mut state = self.lock();
        for mut row in rows {
            let key = (row.span, row.start, row.app);
            // What came in the meantime is newer.
            if let Some(newer) = state.waiting.get(&key) {
                row.sums.add(newer);
            }
            state.waiting.insert(key, row.sums);
        }
        while state.waiting.len() > MAX_WAITING {
            state.waiting.pop_first();
        }
    }

    /// Once an hour.
    async fn prune_database(&self, database: &Database, now: u64) {
        let hour = Span::Hour.start(now);
        if self.lock().pruned == hour {
            return;
        }
        for span in [Span::Minute, Span::Hour] {
            if let Err(error) = database.prune_usage(span, self.oldest(span, now)).await {
                tracing::warn!(%error, "old statistics are not removed for the moment");
                return;
            }
        }
        self.lock().pruned = hour;
    }

    /// When the oldest counts may have begun.
    fn oldest(&self, span: Span, now: u64) -> u64 {
        let kept = match span {
            Span::Minute => self.retention.minutes,
            Span::Hour => self.retention.hours,
        };
        span.start(now.saturating_sub(kept.as_secs()))
    }

    /// The counts of an app, or of all together, in the spans that began from
    /// `from` up to before `to`, the oldest first. Spans in which an app
    /// did nothing are left out; of all together there is each that the node ran in.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn read(
        &self,
        app: Option<&str>,
        span: Span,
        from: u64,
        to: u64,
    ) -> Result<Vec<Point>, StoreError> {
        let app = app.unwrap_or(TOTAL);
        match &self.database {
            Some(database) => database.usage(span, app, from, to).await,
            None => Ok(self.lock().ledger.read(span, app, from, to)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic between two steps leaves counts that can be read.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an app of this node has, and has counted since the start.
fn count(app: &AppHub, webhooks: Option<&webhook::Figures>) -> Sums {
    let counters = &app.counters;
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let outcomes = webhooks
        .map(|figures| figures.outcomes(app.id()))
        .unwrap_or_default();
    let connections = counters.connections();
    Sums {
        connections_peak: connections,
        connections,
        channels: app.channel_count() as u64,
        messages_sent: read(&counters.messages_sent),
        messages_received: read(&counters.messages_received),
        sent_bytes: read(&counters.sent_bytes),
        received_bytes: read(&counters.received_bytes),
        api_requests: read(&counters.api_requests),
        api_events: read(&counters.api_events),
        client_events: read(&counters.client_events),
        rate_refusals: read(&counters.rate_refusals),
        quota_messages: counters.messages() + outcomes.attempts(),
        webhooks_delivered: outcomes.delivered,
        webhooks_retried: outcomes.retried,
        webhooks_failed: outcomes.given_up + outcomes.refused + outcomes.dropped,
    }
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
