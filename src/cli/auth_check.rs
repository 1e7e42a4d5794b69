//! `fanfare auth-check`: why somebody may or may not subscribe.

use std::io::Read;

use anyhow::Context;
use clap::Args;
use fanfare::adapter::auth::{Authority, Outcome, Question, room};
use fanfare::config::ConfigError;
use fanfare::server::auth_config;
use fanfare_protocol::{ChannelKind, ChannelName, Limits};

use super::{ConfigFile, output};

/// Bytes of a token that are read from standard input.
const MAX_INPUT: u64 = 64 << 10;

/// Explain whether a JWT may subscribe to a channel, rule by rule
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: 0 allowed; 1 refused, not decided because a back end did not
answer, or a channel that needs no authorisation; 2 wrong usage or configuration.

Examples:
  fanfare auth-check --token eyJhbGciOi... --channel private-operators
  fanfare auth-check --token - --channel 'private-city;=0KHQsNGA0LDRgtC-0LI' < token
  fanfare auth-check --token - --room city:Саратов < token"
)]
pub(super) struct AuthCheck {
    /// The JWT; - reads it from standard input, where no list of processes shows it
    #[arg(long)]
    token: String,
    /// The channel, with its prefix
    #[arg(long, required_unless_present = "room", conflicts_with = "room")]
    channel: Option<String>,
    /// The room, for its private- channel
    #[arg(long)]
    room: Option<String>,
    #[command(flatten)]
    file: ConfigFile,
}

impl AuthCheck {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let config = self.file.load()?.config;
        let auth = auth_config(&config).ok_or_else(|| {
            ConfigError::missing(
                "auth.enabled".to_owned(),
                "true, and rules in [[auth.rules]]",
            )
        })?;
        let authority = Authority::new(&auth);
        let channel = match (&self.channel, &self.room) {
            (Some(channel), _) => channel.clone(),
            (None, room) => format!(
                "private-{}",
                room::encode(room.as_deref().unwrap_or_default())
            ),
        };
        let app = config.app_id(auth.app.as_deref());
        let limits = config
            .apps
            .iter()
            .find(|known| Some(known.id.as_str()) == app.as_ref().map(|app| app.as_str()))
            .map_or_else(Limits::default, |app| app.limits.clone());
        let name = ChannelName::parse(&channel, &limits)
            .with_context(|| format!("{channel} cannot be subscribed to"))?;
        let kind = name.kind();
        if !matches!(kind, ChannelKind::Private | ChannelKind::Presence) {
            anyhow::bail!(
                "{channel} is neither private- nor presence-: public channels need no authorisation, and encrypted ones need a back end that has their key"
            );
        }
        let room = room::of_channel(&channel).with_context(|| {
            format!("{channel} is refused: try --room with the name of the room")
        })?;
        output::line(&format!(
            "channel {channel} is the room {}",
            output::printable(&room)
        ))?;
        let person = authority
            .person(self.read_token()?.trim())
            .await
            .context("refused (401)")?;
        output::line(&format!(
            "the token is valid: user {:?}, roles {:?}",
            person.id, person.roles
        ))?;
        let decision = authority
            .decide(&Question {
                person: &person,
                channel: &channel,
                room: &room,
                kind,
                socket_id: "0.0",
            })
            .await;
        for step in &decision.steps {
            output::line(step)?;
        }
        match decision.outcome {
            Outcome::Allowed => output::line("allowed")?,
            Outcome::Refused => anyhow::bail!("refused (403)"),
            Outcome::Unknown => anyhow::bail!("not decided (503): a back end did not answer"),
        }
        Ok(())
    }

    fn read_token(&self) -> anyhow::Result<String> {
        if self.token != "-" {
            return Ok(self.token.clone());
        }
        let mut token = String::new();
        std::io::stdin()
            .take(MAX_INPUT)
            .read_to_string(&mut token)
            .context("the token cannot be read")?;
        Ok(token)
    }
}
