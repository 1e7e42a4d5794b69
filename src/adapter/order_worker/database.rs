//! PostgreSQL: the connection, and the tables.

use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, Row, SqlSafeStr};

use crate::config::DatabaseConfig;

/// Connections of one worker: one holds what guards an order, the others write.
const MAX_CONNECTIONS: u32 = 4;

/// Time to get a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// The tables, in the order in which they were added.
const MIGRATIONS: [(i64, &str, &str); 1] =
    [(1, "orders", include_str!("migrations/0001_orders.sql"))];

/// A connection to the database. Clones share it.
#[derive(Clone, Debug)]
pub struct Database {
    pub(super) pool: PgPool,
}

/// Something that the database could not do.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It does not answer, or answers with an error of its own.
    #[error("the database cannot be used: {0}")]
    Database(#[from] sqlx::Error),
    /// Its tables cannot be brought up to date.
    #[error("the tables cannot be brought up to date: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
}

impl DatabaseError {
    /// Whether a row is there already.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }

    /// Whether nobody answers or has time, so that it may work in a moment.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            // Connection, read only, rolled back, resources, operator.
            Self::Database(sqlx::Error::Database(error)) => error.code().is_some_and(|code| {
                let classes = ["08", "25", "40", "53", "57"];
                classes.iter().any(|class| code.starts_with(class))
            }),
            Self::Database(error) => matches!(
                error,
                sqlx::Error::Io(_)
                    | sqlx::Error::Tls(_)
                    | sqlx::Error::Protocol(_)
                    | sqlx::Error::PoolTimedOut
                    | sqlx::Error::PoolClosed
                    | sqlx::Error::WorkerCrashed
            ),
            Self::Migration(_) => false,
        }
    }

    /// Whether the tables are those of another version, or of nobody.
    #[must_use]
    pub fn is_about_tables(&self) -> bool {
        // Undefined table, undefined column.
        matches!(self, Self::Database(sqlx::Error::Database(error))
            if matches!(error.code().as_deref(), Some("42P01" | "42703")))
    }
}

impl Database {
    /// Connects.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn connect(config: &DatabaseConfig) -> Result<Self, DatabaseError> {
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&config.host)
            .port(config.port)
            .username(&config.username)
            .database(&config.name)
            .application_name("fanfare order-worker");
        if let Some(password) = &config.password {
            options = options.password(password.reveal());
        }
        let connect = PgPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options);
        let pool = Box::pin(connect).await?;
        Ok(Self { pool })
    }

    /// Brings the tables up to date, beside those that are there. Several processes may
    /// do so at once.
    ///
    /// # Errors
    /// The tables were made by a newer version, or the database cannot be used.
    pub async fn migrate(&self) -> Result<(), DatabaseError> {
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
        migrator.dangerous_set_table_name("order_worker_migrations");
        migrator.run(&self.pool).await?;
        Ok(())
    }

    /// The salt of this installation; the first who asks makes it.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn salt(&self) -> Result<Vec<u8>, DatabaseError> {
        let salt: [u8; 16] = rand::random();
        sqlx::query("INSERT INTO crypto_meta (salt) VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(&salt[..])
            .execute(&self.pool)
            .await?;
        let row = sqlx::query("SELECT salt FROM crypto_meta WHERE one = 1")
            .fetch_one(&self.pool)
            .await?;
        Ok(row.try_get(0)?)
    }
}
