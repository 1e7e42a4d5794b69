//! The database: apps that come and go while servers run, in SQLite or PostgreSQL.
//!
//! One file per noun. [`Database`] is the connection and what all tables share;
//! [`Replica`] is what a running server keeps of it, so that no client ever
//! waits for the database and none notices when it is gone.
//!
//! All statements are understood by both databases: parameters are `$1`, numbers
//! are BIGINT, everything else is TEXT.

mod apps;
mod journal;
mod replica;
mod soketi;
mod sums;
mod usage;

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::any::AnyPoolOptions;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyPool, Row, SqlSafeStr};

pub use self::apps::{Changes, StoredApp};
pub use self::journal::{Entry, Journal, KEEP_INTERVAL, Progress};
pub use self::replica::{Change, Replica};
pub use self::sums::{Point, Span, Sums};
pub use self::usage::{PORTION, UsageRow};
use crate::apps::{Vault, VaultError};
use crate::config::{ConfigError, StoreConfig};

/// Connections of one server. It asks rarely; the rest is for what it writes.
const MAX_CONNECTIONS: u32 = 8;

/// Time to get a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// The tables, in the order in which they were added.
const MIGRATIONS: [(i64, &str, &str); 3] = [
    (1, "apps", include_str!("migrations/0001_apps.sql")),
    (2, "webhooks", include_str!("migrations/0002_webhooks.sql")),
    (3, "usage", include_str!("migrations/0003_usage.sql")),
];

/// A connection to the database. Clones share it.
#[derive(Clone, Debug)]
pub struct Database {
    pool: AnyPool,
    vault: Vault,
    soketi_table: Option<String>,
    is_sqlite: bool,
}

/// Something that the database could not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It does not answer, or answers with an error of its own.
    #[error("the database cannot be used: {0}")]
    Database(#[from] sqlx::Error),
    /// It takes too long.
    #[error("the database does not answer within {} s", .0.as_secs())]
    NoAnswer(Duration),
    /// Its tables cannot be brought up to date.
    #[error("the tables of the database cannot be brought up to date: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The tables are not those of this version.
    #[error("the tables of the database are missing or old; run `fanfare migrate`")]
    NotMigrated,
    /// A secret cannot be opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The id or key is taken.
    #[error("{0} exists already")]
    Exists(String),
    /// There is no app with this id.
    #[error("there is no app with the id {0} in the database")]
    NoApp(String),
    /// There is none.
    #[error("there is no {0}")]
    NotFound(String),
    /// The app would not be one.
    #[error(transparent)]
    Invalid(#[from] ConfigError),
    /// What is stored cannot be read.
    #[error("the app {id} in the database cannot be read: {reason}")]
    Unreadable {
        /// The app.
        id: String,
        /// Why.
        reason: String,
    },
    /// Somebody else writes the table.
    #[error("the apps are those of store.soketi_table, which is only read here")]
    ReadOnly,
}

impl Database {
    /// Connects; `None` when the configuration names no database.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn connect(config: &StoreConfig) -> Result<Option<Self>, StoreError> {
        let Some(url) = &config.url else {
            return Ok(None);
        };
        sqlx::any::install_default_drivers();
        let url = url.reveal();
        let is_sqlite = url.starts_with("sqlite:");
        let url = if is_sqlite && !url.contains('?') {
            // The file is made if there is none.
            Cow::Owned(format!("{url}?mode=rwc"))
        } else {
            Cow::Borrowed(url)
        };
        let pool = AnyPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect(&url)
            .await?;
        if is_sqlite {
            // Readers do not wait for a writer then, nor it for them.
            sqlx::query("PRAGMA journal_mode = WAL")
                .execute(&pool)
                .await?;
        }
        Ok(Some(Self {
            pool,
            vault: config.vault().unwrap_or_default(),
            soketi_table: config.soketi_table.clone(),
            is_sqlite,
        }))
    }

    /// Brings the tables up to date. Several servers may do so at once.
    ///
    /// # Errors
    /// The database was made by a newer version, or cannot be used.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let migrations = MIGRATIONS.map(|(version, name, text)| {
            Migration::new(
                version,
                name.into(),
                MigrationType::Simple,
                text.into_sql_str(),
                false,
            )
        });
        let mut migrator = Migrator::with_migrations(migrations.into());
        // The default name may be another program's in the same database.
        migrator.dangerous_set_table_name("fanfare_migrations");
        migrator.run(&self.pool).await?;
        Ok(())
    }

    /// Whether the apps are those of a table that somebody else writes.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.soketi_table.is_some()
    }

    /// The number of the last change.
    async fn revision(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT revision FROM fanfare_revision WHERE one = 1")
            .fetch_one(&self.pool)
            .await?;
        Ok(row.try_get(0)?)
    }
}

/// Milliseconds of Unix time.
fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}
