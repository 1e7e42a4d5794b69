//! Order, isolation, and readers that do not read.

use serde_json::json;

use super::support::{TestServer, app, soon};

/// 201.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_events_arrive_in_order_at_everybody() {
    let server = TestServer::start().await;
    let mut readers = Vec::new();
    for _ in 0..50 {
        let mut client = server.subscriber("news").await;
        readers.push(tokio::spawn(async move {
            for number in 0..1_000 {
                assert_eq!(client.next().await["data"], number.to_string());
            }
        }));
    }

    for number in 0..1_000 {
        server.trigger("news", "e", &number.to_string()).await;
    }

    for reader in readers {
        soon("all events", reader).await.unwrap();
    }
}

/// 202.
#[tokio::test]
async fn a_reader_that_does_not_read_is_closed_and_delays_nobody() {
    let server = TestServer::with(|config| config.connection.outbox_bytes = 64 << 10).await;
    let mut slow = server.subscriber("news").await;
    let mut fast = server.subscriber("news").await;
    let data = "x".repeat(10_000);

    // More than the socket's buffers and the outbox take together.
    let mut sent = 0;
    soon("the slow reader to be counted", async {
        loop {
            server.trigger("news", "e", &data).await;
            sent += 1;
            assert_eq!(fast.next().await["event"], "e");
            if sent % 50 == 0 {
                let metrics = server.ops("/metrics").await.body;
                if metrics.contains("fanfare_slow_readers_total 1\n") {
                    break;
                }
            }
        }
    })
    .await;

    let mut received = 0;
    let closed = loop {
        let frame = slow.next_frame().await.expect("a close frame");
        if frame.opcode == super::support::CLOSE {
            break frame.payload;
        }
        received += 1;
    };
    assert_eq!(closed[..2], 4100u16.to_be_bytes());
    assert_eq!(&closed[2..], b"Over capacity");
    assert!(received < sent, "{received} of {sent}");
    fast.receives_nothing_before_pong().await;
}

/// A reader that never comes back is dropped, so that its memory and its
/// subscriptions are freed.
#[tokio::test]
async fn a_reader_that_is_stuck_is_dropped() {
    let server = TestServer::with(|config| {
        config.connection.stalled_write = std::time::Duration::from_millis(200);
    })
    .await;
    let stuck = server.subscriber("news").await;
    let data = "x".repeat(10_000);

    soon("the stuck reader to be gone", async {
        while server.get("/channels", &[]).await != json!({"channels": {}}) {
            server.trigger("news", "e", &data).await;
        }
    })
    .await;

    drop(stuck);
}

/// 204.
#[tokio::test(flavor = "multi_thread")]
async fn no_event_comes_before_the_success_of_its_subscription() {
    let server = std::sync::Arc::new(TestServer::start().await);
    let publisher = {
        let server = std::sync::Arc::clone(&server);
        tokio::spawn(async move {
            loop {
                server.trigger("news", "e", "1").await;
            }
        })
    };
    for _ in 0..100 {
        // `subscriber` expects the success to be the next message.
        let mut client = server.subscriber("news").await;

        assert_eq!(client.next().await["event"], "e");
    }
    publisher.abort();
}

/// 205, clients.
#[tokio::test]
async fn channels_of_two_apps_have_nothing_in_common() {
    let server = TestServer::with(|config| {
        config
            .apps
            .push(app("other-id", "other-key", "other-secret"));
    })
    .await;
    let mut mine = server.subscriber("news").await;
    let mut theirs = server.connect_to("/app/other-key?protocol=7").await;
    theirs.subscribe("news").await;

    server.trigger("news", "e", "1").await;

    assert_eq!(mine.next().await["event"], "e");
    theirs.receives_nothing_before_pong().await;
    let auth = theirs.auth("private-x", None);
    theirs
        .send(&json!({"event": "pusher:subscribe", "data": {"channel": "private-x", "auth": auth}}))
        .await;
    assert_eq!(
        theirs.next_error_text().await,
        "Invalid key in subscription auth data: 'app-key'"
    );
}

/// Subscribing and unsubscribing while events are under way leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn coming_and_going_under_load_leaves_no_ghosts() {
    let server = std::sync::Arc::new(TestServer::start().await);
    let publisher = {
        let server = std::sync::Arc::clone(&server);
        tokio::spawn(async move {
            loop {
                server.trigger("presence-x", "e", "1").await;
            }
        })
    };
    let guests: Vec<_> = (0..20)
        .map(|number| {
            let server = std::sync::Arc::clone(&server);
            tokio::spawn(async move {
                for round in 0..10 {
                    let mut client = server.connect().await;
                    let data = format!(r#"{{"user_id":"{}"}}"#, number % 5);
                    client.join("presence-x", &data).await;
                    if round % 2 == 0 {
                        client.unsubscribe("presence-x").await;
                    }
                }
            })
        })
        .collect();
    for guest in guests {
        soon("a guest to come and go", guest).await.unwrap();
    }
    publisher.abort();

    soon("the channel to be empty", async {
        while server.get("/channels", &[]).await != json!({"channels": {}}) {}
    })
    .await;
    let users = server.get("/channels/presence-x/users", &[]).await;
    assert_eq!(users, json!({"users": []}));
}
