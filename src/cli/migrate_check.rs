//! `fanfare migrate-check`: what a configuration of another server becomes here.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use fanfare::config::{Migration, MigrationFrom};

use super::output;

/// Read a configuration of soketi, Reverb or Pusher and print what it becomes
#[derive(Debug, Args)]
#[command(
    after_help = "Prints the configuration that results, secrets masked, and what changes and what is
lost. Nothing is changed; the environment of this command is not looked at.

Examples:
  fanfare migrate-check --from reverb .env
  fanfare migrate-check --from soketi soketi.json"
)]
pub(super) struct MigrateCheck {
    /// The server that you come from
    #[arg(long)]
    from: Server,
    /// Its env file, or the JSON file of soketi
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Server {
    Soketi,
    Reverb,
    Pusher,
}

impl MigrateCheck {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let from = match self.from {
            Server::Soketi => MigrationFrom::Soketi,
            Server::Reverb => MigrationFrom::Reverb,
            Server::Pusher => MigrationFrom::Pusher,
        };
        let migration = Migration::read(from, &self.file)?;
        let mut text = migration.config.to_toml()?;
        for (title, lines) in [
            ("Understood", &migration.understood),
            ("Changes", &migration.changes),
            ("Lost", &migration.lost),
        ] {
            text.push_str(&format!("\n# {title}:\n"));
            if lines.is_empty() {
                text.push_str("#   nothing\n");
            }
            for line in lines {
                text.push_str(&format!("#   {line}\n"));
            }
        }
        output::line(text.trim_end())?;
        Ok(())
    }
}
