//! The order service's own table `sto_orders`, which is only read.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, Row};

use super::{Order, OrdersError};

/// Connections of one node: one reads for the displays, one for hooks and customers.
const MAX_CONNECTIONS: u32 = 2;

/// Time for a question, with the wait for a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// Orders of a day that are looked at.
const MAX_ORDERS: i64 = 5_000;

/// The row as TypeORM gives it out: names as the columns have them, times in UTC.
const ORDER: &str = r#"
    (to_jsonb(o)
        || jsonb_strip_nulls(jsonb_build_object(
            'createdAt', to_char(o."createdAt"::timestamptz, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
            'startedAt', to_char(o."startedAt"::timestamptz, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
            'completedAt', to_char(o."completedAt"::timestamptz, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
            'updatedAt', to_char(o."updatedAt"::timestamptz, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
        )))::text
"#;

/// A connection to it, made when it is first needed.
#[derive(Debug)]
pub(in crate::adapter::sto) struct Postgres {
    pool: PgPool,
    today: String,
    one: String,
    offset_minutes: i16,
}

impl Postgres {
    /// The table behind `url`. Days begin `offset_minutes` before UTC's.
    ///
    /// # Errors
    /// The URL is none.
    pub(in crate::adapter::sto) fn new(
        url: &str,
        offset_minutes: i16,
    ) -> Result<Self, sqlx::Error> {
        let options: PgConnectOptions = url.parse()?;
        // Columns without a time zone are UTC, as the order service writes them.
        let options = options
            .application_name("fanfare sto")
            .options([("TimeZone", "UTC"), ("default_transaction_read_only", "on")]);
        let pool = PgPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .connect_lazy_with(options);
        Ok(Self {
            pool,
            today: format!(
                r#"SELECT {ORDER} FROM sto_orders o
                WHERE o."createdAt" >= date_trunc('day', now() AT TIME ZONE 'UTC'
                    + make_interval(mins => $1)) - make_interval(mins => $1)
                AND o."createdAt" < date_trunc('day', now() AT TIME ZONE 'UTC'
                    + make_interval(mins => $1)) - make_interval(mins => $1) + interval '1 day'
                AND lower(o.status::text) IN ('waiting', 'in_progress', 'blocked')
                ORDER BY o."createdAt" LIMIT {MAX_ORDERS}"#
            ),
            one: format!("SELECT {ORDER} FROM sto_orders o WHERE o.id = $1::text::uuid"),
            offset_minutes,
        })
    }

    pub(super) async fn today(&self) -> Result<Vec<Order>, OrdersError> {
        let query = sqlx::query(sqlx::AssertSqlSafe(self.today.clone()))
            .bind(i32::from(self.offset_minutes))
            .fetch_all(&self.pool);
        let rows = in_time(query).await?;
        let mut orders = Vec::with_capacity(rows.len());
        for row in rows {
            let text: String = row.try_get(0)?;
            match Order::parse(&text) {
                Ok(order) => orders.push(order),
                Err(error) => tracing::warn!(%error, "a row of sto_orders is left out"),
            }
        }
        Ok(orders)
    }

    pub(super) async fn find(&self, id: &str) -> Result<Option<Order>, OrdersError> {
        // Anybody may ask, and it is compared as one, so that the index is used.
        if !is_uuid(id) {
            return Ok(None);
        }
        let query = sqlx::query(sqlx::AssertSqlSafe(self.one.clone()))
            .bind(id)
            .fetch_optional(&self.pool);
        let Some(row) = in_time(query).await? else {
            return Ok(None);
        };
        let text: String = row.try_get(0)?;
        Ok(Order::parse(&text).ok())
    }
}

fn is_uuid(id: &str) -> bool {
    let fits = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    id.len() == 36 && id.bytes().enumerate().all(fits)
}

async fn in_time<T>(answer: impl Future<Output = sqlx::Result<T>>) -> Result<T, OrdersError> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(OrdersError::Slow),
    }
}
