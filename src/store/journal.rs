//! The table of webhook requests: those that wait, and what became of the others.
//!
//! A server that accepts a request writes it here before it sends it, and holds a
//! lease on it for as long as it lives. Requests whose lease has run out belong to
//! nobody; the next server that asks takes them. So a server that is killed loses
//! nothing that it had accepted, and at worst something is sent twice.

use std::time::Duration;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Database, StoreError, unix_ms};

/// Time for which a server promises to send what it has taken. It renews the
/// promise three times as often.
const LEASE: Duration = Duration::from_secs(9);

/// Between two rounds of [`Journal::keep`].
pub const KEEP_INTERVAL: Duration = Duration::from_secs(3);

/// Requests that are taken over at once.
const MAX_CLAIMED: i64 = 500;

/// Requests of one app that the log keeps ...
const MAX_LOGGED: i64 = 1_000;

/// ... and for how long.
const LOGGED_FOR: Duration = Duration::from_secs(3 * 86_400);

/// The requests that one server sends.
#[derive(Clone, Debug)]
pub struct Journal {
    database: Database,
    owner: String,
}

/// A request as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Names it.
    pub id: String,
    /// The app.
    pub app_id: String,
    /// The webhook of the app.
    pub webhook_id: String,
    /// Where it goes, as it was when it was accepted.
    pub url: String,
    /// Encoded events with commas between them.
    pub events: String,
    /// `time_ms` of the body.
    pub created_ms: i64,
    /// `waiting`, `delivered`, `given_up`, `refused` or `dropped`.
    pub state: String,
    /// How often it was tried.
    pub attempts: i64,
    /// What the last attempt was answered.
    pub status: Option<i64>,
    /// How long that took.
    pub latency_ms: Option<i64>,
    /// Why it failed.
    pub error: Option<String>,
}

/// What an attempt has changed.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    /// `waiting` when it is tried again.
    pub state: &'static str,
    /// How often it was tried by now.
    pub attempts: u32,
    /// What it was answered.
    pub status: Option<u16>,
    /// How long that took.
    pub latency: Duration,
    /// Why it failed.
    pub error: Option<&'a str>,
}

const COLUMNS: &str =
    "id, app_id, webhook_id, url, events, created_ms, state, attempts, status, latency_ms, error";

impl Journal {
    /// Writes in the name of a new server.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self {
            database,
            owner: format!("{:016x}", rand::random::<u64>()),
        }
    }

    /// Writes a request down. From now on it survives the end of this server.
    ///
    /// # Errors
    /// The database does not answer; the request is not written down.
    pub async fn accept(&self, entry: &Entry) -> Result<(), StoreError> {
        let now = unix_ms();
        sqlx::query(
            "INSERT INTO fanfare_webhooks (id, app_id, webhook_id, url, events, created_ms, state, attempts, updated_ms, owner, lease_ms) VALUES ($1, $2, $3, $4, $5, $6, 'waiting', 0, $7, $8, $9)",
        )
        .bind(&entry.id)
        .bind(&entry.app_id)
        .bind(&entry.webhook_id)
        .bind(&entry.url)
        .bind(&entry.events)
        .bind(entry.created_ms)
        .bind(now)
        .bind(&self.owner)
        .bind(now + millis(LEASE))
        .execute(&self.database.pool)
        .await?;
        Ok(())
    }

    /// Notes what came of an attempt.
    ///
    /// # Errors
    /// The database does not answer; after a restart the request is sent again.
    pub async fn note(&self, id: &str, progress: &Progress<'_>) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE fanfare_webhooks SET state = $1, attempts = $2, status = $3, latency_ms = $4, error = $5, updated_ms = $6 WHERE id = $7",
        )
        .bind(progress.state)
        .bind(i64::from(progress.attempts))
        .bind(progress.status.map(i64::from))
        .bind(millis(progress.latency))
        .bind(progress.error.map(str::to_owned))
        .bind(unix_ms())
        .bind(id)
        .execute(&self.database.pool)
        .await?;
        Ok(())
    }

    /// Renews the lease, and takes over what belongs to nobody, if there is room
    /// for it. To be called every [`KEEP_INTERVAL`].
    ///
    /// # Errors
    /// The database does not answer. If that goes on, another server takes over.
    pub async fn keep(&self, has_room: bool) -> Result<Vec<Entry>, StoreError> {
        let now = unix_ms();
        let lease = now + millis(LEASE);
        sqlx::query(
            "UPDATE fanfare_webhooks SET lease_ms = $1 WHERE owner = $2 AND state = 'waiting'",
        )
        .bind(lease)
        .bind(&self.owner)
        .execute(&self.database.pool)
        .await?;
        if !has_room {
            return Ok(Vec::new());
        }
        let abandoned = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM fanfare_webhooks WHERE state = 'waiting' AND lease_ms < $1 ORDER BY created_ms, id LIMIT {MAX_CLAIMED}"
        )))
        .bind(now)
        .fetch_all(&self.database.pool)
        .await?;
        let mut claimed = Vec::new();
        for row in abandoned {
            let entry = decode(&row)?;
            // Another server may ask at the same time; one of them gets it.
            let taken = sqlx::query(
                "UPDATE fanfare_webhooks SET owner = $1, lease_ms = $2 WHERE id = $3 AND state = 'waiting' AND lease_ms < $4",
            )
            .bind(&self.owner)
            .bind(lease)
            .bind(&entry.id)
            .bind(now)
            .execute(&self.database.pool)
            .await?
            .rows_affected();
            if taken == 1 {
                claimed.push(entry);
            }
        }
        Ok(claimed)
    }

    /// Gives back what was not sent, so that another server takes it at once.
    ///
    /// # Errors
    /// The database does not answer; then the lease has to run out.
    pub async fn give_back(&self) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE fanfare_webhooks SET lease_ms = 0 WHERE owner = $1 AND state = 'waiting'",
        )
        .bind(&self.owner)
        .execute(&self.database.pool)
        .await?;
        Ok(())
    }

    /// Forgets what the log need not keep.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn prune(&self) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM fanfare_webhooks WHERE state <> 'waiting' AND updated_ms < $1")
            .bind(unix_ms() - millis(LOGGED_FOR))
            .execute(&self.database.pool)
            .await?;
        sqlx::query(
            "DELETE FROM fanfare_webhooks WHERE id IN (SELECT id FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY app_id ORDER BY created_ms DESC) AS position FROM fanfare_webhooks WHERE state <> 'waiting') AS logged WHERE position > $1)",
        )
        .bind(MAX_LOGGED)
        .execute(&self.database.pool)
        .await?;
        Ok(())
    }
}

