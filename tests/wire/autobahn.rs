//! The cases of the Autobahn test suite, by their numbers, as far as they make sense of a
//! server that echoes nothing: a text must be read, a ping answered, a violation closed
//! with its code. Cases 12 and 13 are about compression, which is not negotiated.

use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::support::{BINARY, CLOSE, CONTINUATION, Client, PING, PONG, TEXT, TestServer, frame};

const FIN: u8 = 0x80;

/// What must come back.
enum Expected {
    /// The text was read: a `pusher:pong`.
    Read,
    /// A pong with this payload, and then that a text is read.
    Pong(Vec<u8>),
    /// Nothing, and the next text is read.
    Nothing,
    /// A close frame with this code, and the end.
    Closed(u16),
}
use Expected::{Closed, Nothing, Pong, Read};

/// A ping of the protocol with a text of so many bytes.
fn text(length: usize) -> Vec<u8> {
    let bare = json!({"event": "pusher:ping", "data": ""}).to_string();
    let padding = "x".repeat(length.saturating_sub(bare.len()));
    json!({"event": "pusher:ping", "data": padding})
        .to_string()
        .into_bytes()
}

fn said(data: &str) -> Vec<u8> {
    json!({"event": "pusher:ping", "data": data})
        .to_string()
        .into_bytes()
}

/// One message in fragments of so many bytes, with `between` after the first.
fn fragments(message: &[u8], size: usize, between: &[u8]) -> Vec<u8> {
    let count = message.len().div_ceil(size);
    let mut bytes = Vec::new();
    for (number, piece) in (1..).zip(message.chunks(size)) {
        let opcode = if number == 1 { TEXT } else { CONTINUATION };
        let fin = if number == count { FIN } else { 0 };
        bytes.extend(frame(fin | opcode, piece));
        if number == 1 {
            bytes.extend_from_slice(between);
        }
    }
    bytes
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes()[..], reason].concat())
}

async fn check(cases: Vec<(&str, Vec<u8>, Expected)>) {
    let server = TestServer::start().await;
    let mut witness = server.subscriber("witness").await;
    for (number, bytes, expected) in cases {
        // Whole, and byte by byte, where that is not long and nobody hangs up meanwhile.
        let is_choppable = bytes.len() <= 400 && !matches!(expected, Closed(1000));
        for size in [bytes.len(), 1] {
            if size == 1 && !is_choppable {
                continue;
            }
            let mut client = server.connect().await;
            for piece in bytes.chunks(size) {
                // The server may hang up before all is sent.
                let _ = client.stream.write_all(piece).await;
            }
            case(&mut client, number, &expected).await;
        }
    }
    server.still_serves(&mut witness, "witness").await;
}

async fn case(client: &mut Client, number: &str, expected: &Expected) {
    match expected {
        Read => {
            let answer = client.next().await;
            assert_eq!(answer["event"], "pusher:pong", "case {number}");
        }
        Pong(payload) => {
            let answer = client.next_frame().await.expect(number);
            assert_eq!(
                (answer.opcode, &answer.payload),
                (PONG, payload),
                "case {number}"
            );
            client.receives_nothing_before_pong().await;
        }
        Nothing => client.receives_nothing_before_pong().await,
        Closed(code) => {
            assert_eq!(client.closed().await.0, *code, "case {number}");
            assert_eq!(client.next_frame().await, None, "case {number}");
        }
    }
}

/// 1 and 9: texts of every form of length; binary messages are none of this protocol.
#[tokio::test]
async fn lengths() {
    let limit = 64 << 10;
    check(vec![
        ("1.1.2", frame(FIN | TEXT, &text(125)), Read),
        ("1.1.3", frame(FIN | TEXT, &text(126)), Read),
        ("1.1.4", frame(FIN | TEXT, &text(127)), Read),
        ("1.1.5", frame(FIN | TEXT, &text(128)), Read),
        ("1.1.6", frame(FIN | TEXT, &text(65_535)), Read),
        ("1.1.7", frame(FIN | TEXT, &text(limit)), Read),
        ("1.1.8", fragments(&text(limit), 997, b""), Read),
        ("1.2.1", frame(FIN | BINARY, b""), Closed(1003)),
        ("1.2.7", frame(FIN | BINARY, &[0xfe; 60_000]), Closed(1003)),
        ("9.1.1", frame(FIN | TEXT, &text(limit + 1)), Closed(1009)),
        ("9.3.1", fragments(&text(4 * limit), 64, b""), Closed(1009)),
    ])
    .await;
}

/// 2: pings and pongs.
#[tokio::test]
async fn pings_and_pongs() {
    let largest: Vec<u8> = (0..125).collect();
    check(vec![
        ("2.1", frame(FIN | PING, b""), Pong(vec![])),
        ("2.2", frame(FIN | PING, b"Hello"), Pong(b"Hello".to_vec())),
        (
            "2.3",
            frame(FIN | PING, &[0, 255, 254]),
            Pong(vec![0, 255, 254]),
        ),
        ("2.4", frame(FIN | PING, &largest), Pong(largest.clone())),
        ("2.5", frame(FIN | PING, &[0xfe; 126]), Closed(1002)),
        ("2.7", frame(FIN | PONG, b""), Nothing),
        ("2.8", frame(FIN | PONG, b"unasked"), Nothing),
        (
            "2.9",
            [frame(FIN | PONG, b"unasked"), frame(FIN | PING, b"p")].concat(),
            Pong(b"p".to_vec()),
        ),
    ])
    .await;
}

