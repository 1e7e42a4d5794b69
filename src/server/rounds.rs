//! What the server does by itself every so often while it runs.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::LAST_WORDS;
use crate::hub::Hub;
use crate::limits::Meters;
use crate::store::{Change, Database, Replica};
use crate::usage::{self, Usage};

/// Takes a step at once and then each `period`, until `end`. A step that takes
/// longer than that puts the others off.
async fn every<F: Future<Output = ()>>(
    period: Duration,
    end: &CancellationToken,
    mut step: impl FnMut() -> F,
) {
    let mut rounds = tokio::time::interval(period);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while end.run_until_cancelled(rounds.tick()).await.is_some() {
        step().await;
    }
}

/// Looks at the quotas of all apps once a second.
pub(super) async fn measure(meters: Arc<Meters>, hub: Arc<Hub>, end: CancellationToken) {
    let step = || async { meters.sweep(&hub, SystemTime::now()) };
    every(Duration::from_secs(1), &end, step).await;
}

/// Looks at the signs of life of all connections.
pub(super) async fn sweep(hub: Arc<Hub>, interval: Duration, end: CancellationToken) {
    every(interval, &end, || async { hub.sweep() }).await;
}

/// Looks once a second at what happened on channels with a history.
pub(super) async fn recall(hub: Arc<Hub>, end: CancellationToken) {
    every(Duration::from_secs(1), &end, || async { hub.recall() }).await;
}

/// Carries changes of the database over to connections that exist.
pub(super) async fn follow(replica: Arc<Replica>, hub: Arc<Hub>, end: CancellationToken) {
    let tell = |change| match change {
        Change::Updated(app) => hub.update(app),
        Change::Deleted(id) => hub.remove(&id),
    };
    replica.follow(end, tell).await;
}

/// What is written down about the apps: their days and their statistics.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) hub: Arc<Hub>,
    pub(super) meters: Arc<Meters>,
    pub(super) usage: Arc<Usage>,
    pub(super) database: Option<Database>,
}

impl Books {
    /// Writes every few seconds until `end`, and once more then.
    pub(super) async fn keep(self, end: CancellationToken) {
        every(usage::ROUND, &end, || self.write()).await;
        if tokio::time::timeout(LAST_WORDS, self.write())
            .await
            .is_err()
        {
            tracing::warn!("stopped before the last statistics were written down");
        }
    }

    async fn write(&self) {
        let now = SystemTime::now();
        if let Some(database) = &self.database
            && let Err(error) = self.meters.store(&self.hub, database, now).await
        {
            tracing::warn!(
                %error,
                "the messages of this day are not written down for the moment"
            );
        }
        self.usage.round(now).await;
    }
}
