//! Clients that mean harm, or are broken: nothing that one sends ends the server,
//! holds up another client, or stays behind when it is gone.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::support::{CONTINUATION, Client, PING, TEXT, TestServer, frame, soon, target};

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// Everything that comes back until the server hangs up.
async fn answers_to(server: &TestServer, packet: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(packet).await.unwrap();
    let mut answers = Vec::new();
    // A reset ends it as well.
    let _ = soon("the end", stream.read_to_end(&mut answers)).await;
    String::from_utf8_lossy(&answers).into_owned()
}

/// Waits until the client of `witness` is the only one, and looks whether it is
/// still served.
async fn nothing_stays(server: &TestServer, witness: &mut Client) {
    let only = r#"fanfare_connections{app_id="app-id"} 1"#;
    soon("the others to be gone", async {
        while !server
            .ops("/metrics")
            .await
            .body
            .lines()
            .any(|line| line == only)
        {}
    })
    .await;
    let occupied = server.get("/channels", &[]).await;
    assert_eq!(occupied, json!({"channels": {"witness": {}}}));
    server.still_serves(witness, "witness").await;
}

/// RFC 9112: what two parties could split into requests at different places is
/// refused, and the connection ends with it.
#[tokio::test]
async fn a_request_is_never_smuggled_behind_another() {
    let server = TestServer::start().await;
    let inner = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let post = "POST /apps/app-id/events HTTP/1.1\r\nHost: x\r\n";
    for (packet, status) in [
        // The length in two ways.
        (
            format!(
                "{post}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}"
            ),
            401,
        ),
        (
            format!(
                "{post}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{inner}"
            ),
            401,
        ),
        (
            format!("{post}Content-Length: 0\r\nContent-Length: 36\r\n\r\n{inner}"),
            400,
        ),
        // A length that is none.
        (format!("{post}Content-Length: +0\r\n\r\n{inner}"), 400),
        (format!("{post}Content-Length: 0, 0\r\n\r\n{inner}"), 400),
        (format!("{post}Content-Length: 0x0\r\n\r\n{inner}"), 400),
        (format!("{post}Content-Length: -1\r\n\r\n{inner}"), 400),
        (
            format!("{post}Content-Length: 99999999999999999999\r\n\r\n{inner}"),
            400,
        ),
        (format!("{post}Content-Length : 0\r\n\r\n{inner}"), 400),
        (format!("{post}Content-Length\0: 0\r\n\r\n{inner}"), 400),
        // An encoding that is none, or not the last.
        (
            format!("{post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{inner}"),
            400,
        ),
        (
            format!("{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{inner}"),
            400,
        ),
        (
            format!(
                "{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n{inner}"
            ),
            400,
        ),
        (
            format!(
                "POST /apps/app-id/events HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}"
            ),
            400,
        ),
        // Header lines that some join and some do not.
        (format!("{post}X-A: b\r\n c: d\r\n\r\n{inner}"), 400),
        (format!("{post}X-A: b\rX-C: d\r\n\r\n{inner}"), 400),
        (format!("{post}X-A: b\0c\r\n\r\n{inner}"), 400),
        // Chunks that are none.
        (
            format!("{post}Transfer-Encoding: chunked\r\n\r\nx\r\n\r\n{inner}"),
            401,
        ),
        (
            format!("{post}Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n{inner}"),
            401,
        ),
        (
            format!("{post}Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n{inner}"),
            401,
        ),
        // For whom it is.
        (format!("GET /health HTTP/1.1\r\n\r\n{inner}"), 400),
        (
            format!("GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n{inner}"),
            400,
        ),
    ] {
        let answers = answers_to(&server, packet.as_bytes()).await;

        assert!(
            answers.starts_with(&format!("HTTP/1.1 {status} "))
                || answers.starts_with(&format!("HTTP/1.0 {status} ")),
            "{packet}\n{answers}"
        );
        assert_eq!(answers.matches("HTTP/1.").count(), 1, "{packet}\n{answers}");
    }
}

