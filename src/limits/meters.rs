//! How much an app may ask for: rates of its back end, and messages of a day.
//!
//! Nothing here is on the way of an event. A rate is looked at once for each API
//! request; the messages of a day are the difference of counters that the hub
//! keeps anyway. Rates are those of one node; a day is that of the deployment, as far
//! as its nodes have told one another, and without others from the start on.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfare_protocol::AppId;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::apps::App;
use crate::hub::{AppHub, Hub};
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
    webhooks: Option<webhook::Figures>,
}

/// The meter of one app.
#[derive(Debug)]
struct Meter {
    events: Rate,
    reads: Rate,
    day: Mutex<Day>,
}

/// A token bucket that holds what a second allows.
#[derive(Debug)]
struct Rate {
    limit: Option<NonZeroU32>,
    bucket: Option<DefaultDirectRateLimiter>,
}

/// The messages of one day of UTC.
#[derive(Debug, Default, PartialEq, Eq)]
struct Day {
    /// Days since 1970.
    number: u64,
    /// What had been counted when the day began.
    total_before: u64,
    is_warned: bool,
}

/// How much of a day's messages is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Fine,
    /// The warning is due; it is given once a day.
    Warning,
    Over,
}

impl Meters {
    /// Counts the webhooks of `figures` too, if there are any.
    #[must_use]
    pub fn new(webhooks: Option<webhook::Figures>) -> Self {
        Self {
            apps: RwLock::default(),
            webhooks,
        }
    }

    /// Takes what a request asks for out of the app's meters.
    ///
    /// # Errors
    /// There is not so much.
    pub fn take(&self, hub: &AppHub, wish: Wish) -> Result<(), Refusal> {
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

    fn note_use(&self, meter: &Meter, hub: &AppHub, limit: u64, now: SystemTime) -> Use {
        let webhooks = self.webhooks.as_ref();
        let webhooks = webhooks.map_or(0, |figures| figures.calls(hub.id()));
        let total = hub.counters.messages() + webhooks;
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut day = meter.day.lock().unwrap_or_else(PoisonError::into_inner);
        let elsewhere = |number, here| hub.used_elsewhere(number, here);
        let used = day.note(now.as_secs() / SECONDS_PER_DAY, total, elsewhere, limit);
        if used == Use::Warning {
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
        let known = self
            .apps
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&app.id)
            .cloned();
        if let Some(known) = known.filter(|meter| fits(meter)) {
            return known;
        }
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        let day = apps.get(&app.id).map_or_else(Day::default, |meter| {
            std::mem::take(&mut meter.day.lock().unwrap_or_else(PoisonError::into_inner))
        });
        let meter = Arc::new(Meter {
            events: Rate::new(events),
            reads: Rate::new(reads),
            day: Mutex::new(day),
        });
        apps.insert(app.id.clone(), Arc::clone(&meter));
        meter
    }
}

impl Rate {
    fn new(limit: Option<u32>) -> Self {
        let limit = limit.and_then(NonZeroU32::new);
        Self {
            limit,
            bucket: limit.map(|limit| RateLimiter::direct(Quota::per_second(limit))),
        }
    }

    fn is(&self, limit: Option<u32>) -> bool {
        self.limit.map(NonZeroU32::get) == limit
    }

    fn take(&self, count: usize) -> Result<(), Refusal> {
        let (Some(limit), Some(bucket)) = (self.limit, &self.bucket) else {
            return Ok(());
        };
        // A batch that is larger than the bucket takes the whole bucket; it could
        // never be sent otherwise.
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(limit.get());
        let Some(count) = NonZeroU32::new(count) else {
            return Ok(());
        };
        match bucket.check_n(count) {
            Ok(Ok(())) | Err(_) => Ok(()),
            Ok(Err(not_until)) => Err(Refusal::Rate {
                limit: limit.get(),
                retry_after: not_until.wait_time_from(DefaultClock::default().now()),
            }),
        }
    }
}

impl Day {
    /// Notes what has been counted here in total by now, on the day `number`.
    /// `elsewhere` tells what other nodes have used of a day, and is told what this
    /// one has.
    fn note(
        &mut self,
        number: u64,
        total: u64,
        elsewhere: impl FnOnce(u64, u64) -> u64,
        limit: u64,
    ) -> Use {
        // A clock that was set back does not begin a day.
        if number > self.number {
            *self = Self {
                number,
                // On the first look the counters began with this process.
                total_before: if self.number == 0 { 0 } else { total },
                is_warned: false,
            };
        }
        let here = total.saturating_sub(self.total_before);
        let used = here.saturating_add(elsewhere(self.number, here));
        let is_high = used.saturating_mul(100) >= limit.saturating_mul(WARNING_PERCENT);
        if is_high && !self.is_warned {
            self.is_warned = true;
            return if used >= limit {
                Use::Over
            } else {
                Use::Warning
            };
        }
        if used >= limit { Use::Over } else { Use::Fine }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(_day: u64, _here: u64) -> u64 {
        0
    }

    #[test]
    fn a_day_warns_once_at_80_percent_and_is_over_at_100() {
        let mut day = Day::default();

        assert_eq!(day.note(20_000, 79, alone, 100), Use::Fine);
        assert_eq!(day.note(20_000, 80, alone, 100), Use::Warning);
        assert_eq!(day.note(20_000, 99, alone, 100), Use::Fine);
        assert_eq!(day.note(20_000, 100, alone, 100), Use::Over);
    }

    #[test]
    fn the_next_day_begins_with_nothing_used() {
        let mut day = Day::default();
        assert_eq!(day.note(20_000, 150, alone, 100), Use::Over);

        assert_eq!(day.note(20_001, 160, alone, 100), Use::Fine);
        assert_eq!(day.note(20_001, 240, alone, 100), Use::Warning);
        // A clock that goes back does not give the day away again.
        assert_eq!(day.note(20_000, 260, alone, 100), Use::Over);
        assert_eq!(day.note(20_002, 260, alone, 100), Use::Fine);
    }

    #[test]
    fn what_other_nodes_have_used_counts() {
        let mut day = Day::default();

        assert_eq!(day.note(20_000, 30, |_, here| here, 100), Use::Fine);
        assert_eq!(day.note(20_000, 45, |_, here| here, 100), Use::Warning);
        assert_eq!(day.note(20_000, 50, |_, here| here, 100), Use::Over);
    }

    #[test]
    fn a_bucket_holds_what_a_second_allows() {
        let rate = Rate::new(Some(10));

        assert_eq!(rate.take(10), Ok(()));
        assert!(matches!(
            rate.take(10),
            Err(Refusal::Rate { limit: 10, .. })
        ));
        // More than there ever is takes all there is.
        assert_eq!(Rate::new(Some(5)).take(10), Ok(()));
        assert_eq!(Rate::new(None).take(usize::MAX), Ok(()));
    }
}
