//! Nodes of one deployment as processes, so that they can be killed and frozen.

use std::ops::Deref;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};

use crate::all_nodes::TOKEN;
use crate::redis::Redis;
use crate::support::{ID, KEY, SECRET, TestServer, soon};
use crate::webhooks::Receiver;

/// Seconds that webhooks hold departures back, where a test does not care.
const HOLD_BACK: f64 = 0.3;

/// A Redis, a back end, and as many nodes as a test starts.
pub(crate) struct Deployment {
    pub(crate) redis: Redis,
    back_end: Option<Receiver>,
    hook: String,
    hold_back: f64,
    /// Where the nodes find Redis, if not where it is.
    pub(crate) url: Option<String>,
    pub(crate) prefix: String,
    /// Further lines of the app's table.
    pub(crate) app: String,
    /// Further variables of the nodes.
    pub(crate) environment: Vec<(String, String)>,
    directory: TempDir,
}

/// One process. Is killed at the end of the test.
pub(crate) struct Node {
    server: TestServer,
    child: Child,
}

impl Deployment {
    pub(crate) async fn start() -> Self {
        Self::holding(HOLD_BACK).await
    }

    /// Whose webhooks hold departures back for so many seconds.
    pub(crate) async fn holding(hold_back: f64) -> Self {
        let back_end = Receiver::start().await;
        Self {
            hold_back,
            url: None,
            prefix: "fanfare".to_owned(),
            app: String::new(),
            environment: Vec::new(),
            redis: Redis::start().await,
            hook: back_end.url(),
            back_end: Some(back_end),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// A node that reaches Redis at once.
    pub(crate) async fn node(&self) -> Node {
        self.node_on(0).await
    }

    /// A node on a port that it is told.
    pub(crate) async fn node_on(&self, port: u16) -> Node {
        let url = self.url.clone().unwrap_or_else(|| self.redis.url());
        let prefix = &self.prefix;
        let hook = &self.hook;
        let hold_back = self.hold_back;
        let app = &self.app;
        let config = format!(
            r#"
            [server]
            port = {port}
            metrics_port = 0
            shutdown_grace = 1

            [engine]
            url = "{url}"
            prefix = "{prefix}"
            node_timeout = 3

            [admin]
            token = "{TOKEN}"

            [webhooks]
            hold_back = {hold_back}
            batch_window = 0.01

            [[apps]]
            id = "{ID}"
            key = "{KEY}"
            secret = "{SECRET}"
            client_events = true
            watchlist = true
            limits = {{ presence_members = 1000 }}
            {app}
            webhooks = [{{ url = "{hook}", events = [
              "channel_occupied", "channel_vacated", "member_added", "member_removed",
            ] }}]
            "#
        );
        let path = self.directory.path().join("fanfare.toml");
        std::fs::write(&path, config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_fanfare"))
            .args(["serve", "--config"])
            .arg(&path)
            .env_clear()
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let server = listening(child.stderr.take().unwrap()).await;
        server.ready().await;
        Node { server, child }
    }

    /// The back end, for a test that reads what it is told by itself.
    pub(crate) fn take_back_end(&mut self) -> Receiver {
        self.back_end.take().unwrap()
    }

    /// What the back end is told until a channel is occupied whose name is
    /// `marker`, in short: `occupied news`, `added presence-room 7`.
    pub(crate) async fn told_until(&mut self, marker: &str) -> Vec<String> {
        let mut told = Vec::new();
        let end = format!("occupied {marker}");
        loop {
            told.extend(self.next_told().await);
            if told.contains(&end) {
                told.retain(|event| *event != end);
                return told;
            }
        }
    }

    async fn next_told(&mut self) -> Vec<String> {
        let request = self.back_end.as_mut().unwrap().next().await;
        request.events().iter().map(in_short).collect()
    }

    /// Waits until the back end was told `count` events, and returns them.
    pub(crate) async fn told(&mut self, count: usize) -> Vec<String> {
        let mut told = Vec::new();
        while told.len() < count {
            told.extend(self.next_told().await);
        }
        told
    }
}

pub(crate) fn in_short(event: &Value) -> String {
    let word = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let kind = word("name");
    let kind = kind.split_once('_').map_or(&*kind, |(_, kind)| kind);
    format!("{kind} {} {}", word("channel"), word("user_id"))
        .trim_end()
        .to_owned()
}

/// Waits until the node says where it listens, and goes on reading its log, so
/// that it never waits for a reader.
async fn listening(log: ChildStderr) -> TestServer {
    let mut lines = BufReader::new(log).lines();
    let mut before = String::new();
    let listens = soon("a node", async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let parsed: Value = serde_json::from_str(&line).unwrap_or_default();
            if parsed["message"]
                .as_str()
                .is_some_and(|m| m.contains("listens"))
            {
                return parsed;
            }
            before.push_str(&line);
        }
        panic!("the node has ended: {before}");
    })
    .await;
    // Shown when the test fails.
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            eprintln!("{line}");
        }
    });
    let address = |field: &str| listens[field].as_str().unwrap().parse().unwrap();
    TestServer::at(address("address"), address("metrics.address"))
}

impl Node {
    /// Sends a signal: `KILL`, `STOP`, `CONT`, `TERM`.
    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        // The shell's own `kill`: not every system has the program.
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &pid])
            .status()
            .await
            .unwrap();
        assert!(status.success());
    }

    /// Ends the process as a crash would.
    pub(crate) async fn kill(&mut self) {
        self.signal("KILL").await;
        self.ended().await;
    }

    /// Waits for the end of the process.
    pub(crate) async fn ended(&mut self) {
        soon("the end of a node", self.child.wait()).await.unwrap();
    }
}

impl Deref for Node {
    type Target = TestServer;

    fn deref(&self) -> &TestServer {
        &self.server
    }
}
