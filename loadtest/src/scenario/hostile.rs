//! Clients that mean harm, beside a pair that does not: what they cost the server, and
//! what the pair notices.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::raise_file_limit;
use crate::Server;
use crate::back_end::BackEnd;
use crate::ledger::histogram;
use crate::process::Meter;
use crate::report::Report;
use crate::stream::{self, Stream};
use crate::subscriber::{Subscriber, client_frame};

/// Between two events of the pair.
const PACE: Duration = Duration::from_millis(20);

/// How long a member stays.
const STAY: Duration = Duration::from_millis(200);

/// What attackers do, for as long as the server lets them.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Attack {
    /// Send the head of a request a byte a second
    SlowHead,
    /// Send the body of a request a byte a second
    SlowBody,
    /// Send a frame a byte a second
    SlowFrame,
    /// Connect and say nothing
    HalfOpen,
    /// Send messages in fragments of one byte
    OneByteFrames,
    /// Send pings without end
    Pings,
    /// Subscribe and unsubscribe without end
    Subscriptions,
    /// Subscribe to one new channel after the other
    Names,
    /// Join and leave presence channels with as much data as is allowed
    Presence,
    /// Send client events without end
    ClientEvents,
    /// Ask for answers without end and read none
    NeverRead,
    /// Send frames that claim to be compressed
    Compression,
    /// Send heads, bodies and frames that are too large
    Oversized,
}

/// The settings of `hostile`.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Hostile {
    /// What they do
    #[arg(long)]
    attack: Attack,
    /// How many there are; each begins again when its connection has ended
    #[arg(long, default_value_t = 100)]
    attackers: usize,
    /// Time before the attack, and time of it
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

impl Hostile {
    pub(crate) async fn run(self, server: &Server) -> anyhow::Result<Report> {
        ensure!(self.attackers > 0, "--attackers must be at least 1");
        ensure!(
            (1..=600).contains(&self.seconds),
            "--seconds must be from 1 to 600"
        );
        raise_file_limit(self.attackers)?;
        let time = Duration::from_secs(self.seconds);
        let mut pair = Pair::connect(server).await?;
        let before = pair.exchange(time).await?;

        let meter = Meter::start(&server.pid)?;
        let mut attackers = JoinSet::new();
        let everybody = Arc::new(Barrier::new(self.attackers + 1));
        for number in 0..self.attackers {
            let (server, everybody) = (server.clone(), Arc::clone(&everybody));
            attackers.spawn(async move {
                everybody.wait().await;
                let mut closed = 0_u64;
                loop {
                    // A server that closes an attacker does what it should.
                    let _ = self.attack.run(&server, number).await;
                    closed += 1;
                    COUNT.with(|count| count.set(count.get() + 1));
                    // One that is refused at once must not keep this program busy.
                    tokio::time::sleep(Duration::from_millis(10 * closed.min(10))).await;
                }
            });
        }
        everybody.wait().await;
        let during = pair.exchange(time).await?;
        let spent = meter.stop()?;
        attackers.shutdown().await;

        let mut report = Report::new(
            "hostile",
            format!("{} attackers: {:?}", self.attackers, self.attack),
        );
        report.add("connections that have ended", ended(), "");
        if let Some(grown) = spent.server_grown {
            report.add(
                "memory per attacker",
                grown / self.attackers as f64,
                "bytes",
            );
            report.add("memory of all", grown / 1_048_576.0, "MiB");
        }
        if let Some(cpu_us) = spent.server_cpu_us {
            let share = cpu_us / spent.seconds / 10_000.0;
            report.add("server's share of one processor", share, "%");
        }
        report.own_cpu("attacker", &spent, self.attackers as f64);
        report.add("latency p99 before", p99(&before), "ms");
        report.latency(&during);
        Ok(report)
    }
}

