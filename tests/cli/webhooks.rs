//! Webhooks of a server that is killed.

use std::process::Stdio;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::support::{Server, app, fanfare, output, soon, text, with_database};

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
