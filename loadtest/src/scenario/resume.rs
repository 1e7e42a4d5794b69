//! Pages with a session that lose their connection, and come back for what they have
//! missed.

use std::sync::Arc;

use anyhow::ensure;
use clap::Args;
use tokio::task::JoinSet;

use super::{Deliveries, OPENING, failure, open_sessions};
use crate::Server;
use crate::back_end::BackEnd;
use crate::ledger::Tally;
use crate::process::Meter;
use crate::progress;
use crate::report::Report;
use crate::subscriber::{Expected, Subscriber, message_data};

const CHANNEL: &str = "load-missed";

/// Messages in one request.
const BATCH: usize = 100;

/// The settings of `resume`.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Resume {
    /// Connections with a session each, on one channel; the server must keep its past:
    /// loadtest/history.toml
    #[arg(long, default_value_t = 1_000)]
    connections: usize,
    /// Messages that all of them miss
    #[arg(long, default_value_t = 100)]
    missed: usize,
    /// Connections that come back at the same time
    #[arg(long, default_value_t = OPENING)]
    at_once: usize,
    #[command(flatten)]
    deliveries: Deliveries,
}

impl Resume {
    pub(crate) async fn run(self, server: &Server) -> anyhow::Result<Report> {
        self.deliveries.check()?;
        ensure!(
            self.connections > 0 && self.at_once > 0,
            "--connections and --at-once must be at least 1"
        );
        self.leave(server).await?;
        self.publish(server).await?;

        let events = self.connections * self.missed;
        let tally = Arc::new(Tally::new(events, self.deliveries.stalled()));
        let mut points = Vec::new();
        let mut receiving = JoinSet::new();
        let come_back = async {
            let mut numbers = 0..self.connections;
            loop {
                let mut coming = JoinSet::new();
                for number in numbers.by_ref().take(self.at_once) {
                    let server = server.clone();
                    coming.spawn(async move { subscriber(&server, number).await });
                }
                if coming.is_empty() {
                    break;
                }
                while let Some(came) = coming.join_next().await {
                    let mut subscriber = came??;
                    let tally = Arc::clone(&tally);
                    receiving.spawn(async move {
                        subscriber.catch_up(&tally, self.expected()).await?;
                        anyhow::Ok(subscriber)
                    });
                }
            }
            tokio::select! {
                outcome = tally.complete() => outcome,
                outcome = failure(&mut receiving) => outcome,
            }
        };
        let meter = Meter::start(&server.pid)?;
        tokio::select! {
            outcome = come_back => outcome?,
            () = progress::watch(&tally, &mut points) => {}
        }
        let spent = meter.stop()?;
        tally.end();
        while let Some(ended) = receiving.join_next().await {
            ended??;
        }

        let mut report = Report::new(
            "resume",
            format!(
                "{} sessions come back, {} at once, and have missed {} messages of {} bytes",
                self.connections, self.at_once, self.missed, self.deliveries.bytes
            ),
        );
        let connections = self.connections as f64;
        report.add("replayed events, all checked", events as f64, "");
        report.add("time until all had everything", spent.seconds, "s");
        report.add("resumes per second", connections / spent.seconds, "");
        if let Some(cpu_us) = spent.server_cpu_us {
            report.add("server CPU per resume", cpu_us / connections, "us");
            if events > 0 {
                report.add(
                    "server CPU per replayed event",
                    cpu_us / events as f64,
                    "us",
                );
            }
        }
        report.own_cpu("resume", &spent, connections);
        report.series("deliveries per second", "seconds", points);
        Ok(report)
    }

    /// Lets each session begin, and cuts its connection.
    async fn leave(self, server: &Server) -> anyhow::Result<()> {
        let connections = open_sessions(server, self.connections, OPENING, session).await?;
        let mut beginning = JoinSet::new();
        for mut connection in connections {
            let server = server.clone();
            beginning.spawn(async move {
                connection.subscribe(&server, CHANNEL, None).await?;
                connection.gap().await
            });
        }
        while let Some(begun) = beginning.join_next().await {
            begun??;
        }
        Ok(())
    }

    async fn publish(self, server: &Server) -> anyhow::Result<()> {
        let mut back_end = BackEnd::connect(server).await?;
        let data: Vec<String> = (0..self.missed)
            .map(|message| message_data(message, 0, self.deliveries.bytes))
            .collect();
        for batch in data.chunks(BATCH) {
            back_end.batch(CHANNEL, batch).await?;
        }
        Ok(())
    }

    fn expected(self) -> Expected {
        Expected {
            event: "load",
            first: 0,
            step: 1,
            messages: self.missed,
            bytes: self.deliveries.bytes,
        }
    }
}

/// New ones for each run.
fn session(number: usize) -> String {
    format!("load-{}-{number}", std::process::id())
}

async fn subscriber(server: &Server, number: usize) -> anyhow::Result<Subscriber> {
    let mut subscriber = Subscriber::resume(server, &session(number)).await?;
    subscriber.subscribe(server, CHANNEL, None).await?;
    Ok(subscriber)
}
