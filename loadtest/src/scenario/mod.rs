//! What can be measured.

mod batch;
mod broadcasts;
mod client_events;
mod connect;
mod fanout;
mod hostile;
mod presence;
mod resume;
mod trigger;

use std::time::Duration;

use anyhow::{bail, ensure};
use clap::Args;
use tokio::task::JoinSet;

pub(crate) use self::batch::Batch;
pub(crate) use self::broadcasts::Broadcasts;
pub(crate) use self::client_events::ClientEvents;
pub(crate) use self::connect::Connect;
pub(crate) use self::fanout::{Channels, Fanout, Latency};
pub(crate) use self::hostile::Hostile;
pub(crate) use self::presence::Presence;
pub(crate) use self::resume::Resume;
pub(crate) use self::trigger::Trigger;
use crate::Server;
use crate::progress::bar;
use crate::subscriber::{MIN_BYTES, Subscriber};

/// Files that are not connections.
const SPARE_FILES: u64 = 64;

/// Connections that are opened at the same time, unless a scenario says otherwise.
const OPENING: usize = 64;

/// What all scenarios with deliveries have in common.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Deliveries {
    /// Bytes of data
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Seconds without any delivery after which the run has failed
    #[arg(long, default_value_t = 20)]
    stalled: u64,
}

impl Deliveries {
    fn check(self) -> anyhow::Result<()> {
        ensure!(
            self.bytes >= MIN_BYTES,
            "--bytes must be at least {MIN_BYTES}"
        );
        Ok(())
    }

    fn stalled(self) -> Duration {
        Duration::from_secs(self.stalled)
    }
}

/// Opens `number` connections, `at_once` at the same time.
async fn open(server: &Server, number: usize, at_once: usize) -> anyhow::Result<Vec<Subscriber>> {
    open_each(number, at_once, |_| {
        let server = server.clone();
        async move { Subscriber::connect(&server).await }
    })
    .await
}

/// As [`open`], each with the session that `name` gives for its number.
async fn open_sessions(
    server: &Server,
    number: usize,
    at_once: usize,
    name: impl Fn(usize) -> String,
) -> anyhow::Result<Vec<Subscriber>> {
    open_each(number, at_once, |number| {
        let (server, name) = (server.clone(), name(number));
        async move { Subscriber::resume(&server, &name).await }
    })
    .await
}

/// Lets this process have `number` connections.
fn raise_file_limit(number: usize) -> anyhow::Result<()> {
    let files = rlimit::increase_nofile_limit(u64::MAX)?;
    ensure!(
        number as u64 + SPARE_FILES <= files,
        "{number} connections are more than the {files} files that this process may open"
    );
    Ok(())
}

async fn open_each<F>(
    number: usize,
    at_once: usize,
    connect: impl Fn(usize) -> F,
) -> anyhow::Result<Vec<Subscriber>>
where
    F: Future<Output = anyhow::Result<Subscriber>> + Send + 'static,
{
    raise_file_limit(number)?;
    let bar = bar("connections", number);
    let mut connections = Vec::with_capacity(number);
    for begin in (0..number).step_by(at_once) {
        let mut opening = JoinSet::new();
        for number in begin..(begin + at_once).min(number) {
            opening.spawn(connect(number));
        }
        while let Some(opened) = opening.join_next().await {
            connections.push(opened??);
            bar.inc(1);
        }
    }
    Ok(connections)
}

/// Subscribes each connection to the channel that `name` gives for its number.
async fn subscribe(
    server: &Server,
    connections: Vec<Subscriber>,
    at_once: usize,
    name: impl Fn(usize) -> String,
) -> anyhow::Result<Vec<Subscriber>> {
    let bar = bar("subscriptions", connections.len());
    let mut subscribed = Vec::with_capacity(connections.len());
    let mut waiting = connections.into_iter().enumerate();
    loop {
        let mut subscribing = JoinSet::new();
        for (number, mut connection) in waiting.by_ref().take(at_once) {
            let server = server.clone();
            let channel = name(number);
            subscribing.spawn(async move {
                connection.subscribe(&server, &channel, None).await?;
                anyhow::Ok((number, connection))
            });
        }
        if subscribing.is_empty() {
            break;
        }
        while let Some(done) = subscribing.join_next().await {
            subscribed.push(done??);
            bar.inc(1);
        }
    }
    subscribed.sort_by_key(|(number, _)| *number);
    Ok(subscribed
        .into_iter()
        .map(|(_, connection)| connection)
        .collect())
}

/// Waits for the first receiver that ends before it may.
async fn failure<T: 'static>(receivers: &mut JoinSet<anyhow::Result<T>>) -> anyhow::Result<()> {
    match receivers.join_next().await {
        Some(ended) => match ended? {
            Ok(_) => bail!("a subscriber ended early"),
            Err(error) => Err(error),
        },
        None => std::future::pending().await,
    }
}
