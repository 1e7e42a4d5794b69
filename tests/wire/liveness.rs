//! Signs of life, and what happens without them.

use std::time::Duration;

use serde_json::json;

use super::support::{PING, PONG, TestServer, soon};

/// A server that loses patience quickly.
async fn impatient() -> TestServer {
    TestServer::with(|config| {
        config.connection.ping_after = Duration::from_millis(150);
        config.connection.pong_wait = Duration::from_millis(300);
    })
    .await
}

/// 31 and 32.
#[tokio::test]
async fn a_ping_message_is_answered_with_or_without_data() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    for text in [
        r#"{"event":"pusher:ping","data":{}}"#,
        r#"{"event":"pusher:ping"}"#,
        r#"{"event":"pusher:ping","data":null}"#,
        r#"{"event":"pusher:ping","data":"{}"}"#,
    ] {
        client.send_text(text).await;

        assert_eq!(
            client.next().await,
            json!({"event": "pusher:pong", "data": "{}"})
        );
    }
}

/// 33.
#[tokio::test]
async fn a_websocket_ping_is_answered_with_its_payload_as_often_as_it_comes() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    for number in 0..60u8 {
        client.send_frame(PING, &[number; 125]).await;

        let pong = client.next_frame().await.unwrap();

        assert_eq!((pong.opcode, pong.payload), (PONG, vec![number; 125]));
    }
}

/// 34, 35 and 72.
#[tokio::test]
async fn a_silent_client_is_asked_and_then_closed() {
    let server = impatient().await;
    let mut silent = server.connect().await;
    silent
        .join("presence-room", r#"{"user_id":"silent"}"#)
        .await;
    let mut other = server.connect().await;
    let alive = tokio::spawn(async move {
        other.join("presence-room", r#"{"user_id":"other"}"#).await;
        loop {
            let frame = other.next_frame().await.unwrap();
            if frame.opcode == PING {
                other.send_frame(PONG, b"").await;
            } else {
                return String::from_utf8(frame.payload).unwrap();
            }
        }
    });
    let joined = silent.next().await;
    assert_eq!(joined["event"], "pusher_internal:member_added");

    let ping = silent.next_frame().await.unwrap();

    assert_eq!((ping.opcode, ping.payload.len()), (PING, 0));
    assert_eq!(
        silent.closed().await,
        (4201, "Pong not received in time".to_owned())
    );
    assert_eq!(silent.next_frame().await, None);
    let removed = soon("member_removed", alive).await.unwrap();
    assert!(
        removed.contains("pusher_internal:member_removed"),
        "{removed}"
    );
}

/// 36.
#[tokio::test]
async fn a_client_that_answers_only_websocket_pings_stays() {
    let server = impatient().await;
    let mut client = server.connect().await;
    for _ in 0..5 {
        let ping = client.next_frame().await.unwrap();
        assert_eq!(ping.opcode, PING);

        client.send_frame(PONG, &ping.payload).await;
    }
    client.receives_nothing_before_pong().await;
}

/// 37.
#[tokio::test]
async fn every_kind_of_frame_is_a_sign_of_life() {
    let server = impatient().await;
    for answer in [
        super::support::frame(0x80 | PONG, b""),
        super::support::frame(0x80 | PING, b""),
        super::support::frame(0x81, br#"{"event":"pusher:ping"}"#),
        super::support::frame(0x81, br#"{"event":"pusher:pong"}"#),
    ] {
        let mut client = server.connect().await;
        let mut asked = 0;
        // Asked again and again: each answer started the time anew.
        while asked < 3 {
            if client.next_frame().await.unwrap().opcode == PING {
                asked += 1;
                client.send_bytes(&answer).await;
            }
        }
    }
}
