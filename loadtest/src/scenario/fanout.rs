//! Messages to subscribers: to one channel, to many, and at a fixed rate.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use tokio::task::JoinSet;

use super::{Deliveries, OPENING, failure, open, subscribe};
use crate::Server;
use crate::back_end::BackEnd;
use crate::ledger::Ledger;
use crate::process::{Meter, Spent};
use crate::progress;
use crate::report::Report;
use crate::subscriber::{Expected, Subscriber, message_data};

/// The settings of `fanout`.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Fanout {
    /// Connections
    #[arg(long, default_value_t = 1_000)]
    subscribers: usize,
    /// Messages in all
    #[arg(long, default_value_t = 500)]
    messages: usize,
    /// Messages that were published and have not reached all subscribers yet
    #[arg(long, default_value_t = 1)]
    under_way: usize,
    #[command(flatten)]
    deliveries: Deliveries,
}

/// The settings of `channels`.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Channels {
    /// Connections, spread evenly over the channels
    #[arg(long, default_value_t = 2_000)]
    subscribers: usize,
    /// Channels; messages go to one after the other
    #[arg(long, default_value_t = 500)]
    channels: usize,
    /// Messages in all
    #[arg(long, default_value_t = 10_000)]
    messages: usize,
    /// Messages that were published and have not reached all subscribers yet
    #[arg(long, default_value_t = 256)]
    under_way: usize,
    #[command(flatten)]
    deliveries: Deliveries,
}

/// The settings of `latency`.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Latency {
    /// Connections to the one channel
    #[arg(long, default_value_t = 500)]
    subscribers: usize,
    /// Further connections, which get nothing
    #[arg(long, default_value_t = 0)]
    idle: usize,
    /// Messages in all
    #[arg(long, default_value_t = 400)]
    messages: usize,
    /// Messages per second
    #[arg(long, default_value_t = 80)]
    rate: u32,
    #[command(flatten)]
    deliveries: Deliveries,
}

impl Fanout {
    pub(crate) async fn run(self, server: &Server) -> anyhow::Result<Report> {
        let load = Load {
            subscribers: self.subscribers,
            channels: 1,
            messages: self.messages,
            under_way: self.under_way,
            rate: None,
            deliveries: self.deliveries,
        };
        let what = format!(
            "{} messages of {} bytes, {} subscribers, {} under way",
            self.messages, self.deliveries.bytes, self.subscribers, self.under_way
        );
        load.run(server, Report::new("fanout", what)).await
    }
}

impl Channels {
    pub(crate) async fn run(self, server: &Server) -> anyhow::Result<Report> {
        let load = Load {
            subscribers: self.subscribers,
            channels: self.channels,
            messages: self.messages,
            under_way: self.under_way,
            rate: None,
            deliveries: self.deliveries,
        };
        let what = format!(
            "{} messages of {} bytes, {} subscribers on {} channels, {} under way",
            self.messages, self.deliveries.bytes, self.subscribers, self.channels, self.under_way
        );
        load.run(server, Report::new("channels", what)).await
    }
}

impl Latency {
    pub(crate) async fn run(self, server: &Server) -> anyhow::Result<Report> {
        ensure!(self.rate > 0, "--rate must be at least 1");
        let load = Load {
            subscribers: self.subscribers,
            channels: 1,
            messages: self.messages,
            // Nothing waits for an answer of the server: else a slow one would be
            // asked less.
            under_way: self.messages,
            rate: Some(self.rate),
            deliveries: self.deliveries,
        };
        let what = format!(
            "{} messages a second of {} bytes, {} subscribers, {} idle connections",
            self.rate, self.deliveries.bytes, self.subscribers, self.idle
        );
        let idle = open(server, self.idle, OPENING).await?;
        let idle = subscribe(server, idle, OPENING, |number| format!("idle-{number}")).await?;
        let report = load.run(server, Report::new("latency", what)).await?;
        drop(idle);
        Ok(report)
    }
}

