//! A PostgreSQL server of its own for one test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use sqlx::PgPool;
use tempfile::TempDir;

use crate::support::soon;

/// The server keeps its files in `directory` and listens on loopback only.
pub(crate) struct Postgres {
    directory: TempDir,
    port: u16,
    running: Option<Child>,
}

impl Postgres {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        if is_root() {
            // The server refuses to run as root.
            run(Command::new("chown").arg("postgres").arg(directory.path()));
        }
        run(program("initdb")
            .args(["--auth=trust", "--username=fanfare", "--encoding=UTF8"])
            .args(["--no-sync", "--no-instructions", "--pgdata"])
            .arg(&data));
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .unwrap()
            .port();
        let mut postgres = Self {
            directory,
            port,
            running: None,
        };
        postgres.resume().await;
        postgres
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://fanfare@127.0.0.1:{}/postgres", self.port)
    }

    /// Ends the server; its data stays.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts the server again, and waits until it answers.
    pub(crate) async fn resume(&mut self) {
        let data = self.directory.path().join("data");
        let child = program("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-p"])
            .arg(self.port.to_string())
            .arg("-k")
            .arg(self.directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.running = Some(child);
        soon("PostgreSQL", async {
            while Box::pin(PgPool::connect(&self.url())).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_root() -> bool {
    output(Command::new("id").arg("-u")).stdout == b"0\n"
}

/// A program of PostgreSQL, as a user that may run it.
fn program(name: &str) -> Command {
    let path = find(name);
    if !is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(path);
    command
}

/// Debian keeps the programs beside those of other versions.
fn find(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    let mut found: Vec<PathBuf> = versions
        .into_iter()
        .flatten()
        .map(|version| version.unwrap().path().join("bin").join(name))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| Path::new(name).to_owned())
}

fn run(command: &mut Command) {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn output(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; tests/run installs PostgreSQL"))
}
