//! `fanfare channels`: what is occupied, and by how many.

use clap::Args;
use serde_json::{Map, Value};

use super::api::{Api, advise};
use super::output;

/// List the occupied channels
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fanfare channels
  fanfare channels --prefix presence- --info user_count
  fanfare channels --json | jq '.channels | keys'")]
pub(super) struct Channels {
    /// Only channels whose names start with this
    #[arg(long, default_value = "")]
    prefix: String,
    /// Attributes: user_count (with a prefix of presence-), subscription_count
    #[arg(long, default_value = "")]
    info: String,
    /// Print the server's JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: Api,
}

impl Channels {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let client = self.api.target().await?.client()?;
        let answer = client
            .channels(&self.prefix, &self.info)
            .await
            .map_err(advise)?;
        if self.json {
            output::line(&answer.to_string())?;
            return Ok(());
        }
        let none = Map::new();
        let channels = answer["channels"].as_object().unwrap_or(&none);
        if channels.is_empty() {
            output::note("no channel is occupied");
        }
        let width = channels.keys().map(String::len).max().unwrap_or(0);
        for (channel, info) in channels {
            output::line(format!("{channel:width$}  {}", attributes(info)).trim_end())?;
        }
        Ok(())
    }
}

fn attributes(info: &Value) -> String {
    let none = Map::new();
    info.as_object()
        .unwrap_or(&none)
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(" ")
}
