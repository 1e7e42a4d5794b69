//! `fanfare trigger`: publishes an event as a back end does.

use std::io::Read;

use anyhow::Context;
use clap::Args;
use fanfare::adapter::client::Event;

use super::api::{Api, advise};
use super::output;

/// Publish an event over the HTTP API
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fanfare trigger orders order.created '{\"id\":7}'
  fanfare trigger orders order.created '{\"id\":7}' --also kitchen --socket-id 1234.5678
  jq -c . order.json | fanfare trigger orders order.created -")]
pub(super) struct Trigger {
    /// Channel
    channel: String,
    /// Name of the event
    event: String,
    /// Data, usually JSON; `-` reads it from the input
    #[arg(default_value = "{}")]
    data: String,
    /// A further channel; may be repeated
    #[arg(long = "also", value_name = "CHANNEL")]
    also: Vec<String>,
    /// A connection that does not get the event
    #[arg(long)]
    socket_id: Option<String>,
    #[command(flatten)]
    api: Api,
}

impl Trigger {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let client = self.api.target().await?.client()?;
        let data = match self.data.as_str() {
            "-" => {
                let mut data = String::new();
                std::io::stdin()
                    .read_to_string(&mut data)
                    .context("cannot read the data from the input")?;
                data
            }
            data => data.to_owned(),
        };
        let channels: Vec<String> = std::iter::once(self.channel).chain(self.also).collect();
        client
            .trigger(&Event {
                name: &self.event,
                data: &data,
                channels: &channels,
                socket_id: self.socket_id.as_deref(),
            })
            .await
            .map_err(advise)?;
        output::line(&format!("{} sent to {}", self.event, channels.join(", ")))?;
        Ok(())
    }
}
