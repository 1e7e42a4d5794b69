//! A PostgreSQL server of its own for one test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sqlx::PgPool;

use crate::backing::Backing;
use crate::support::eventually;

/// Listens on loopback only.
pub(crate) struct Postgres {
    server: Backing,
}

impl Postgres {
    pub(crate) async fn start() -> Self {
        let server = Backing::new();
        if is_root() {
            // The server refuses to run as root.
            run(Command::new("chown")
                .arg("postgres")
                .arg(server.directory()));
        }
        run(program("initdb")
            .args(["--auth=trust", "--username=fanfare", "--encoding=UTF8"])
            .args(["--no-sync", "--no-instructions", "--pgdata"])
            .arg(server.directory().join("data")));
        let mut postgres = Self { server };
        postgres.resume().await;
        postgres
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://fanfare@127.0.0.1:{}/postgres", self.server.port)
    }

    /// Ends the server; its data stays.
    pub(crate) fn stop(&mut self) {
        self.server.stop();
    }

    /// Starts the server again, and waits until it answers.
    pub(crate) async fn resume(&mut self) {
        let port = self.server.port.to_string();
        let mut command = program("postgres");
        command
            .arg("-D")
            .arg(self.server.directory().join("data"))
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
            .args(["-p", &port, "-k"])
            .arg(self.server.directory());
        self.server.run(&mut command);
        let url = self.url();
        eventually("PostgreSQL", async || {
            Box::pin(PgPool::connect(&url)).await.is_ok()
        })
        .await;
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
