//! What can be measured.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use tokio::task::JoinSet;

use crate::Server;
use crate::back_end::BackEnd;
use crate::ledger::Ledger;
use crate::process::{Usage, usage};
use crate::report::Report;
use crate::subscriber::{MIN_BYTES, Subscriber, message_data};

/// Files that are not connections.
const SPARE_FILES: u64 = 64;

/// Connections that are opened at the same time.
const OPENING: usize = 64;

/// Messages to subscribers.
#[derive(Debug)]
pub(crate) struct Fanout {
    pub(crate) subscribers: usize,
    pub(crate) channels: usize,
    pub(crate) messages: usize,
    pub(crate) under_way: usize,
    pub(crate) rate: Option<u32>,
    pub(crate) bytes: usize,
    pub(crate) stalled: Duration,
}

/// Delivers messages to all subscribers of their channel and checks each delivery.
pub(crate) async fn fanout(server: &Server, fanout: &Fanout) -> anyhow::Result<Report> {
    let Fanout {
        subscribers,
        channels,
        messages,
        under_way,
        rate,
        bytes,
        stalled,
    } = *fanout;
    ensure!(
        channels > 0 && subscribers > 0 && subscribers % channels == 0,
        "--subscribers must be a multiple of --channels"
    );
    ensure!(
        messages % channels == 0,
        "--messages must be a multiple of --channels"
    );
    ensure!(under_way > 0, "--under-way must be at least 1");
    ensure!(bytes >= MIN_BYTES, "--bytes must be at least {MIN_BYTES}");
    let connections = open(server, subscribers, channels).await?;
    let ledger = Arc::new(Ledger::new(
        messages,
        subscribers / channels,
        under_way,
        stalled,
    ));
    let mut receivers = JoinSet::new();
    for (number, subscriber) in connections.into_iter().enumerate() {
        let ledger = Arc::clone(&ledger);
        receivers.spawn(async move {
            let first = number % channels;
            subscriber.receive(&ledger, first, channels, bytes).await
        });
    }
    let mut back_end = BackEnd::connect(server).await?;
    let publish = async {
        for message in 0..messages {
            let mut due_us = ledger.now_us();
            if let Some(rate) = rate {
                // Late or not, the time counts from when it was due.
                due_us = message as u64 * 1_000_000 / u64::from(rate.max(1));
                let wait = due_us.saturating_sub(ledger.now_us());
                tokio::time::sleep(Duration::from_micros(wait)).await;
            }
            ledger.admit(message).await?;
            let channel = format!("load-{}", message % channels);
            back_end
                .trigger(&channel, &message_data(message, due_us, bytes))
                .await?;
        }
        ledger.complete().await
    };

    let before = usage(server.pid)?;
    let own_before = usage(Some(own_pid()))?;
    let began = Instant::now();
    tokio::select! {
        outcome = publish => outcome?,
        Some(ended) = receivers.join_next() => match ended? {
            Ok(()) => bail!("a subscriber ended early"),
            Err(error) => return Err(error),
        },
    }
    let seconds = began.elapsed().as_secs_f64();
    let deliveries = messages * (subscribers / channels);

    let title = format!(
        "fanout: {messages} messages of {bytes} bytes, {subscribers} subscribers on {channels} channels, {under_way} under way"
    );
    let mut report = Report::new(title);
    report.add("deliveries, all checked", deliveries as f64, "");
    report.add("deliveries per second", deliveries as f64 / seconds, "/s");
    for (name, quantile) in [
        ("latency p50", 0.5),
        ("latency p99", 0.99),
        ("latency max", 1.0),
    ] {
        report.add(name, ledger.latency_ms(quantile), "ms");
    }
    if let Some(cpu_us) = spent(before, usage(server.pid)?) {
        report.add("server CPU per delivery", cpu_us / deliveries as f64, "us");
        report.add("server CPU per message", cpu_us / messages as f64, "us");
    }
    if let Some(cpu_us) = spent(own_before, usage(Some(own_pid()))?) {
        report.add(
            "this program's CPU per delivery",
            cpu_us / deliveries as f64,
            "us",
        );
    }
    Ok(report)
}

/// Publishes while nobody listens.
pub(crate) async fn trigger(
    server: &Server,
    requests: usize,
    batch: usize,
    bytes: usize,
) -> anyhow::Result<Report> {
    ensure!(
        batch > 0 && requests > 0,
        "--batch and --requests must be at least 1"
    );
    let mut back_end = BackEnd::connect(server).await?;
    let data = "x".repeat(bytes);
    let before = usage(server.pid)?;
    let began = Instant::now();
    for _ in 0..requests {
        if batch == 1 {
            back_end.trigger("nobody", &data).await?;
        } else {
            back_end.batch(batch, &data).await?;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let mut report = Report::new(format!("trigger: {requests} requests of {batch} events"));
    report.add("requests per second", requests as f64 / seconds, "/s");
    if let Some(cpu_us) = spent(before, usage(server.pid)?) {
        report.add("server CPU per request", cpu_us / requests as f64, "us");
        let events = (requests * batch) as f64;
        report.add("server CPU per event", cpu_us / events, "us");
    }
    Ok(report)
}

/// Opens connections that stay idle.
pub(crate) async fn connect(server: &Server, connections: usize) -> anyhow::Result<Report> {
    ensure!(connections > 0, "--connections must be at least 1");
    let before = usage(server.pid)?;
    let began = Instant::now();
    let open = open(server, connections, 1).await?;
    let seconds = began.elapsed().as_secs_f64();
    let after = usage(server.pid)?;
    let mut report = Report::new(format!("connect: {connections} connections, subscribed"));
    report.add("connections per second", connections as f64 / seconds, "/s");
    if let Some(cpu_us) = spent(before, after) {
        report.add(
            "server CPU per connection",
            cpu_us / connections as f64,
            "us",
        );
    }
    if let (Some(before), Some(after)) = (before, after) {
        let grown = after.resident.saturating_sub(before.resident) as f64;
        report.add(
            "server memory per connection",
            grown / connections as f64 / 1_024.0,
            "KiB",
        );
    }
    drop(open);
    Ok(report)
}

async fn open(
    server: &Server,
    subscribers: usize,
    channels: usize,
) -> anyhow::Result<Vec<Subscriber>> {
    let files = rlimit::increase_nofile_limit(u64::MAX)?;
    ensure!(
        subscribers as u64 + SPARE_FILES <= files,
        "{subscribers} connections are more than the {files} files that this process may open"
    );
    let mut connections = Vec::with_capacity(subscribers);
    for begin in (0..subscribers).step_by(OPENING) {
        let mut opening = JoinSet::new();
        for number in begin..(begin + OPENING).min(subscribers) {
            let server = server.clone();
            opening.spawn(async move {
                let channel = format!("load-{}", number % channels);
                (number, Subscriber::subscribe(&server, &channel).await)
            });
        }
        while let Some(opened) = opening.join_next().await {
            let (number, subscriber) = opened?;
            connections.push((number, subscriber?));
        }
    }
    connections.sort_by_key(|(number, _)| *number);
    Ok(connections
        .into_iter()
        .map(|(_, subscriber)| subscriber)
        .collect())
}

/// Microseconds of CPU time between two moments.
fn spent(before: Option<Usage>, after: Option<Usage>) -> Option<f64> {
    Some(after?.cpu_ns.saturating_sub(before?.cpu_ns) as f64 / 1_000.0)
}

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(i32::MAX)
}
