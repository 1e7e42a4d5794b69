//! The accounts for which documents are ordered: the table `rosreestr_users`.

use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{Row, query};

use super::database::{Database, DatabaseError};

/// Characters of a password.
pub const MIN_PASSWORD: usize = 6;

/// What is selected of a row, in this order.
const COLUMNS: &str =
    "id, username, gu_login, comment, is_active, password_encrypted, session_encrypted";

/// One account. Shown as JSON it has no secrets.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The number of its row.
    pub id: i32,
    /// By what a worker is told which one it is.
    pub username: String,
    /// The login of the state's portal.
    pub gu_login: Option<String>,
    /// For people.
    pub comment: Option<String>,
    /// Whether a worker may use it.
    pub is_active: bool,
    /// Whether somebody has imported a session.
    pub has_session: bool,
    /// As it is stored.
    #[serde(skip)]
    pub password: String,
    /// As it is stored.
    #[serde(skip)]
    pub session: Option<String>,
}

/// A new account, or what changes of one.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the columns; absent: as it was")]
pub struct Change<'a> {
    pub username: Option<&'a str>,
    pub password_sealed: Option<&'a str>,
    pub gu_login: Option<&'a str>,
    pub comment: Option<&'a str>,
    pub is_active: Option<bool>,
    pub session_sealed: Option<&'a str>,
}

impl Account {
    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        let session: Option<String> = row.try_get(6)?;
        Ok(Self {
            id: row.try_get(0)?,
            username: row.try_get(1)?,
            gu_login: row.try_get(2)?,
            comment: row.try_get(3)?,
            is_active: row.try_get(4)?,
            password: row.try_get(5)?,
            has_session: session.is_some(),
            session,
        })
    }
}

impl Database {
    /// All accounts that are not deleted.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn accounts(&self) -> Result<Vec<Account>, DatabaseError> {
        let rows = query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM rosreestr_users WHERE deleted_at IS NULL ORDER BY id"
        )))
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.iter().map(Account::read).collect::<Result<_, _>>()?)
    }

    /// The account with that number.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn account(&self, id: i32) -> Result<Option<Account>, DatabaseError> {
        let row = query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM rosreestr_users WHERE deleted_at IS NULL AND id = $1"
        )))
        .bind(id)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.as_ref().map(Account::read).transpose()?)
    }

    /// The account with that name.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn account_named(&self, username: &str) -> Result<Option<Account>, DatabaseError> {
        let row = query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM rosreestr_users WHERE deleted_at IS NULL AND username = $1"
        )))
        .bind(username)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.as_ref().map(Account::read).transpose()?)
    }

    /// Adds an account; name and password must be given.
    ///
    /// # Errors
    /// The name is taken, or the database cannot be used.
    pub async fn add_account(&self, new: &Change<'_>) -> Result<Account, DatabaseError> {
        let row = query(sqlx::AssertSqlSafe(format!(
            "INSERT INTO rosreestr_users (username, password_encrypted, gu_login, comment)
             VALUES ($1, $2, $3, $4) RETURNING {COLUMNS}"
        )))
        .bind(new.username)
        .bind(new.password_sealed)
        .bind(new.gu_login)
        .bind(new.comment)
        .fetch_one(&self.pool)
        .await?;
        Ok(Account::read(&row)?)
    }

    /// Changes what is given.
    ///
    /// # Errors
    /// The name is taken, or the database cannot be used.
    pub async fn change_account(
        &self,
        id: i32,
        change: &Change<'_>,
    ) -> Result<Option<Account>, DatabaseError> {
        let row = query(sqlx::AssertSqlSafe(format!(
            "UPDATE rosreestr_users SET
                username = coalesce($2, username),
                password_encrypted = coalesce($3, password_encrypted),
                gu_login = coalesce($4, gu_login),
                comment = coalesce($5, comment),
                is_active = coalesce($6, is_active),
                session_encrypted = coalesce($7, session_encrypted),
                updated_at = now()
             WHERE id = $1 AND deleted_at IS NULL RETURNING {COLUMNS}"
        )))
        .bind(id)
        .bind(change.username)
        .bind(change.password_sealed)
        .bind(change.gu_login)
        .bind(change.comment)
        .bind(change.is_active)
        .bind(change.session_sealed)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.as_ref().map(Account::read).transpose()?)
    }
}
