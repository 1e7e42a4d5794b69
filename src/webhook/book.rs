//! Where requests are written down, if there is a database.
//!
//! Nothing waits long for it: when it does not answer, it is left alone for a
//! while, and requests live in memory only, as they do without a database.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::delivery::Delivery;
use crate::store::{Entry, Journal, Progress, StoreError};

/// Time for one statement.
const PATIENCE: Duration = Duration::from_secs(2);

/// Time for which a database that did not answer is left alone.
const PAUSE: Duration = Duration::from_secs(5);

/// A journal that may be out of reach, or not there at all.
#[derive(Debug)]
pub(super) struct Book {
    journal: Option<Journal>,
    away_until: Mutex<Option<Instant>>,
}

impl Book {
    pub(super) fn new(journal: Option<Journal>) -> Self {
        Self {
            journal,
            away_until: Mutex::new(None),
        }
    }

    /// Whether what is accepted outlives this process.
    pub(super) fn is_durable(&self) -> bool {
        self.journal.is_some()
    }

    /// Writes a request down before it is sent.
    pub(super) async fn accept(&self, entry: &Entry) {
        if let Some(journal) = &self.journal {
            self.ask(journal.accept(entry)).await;
        }
    }

    /// Notes what came of an attempt.
    pub(super) async fn note(&self, id: u64, progress: &Progress<'_>) {
        if let Some(journal) = &self.journal {
            self.ask(journal.note(&name(id), progress)).await;
        }
    }

    /// Renews the promise to send, and takes over what nobody sends, if there is
    /// room for it.
    pub(super) async fn keep(&self, has_room: bool) -> Vec<Entry> {
        let Some(journal) = &self.journal else {
            return Vec::new();
        };
        self.ask(journal.keep(has_room)).await.unwrap_or_default()
    }

    /// Forgets what the log need not keep.
    pub(super) async fn prune(&self) {
        if let Some(journal) = &self.journal {
            self.ask(journal.prune()).await;
        }
    }

    /// Leaves what was not sent to other servers, or to the next start.
    pub(super) async fn give_back(&self) {
        if let Some(journal) = &self.journal {
            self.ask(journal.give_back()).await;
        }
    }

    async fn ask<T>(&self, statement: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
        if self
            .away_until()
            .is_some_and(|until| Instant::now() < until)
        {
            return None;
        }
        let problem = match tokio::time::timeout(PATIENCE, statement).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        tracing::warn!(problem, "webhooks are not written down for the moment");
        *self
            .away_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + PAUSE);
        None
    }

    fn away_until(&self) -> Option<Instant> {
        *self
            .away_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a delivery is called in the journal.
pub(super) fn name(id: u64) -> String {
    format!("{id:016x}")
}

/// A delivery that was written down, perhaps by another server.
pub(super) fn read(entry: &Entry) -> Option<Delivery> {
    Some(Delivery {
        id: u64::from_str_radix(&entry.id, 16).ok()?,
        events: entry.events.clone(),
        created_ms: u64::try_from(entry.created_ms).ok()?,
        attempts: u32::try_from(entry.attempts).ok()?,
        due: Instant::now(),
    })
}
