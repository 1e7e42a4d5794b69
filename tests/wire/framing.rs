//! Frames as RFC 6455 has them, and messages that are none.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::support::{
    BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, TestServer, frame, soon, target,
};

const SUBSCRIBE: &str = r#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#;

/// 21.
#[tokio::test]
async fn fragments_are_joined_whatever_comes_between_them() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let (one, rest) = SUBSCRIBE.as_bytes().split_at(10);
    let (two, three) = rest.split_at(20);

    client.send_bytes(&frame(TEXT, one)).await;
    client.send_frame(PING, b"between").await;
    client.send_bytes(&frame(CONTINUATION, two)).await;
    client.send_bytes(&frame(0x80 | CONTINUATION, three)).await;

    let pong = client.next_frame().await.unwrap();
    assert_eq!(
        (pong.opcode, pong.payload.as_slice()),
        (PONG, &b"between"[..])
    );
    assert_eq!(client.next().await["channel"], "news");
}

#[tokio::test]
async fn a_frame_may_arrive_byte_by_byte_and_with_others() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;

    for byte in frame(0x80 | TEXT, SUBSCRIBE.as_bytes()) {
        client.send_bytes(&[byte]).await;
        client.stream.flush().await.unwrap();
    }
    assert_eq!(client.next().await["channel"], "news");

    let pings: Vec<u8> = (0..100u8)
        .flat_map(|number| frame(0x80 | PING, &[number]))
        .collect();
    client.send_bytes(&pings).await;
    for number in 0..100 {
        assert_eq!(client.next_frame().await.unwrap().payload, [number]);
    }
}

/// The first messages may come in one packet with the upgrade request.
#[tokio::test]
async fn what_comes_with_the_upgrade_is_not_lost() {
    let server = TestServer::start().await;
    let head = format!(
        "GET {} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
        target()
    );
    let subscribe = frame(0x80 | TEXT, SUBSCRIBE.as_bytes());
    let stream = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    let packet = [head.as_bytes(), b"\r\n", &subscribe].concat();

    let (mut client, _) = super::support::Client::from_packet(stream, &packet).await;

    client.establish().await;
    assert_eq!(client.next().await["channel"], "news");
}

/// 22 to 24, and what else breaks the rules of frames.
#[tokio::test]
async fn what_breaks_the_rules_is_closed_with_the_code_for_it() {
    let server = TestServer::start().await;
    let mut witness = server.subscriber("witness").await;
    let long = vec![b'x'; 65_537];
    let half = vec![b'x'; 40_000];
    let unmasked = [&[0x81, 2][..], b"{}"].concat();
    for (bytes, code, reason) in [
        (
            frame(0x80 | BINARY, b"{}"),
            1003,
            "Binary frames are not supported",
        ),
        (
            frame(0x80 | TEXT, &[0xc3, 0x28]),
            1007,
            "Text frame is not valid UTF-8",
        ),
        (
            frame(0x80 | TEXT, &long),
            1009,
            "Message is over the limit of 65536 bytes",
        ),
        (
            [frame(TEXT, &half), frame(0x80 | CONTINUATION, &half)].concat(),
            1009,
            "Message is over the limit of 65536 bytes",
        ),
        // 14 bytes that announce 2^63 - 1.
        (
            [&[0x81, 0xff, 0x7f][..], &[0xff; 7], &[0; 4]].concat(),
            1009,
            "Message is over the limit of 65536 bytes",
        ),
        (unmasked, 1002, "Client frames must be masked"),
        (
            frame(0xc0 | TEXT, b"{}"),
            1002,
            "Reserved bits are not zero",
        ),
        (frame(0x83, b""), 1002, "Unknown opcode"),
        (
            frame(PING, b""),
            1002,
            "Control frames must be whole and short",
        ),
        (
            frame(0x80 | PING, &[0; 126]),
            1002,
            "Control frames must be whole and short",
        ),
        (
            frame(0x80 | CONTINUATION, b""),
            1002,
            "A continuation without a beginning",
        ),
        (
            [frame(TEXT, b"{"), frame(0x80 | TEXT, b"}")].concat(),
            1002,
            "A new message began before the last one ended",
        ),
        (frame(0x80 | CLOSE, &[3]), 1002, "Close frame of one byte"),
        (
            frame(0x80 | CLOSE, &[0x03, 0xed]),
            1002,
            "Close code is not allowed",
        ),
    ] {
        let mut client = server.connect().await;

        client.send_bytes(&bytes).await;

        assert_eq!(client.closed().await, (code, reason.to_owned()));
        server.still_serves(&mut witness, "witness").await;
    }
}

#[tokio::test]
async fn a_close_is_answered_by_a_close() {
    let server = TestServer::start().await;
    for payload in [&b""[..], &[0x03, 0xe8], &[0x0f, 0xa0, b'b', b'y', b'e']] {
        let mut client = server.connect().await;

        client.send_frame(CLOSE, payload).await;

        assert_eq!(client.closed().await, (1000, String::new()));
        assert_eq!(client.next_frame().await, None);
    }
}

