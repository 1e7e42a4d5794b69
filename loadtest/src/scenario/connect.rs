//! Connections that subscribe and stay idle.

use anyhow::ensure;
use clap::Args;

use super::{OPENING, open, subscribe};
use crate::Server;
use crate::process::Meter;
use crate::report::Report;

/// The settings of `connect`.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Connect {
    /// Connections
    #[arg(long, default_value_t = 4_000)]
    connections: usize,
    /// Channels, over which the connections are spread
    #[arg(long, default_value_t = 1)]
    channels: usize,
    /// Connections that are opened at the same time
    #[arg(long, default_value_t = OPENING)]
    at_once: usize,
}

impl Connect {
    pub(crate) async fn run(self, server: &Server) -> anyhow::Result<Report> {
        ensure!(
            self.connections > 0 && self.channels > 0 && self.at_once > 0,
            "--connections, --channels and --at-once must be at least 1"
        );
        let connections = self.connections as f64;
        let whole = Meter::start(&server.pid)?;
        let open = open(server, self.connections, self.at_once).await?;
        let opening = whole.stop()?;
        let subscriptions = Meter::start(&server.pid)?;
        let name = |number| format!("load-{}", number % self.channels);
        let mut subscribed = subscribe(server, open, self.at_once, name).await?;
        let subscribing = subscriptions.stop()?;
        let spent = whole.stop()?;
        // Each of them is really there.
        for subscriber in &mut subscribed {
            subscriber.nothing_more().await?;
        }

        let mut report = Report::new(
            "connect",
            format!(
                "{} connections, {} at once, subscribed to {} channels",
                self.connections, self.at_once, self.channels
            ),
        );
        report.add(
            "connections per second",
            connections / opening.seconds,
            "/s",
        );
        report.add(
            "subscriptions per second",
            connections / subscribing.seconds,
            "/s",
        );
        if let Some(cpu_us) = opening.server_cpu_us {
            report.add("server CPU per connection", cpu_us / connections, "us");
        }
        if let Some(cpu_us) = subscribing.server_cpu_us {
            report.add("server CPU per subscription", cpu_us / connections, "us");
        }
        if let Some(grown) = spent.server_grown {
            report.add(
                "server memory per connection",
                grown / connections / 1_024.0,
                "KiB",
            );
        }
        report.own_cpu("connection", &spent, connections);
        Ok(report)
    }
}
