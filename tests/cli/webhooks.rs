//! Webhooks of a server that is killed, or whose surroundings fail.

use std::process::Stdio;
use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::Connection as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc;

use super::support::{
    ConfigFile, Server, app, fanfare, line_about, output, soon, text, with_database,
};

/// A back end that tells the bodies it is sent, and answers them with `status`;
/// with none it says nothing.
async fn back_end(listener: Arc<TcpListener>, status: Option<u16>, bodies: mpsc::Sender<String>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let bodies = bodies.clone();
        tokio::spawn(async move {
            let mut received = Vec::new();
            while stream.read_buf(&mut received).await.unwrap_or(0) > 0 {
                let request = String::from_utf8_lossy(&received).into_owned();
                let Some((head, body)) = request.split_once("\r\n\r\n") else {
                    continue;
                };
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("Content-Length: "));
                if length.is_none_or(|length| body.len() < length.parse().unwrap()) {
                    continue;
                }
                bodies.send(body.to_owned()).await.unwrap();
                received.clear();
                if let Some(status) = status {
                    let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
    }
}

#[tokio::test]
async fn a_killed_server_loses_no_webhook_that_it_had_accepted() {
    let file = with_database();
    // One port all the time: another test might take it in between.
    let port = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = port.local_addr().unwrap();
    let (sender, mut bodies) = mpsc::channel(16);
    let silent = tokio::spawn(back_end(Arc::clone(&port), None, sender.clone()));
    let hook = json!([{"url": format!("http://{address}/"), "events": ["channel_occupied"]}]);
    let create = [
        "create",
        "--id",
        "1",
        "--key",
        "k",
        "--webhooks",
        &hook.to_string(),
    ];
    app(&file, &create).await;
    let mut server = Server::with(&["--config", file.path()]).await;
    let url = server.url();
    let mut subscriber = fanfare(&["subscribe", "news", "--url", &url, "--app-id", "1"])
        .args(["--key", "k", "--secret", "unused"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let sent = soon("the webhook", bodies.recv()).await.unwrap();

    server.child.kill().await.unwrap();
    subscriber.kill().await.unwrap();
    silent.abort();
    assert!(silent.await.unwrap_err().is_cancelled());
    tokio::spawn(back_end(port, Some(200), sender));
    let _server = Server::with(&["--config", file.path()]).await;

    assert_eq!(
        soon("the webhook again", bodies.recv()).await.unwrap(),
        sent
    );
    let webhooks = async |arguments: &[&str]| {
        let arguments = [&["webhooks", "--config", file.path()], arguments].concat();
        let output = output(&mut fanfare(&arguments)).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    };
    let delivered = soon(
        "the log",
        Box::pin(async {
            loop {
                let log = webhooks(&["list", "--app", "1", "--state", "delivered", "--json"]).await;
                let log: Value = serde_json::from_str(&log).unwrap();
                if log[0].is_object() {
                    return log[0].clone();
                }
            }
        }),
    )
    .await;
    assert_eq!(delivered["body"], sent.as_str());
    assert_eq!(delivered["status"], 200);
    assert_eq!(delivered["attempts"], 1);

    // By hand it goes out once more, with a time that SDKs accept.
    let id = delivered["id"].as_str().unwrap();
    assert_eq!(webhooks(&["show", id]).await, sent);
    webhooks(&["redeliver", id]).await;
    let again = soon("the redelivery", bodies.recv()).await.unwrap();
    let (again, sent): (Value, Value) = (
        serde_json::from_str(&again).unwrap(),
        serde_json::from_str(&sent).unwrap(),
    );
    assert_eq!(again["events"], sent["events"]);
    assert!(again["time_ms"].as_u64() > sent["time_ms"].as_u64());
}

/// A server with one webhook to a back end that takes everything, and one to a host that
/// no name server knows; and a subscriber.
struct Told {
    file: ConfigFile,
    server: Server,
    bodies: mpsc::Receiver<String>,
}

impl Told {
    async fn start() -> Self {
        let file = with_database();
        let port = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = port.local_addr().unwrap();
        let (sender, bodies) = mpsc::channel(16);
        tokio::spawn(back_end(port, Some(200), sender));
        let events = ["channel_occupied"];
        let hooks = json!([
            {"url": format!("http://{address}/"), "events": events},
            {"url": "http://nobody.invalid/", "events": events},
        ])
        .to_string();
        app(
            &file,
            &["create", "--id", "1", "--key", "k", "--webhooks", &hooks],
        )
        .await;
        // A file that may not grow must be an error, as a full disk is, and no signal.
        let mut server = Command::new("sh");
        server
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .args([env!("CARGO_BIN_EXE_fanfare"), "serve", "--port", "0"])
            .args(["--metrics-port", "0", "--config", file.path()])
            .env_clear()
            .env("FANFARE_LOG_LEVEL", "warn,fanfare=debug")
            .kill_on_drop(true);
        Self {
            server: Server::started_by(&mut server).await,
            file,
            bodies,
        }
    }

    /// Occupies a channel; the back end must hear of it. The subscriber ends with this.
    async fn occupy(&mut self, channel: &str) {
        let mut subscriber = fanfare(&["subscribe", channel, "--url", &self.server.url()])
            .args(["--app-id", "1", "--key", "k", "--secret", "unused"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let body = soon("the webhook", self.bodies.recv()).await.unwrap();
        assert!(body.contains(channel), "{body}");
        subscriber.kill().await.unwrap();
    }

    async fn log(&mut self, wanted: &str) -> Value {
        line_about(&mut self.server.log, wanted).await
    }

    /// Webhooks of which the database says that they arrived.
    async fn written_down(&self) -> usize {
        let arguments = [
            "webhooks",
            "--config",
            self.file.path(),
            "list",
            "--app",
            "1",
        ];
        let listed = output(fanfare(&arguments).args(["--state", "delivered", "--json"])).await;
        let listed: Value = serde_json::from_slice(&listed.stdout).expect("a list");
        listed.as_array().map_or(0, Vec::len)
    }
}

#[tokio::test]
async fn a_full_disk_stops_no_event_and_no_webhook() {
    let mut told = Told::start().await;
    told.occupy("before").await;
    let pid = told.server.child.id().unwrap().try_into().unwrap();
    let limit = |bytes| {
        let limit = Some((bytes, rlimit::INFINITY));
        rlimit::prlimit(pid, rlimit::Resource::FSIZE, limit, None).unwrap();
    };

    limit(0);

    told.occupy("meanwhile").await;
    told.log("webhooks are not written down for the moment")
        .await;
    limit(rlimit::INFINITY);
    soon(
        "the database to be used again",
        Box::pin(async {
            let before = told.written_down().await;
            let mut number = 0;
            while told.written_down().await == before {
                number += 1;
                told.occupy(&format!("after-{number}")).await;
            }
        }),
    )
    .await;
}

#[tokio::test]
async fn a_locked_database_stops_no_event_and_no_webhook() {
    let mut told = Told::start().await;
    told.occupy("before").await;
    let database = told.file.path.with_file_name("fanfare.db");
    let url = format!("sqlite://{}", database.display());
    let mut locker = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE")
        .execute(&mut locker)
        .await
        .unwrap();

    told.occupy("meanwhile").await;

    told.log("webhooks are not written down for the moment")
        .await;
    locker.close().await.unwrap();
}

/// The other webhook of the same app is not held up.
#[tokio::test]
async fn a_host_that_cannot_be_found_is_tried_again_and_holds_up_nobody() {
    let mut told = Told::start().await;

    told.occupy("news").await;

    let line = told.log("webhook not taken").await;
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.contains("nobody.invalid"), "{reason}");
}
