//! The command line: one file per command.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or configuration; the order worker has
//! one more.

mod api;
mod app;
mod auth_check;
mod certs;
mod channels;
mod check_config;
mod healthcheck;
mod migrate;
mod migrate_check;
mod order_worker;
mod output;
mod serve;
mod subscribe;
mod trigger;
mod webhooks;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use fanfare::adapter::client::ApiClientError;
use fanfare::config::{Config, ConfigError, Loaded, Sources};

/// A self-hosted realtime server that speaks the Pusher Channels protocol.
#[derive(Debug, Parser)]
#[command(version, about, after_help = EXAMPLES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  fanfare serve                                     try it out: app-id, app-key, app-secret on 127.0.0.1:6001
  fanfare serve --config fanfare.toml --host 0.0.0.0
  fanfare subscribe orders                          print the events of a channel
  fanfare trigger orders order.created '{\"id\":7}'    publish one";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::Serve),
    /// Check the configuration and print it, secrets masked
    CheckConfig(check_config::CheckConfig),
    /// Read a configuration of soketi, Reverb or Pusher and print what it becomes
    MigrateCheck(migrate_check::MigrateCheck),
    /// Publish an event over the HTTP API
    Trigger(trigger::Trigger),
    /// Print the events of channels as they come
    Subscribe(subscribe::Subscribe),
    /// List the occupied channels
    Channels(channels::Channels),
    /// Create, list and change the apps of the database
    App(app::App),
    /// List webhook requests, and send one again
    Webhooks(webhooks::Webhooks),
    /// Bring the tables of the database up to date
    Migrate(migrate::Migrate),
    /// Order documents of the real-estate register for the jobs of a Bull queue
    OrderWorker(order_worker::OrderWorkerCommand),
    /// Explain whether a JWT may subscribe to a channel, rule by rule
    AuthCheck(auth_check::AuthCheck),
    /// Make certificates so that clients of hosted Pusher come here unchanged
    Certs(certs::Certs),
    /// Ask a running server whether it is ready; for container health checks
    Healthcheck(healthcheck::Healthcheck),
}

/// Where the configuration is.
#[derive(Debug, Clone, Args)]
struct ConfigFile {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "FANFARE_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// The configuration for a command that talks to a server.
    fn load(&self) -> Result<Loaded, ConfigError> {
        Config::load(&self.sources())
    }

    /// The configuration for the server itself.
    fn load_for_server(&self, flags: Vec<(&'static str, String)>) -> Result<Loaded, ConfigError> {
        Config::load(&Sources {
            flags,
            needs_certificates: true,
            ..self.sources()
        })
    }

    fn sources(&self) -> Sources {
        Sources {
            file: self.config.clone(),
            // A variable that is not Unicode is none of ours.
            variables: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .filter(|(name, _)| name != "FANFARE_CONFIG")
                .collect(),
            ..Sources::default()
        }
    }
}

/// Runs the command that the arguments name.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    let is_order_worker = matches!(cli.command, Command::OrderWorker(_));
    match dispatch(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            if let Some(code) = order_worker::exit_code(&error).filter(|_| is_order_worker) {
                return ExitCode::from(code);
            }
            let is_usage = error.is::<ConfigError>()
                || matches!(error.downcast_ref(), Some(ApiClientError::BadUrl { .. }));
            ExitCode::from(if is_usage { 2 } else { 1 })
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(serve) => serve.run(),
        Command::CheckConfig(check) => check.run(),
        Command::Certs(certs) => certs.run(),
        Command::MigrateCheck(check) => check.run(),
        Command::Trigger(trigger) => on_one_thread(trigger.run()),
        Command::Subscribe(subscribe) => on_one_thread(subscribe.run()),
        Command::OrderWorker(worker) => worker.run(),
        Command::Channels(channels) => on_one_thread(channels.run()),
        Command::App(app) => on_one_thread(app.run()),
        Command::AuthCheck(check) => on_one_thread(check.run()),
        Command::Webhooks(webhooks) => on_one_thread(webhooks.run()),
        Command::Migrate(migrate) => on_one_thread(migrate.run()),
        Command::Healthcheck(check) => on_one_thread(check.run()),
    }
}

fn on_one_thread<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(future)
}
