//! Several events with one request.

use std::sync::Arc;

use anyhow::ensure;
use clap::Args;

use super::fanout::{describe, finish, receivers};
use super::{Deliveries, OPENING, failure, open, subscribe};
use crate::Server;
use crate::back_end::BackEnd;
use crate::ledger::Ledger;
use crate::process::Meter;
use crate::progress;
use crate::report::Report;
use crate::subscriber::{Expected, message_data};

const CHANNEL: &str = "load-batch";

/// The settings of `batch`.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Batch {
    /// Connections; with 0 nobody listens
    #[arg(long, default_value_t = 1_000)]
    subscribers: usize,
    /// Requests; the next follows when all events of one have arrived
    #[arg(long, default_value_t = 50)]
    requests: usize,
    /// Events per request
    #[arg(long, default_value_t = 10)]
    events: usize,
    #[command(flatten)]
    deliveries: Deliveries,
}

impl Batch {
    pub(crate) async fn run(self, server: &Server) -> anyhow::Result<Report> {
        self.deliveries.check()?;
        ensure!(
            self.requests > 0 && self.events > 0,
            "--requests and --events must be at least 1"
        );
        let messages = self.requests * self.events;
        let connections = open(server, self.subscribers, OPENING).await?;
        let connections = subscribe(server, connections, OPENING, |_| CHANNEL.to_owned()).await?;
        let ledger = Arc::new(Ledger::new(
            messages,
            self.subscribers,
            self.events,
            self.deliveries.stalled(),
        ));
        let mut receivers = receivers(&ledger, connections, |_| Expected {
            event: "load",
            first: 0,
            step: 1,
            messages,
            bytes: self.deliveries.bytes,
        });
        let mut back_end = BackEnd::connect(server).await?;
        let mut points = Vec::new();

        let meter = Meter::start(&server.pid)?;
        tokio::select! {
            outcome = self.publish(&mut back_end, &ledger) => outcome?,
            outcome = failure(&mut receivers) => outcome?,
            () = progress::watch(&ledger.tally, &mut points) => {}
        }
        let spent = meter.stop()?;
        let reads = finish(&ledger, receivers).await?;

        let mut report = Report::new(
            "batch",
            format!(
                "{} requests of {} events of {} bytes, {} subscribers",
                self.requests, self.events, self.deliveries.bytes, self.subscribers
            ),
        );
        report.add(
            "requests per second",
            self.requests as f64 / spent.seconds,
            "/s",
        );
        if let Some(cpu_us) = spent.server_cpu_us {
            report.add(
                "server CPU per request",
                cpu_us / self.requests as f64,
                "us",
            );
            report.add("server CPU per event", cpu_us / messages as f64, "us");
        }
        if self.subscribers > 0 {
            describe(&mut report, &ledger, messages, &spent, reads);
        } else {
            report.own_cpu("event", &spent, messages as f64);
        }
        report.answers(&back_end.answers_us);
        report.series("deliveries per second", "seconds", points);
        Ok(report)
    }

    async fn publish(self, back_end: &mut BackEnd, ledger: &Ledger) -> anyhow::Result<()> {
        for request in 0..self.requests {
            let mut events = Vec::with_capacity(self.events);
            for message in request * self.events..(request + 1) * self.events {
                // Nobody gives the room back when nobody listens.
                if self.subscribers > 0 {
                    ledger.admit(message).await?;
                }
                events.push(message_data(
                    message,
                    ledger.now_us(),
                    self.deliveries.bytes,
                ));
            }
            back_end.batch(CHANNEL, &events).await?;
        }
        ledger.complete().await
    }
}
