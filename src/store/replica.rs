//! What a running server keeps of the apps in the database: all of them.
//!
//! No client and no request ever waits for a look-up, and unknown keys, however
//! many, cost the database nothing: they share one question for what is new. A
//! change is seen after [`INTERVAL`] at the latest, or at once by whoever asks for
//! an app that is not here. When the database does not answer, the apps that are
//! here go on; about others nothing can be said.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use fanfare_protocol::{AppId, AppKey};
use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{Changes, Database, StoreError};
use crate::apps::{App, AppStore, AppStoreError, ConfigFileApps};

/// Time between two questions for what is new.
const INTERVAL: Duration = Duration::from_millis(500);

/// The shortest time between two questions, however many wait for the answer.
const MIN_INTERVAL: Duration = Duration::from_millis(50);

/// Time for an answer of the database.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Time that a look-up of an unknown app waits for the question.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// The apps of the file, which go first, and those of the database.
#[derive(Debug)]
pub struct Replica {
    database: Database,
    /// Apps of the configuration; they never change.
    fixed: ConfigFileApps,
    stored: RwLock<Stored>,
    /// The number of the change that was seen last.
    revision: AtomicI64,
    /// Asks for a question before its time.
    nudge: Notify,
    /// Questions that were begun.
    begun: AtomicU64,
    /// The last question that has its answer, and whether it was a good one.
    answered: watch::Sender<(u64, bool)>,
    is_reachable: AtomicBool,
}

#[derive(Debug, Default)]
struct Stored {
    by_id: HashMap<AppId, Arc<App>>,
    by_key: HashMap<AppKey, Arc<App>>,
}

/// What happened to an app.
#[derive(Clone, Debug)]
pub enum Change {
    /// It is new or different.
    Updated(Arc<App>),
    /// It is no more.
    Deleted(AppId),
}

impl Change {
    fn id(&self) -> &AppId {
        match self {
            Self::Updated(app) => &app.id,
            Self::Deleted(id) => id,
        }
    }
}

