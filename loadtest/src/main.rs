//! Measures what a Pusher-compatible server costs: CPU time per delivery, memory
//! per connection, latency. Every delivery is checked.
//!
//! Exit codes: 0 measured and correct, 1 a delivery was wrong or missing.

mod back_end;
mod floor;
mod html;
mod ledger;
mod process;
mod progress;
mod report;
mod scenario;
mod stream;
mod subscriber;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use clap::{Args, Parser, Subcommand};
use tokio_rustls::rustls::ClientConfig;

use crate::floor::Fault;
use crate::report::Report;
use crate::scenario::{
    Batch, Broadcasts, Channels, ClientEvents, Connect, Fanout, Hostile, Latency, Presence, Resume,
    Trigger,
};

/// Measures what a Pusher-compatible server costs per delivery.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Example: the server on one core, this on the other
  taskset -c 0 fanfare serve --config loadtest/fanfare.toml &
  taskset -c 1 fanfare-loadtest fanout --pid $! --subscribers 1000 --messages 500"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
enum Command {
    #[command(flatten)]
    Scenario(Scenario),
    /// Serve the lower bound: upgrade, match the channel, write one prebuilt frame
    Floor {
        /// Port on 127.0.0.1; 0 takes a free one
        #[arg(long, default_value_t = 6001)]
        port: u16,
        /// Deliver wrongly, to show that it is noticed
        #[arg(long)]
        faulty: Option<Fault>,
    },
}

/// Each with the server that it is for.
#[derive(Debug, Subcommand)]
enum Scenario {
    /// Connect, subscribe and stay idle
    Connect(For<Connect>),
    /// Deliver messages to the subscribers of one channel
    Fanout(For<Fanout>),
    /// Publish at a fixed rate, whatever the server does, and time each delivery
    /// from when its message was due
    Latency(For<Latency>),
    /// Deliver messages to many channels with few subscribers each
    Channels(For<Channels>),
    /// Publish while nobody listens
    Trigger(For<Trigger>),
    /// Post broadcasts of the rooms adapter at a fixed rate
    Broadcasts(For<Broadcasts>),
    /// Publish several events to one channel with each request
    Batch(For<Batch>),
    /// Have members join one presence channel
    Presence(For<Presence>),
    /// Have one client of each channel send events to the others
    ClientEvents(For<ClientEvents>),
    /// Cut connections with a session and have them come back for what they missed
    Resume(For<Resume>),
    /// Attack the server, and measure what it costs and what others notice
    Hostile(For<Hostile>),
}

#[derive(Debug, Args)]
struct For<T: Args> {
    #[command(flatten)]
    scenario: T,
    #[command(flatten)]
    server: Server,
}

/// The server under test, and where the figures go.
#[derive(Clone, Debug, Args)]
struct Server {
    /// Its address
    #[arg(long, default_value = "127.0.0.1:6001")]
    address: SocketAddr,
    /// Its process, for CPU time and memory; once more for each further node
    #[arg(long)]
    pid: Vec<i32>,
    /// Publish to another node of the deployment than the clients are on
    #[arg(long, value_name = "ADDRESS")]
    publish_to: Option<SocketAddr>,
    /// Speak TLS, and trust the authorities in this PEM file
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// What was made of `ca`, once.
    #[arg(skip)]
    tls: OnceLock<Arc<ClientConfig>>,
    /// The id of an app
    #[arg(long, default_value = "app-id")]
    app_id: String,
    /// Its key
    #[arg(long, default_value = "app-key")]
    key: String,
    /// Its secret
    #[arg(long, default_value = "app-secret")]
    secret: String,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
    /// Write a page with charts to this file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

impl Server {
    /// Where events are published.
    fn for_back_ends(&self) -> Self {
        Self {
            address: self.publish_to.unwrap_or(self.address),
            ..self.clone()
        }
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::note(&format!("fanfare-loadtest: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match command {
        Command::Floor { port, faulty } => runtime.block_on(floor::serve(port, faulty)),
        Command::Scenario(scenario) => {
            let (report, server) = runtime.block_on(scenario.run())?;
            report.publish(server.json, server.report.as_deref())
        }
    }
}

impl Scenario {
    async fn run(self) -> anyhow::Result<(Report, Server)> {
        Ok(match self {
            Self::Connect(For { scenario, server }) => (scenario.run(&server).await?, server),
            Self::Fanout(For { scenario, server }) => (scenario.run(&server).await?, server),
            Self::Latency(For { scenario, server }) => (scenario.run(&server).await?, server),
            Self::Channels(For { scenario, server }) => (scenario.run(&server).await?, server),
            Self::Trigger(For { scenario, server }) => (scenario.run(&server).await?, server),
            Self::Broadcasts(For { scenario, server }) => (scenario.run(&server).await?, server),
            Self::Batch(For { scenario, server }) => (scenario.run(&server).await?, server),
            Self::Presence(For { scenario, server }) => (scenario.run(&server).await?, server),
            Self::ClientEvents(For { scenario, server }) => (scenario.run(&server).await?, server),
            Self::Resume(For { scenario, server }) => (scenario.run(&server).await?, server),
            Self::Hostile(For { scenario, server }) => (scenario.run(&server).await?, server),
        })
    }
}
