//! How much an app may ask for: rates of its back end, and messages of a day.
//!
//! Nothing here is on the way of an event. A rate is looked at once for each API
//! request; the messages of a day are the difference of counters that the hub
//! keeps anyway. Rates are those of one node. The messages of a day are those of
//! this process; with a database also those before it, as of the last
//! [`Meters::store`]; and with other nodes also theirs, as far as they have told.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfare_protocol::AppId;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::apps::App;
use crate::hub::{AppHub, Hub, HubEventKind};
use crate::store::{Database, PORTION, StoreError};
use crate::webhook;

/// The share of a day's messages from which on the operator is warned.
const WARNING_PERCENT: u64 = 80;

const SECONDS_PER_DAY: u64 = 86_400;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To publish so many events.
    Events(usize),
    /// To be told something.
    Read,
}

/// What a rate leaves to an app after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Events or requests per second.
    pub limit: u32,
    /// How many are allowed at once now.
    pub remaining: u32,
}

/// How much of a day's messages an app has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayUse {
    /// Messages so far.
    pub used: u64,
    /// Messages that it may have.
    pub limit: u64,
}

/// Too much was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Within this second.
    Rate {
        /// Events or requests per second.
        limit: u32,
        /// When the next one is allowed.
        retry_after: Duration,
    },
    /// Within this day.
    Day,
}

/// The meters of all apps. One per node.
#[derive(Debug, Default)]
pub struct Meters {
    apps: RwLock<HashMap<AppId, Arc<Meter>>>,
    /// What the database has of a day, for apps that were not used yet.
    loaded: Mutex<Loaded>,
    webhooks: Option<webhook::Figures>,
}

/// The meter of one app.
#[derive(Debug)]
struct Meter {
    events: Rate,
    reads: Rate,
    /// The same one when the rates are exchanged: requests that are under way have
    /// the meter from before.
    day: Arc<Mutex<Day>>,
}

/// A token bucket that holds what a second allows.
#[derive(Debug)]
struct Rate {
    limit: Option<NonZeroU32>,
    bucket: Option<Bucket>,
}

/// A bucket that tells how much is left in it.
type Bucket = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

/// What the database has of one day.
#[derive(Debug, Default)]
struct Loaded {
    /// Days since 1970.
    number: u64,
    messages: HashMap<AppId, u64>,
}

/// The messages of one day of UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Day {
    /// Days since 1970.
    number: u64,
    /// What had been counted when the day began.
    total_before: u64,
    /// What other nodes have counted, and this one before its start.
    elsewhere: u64,
    /// What of our own the database has taken.
    stored: u64,
    is_warned: bool,
}

/// What one app has used of a day on this node.
#[derive(Debug)]
struct DayCount {
    id: AppId,
    counted: u64,
    /// What of it the database has taken before.
    stored: u64,
    day: Arc<Mutex<Day>>,
}

/// How much of a day's messages is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Fine,
    Over,
}

impl Meters {
    /// Counts the webhooks of `figures` too, if there are any.
    #[must_use]
    pub fn new(webhooks: Option<webhook::Figures>) -> Self {
        Self {
            apps: RwLock::default(),
            loaded: Mutex::default(),
            webhooks,
        }
    }

