//! The `apps` table of soketi, which control panels write: read, never changed.
//!
//! The panels differ in columns and types, so it is looked at what there is, and
//! everything is read as text. `-1` means no limit there, NULL the default; what
//! is out of our range is brought into it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::str::FromStr;

use fanfare_protocol::WebhookEventType;
use serde::Deserialize;
use sqlx::{AssertSqlSafe, Row};

use super::{Database, StoreError};
use crate::apps::App;
use crate::config::{AppConfig, MAX_RATE, Secret, WebhookConfig};

/// The columns that mean something here.
const COLUMNS: [&str; 18] = [
    "id",
    "key",
    "secret",
    "enabled",
    "max_connections",
    "enable_client_messages",
    "enable_user_authentication",
    "max_backend_events_per_sec",
    "max_read_req_per_sec",
    "max_client_events_per_sec",
    "max_presence_members_per_channel",
    "max_presence_member_size_in_kb",
    "max_channel_name_length",
    "max_event_channels_at_once",
    "max_event_name_length",
    "max_event_payload_in_kb",
    "max_event_batch_size",
    "webhooks",
];

/// One webhook as it stands in the table.
#[derive(Deserialize)]
struct SoketiWebhook {
    /// Absent: it calls a function of a cloud.
    url: Option<String>,
    #[serde(default)]
    event_types: Vec<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    filter: SoketiFilter,
}

#[derive(Default, Deserialize)]
struct SoketiFilter {
    channel_name_starts_with: Option<String>,
    channel_name_ends_with: Option<String>,
}

impl Database {
    /// All apps of the table. One that cannot be used is logged and left out.
    pub async fn soketi_apps(&self) -> Result<Vec<App>, StoreError> {
        let table = self.soketi_table.as_deref().unwrap_or_default();
        let there_are = self.columns_of(table).await?;
        let columns: Vec<&str> = COLUMNS
            .into_iter()
            .filter(|column| there_are.contains(*column))
            .collect();
        for needed in ["id", "key", "secret"] {
            if !columns.contains(&needed) {
                return Err(StoreError::NotFound(format!(
                    "column {needed} in the table {table}"
                )));
            }
        }
        let list: Vec<String> = columns
            .iter()
            .map(|column| format!("CAST(\"{column}\" AS TEXT)"))
            .collect();
        // The names are ours, and that of the table was checked.
        let statement = format!("SELECT {} FROM \"{table}\"", list.join(", "));
        let rows = sqlx::query(AssertSqlSafe(statement))
            .fetch_all(&self.pool)
            .await?;
        let mut apps = Vec::new();
        for row in rows {
            let mut values = HashMap::new();
            for (index, column) in columns.iter().enumerate() {
                if let Some(value) = row.try_get::<Option<String>, _>(index)? {
                    values.insert(*column, value);
                }
            }
            match read(&values) {
                Ok(app) => apps.push(app),
                Err(reason) => {
                    let id = values.get("id").map_or("", String::as_str);
                    tracing::warn!(
                        app.id = id,
                        reason,
                        "an app of the soketi table is left out"
                    );
                }
            }
        }
        Ok(apps)
    }

    async fn columns_of(&self, table: &str) -> Result<HashSet<String>, StoreError> {
        let statement = if self.is_sqlite {
            "SELECT name FROM pragma_table_info($1)"
        } else {
            "SELECT CAST(column_name AS TEXT) FROM information_schema.columns WHERE table_name = $1"
        };
        let rows = sqlx::query(statement)
            .bind(table)
            .fetch_all(&self.pool)
            .await?;
        let names: Result<HashSet<String>, sqlx::Error> =
            rows.iter().map(|row| row.try_get(0)).collect();
        let names = names?;
        if names.is_empty() {
            return Err(StoreError::NotFound(format!("table {table}")));
        }
        Ok(names)
    }
}