thread_local! {
    /// Connections of attackers that have ended; there is one thread.
    static COUNT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

fn ended() -> f64 {
    COUNT.with(|count| count.get() as f64)
}

fn p99(histogram: &Histogram<u64>) -> f64 {
    histogram.value_at_quantile(0.99) as f64 / 1_000.0
}

/// A back end and a subscriber that do nothing wrong.
struct Pair {
    back_end: BackEnd,
    subscriber: Subscriber,
    channel: String,
    sent: usize,
}

impl Pair {
    async fn connect(server: &Server) -> anyhow::Result<Self> {
        let mut subscriber = Subscriber::connect(server).await?;
        // Runs may share a server.
        let channel = format!("well-behaved-{}", std::process::id());
        subscriber.subscribe(server, &channel, None).await?;
        Ok(Self {
            channel,
            back_end: BackEnd::connect(server).await?,
            subscriber,
            sent: 0,
        })
    }

    /// Publishes for a while; each event must arrive before the next.
    async fn exchange(&mut self, time: Duration) -> anyhow::Result<Histogram<u64>> {
        let mut latencies = histogram();
        let began = Instant::now();
        let mut ticks = tokio::time::interval(PACE);
        while began.elapsed() < time {
            let due = ticks.tick().await;
            self.sent += 1;
            let data = self.sent.to_string();
            self.back_end.trigger(&self.channel, &data).await?;
            let arrived = self.subscriber.event("load").await?;
            ensure!(arrived == data, "{arrived} came where {data} was due");
            latencies.saturating_record(u64::try_from(due.elapsed().as_micros())?);
        }
        Ok(latencies)
    }
}

impl Attack {
    /// Attacks with one connection until the server ends it.
    async fn run(self, server: &Server, number: usize) -> anyhow::Result<()> {
        match self {
            Self::SlowHead => slowly(server, b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b'y').await,
            Self::SlowBody => {
                let head = format!(
                    "POST /apps/{}/events HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n",
                    server.app_id
                );
                slowly(server, head.as_bytes(), b'y').await
            }
            Self::SlowFrame => {
                let mut stream = Subscriber::connect(server).await?.into_stream();
                let head = client_frame(0x81, &[b'x'; 60_000]);
                stream.write_all(&head[..10]).await?;
                trickle(stream, b'x').await
            }
            Self::HalfOpen => silence(stream::connect(server).await?).await,
            Self::OneByteFrames => {
                let mut bytes = client_frame(0x01, b"{");
                bytes.extend(client_frame(0x00, b" ").repeat(10_000));
                bytes.extend(client_frame(0x80, b"}"));
                flood(server, |_| bytes.clone()).await
            }
            Self::Pings => flood(server, |_| client_frame(0x89, &[b'x'; 125]).repeat(100)).await,
            Self::Subscriptions => {
                let texts = ["subscribe", "unsubscribe"].map(|what| {
                    format!(r#"{{"event":"pusher:{what}","data":{{"channel":"storm"}}}}"#)
                });
                let both = texts.map(|text| client_frame(0x81, text.as_bytes()));
                flood(server, |_| both.concat().repeat(50)).await
            }
            Self::Names => {
                flood(server, |round| {
                    let name = |part: usize| {
                        let text = format!(
                            r#"{{"event":"pusher:subscribe","data":{{"channel":"n-{number}-{round}-{part}"}}}}"#
                        );
                        client_frame(0x81, text.as_bytes())
                    };
                    (0..100).flat_map(name).collect()
                })
                .await
            }
            Self::Presence => {
                let channel = format!("presence-{}", number / 100);
                let info = json!({"x": "x".repeat(1_000)});
                let member = json!({"user_id": number.to_string(), "user_info": info});
                let mut subscriber = Subscriber::connect(server).await?;
                let member = Some(member.to_string());
                subscriber.ask(server, &channel, member).await?;
                // Comes and goes, so that all the others are told.
                let staying = silence(subscriber.into_stream());
                tokio::time::timeout(STAY, staying)
                    .await
                    .unwrap_or(Ok(()))
            }
            Self::ClientEvents => {
                let mut subscriber = Subscriber::connect(server).await?;
                subscriber.subscribe(server, "private-flood", None).await?;
                let text = r#"{"event":"client-x","channel":"private-flood","data":"x"}"#;
                let bytes = client_frame(0x81, text.as_bytes()).repeat(100);
                write_and_read(subscriber.into_stream(), |_| bytes.clone()).await
            }
            Self::NeverRead => {
                let mut stream = Subscriber::connect(server).await?.into_stream();
                let ping = client_frame(0x81, br#"{"event":"pusher:ping","data":{}}"#);
                let many = ping.repeat(1_000);
                loop {
                    stream.write_all(&many).await?;
                }
            }
            Self::Compression => {
                // The first reserved bit says that a message is compressed.
                flood(server, |_| client_frame(0xc1, &[0; 60_000])).await
            }
            Self::Oversized => {
                let long = "x".repeat(100_000);
                let requests = [
                    format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
                    format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"),
                    format!("POST /apps/1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{long}"),
                ];
                let mut stream = stream::connect(server).await?;
                // It may be refused before all of it is sent.
                let _ = stream.write_all(requests[number % 3].as_bytes()).await;
                silence(stream).await?;
                flood(server, |_| client_frame(0x81, &vec![b'x'; 65_537])).await
            }
        }
    }
}

/// Sends `begin`, and then a byte a second.
async fn slowly(server: &Server, begin: &[u8], byte: u8) -> anyhow::Result<()> {
    let mut stream = stream::connect(server).await?;
    stream.write_all(begin).await?;
    trickle(stream, byte).await
}

async fn trickle(stream: Stream, byte: u8) -> anyhow::Result<()> {
    let (mut read, mut write) = tokio::io::split(stream);
    let writing = async {
        while write.write_all(&[byte]).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = writing => Ok(()),
        taken = take_all(&mut read) => taken,
    }
}

async fn silence(mut stream: Stream) -> anyhow::Result<()> {
    take_all(&mut stream).await
}

/// Connects as a client and sends what `bytes` makes, round after round.
async fn flood(server: &Server, bytes: impl FnMut(usize) -> Vec<u8>) -> anyhow::Result<()> {
    let stream = Subscriber::connect(server).await?.into_stream();
    write_and_read(stream, bytes).await
}

/// Takes the answers as well, so that it is not for them that the server ends it.
async fn write_and_read(
    stream: Stream,
    mut bytes: impl FnMut(usize) -> Vec<u8>,
) -> anyhow::Result<()> {
    let (mut read, mut write) = tokio::io::split(stream);
    let writing = async {
        for round in 0.. {
            if write.write_all(&bytes(round)).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = writing => Ok(()),
        taken = take_all(&mut read) => taken,
    }
}

/// Reads until the server hangs up.
async fn take_all(read: &mut (impl AsyncReadExt + Unpin)) -> anyhow::Result<()> {
    let mut taken = vec![0; 4_096];
    while read.read(&mut taken).await? > 0 {}
    Ok(())
}
