//! Measures what a Pusher-compatible server costs: CPU time per delivery, memory
//! per connection, latency. Every delivery is checked.
//!
//! Exit codes: 0 measured and correct, 1 a delivery was wrong or missing.

mod back_end;
mod floor;
mod ledger;
mod process;
mod report;
mod scenario;
mod subscriber;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::floor::Fault;
use crate::report::Report;
use crate::scenario::Fanout;

/// Measures what a Pusher-compatible server costs per delivery.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Example: the server on one core, this on the other
  taskset -c 0 fanfare serve &
  taskset -c 1 fanfare-loadtest fanout --pid $! --subscribers 1000 --messages 500"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Deliver messages to subscribers, over one channel or many
    Fanout {
        #[command(flatten)]
        server: Server,
        /// Connections, spread evenly over the channels
        #[arg(long, default_value_t = 1_000)]
        subscribers: usize,
        /// Channels; messages go to one after the other
        #[arg(long, default_value_t = 1)]
        channels: usize,
        /// Messages in all
        #[arg(long, default_value_t = 500)]
        messages: usize,
        /// Messages that were published and have not reached all subscribers yet
        #[arg(long, default_value_t = 1)]
        under_way: usize,
        /// Messages per second; by default the next follows as soon as it may
        #[arg(long)]
        rate: Option<u32>,
        /// Bytes of data
        #[arg(long, default_value_t = 256)]
        bytes: usize,
        /// Seconds without any delivery after which the run has failed
        #[arg(long, default_value_t = 20)]
        stalled: u64,
    },
    /// Publish while nobody listens
    Trigger {
        #[command(flatten)]
        server: Server,
        /// Requests, one after the other on one connection
        #[arg(long, default_value_t = 20_000)]
        requests: usize,
        /// Events per request; more than one uses the batch endpoint
        #[arg(long, default_value_t = 1)]
        batch: usize,
        /// Bytes of data
        #[arg(long, default_value_t = 256)]
        bytes: usize,
    },
    /// Connect, subscribe and stay idle
    Connect {
        #[command(flatten)]
        server: Server,
        /// Connections
        #[arg(long, default_value_t = 4_000)]
        connections: usize,
    },
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

/// The server under test.
#[derive(Clone, Debug, Args)]
struct Server {
    /// Its address
    #[arg(long, default_value = "127.0.0.1:6001")]
    address: SocketAddr,
    /// Its process, for CPU time and memory
    #[arg(long)]
    pid: Option<i32>,
    #[arg(long, default_value = "app-id")]
    app_id: String,
    #[arg(long, default_value = "app-key")]
    key: String,
    #[arg(long, default_value = "app-secret")]
    secret: String,
    /// Write the figures to this file as JSON
    #[arg(long)]
    json: Option<PathBuf>,
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
    let (report, file): (Report, _) = match command {
        Command::Fanout {
            server,
            subscribers,
            channels,
            messages,
            under_way,
            rate,
            bytes,
            stalled,
        } => {
            let fanout = Fanout {
                subscribers,
                channels,
                messages,
                under_way,
                rate,
                bytes,
                stalled: Duration::from_secs(stalled),
            };
            (
                runtime.block_on(scenario::fanout(&server, &fanout))?,
                server.json,
            )
        }
        Command::Trigger {
            server,
            requests,
            batch,
            bytes,
        } => {
            let report = runtime.block_on(scenario::trigger(&server, requests, batch, bytes))?;
            (report, server.json)
        }
        Command::Connect {
            server,
            connections,
        } => {
            let report = runtime.block_on(scenario::connect(&server, connections))?;
            (report, server.json)
        }
        Command::Floor { port, faulty } => return runtime.block_on(floor::serve(port, faulty)),
    };
    report.print()?;
    if let Some(file) = file {
        std::fs::write(file, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(())
}
