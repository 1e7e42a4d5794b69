//! `fanfare serve`: runs the server until it is told to stop.

use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr};

use anyhow::Context;
use clap::Args;
use fanfare::config::{Config, Effect, Loaded, LogConfig, LogFormat};
use fanfare::server::Server;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::{ConfigFile, output};

/// Run the server
#[derive(Debug, Args)]
#[command(
    after_help = "Signals: TERM and INT stop the server and send its clients to another node over the
grace period; a second one stops at once. HUP reads the certificate again.

Examples:
  fanfare serve
  fanfare serve --port 8080 --metrics-port 9090
  PUSHER_APP_ID=1 PUSHER_APP_KEY=k PUSHER_APP_SECRET=s fanfare serve --host 0.0.0.0"
)]
pub(super) struct Serve {
    #[command(flatten)]
    file: ConfigFile,
    /// Address for clients and back ends [default: 127.0.0.1]
    #[arg(long)]
    host: Option<IpAddr>,
    /// Port for clients and back ends; 0 takes a free one [default: 6001]
    #[arg(long)]
    port: Option<u16>,
    /// Port for metrics and health; 0 takes a free one [default: 9601]
    #[arg(long)]
    metrics_port: Option<u16>,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let flags = [
            ("server.host", self.host.map(|host| host.to_string())),
            ("server.port", self.port.map(|port| port.to_string())),
            (
                "server.metrics_port",
                self.metrics_port.map(|port| port.to_string()),
            ),
        ];
        let flags = flags
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect();
        let loaded = self.file.load_for_server(flags)?;
        start_log(&loaded.config.log)?;
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?
            .block_on(serve(loaded))
    }
}

async fn serve(loaded: Loaded) -> anyhow::Result<()> {
    let config = &loaded.config;
    let server = Server::bind(config)?;
    welcome(&loaded, server.address(), server.metrics_address());
    let stop = CancellationToken::new();
    let mut signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        hang_up: signal(SignalKind::hangup())?,
    };
    let certificates = server.certificates();
    let running = server.run(stop.clone());
    let mut running = std::pin::pin!(running);
    loop {
        tokio::select! {
            outcome = running.as_mut() => return outcome,
            wish = signals.next() => match (wish, &certificates) {
                (Wish::Stop, _) if stop.is_cancelled() => {
                    anyhow::bail!("stopped before all clients were sent to another node");
                }
                (Wish::Stop, _) => stop.cancel(),
                (Wish::Reload, None) => tracing::info!("nothing to reload: TLS is not configured"),
                (Wish::Reload, Some(certificates)) => match certificates.reload() {
                    Ok(()) => tracing::info!("certificate read again"),
                    Err(error) => tracing::error!(%error, "certificate not read again; going on with the one from before"),
                },
            },
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

/// What a signal asks for.
enum Wish {
    Stop,
    Reload,
}

impl Signals {
    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.hang_up.recv() => Wish::Reload,
        }
    }
}

/// Says where the server is and, to newcomers, what to change in their page.
fn welcome(loaded: &Loaded, address: SocketAddr, metrics_address: SocketAddr) {
    let config = &loaded.config;
    tracing::info!(
        %address,
        metrics.address = %metrics_address,
        tls = config.server.tls.is_some(),
        apps = config.apps.len(),
        "fanfare {} listens",
        env!("CARGO_PKG_VERSION")
    );
    for variable in &loaded.variables {
        if let Effect::Unsupported(advice) = variable.effect {
            tracing::warn!(
                variable = variable.name,
                "{} is not supported: {advice}",
                variable.name
            );
        }
    }
    if loaded.has_default_app {
        tracing::warn!(
            "no app is configured: serving app id app-id, key app-key, secret app-secret, on loopback only"
        );
    }
    if std::io::stderr().is_terminal() {
        output::note(&hint(config, address));
    }
}

fn hint(config: &Config, address: SocketAddr) -> String {
    let key = config
        .apps
        .first()
        .and_then(|app| app.pairs().into_iter().next())
        .map_or_else(|| "app-key".to_owned(), |pair| pair.key);
    let is_tls = config.server.tls.is_some();
    let host = match address.ip() {
        ip if ip.is_unspecified() => "<the name of this host>".to_owned(),
        ip => ip.to_string(),
    };
    format!(
        "\nIn a page:  new Pusher('{key}', {{ wsHost: '{host}', {}: {}, forceTLS: {is_tls}, enabledTransports: ['ws', 'wss'], cluster: '' }})\n",
        if is_tls { "wssPort" } else { "wsPort" },
        address.port(),
    )
}

fn start_log(config: &LogConfig) -> anyhow::Result<()> {
    let is_text = match config.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&config.level)?)
        .with_writer(std::io::stderr);
    let outcome = if is_text {
        builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    outcome.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}
