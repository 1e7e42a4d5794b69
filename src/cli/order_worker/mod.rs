//! `fanfare order-worker …`: orders documents for the jobs of a queue.
//!
//! Exit code 78 for what only its environment can change, so that whoever starts it
//! again can tell.

mod doctor;
mod users;

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Subcommand};
use fanfare::adapter::trust::TrustError;
use fanfare::config::{ConfigError, OrderWorkerConfig};
use fanfare::worker::{self, AccountError, OrderWorker};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{on_one_thread, output, serve};

/// What `sysexits.h` calls a configuration error.
const EX_CONFIG: u8 = 78;

/// Order documents of the real-estate register for the jobs of a Bull queue
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "It reads its environment only: docs/adapters/orders.md has the names. Exit codes:
0 done, 1 failed, 78 something in the environment or in the table of accounts is wrong.
TERM and INT let it finish the order that it has; a second one stops at once.

Examples:
  fanfare order-worker migrate
  fanfare order-worker users add user-1 < password.txt
  ROSREESTR_USER_NAME=user-1 fanfare order-worker
  fanfare order-worker doctor"
)]
pub(super) struct OrderWorkerCommand {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Work for one account, ROSREESTR_USER_NAME, until told to stop [default]
    Run,
    /// Serve the API and the page for administrators
    Api,
    /// Bring the tables up to date, beside those that are there
    Migrate,
    /// Say what works and what does not
    Doctor,
    /// Add, list and change the accounts
    Users(users::Users),
    /// Seal all passwords with ROSREESTR_CRYPTO_SECRET, whatever they are sealed with
    Recrypt,
}

impl OrderWorkerCommand {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = OrderWorkerConfig::from_variables(&variables())?;
        match self.command.unwrap_or(Command::Run) {
            Command::Run => {
                serve::start_log(&config.log)?;
                runtime()?.block_on(run(&config))
            }
            Command::Api => {
                serve::start_log(&config.log)?;
                runtime()?.block_on(api(&config))
            }
            Command::Migrate => on_one_thread(migrate(&config)),
            Command::Doctor => on_one_thread(doctor::run(&config)),
            Command::Users(users) => on_one_thread(users.run(&config)),
            Command::Recrypt => on_one_thread(users::recrypt(&config)),
        }
    }
}

/// The exit code for an error, if it is one of ours.
pub(super) fn exit_code(error: &anyhow::Error) -> Option<u8> {
    let is_ours =
        error.is::<ConfigError>() || error.is::<AccountError>() || error.is::<TrustError>();
    is_ours.then_some(EX_CONFIG)
}

fn variables() -> HashMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        // One order at a time: a second thread is for what goes on beside it.
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

async fn run(config: &OrderWorkerConfig) -> anyhow::Result<()> {
    let worker = OrderWorker::prepare(config).await?;
    if config.publish.is_none() {
        tracing::warn!("PUSHER_APP_ID is not set: nobody hears of orders as they go on");
    }
    let account = config.account()?;
    tracing::info!(
        account,
        queue = config.queue,
        "fanfare {} order-worker takes jobs for {account}",
        env!("CARGO_PKG_VERSION")
    );
    until_told(|stop| Box::pin(worker.run(stop))).await
}

async fn api(config: &OrderWorkerConfig) -> anyhow::Result<()> {
    let (api, listener) = worker::api(config).await?;
    tracing::info!(
        address = %listener.address()?,
        "fanfare {} order-worker api listens",
        env!("CARGO_PKG_VERSION")
    );
    until_told(|stop| worker::serve(listener, Arc::new(api), stop)).await
}

/// Runs until a signal and its own end; a second signal does not wait for that.
async fn until_told<F>(run: impl FnOnce(CancellationToken) -> F) -> anyhow::Result<()>
where
    F: Future<Output = ()>,
{
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let mut running = std::pin::pin!(run(stop.clone()));
    loop {
        tokio::select! {
            () = running.as_mut() => return Ok(()),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        anyhow::ensure!(!stop.is_cancelled(), "stopped in the middle of an order");
        tracing::info!("told to stop: finishing what is under way");
        stop.cancel();
    }
}

async fn migrate(config: &OrderWorkerConfig) -> anyhow::Result<()> {
    worker::database(config).await?.migrate().await?;
    output::note("the tables are up to date");
    Ok(())
}
