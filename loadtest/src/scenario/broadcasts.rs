//! Broadcasts of the rooms adapter, at a fixed rate: whether they are any load.

use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::Server;
use crate::back_end::BackEnd;
use crate::process::Meter;
use crate::progress::bar;
use crate::report::Report;

/// The settings of `broadcasts`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Broadcasts {
    /// Requests, one after the other on one connection
    #[arg(long, default_value_t = 10_000)]
    requests: u32,
    /// Requests per second
    #[arg(long, default_value_t = 1_000)]
    rate: u32,
    /// `adapters.rooms.webhook_token` of the server
    #[arg(long, default_value = "loadtest-token")]
    token: String,
}

impl Broadcasts {
    pub(crate) async fn run(self, server: &Server) -> anyhow::Result<Report> {
        ensure!(
            self.requests > 0 && self.rate > 0,
            "--requests and --rate must be at least 1"
        );
        let mut back_end = BackEnd::connect(server).await?;
        let bar = bar("requests", self.requests as usize);
        let meter = Meter::start(&server.pid)?;
        let began = Instant::now();
        for number in 0..self.requests {
            let due = Duration::from_micros(u64::from(number) * 1_000_000 / u64::from(self.rate));
            sleep_until(began + due).await;
            let body = json!({
                "token": self.token,
                "call": {"id": number, "phone": "+70000000000", "operatorId": number % 100},
            });
            back_end
                .post_to("/api/v1/broadcast/call-new", body.to_string())
                .await?;
            bar.inc(1);
        }
        let spent = meter.stop()?;
        let requests = f64::from(self.requests);
        let mut report = Report::new(
            "broadcasts",
            format!("{requests} requests, {} a second", self.rate),
        );
        report.add("requests per second", requests / spent.seconds, "/s");
        if let Some(cpu_us) = spent.server_cpu_us {
            report.add("server CPU per request", cpu_us / requests, "us");
            let share = cpu_us / spent.seconds / 10_000.0;
            report.add("server's share of one processor", share, "%");
        }
        report.own_cpu("request", &spent, requests);
        report.answers(&back_end.answers_us);
        Ok(report)
    }
}
