//! Events from clients to the other clients of their channel.

use std::sync::Arc;

use anyhow::ensure;
use clap::Args;

use super::fanout::{describe, finish, receivers};
use super::{Deliveries, OPENING, failure, open, subscribe};
use crate::Server;
use crate::ledger::Ledger;
use crate::process::Meter;
use crate::progress;
use crate::report::Report;
use crate::subscriber::{Expected, Subscriber, message_data};

const EVENT: &str = "client-load";

/// The settings of `client-events`.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ClientEvents {
    /// Connections with the senders, spread evenly over the channels
    #[arg(long, default_value_t = 1_000)]
    subscribers: usize,
    /// Private channels with one sender each
    #[arg(long, default_value_t = 100)]
    channels: usize,
    /// Messages in all; the server must allow so many
    #[arg(long, default_value_t = 2_000)]
    messages: usize,
    /// Messages that were sent and have not reached all others yet
    #[arg(long, default_value_t = 64)]
    under_way: usize,
    #[command(flatten)]
    deliveries: Deliveries,
}

impl ClientEvents {
    pub(crate) async fn run(self, server: &Server) -> anyhow::Result<Report> {
        let channels = self.channels;
        self.deliveries.check()?;
        ensure!(
            channels > 0
                && self.subscribers > channels
                && self.subscribers.is_multiple_of(channels),
            "--subscribers must be twice --channels, or another multiple"
        );
        ensure!(
            self.messages > 0 && self.messages.is_multiple_of(channels),
            "--messages must be a multiple of --channels"
        );
        ensure!(self.under_way > 0, "--under-way must be at least 1");
        let connections = open(server, self.subscribers, OPENING).await?;
        let mut senders = subscribe(server, connections, OPENING, |number| {
            name(number % channels)
        })
        .await?;
        let others = senders.split_off(channels);
        let ledger = Arc::new(Ledger::new(
            self.messages,
            self.subscribers / channels - 1,
            self.under_way,
            self.deliveries.stalled(),
        ));
        let mut receivers = receivers(&ledger, others, |number| Expected {
            event: EVENT,
            first: number % channels,
            step: channels,
            messages: self.messages / channels,
            bytes: self.deliveries.bytes,
        });
        let mut points = Vec::new();

        let meter = Meter::start(&server.pid)?;
        tokio::select! {
            outcome = self.send(&mut senders, &ledger) => outcome?,
            outcome = failure(&mut receivers) => outcome?,
            () = progress::watch(&ledger.tally, &mut points) => {}
        }
        let spent = meter.stop()?;
        let reads = finish(&ledger, receivers).await?;
        // A sender gets nothing of its own.
        for sender in &mut senders {
            sender.nothing_more().await?;
        }

        let mut report = Report::new(
            "client-events",
            format!(
                "{} messages of {} bytes, {} subscribers on {channels} channels, {} under way",
                self.messages, self.deliveries.bytes, self.subscribers, self.under_way
            ),
        );
        describe(&mut report, &ledger, self.messages, &spent, reads);
        report.series("deliveries per second", "seconds", points);
        Ok(report)
    }

    async fn send(self, senders: &mut [Subscriber], ledger: &Ledger) -> anyhow::Result<()> {
        for message in 0..self.messages {
            ledger.admit(message).await?;
            let channel = message % self.channels;
            let data = message_data(message, ledger.now_us(), self.deliveries.bytes);
            senders[channel]
                .client_event(EVENT, &name(channel), &data)
                .await?;
        }
        ledger.complete().await
    }
}

fn name(channel: usize) -> String {
    format!("private-load-{channel}")
}