fn read(values: &HashMap<&str, String>) -> Result<App, String> {
    let text = |column: &str| values.get(column).map(String::as_str);
    let needed = |column: &str| text(column).ok_or_else(|| format!("{column} is empty"));
    let mut config = AppConfig::new(needed("id")?, needed("key")?, needed("secret")?);
    if let Some(enabled) = text("enabled") {
        config.enabled = is_true(enabled);
    }
    config.client_events = text("enable_client_messages").is_some_and(is_true);
    config.authorized_connections = text("enable_user_authentication").is_some_and(is_true);
    let limits = &mut config.limits;
    limits.connections = number(text("max_connections"));
    let rate = |column: &str| number(text(column)).map(|rate: u32| rate.clamp(1, MAX_RATE));
    limits.backend_events_per_second = rate("max_backend_events_per_sec");
    limits.reads_per_second = rate("max_read_req_per_sec");
    if let Some(rate) = text("max_client_events_per_sec") {
        limits.client_events_per_second =
            number(Some(rate)).map_or(MAX_RATE, |rate: u32| rate.clamp(1, MAX_RATE));
    }
    for (limit, column, unit, most) in [
        (
            &mut limits.presence_members,
            "max_presence_members_per_channel",
            1,
            10_000,
        ),
        (
            &mut limits.presence_user_info_bytes,
            "max_presence_member_size_in_kb",
            1_024,
            16 << 10,
        ),
        (
            &mut limits.channel_name_length,
            "max_channel_name_length",
            1,
            200,
        ),
        (
            &mut limits.channels_per_event,
            "max_event_channels_at_once",
            1,
            1_000,
        ),
        (
            &mut limits.event_name_length,
            "max_event_name_length",
            1,
            200,
        ),
        (
            &mut limits.event_data_bytes,
            "max_event_payload_in_kb",
            1_024,
            200 << 10,
        ),
        (
            &mut limits.events_per_batch,
            "max_event_batch_size",
            1,
            1_000,
        ),
    ] {
        if let Some(value) = text(column) {
            *limit = number(Some(value)).map_or(most, |value: usize| {
                value.saturating_mul(unit).clamp(1, most)
            });
        }
    }
    if let Some(webhooks) = text("webhooks").filter(|text| !text.trim().is_empty()) {
        config.webhooks = webhooks_of(webhooks)?;
    }
    config.check_alone().map_err(|error| error.to_string())?;
    Ok(config.to_app())
}

/// Numbers, truths of PostgreSQL, and those of MySQL that were copied.
fn is_true(text: &str) -> bool {
    matches!(text.trim(), "1" | "true" | "t")
}

/// `None` for -1 and for whatever is no number.
fn number<T: FromStr>(text: Option<&str>) -> Option<T> {
    text?.trim().parse().ok()
}

fn webhooks_of(text: &str) -> Result<Vec<WebhookConfig>, String> {
    let listed: Option<Vec<SoketiWebhook>> =
        serde_json::from_str(text).map_err(|error| format!("webhooks: {error}"))?;
    let mut webhooks = Vec::new();
    for webhook in listed.unwrap_or_default() {
        let types: Vec<_> = webhook
            .event_types
            .iter()
            .filter_map(|name| WebhookEventType::from_name(name))
            .collect();
        // A function of a cloud, or only types that do not exist here.
        let (Some(url), false) = (webhook.url, types.is_empty()) else {
            continue;
        };
        let mut config = WebhookConfig::new(&url, &types);
        config.channel_prefix = webhook.filter.channel_name_starts_with;
        config.channel_suffix = webhook.filter.channel_name_ends_with;
        for (name, value) in &webhook.headers {
            config
                .headers
                .insert(name.clone(), Secret::from(value.as_str()));
        }
        webhooks.push(config);
    }
    Ok(webhooks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: &[(&'static str, &str)]) -> HashMap<&'static str, String> {
        [("id", "1"), ("key", "k"), ("secret", "s")]
            .iter()
            .chain(columns)
            .map(|(column, value)| (*column, (*value).to_owned()))
            .collect()
    }

    #[test]
    fn minus_one_is_no_limit_and_nothing_is_the_default() {
        let app = read(&row(&[
            ("max_connections", "-1"),
            ("max_client_events_per_sec", "-1"),
            ("max_event_payload_in_kb", "100"),
            ("max_channel_name_length", "5000"),
            ("enable_client_messages", "true"),
            ("enabled", "0"),
        ]))
        .unwrap();

        assert_eq!(app.limits.connections, None);
        assert_eq!(app.limits.client_events_per_second, MAX_RATE);
        assert_eq!(app.limits.event_data_bytes, 102_400);
        assert_eq!(app.limits.channel_name_length, 200);
        assert_eq!(app.limits.presence_members, 100);
        assert!(app.client_events && !app.enabled);
        assert!(read(&row(&[])).unwrap().enabled);
    }

    #[test]
    fn webhooks_are_taken_over_as_far_as_they_exist_here() {
        let text = r#"[
            {"url": "https://example.com/a", "event_types": ["channel_occupied", "unknown"],
             "headers": {"X-Token": "t"}, "filter": {"channel_name_starts_with": "private-"}},
            {"lambda_function": "f", "event_types": ["channel_occupied"]},
            {"url": "https://example.com/b", "event_types": []}
        ]"#;

        let app = read(&row(&[("webhooks", text)])).unwrap();

        assert_eq!(app.webhooks.len(), 1);
        assert_eq!(app.webhooks[0].url, "https://example.com/a");
        assert_eq!(app.webhooks[0].channels.prefix.as_deref(), Some("private-"));
        assert!(read(&row(&[("webhooks", "nonsense")])).is_err());
        assert!(
            read(&row(&[("webhooks", "null")]))
                .unwrap()
                .webhooks
                .is_empty()
        );
    }
}
