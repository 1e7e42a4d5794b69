//! `fanfare webhooks …`: what became of webhooks, from the database.

use anyhow::Context;
use clap::{Args, Subcommand};
use fanfare::store::{Database, Entry};
use fanfare_protocol::webhook;
use serde_json::{Value, json};

use super::app::date;
use super::{ConfigFile, output};

/// List webhook requests, and send one again
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fanfare webhooks list --app 1
  fanfare webhooks list --state given_up --json
  fanfare webhooks show 6f1d2c3b4a596877
  fanfare webhooks redeliver 6f1d2c3b4a596877")]
pub(super) struct Webhooks {
    #[command(flatten)]
    file: ConfigFile,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the latest requests, the newest first
    List {
        /// Only those of this app
        #[arg(long, value_name = "ID")]
        app: Option<String>,
        /// Only those in this state: waiting, delivered, given_up, refused, dropped
        #[arg(long)]
        state: Option<String>,
        /// How many at most
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the body of a request
    Show {
        /// The id of the request
        id: String,
    },
    /// Have the events of a request sent once more, by a server that runs
    Redeliver {
        /// The id of the request
        id: String,
    },
}

impl Webhooks {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let config = self.file.load()?.config;
        let database = Database::connect(&config.store).await?.context(
            "no database is configured: set store.url in the file, or FANFARE_STORE_URL",
        )?;
        match self.command {
            Command::List {
                app,
                state,
                limit,
                json,
            } => {
                let (app, state) = (app.as_deref(), state.as_deref());
                let entries = database.webhook_page(app, state, None, limit as usize);
                list(&entries.await?, json)
            }
            Command::Show { id } => Ok(output::line(&body(&database.webhook(&id).await?))?),
            Command::Redeliver { id } => Ok(output::line(&database.redeliver(&id).await?)?),
        }
    }
}

fn list(entries: &[Entry], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let all: Vec<Value> = entries.iter().map(to_json).collect();
        output::line(&Value::Array(all).to_string())?;
        return Ok(());
    }
    for entry in entries {
        let status = entry
            .status
            .map_or_else(|| "-".to_owned(), |status| status.to_string());
        output::line(&format!(
            "{}  {}  {:9}  {status:>3}  {} attempts  app {}  {}{}",
            entry.id,
            date(entry.created_ms),
            entry.state,
            entry.attempts,
            entry.app_id,
            entry.url,
            entry
                .error
                .as_deref()
                .map_or_else(String::new, |error| format!("  ({error})")),
        ))?;
    }
    Ok(())
}

fn to_json(entry: &Entry) -> Value {
    json!({
        "id": entry.id,
        "app_id": entry.app_id,
        "url": entry.url,
        "created_ms": entry.created_ms,
        "state": entry.state,
        "attempts": entry.attempts,
        "status": entry.status,
        "latency_ms": entry.latency_ms,
        "error": entry.error,
        "body": body(entry),
    })
}

fn body(entry: &Entry) -> String {
    webhook::body(u64::try_from(entry.created_ms).unwrap_or(0), &entry.events)
}
