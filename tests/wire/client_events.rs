//! Events that clients send to each other.

use serde_json::json;

use super::support::{Client, TestServer, soon};

async fn send(client: &mut Client, channel: &str, event: &str) {
    client
        .send(&json!({"event": event, "channel": channel, "data": {"n": 1}}))
        .await;
}

/// 80, 81 and 83.
#[tokio::test]
async fn everybody_else_on_a_private_channel_gets_it() {
    let server = TestServer::start().await;
    let mut sender = server.connect().await;
    let mut receiver = server.connect().await;
    sender.subscribe_private("private-x").await;
    receiver.subscribe_private("private-x").await;

    send(&mut sender, "private-x", "client-typing").await;

    assert_eq!(
        receiver.next().await,
        json!({"event": "client-typing", "data": "{\"n\":1}", "channel": "private-x"})
    );
    sender.receives_nothing_before_pong().await;
}

/// 81 and 82.
#[tokio::test]
async fn the_senders_user_comes_from_what_was_signed() {
    let server = TestServer::start().await;
    let mut sender = server.connect().await;
    let mut same_user = server.connect().await;
    sender.join("presence-x", r#"{"user_id":"cook"}"#).await;
    same_user.join("presence-x", r#"{"user_id":"cook"}"#).await;

    sender
        .send(&json!({"event": "client-typing", "channel": "presence-x", "data": "yes", "user_id": "boss"}))
        .await;

    assert_eq!(
        same_user.next().await,
        json!({"event": "client-typing", "data": "yes", "channel": "presence-x", "user_id": "cook"})
    );
}

/// 84.
#[tokio::test]
async fn an_app_may_have_them_switched_off() {
    let server = TestServer::with_app(|app| app.client_events = false).await;
    let mut client = server.connect().await;
    client.subscribe_private("private-x").await;

    send(&mut client, "private-x", "client-typing").await;

    assert_eq!(
        client.next_error_text().await,
        "To send client events, you must enable this feature in the Settings page of your dashboard."
    );
}

/// 85 to 88 and 92.
#[tokio::test]
async fn what_may_not_be_sent_is_explained() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    client.subscribe("news").await;
    client.subscribe("cache-x").await;
    assert_eq!(client.next().await["event"], "pusher:cache_miss");
    client.subscribe_private("private-encrypted-x").await;
    client.subscribe_private("private-x").await;
    client.sign_in(r#"{"id":"u1"}"#).await;
    client.subscribe("#server-to-user-u1").await;
    let long = format!("client-{}", "x".repeat(194));
    let only = "Client events are only supported on private and presence channels";
    for (event, channel, text) in [
        (
            "typing",
            "private-x",
            "Unsupported event received on socket: typing",
        ),
        (
            "Client-typing",
            "private-x",
            "Unsupported event received on socket: Client-typing",
        ),
        (
            "client-typing",
            "private-y",
            "Cannot broadcast client event (connection not subscribed to channel private-y)",
        ),
        ("client-typing", "news", only),
        ("client-typing", "cache-x", only),
        ("client-typing", "#server-to-user-u1", only),
        (
            "client-typing",
            "private-encrypted-x",
            "Client events are not supported on encrypted channels",
        ),
        (
            &long,
            "private-x",
            "Client event name is over the limit of 200 characters",
        ),
    ] {
        send(&mut client, channel, event).await;

        assert_eq!(client.next_error_text().await, text, "{event} on {channel}");
    }
    for message in [
        json!({"event": "client-x", "data": {}}),
        json!({"event": "client-x", "channel": "private-x"}),
        json!({"event": "client-x", "channel": "private-x", "data": null}),
        json!({"event": "client-x", "channel": 7, "data": {}}),
    ] {
        client.send(&message).await;

        assert_eq!(
            client.next_error_text().await,
            "Invalid client event (must contain channel and data)"
        );
    }
}

/// 89.
#[tokio::test]
async fn data_is_passed_on_as_text_byte_for_byte() {
    let server = TestServer::start().await;
    let mut sender = server.connect().await;
    let mut receiver = server.connect().await;
    sender.subscribe_private("private-x").await;
    receiver.subscribe_private("private-x").await;
    for (sent, received) in [
        (r#"{"b" : 1,"a":[1.0,2e3]}"#, r#"{"b" : 1,"a":[1.0,2e3]}"#),
        (r#""{\"b\":1}""#, r#"{"b":1}"#),
        (r#""caf\u00e9 \ud83c\udf54""#, "caf\u{e9} \u{1f354}"),
        ("7", "7"),
        ("false", "false"),
        (r#""""#, ""),
    ] {
        let text = format!(r#"{{"event":"client-x","channel":"private-x","data":{sent}}}"#);
        sender.send_text(&text).await;

        assert_eq!(receiver.next().await["data"], received);
    }
}

/// 90.
#[tokio::test]
async fn data_has_a_limit_of_bytes() {
    let server = TestServer::start().await;
    let mut sender = server.connect().await;
    let mut receiver = server.connect().await;
    sender.subscribe_private("private-x").await;
    receiver.subscribe_private("private-x").await;

    let longest = "\u{e9}".repeat(5_120);
    sender
        .send(&json!({"event": "client-x", "channel": "private-x", "data": longest}))
        .await;
    assert_eq!(receiver.next().await["data"], longest);

    sender
        .send(&json!({"event": "client-x", "channel": "private-x", "data": format!("{longest}x")}))
        .await;
    assert_eq!(
        sender.next_error_text().await,
        "The data content of this client event exceeds the allowed maximum (10240 bytes)"
    );
    receiver.receives_nothing_before_pong().await;
}

/// 91.
#[tokio::test]
async fn more_than_ten_a_second_are_dropped_until_there_is_room_again() {
    let server = TestServer::start().await;
    let mut sender = server.connect().await;
    let mut receiver = server.connect().await;
    sender.subscribe_private("private-x").await;
    receiver.subscribe_private("private-x").await;

    for number in 0..30 {
        send(&mut sender, "private-x", &format!("client-{number}")).await;
    }

    let (code, text) = sender.next_error().await;
    assert_eq!(
        (code, text.as_str()),
        (json!(4301), "Client event rejected due to rate limit")
    );
    for number in 0..10 {
        assert_eq!(receiver.next().await["event"], format!("client-{number}"));
    }
    // It works again as soon as the bucket has filled a little.
    soon("room for another event", async {
        loop {
            send(&mut sender, "private-x", "client-again").await;
            sender.send(&json!({"event": "pusher:ping"})).await;
            let mut refused = false;
            while sender.next().await["event"] != "pusher:pong" {
                refused = true;
            }
            if !refused {
                break;
            }
        }
    })
    .await;
    while receiver.next().await["event"] != "client-again" {}
}