    /// Takes what a request asks for out of the app's meters, and tells what is
    /// left where there is a rate.
    ///
    /// # Errors
    /// There is not so much.
    pub fn take(&self, hub: &AppHub, wish: Wish) -> Result<Option<Allowance>, Refusal> {
        let outcome = self.try_take(hub, wish);
        if matches!(outcome, Err(Refusal::Rate { .. })) {
            let refusals = &hub.counters.rate_refusals;
            refusals.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    fn try_take(&self, hub: &AppHub, wish: Wish) -> Result<Option<Allowance>, Refusal> {
        let app = Arc::clone(&hub.app());
        let meter = self.meter(&app);
        match wish {
            Wish::Read => meter.reads.take(1),
            Wish::Events(count) => {
                if let Some(limit) = app.limits.messages_per_day
                    && self.note_use(&meter, hub, limit, SystemTime::now()) == Use::Over
                {
                    return Err(Refusal::Day);
                }
                meter.events.take(count)
            }
        }
    }

    /// Begins new days on time and gives warnings; to be called once a second.
    pub fn sweep(&self, hub: &Hub, now: SystemTime) {
        for app_hub in hub.apps() {
            let app = Arc::clone(&app_hub.app());
            if let Some(limit) = app.limits.messages_per_day {
                self.note_use(&self.meter(&app), &app_hub, limit, now);
            }
        }
    }

    /// Writes the messages of the day down, and takes over what other nodes have
    /// counted; to be called every few seconds, and first before the first
    /// request.
    ///
    /// # Errors
    /// The database does not answer; what was not written is written the next
    /// time.
    pub async fn store(
        &self,
        hub: &Hub,
        database: &Database,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        let today = day_number(now);
        let mut counts = Vec::new();
        for app_hub in hub.apps() {
            let app = Arc::clone(&app_hub.app());
            let Some(limit) = app.limits.messages_per_day else {
                continue;
            };
            let meter = self.meter(&app);
            self.note_use(&meter, &app_hub, limit, now);
            let total = self.total(&app_hub);
            let day = lock(&meter.day).clone();
            if day.number == today {
                counts.push(DayCount {
                    id: app.id.clone(),
                    counted: total.saturating_sub(day.total_before),
                    stored: day.stored,
                    day: Arc::clone(&meter.day),
                });
            }
        }
        let waiting: Vec<&DayCount> = counts.iter().filter(|count| count.waiting() > 0).collect();
        for portion in waiting.chunks(PORTION) {
            let messages = portion
                .iter()
                .map(|count| (count.id.to_string(), count.waiting()));
            database.add_messages(today, messages.collect()).await?;
            for count in portion {
                let mut day = lock(&count.day);
                if day.number == today {
                    day.stored = count.counted;
                }
            }
        }
        let all = database.messages_of(today).await?;
        let all: HashMap<AppId, u64> = all
            .into_iter()
            .map(|(id, messages)| (AppId::new(&id), messages))
            .collect();
        for count in &counts {
            let mut day = lock(&count.day);
            if day.number == today {
                let everywhere = all.get(&count.id).copied().unwrap_or(0);
                day.elsewhere = everywhere.saturating_sub(count.counted);
            }
        }
        let is_new_day = lock(&self.loaded).number != today;
        *lock(&self.loaded) = Loaded {
            number: today,
            messages: all,
        };
        if is_new_day {
            database.prune_days(today).await?;
        }
        Ok(())
    }

    /// How many messages of its day an app has used, where it has a limit.
    #[must_use]
    pub fn used(&self, hub: &AppHub, now: SystemTime) -> Option<DayUse> {
        let app = Arc::clone(&hub.app());
        let limit = app.limits.messages_per_day?;
        let meter = self.meter(&app);
        self.note_use(&meter, hub, limit, now);
        let told = |number, here| hub.used_elsewhere(number, here);
        let used = lock(&meter.day).used(self.total(hub), told);
        Some(DayUse { used, limit })
    }

    /// What the counters of an app say since the start.
    fn total(&self, hub: &AppHub) -> u64 {
        let webhooks = self.webhooks.as_ref();
        let webhooks = webhooks.map_or(0, |figures| figures.outcomes(hub.id()).attempts());
        hub.counters.messages() + webhooks
    }

    fn find(&self, id: &AppId) -> Option<Arc<Meter>> {
        let apps = self.apps.read().unwrap_or_else(PoisonError::into_inner);
        apps.get(id).cloned()
    }

    fn note_use(&self, meter: &Meter, hub: &AppHub, limit: u64, now: SystemTime) -> Use {
        let told = |number, here| hub.used_elsewhere(number, here);
        let (used, is_due) = lock(&meter.day).note(day_number(now), self.total(hub), told, limit);
        if is_due {
            hub.report(HubEventKind::QuotaWarning { limit });
            tracing::warn!(
                app.id = %hub.id(),
                limit,
                "{WARNING_PERCENT} % of the messages of this day are used up"
            );
        }
        used
    }

    /// The meter for the app's limits of today; other limits begin anew.
    fn meter(&self, app: &App) -> Arc<Meter> {
        let (events, reads) = (
            app.limits.backend_events_per_second,
            app.limits.reads_per_second,
        );
        let fits = |meter: &Meter| meter.events.is(events) && meter.reads.is(reads);
        if let Some(known) = self.find(&app.id).filter(|meter| fits(meter)) {
            return known;
        }
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        let day = match apps.get(&app.id) {
            Some(meter) => Arc::clone(&meter.day),
            None => Arc::new(Mutex::new(self.day_of(&app.id))),
        };
        let meter = Arc::new(Meter {
            events: Rate::new(events),
            reads: Rate::new(reads),
            day,
        });
        apps.insert(app.id.clone(), Arc::clone(&meter));
        meter
    }
}

impl Meters {
    /// The day as the database knows it, for an app that is used for the first
    /// time.
    fn day_of(&self, id: &AppId) -> Day {
        let loaded = lock(&self.loaded);
        let elsewhere = loaded.messages.get(id).copied().unwrap_or(0);
        Day {
            number: loaded.number,
            elsewhere,
            ..Day::default()
        }
    }
}

impl Rate {
    fn new(limit: Option<u32>) -> Self {
        let limit = limit.and_then(NonZeroU32::new);
        Self {
            limit,
            bucket: limit
                .map(|limit| RateLimiter::direct(Quota::per_second(limit)).with_middleware()),
        }
    }

    fn is(&self, limit: Option<u32>) -> bool {
        self.limit.map(NonZeroU32::get) == limit
    }

    fn take(&self, count: usize) -> Result<Option<Allowance>, Refusal> {
        let (Some(limit), Some(bucket)) = (self.limit, &self.bucket) else {
            return Ok(None);
        };
        // A batch that is larger than the bucket takes the whole bucket; it could
        // never be sent otherwise.
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(limit.get());
        let Some(count) = NonZeroU32::new(count) else {
            return Ok(None);
        };
        match bucket.check_n(count) {
            Ok(Ok(left)) => Ok(Some(Allowance {
                limit: limit.get(),
                remaining: left.remaining_burst_capacity(),
            })),
            // More than the bucket holds, which was ruled out above.
            Err(_) => Ok(None),
            Ok(Err(not_until)) => Err(Refusal::Rate {
                limit: limit.get(),
                retry_after: not_until.wait_time_from(DefaultClock::default().now()),
            }),
        }
    }
}

impl DayCount {
    /// What the database has not taken yet.
    fn waiting(&self) -> u64 {
        self.counted.saturating_sub(self.stored)
    }
}

impl Day {
    /// Notes what has been counted here in total by now, on the day `number`, and
    /// tells beside the use whether a warning is due, which it is once a day.
    /// `elsewhere` tells what other nodes have used of a day, and is told what this
    /// one has.
    fn note(
        &mut self,
        number: u64,
        total: u64,
        elsewhere: impl FnOnce(u64, u64) -> u64,
        limit: u64,
    ) -> (Use, bool) {
        // A clock that was set back does not begin a day.
        if number > self.number {
            *self = Self {
                number,
                // On the first look the counters began with this process.
                total_before: if self.number == 0 { 0 } else { total },
                ..Self::default()
            };
        }
        let used = self.used(total, elsewhere);
        let is_high = used.saturating_mul(100) >= limit.saturating_mul(WARNING_PERCENT);
        let is_due = is_high && !self.is_warned;
        self.is_warned |= is_high;
        let over = if used >= limit { Use::Over } else { Use::Fine };
        (over, is_due)
    }

    /// Messages of the day. The database and the engine tell of the same ones, each
    /// in its own time, so the larger figure counts.
    fn used(&self, total: u64, elsewhere: impl FnOnce(u64, u64) -> u64) -> u64 {
        let here = total.saturating_sub(self.total_before);
        let told = elsewhere(self.number, here);
        here.saturating_add(self.elsewhere.max(told))
    }
}

fn day_number(now: SystemTime) -> u64 {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs() / SECONDS_PER_DAY
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(_day: u64, _here: u64) -> u64 {
        0
    }

    const WARNED: (Use, bool) = (Use::Fine, true);
    const FINE: (Use, bool) = (Use::Fine, false);
    const OVER: (Use, bool) = (Use::Over, false);

    #[test]
    fn a_day_warns_once_at_80_percent_and_is_over_at_100() {
        let mut day = Day::default();

        assert_eq!(day.note(20_000, 79, alone, 100), FINE);
        assert_eq!(day.note(20_000, 80, alone, 100), WARNED);
        assert_eq!(day.note(20_000, 99, alone, 100), FINE);
        assert_eq!(day.note(20_000, 100, alone, 100), OVER);
    }

    #[test]
    fn a_day_that_is_over_at_once_warns_too() {
        let mut day = Day::default();

        assert_eq!(day.note(20_000, 79, alone, 100), FINE);
        assert_eq!(day.note(20_000, 101, alone, 100), (Use::Over, true));
        assert_eq!(day.note(20_000, 102, alone, 100), OVER);
    }

    #[test]
    fn the_next_day_begins_with_nothing_used() {
        let mut day = Day::default();
        assert_eq!(day.note(20_000, 150, alone, 100), (Use::Over, true));

        assert_eq!(day.note(20_001, 160, alone, 100), FINE);
        assert_eq!(day.note(20_001, 240, alone, 100), WARNED);
        // A clock that goes back does not give the day away again.
        assert_eq!(day.note(20_000, 260, alone, 100), OVER);
        assert_eq!(day.note(20_002, 260, alone, 100), FINE);
    }

    #[test]
    fn what_other_nodes_have_used_counts() {
        let mut day = Day::default();

        assert_eq!(day.note(20_000, 30, |_, here| here, 100), FINE);
        assert_eq!(day.note(20_000, 45, |_, here| here, 100), WARNED);
        assert_eq!(day.note(20_000, 50, |_, here| here, 100), OVER);
    }

    #[test]
    fn what_other_nodes_used_counts_until_midnight() {
        let mut day = Day {
            number: 20_000,
            elsewhere: 90,
            ..Day::default()
        };

        assert_eq!(day.note(20_000, 5, alone, 100), WARNED);
        assert_eq!(day.note(20_000, 10, |_, _| 80, 100), OVER);
        assert_eq!(day.note(20_001, 10, alone, 100), FINE);
        assert_eq!(day.used(12, alone), 2);
    }

    /// A request that came before goes on with the meter from before.
    #[test]
    fn other_rates_leave_the_day_to_everybody() {
        let mut app = App::new("1", "key", "secret");
        let meters = Meters::new(None);
        let before = meters.meter(&app);
        lock(&before.day).note(20_000, 90, alone, 100);

        app.limits.reads_per_second = Some(5);
        let after = meters.meter(&app);

        assert_eq!(lock(&before.day).used(90, alone), 90);
        lock(&before.day).note(20_001, 95, alone, 100);
        assert_eq!(lock(&after.day).used(100, alone), 5);
    }

    #[test]
    fn a_bucket_holds_what_a_second_allows() {
        let rate = Rate::new(Some(10));

        let (limit, remaining) = (10, 3);
        assert_eq!(rate.take(7), Ok(Some(Allowance { limit, remaining })));
        assert!(rate.take(3).is_ok());
        assert!(matches!(
            rate.take(10),
            Err(Refusal::Rate { limit: 10, .. })
        ));
        // More than there ever is takes all there is.
        let (limit, remaining) = (5, 0);
        let all = Allowance { limit, remaining };
        assert_eq!(Rate::new(Some(5)).take(10), Ok(Some(all)));
        assert_eq!(Rate::new(None).take(usize::MAX), Ok(None));
    }
}
