//! A Redis server of its own for one test.

use std::process::Command;

use crate::backing::Backing;
use crate::support::eventually;

/// The server of the tests; `FANFARE_TEST_REDIS_SERVER` names another one, such as an
/// older Redis or Valkey.
pub(crate) fn program() -> Command {
    let named = std::env::var_os("FANFARE_TEST_REDIS_SERVER");
    Command::new(named.unwrap_or_else(|| "redis-server".into()))
}

/// Keeps nothing on disk, and listens on loopback only.
pub(crate) struct Redis {
    server: Backing,
    options: Vec<String>,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With further options of the command line.
    pub(crate) async fn with(options: &[&str]) -> Self {
        let mut redis = Self {
            server: Backing::new(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        };
        redis.resume().await;
        redis
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.server.port)
    }

    /// Ends the server, which forgets everything.
    pub(crate) fn stop(&mut self) {
        self.server.stop();
    }

    /// Starts the server again, and waits until it answers.
    pub(crate) async fn resume(&mut self) {
        let port = self.server.port.to_string();
        let mut command = program();
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &port, "--dir"])
            .arg(self.server.directory())
            .args(&self.options);
        self.server.run(&mut command);
        let client = redis::Client::open(self.url()).unwrap();
        eventually("Redis", async || {
            Box::pin(client.get_multiplexed_async_connection())
                .await
                .is_ok()
        })
        .await;
    }

    /// Forgets everything, while it runs.
    pub(crate) async fn flush(&self) {
        self.command(&["FLUSHALL"]).await;
    }

    /// Runs a command as an operator would.
    pub(crate) async fn command(&self, words: &[&str]) -> redis::Value {
        self.try_command(words).await.unwrap()
    }

    /// The same, for a server that may throw its clients out at the moment.
    pub(crate) async fn try_command(&self, words: &[&str]) -> redis::RedisResult<redis::Value> {
        let client = redis::Client::open(self.url())?;
        let mut connection = Box::pin(client.get_multiplexed_async_connection()).await?;
        redis::cmd(words[0])
            .arg(&words[1..])
            .query_async(&mut connection)
            .await
    }
}
