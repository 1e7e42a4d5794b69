//! `fanfare migrate`: brings the database up to date.

use anyhow::Context;
use clap::Args;
use fanfare::store::Database;

use super::{ConfigFile, output};

/// Bring the tables of the database up to date; the server does so at its start
#[derive(Debug, Args)]
#[command(
    after_help = "Secrets that are sealed with an old master key, or not at all, are sealed with
store.master_key.

Examples:
  fanfare migrate
  fanfare migrate --config fanfare.toml"
)]
pub(super) struct Migrate {
    #[command(flatten)]
    file: ConfigFile,
}

impl Migrate {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let config = self.file.load()?.config;
        let database = Database::connect(&config.store).await?.context(
            "no database is configured: set store.url in the file, or FANFARE_STORE_URL",
        )?;
        database.migrate().await?;
        let resealed = database.reseal().await?;
        output::note("the tables are up to date");
        if resealed > 0 {
            output::note(&format!("{resealed} secrets were sealed anew"));
        }
        Ok(())
    }
}
