//! `fanfare serve`: runs the server until it is told to stop.

use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::parent_id;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use fanfare::config::{Config, Effect, Loaded, LogConfig, LogFormat};
use fanfare::server::Server;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::{ConfigFile, output};

/// How often a test server looks whether the process that started it is there.
const PARENT_LOOK: Duration = Duration::from_millis(200);

/// Run the server
#[derive(Debug, Args)]
#[command(
    after_help = "Signals: TERM and INT stop the server and send its clients to another node over the
grace period; a second one stops at once. HUP reads the certificate again.

Examples:
  fanfare serve
  fanfare serve --port 8080 --metrics-port 9090
  fanfare serve --test                              in CI: see docs/testing.md
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
    /// Run for the tests of an application: on free ports that are printed as
    /// JSON, with all features of the app on, a log at /test/events, and until the
    /// process that started it ends
    #[arg(long)]
    test: bool,
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
        let free = self.test.then(|| "0".to_owned());
        let flags = flags
            .into_iter()
            .filter_map(|(key, value)| {
                let is_port = key != "server.host";
                Some((key, value.or_else(|| free.clone().filter(|_| is_port))?))
            })
            .collect();
        let mut loaded = self.file.load_for_server(flags)?;
        if self.test {
            allow_everything(&mut loaded.config);
        }
        start_log(&loaded.config.log)?;
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?
            .block_on(serve(loaded, self.test))
    }
}

/// What tests need: every feature, and an end without ceremony.
fn allow_everything(config: &mut Config) {
    config.server.shutdown_grace = Duration::from_millis(1);
    for app in &mut config.apps {
        app.client_events = true;
        app.subscription_count = true;
        app.watchlist = true;
    }
}

/// Waits until this process has another parent than `parent`, which means that
/// the one that started it has ended.
async fn orphaned(parent: u32) {
    let mut looks = tokio::time::interval(PARENT_LOOK);
    while parent_id() == parent {
        looks.tick().await;
    }
}

/// Tells the program that started a test server where it is.
fn tell_parent(config: &Config, server: &Server) -> anyhow::Result<()> {
    let app = config.apps.first();
    let pair = app.and_then(|app| app.pairs().into_iter().next());
    let told = serde_json::json!({
        "host": server.address().ip().to_string(),
        "port": server.address().port(),
        "metrics_port": server.metrics_address().port(),
        "app_id": app.map(|app| &app.id),
        "key": pair.as_ref().map(|pair| &pair.key),
        "secret": pair.as_ref().map(|pair| pair.secret.reveal()),
    });
    output::line(&told.to_string())?;
    Ok(())
}

async fn serve(loaded: Loaded, is_test: bool) -> anyhow::Result<()> {
    // Before anybody is told that the server is there.
    let parent = parent_id();
    let config = &loaded.config;
    let server = if is_test {
        Server::bind_for_tests(config).await?
    } else {
        Server::bind(config).await?
    };
    let mut signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        hang_up: signal(SignalKind::hangup())?,
    };
    // Whoever reads this may send a signal at once.
    welcome(&loaded, server.address(), server.metrics_address());
    show_console(config, &server);
    if is_test {
        tell_parent(config, &server)?;
    }
    let stop = CancellationToken::new();
    let orphaned = async {
        if is_test {
            orphaned(parent).await;
        } else {
            std::future::pending().await
        }
    };
    let mut orphaned = std::pin::pin!(orphaned);
    let certificates = server.certificates();
    let running = server.run(stop.clone());
    let mut running = std::pin::pin!(running);
    loop {
        tokio::select! {
            outcome = running.as_mut() => return outcome,
            () = orphaned.as_mut(), if !stop.is_cancelled() => stop.cancel(),
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

/// Says where the console is, and how to get in where nobody has an account yet.
fn show_console(config: &Config, server: &Server) {
    if !config.admin.console {
        return;
    }
    // Beside a port of its own for TLS, that of the server is plain.
    let has_tls = config
        .server
        .tls
        .as_ref()
        .is_some_and(|tls| tls.port.is_none());
    let (mut address, scheme) = if !config.admin.on_client_port {
        (server.metrics_address(), "http")
    } else if has_tls {
        (server.address(), "https")
    } else {
        (server.address(), "http")
    };
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let prefix = &config.server.path_prefix;
    let prefix = if config.admin.on_client_port {
        prefix
    } else {
        ""
    };
    let url = format!("{scheme}://{address}{prefix}/console/");
    match server.invitation() {
        // Shown once, also to those who keep warnings only.
        Some(invitation) => tracing::warn!(
            "nobody has an account for the console: make the first one at {url}#/begin/{invitation}"
        ),
        None => tracing::info!("the console is at {url}"),
    }
}

fn hint(config: &Config, address: SocketAddr) -> String {
    let key = config
        .apps
        .first()
        .and_then(|app| app.pairs().into_iter().next())
        .map_or_else(|| "app-key".to_owned(), |pair| pair.key);
    // Beside a port of its own for TLS, this one is plain.
    let is_tls = config
        .server
        .tls
        .as_ref()
        .is_some_and(|tls| tls.port.is_none());
    let host = match address.ip() {
        ip if ip.is_unspecified() => "<the name of this host>".to_owned(),
        ip => ip.to_string(),
    };
    let port = address.port();
    let (ws_port, http_port) = if is_tls {
        ("wssPort", "httpsPort")
    } else {
        ("wsPort", "httpPort")
    };
    format!(
        "\nIn a page:  new Pusher('{key}', {{ wsHost: '{host}', {ws_port}: {port}, httpHost: '{host}', {http_port}: {port}, forceTLS: {is_tls}, cluster: '' }})\n",
    )
}

pub(super) fn start_log(config: &LogConfig) -> anyhow::Result<()> {
    let is_text = match config.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&config.level)?)
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

/// What `level` lets through, but never the client of RabbitMQ: it writes down what it
/// sends and receives, credentials and messages among it. What goes wrong is logged by
/// the adapters.
fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    let mut filter = EnvFilter::try_new(level)?;
    for silenced in [
        "lapin",
        "amq_protocol",
        "amq_protocol_tcp",
        "async_rs",
        "tcp_stream",
    ] {
        filter = filter.add_directive(format!("{silenced}=off").parse()?);
    }
    Ok(filter)
}