/// Bytes behind the head of an upgrade are frames, so nothing may claim that they
/// are a body.
#[tokio::test]
async fn an_upgrade_has_no_body_and_is_a_get_of_http_1_1() {
    let server = TestServer::start().await;
    let target = target();
    for packet in [
        format!("POST {target} HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\n"),
        format!("POST {target} HTTP/1.1\r\nHost: x\r\n{UPGRADE}Content-Length: 2\r\n\r\n{{}}"),
        format!("GET {target} HTTP/1.1\r\nHost: x\r\n{UPGRADE}Content-Length: 2\r\n\r\n{{}}"),
        format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\n{UPGRADE}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        format!("GET {target} HTTP/1.0\r\nHost: x\r\n{UPGRADE}\r\n"),
        format!("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\n"),
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(packet.as_bytes()).await.unwrap();

        let mut answer = vec![0; 4_096];
        let length = soon("an answer", stream.read(&mut answer)).await.unwrap();

        let answer = String::from_utf8_lossy(&answer[..length]);
        assert!(answer.starts_with("HTTP/1."), "{packet}\n{answer}");
        assert_eq!(&answer[8..12], " 400", "{packet}\n{answer}");
    }
}

#[tokio::test]
async fn what_is_no_http_is_answered_briefly_or_not_at_all() {
    let server = TestServer::start().await;
    let mut witness = server.subscriber("witness").await;
    let head = "GET /health HTTP/1.1\r\nHost: x\r\n";
    let long = "x".repeat(20_000);
    let many = "a: b\r\n".repeat(200);
    for (packet, status) in [
        // The beginning of a TLS handshake.
        (vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3], "400"),
        (b"\x00\x01\x02\x03\r\n\r\n".to_vec(), "400"),
        (b"GET / HTTP/9.9\r\n\r\n".to_vec(), "400"),
        (b"G\xc3\x89T / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), "400"),
        (format!("{head}X: {long}\r\n\r\n").into_bytes(), "431"),
        (format!("{head}{many}\r\n").into_bytes(), "431"),
        (
            format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes(),
            "431",
        ),
    ] {
        let answers = answers_to(&server, &packet).await;

        let shown = String::from_utf8_lossy(&packet[..packet.len().min(100)]).into_owned();
        assert!(answers.starts_with("HTTP/1."), "{shown}\n{answers}");
        assert_eq!(answers.get(9..12), Some(status), "{shown}\n{answers}");
    }
    nothing_stays(&server, &mut witness).await;
}

/// Targets that some decode once, some twice and some not at all.
#[tokio::test]
async fn odd_targets_are_refused_in_words() {
    let server = TestServer::start().await;
    let mut witness = server.subscriber("witness").await;
    for target in [
        "/apps/app-id/channels/%",
        "/apps/app-id/channels/%zz",
        "/apps/app-id/channels/%00",
        "/apps/app-id/channels/%ff%fe",
        "/apps/app-id/channels/%c0%af",
        "/apps/app-id/channels/..%2f..%2fetc%2fpasswd",
        "/apps/../channels",
        "/apps//channels",
        "/apps/%61pp-id/events/../channels",
        "/apps/app-id/channels?%",
        "/apps/app-id/channels?%zz=%&&&==&=",
        "/apps/app-id/channels?auth_key=%00&auth_signature=%ff",
        "/apps/app-id/channels?auth_key=app-key&auth_version=1.0&auth_timestamp=1e999",
        "/apps/app-id/channels?auth_key=app-key&auth_version=1.0&auth_timestamp=-1",
        "/apps/app-id/channels?auth_key=app-key&auth_version=1.0&auth_timestamp=99999999999999999999",
        "http://elsewhere/apps/app-id/channels",
        "*",
    ] {
        let packet = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");

        let answer = answers_to(&server, packet.as_bytes()).await;

        let status = answer.get(9..12).unwrap_or_default();
        assert!(
            ["400", "401", "404"].contains(&status),
            "{target}\n{answer}"
        );
    }
    let parameters: Vec<String> = (0..1_000).map(|number| format!("p{number}=")).collect();
    let many = format!("/apps/app-id/channels?{}", parameters.join("&"));
    assert_eq!(server.http("GET", &many, "").await.status, 400);
    nothing_stays(&server, &mut witness).await;
}

