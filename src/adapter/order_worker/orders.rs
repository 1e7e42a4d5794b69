//! Orders of documents: the table `orders`, and what was placed for money.
//!
//! Futures that wait for a connection are large, so they are boxed.

use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, Row, Transaction, query};

use super::database::{Database, DatabaseError};

/// What begins the status of an order that has failed.
pub const ERROR_PREFIX: &str = "Ошибка: ";

/// Characters of a status, as the column has it.
const MAX_STATUS: usize = 255;

/// What is selected of an order, in this order.
const COLUMNS: &str =
    "id, user_id, cad_num, rosreestr_order_num, status, is_complete, rosreestr_user_id, comment";

/// Guards of orders begin with this number, so that they meet no other advisory lock.
const GUARD: i32 = 0x0FA2_FA2E;

/// Orders that are shown.
const MAX_SHOWN: i64 = 200;

/// One order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// The number of its row.
    pub id: i32,
    /// Whose it is.
    pub user_id: i32,
    /// What is ordered, as it was typed.
    pub cad_num: String,
    /// The number that it has got.
    pub rosreestr_order_num: Option<String>,
    /// For people; services compare it.
    pub status: String,
    /// Whether nothing is left to do.
    pub is_complete: bool,
    /// The account that works on it.
    pub rosreestr_user_id: Option<i32>,
    /// Of whoever made it.
    pub comment: Option<String>,
}

/// What people read of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// A worker has it.
    Processing,
    /// The document was ordered; it is not there yet.
    Registered,
    /// As the portal says it.
    Portal(String),
    /// Done, without a document to fetch.
    Completed,
    /// Done, the document is here.
    Downloaded,
    /// There is no such object; done.
    NotFound,
    /// The account has no orders left.
    NoBalance,
    /// Why it has failed.
    Failed(String),
}

/// A step that costs money, begun or done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The account that it is paid with.
    pub account: i32,
    /// By what the portal knows it, before it has a number.
    pub draft: String,
    /// Its number, once that is known.
    pub order_num: Option<String>,
}

/// Keeps other workers away from an order as long as it lives, in whatever state their
/// locks are: it ends with the connection, and so with the process.
#[derive(Debug)]
pub struct Guard(
    #[expect(dead_code, reason = "its end is what counts")] Transaction<'static, Postgres>,
);

impl Status {
    /// The text of the column.
    #[must_use]
    pub fn text(&self) -> String {
        let text = match self {
            Self::Processing => "В обработке".to_owned(),
            Self::Registered => "Зарегистрирован в росреестре".to_owned(),
            Self::Portal(said) => format!("РР {said}"),
            Self::Completed => "Выполнен".to_owned(),
            Self::Downloaded => "Файлы загружены".to_owned(),
            Self::NotFound => "Кадастровый номер не найден на портале".to_owned(),
            Self::NoBalance => "Недостаточно доступных заказов на балансе".to_owned(),
            Self::Failed(reason) => format!("{ERROR_PREFIX}{reason}"),
        };
        cut(&text)
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Completed | Self::Downloaded | Self::NotFound)
    }
}

/// What fits into the column, and no half character. PostgreSQL has no zero byte.
fn cut(text: &str) -> String {
    let text = text.replace('\0', "");
    if text.chars().count() <= MAX_STATUS {
        return text;
    }
    let mut short: String = text.chars().take(MAX_STATUS - 1).collect();
    short.push('…');
    short
}

impl Order {
    /// Whether it has failed, and may be tried again.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.status.starts_with(ERROR_PREFIX.trim_end()) || self.status == Status::NoBalance.text()
    }

    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get(0)?,
            user_id: row.try_get(1)?,
            cad_num: row.try_get(2)?,
            rosreestr_order_num: row.try_get(3)?,
            status: row.try_get(4)?,
            is_complete: row.try_get(5)?,
            rosreestr_user_id: row.try_get(6)?,
            comment: row.try_get(7)?,
        })
    }
}

/// Whether an order has failed, as SQL says it; as [`Status::text`] writes it.
const FAILED: &str =
    "(status LIKE 'Ошибка:%' OR status = 'Недостаточно доступных заказов на балансе')";