/// 3 and 4: reserved bits and opcodes, alone and behind a good message.
#[tokio::test]
async fn reserved_bits_and_opcodes() {
    let mut cases = Vec::new();
    for bits in 1..8_u8 {
        let first = FIN | (bits << 4);
        cases.push(("3.1-3.7", frame(first | TEXT, &text(50)), Closed(1002)));
        cases.push(("3.6", frame(first | PING, b""), Closed(1002)));
        cases.push(("3.7", frame(first | CLOSE, b""), Closed(1002)));
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        cases.push(("4.1, 4.2", frame(FIN | opcode, b""), Closed(1002)));
        cases.push(("4.1, 4.2", frame(FIN | opcode, b"x"), Closed(1002)));
    }
    check(cases).await;
}

/// 5: fragments, and what may come between them.
#[tokio::test]
async fn fragmentation() {
    let whole = text(60);
    let ping = frame(FIN | PING, b"between");
    check(vec![
        (
            "5.1",
            [frame(PING, b"a"), frame(FIN | CONTINUATION, b"b")].concat(),
            Closed(1002),
        ),
        (
            "5.2",
            [frame(PONG, b"a"), frame(FIN | CONTINUATION, b"b")].concat(),
            Closed(1002),
        ),
        ("5.3", fragments(&whole, 30, b""), Read),
        ("5.5", fragments(&whole, 1, b""), Read),
        (
            "5.6",
            fragments(&whole, 30, &ping),
            Pong(b"between".to_vec()),
        ),
        ("5.9", frame(FIN | CONTINUATION, b"x"), Closed(1002)),
        ("5.12", frame(CONTINUATION, b"x"), Closed(1002)),
        (
            "5.15",
            [
                fragments(&whole, 30, b""),
                frame(CONTINUATION, b"x"),
                frame(FIN | TEXT, &whole),
            ]
            .concat(),
            Read,
        ),
        (
            "5.18",
            [frame(TEXT, b"{"), frame(FIN | TEXT, b"}")].concat(),
            Closed(1002),
        ),
        (
            "5.19",
            [
                frame(TEXT, &whole[..20]),
                ping.clone(),
                frame(CONTINUATION, b""),
                frame(FIN | CONTINUATION, &whole[20..]),
            ]
            .concat(),
            Pong(b"between".to_vec()),
        ),
    ])
    .await;
}

/// 6: UTF-8, also where a fragment ends inside a character.
#[tokio::test]
async fn utf_8() {
    let mut cases = Vec::new();
    for good in [
        "Hello-\u{b5}@\u{df}\u{f6}\u{e4}\u{fc}\u{e0}\u{e1}-UTF-8!!",
        "\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}",
        "\u{0}\u{80}\u{800}\u{10000}",
        "\u{7f}\u{7ff}\u{ffff}\u{10ffff}",
        "\u{d7ff}\u{e000}\u{fffd}\u{feff}",
        "\u{1f354}",
    ] {
        let message = said(good);
        cases.push(("6.2.1", frame(FIN | TEXT, &message), Read));
        cases.push(("6.2.3", fragments(&message, 1, b""), Read));
    }
    for bad in [
        &b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"[..],
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\x80",
        b"\xbf",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xe1\xbd",
        b"\xf0\x90\x80",
        b"\xfe",
        b"\xff",
    ] {
        let message = [&br#"{"event":"pusher:ping","data":""#[..], bad, br#""}"#].concat();
        cases.push(("6.3.1", frame(FIN | TEXT, &message), Closed(1007)));
        cases.push(("6.3.2", fragments(&message, 1, b""), Closed(1007)));
    }
    check(cases).await;
}

/// 7: the closing handshake, its codes and reasons.
#[tokio::test]
async fn closing() {
    let mut cases = vec![
        (
            "7.1.2",
            [close(1000, b""), close(1000, b"")].concat(),
            Closed(1000),
        ),
        (
            "7.1.3",
            [close(1000, b""), frame(FIN | PING, b"late")].concat(),
            Closed(1000),
        ),
        (
            "7.1.4",
            [close(1000, b""), frame(FIN | TEXT, &text(50))].concat(),
            Closed(1000),
        ),
        (
            "7.1.5",
            [
                frame(TEXT, b"{"),
                close(1000, b""),
                frame(FIN | CONTINUATION, b"}"),
            ]
            .concat(),
            Closed(1000),
        ),
        ("7.3.1", frame(FIN | CLOSE, b""), Closed(1000)),
        ("7.3.2", frame(FIN | CLOSE, b"a"), Closed(1002)),
        ("7.3.3", close(1000, b""), Closed(1000)),
        ("7.3.4", close(1000, b"Hello"), Closed(1000)),
        ("7.3.5", close(1000, &[b'x'; 123]), Closed(1000)),
        ("7.3.6", close(1000, &[b'x'; 124]), Closed(1002)),
        (
            "7.5.1",
            close(1000, b"\xce\xba\xe1\xed\xa0\x80"),
            Closed(1007),
        ),
    ];
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ] {
        cases.push(("7.7", close(code, b""), Closed(1000)));
    }
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        cases.push(("7.9, 7.13", close(code, b""), Closed(1002)));
    }
    check(cases).await;
}

/// 10: a message in fragments that are as long as what is sent at once.
#[tokio::test]
async fn fragments_of_one_size() {
    check(vec![("10.1.1", fragments(&text(65_536), 1_300, b""), Read)]).await;
}
