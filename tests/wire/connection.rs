//! Connecting, and being refused.

use fanfare::apps::OverQuota;
use serde_json::{Value, json};

use super::support::{Client, KEY, TestServer, soon, target};

/// 1 and 2.
#[tokio::test]
async fn the_first_message_is_connection_established() {
    let server = TestServer::start().await;
    let mut client = server.open(&target()).await;

    let message = client.next().await;

    assert_eq!(message["event"], "pusher:connection_established");
    let data: Value = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
    assert_eq!(data["activity_timeout"], 120);
    assert!(data["socket_id"].is_string());
}

/// 3.
#[tokio::test]
async fn socket_ids_are_two_numbers_and_never_the_same() {
    let server = TestServer::start().await;
    let mut seen = std::collections::HashSet::new();

    for _ in 0..100 {
        let client = server.connect().await;
        let (one, other) = client.socket_id().split_once('.').unwrap();
        for number in [one, other] {
            assert!(number.bytes().all(|byte| byte.is_ascii_digit()), "{number}");
            assert!(number.parse::<u64>().unwrap() <= 1 << 53);
        }
        assert!(!client.socket_id().ends_with('0'));
        assert!(seen.insert(client.socket_id().to_owned()));
    }
}

/// 4, 5, 6 and 20.
#[tokio::test]
async fn every_official_client_finds_its_way_in() {
    let server = TestServer::start().await;
    for query in [
        "protocol=7&client=js&version=8.6.0&flash=false",
        "client=java-client&protocol=5&version=2.4.4",
        "client=pusher-websocket-swift&version=10.1.10&protocol=7",
        "protocol=5&client=pusher-dotnet-client&version=2.3.1",
        "client=libPusher&protocol=6&version=1.6.4",
        "protocol=4&version=2.2.0%20rc1",
        "version=0.0.0-dev&new=thing&protocol=7&empty=&=&flag",
    ] {
        let mut client = server.connect_to(&format!("/app/{KEY}?{query}")).await;

        client.subscribe("news").await;
    }
}

/// 7, 8, 9, 11 and 15.
#[tokio::test]
async fn refusals_are_close_codes_after_a_completed_upgrade() {
    let server = TestServer::start().await;
    for (target, code, reason) in [
        (
            "/app/app-key?protocol=8",
            4007,
            "Unsupported protocol version",
        ),
        (
            "/app/app-key?protocol=x",
            4007,
            "Unsupported protocol version",
        ),
        (
            "/app/app-key?protocol=",
            4007,
            "Unsupported protocol version",
        ),
        ("/app/app-key", 4008, "No protocol version supplied"),
        (
            "/app/nobody?protocol=7",
            4001,
            "App key nobody not in this cluster. Did you forget to specify the cluster?",
        ),
        ("/apps/app-key?protocol=7", 4005, "Path not found"),
        ("/app/?protocol=7", 4005, "Path not found"),
        ("/?protocol=7", 4005, "Path not found"),
        // The path is looked at before the protocol, the protocol before the key.
        ("/elsewhere", 4005, "Path not found"),
        ("/app/nobody", 4008, "No protocol version supplied"),
    ] {
        let mut client = server.open(target).await;

        assert_eq!(client.closed().await, (code, reason.to_owned()), "{target}");
    }
}

/// 7 and 10.
#[tokio::test]
async fn clients_up_to_protocol_5_are_told_by_an_event_first() {
    let server = TestServer::start().await;
    let unknown = "App key nobody not in this cluster. Did you forget to specify the cluster?";
    for (target, code, text) in [
        ("/app/nobody?protocol=5&client=java-client", 4001, unknown),
        ("/app/nobody?protocol=4", 4001, unknown),
        (
            "/app/app-key?protocol=3",
            4007,
            "Unsupported protocol version",
        ),
        ("/elsewhere?protocol=5", 4005, "Path not found"),
    ] {
        let mut client = server.open(target).await;

        assert_eq!(
            client.next().await,
            json!({"event": "pusher:error", "data": {"code": code, "message": text}})
        );
        assert_eq!(client.closed().await, (code, text.to_owned()), "{target}");
    }
}

/// 12.
#[tokio::test]
async fn a_disabled_app_takes_nobody() {
    let server = TestServer::with_app(|app| app.enabled = false).await;
    let mut client = server.open(&target()).await;

    assert_eq!(
        client.closed().await,
        (4003, "Application disabled".to_owned())
    );
}