#[tokio::test]
async fn requests_may_come_in_one_packet_also_before_an_upgrade() {
    let server = TestServer::start().await;
    let request = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

    let answers = answers_to(&server, format!("{}{last}", request.repeat(99)).as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 100);

    let packet = format!(
        "{request}GET {} HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\n",
        target()
    );
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut client, head) = Client::from_packet(stream, packet.as_bytes()).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    // The body of the first answer and the head of the second.
    client.skip_through(b"\r\n\r\n").await;
    client.establish().await;
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let server = TestServer::with(|config| {
        config.connection.request_header_timeout = Duration::from_millis(200);
    })
    .await;
    for begin in ["", "GET / HT", "GET /health HTTP/1.1\r\nHost: x\r\nX-A: "] {
        let answers = answers_to(&server, begin.as_bytes()).await;

        assert!(!answers.contains("200 OK"), "{answers}");
    }
}

/// JSON that readers disagree about: each is read in one way, or refused.
#[tokio::test]
async fn json_with_two_meanings_has_one_here() {
    let server = TestServer::start().await;
    let mut witness = server.subscriber("witness").await;
    let nested = format!("{}1{}", "[".repeat(30_000), "]".repeat(30_000));
    let objects = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    let pong = || Ok(());
    let invalid = || Err("Invalid JSON".to_owned());
    for (text, expected) in [
        (
            r#"{"event":"pusher:ping","event":"pusher:pong"}"#,
            invalid(),
        ),
        (r#"{"event":"pusher:ping","data":{},"data":{}}"#, invalid()),
        (r#"{"\u0065vent":"pusher:ping"}"#, pong()),
        (r#"{"event":"pusher\u003aping"}"#, pong()),
        (r#"{"event":"\ud800"}"#, invalid()),
        ("{\"event\":\"pusher:ping\"}\0", invalid()),
        ("\u{feff}{\"event\":\"pusher:ping\"}", invalid()),
        (r#"{"event":"pusher:ping"} x"#, invalid()),
        (r#"{"event":"pusher:ping",}"#, invalid()),
        (r#"{"event":'pusher:ping'}"#, invalid()),
        (r#"{"event":"pusher:ping"/**/}"#, invalid()),
        (r#"{"event":"pusher:ping","data":1e999}"#, pong()),
        (r#"{"event":"pusher:ping","data":-0.0e-999}"#, pong()),
        (r#"{"event":"pusher:ping","data":01}"#, invalid()),
        (r#"{"event":"pusher:ping","data":NaN}"#, invalid()),
        (
            &format!(r#"{{"event":"pusher:ping","data":{nested}}}"#),
            pong(),
        ),
        (
            &format!(r#"{{"event":"pusher:ping","x":{objects}}}"#),
            pong(),
        ),
        (
            r#"{"event":"pusher:subscribe","data":{"channel":"\ud800"}}"#,
            Err(r#"Invalid channel name '"\ud800"'"#.to_owned()),
        ),
        (
            r#"{"event":"pusher:subscribe","data":{"channel":"a","channel":"b"}}"#,
            Err("Invalid channel name ''".to_owned()),
        ),
        (
            r#"{"event":"a\nb\u0000\u001b[31m"}"#,
            Err("Unsupported event received on socket: a\nb\0\u{1b}[31m".to_owned()),
        ),
    ] {
        let mut client = server.connect().await;

        client.send_text(text).await;

        match expected {
            Ok(()) => assert_eq!(client.next().await["event"], "pusher:pong", "{text:.100}"),
            Err(error) => assert_eq!(client.next_error_text().await, error, "{text:.100}"),
        }
        client.receives_nothing_before_pong().await;
    }
    nothing_stays(&server, &mut witness).await;
}

/// Presence data that readers disagree about, signed by the app itself.
#[tokio::test]
async fn odd_presence_data_is_one_text_for_everybody_or_refused() {
    let server = TestServer::start().await;
    let mut witness = server.subscriber("witness").await;
    let missing = "channel_data supplied to presence subscription must contain a user_id";
    let no_object =
        "channel_data supplied to presence subscription is invalid - it must be a JSON object";
    for (channel_data, expected) in [
        (r#"{"user_id":1e999}"#, Ok("1e999")),
        (r#"{"user_id":-0}"#, Ok("-0")),
        (r#"{"user_id":1.50}"#, Ok("1.50")),
        (r#"{"user_id":"a\u0000\n\""}"#, Ok("a\0\n\"")),
        (r#"{"user_id":"\ud83c\udf54"}"#, Ok("\u{1f354}")),
        (r#"{"user_id":"\ud83c"}"#, Err(missing)),
        (r#"{"user_id":"1","user_id":"2"}"#, Err(no_object)),
        (r#"{"user_id":"1"}x"#, Err(no_object)),
        ("{\"user_id\":\"1\"}\0", Err(no_object)),
    ] {
        let mut client = server.connect().await;
        match expected {
            Ok(id) => {
                let presence = client.join("presence-x", channel_data).await;
                assert_eq!(presence["ids"], json!([id]), "{channel_data}");
                let users = server.get("/channels/presence-x/users", &[]).await;
                assert_eq!(users, json!({"users": [{"id": id}]}), "{channel_data}");
                client.unsubscribe("presence-x").await;
                client.receives_nothing_before_pong().await;
            }
            Err(error) => {
                client.ask_presence("presence-x", channel_data).await;
                assert_eq!(client.next_error_text().await, error, "{channel_data}");
            }
        }
    }
    nothing_stays(&server, &mut witness).await;
}

/// Clients that vanish at every point of a conversation.
#[tokio::test]
async fn who_vanishes_halfway_leaves_nothing_behind() {
    let server = TestServer::start().await;
    let mut witness = server.subscriber("witness").await;
    let subscribe = json!({"event": "pusher:subscribe", "data": {"channel": "news"}}).to_string();
    let whole = frame(0x80 | TEXT, subscribe.as_bytes());
    let beginnings: [Vec<u8>; 6] = [
        Vec::new(),
        whole[..1].to_vec(),
        whole[..5].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        frame(TEXT, subscribe.as_bytes()),
        [frame(TEXT, b"{"), frame(CONTINUATION, b""), vec![0x80]].concat(),
    ];
    for is_reset in [false, true] {
        for beginning in &beginnings {
            let mut client = server.subscriber("ghost").await;
            client.sign_in(r#"{"id":"ghost"}"#).await;
            client
                .join("presence-ghosts", r#"{"user_id":"ghost"}"#)
                .await;
            client.send_bytes(beginning).await;
            if is_reset {
                let socket = socket2::SockRef::from(&client.stream);
                socket.set_linger(Some(Duration::ZERO)).unwrap();
            }
            drop(client);
        }
        // Gone before the answer to the upgrade.
        for _ in 0..20 {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            let upgrade = format!("GET {} HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\n", target());
            stream.write_all(upgrade.as_bytes()).await.unwrap();
            stream.write_all(&whole).await.unwrap();
            if is_reset {
                let socket = socket2::SockRef::from(&stream);
                socket.set_linger(Some(Duration::ZERO)).unwrap();
            }
        }
    }
    nothing_stays(&server, &mut witness).await;
}

/// Bytes at random, as frames and as JSON in frames.
#[tokio::test(flavor = "multi_thread")]
async fn noise_closes_the_one_who_makes_it() {
    let server = TestServer::start().await;
    let mut witness = server.subscriber("witness").await;
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);
    for round in 0..200 {
        let mut client = server.connect().await;
        let mut bytes = noise.bytes(1 + round * 7);
        if round % 2 == 0 {
            // Right frames around it, so that it gets further.
            let text: String = bytes
                .iter()
                .map(|byte| r#"{}[]",:\ue0123456789eventdata"#.as_bytes()[usize::from(*byte) % 29])
                .map(char::from)
                .collect();
            bytes = frame(0x80 | TEXT, text.as_bytes());
        }
        // The server may hang up while it is still sent.
        let _ = client.stream.write_all(&bytes).await;
    }
    nothing_stays(&server, &mut witness).await;
}

/// Pseudo-random numbers (xorshift), the same in every run.
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count)
            .map(|_| {
                self.0 ^= self.0 << 13;
                self.0 ^= self.0 >> 7;
                self.0 ^= self.0 << 17;
                self.0.to_le_bytes()[3]
            })
            .collect()
    }
}

/// One that asks for answers without end and takes none of them.
#[tokio::test]
async fn a_client_that_only_asks_is_closed_as_a_slow_reader() {
    let server = TestServer::with(|config| config.connection.outbox_bytes = 64 << 10).await;
    let mut witness = server.subscriber("witness").await;
    let mut closed = 0;
    for question in [
        frame(0x80 | PING, &[b'x'; 125]),
        frame(0x80 | TEXT, br#"{"event":"pusher:ping"}"#),
        frame(0x80 | TEXT, br#"{"event":"nonsense"}"#),
    ] {
        // What the kernel holds for it does not count, and may be megabytes.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let stream = socket.connect(server.address).await.unwrap();
        let (mut client, _) = Client::upgrade(stream, &target(), "").await;
        let questions = question.repeat(1_000);
        closed += 1;
        let asking =
            tokio::spawn(async move { while client.stream.write_all(&questions).await.is_ok() {} });
        let counted = format!("fanfare_slow_readers_total {closed}\n");
        soon("the client to be closed", async {
            while !server.ops("/metrics").await.body.contains(&counted) {}
        })
        .await;
        server.still_serves(&mut witness, "witness").await;
        asking.abort();
    }
    nothing_stays(&server, &mut witness).await;
}

/// Subscribing and leaving as fast as it goes, on a million names if need be.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_subscriptions_is_bounded_by_the_limit_of_one_connection() {
    let server = TestServer::with_app(|app| app.limits.channels_per_connection = 100).await;
    let mut witness = server.subscriber("witness").await;
    let client = server.connect().await;
    let mut packet = Vec::new();
    for number in 0..5_000 {
        let text = format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"c{number}"}}}}"#);
        packet.extend(frame(0x80 | TEXT, text.as_bytes()));
    }
    let (mut read, mut write) = client.stream.into_split();
    let sending = tokio::spawn(async move {
        write.write_all(&packet).await.unwrap();
        write
    });
    let mut taken = vec![0; 64 << 10];
    soon("all subscriptions to be answered", async {
        let mut refused = 0;
        let mut rest = Vec::new();
        while refused < 4_900 {
            let length = read.read(&mut taken).await.unwrap();
            assert!(length > 0, "the connection has ended");
            rest.extend_from_slice(&taken[..length]);
            let text = String::from_utf8_lossy(&rest);
            refused += text.matches(r#""status\":403"#).count();
            let keep = rest.len().saturating_sub(12);
            rest.drain(..keep);
        }
    })
    .await;
    let write = sending.await.unwrap();

    let occupied: Value = server.get("/channels", &[]).await;
    assert_eq!(occupied["channels"].as_object().unwrap().len(), 101);
    drop((read, write));
    nothing_stays(&server, &mut witness).await;
}

/// The hub does what its model does, whatever happens in whatever order.
#[tokio::test]
async fn the_hub_keeps_to_its_model() {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for _ in 0..20 {
        let steps = noise.bytes(2_000);

        super::model::run(&steps).await;
    }
}
