//! `fanfare check-config`: what the server would run with.

use clap::Args;
use fanfare::server::certificates;

use super::{ConfigFile, output};

/// Check the configuration and print it, secrets masked
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fanfare check-config
  fanfare check-config --config fanfare.toml && systemctl restart fanfare")]
pub(super) struct CheckConfig {
    #[command(flatten)]
    file: ConfigFile,
}

impl CheckConfig {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let loaded = self.file.load_for_server(Vec::new())?;
        certificates(&loaded.config)?;
        let mut text = loaded.config.to_toml()?;
        if !loaded.variables.is_empty() {
            text.push_str("\n# Variables of the environment:\n");
            for variable in &loaded.variables {
                text.push_str(&format!("#   {} {}\n", variable.name, variable.effect));
            }
        }
        output::line(text.trim_end())?;
        Ok(())
    }
}