#[derive(Clone, Copy)]
struct Load {
    subscribers: usize,
    channels: usize,
    messages: usize,
    under_way: usize,
    rate: Option<u32>,
    deliveries: Deliveries,
}

impl Load {
    async fn run(self, server: &Server, report: Report) -> anyhow::Result<Report> {
        let channels = self.channels;
        self.deliveries.check()?;
        ensure!(
            channels > 0 && self.subscribers > 0 && self.subscribers.is_multiple_of(channels),
            "--subscribers must be a multiple of --channels"
        );
        ensure!(
            self.messages > 0 && self.messages.is_multiple_of(channels),
            "--messages must be a multiple of --channels"
        );
        ensure!(self.under_way > 0, "--under-way must be at least 1");
        let connections = open(server, self.subscribers, OPENING).await?;
        let name = |number| format!("load-{}", number % channels);
        let connections = subscribe(server, connections, OPENING, name).await?;
        let ledger = Arc::new(Ledger::new(
            self.messages,
            self.subscribers / channels,
            self.under_way,
            self.deliveries.stalled(),
        ));
        let mut receivers = receivers(&ledger, connections, |number| Expected {
            event: "load",
            first: number % channels,
            step: channels,
            messages: self.messages / channels,
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

        let mut report = report;
        describe(&mut report, &ledger, self.messages, &spent, reads);
        report.answers(&back_end.answers_us);
        report.series("deliveries per second", "seconds", points);
        Ok(report)
    }

    async fn publish(self, back_end: &mut BackEnd, ledger: &Ledger) -> anyhow::Result<()> {
        for message in 0..self.messages {
            let due_us = match self.rate {
                Some(rate) => {
                    // Late or not, the time counts from when it was due.
                    let due_us = message as u64 * 1_000_000 / u64::from(rate);
                    let wait = due_us.saturating_sub(ledger.now_us());
                    tokio::time::sleep(Duration::from_micros(wait)).await;
                    ledger.admit(message).await?;
                    due_us
                }
                // Due when there is room: waiting for the messages before is not its own time.
                None => {
                    ledger.admit(message).await?;
                    ledger.now_us()
                }
            };
            let channel = format!("load-{}", message % self.channels);
            let data = message_data(message, due_us, self.deliveries.bytes);
            back_end.trigger(&channel, &data).await?;
        }
        ledger.complete().await
    }
}

/// One task for each subscriber, which receives what is `expected` of it.
pub(super) fn receivers(
    ledger: &Arc<Ledger>,
    connections: Vec<Subscriber>,
    expected: impl Fn(usize) -> Expected,
) -> JoinSet<anyhow::Result<usize>> {
    let mut receivers = JoinSet::new();
    for (number, mut connection) in connections.into_iter().enumerate() {
        let ledger = Arc::clone(ledger);
        let expected = expected(number);
        receivers.spawn(async move { connection.receive(&ledger, expected).await });
    }
    receivers
}

/// Makes sure that nothing more comes, and returns the reads that there were.
pub(super) async fn finish(
    ledger: &Ledger,
    mut receivers: JoinSet<anyhow::Result<usize>>,
) -> anyhow::Result<usize> {
    ledger.tally.end();
    let mut reads = 0;
    while let Some(ended) = receivers.join_next().await {
        reads += ended??;
    }
    Ok(reads)
}

/// The figures of any run with deliveries.
pub(super) fn describe(
    report: &mut Report,
    ledger: &Ledger,
    messages: usize,
    spent: &Spent,
    reads: usize,
) {
    let deliveries = ledger.tally.expected() as f64;
    report.add("deliveries, all checked", deliveries, "");
    report.add("deliveries per second", deliveries / spent.seconds, "/s");
    report.latency(&ledger.latency_us());
    if let Some(cpu_us) = spent.server_cpu_us {
        report.add("server CPU per delivery", cpu_us / deliveries, "us");
        report.add("server CPU per message", cpu_us / messages as f64, "us");
    }
    // Several writes can be one read, so that there are at least as many.
    report.add("reads per delivery", reads as f64 / deliveries, "");
    report.own_cpu("delivery", spent, deliveries);
}