/// 25.
#[tokio::test]
async fn ten_messages_that_cannot_be_read_are_too_many() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let deep = "[".repeat(60_000);
    for text in [
        "",
        "x",
        "[]",
        "7",
        "null",
        "{}",
        r#"{"event":7}"#,
        r#"{"data":{}}"#,
        &deep,
    ] {
        client.send_text(text).await;

        assert_eq!(client.next_error_text().await, "Invalid JSON", "{text}");
    }
    client.receives_nothing_before_pong().await;

    client.send_text("the tenth").await;

    assert_eq!(client.next_error_text().await, "Invalid JSON");
    assert_eq!(
        client.closed().await,
        (1008, "Too many invalid messages".to_owned())
    );
}

/// 26.
#[tokio::test]
async fn an_unknown_event_is_named() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;

    client.send(&json!({"event": "hello", "data": {}})).await;

    assert_eq!(
        client.next_error_text().await,
        "Unsupported event received on socket: hello"
    );
    client.receives_nothing_before_pong().await;
}

/// 30.
#[tokio::test]
async fn data_may_be_json_in_a_string() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;

    client
        .send(&json!({"event": "pusher:subscribe", "data": "{\"channel\":\"news\"}"}))
        .await;

    assert_eq!(client.next().await["channel"], "news");
}

/// "Bad input" of the issue: each gets its error, and nobody else notices.
#[tokio::test]
async fn messages_with_holes_are_answered_and_harm_nobody() {
    let server = TestServer::start().await;
    let mut witness = server.subscriber("witness").await;
    let auth = super::support::auth_for("1.1", "presence-p", None);
    let nested = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    for (text, error) in [
        (
            r#"{"event":"pusher:subscribe"}"#.to_owned(),
            "Invalid channel name ''",
        ),
        (
            r#"{"event":"pusher:subscribe","data":{}}"#.to_owned(),
            "Invalid channel name ''",
        ),
        (
            r#"{"event":"pusher:subscribe","data":null}"#.to_owned(),
            "Invalid channel name ''",
        ),
        (
            r#"{"event":"pusher:subscribe","data":[]}"#.to_owned(),
            "Invalid channel name ''",
        ),
        (
            r#"{"event":"pusher:subscribe","data":{"channel":7}}"#.to_owned(),
            "Invalid channel name '7'",
        ),
        (
            r#"{"event":"pusher:subscribe","data":{"channel":null}}"#.to_owned(),
            "Invalid channel name ''",
        ),
        (
            r#"{"event":"pusher:subscribe","data":{"channel":"a\u0000b"}}"#.to_owned(),
            "Invalid channel name 'a\0b'",
        ),
        (
            json!({"event": "pusher:subscribe", "data": {"channel": "presence-p", "auth": auth}})
                .to_string(),
            "Invalid signature",
        ),
        (
            r#"{"event":"pusher:unsubscribe"}"#.to_owned(),
            "Invalid channel name ''",
        ),
        (
            r#"{"event":"pusher:signin"}"#.to_owned(),
            "Missing parameter: data.user_data",
        ),
        (
            r#"{"event":"client-x"}"#.to_owned(),
            "Invalid client event (must contain channel and data)",
        ),
        (
            format!(r#"{{"event":"client-x","channel":"private-x","data":{nested}}}"#),
            "",
        ),
    ] {
        let mut client = server.connect().await;

        client.send_text(&text).await;

        let message = client.next_error_text().await;
        assert!(message.contains(error), "{text}: {message}");
        server.still_serves(&mut witness, "witness").await;
    }
    let occupied = server.get("/channels", &[]).await;
    assert_eq!(occupied, json!({"channels": {"witness": {}}}));
}

/// One byte per read must neither cost others anything nor pass for a sign of
/// life.
#[tokio::test]
async fn a_frame_that_trickles_in_is_no_sign_of_life() {
    let server = TestServer::with(|config| {
        config.connection.ping_after = std::time::Duration::from_millis(100);
        config.connection.pong_wait = std::time::Duration::from_millis(100);
    })
    .await;
    let client = server.connect().await;
    let (mut read, mut write) = client.stream.into_split();
    let trickle = tokio::spawn(async move {
        let bytes = frame(0x80 | TEXT, &[b'x'; 60_000]);
        for byte in bytes {
            if write.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    });

    let mut received = Vec::new();
    // Reset or closed: it ends either way.
    let _ = soon(
        "the end",
        tokio::io::AsyncReadExt::read_to_end(&mut read, &mut received),
    )
    .await;

    assert!(received.starts_with(&[0x89, 0]), "{received:?}");
    trickle.abort();
    let answer: Value = server.get("/channels", &[]).await;
    assert_eq!(answer, json!({"channels": {}}));
}
