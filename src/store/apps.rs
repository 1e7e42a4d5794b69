//! The tables of apps: reading them, and every way to change them.

use std::collections::HashMap;

use fanfare_protocol::AppId;
use serde_json::{Map, Value};
use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row, Transaction};

use super::{Database, StoreError, unix_ms};
use crate::apps::{App, Vault};
use crate::config::{AppConfig, KeyConfig, Secret};

/// An app of the database.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredApp {
    /// The app, with its keys in `keys`, the oldest first.
    pub config: AppConfig,
    /// When it was created, in milliseconds of Unix time.
    pub created_ms: i64,
}

/// What has changed since a revision.
#[derive(Debug, Default)]
pub struct Changes {
    /// The number of the last change; to be asked for the next time.
    pub revision: i64,
    /// Apps that are new or different.
    pub updated: Vec<App>,
    /// Apps that are no more.
    pub deleted: Vec<AppId>,
}

/// Which apps are read.
#[derive(Clone, Copy)]
enum Which<'a> {
    ChangedSince(i64),
    Id(&'a str),
}

/// Members of the settings that have columns of their own.
const COLUMNS: [&str; 5] = ["id", "key", "secret", "keys", "enabled"];

impl Database {
    /// What has changed since `revision`; all apps for -1. An app that cannot be
    /// read is logged and left as it was.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn changes_since(&self, revision: i64) -> Result<Changes, StoreError> {
        // Read first: what changes while the rest is read is read again.
        let now = self.revision().await?;
        if now == revision {
            return Ok(Changes {
                revision,
                ..Changes::default()
            });
        }
        let mut changes = Changes {
            revision: now,
            ..Changes::default()
        };
        let mut connection = self.pool.acquire().await?;
        for app in self
            .read(&mut connection, Which::ChangedSince(revision))
            .await?
        {
            match app {
                Ok(app) => changes.updated.push(app.config.to_app()),
                Err(error) => tracing::error!(%error, "an app is left as it was"),
            }
        }
        let deleted = sqlx::query("SELECT id FROM fanfare_deleted_apps WHERE revision > $1")
            .bind(revision)
            .fetch_all(&mut *connection)
            .await?;
        for row in deleted {
            changes.deleted.push(AppId::new(row.try_get::<&str, _>(0)?));
        }
        Ok(changes)
    }

    /// All apps, by id.
    ///
    /// # Errors
    /// The database does not answer, or an app cannot be read.
    pub async fn list(&self) -> Result<Vec<StoredApp>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        self.read(&mut connection, Which::ChangedSince(-1))
            .await?
            .into_iter()
            .collect()
    }

    /// All apps, whoever writes the table, and when they were created in
    /// milliseconds of Unix time, which only our own table knows.
    ///
    /// # Errors
    /// The database does not answer, or an app of our own cannot be read.
    pub async fn all_apps(&self) -> Result<Vec<(AppConfig, Option<i64>)>, StoreError> {
        if self.is_read_only() {
            let apps = self.soketi_apps().await?;
            return Ok(apps.iter().map(|app| (AppConfig::of(app), None)).collect());
        }
        let apps = self.list().await?;
        let with_time = |app: StoredApp| (app.config, Some(app.created_ms));
        Ok(apps.into_iter().map(with_time).collect())
    }

    /// One app.
    ///
    /// # Errors
    /// There is none with this id, or it cannot be read.
    pub async fn get(&self, id: &str) -> Result<StoredApp, StoreError> {
        let mut connection = self.pool.acquire().await?;
        self.get_on(&mut connection, id).await
    }

    async fn get_on(
        &self,
        connection: &mut AnyConnection,
        id: &str,
    ) -> Result<StoredApp, StoreError> {
        self.read(connection, Which::Id(id))
            .await?
            .pop()
            .ok_or_else(|| no_app(id))?
    }

    async fn read(
        &self,
        connection: &mut AnyConnection,
        which: Which<'_>,
    ) -> Result<Vec<Result<StoredApp, StoreError>>, StoreError> {
        let condition = match which {
            Which::ChangedSince(_) => "a.revision > $1",
            Which::Id(_) => "a.id = $1",
        };
        let apps = format!(
            "SELECT a.id, a.enabled, a.settings, a.created_ms FROM fanfare_apps a WHERE {condition} ORDER BY a.id"
        );
        let keys = format!(
            "SELECT k.app_id, k.app_key, k.secret FROM fanfare_app_keys k JOIN fanfare_apps a ON a.id = k.app_id WHERE {condition} ORDER BY k.created_ms, k.app_key"
        );
        let [apps, keys] = [apps, keys].map(|text| {
            // Made of the constants above.
            let query = sqlx::query(AssertSqlSafe(text));
            match which {
                Which::ChangedSince(revision) => query.bind(revision),
                Which::Id(id) => query.bind(id.to_owned()),
            }
        });
        let apps = apps.fetch_all(&mut *connection).await?;
        let keys = keys.fetch_all(connection).await?;
        let mut keys_of: HashMap<String, Vec<(String, String)>> = HashMap::new();
        for row in keys {
            keys_of
                .entry(row.try_get(0)?)
                .or_default()
                .push((row.try_get(1)?, row.try_get(2)?));
        }
        let decode = |row: &AnyRow| {
            let id: String = row.try_get(0)?;
            let keys = keys_of.remove(&id).unwrap_or_default();
            self.decode(&id, row, &keys)
        };
        Ok(apps.iter().map(decode).collect())
    }

    fn decode(
        &self,
        id: &str,
        row: &AnyRow,
        keys: &[(String, String)],
    ) -> Result<StoredApp, StoreError> {
        let unreadable = |reason: String| StoreError::Unreadable {
            id: id.to_owned(),
            reason,
        };
        let enabled: i64 = row.try_get(1)?;
        let settings: &str = row.try_get(2)?;
        let mut settings: Map<String, Value> =
            serde_json::from_str(settings).map_err(|error| unreadable(error.to_string()))?;
        for_each_header(&mut settings, |value| {
            Ok(self.vault.open(value, &header_owner(id))?)
        })?;
        settings.insert("id".to_owned(), id.into());
        settings.insert("enabled".to_owned(), (enabled != 0).into());
        let mut config: AppConfig = serde_json::from_value(Value::Object(settings))
            .map_err(|error| unreadable(error.to_string()))?;
        for (key, secret) in keys {
            config.keys.push(KeyConfig {
                key: key.clone(),
                secret: Secret::from(self.vault.open(secret, &key_owner(id, key))?.as_str()),
            });
        }
        config.check_alone()?;
        Ok(StoredApp {
            config,
            created_ms: row.try_get(3)?,
        })
    }

    /// Adds an app, and returns it as it is kept.
    ///
    /// # Errors
    /// Its id or one of its keys is taken, or it would not be one.
    pub async fn create(&self, config: &AppConfig) -> Result<StoredApp, StoreError> {
        self.must_be_ours()?;
        config.check_alone()?;
        let created_ms = unix_ms();
        let mut transaction = self.pool.begin().await?;
        let revision = advance(&mut transaction).await?;
        let is_taken = sqlx::query("SELECT 1 FROM fanfare_apps WHERE id = $1")
            .bind(&config.id)
            .fetch_optional(&mut *transaction)
            .await?
            .is_some();
        if is_taken {
            return Err(StoreError::Exists(format!(
                "an app with the id {}",
                config.id
            )));
        }
        sqlx::query("DELETE FROM fanfare_deleted_apps WHERE id = $1")
            .bind(&config.id)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "INSERT INTO fanfare_apps (id, enabled, settings, created_ms, revision) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(&config.id)
        .bind(i64::from(config.enabled))
        .bind(settings_text(&self.vault, config))
        .bind(created_ms)
        .bind(revision)
        .execute(&mut *transaction)
        .await?;
        for pair in config.pairs() {
            self.insert_key(&mut transaction, &config.id, &pair).await?;
        }
        transaction.commit().await?;
        Ok(StoredApp {
            config: AppConfig {
                key: None,
                secret: None,
                keys: config.pairs(),
                ..config.clone()
            },
            created_ms,
        })
    }

    /// Changes an app, and returns it as it is then; nothing is changed when `change`
    /// refuses. Keys are changed by [`Self::add_key`] and [`Self::remove_key`].
    ///
    /// # Errors
    /// There is none with this id, `change` refuses, or it would not be one any more.
    pub async fn update<E: From<StoreError>>(
        &self,
        id: &str,
        change: impl FnOnce(&mut AppConfig) -> Result<(), E>,
    ) -> Result<StoredApp, E> {
        self.must_be_ours()?;
        let mut transaction = self.pool.begin().await.map_err(StoreError::from)?;
        // Others wait from here on, so that no change of theirs is lost.
        let revision = advance(&mut transaction).await?;
        // On this connection: with one more for each change, many at once would wait
        // for one another.
        let mut app = self.get_on(&mut transaction, id).await?;
        change(&mut app.config)?;
        self.replace(transaction, &app.config, revision).await?;
        Ok(app)
    }

    /// Ends a change with the app as it is to be.
    async fn replace(
        &self,
        mut transaction: Transaction<'static, Any>,
        config: &AppConfig,
        revision: i64,
    ) -> Result<(), StoreError> {
        config.check_alone()?;
        sqlx::query(
            "UPDATE fanfare_apps SET enabled = $1, settings = $2, revision = $3 WHERE id = $4",
        )
        .bind(i64::from(config.enabled))
        .bind(settings_text(&self.vault, config))
        .bind(revision)
        .bind(&config.id)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Adds a key pair to an app; those it has go on to be valid.
    ///
    /// # Errors
    /// There is no such app, or the key is taken.
    pub async fn add_key(&self, id: &str, pair: &KeyConfig) -> Result<(), StoreError> {
        self.must_be_ours()?;
        let mut transaction = self.pool.begin().await?;
        touch(&mut transaction, id).await?;
        self.insert_key(&mut transaction, id, pair).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Takes a key from an app, but never its last one.
    ///
    /// # Errors
    /// There is no such app or key, or it is the last.
    pub async fn remove_key(&self, id: &str, key: &str) -> Result<(), StoreError> {
        self.must_be_ours()?;
        let mut transaction = self.pool.begin().await?;
        touch(&mut transaction, id).await?;
        let removed =
            sqlx::query("DELETE FROM fanfare_app_keys WHERE app_id = $1 AND app_key = $2")
                .bind(id)
                .bind(key)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
        if removed == 0 {
            return Err(StoreError::NotFound(format!("key {key} of the app {id}")));
        }
        let has_others = sqlx::query("SELECT 1 FROM fanfare_app_keys WHERE app_id = $1 LIMIT 1")
            .bind(id)
            .fetch_optional(&mut *transaction)
            .await?
            .is_some();
        if !has_others {
            return Err(StoreError::NotFound(format!(
                "other key of the app {id}; add one first"
            )));
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Removes an app with its keys.
    ///
    /// # Errors
    /// There is none with this id.
    pub async fn delete(&self, id: &str) -> Result<(), StoreError> {
        self.must_be_ours()?;
        let mut transaction = self.pool.begin().await?;
        let revision = touch(&mut transaction, id).await?;
        for statement in [
            "DELETE FROM fanfare_app_keys WHERE app_id = $1",
            "DELETE FROM fanfare_apps WHERE id = $1",
        ] {
            sqlx::query(statement)
                .bind(id)
                .execute(&mut *transaction)
                .await?;
        }
        sqlx::query("INSERT INTO fanfare_deleted_apps (id, revision) VALUES ($1, $2)")
            .bind(id)
            .bind(revision)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Seals with the present master key whatever is sealed otherwise, and
    /// returns how many secrets that were.
    ///
    /// # Errors
    /// One of them cannot be opened; nothing was changed then.
    pub async fn reseal(&self) -> Result<usize, StoreError> {
        if self.is_read_only() {
            return Ok(0);
        }
        let mut transaction = self.pool.begin().await?;
        advance(&mut transaction).await?;
        let mut count = 0;
        let keys = sqlx::query("SELECT app_id, app_key, secret FROM fanfare_app_keys")
            .fetch_all(&mut *transaction)
            .await?;
        for row in keys {
            let (id, key): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let stored: &str = row.try_get(2)?;
            if self.vault.is_current(stored) {
                continue;
            }
            let owner = key_owner(&id, &key);
            let secret = self.vault.open(stored, &owner)?;
            sqlx::query("UPDATE fanfare_app_keys SET secret = $1 WHERE app_key = $2")
                .bind(self.vault.seal(&secret, &owner))
                .bind(&key)
                .execute(&mut *transaction)
                .await?;
            count += 1;
        }
        let apps = sqlx::query("SELECT id, settings FROM fanfare_apps")
            .fetch_all(&mut *transaction)
            .await?;
        for row in apps {
            let id: String = row.try_get(0)?;
            let Ok(mut settings) = serde_json::from_str::<Map<String, Value>>(row.try_get(1)?)
            else {
                continue;
            };
            let owner = header_owner(&id);
            let before = count;
            for_each_header(&mut settings, |value| {
                if self.vault.is_current(value) {
                    return Ok(value.to_owned());
                }
                count += 1;
                Ok(self.vault.seal(&self.vault.open(value, &owner)?, &owner))
            })?;
            if count > before {
                sqlx::query("UPDATE fanfare_apps SET settings = $1 WHERE id = $2")
                    .bind(Value::Object(settings).to_string())
                    .bind(&id)
                    .execute(&mut *transaction)
                    .await?;
            }
        }
        transaction.commit().await?;
        Ok(count)
    }

    async fn insert_key(
        &self,
        connection: &mut AnyConnection,
        id: &str,
        pair: &KeyConfig,
    ) -> Result<(), StoreError> {
        let is_taken = sqlx::query("SELECT 1 FROM fanfare_app_keys WHERE app_key = $1")
            .bind(&pair.key)
            .fetch_optional(&mut *connection)
            .await?
            .is_some();
        if is_taken {
            return Err(StoreError::Exists(format!("the key {}", pair.key)));
        }
        let secret = self
            .vault
            .seal(pair.secret.reveal(), &key_owner(id, &pair.key));
        sqlx::query(
            "INSERT INTO fanfare_app_keys (app_key, app_id, secret, created_ms) VALUES ($1, $2, $3, $4)",
        )
        .bind(&pair.key)
        .bind(id)
        .bind(secret)
        .bind(unix_ms())
        .execute(&mut *connection)
        .await?;
        Ok(())
    }

    fn must_be_ours(&self) -> Result<(), StoreError> {
        if self.is_read_only() {
            return Err(StoreError::ReadOnly);
        }
        Ok(())
    }
}

/// Takes the lock of all changes, and returns the number of this one.
async fn advance(connection: &mut AnyConnection) -> Result<i64, StoreError> {
    let row = sqlx::query(
        "UPDATE fanfare_revision SET revision = revision + 1 WHERE one = 1 RETURNING revision",
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.ok_or(StoreError::NotMigrated)?.try_get(0)?)
}

/// Notes a change of an app that must exist, and returns its number.
async fn touch(connection: &mut AnyConnection, id: &str) -> Result<i64, StoreError> {
    let revision = advance(connection).await?;
    let touched = sqlx::query("UPDATE fanfare_apps SET revision = $1 WHERE id = $2")
        .bind(revision)
        .bind(id)
        .execute(connection)
        .await?
        .rows_affected();
    if touched == 0 {
        return Err(no_app(id));
    }
    Ok(revision)
}

fn no_app(id: &str) -> StoreError {
    StoreError::NoApp(id.to_owned())
}

/// What a secret is sealed for.
fn key_owner(id: &str, key: &str) -> String {
    format!("{id}/{key}")
}

/// What the value of a webhook's header is sealed for.
fn header_owner(id: &str) -> String {
    format!("{id}/webhooks")
}

/// The settings of an app as they are stored.
fn settings_text(vault: &Vault, config: &AppConfig) -> String {
    let Ok(Value::Object(mut settings)) = serde_json::to_value(config) else {
        unreachable!("an app has string keys only");
    };
    for column in COLUMNS {
        settings.remove(column);
    }
    // What was written is masked.
    if let Some(webhooks) = settings.get_mut("webhooks").and_then(Value::as_array_mut) {
        for (written, webhook) in webhooks.iter_mut().zip(&config.webhooks) {
            for (name, value) in &webhook.headers {
                written["headers"][name] =
                    vault.seal(value.reveal(), &header_owner(&config.id)).into();
            }
        }
    }
    Value::Object(settings).to_string()
}

/// Replaces the value of every header of every webhook.
fn for_each_header(
    settings: &mut Map<String, Value>,
    mut replace: impl FnMut(&str) -> Result<String, StoreError>,
) -> Result<(), StoreError> {
    let webhooks = settings.get_mut("webhooks").and_then(Value::as_array_mut);
    for webhook in webhooks.into_iter().flatten() {
        let headers = webhook.get_mut("headers").and_then(Value::as_object_mut);
        for value in headers.into_iter().flat_map(Map::values_mut) {
            if let Value::String(text) = value {
                *text = replace(text)?;
            }
        }
    }
    Ok(())
}
