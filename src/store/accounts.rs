//! The tables of accounts, of their sessions, and of what was changed by whom.

use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use utoipa::ToSchema;

use super::{Database, StoreError};

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Look.
    Viewer,
}

impl Role {
    /// As the database writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Viewer => "viewer",
        }
    }

    /// Reads what [`Self::name`] gives.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Admin, Self::Viewer]
            .into_iter()
            .find(|role| role.name() == name)
    }
}

/// An account as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAccount {
    /// What somebody signs in with.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The hash of the password.
    pub password: String,
    /// When it was made, in milliseconds of Unix time.
    pub created_ms: i64,
}

/// A session as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Who signed in; `None` where nobody has to.
    pub account: Option<String>,
    /// When it ends, in milliseconds of Unix time.
    pub expires_ms: i64,
}

/// Something that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct AuditEntry {
    /// Orders entries by time.
    pub id: String,
    /// When, in milliseconds of Unix time.
    pub at_ms: i64,
    /// The account; `token` for `admin.token`, `loopback` where nobody has to sign in.
    pub actor: String,
    /// The address that it came from.
    pub address: String,
    /// Method and path below `/admin/v1`.
    #[schema(example = "PATCH /apps/1")]
    pub action: String,
    /// What exactly, where that is no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Database {
    /// All accounts, by name.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn accounts(&self) -> Result<Vec<StoredAccount>, StoreError> {
        sqlx::query("SELECT name, role, password, created_ms FROM fanfare_accounts ORDER BY name")
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(decode)
            .collect()
    }

    /// One account.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn account(&self, name: &str) -> Result<Option<StoredAccount>, StoreError> {
        sqlx::query("SELECT name, role, password, created_ms FROM fanfare_accounts WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.pool)
            .await?
            .as_ref()
            .map(decode)
            .transpose()
    }

    /// Adds an account, unless `only_first` and there is one already. Returns whether
    /// it was added.
    ///
    /// # Errors
    /// The name is taken, or the database does not answer.
    pub async fn add_account(
        &self,
        account: &StoredAccount,
        only_first: bool,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin().await?;
        lock(&mut transaction).await?;
        let names = sqlx::query("SELECT name FROM fanfare_accounts")
            .fetch_all(&mut *transaction)
            .await?;
        if only_first && !names.is_empty() {
            return Ok(false);
        }
        for row in names {
            if row.try_get::<&str, _>(0)? == account.name {
                return Err(exists(&account.name));
            }
        }
        sqlx::query(
            "INSERT INTO fanfare_accounts (name, role, password, created_ms) VALUES ($1, $2, $3, $4)",
        )
        .bind(&account.name)
        .bind(account.role.name())
        .bind(&account.password)
        .bind(account.created_ms)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Changes role or password, and ends the sessions of the account but `except`.
    /// Returns whether it was done: the last administrator stays one.
    ///
    /// # Errors
    /// There is no such account, or the database does not answer.
    pub async fn change_account(
        &self,
        name: &str,
        role: Option<Role>,
        password: Option<&str>,
        except: Option<&str>,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin().await?;
        lock(&mut transaction).await?;
        if role == Some(Role::Viewer) && is_last_admin(&mut transaction, name).await? {
            return Ok(false);
        }
        let changed = sqlx::query(
            "UPDATE fanfare_accounts SET role = COALESCE($1, role), password = COALESCE($2, password) WHERE name = $3",
        )
        .bind(role.map(Role::name))
        .bind(password.map(str::to_owned))
        .bind(name)
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        if changed == 0 {
            return Err(unknown(name));
        }
        end_sessions(&mut transaction, name, except).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Removes an account and ends its sessions. Returns whether it was done: the last
    /// administrator stays.
    ///
    /// # Errors
    /// There is no such account, or the database does not answer.
    pub async fn delete_account(&self, name: &str) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin().await?;
        lock(&mut transaction).await?;
        if is_last_admin(&mut transaction, name).await? {
            return Ok(false);
        }
        let deleted = sqlx::query("DELETE FROM fanfare_accounts WHERE name = $1")
            .bind(name)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        if deleted == 0 {
            return Err(unknown(name));
        }
        end_sessions(&mut transaction, name, None).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Begins a session, and forgets those that were over at `now_ms`.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn add_console_session(
        &self,
        digest: &str,
        session: &SessionRecord,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM fanfare_console_sessions WHERE expires_ms <= $1")
            .bind(now_ms)
            .execute(&self.pool)
            .await?;
        sqlx::query(
            "INSERT INTO fanfare_console_sessions (digest, account, expires_ms) VALUES ($1, $2, $3)",
        )
        .bind(digest)
        .bind(session.account.clone().unwrap_or_default())
        .bind(session.expires_ms)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// A session, whether it is over or not.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn console_session(&self, digest: &str) -> Result<Option<SessionRecord>, StoreError> {
        let row = sqlx::query(
            "SELECT account, expires_ms FROM fanfare_console_sessions WHERE digest = $1",
        )
        .bind(digest)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let account: String = row.try_get(0)?;
        Ok(Some(SessionRecord {
            account: Some(account).filter(|name| !name.is_empty()),
            expires_ms: row.try_get(1)?,
        }))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn end_console_session(&self, digest: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM fanfare_console_sessions WHERE digest = $1")
            .bind(digest)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Writes down what was changed, and forgets what was before `oldest_ms`.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn add_audit(&self, entry: &AuditEntry, oldest_ms: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM fanfare_audit WHERE at_ms < $1")
            .bind(oldest_ms)
            .execute(&self.pool)
            .await?;
        sqlx::query(
            "INSERT INTO fanfare_audit (id, at_ms, actor, address, action, detail) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&entry.id)
        .bind(entry.at_ms)
        .bind(&entry.actor)
        .bind(&entry.address)
        .bind(&entry.action)
        .bind(entry.detail.clone())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// What was changed before the entry `before`, the newest first.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn audit_page(
        &self,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        // After every id in whatever order the database sorts letters and digits: none
        // begins with more than a 7.
        let before = before.unwrap_or("Z").to_owned();
        sqlx::query(
            "SELECT id, at_ms, actor, address, action, detail FROM fanfare_audit WHERE id < $1 ORDER BY id DESC LIMIT $2",
        )
        .bind(before)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(|row| {
            Ok(AuditEntry {
                id: row.try_get(0)?,
                at_ms: row.try_get(1)?,
                actor: row.try_get(2)?,
                address: row.try_get(3)?,
                action: row.try_get(4)?,
                detail: row.try_get(5)?,
            })
        })
        .collect()
    }
}

/// Makes changes of accounts wait for one another: two administrators must not remove
/// each other at the same time.
async fn lock(connection: &mut AnyConnection) -> Result<(), StoreError> {
    sqlx::query("UPDATE fanfare_revision SET revision = revision WHERE one = 1")
        .execute(connection)
        .await?;
    Ok(())
}

async fn is_last_admin(connection: &mut AnyConnection, name: &str) -> Result<bool, StoreError> {
    let admins = sqlx::query("SELECT name FROM fanfare_accounts WHERE role = 'admin'")
        .fetch_all(connection)
        .await?;
    Ok(admins.len() == 1 && admins[0].try_get::<&str, _>(0)? == name)
}

async fn end_sessions(
    connection: &mut AnyConnection,
    name: &str,
    except: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM fanfare_console_sessions WHERE account = $1 AND digest <> $2")
        .bind(name)
        .bind(except.unwrap_or_default())
        .execute(connection)
        .await?;
    Ok(())
}

fn decode(row: &AnyRow) -> Result<StoredAccount, StoreError> {
    let role: &str = row.try_get(1)?;
    Ok(StoredAccount {
        name: row.try_get(0)?,
        // The weaker one for what a newer version may have written.
        role: Role::parse(role).unwrap_or(Role::Viewer),
        password: row.try_get(2)?,
        created_ms: row.try_get(3)?,
    })
}

pub(crate) fn exists(name: &str) -> StoreError {
    StoreError::Exists(format!("an account with the name {name}"))
}

pub(crate) fn unknown(name: &str) -> StoreError {
    StoreError::NotFound(format!("account with the name {name}"))
}