impl Database {
    /// The webhook requests of an app or of all, the newest first: those after
    /// `after`, and of a state if one is given.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn webhook_page(
        &self,
        app_id: Option<&str>,
        state: Option<&str>,
        after: Option<(i64, &str)>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let (created_ms, id) = after.unwrap_or((i64::MAX, ""));
        // Spelled out, so that SQLite sees that its index fits.
        let of_app = if app_id.is_some() {
            "app_id = $1"
        } else {
            "$1 = ''"
        };
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM fanfare_webhooks WHERE {of_app} AND ($2 = '' OR state = $2) AND (created_ms < $3 OR (created_ms = $3 AND id > $4)) ORDER BY created_ms DESC, id LIMIT {limit}"
        )))
        .bind(app_id.unwrap_or_default().to_owned())
        .bind(state.unwrap_or_default().to_owned())
        .bind(created_ms)
        .bind(id.to_owned())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(decode).collect()
    }

    /// One webhook request.
    ///
    /// # Errors
    /// There is none with this id.
    pub async fn webhook(&self, id: &str) -> Result<Entry, StoreError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM fanfare_webhooks WHERE id = $1"
        )))
        .bind(id.to_owned())
        .fetch_optional(&self.pool)
        .await?;
        let row = row.ok_or_else(|| StoreError::NotFound(format!("webhook request {id}")))?;
        decode(&row)
    }

    /// Has the events of a request sent once more, with the time of now, by
    /// whichever server asks next. Returns the id of the new request.
    ///
    /// # Errors
    /// There is none with this id.
    pub async fn redeliver(&self, id: &str) -> Result<String, StoreError> {
        let entry = self.webhook(id).await?;
        let again = format!("{:016x}", rand::random::<u64>());
        let now = unix_ms();
        sqlx::query(
            "INSERT INTO fanfare_webhooks (id, app_id, webhook_id, url, events, created_ms, state, attempts, updated_ms, owner, lease_ms) VALUES ($1, $2, $3, $4, $5, $6, 'waiting', 0, $6, '', 0)",
        )
        .bind(&again)
        .bind(entry.app_id)
        .bind(entry.webhook_id)
        .bind(entry.url)
        .bind(entry.events)
        .bind(now)
        .execute(&self.pool)
        .await?;
        Ok(again)
    }
}

fn decode(row: &AnyRow) -> Result<Entry, StoreError> {
    Ok(Entry {
        id: row.try_get(0)?,
        app_id: row.try_get(1)?,
        webhook_id: row.try_get(2)?,
        url: row.try_get(3)?,
        events: row.try_get(4)?,
        created_ms: row.try_get(5)?,
        state: row.try_get(6)?,
        attempts: row.try_get(7)?,
        status: row.try_get(8)?,
        latency_ms: row.try_get(9)?,
        error: row.try_get(10)?,
    })
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
