//! `fanfare healthcheck`: whether a running server is ready.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use fanfare::adapter::client::get;

use super::{ConfigFile, output};

/// Longer than this is not healthy either.
const PATIENCE: Duration = Duration::from_secs(3);

/// Ask a running server whether it is ready; for container health checks
#[derive(Debug, Args)]
#[command(
    after_help = "Exits 0 if it is, 1 if not. Reads the same configuration as the server.

Examples:
  fanfare healthcheck
  HEALTHCHECK CMD [\"/fanfare\", \"healthcheck\"]"
)]
pub(super) struct Healthcheck {
    #[command(flatten)]
    file: ConfigFile,
    /// Port for metrics and health [default: that of the configuration]
    #[arg(long)]
    metrics_port: Option<u16>,
}

impl Healthcheck {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let server = self.file.load()?.config.server;
        let host = match server.metrics_host {
            IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            host => host,
        };
        let address = SocketAddr::new(host, self.metrics_port.unwrap_or(server.metrics_port));
        let url = format!("http://{address}/ready");
        let (status, text) = tokio::time::timeout(PATIENCE, get(&url))
            .await
            .with_context(|| format!("{url} did not answer within {PATIENCE:?}"))?
            .with_context(|| format!("{url} cannot be asked; is the server running?"))?;
        anyhow::ensure!(status == 200, "{url} answered {status}: {}", text.trim());
        output::line("ready")?;
        Ok(())
    }
}
