//! What all nodes together have used of an app's messages of a day.
//!
//! Each node tells what it has used so far, under a name of its own that stays for
//! its life, and reads what the others have told. So nothing is counted twice,
//! whatever is lost on the way, and a node that starts anew inherits the day.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::RedisResult;
use fanfare_protocol::AppId;
use futures_util::{StreamExt, stream};

use super::Shared;
use super::link::Connection;

/// Between two exchanges: as long as this, nodes may exceed a limit unnoticed.
const INTERVAL: Duration = Duration::from_secs(1);

/// Apps whose numbers are on their way at the same time.
const AT_ONCE: usize = 128;

/// Seconds that Redis keeps a day: until its end on every clock.
const KEEP_SECONDS: u64 = 2 * 86_400;

/// The apps that have a limit.
#[derive(Debug, Default)]
pub(super) struct Usage {
    apps: Mutex<HashMap<AppId, Day>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Day {
    /// Days since 1970.
    number: u64,
    here: u64,
    elsewhere: u64,
}

impl Usage {
    fn lock(&self) -> MutexGuard<'_, HashMap<AppId, Day>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what this node has used of a day, and returns what the others have, as
    /// far as it is known.
    pub(super) fn note(&self, app: &AppId, number: u64, here: u64) -> u64 {
        let mut apps = self.lock();
        if !apps.contains_key(app) {
            apps.insert(app.clone(), Day::default());
        }
        let Some(day) = apps.get_mut(app) else {
            return 0;
        };
        if day.number != number {
            *day = Day {
                number,
                ..Day::default()
            };
        }
        day.here = here;
        day.elsewhere
    }

    /// What there is to tell. An app that has used nothing on the newest day is
    /// forgotten: it may be gone.
    fn current(&self) -> Vec<(AppId, Day)> {
        let mut apps = self.lock();
        let newest = apps.values().map(|day| day.number).max();
        apps.retain(|_, day| Some(day.number) == newest);
        apps.iter().map(|(app, day)| (app.clone(), *day)).collect()
    }

    fn heard(&self, app: &AppId, number: u64, elsewhere: u64) {
        if let Some(day) = self.lock().get_mut(app)
            && day.number == number
        {
            day.elsewhere = elsewhere;
        }
    }
}

/// Exchanges the numbers as long as the engine lives.
pub(super) async fn share(shared: &Shared) {
    let me = shared.node();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let (connection, _) = shared.connection().await;
        let mut exchanges = stream::iter(shared.usage.current())
            .map(|(app, day)| {
                let mut connection = connection.clone();
                let me = &me;
                async move {
                    let outcome = exchange(shared, &mut connection, me, &app, day).await;
                    (app, day.number, outcome)
                }
            })
            .buffer_unordered(AT_ONCE);
        while let Some((app, number, outcome)) = exchanges.next().await {
            match outcome {
                Ok(elsewhere) => shared.usage.heard(&app, number, elsewhere),
                Err(error) => {
                    tracing::debug!(%app, %error, "the messages of a day are counted here only");
                    if error.is_unrecoverable_error() || error.is_timeout() {
                        shared.suspect();
                        break;
                    }
                }
            }
        }
    }
}

async fn exchange(
    shared: &Shared,
    connection: &mut Connection,
    me: &str,
    app: &AppId,
    day: Day,
) -> RedisResult<u64> {
    let key = shared.keys.usage(app, day.number);
    let (used,): (HashMap<String, u64>,) = ::redis::pipe()
        .hset(&key, me, day.here)
        .ignore()
        .cmd("EXPIRE")
        .arg(&key)
        .arg(KEEP_SECONDS)
        .ignore()
        .hgetall(&key)
        .query_async(connection)
        .await?;
    let others = used.iter().filter(|(node, _)| *node != me);
    Ok(others.fold(0, |sum, (_, used)| used.saturating_add(sum)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_day_begins_with_nothing() {
        let usage = Usage::default();
        let app = AppId::new("1");

        assert_eq!(usage.note(&app, 20_000, 5), 0);
        usage.heard(&app, 20_000, 7);
        assert_eq!(usage.note(&app, 20_000, 6), 7);
        assert_eq!(usage.note(&app, 20_001, 1), 0);
        // An answer about yesterday.
        usage.heard(&app, 20_000, 9);
        assert_eq!(usage.note(&app, 20_001, 2), 0);
        // One that has been removed since.
        usage.note(&AppId::new("2"), 20_000, 3);
        assert_eq!(usage.current().len(), 1);
    }
}