impl Database {
    /// The order with that number.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn order(&self, id: i32) -> Result<Option<Order>, DatabaseError> {
        let row = query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM orders WHERE id = $1 AND deleted_at IS NULL"
        )))
        .bind(id)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.as_ref().map(Order::read).transpose()?)
    }

    /// Those that have failed, the newest first.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn failed_orders(&self) -> Result<Vec<Order>, DatabaseError> {
        self.orders_where(FAILED).await
    }

    /// Those that are being worked on, the newest first.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn running_orders(&self) -> Result<Vec<Order>, DatabaseError> {
        let condition =
            format!("NOT is_complete AND rosreestr_user_id IS NOT NULL AND NOT {FAILED}");
        self.orders_where(&condition).await
    }

    async fn orders_where(&self, condition: &str) -> Result<Vec<Order>, DatabaseError> {
        let rows = query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM orders WHERE deleted_at IS NULL AND {condition}
             ORDER BY updated_at DESC LIMIT {MAX_SHOWN}"
        )))
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.iter().map(Order::read).collect::<Result<_, _>>()?)
    }

    /// An account takes an order.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn assign(&self, order: i32, account: i32) -> Result<(), DatabaseError> {
        query(
            "UPDATE orders SET rosreestr_user_id = $2, status = $3, updated_at = now(),
                rosreestr_registration_started_at = coalesce(rosreestr_registration_started_at, now())
             WHERE id = $1",
        )
        .bind(order)
        .bind(account)
        .bind(Status::Processing.text())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Says how an order is.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn set_status(&self, order: i32, status: &Status) -> Result<(), DatabaseError> {
        let mut connection = Box::pin(self.pool.acquire()).await?;
        set_status(&mut connection, order, status).await
    }

    /// The guard of an order; `None` while somebody else has it.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn guard(&self, order: i32) -> Result<Option<Guard>, DatabaseError> {
        let mut transaction = Box::pin(self.pool.begin()).await?;
        // It is idle for as long as the portal takes, and must not be ended for that.
        query("SET LOCAL idle_in_transaction_session_timeout = 0")
            .execute(&mut *transaction)
            .await?;
        let row = query("SELECT pg_try_advisory_xact_lock($1, $2)")
            .bind(GUARD)
            .bind(order)
            .fetch_one(&mut *transaction)
            .await?;
        let is_free: bool = row.try_get(0)?;
        Ok(is_free.then_some(Guard(transaction)))
    }

    /// What was placed for an order, or begun.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn placement(&self, order: i32) -> Result<Option<Placement>, DatabaseError> {
        let row = query(
            "SELECT rosreestr_user_id, draft, order_num FROM rosreestr_placements WHERE order_id = $1",
        )
        .bind(order)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        Ok(Some(Placement {
            account: row.try_get(0)?,
            draft: row.try_get(1)?,
            order_num: row.try_get(2)?,
        }))
    }

    /// Writes down that money is about to be spent. What was begun before and is known
    /// not to have been placed is forgotten.
    ///
    /// # Errors
    /// The database cannot be used; nothing may be spent then.
    pub async fn begin_placement(
        &self,
        order: i32,
        account: i32,
        draft: &str,
    ) -> Result<bool, DatabaseError> {
        let begun = query(
            "INSERT INTO rosreestr_placements (order_id, rosreestr_user_id, draft)
             VALUES ($1, $2, $3)
             ON CONFLICT (order_id) DO UPDATE
             SET rosreestr_user_id = excluded.rosreestr_user_id, draft = excluded.draft, begun_at = now()
             WHERE rosreestr_placements.order_num IS NULL",
        )
        .bind(order)
        .bind(account)
        .bind(draft)
        .execute(&self.pool)
        .await?;
        Ok(begun.rows_affected() > 0)
    }

    /// Nothing was placed, and nothing has to be asked about it.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn forget_placement(&self, order: i32) -> Result<(), DatabaseError> {
        query("DELETE FROM rosreestr_placements WHERE order_id = $1 AND order_num IS NULL")
            .bind(order)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Writes down the number that an order has got, and its status with it.
    ///
    /// # Errors
    /// The database cannot be used; the portal still knows the order by its draft.
    pub async fn placed(
        &self,
        order: i32,
        order_num: &str,
        status: &Status,
    ) -> Result<(), DatabaseError> {
        let mut transaction = Box::pin(self.pool.begin()).await?;
        query(
            "UPDATE rosreestr_placements SET order_num = $2, placed_at = now() WHERE order_id = $1",
        )
        .bind(order)
        .bind(order_num)
        .execute(&mut *transaction)
        .await?;
        query("UPDATE orders SET rosreestr_order_num = $2, rosreestr_registered_at = now() WHERE id = $1")
            .bind(order)
            .bind(order_num)
            .execute(&mut *transaction)
            .await?;
        set_status(&mut transaction, order, status).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Keeps the document of an order, which is done with that.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn keep_file(
        &self,
        order: i32,
        order_num: &str,
        content: &[u8],
    ) -> Result<(), DatabaseError> {
        let mut transaction = Box::pin(self.pool.begin()).await?;
        query(
            "INSERT INTO rosreestr_files (order_id, order_num, content) VALUES ($1, $2, $3)
             ON CONFLICT (order_id) DO UPDATE SET order_num = excluded.order_num, content = excluded.content",
        )
        .bind(order)
        .bind(order_num)
        .bind(content)
        .execute(&mut *transaction)
        .await?;
        set_status(&mut transaction, order, &Status::Downloaded).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The document of an order.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn file(&self, order: i32) -> Result<Option<Vec<u8>>, DatabaseError> {
        let row = query("SELECT content FROM rosreestr_files WHERE order_id = $1")
            .bind(order)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }
}

async fn set_status(
    connection: &mut PgConnection,
    order: i32,
    status: &Status,
) -> Result<(), DatabaseError> {
    query(
        "UPDATE orders SET status = $2, is_complete = $3, updated_at = now(), last_checked_at = now(),
            completed_at = CASE WHEN $3 THEN coalesce(completed_at, now()) ELSE completed_at END
         WHERE id = $1",
    )
    .bind(order)
    .bind(status.text())
    .bind(status.is_complete())
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rr_long_error_truncated() {
        let status = Status::Failed("ё".repeat(400)).text();

        assert_eq!(status.chars().count(), 255);
        assert!(status.starts_with("Ошибка: ё") && status.ends_with('…'));
        assert_eq!(
            Status::Failed("кратко\0".to_owned()).text(),
            "Ошибка: кратко"
        );
        let whole = Status::Failed("x".repeat(247)).text();
        assert!(whole.ends_with('x') && whole.chars().count() == 255);
    }

    #[test]
    fn only_what_leaves_nothing_to_do_is_complete() {
        for (status, is_complete) in [
            (Status::Processing, false),
            (Status::Registered, false),
            (Status::Portal("Проверка".to_owned()), false),
            (Status::NoBalance, false),
            (Status::Failed(String::new()), false),
            (Status::Completed, true),
            (Status::Downloaded, true),
            (Status::NotFound, true),
        ] {
            assert_eq!(status.is_complete(), is_complete, "{status:?}");
        }
    }
}
