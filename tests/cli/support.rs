//! The program, its files and its log, as the tests need them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

/// How long a test waits for anything before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// The program with an empty environment.
pub(crate) fn fanfare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

pub(crate) async fn output(command: &mut Command) -> Output {
    soon("the end of the command", command.output())
        .await
        .unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A configuration file in a directory of its own.
pub(crate) struct ConfigFile {
    _directory: TempDir,
    pub(crate) path: PathBuf,
}

impl ConfigFile {
    pub(crate) fn new(content: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fanfare.toml");
        std::fs::write(&path, content).unwrap();
        Self {
            _directory: directory,
            path,
        }
    }

    pub(crate) fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

/// `fanfare serve` on free ports, with the app of the default configuration.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) log: Lines<BufReader<ChildStderr>>,
    pub(crate) address: SocketAddr,
    pub(crate) metrics_address: SocketAddr,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    pub(crate) async fn with(arguments: &[&str]) -> Self {
        Self::on_port(0, arguments).await
    }

    pub(crate) async fn on_port(port: u16, arguments: &[&str]) -> Self {
        let mut serve = fanfare(&["serve", "--metrics-port", "0", "--port"]);
        Self::started_by(serve.arg(port.to_string()).args(arguments)).await
    }

    /// Waits until the server that `command` starts has told where it listens.
    pub(crate) async fn started_by(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let (address, metrics_address) = addresses(&mut log).await;
        Self {
            address,
            metrics_address,
            child,
            log,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) async fn signal(&self, name: &str) {
        kill(name, &self.child.id().unwrap().to_string()).await;
    }

    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        let status = soon("the end of the server", self.child.wait()).await;
        status.unwrap().code()
    }
}

pub(crate) async fn kill(signal: &str, pid: &str) {
    // The shell's own `kill`: not every system has the program.
    let status = Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", signal, pid])
        .status()
        .await
        .unwrap();
    assert!(status.success());
}

/// Where the next server of this log listens, for clients and for metrics.
pub(crate) async fn addresses(log: &mut Lines<BufReader<ChildStderr>>) -> (SocketAddr, SocketAddr) {
    let listens = line_about(log, "listens").await;
    let address = |field: &str| listens[field].as_str().unwrap().parse().unwrap();
    (address("address"), address("metrics.address"))
}

/// The next line of the log whose message contains `wanted`.
pub(crate) async fn line_about(log: &mut Lines<BufReader<ChildStderr>>, wanted: &str) -> Value {
    let mut before = String::new();
    soon(wanted, async {
        while let Some(line) = log.next_line().await.unwrap() {
            let parsed: Value = serde_json::from_str(&line).unwrap_or_default();
            if parsed["message"]
                .as_str()
                .is_some_and(|message| message.contains(wanted))
            {
                return parsed;
            }
            before.push_str(&line);
            before.push('\n');
        }
        panic!("the log ended without {wanted:?}:\n{before}");
    })
    .await
}

/// The next line of `lines` that contains `wanted`.
pub(crate) async fn line_with(lines: &mut Lines<BufReader<ChildStderr>>, wanted: &str) -> String {
    soon(wanted, async {
        loop {
            let line = lines.next_line().await.unwrap().unwrap();
            if line.contains(wanted) {
                return line;
            }
        }
    })
    .await
}

/// A configuration file with a database of its own beside it.
pub(crate) fn with_database() -> ConfigFile {
    let file = ConfigFile::new("");
    let database = file.path.with_file_name("fanfare.db");
    let content = format!("[store]\nurl = \"sqlite://{}\"\n", database.display());
    std::fs::write(&file.path, content).unwrap();
    file
}

/// `fanfare app …`, which must succeed; returns what it prints.
pub(crate) async fn app(file: &ConfigFile, arguments: &[&str]) -> String {
    let arguments = [&["app", "--config", file.path()], arguments].concat();
    let output = output(&mut fanfare(&arguments)).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

/// A subscriber to the channel `a` that prints `count` events.
pub(crate) async fn subscriber(url: &str, count: &str) -> (Child, Lines<BufReader<ChildStderr>>) {
    let mut subscriber = fanfare(&["subscribe", "a", "--url", url])
        .args(["--count", count, "--timeout", "60"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut notes = BufReader::new(subscriber.stderr.take().unwrap()).lines();
    line_with(&mut notes, "subscribed to").await;
    (subscriber, notes)
}

pub(crate) async fn trigger(url: &str) {
    let triggered = output(&mut fanfare(&["trigger", "a", "b", "c", "--url", url])).await;
    assert_eq!(
        triggered.status.code(),
        Some(0),
        "{}",
        text(&triggered.stderr)
    );
}
