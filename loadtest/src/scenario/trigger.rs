//! Triggers that reach nobody: what a request costs by itself.

use anyhow::ensure;
use clap::Args;

use crate::Server;
use crate::back_end::BackEnd;
use crate::process::Meter;
use crate::progress::bar;
use crate::report::Report;

/// The settings of `trigger`.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Trigger {
    /// Requests, one after the other on one connection
    #[arg(long, default_value_t = 20_000)]
    requests: usize,
    /// Bytes of data
    #[arg(long, default_value_t = 256)]
    bytes: usize,
}

impl Trigger {
    pub(crate) async fn run(self, server: &Server) -> anyhow::Result<Report> {
        ensure!(self.requests > 0, "--requests must be at least 1");
        let mut back_end = BackEnd::connect(server).await?;
        let data = "x".repeat(self.bytes);
        let bar = bar("requests", self.requests);
        let meter = Meter::start(&server.pid)?;
        for _ in 0..self.requests {
            back_end.trigger("nobody", &data).await?;
            bar.inc(1);
        }
        let spent = meter.stop()?;
        let requests = self.requests as f64;
        let mut report = Report::new(
            "trigger",
            format!("{requests} requests with {} bytes of data", self.bytes),
        );
        report.add("requests per second", requests / spent.seconds, "/s");
        if let Some(cpu_us) = spent.server_cpu_us {
            report.add("server CPU per request", cpu_us / requests, "us");
        }
        report.own_cpu("request", &spent, requests);
        report.answers(&back_end.answers_us);
        Ok(report)
    }
}
