//! Public channels: subscribing, unsubscribing, names.

use serde_json::json;

use super::support::TestServer;

/// 38 and 39.
#[tokio::test]
async fn a_public_channel_needs_no_auth() {
    let server = TestServer::start().await;
    for data in [
        json!({"channel": "news", "auth": ""}),
        json!({"channel": "news"}),
        json!({"channel": "news", "auth": null, "channel_data": null}),
    ] {
        let mut client = server.connect().await;

        client
            .send(&json!({"event": "pusher:subscribe", "data": data}))
            .await;

        assert_eq!(
            client.next().await,
            json!({"event": "pusher_internal:subscription_succeeded", "data": "{}", "channel": "news"})
        );
    }
}

/// 40.
#[tokio::test]
async fn a_second_subscription_is_an_error_and_changes_nothing() {
    let server = TestServer::start().await;
    let mut client = server.subscriber("news").await;

    client
        .send(&json!({"event": "pusher:subscribe", "data": {"channel": "news"}}))
        .await;

    assert_eq!(
        client.next_error_text().await,
        "Existing subscription to channel news"
    );
    server.trigger("news", "e", "1").await;
    assert_eq!(
        client.next().await,
        json!({"event": "e", "data": "1", "channel": "news"})
    );
    client.receives_nothing_before_pong().await;
}

/// 41, 43 and 203.
#[tokio::test]
async fn nothing_comes_between_unsubscribing_and_subscribing_again() {
    let server = TestServer::start().await;
    let mut client = server.subscriber("news").await;

    client.unsubscribe("news").await;
    client.receives_nothing_before_pong().await;
    server.trigger("news", "missed", "{}").await;
    client.receives_nothing_before_pong().await;
    client.subscribe("news").await;
    server.trigger("news", "seen", "{}").await;

    assert_eq!(client.next().await["event"], "seen");
}

/// 42.
#[tokio::test]
async fn unsubscribing_from_what_is_not_subscribed_is_an_error() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;

    client.unsubscribe("news").await;

    assert_eq!(
        client.next_error_text().await,
        "No current subscription to channel news, or subscription in progress"
    );
    client.receives_nothing_before_pong().await;
}

/// 44 and 47, first half.
#[tokio::test]
async fn names_with_other_characters_are_refused() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    for name in [
        "",
        "a b",
        "a:b",
        "a/b",
        "caf\u{e9}",
        "#anything",
        "#server-to-user",
        "#",
        "a\n",
    ] {
        client
            .send(&json!({"event": "pusher:subscribe", "data": {"channel": name}}))
            .await;

        assert_eq!(
            client.next_error_text().await,
            format!("Invalid channel name '{name}'")
        );
        let data = client.next_data("pusher:subscription_error", name).await;
        assert_eq!(data["type"], "InvalidChannel", "{name}");
        assert_eq!(data["status"], 400, "{name}");
    }
    client.receives_nothing_before_pong().await;
}

/// 45, 46, 47, second half, and 48.
#[tokio::test]
async fn names_of_allowed_characters_and_length_are_public_channels() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let longest = "x".repeat(164);
    for name in [
        "_-=@,.;",
        "0",
        "my-private-x",
        "Private-x",
        "PRESENCE-x",
        "privatex",
        &longest,
    ] {
        client.subscribe(name).await;
    }

    let too_long = "x".repeat(165);
    client
        .send(&json!({"event": "pusher:subscribe", "data": {"channel": too_long}}))
        .await;

    assert!(
        client
            .next_error_text()
            .await
            .starts_with("Invalid channel name 'xxx")
    );
}

/// The bound of ours on what one connection holds.
#[tokio::test]
async fn one_connection_has_a_limit_of_channels() {
    let server = TestServer::with_app(|app| app.limits.channels_per_connection = 2).await;
    let mut client = server.connect().await;
    client.subscribe("one").await;
    client.subscribe("two").await;

    client
        .send(&json!({"event": "pusher:subscribe", "data": {"channel": "three"}}))
        .await;

    assert_eq!(
        client.next_error_text().await,
        "Connection is over the limit of 2 channels"
    );
    let data = client.next_data("pusher:subscription_error", "three").await;
    assert_eq!(
        (&data["type"], &data["status"]),
        (&json!("LimitReached"), &json!(403))
    );
    client.unsubscribe("one").await;
    client.subscribe("three").await;
}