impl Replica {
    /// Reads all apps of `database`.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn load(database: Database, fixed: ConfigFileApps) -> Result<Self, StoreError> {
        let replica = Self {
            database,
            fixed,
            stored: RwLock::default(),
            revision: AtomicI64::new(-1),
            nudge: Notify::new(),
            begun: AtomicU64::new(0),
            answered: watch::Sender::new((0, true)),
            is_reachable: AtomicBool::new(true),
        };
        replica.ask().await?;
        Ok(replica)
    }

    /// Whether the database answered the last question.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.is_reachable.load(Ordering::Relaxed)
    }

    /// Takes over what has changed in the database by now. Returns whether it
    /// answered.
    pub async fn refresh(&self) -> bool {
        self.look_again().await
    }

    /// Follows the database until `stop`, and tells each change.
    pub async fn follow(&self, stop: CancellationToken, tell: impl Fn(Change)) {
        let mut rounds = tokio::time::interval(INTERVAL);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // A client that was looked up just before a change may be let in just
        // after it. So each change is told in the next round once more.
        let mut told = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = rounds.tick() => {}
                () = self.nudge.notified() => {}
            }
            let question = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.ask()).await;
            let changes = match answer {
                Ok(Ok(changes)) => Ok(changes),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())),
            };
            self.note(changes.as_ref().err());
            self.answered.send_replace((question, changes.is_ok()));
            told.into_iter().map(|id| self.present(id)).for_each(&tell);
            let changes = changes.unwrap_or_default();
            told = changes.iter().map(Change::id).cloned().collect();
            changes.into_iter().for_each(&tell);
            tokio::time::sleep(MIN_INTERVAL).await;
        }
    }

    /// How it stands with an app now.
    fn present(&self, id: AppId) -> Change {
        let stored = self.stored.read().unwrap_or_else(PoisonError::into_inner);
        match stored.by_id.get(&id) {
            Some(app) => Change::Updated(Arc::clone(app)),
            None => Change::Deleted(id),
        }
    }

    /// Logs when the database goes and when it comes back.
    fn note(&self, error: Option<&String>) {
        let was_reachable = self.is_reachable.swap(error.is_none(), Ordering::Relaxed);
        match error {
            Some(error) if was_reachable => {
                tracing::error!(
                    error,
                    "the database is out of reach; going on with the apps that are known"
                );
            }
            None if !was_reachable => tracing::info!("the database is back"),
            _ => {}
        }
    }

    /// Takes over what is new.
    async fn ask(&self) -> Result<Vec<Change>, StoreError> {
        let mut changes = if self.database.is_read_only() {
            let apps = self.database.soketi_apps().await?;
            self.compare(apps)
        } else {
            let revision = self.revision.load(Ordering::Relaxed);
            self.database.changes_since(revision).await?
        };
        self.revision.store(changes.revision, Ordering::Relaxed);
        changes.updated.retain(|app| {
            let is_hidden = self.fixed.has(&app.id);
            if is_hidden {
                tracing::warn!(app.id = %app.id, "an app of the configuration hides the one of the database with the same id");
            }
            !is_hidden
        });
        changes.deleted.retain(|id| !self.fixed.has(id));
        if changes.updated.is_empty() && changes.deleted.is_empty() {
            return Ok(Vec::new());
        }
        let mut stored = self.stored.write().unwrap_or_else(PoisonError::into_inner);
        let mut told = Vec::new();
        for id in changes.deleted {
            stored.remove(&id);
            told.push(Change::Deleted(id));
        }
        for app in changes.updated {
            let app = Arc::new(app);
            stored.remove(&app.id);
            stored.insert(&app);
            told.push(Change::Updated(app));
        }
        Ok(told)
    }

    /// What a whole list of apps changes.
    fn compare(&self, apps: Vec<App>) -> Changes {
        let stored = self.stored.read().unwrap_or_else(PoisonError::into_inner);
        let mut gone: HashMap<&AppId, &Arc<App>> = stored.by_id.iter().collect();
        let updated = apps
            .into_iter()
            .filter(|app| gone.remove(&app.id).is_none_or(|known| **known != *app))
            .collect();
        Changes {
            revision: 0,
            updated,
            deleted: gone.into_keys().cloned().collect(),
        }
    }

    /// Waits for a question that begins after this call. `false` when it gets no
    /// good answer in time.
    async fn look_again(&self) -> bool {
        let mut answered = self.answered.subscribe();
        let wanted = self.begun.load(Ordering::SeqCst) + 1;
        self.nudge.notify_one();
        let answer = answered.wait_for(|(question, _)| *question >= wanted);
        match tokio::time::timeout(LOOKUP_TIMEOUT, answer).await {
            Ok(Ok(answer)) => answer.1,
            // The server ends, or the database takes too long.
            Ok(Err(_)) | Err(_) => false,
        }
    }

    async fn find(
        &self,
        look_up: impl Fn(&Stored) -> Option<Arc<App>>,
    ) -> Result<Option<Arc<App>>, AppStoreError> {
        let known = || look_up(&self.stored.read().unwrap_or_else(PoisonError::into_inner));
        if let Some(app) = known() {
            return Ok(Some(app));
        }
        if !self.look_again().await {
            return Err(AppStoreError("the database does not answer".to_owned()));
        }
        Ok(known())
    }
}

impl AppStore for Replica {
    fn by_key<'a>(
        &'a self,
        key: &'a AppKey,
    ) -> BoxFuture<'a, Result<Option<Arc<App>>, AppStoreError>> {
        async move {
            match self.fixed.by_key(key).await? {
                Some(app) => Ok(Some(app)),
                None => self.find(|stored| stored.by_key.get(key).cloned()).await,
            }
        }
        .boxed()
    }

    fn by_id<'a>(
        &'a self,
        id: &'a AppId,
    ) -> BoxFuture<'a, Result<Option<Arc<App>>, AppStoreError>> {
        async move {
            match self.fixed.by_id(id).await? {
                Some(app) => Ok(Some(app)),
                None => self.find(|stored| stored.by_id.get(id).cloned()).await,
            }
        }
        .boxed()
    }
}

impl Stored {
    fn insert(&mut self, app: &Arc<App>) {
        for pair in &app.keys {
            self.by_key.insert(pair.key.clone(), Arc::clone(app));
        }
        self.by_id.insert(app.id.clone(), Arc::clone(app));
    }

    fn remove(&mut self, id: &AppId) {
        let Some(app) = self.by_id.remove(id) else {
            return;
        };
        for pair in &app.keys {
            // The key may be another app's by now.
            if self
                .by_key
                .get(&pair.key)
                .is_some_and(|owner| owner.id == *id)
            {
                self.by_key.remove(&pair.key);
            }
        }
    }
}
