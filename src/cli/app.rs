//! `fanfare app …`: the apps of the database. A running server sees each change
//! within a second.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use clap::{Args, Subcommand};
use fanfare::config::{AppConfig, HistoryRuleConfig, KeyConfig, Plan, WebhookConfig};
use fanfare::store::{Database, StoreError, StoredApp};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{ConfigFile, output};

/// Create, list and change the apps of the database
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fanfare app create --client-events
  fanfare app list
  fanfare app update 1 --max-connections 500
  fanfare app rotate-key 1          a second key; deploy it, then remove the first:
  fanfare app remove-key 1 OLD-KEY
  fanfare app disable 1             closes its connections within a second")]
pub(super) struct App {
    #[command(flatten)]
    file: ConfigFile,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create an app and print its credentials, the secret for the only time
    Create(Create),
    /// List the apps
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one app, secrets masked
    Show {
        /// The id of the app
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Change switches and limits
    Update {
        /// The id of the app
        id: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Add a key pair and print it; the others go on to be valid
    RotateKey {
        /// The id of the app
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a key; connections that it opened stay
    RemoveKey {
        /// The id of the app
        id: String,
        /// The key
        key: String,
    },
    /// Let clients and back ends in again
    Enable {
        /// The id of the app
        id: String,
    },
    /// Close the connections with 4003 and answer the API with 403
    Disable {
        /// The id of the app
        id: String,
    },
    /// Remove an app and its keys
    Delete {
        /// The id of the app
        id: String,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// The id; digits alone suit every SDK [default: random digits]
    #[arg(long)]
    id: Option<String>,
    /// The key [default: random]
    #[arg(long)]
    key: Option<String>,
    #[command(flatten)]
    settings: Settings,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is not given stays as it is.
#[derive(Debug, Args)]
struct Settings {
    /// Whether clients may send `client-…` events
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    client_events: Option<bool>,
    /// Whether subscribers are told how many they are
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    subscription_count: Option<bool>,
    /// Whether signed-in users hear of the users they watch
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    watchlist: Option<bool>,
    /// Whether connections must sign in or subscribe to a private channel
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    authorized_connections: Option<bool>,
    /// Whether plain connections are refused
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    tls_only: Option<bool>,
    /// Whether a session belongs to the first user who is known on it
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    bind_sessions: Option<bool>,
    /// A page that may connect, such as https://shop.example; may be repeated
    #[arg(long, value_name = "ORIGIN")]
    allowed_origin: Option<Vec<String>>,
    /// Connections at the same time; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    max_connections: Option<i64>,
    /// A preset of limits: sandbox, startup, pro or unlimited
    #[arg(long, value_name = "NAME", value_parser = plan)]
    plan: Option<Plan>,
    /// Messages of one day; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    messages_per_day: Option<i64>,
    /// Events per second over the HTTP API; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    backend_events_per_second: Option<i64>,
    /// Reading requests per second over the HTTP API; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    reads_per_second: Option<i64>,
    /// Client events per second of all connections together; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    app_client_events_per_second: Option<i64>,
    /// Messages per second and connection; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    messages_per_second: Option<i64>,
    /// Webhooks as JSON, as in the configuration file:
    /// [{"url": "https://…", "events": ["channel_occupied"]}]
    #[arg(long, value_name = "JSON")]
    webhooks: Option<String>,
    /// Which channels keep their past events, as JSON:
    /// [{"channels": "kitchen*", "events": 1000, "seconds": 3600}]
    #[arg(long, value_name = "JSON")]
    history: Option<String>,
}

/// What of [`Settings`] is written as JSON.
struct Lists {
    webhooks: Option<Vec<WebhookConfig>>,
    history: Option<Vec<HistoryRuleConfig>>,
}

impl App {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let config = self.file.load()?.config;
        let database = Database::connect(&config.store).await?.context(
            "no database is configured: set store.url in the file, or FANFARE_STORE_URL",
        )?;
        match self.command {
            Command::Create(create) => {
                database.migrate().await?;
                create.run(&database, config.server.port).await
            }
            Command::List { json } => list(&database, json).await,
            Command::Show { id, json } => show(&database.get(&id).await?, json),
            Command::Update { id, settings } => {
                let lists = settings.lists()?;
                let apply = |app: &mut AppConfig| {
                    settings.apply(app, lists);
                    Ok::<_, anyhow::Error>(())
                };
                database.update(&id, apply).await?;
                Ok(())
            }
            Command::RotateKey { id, json } => {
                let pair = KeyConfig::random();
                database.add_key(&id, &pair).await?;
                credentials(&id, &pair, config.server.port, json)?;
                output::note("the other keys are valid until `fanfare app remove-key`");
                Ok(())
            }
            Command::RemoveKey { id, key } => Ok(database.remove_key(&id, &key).await?),
            Command::Enable { id } => switch(&database, &id, true).await,
            Command::Disable { id } => switch(&database, &id, false).await,
            Command::Delete { id } => Ok(database.delete(&id).await?),
        }
    }
}

impl Create {
    async fn run(self, database: &Database, port: u16) -> anyhow::Result<()> {
        let mut pair = KeyConfig::random();
        if let Some(key) = self.key {
            pair.key = key;
        }
        let id = self.id.unwrap_or_else(AppConfig::random_id);
        let mut app = AppConfig::new(&id, &pair.key, pair.secret.reveal());
        let lists = self.settings.lists()?;
        self.settings.apply(&mut app, lists);
        database.create(&app).await?;
        credentials(&id, &pair, port, self.json)
    }
}

impl Settings {
    fn lists(&self) -> anyhow::Result<Lists> {
        Ok(Lists {
            webhooks: json_list("webhooks", self.webhooks.as_deref())?,
            history: json_list("history", self.history.as_deref())?,
        })
    }

    fn apply(self, app: &mut AppConfig, lists: Lists) {
        let set = |switch: &mut bool, wish: Option<bool>| {
            if let Some(wish) = wish {
                *switch = wish;
            }
        };
        set(&mut app.client_events, self.client_events);
        set(&mut app.subscription_count, self.subscription_count);
        set(&mut app.watchlist, self.watchlist);
        set(&mut app.authorized_connections, self.authorized_connections);
        set(&mut app.tls_only, self.tls_only);
        set(&mut app.bind_sessions, self.bind_sessions);
        if let Some(origins) = self.allowed_origin {
            app.allowed_origins = origins;
        }
        if let Some(most) = self.max_connections {
            app.limits.connections = usize::try_from(most).ok();
        }
        app.plan = self.plan.unwrap_or(app.plan);
        let limits = &mut app.limits;
        if let Some(most) = self.messages_per_day {
            limits.messages_per_day = u64::try_from(most).ok();
        }
        for (rate, wish) in [
            (
                &mut limits.backend_events_per_second,
                self.backend_events_per_second,
            ),
            (&mut limits.reads_per_second, self.reads_per_second),
            (
                &mut limits.app_client_events_per_second,
                self.app_client_events_per_second,
            ),
            (&mut limits.messages_per_second, self.messages_per_second),
        ] {
            match wish {
                // What is too large is refused by the check of the app.
                Some(wish) if wish >= 0 => *rate = Some(u32::try_from(wish).unwrap_or(u32::MAX)),
                Some(_) => *rate = None,
                None => {}
            }
        }
        if let Some(webhooks) = lists.webhooks {
            app.webhooks = webhooks;
        }
        if let Some(history) = lists.history {
            app.history = history;
        }
    }
}

/// The list that an argument holds.
fn json_list<T: DeserializeOwned>(name: &str, text: Option<&str>) -> anyhow::Result<Option<T>> {
    text.map(|text| {
        serde_json::from_str(text).with_context(|| format!("--{name} is not a list of {name}"))
    })
    .transpose()
}

/// The plan of that name.
fn plan(name: &str) -> Result<Plan, String> {
    serde_json::from_value(name.into())
        .map_err(|_| "expected sandbox, startup, pro or unlimited".to_owned())
}

async fn switch(database: &Database, id: &str, enabled: bool) -> anyhow::Result<()> {
    let change = |app: &mut AppConfig| {
        app.enabled = enabled;
        Ok::<_, StoreError>(())
    };
    database.update(id, change).await?;
    Ok(())
}

async fn list(database: &Database, as_json: bool) -> anyhow::Result<()> {
    let apps = database.list().await?;
    if as_json {
        let all: Vec<Value> = apps.iter().map(masked).collect::<Result<_, _>>()?;
        output::line(&Value::Array(all).to_string())?;
        return Ok(());
    }
    if apps.is_empty() {
        output::note("there are no apps; create one with `fanfare app create`");
        return Ok(());
    }
    let rows = apps.iter().map(|app| {
        let config = &app.config;
        let keys: Vec<String> = config.pairs().into_iter().map(|pair| pair.key).collect();
        [
            config.id.clone(),
            keys.join(","),
            if config.enabled {
                "enabled"
            } else {
                "disabled"
            }
            .to_owned(),
            config
                .limits
                .connections
                .map_or_else(|| "-".to_owned(), |most| most.to_string()),
            date(app.created_ms),
        ]
    });
    let head = ["ID", "KEYS", "STATE", "CONNECTIONS", "CREATED"].map(str::to_owned);
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(rows).collect();
    let widths: [usize; 5] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        output::line(cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn show(app: &StoredApp, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        output::line(&masked(app)?.to_string())?;
    } else {
        output::line(toml::to_string_pretty(&app.config)?.trim_end())?;
    }
    Ok(())
}

/// The app as JSON, secrets masked.
fn masked(app: &StoredApp) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(&app.config)?;
    value["created_ms"] = app.created_ms.into();
    Ok(value)
}

/// What the back end and the pages need, as lines for their `.env` files.
fn credentials(id: &str, pair: &KeyConfig, port: u16, as_json: bool) -> anyhow::Result<()> {
    let (key, secret) = (&pair.key, pair.secret.reveal());
    if as_json {
        output::line(&json!({"id": id, "key": key, "secret": secret}).to_string())?;
        return Ok(());
    }
    output::line(&format!(
        "# back end\nPUSHER_APP_ID={id}\nPUSHER_APP_KEY={key}\nPUSHER_APP_SECRET={secret}\nPUSHER_HOST=127.0.0.1\nPUSHER_PORT={port}\nPUSHER_SCHEME=http\n\n# front end\nVITE_PUSHER_APP_KEY={key}\nVITE_PUSHER_HOST=127.0.0.1\nVITE_PUSHER_PORT={port}\nVITE_PUSHER_SCHEME=http"
    ))?;
    output::note("the secret is not shown again");
    Ok(())
}

/// A time as people read it, in seconds of UTC.
pub(super) fn date(unix_ms: i64) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(u64::try_from(unix_ms).unwrap_or(0));
    let time = OffsetDateTime::from(time);
    let time = time.replace_nanosecond(0).unwrap_or(time);
    time.format(&Rfc3339).unwrap_or_default()
}
