//! The plain WebSocket at `/ws`.

use serde_json::{Value, json};

use super::support::{Client, KEY, TEXT, TestServer};

async fn raw_server() -> TestServer {
    TestServer::with(|config| config.raw_ws.key = Some(KEY.to_owned())).await
}

async fn next(client: &mut Client) -> Value {
    let frame = client.next_frame().await.expect("the connection has ended");
    assert_eq!(frame.opcode, TEXT, "{frame:?}");
    serde_json::from_slice(&frame.payload).unwrap()
}

async fn ask(client: &mut Client, request: &Value) -> Value {
    client.send(request).await;
    next(client).await
}

/// The next event, without the members that hold the time.
async fn next_event(client: &mut Client) -> Value {
    let mut event = next(client).await;
    let members = event.as_object_mut().unwrap();
    let milliseconds = members.remove("serverTimestamp").unwrap();
    assert!(milliseconds.as_u64().unwrap() > 1_700_000_000_000);
    let timestamp = members.remove("timestamp").unwrap();
    let timestamp = timestamp.as_str().unwrap();
    assert_eq!(timestamp.len(), "2026-01-02T03:04:05.006Z".len());
    assert!(timestamp.ends_with('Z'), "{timestamp}");
    event
}

#[tokio::test]
async fn without_a_key_there_is_no_plain_websocket() {
    let server = TestServer::start().await;

    let mut client = server.open("/ws").await;

    assert_eq!(client.closed().await.0, 4005);
}

#[tokio::test]
async fn a_client_hears_the_channels_that_it_names_in_its_own_spelling() {
    let server = raw_server().await;
    let mut client = server.open("/ws?token=anything").await;

    let wish = json!({"action": "subscribe", "channels": ["orders", "tables:5", "stations:grill"], "filters": {"x": 1}});
    assert_eq!(
        ask(&mut client, &wish).await,
        json!({"success": true, "subscribedChannels": ["orders", "tables:5", "stations:grill"]})
    );
    server
        .trigger("orders", "order.created", r#"{"orderNumber":101}"#)
        .await;
    server.trigger("table-6", "order.created", "{}").await;
    server
        .trigger("station-grill", "ticket.created", "no JSON")
        .await;

    assert_eq!(
        next_event(&mut client).await,
        json!({"type": "order.created", "channel": "orders", "sequence": 1, "payload": {"orderNumber": 101}})
    );
    assert_eq!(
        next_event(&mut client).await,
        json!({"type": "ticket.created", "channel": "station-grill", "sequence": 2, "payload": "no JSON"})
    );
}

#[tokio::test]
async fn a_subscription_can_be_repeated_and_ended() {
    let server = raw_server().await;
    let mut client = server.open("/ws").await;
    let wish = json!({"action": "subscribe", "channels": ["kitchen"]});
    let success = json!({"success": true, "subscribedChannels": ["kitchen"]});

    assert_eq!(ask(&mut client, &wish).await, success);
    assert_eq!(ask(&mut client, &wish).await, success);
    let channels = server.get("/channels", &[]).await;
    assert_eq!(channels, json!({"channels": {"kitchen": {}}}));
    let end = json!({"action": "unsubscribe", "channels": ["kitchen", "never"]});
    assert_eq!(
        ask(&mut client, &end).await,
        json!({"success": true, "subscribedChannels": []})
    );
    server.trigger("kitchen", "ticket.created", "{}").await;

    assert_eq!(
        ask(&mut client, &json!({"type": "ping"})).await,
        json!({"type": "pong"})
    );
    assert_eq!(server.get("/channels", &[]).await, json!({"channels": {}}));
}

#[tokio::test]
async fn channels_that_need_a_signature_and_names_that_are_none_are_refused() {
    let server = raw_server().await;
    let mut client = server.open("/ws").await;

    for (channel, error) in [
        ("private-orders", "private-orders"),
        ("presence-kitchen", "presence-kitchen"),
        ("not a channel", "not a channel"),
        ("#server-to-user-1", "#server-to-user-1"),
    ] {
        let wish = json!({"action": "subscribe", "channels": ["kitchen", channel]});
        let answer = ask(&mut client, &wish).await;

        assert_eq!(answer["success"], false, "{answer}");
        assert_eq!(answer["subscribedChannels"], json!(["kitchen"]));
        assert!(
            answer["error"].as_str().unwrap().contains(error),
            "{answer}"
        );
    }
    let fine = json!({"action": "subscribe", "channels": ["orders"]});
    assert_eq!(
        ask(&mut client, &fine).await,
        json!({"success": true, "subscribedChannels": ["orders"]})
    );
}

#[tokio::test]
async fn what_is_not_understood_is_answered_and_ends_the_connection_when_it_goes_on() {
    let server = raw_server().await;
    let mut witness = server.subscriber("witness").await;
    let mut client = server.open("/ws").await;

    // The words of the other dialect are none here.
    let pusher = json!({"event": "pusher:subscribe", "data": {"channel": "orders"}});
    for _ in 0..9 {
        assert_eq!(
            ask(&mut client, &pusher).await,
            json!({"success": false, "subscribedChannels": [], "error": "Invalid JSON"})
        );
    }
    client.send_text("\u{0}").await;

    assert_eq!(client.closed().await.0, 1008);
    server.still_serves(&mut witness, "witness").await;
}

#[tokio::test]
async fn a_message_beyond_the_limit_ends_the_connection_before_it_is_read() {
    let server = raw_server().await;
    let mut client = server.open("/ws").await;
    let channels = vec!["orders"; 10_000];

    client
        .send(&json!({"action": "subscribe", "channels": channels}))
        .await;

    assert_eq!(client.closed().await.0, 1009);
}

#[tokio::test]
async fn a_list_of_channels_is_bounded_as_for_any_client() {
    let server = TestServer::with(|config| {
        config.raw_ws.key = Some(KEY.to_owned());
        config.apps[0].limits.channels_per_connection = 2;
    })
    .await;
    let mut client = server.open("/ws").await;

    let wish = json!({"action": "subscribe", "channels": ["a", "b", "c", "a"]});
    let answer = ask(&mut client, &wish).await;

    assert_eq!(answer["success"], false);
    assert_eq!(answer["subscribedChannels"], json!(["a", "b", "a"]));
}

#[tokio::test]
async fn such_a_client_counts_and_is_refused_like_any_other() {
    let server = TestServer::with(|config| {
        config.raw_ws.key = Some(KEY.to_owned());
        config.apps[0].limits.connections = Some(1);
    })
    .await;
    let _pusher = server.connect().await;

    let mut client = server.open("/ws").await;

    assert_eq!(client.closed().await.0, 4100);
}

#[tokio::test]
async fn messages_in_pieces_and_pings_between_them_are_understood() {
    let server = raw_server().await;
    let mut client = server.open("/ws").await;
    let bytes = super::support::frame(0x80 | TEXT, br#"{"type":"ping"}"#);

    for byte in bytes {
        client.send_bytes(&[byte]).await;
    }
    assert_eq!(next(&mut client).await, json!({"type": "pong"}));
    client.send_frame(super::support::PING, b"alive").await;
    let pong = client.next_frame().await.unwrap();

    assert_eq!(
        (pong.opcode, pong.payload.as_slice()),
        (super::support::PONG, &b"alive"[..])
    );
}
