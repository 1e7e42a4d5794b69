//! The tables of statistics and of the messages of a day.

use std::sync::LazyLock;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Row};

use super::sums::{COLUMNS, Point, Rule, Span, Sums};
use super::{Database, StoreError};

/// Days that the messages of a day are kept, for people who look.
const DAYS_KEPT: i64 = 7;

/// Rows that are written at once: few enough for a slow database to take them
/// in a few seconds.
pub const PORTION: usize = 500;

/// Time for the database to do one thing of all these.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one app did in one span on one node.
#[derive(Clone, Debug)]
pub struct UsageRow {
    /// The length of the span.
    pub span: Span,
    /// When it began, in Unix seconds.
    pub start: u64,
    /// The app, or what stands for all.
    pub app: String,
    /// What is to be added.
    pub sums: Sums,
}

/// Adds a row to what is there already.
static ADD: LazyLock<String> = LazyLock::new(|| {
    let columns = COLUMNS.join(", ");
    let values: Vec<String> = (0..COLUMNS.len()).map(|n| format!("${}", n + 5)).collect();
    let merges: Vec<String> = COLUMNS
        .iter()
        .enumerate()
        .map(|(position, column)| {
            let (new, old) = (
                format!("excluded.{column}"),
                format!("fanfare_usage.{column}"),
            );
            match Rule::of(position) {
                Rule::Peak => {
                    format!("{column} = CASE WHEN {new} > {old} THEN {new} ELSE {old} END")
                }
                Rule::Last => format!("{column} = {new}"),
                Rule::Sum => format!("{column} = {old} + {new}"),
            }
        })
        .collect();
    format!(
        "INSERT INTO fanfare_usage (span_s, start_s, app_id, node, {columns}) VALUES ($1, $2, $3, $4, {}) ON CONFLICT (span_s, app_id, start_s, node) DO UPDATE SET {}",
        values.join(", "),
        merges.join(", ")
    )
});

/// The rows of one app in a time, of all nodes together.
static READ: LazyLock<String> = LazyLock::new(|| {
    let sums: Vec<String> = COLUMNS
        .iter()
        .map(|column| format!("CAST(SUM({column}) AS BIGINT)"))
        .collect();
    format!(
        "SELECT start_s, {} FROM fanfare_usage WHERE span_s = $1 AND app_id = $2 AND start_s >= $3 AND start_s < $4 GROUP BY start_s ORDER BY start_s",
        sums.join(", ")
    )
});

impl Database {
    /// Adds what happened on `node`, all of it or nothing; at most [`PORTION`] rows.
    ///
    /// # Errors
    /// The database does not answer in time.
    pub async fn add_usage(&self, node: &str, rows: &[UsageRow]) -> Result<(), StoreError> {
        in_time(self.try_add_usage(node, rows)).await
    }

    async fn try_add_usage(&self, node: &str, rows: &[UsageRow]) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        for row in rows {
            let mut query = sqlx::query(AssertSqlSafe(ADD.as_str()))
                .bind(signed(row.span.seconds()))
                .bind(signed(row.start))
                .bind(&row.app)
                .bind(node);
            for value in row.sums.values() {
                query = query.bind(signed(value));
            }
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// What an app did in the spans that began from `from` up to before `to`.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn usage(
        &self,
        span: Span,
        app: &str,
        from: u64,
        to: u64,
    ) -> Result<Vec<Point>, StoreError> {
        let rows = sqlx::query(AssertSqlSafe(READ.as_str()))
            .bind(signed(span.seconds()))
            .bind(app)
            .bind(signed(from))
            .bind(signed(to))
            .fetch_all(&self.pool)
            .await?;
        let mut points = Vec::with_capacity(rows.len());
        for row in rows {
            let mut values = [0; COLUMNS.len()];
            for (position, value) in values.iter_mut().enumerate() {
                *value = unsigned(row.try_get(position + 1)?);
            }
            points.push(Point {
                start: unsigned(row.try_get(0)?),
                sums: Sums::from_values(values),
            });
        }
        Ok(points)
    }

    /// Forgets what began before `start`.
    ///
    /// # Errors
    /// The database does not answer in time.
    pub async fn prune_usage(&self, span: Span, start: u64) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM fanfare_usage WHERE span_s = $1 AND start_s < $2")
            .bind(signed(span.seconds()))
            .bind(signed(start));
        in_time(query.execute(&self.pool)).await?;
        Ok(())
    }

    /// Adds messages of apps to those of a day (days since 1970), all of them or
    /// none; at most [`PORTION`], each app once.
    ///
    /// # Errors
    /// The database does not answer in time.
    pub async fn add_messages(
        &self,
        day: u64,
        mut messages: Vec<(String, u64)>,
    ) -> Result<(), StoreError> {
        // One order on all nodes, or they would wait for one another.
        messages.sort_unstable();
        in_time(self.try_add_messages(day, &messages)).await
    }

    async fn try_add_messages(
        &self,
        day: u64,
        messages: &[(String, u64)],
    ) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        for (app, count) in messages {
            sqlx::query(
                "INSERT INTO fanfare_days (day, app_id, messages) VALUES ($1, $2, $3) ON CONFLICT (day, app_id) DO UPDATE SET messages = fanfare_days.messages + excluded.messages",
            )
            .bind(signed(day))
            .bind(app)
            .bind(signed(*count))
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// What all apps have used of a day on all nodes.
    ///
    /// # Errors
    /// The database does not answer in time.
    pub async fn messages_of(&self, day: u64) -> Result<Vec<(String, u64)>, StoreError> {
        let query = sqlx::query("SELECT app_id, messages FROM fanfare_days WHERE day = $1")
            .bind(signed(day));
        let rows = in_time(query.fetch_all(&self.pool)).await?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, unsigned(row.try_get(1)?))))
            .collect()
    }

    /// Forgets the days that are over for long.
    ///
    /// # Errors
    /// The database does not answer in time.
    pub async fn prune_days(&self, day: u64) -> Result<(), StoreError> {
        let query =
            sqlx::query("DELETE FROM fanfare_days WHERE day < $1").bind(signed(day) - DAYS_KEPT);
        in_time(query.execute(&self.pool)).await?;
        Ok(())
    }
}

async fn in_time<T, E: Into<StoreError>>(
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(StoreError::NoAnswer(PATIENCE)),
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
