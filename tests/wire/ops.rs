//! Health, metrics and usage.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use super::support::{HttpClient, TestServer, soon};

#[tokio::test]
async fn probes_answer_on_both_ports() {
    let server = TestServer::start().await;
    for path in ["/", "/up", "/health", "/ready", "/accept-traffic"] {
        let ops = server.ops(path).await;
        let client = server.http("GET", path, "").await;

        assert_eq!((ops.status, ops.body.as_str()), (200, "OK\n"), "{path}");
        assert_eq!(
            (client.status, client.body.as_str()),
            (200, "OK\n"),
            "{path}"
        );
    }
    assert_eq!(server.ops("/elsewhere").await.status, 404);
    // Operators' figures are not for clients.
    assert_eq!(server.http("GET", "/metrics", "").await.status, 404);
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let server = TestServer::start().await;
    let mut client = server.subscriber("news").await;
    client.subscribe_private("private-x").await;
    client
        .send(&serde_json::json!({"event": "client-x", "channel": "private-x", "data": "1"}))
        .await;
    server.trigger("news", "e", "1").await;
    assert_eq!(client.next().await["event"], "e");

    let metrics = server.ops("/metrics").await;

    assert_eq!(
        metrics.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    for line in [
        "fanfare_connections{app_id=\"app-id\"} 1",
        "fanfare_connections_opened_total{app_id=\"app-id\"} 1",
        "fanfare_channels{app_id=\"app-id\"} 2",
        "fanfare_messages_received_total{app_id=\"app-id\"} 3",
        "fanfare_api_events_total{app_id=\"app-id\"} 1",
        "fanfare_client_events_total{app_id=\"app-id\"} 1",
        "fanfare_slow_readers_total 0",
        "fanfare_draining 0",
    ] {
        assert!(
            metrics.body.lines().any(|found| found == line),
            "{line}: {}",
            metrics.body
        );
    }
    assert!(metrics.body.contains("\nprocess_resident_memory_bytes "));
}

#[tokio::test]
async fn every_refusal_is_counted_by_its_code() {
    let server = TestServer::start().await;
    for _ in 0..2 {
        let mut unknown = server.open("/app/nobody?protocol=7").await;
        assert_eq!(unknown.closed().await.0, 4001);
    }
    let mut binary = server.connect().await;
    binary.send_frame(super::support::BINARY, b"").await;
    assert_eq!(binary.closed().await.0, 1003);
    assert_eq!(server.http("GET", "/apps/1/channels", "").await.status, 404);

    let metrics = server.ops("/metrics").await.body;

    for line in [
        "fanfare_closes_total{code=\"1003\"} 1",
        "fanfare_closes_total{code=\"4001\"} 2",
        "fanfare_api_refusals_total{status=\"404\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{metrics}");
    }
}

#[tokio::test]
async fn usage_tells_of_memory() {
    let server = TestServer::start().await;

    let usage = server.ops("/usage").await.json();

    let memory = &usage["memory"];
    assert!(memory["used"].as_u64().unwrap() > 1_000_000);
    assert!(memory["total"].as_u64() > memory["used"].as_u64());
    assert!(memory["percent"].as_f64().unwrap() > 0.0);
}

/// An HTTP connection that is kept ends with an answer, not under a request.
#[tokio::test]
async fn a_server_that_leaves_asks_to_connect_anew() {
    let server = TestServer::with(|config| {
        config.server.shutdown_grace = Duration::from_secs(60);
    })
    .await;
    let _client = server.connect().await;
    let mut kept = HttpClient::new(TcpStream::connect(server.address).await.unwrap()).await;
    let before = kept.send("GET", "/up", "").await;
    assert_eq!(before.headers.get("connection"), None);

    server.stop();
    let after = kept.send("GET", "/up", "").await;

    assert_eq!(after.status, 200);
    assert_eq!(after.headers["connection"], "close");
}

/// Whoever asks and does not read takes the last answers with them.
#[tokio::test]
async fn a_reader_of_metrics_who_does_not_read_cannot_keep_the_server() {
    let mut server = TestServer::start().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.set_send_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(server.metrics_address).await.unwrap();
    let requests = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    // Until the server takes no more of them, since it cannot get rid of its answers.
    let is_taken = async |stream: &mut TcpStream| {
        let written = stream.write_all(requests.as_bytes());
        tokio::time::timeout(Duration::from_secs(2), written)
            .await
            .is_ok()
    };
    soon("a full socket", async {
        while is_taken(&mut stream).await {}
    })
    .await;

    server.stop();

    server.ended().await;
}
