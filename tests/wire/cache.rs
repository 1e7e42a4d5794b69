//! Cache channels: the last event for those who come later.

use serde_json::json;

use super::support::{TestServer, soon};

/// 97 to 99 and 103.
#[tokio::test]
async fn who_comes_later_gets_the_last_event_first() {
    let server = TestServer::start().await;
    for channel in ["cache-x", "private-cache-x", "private-encrypted-cache-x"] {
        let mut early = server.connect().await;
        if channel.starts_with("private") {
            early.subscribe_private(channel).await;
        } else {
            early.subscribe(channel).await;
        }
        assert_eq!(
            early.next().await,
            json!({"event": "pusher:cache_miss", "data": "{}", "channel": channel})
        );
        server.trigger(channel, "first", "1").await;
        server.trigger(channel, "last", "{\"n\":2}").await;
        assert_eq!(early.next().await["event"], "first");
        assert_eq!(early.next().await["event"], "last");

        let mut late = server.connect().await;
        if channel.starts_with("private") {
            late.subscribe_private(channel).await;
        } else {
            late.subscribe(channel).await;
        }

        assert_eq!(
            late.next().await,
            json!({"event": "last", "data": "{\"n\":2}", "channel": channel})
        );
        early.receives_nothing_before_pong().await;
        late.receives_nothing_before_pong().await;
    }
}

/// 103, presence.
#[tokio::test]
async fn on_a_presence_channel_the_members_come_before_the_event() {
    let server = TestServer::start().await;
    server.trigger("presence-cache-x", "last", "1").await;
    let mut client = server.connect().await;

    let presence = client.join("presence-cache-x", r#"{"user_id":"1"}"#).await;

    assert_eq!(presence["count"], 1);
    assert_eq!(client.next().await["event"], "last");
}

/// 100.
#[tokio::test]
async fn client_events_are_not_kept() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    client.subscribe_private("private-cache-x").await;
    assert_eq!(client.next().await["event"], "pusher:cache_miss");

    client
        .send(&json!({"event": "client-x", "channel": "private-cache-x", "data": "x"}))
        .await;
    client.receives_nothing_before_pong().await;

    let mut late = server.connect().await;
    late.subscribe_private("private-cache-x").await;
    assert_eq!(late.next().await["event"], "pusher:cache_miss");
}

/// 101.
#[tokio::test]
async fn an_event_is_forgotten_after_its_time() {
    let server = TestServer::with_app(|app| app.limits.cache_seconds = 1).await;
    server.trigger("cache-x", "last", "1").await;
    server.subscriber("cache-x").await;

    soon("the event to be forgotten", async {
        loop {
            let mut client = server.subscriber("cache-x").await;
            if client.next().await["event"] == "pusher:cache_miss" {
                break;
            }
        }
    })
    .await;

    let channel = server.get("/channels/cache-x", &[("info", "cache")]).await;
    assert_eq!(channel["cache"], json!(null));
}

/// 102 and 162.
#[tokio::test]
async fn an_event_survives_that_nobody_is_there() {
    let server = TestServer::start().await;
    let empty = server.get("/channels/cache-x", &[("info", "cache")]).await;
    assert_eq!(empty, json!({"occupied": false, "cache": null}));

    server.trigger("cache-x", "last", "1").await;

    let kept = server.get("/channels/cache-x", &[("info", "cache")]).await;
    assert_eq!(kept["cache"]["data"], "1");
    let ttl = kept["cache"]["ttl"].as_u64().unwrap();
    assert!((1_790..=1_800).contains(&ttl), "{ttl}");
    for _ in 0..2 {
        let mut client = server.subscriber("cache-x").await;
        assert_eq!(client.next().await["event"], "last");
        client.unsubscribe("cache-x").await;
        client.receives_nothing_before_pong().await;
    }
}

/// 104, the part that clients see.
#[tokio::test]
async fn every_subscriber_of_an_empty_channel_is_told() {
    let server = TestServer::start().await;
    for _ in 0..10 {
        let mut client = server.subscriber("cache-x").await;

        assert_eq!(client.next().await["event"], "pusher:cache_miss");
    }
}

/// 105.
#[tokio::test]
async fn the_sender_gets_its_own_event_when_it_comes_back() {
    let server = TestServer::start().await;
    let mut client = server.subscriber("cache-x").await;
    client.next().await;
    let answer = server
        .post_event(&json!({"name": "last", "channel": "cache-x", "data": "1", "socket_id": client.socket_id()}))
        .await;
    assert_eq!(answer.status, 200);
    client.receives_nothing_before_pong().await;

    client.unsubscribe("cache-x").await;
    client.subscribe("cache-x").await;

    assert_eq!(client.next().await["event"], "last");
}
