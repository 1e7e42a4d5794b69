//! What the log holds, and what it never does.

use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::auth::{post, token};
use super::support::{ConfigFile, Server, fanfare, line_with, output, soon};

/// At the level that tells the most.
#[tokio::test]
async fn the_log_holds_no_secret_no_signature_and_nothing_of_what_was_sent() {
    let file = ConfigFile::new(
        "[log]\nlevel = \"trace\"\n[auth]\njwt_secret = \"jwt-secret\"\n[adapters.rooms]\nenabled = true\nwebhook_token = \"hook-token\"\n[[apps]]\nid = \"1\"\nkey = \"front-key\"\nsecret = \"back-secret\"\n",
    );
    let arguments = ["--config", file.path()];
    let mut server = Server::with(&arguments).await;
    let url = server.url();
    let run = |arguments: &[&str]| {
        let mut command = fanfare(arguments);
        command.args(["--url", &url, "--config", file.path()]);
        command
    };
    let mut subscriber = run(&["subscribe", "presence-a", "--count", "1", "--timeout", "30"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut notes = BufReader::new(subscriber.stderr.take().unwrap()).lines();
    line_with(&mut notes, "subscribed to").await;
    output(&mut run(&[
        "trigger",
        "presence-a",
        "order",
        "precious-data",
    ]))
    .await;
    soon("the event", subscriber.wait()).await.unwrap();
    output(&mut run(&[
        "trigger",
        "a",
        "b",
        "c",
        "--secret",
        "wrong-secret",
    ]))
    .await;
    output(&mut run(&[
        "subscribe",
        "private-a",
        "--secret",
        "wrong-secret",
    ]))
    .await;
    let claims = json!({"sub": "1", "phone": "precious-claim", "exp": 4_102_444_800u64});
    let jwt = token(&claims, "jwt-secret");
    let call =
        |token: &str| json!({"token": token, "call": {"phone": "precious-data"}}).to_string();
    for (path, bearer, body, status) in [
        (
            "/pusher/auth",
            &jwt,
            "socket_id=1.1&channel_name=private-all",
            200,
        ),
        (
            "/pusher/auth",
            &jwt,
            "socket_id=1.1&channel_name=private-directors",
            403,
        ),
        ("/pusher/auth", &token(&claims, "wrong-secret"), "", 401),
        ("/api/v1/broadcast/call-new", &jwt, &call("hook-token"), 200),
        (
            "/api/v1/broadcast/call-new",
            &jwt,
            &call("wrong-token"),
            401,
        ),
    ] {
        let answer = post(server.address, path, bearer, body).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    server.signal("TERM").await;

    let mut told = String::new();
    while let Some(line) = soon("the log", server.log.next_line()).await.unwrap() {
        told.push_str(&line);
        told.push('\n');
    }
    assert!(told.contains("\"level\":\"TRACE\"") && told.contains("stopped"));
    for precious in [
        "back-secret",
        "wrong-secret",
        "precious-data",
        "auth_signature",
        "jwt-secret",
        "precious-claim",
        "hook-token",
        "wrong-token",
        jwt.rsplit('.').next().unwrap(),
    ] {
        assert!(!told.contains(precious), "{precious} in the log:\n{told}");
    }
}

#[tokio::test]
async fn a_client_cannot_write_lines_into_the_log() {
    let file = ConfigFile::new("[log]\nlevel = \"debug\"\nformat = \"text\"\n");
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut serve = fanfare(&["serve", "--config", file.path(), "--metrics-port", "0"]);
    let mut server = serve
        .args(["--port", &port.to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
    line_with(&mut log, "listens").await;

    for request in [
        "GET /app/a%0Aforged%1B[31m?protocol=7 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        "GET /apps/app-id/channels?a%0Aforged=1&a%0Aforged=2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ] {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();

        let line = line_with(&mut log, "forged").await;

        assert!(line.contains("refused"), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }
}