/// 13.
#[tokio::test]
async fn an_app_that_wants_tls_believes_only_a_trusted_proxy() {
    let tls_only = "Application only accepts SSL connections, reconnect using wss://";
    let server = TestServer::with_app(|app| app.tls_only = true).await;
    let (mut client, _) = server
        .upgrade(&target(), "X-Forwarded-Proto: https\r\n")
        .await;
    assert_eq!(client.closed().await, (4000, tls_only.to_owned()));

    let server = TestServer::with(|config| {
        config.apps[0].tls_only = true;
        config.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    for scheme in ["https", "wss", "https, http"] {
        let header = format!("X-Forwarded-Proto: {scheme}\r\n");
        let (mut client, _) = server.upgrade(&target(), &header).await;
        client.establish().await;
    }
    let (mut client, _) = server
        .upgrade(&target(), "X-Forwarded-Proto: http\r\n")
        .await;
    assert_eq!(client.closed().await, (4000, tls_only.to_owned()));
}

/// 14.
#[tokio::test]
async fn a_full_app_refuses_until_somebody_leaves() {
    for (over_quota, code, reason) in [
        (OverQuota::RetryLater, 4100, "Over capacity"),
        (OverQuota::Refuse, 4004, "Account over quota"),
    ] {
        let server = TestServer::with_app(|app| {
            app.limits.connections = Some(2);
            app.over_quota = over_quota;
        })
        .await;
        let mut one = server.subscriber("news").await;
        let two = server.connect().await;

        let mut three = server.open(&target()).await;
        assert_eq!(three.closed().await, (code, reason.to_owned()));

        drop(two);
        let mut four = admitted(&server).await;
        four.subscribe("news").await;
        server.trigger("news", "e", "{}").await;
        assert_eq!(one.next().await["event"], "e");
    }
}

/// A connection as soon as there is room for it.
async fn admitted(server: &TestServer) -> Client {
    soon("room for a connection", async {
        loop {
            let mut client = server.open(&target()).await;
            let frame = client.next_frame().await.unwrap();
            if frame.opcode == super::support::TEXT {
                return client;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_full_node_says_over_capacity() {
    let server = TestServer::with(|config| config.server.max_connections = Some(1)).await;
    let first = server.connect().await;

    let mut second = server.open(&target()).await;

    assert_eq!(second.closed().await, (4100, "Over capacity".to_owned()));
    assert_eq!(server.ops("/accept-traffic").await.status, 503);
    assert_eq!(server.ops("/ready").await.status, 200);
    drop(first);
    admitted(&server).await;
}

#[tokio::test]
async fn pages_of_other_origins_are_turned_away_where_the_app_lists_its_own() {
    let server = TestServer::with_app(|app| {
        app.allowed_origins = vec!["https://shop.example".to_owned()];
    })
    .await;

    let (mut stranger, _) = server
        .upgrade(&target(), "Origin: https://evil.example\r\n")
        .await;
    assert_eq!(
        stranger.closed().await,
        (4009, "Origin not allowed".to_owned())
    );

    let (mut page, _) = server
        .upgrade(&target(), "Origin: https://shop.example\r\n")
        .await;
    page.establish().await;
    server.connect().await;
}

/// 15.
#[tokio::test]
async fn another_path_without_an_upgrade_is_not_found() {
    let server = TestServer::start().await;

    let answer = server.http("GET", "/app/app-key?protocol=7", "").await;

    assert_eq!(answer.status, 404);
    assert!(answer.body.ends_with('\n'), "{}", answer.body);
}

/// 16 and 17.
#[tokio::test]
async fn a_known_subprotocol_is_echoed_and_an_extension_declined() {
    let server = TestServer::start().await;
    for (offer, chosen) in [
        ("", None),
        (
            "Sec-WebSocket-Protocol: pusher-channels-protocol-7\r\n",
            Some("pusher-channels-protocol-7"),
        ),
        (
            "Sec-WebSocket-Protocol: chat, pusher-channels-protocol-4\r\n",
            Some("pusher-channels-protocol-4"),
        ),
        ("Sec-WebSocket-Protocol: graphql-ws\r\n", None),
        (
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
            None,
        ),
    ] {
        let (mut client, head) = server.upgrade(&target(), offer).await;

        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let head = head.to_lowercase();
        let echoed = head
            .lines()
            .find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        assert_eq!(echoed, chosen, "{offer}");
        assert!(!head.contains("sec-websocket-extensions"), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="));
        client.establish().await;
    }
}

#[tokio::test]
async fn another_version_of_websockets_is_told_which_one_is_spoken() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = TestServer::start().await;
    let mut stream = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();

    stream
        .write_all(b"GET /app/app-key?protocol=7 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 8\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    soon("the answer", stream.read_to_string(&mut answer))
        .await
        .unwrap();

    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    assert!(
        answer
            .to_lowercase()
            .contains("sec-websocket-version: 13\r\n")
    );
}

/// 18.
#[tokio::test]
async fn a_reason_is_cut_to_what_a_close_frame_holds() {
    let server = TestServer::start().await;
    let key = "%C3%A9".repeat(200);
    let mut client = server.open(&format!("/app/{key}?protocol=7")).await;

    let (code, reason) = client.closed().await;

    assert_eq!(code, 4001);
    assert!(
        reason.starts_with("App key é") && reason.len() <= 123,
        "{reason}"
    );
}

/// 19.
#[tokio::test]
async fn shutdown_sends_everybody_to_another_node() {
    let mut server = TestServer::with(|config| {
        config.server.shutdown_grace = std::time::Duration::from_millis(200);
    })
    .await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(server.subscriber("news").await);
    }

    server.stop();

    for client in &mut clients {
        assert_eq!(
            client.closed().await,
            (4200, "Please reconnect immediately".to_owned())
        );
    }
    drop(clients);
    server.ended().await;
}

#[tokio::test]
async fn readiness_goes_before_the_clients_do() {
    let server = TestServer::with(|config| {
        config.server.shutdown_grace = std::time::Duration::from_secs(60);
    })
    .await;
    let mut first = server.connect().await;
    let mut last = server.connect().await;
    assert_eq!(server.ops("/ready").await.status, 200);

    server.stop();
    // Which of the two is first is not promised.
    tokio::select! {
        closed = first.closed() => assert_eq!(closed.0, 4200),
        closed = last.closed() => assert_eq!(closed.0, 4200),
    }

    assert_eq!(server.ops("/ready").await.status, 503);
    assert_eq!(server.ops("/health").await.status, 200);
}
