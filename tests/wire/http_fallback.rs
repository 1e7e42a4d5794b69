//! Clients without WebSockets, byte by byte: 181 to 196, and 208.

use std::time::Duration;

use fanfare::config::Config;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Answer, HttpClient, KEY, TestServer, auth_for, soon};

/// The answer to a request that receives, as it comes.
struct Incoming {
    stream: TcpStream,
    /// Bytes of the answer that were not decoded yet.
    raw: Vec<u8>,
    /// The body so far, without what was taken.
    text: Vec<u8>,
    head: String,
}

/// How an answer ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// As one that is whole.
    Whole,
    /// In the middle.
    Cut,
}

impl Incoming {
    async fn open(server: &TestServer, method: &str, target: &str) -> Self {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut incoming = Self {
            stream,
            raw: Vec::new(),
            text: Vec::new(),
            head: String::new(),
        };
        loop {
            let end = incoming
                .raw
                .windows(4)
                .position(|bytes| bytes == b"\r\n\r\n");
            if let Some(end) = end {
                let rest = incoming.raw.split_off(end + 4);
                let head = std::mem::replace(&mut incoming.raw, rest);
                incoming.head = String::from_utf8(head).unwrap();
                return incoming;
            }
            assert!(incoming.read().await, "the end of the head");
        }
    }

    async fn read(&mut self) -> bool {
        let read = soon("bytes", self.stream.read_buf(&mut self.raw)).await;
        read.unwrap_or(0) > 0
    }

    /// Decodes one more chunk; the end, if that is what comes.
    async fn chunk(&mut self) -> Option<End> {
        loop {
            let line = self.raw.windows(2).position(|bytes| bytes == b"\r\n");
            if let Some(line) = line {
                let length = std::str::from_utf8(&self.raw[..line]).unwrap();
                let length = usize::from_str_radix(length, 16).unwrap();
                let start = line + 2;
                if self.raw.len() >= start + length + 2 {
                    self.text
                        .extend_from_slice(&self.raw[start..start + length]);
                    self.raw.drain(..start + length + 2);
                    return (length == 0).then_some(End::Whole);
                }
            }
            if !self.read().await {
                return Some(End::Cut);
            }
        }
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let rest = self.text.split_off(end + 1);
                let line = std::mem::replace(&mut self.text, rest);
                return String::from_utf8(line).unwrap().trim_end().to_owned();
            }
            assert_eq!(self.chunk().await, None, "a line was expected");
        }
    }

    /// The messages of the next line, which must be an array.
    async fn messages(&mut self) -> Vec<Value> {
        messages(&self.line().await)
    }

    async fn end(&mut self) -> End {
        loop {
            if let Some(end) = self.chunk().await {
                assert_eq!(
                    String::from_utf8_lossy(&self.text),
                    "",
                    "nothing before the end"
                );
                return end;
            }
        }
    }
}

fn messages(line: &str) -> Vec<Value> {
    let array = line
        .strip_prefix('a')
        .unwrap_or_else(|| panic!("an array, not {line:?}"));
    let texts: Vec<String> = serde_json::from_str(array).unwrap();
    texts
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect()
}

fn url(session: &str, action: &str) -> String {
    url_of(KEY, session, action)
}

fn url_of(key: &str, session: &str, action: &str) -> String {
    format!("/pusher/app/{key}/38/{session}/{action}?protocol=7&client=js&version=8.6.0&t=1&n=1")
}

async fn send(server: &TestServer, session: &str, messages: &[Value]) {
    let texts: Vec<String> = messages.iter().map(Value::to_string).collect();
    let body = serde_json::to_string(&texts).unwrap();
    let answer = server.http("POST", &url(session, "xhr_send"), &body).await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
}

fn subscribe(channel: &str) -> Value {
    json!({"event": "pusher:subscribe", "data": {"channel": channel}})
}

/// A stream that is up, and its socket id.
async fn connect(server: &TestServer, session: &str) -> (Incoming, String) {
    let mut stream = Incoming::open(server, "POST", &url(session, "xhr_streaming")).await;
    assert_eq!(stream.line().await, "h".repeat(2_048));
    assert_eq!(stream.line().await, "o");
    let socket_id = established(&stream.messages().await);
    (stream, socket_id)
}

/// A stream that is up and subscribed.
async fn subscriber(server: &TestServer, session: &str, channel: &str) -> Incoming {
    let (mut stream, _) = connect(server, session).await;
    send(server, session, &[subscribe(channel)]).await;
    assert_eq!(
        stream.messages().await[0]["event"],
        "pusher_internal:subscription_succeeded"
    );
    stream
}

fn established(messages: &[Value]) -> String {
    let [message] = messages else {
        panic!("one message, not {messages:?}");
    };
    assert_eq!(message["event"], "pusher:connection_established");
    let data: Value = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
    assert_eq!(data["activity_timeout"], 120);
    data["socket_id"].as_str().unwrap().to_owned()
}

async fn poll(server: &TestServer, session: &str) -> Answer {
    server.http("POST", &url(session, "xhr"), "").await
}

async fn with_times(change: impl FnOnce(&mut Config)) -> TestServer {
    TestServer::with(change).await
}

/// 181.
#[tokio::test]
async fn a_pre_flight_is_answered_before_any_question_of_session_or_app() {
    let server = TestServer::start().await;
    for action in ["xhr_streaming", "xhr", "xhr_send"] {
        let target = url_of("no-such-app", "g9ftbuj5", action);
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!(
            "OPTIONS {target} HTTP/1.1\r\nHost: x\r\nOrigin: https://shop.example\r\nAccess-Control-Request-Headers: content-type\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        soon("an answer", stream.read_to_string(&mut text))
            .await
            .unwrap();

        assert!(text.starts_with("HTTP/1.1 204 "), "{text}");
        for line in [
            "access-control-allow-origin: *\r\n",
            "access-control-allow-methods: GET, POST, OPTIONS\r\n",
            "access-control-allow-headers: content-type\r\n",
            "access-control-max-age: 86400\r\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
    let unknown = server
        .http("POST", &url("g9ftbuj5", "xhr_send"), "[]")
        .await;
    assert_eq!(unknown.status, 404);
}

/// 182 to 184.
#[tokio::test]
async fn a_stream_begins_with_prelude_open_frame_and_connection() {
    let server = TestServer::start().await;
    let mut stream = Incoming::open(&server, "POST", &url("g9ftbuj5", "xhr_streaming")).await;

    let head = stream.head.to_lowercase();
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    for line in [
        "content-type: application/javascript; charset=utf-8\r\n",
        "cache-control: no-store, no-cache, no-transform, must-revalidate, max-age=0\r\n",
        "access-control-allow-origin: *\r\n",
        "x-accel-buffering: no\r\n",
        "transfer-encoding: chunked\r\n",
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
    assert_eq!(stream.line().await, "h".repeat(2_048));
    assert_eq!(stream.line().await, "o");
    let first = stream.line().await;
    assert!(
        first.starts_with(
            r#"a["{\"event\":\"pusher:connection_established\",\"data\":\"{\\\"socket_id\\\":\\\""#
        ),
        "{first}"
    );
    established(&messages(&first));

    send(&server, "g9ftbuj5", &[subscribe("orders")]).await;
    assert_eq!(
        stream.messages().await,
        [
            json!({"event": "pusher_internal:subscription_succeeded", "data": "{}", "channel": "orders"})
        ]
    );
    let data = "{\"guest\":\"Zoë \\\"Кухня\\\" 🍜 \u{2028} \\/\"}";
    server.trigger("orders", "order", data).await;
    assert_eq!(
        stream.messages().await,
        [json!({"event": "order", "data": data, "channel": "orders"})]
    );
}

/// 185.
#[tokio::test]
async fn what_cannot_be_sent_is_answered_with_the_texts_of_sockjs() {
    let server = TestServer::start().await;
    let (mut stream, _) = connect(&server, "g9ftbuj5").await;
    for (session, body, status, text) in [
        ("unknown0", "[]", 404, "Unknown session\n"),
        ("g9ftbuj5", "", 500, "Payload expected."),
        ("g9ftbuj5", "[\"{}\"", 500, "Broken JSON encoding."),
        ("g9ftbuj5", "{}", 500, "Broken JSON encoding."),
        ("g9ftbuj5", "[1]", 500, "Broken JSON encoding."),
    ] {
        let answer = server.http("POST", &url(session, "xhr_send"), body).await;

        assert_eq!(
            (answer.status, answer.body.as_str()),
            (status, text),
            "{body}"
        );
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
    }
    send(&server, "g9ftbuj5", &[json!({"event": "pusher:ping"})]).await;
    assert_eq!(
        stream.messages().await,
        [json!({"event": "pusher:pong", "data": "{}"})]
    );
    for (method, action) in [
        ("GET", "xhr"),
        ("GET", "xhr_send"),
        ("PUT", "xhr_streaming"),
    ] {
        let answer = server.http(method, &url("g9ftbuj5", action), "").await;
        assert_eq!(answer.status, 405, "{method} {action}");
    }
}

/// 23, over HTTP.
#[tokio::test]
async fn a_message_that_is_too_large_closes_the_session() {
    let server = with_times(|config| config.connection.max_message_bytes = 1_024).await;
    for length in [2_000, 20_000] {
        let session = format!("large{length}");
        let (mut stream, _) = connect(&server, &session).await;
        let text = json!({"event": "x", "data": "x".repeat(length)}).to_string();
        let body = json!([text]).to_string();
        server.http("POST", &url(&session, "xhr_send"), &body).await;

        assert_eq!(
            stream.line().await,
            r#"c[1009,"Message is over the limit of 1024 bytes"]"#
        );
        assert_eq!(stream.end().await, End::Whole);
    }
}

/// 186: the answer keeps the client alive, silence ends it.
#[tokio::test]
async fn silence_brings_a_heartbeat_which_must_be_answered() {
    let server = with_times(|config| {
        config.http_fallback.heartbeat = Duration::from_millis(100);
        config.http_fallback.answer_wait = Duration::from_millis(1_500);
    })
    .await;
    let mut answering = subscriber(&server, "answers0", "orders").await;
    let mut silent = subscriber(&server, "silent00", "orders").await;
    let answers = async {
        loop {
            assert_eq!(answering.line().await, "h");
            send_nothing(&server, "answers0").await;
        }
    };
    let end = async {
        loop {
            // Any number of heartbeats, and then the end.
            if silent.chunk().await.is_some() {
                return;
            }
        }
    };

    tokio::select! {
        () = answers => unreachable!("it answers for ever"),
        () = soon("the end of the silent one", end) => {}
    }

    assert_eq!(server.get("/channels/orders", &[]).await["occupied"], true);
}

async fn send_nothing(server: &TestServer, session: &str) {
    let answer = server.http("POST", &url(session, "xhr_send"), "[]").await;
    assert_eq!(answer.status, 204);
}

/// 187: after five quiet seconds, and not before.
#[tokio::test]
async fn a_ping_after_silence_is_answered_with_an_empty_array() {
    let server = TestServer::start().await;
    let (mut stream, _) = connect(&server, "g9ftbuj5").await;

    send_nothing(&server, "g9ftbuj5").await;
    server
        .http(
            "POST",
            &url("g9ftbuj5", "xhr_send"),
            r#"["{\"event\":\"pusher:ping\"}"]"#,
        )
        .await;
    // The pong comes first: the ping right after the connection got no answer.
    assert_eq!(stream.messages().await[0]["event"], "pusher:pong");
    let line = async {
        loop {
            send_nothing(&server, "g9ftbuj5").await;
            let next = tokio::time::timeout(Duration::from_millis(200), stream.line());
            if let Ok(line) = next.await {
                return line;
            }
        }
    };

    assert_eq!(soon("an empty array", line).await, "a[]");
}

/// 188 and 189: nothing is written to a stream that the client will throw away.
#[tokio::test]
async fn nothing_is_lost_when_the_client_replaces_a_long_stream() {
    const MESSAGES: usize = 120;
    let server = TestServer::start().await;
    let mut stream = subscriber(&server, "g9ftbuj5", "orders").await;
    for number in 0..MESSAGES {
        let data = format!("{number}:{}", "x".repeat(5_000));
        server.trigger("orders", "order", &data).await;
    }
    let mut next = 0;
    let mut units = 2_049;
    let mut streams = 1;
    while next < MESSAGES {
        // What pusher-js does: what it did not read by now is gone.
        if units > 256 << 10 {
            stream = Incoming::open(&server, "POST", &url("g9ftbuj5", "xhr_streaming")).await;
            assert_eq!(stream.line().await, "h".repeat(2_048));
            units = 2_049;
            streams += 1;
        }
        let line = stream.line().await;
        assert_ne!(line, "o", "the session goes on");
        units += line.encode_utf16().count() + 1;
        for message in messages(&line) {
            let data = message["data"].as_str().unwrap();
            assert!(data.starts_with(&format!("{next}:")), "{next} was lost");
            next += 1;
        }
    }
    assert!(streams >= 2, "600 kB need more than one stream");
    server.trigger("orders", "last", "end").await;
    assert_eq!(stream.messages().await[0]["data"], "end");
}

/// 188: a client that does not do as pusher-js does gets the rest all the same.
#[tokio::test]
async fn a_stream_goes_on_when_the_client_does_not_ask_again() {
    let server = with_times(|config| {
        config.http_fallback.reopen_wait = Duration::from_millis(200);
    })
    .await;
    let mut stream = subscriber(&server, "g9ftbuj5", "orders").await;
    for number in 0..60 {
        let data = format!("{number}:{}", "x".repeat(9_000));
        server.trigger("orders", "order", &data).await;
    }
    let mut next = 0;
    while next < 60 {
        for message in stream.messages().await {
            let data = message["data"].as_str().unwrap();
            assert!(data.starts_with(&format!("{next}:")));
            next += 1;
        }
    }
}

/// 189: what waits while the client is between two streams.
#[tokio::test]
async fn a_session_keeps_what_comes_while_its_client_asks_again() {
    let server = TestServer::start().await;
    let stream = subscriber(&server, "g9ftbuj5", "orders").await;
    drop(stream);
    server.trigger("orders", "order", "7").await;

    let mut stream = Incoming::open(&server, "POST", &url("g9ftbuj5", "xhr_streaming")).await;

    assert_eq!(stream.line().await, "h".repeat(2_048));
    server.trigger("orders", "order", "8").await;
    let mut received = Vec::new();
    while received.len() < 2 {
        received.extend(stream.messages().await);
    }
    // The kernel may have taken the first for the stream that is gone.
    assert_eq!(received.last().unwrap()["data"], "8");
}

/// 190 and 195.
#[tokio::test]
async fn the_newest_receive_request_takes_over_and_the_old_one_is_cut() {
    let server = TestServer::start().await;
    let mut old = subscriber(&server, "g9ftbuj5", "orders").await;

    let mut new = Incoming::open(&server, "POST", &url("g9ftbuj5", "xhr_streaming")).await;
    assert_eq!(new.line().await, "h".repeat(2_048));

    assert_eq!(old.end().await, End::Cut);
    server.trigger("orders", "order", "7").await;
    assert_eq!(new.messages().await[0]["data"], "7");
}

/// 191.
#[tokio::test]
async fn a_session_ends_when_its_client_stays_away() {
    let server = with_times(|config| {
        config.http_fallback.session_grace = Duration::from_millis(200);
    })
    .await;
    let mut witness = server.connect().await;
    witness
        .join("presence-room", r#"{"user_id":"witness"}"#)
        .await;
    let (mut stream, socket_id) = connect(&server, "g9ftbuj5").await;
    let data = r#"{"user_id":"leaver"}"#;
    let auth = auth_for(&socket_id, "presence-room", Some(data));
    let join = json!({"event": "pusher:subscribe", "data": {"channel": "presence-room", "auth": auth, "channel_data": data}});
    send(&server, "g9ftbuj5", &[join]).await;
    assert_eq!(
        stream.messages().await[0]["event"],
        "pusher_internal:subscription_succeeded"
    );
    assert_eq!(
        witness.next().await["event"],
        "pusher_internal:member_added"
    );

    drop(stream);

    assert_eq!(
        witness
            .next_data("pusher_internal:member_removed", "presence-room")
            .await,
        json!({"user_id": "leaver"})
    );
    let gone = async { while poll(&server, "g9ftbuj5").await.body != "o\n" {} };
    soon("a new session of the same name", gone).await;
}

/// 192.
#[tokio::test]
async fn polls_get_one_line_each() {
    let server = with_times(|config| {
        config.http_fallback.heartbeat = Duration::from_millis(300);
    })
    .await;
    let first = poll(&server, "g9ftbuj5").await;
    assert_eq!((first.status, first.body.as_str()), (200, "o\n"));
    assert_eq!(
        first.headers["content-type"],
        "application/javascript; charset=UTF-8"
    );
    established(&messages(&poll(&server, "g9ftbuj5").await.body));
    send(&server, "g9ftbuj5", &[subscribe("orders")]).await;
    poll(&server, "g9ftbuj5").await;

    for data in ["1", "2", "3"] {
        server.trigger("orders", "order", data).await;
    }
    let line = poll(&server, "g9ftbuj5").await.body;
    assert_eq!(line.matches('\n').count(), 1);
    let data: Vec<_> = messages(&line)
        .iter()
        .map(|message| message["data"].clone())
        .collect();
    assert_eq!(data, ["1", "2", "3"]);
    let (held, ()) = tokio::join!(
        poll(&server, "g9ftbuj5"),
        server.trigger("orders", "order", "4")
    );
    assert_eq!(messages(&held.body)[0]["data"], "4");
    assert_eq!(poll(&server, "g9ftbuj5").await.body, "h\n");
}

/// 196: pusher-js is told where its session lives, by either transport; what SockJS
/// clients get stays as they know it.
#[tokio::test]
async fn the_open_frame_names_the_node() {
    let server = TestServer::with(|config| {
        config.http_fallback.hostname = Some("node-1.example.com".to_owned());
    })
    .await;
    let open = "o{\"hostname\":\"node-1.example.com\"}\n";

    assert_eq!(poll(&server, "polling").await.body, open);
    let mut stream = Incoming::open(&server, "POST", &url("streams", "xhr_streaming")).await;
    stream.line().await;
    assert_eq!(stream.line().await, open.trim_end());
    let sockjs = server.http("POST", "/pusher/000/sockjs/xhr", "").await;
    assert_eq!(sockjs.body, "o\n");
}

/// 192: a poll's answer stays near 128 KiB, and the rest comes with the next.
#[tokio::test]
async fn a_poll_gets_no_more_than_fits() {
    let server = TestServer::start().await;
    poll(&server, "g9ftbuj5").await;
    poll(&server, "g9ftbuj5").await;
    send(&server, "g9ftbuj5", &[subscribe("orders")]).await;
    poll(&server, "g9ftbuj5").await;
    for _ in 0..40 {
        server.trigger("orders", "order", &"x".repeat(10_000)).await;
    }
    let mut received = 0;
    while received < 40 {
        let line = poll(&server, "g9ftbuj5").await.body;
        assert!(line.len() < (128 << 10) + 11_000, "{}", line.len());
        received += messages(&line).len();
    }
    assert_eq!(received, 40);
}

/// 193: a refusal comes inside a 200.
#[tokio::test]
async fn refusals_come_after_an_open_frame() {
    let server = TestServer::start().await;
    let refusal =
        r#"c[4001,"App key nobody not in this cluster. Did you forget to specify the cluster?"]"#;

    let streaming = server
        .http("POST", &url_of("nobody", "g9ftbuj5", "xhr_streaming"), "")
        .await;
    let polling = server
        .http("POST", &url_of("nobody", "g9ftbuj5", "xhr"), "")
        .await;

    let prelude = "h".repeat(2_048);
    assert_eq!(streaming.status, 200);
    assert_eq!(streaming.body, format!("{prelude}\no\n{refusal}\n"));
    assert_eq!(polling.body, format!("o\n{refusal}\n"));
    assert_eq!(polling.headers["access-control-allow-origin"], "*");
    for (query, code) in [
        ("", "4008"),
        ("?protocol=3", "4007"),
        ("?protocol=x", "4007"),
    ] {
        let target = format!("/pusher/app/{KEY}/1/session0/xhr{query}");
        let answer = server.http("POST", &target, "").await;
        assert!(
            answer.body.starts_with(&format!("o\nc[{code},")),
            "{}",
            answer.body
        );
    }
}

/// 14 and 13, over HTTP.
#[tokio::test]
async fn the_limits_of_an_app_hold_for_http_clients() {
    let server = TestServer::with_app(|app| {
        app.limits.connections = Some(1);
    })
    .await;
    let (stream, _) = connect(&server, "first000").await;
    let second = poll(&server, "second00").await;
    assert_eq!(second.body, "o\nc[4100,\"Over capacity\"]\n");
    drop(stream);

    let tls_only = TestServer::with_app(|app| app.tls_only = true).await;
    let answer = poll(&tls_only, "g9ftbuj5").await;
    assert!(answer.body.starts_with("o\nc[4000,"), "{}", answer.body);
}

/// 194.
#[tokio::test]
async fn a_shutdown_sends_clients_away_with_4200() {
    let mut server = with_times(|config| {
        config.server.shutdown_grace = Duration::from_millis(10);
    })
    .await;
    let (mut stream, _) = connect(&server, "stream00").await;
    let mut polling = HttpClient::new(TcpStream::connect(server.address).await.unwrap()).await;
    for _ in 0..2 {
        polling.send("POST", &url("polling0", "xhr"), "").await;
    }

    server.stop();

    // On a connection that is there: the port itself is closed at once.
    let held = polling.send("POST", &url("polling0", "xhr"), "").await;
    let close = r#"c[4200,"Please reconnect immediately"]"#;
    assert_eq!(held.body, format!("{close}\n"));
    assert_eq!(stream.line().await, close);
    assert_eq!(stream.end().await, End::Whole);
    server.ended().await;
}

/// 202: what waits for an HTTP client has a bound, and nobody else notices.
#[tokio::test]
async fn a_client_that_fetches_nothing_is_closed() {
    let server = with_times(|config| config.connection.outbox_bytes = 16 << 10).await;
    let mut witness = server.subscriber("news").await;
    poll(&server, "g9ftbuj5").await;
    poll(&server, "g9ftbuj5").await;
    send(&server, "g9ftbuj5", &[subscribe("orders")]).await;
    poll(&server, "g9ftbuj5").await;

    for _ in 0..3 {
        server.trigger("orders", "order", &"x".repeat(9_000)).await;
    }

    assert_eq!(
        poll(&server, "g9ftbuj5").await.body,
        "c[4100,\"Over capacity\"]\n"
    );
    server.still_serves(&mut witness, "news").await;
}

/// 15.3: an app with a list of origins.
#[tokio::test]
async fn only_allowed_origins_may_read_and_send() {
    let server = TestServer::with_app(|app| {
        app.allowed_origins = vec!["https://shop.example".to_owned()];
    })
    .await;
    let ask = async |origin: &str, action: &str, body: &str| {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            url("g9ftbuj5", action),
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        soon("an answer", stream.read_to_string(&mut text))
            .await
            .unwrap();
        text
    };

    let foreign = ask("https://evil.example", "xhr", "").await;
    assert!(
        foreign.ends_with("o\nc[4009,\"Origin not allowed\"]\n"),
        "{foreign}"
    );
    let own = ask("https://shop.example", "xhr", "").await;
    assert!(
        own.contains("access-control-allow-origin: https://shop.example\r\n"),
        "{own}"
    );
    assert!(own.contains("vary: Origin\r\n"), "{own}");
    assert!(own.ends_with("\r\n\r\no\n"), "{own}");
    let foreign = ask("https://evil.example", "xhr_send", "[]").await;
    assert!(foreign.starts_with("HTTP/1.1 403 "), "{foreign}");
    let own = ask("https://shop.example", "xhr_send", "[]").await;
    assert!(own.starts_with("HTTP/1.1 204 "), "{own}");
}

/// 15.10.
#[tokio::test]
async fn a_sockjs_client_names_its_app_in_its_first_message() {
    let server = TestServer::start().await;
    let info = server.http("GET", "/pusher/info", "").await;
    assert_eq!(info.headers["content-type"], "application/json");
    let info = info.json();
    assert_eq!(info["websocket"], false);
    assert_eq!(info["origins"], json!(["*:*"]));
    assert_eq!(info["cookie_needed"], false);
    assert!(info["entropy"].is_u64());
    assert!(info.get("server_heartbeat_interval").is_none());

    let base = "/pusher/826/w5xgd_5e";
    let mut events = Incoming::open(&server, "GET", &format!("{base}/eventsource")).await;
    assert!(
        events
            .head
            .to_lowercase()
            .contains("content-type: text/event-stream")
    );
    assert_eq!(events.line().await, "");
    assert_eq!(events.line().await, "data: o");
    assert_eq!(events.line().await, "");
    let first = json!([
        json!({"path": format!("/app/{KEY}?protocol=7&client=js&version=8.6.0")}).to_string()
    ]);
    let answer = server
        .http("POST", &format!("{base}/xhr_send"), &first.to_string())
        .await;
    assert_eq!(answer.status, 204);

    let line = events.line().await;
    established(&messages(line.strip_prefix("data: ").unwrap()));
    let body = json!([subscribe("orders").to_string()]).to_string();
    server
        .http("POST", &format!("{base}/xhr_send"), &body)
        .await;
    events.line().await;
    assert!(events.line().await.contains("subscription_succeeded"));
    server.trigger("orders", "order", "7").await;
    events.line().await;
    let line = events.line().await;
    assert_eq!(
        messages(line.strip_prefix("data: ").unwrap())[0]["data"],
        "7"
    );
}

#[tokio::test]
async fn a_sockjs_client_that_names_no_app_is_refused() {
    let server = TestServer::start().await;
    for (number, (message, code)) in [
        (json!({"path": "/app/nobody?protocol=7"}).to_string(), 4001),
        (json!({"path": "/elsewhere?protocol=7"}).to_string(), 4005),
        (json!({"path": format!("/app/{KEY}")}).to_string(), 4008),
        (json!({"event": "pusher:subscribe"}).to_string(), 4005),
        ("{".to_owned(), 4005),
    ]
    .into_iter()
    .enumerate()
    {
        let base = format!("/pusher/1/session{number}");
        let first = server.http("POST", &format!("{base}/xhr"), "").await;
        assert_eq!(first.body, "o\n");
        let body = json!([message]).to_string();
        server
            .http("POST", &format!("{base}/xhr_send"), &body)
            .await;

        let refusal = server.http("POST", &format!("{base}/xhr"), "").await;

        assert!(
            refusal.body.starts_with(&format!("c[{code},")),
            "{message}: {}",
            refusal.body
        );
    }
}

/// The page runs a script: nothing of the request may get into it.
#[tokio::test]
async fn the_frame_page_loads_only_allowed_scripts() {
    let server = with_times(|config| {
        config.http_fallback.sockjs_scripts = vec!["https://static.example/sockjs.js".to_owned()];
    })
    .await;
    for query in [
        "?js_path=http%3A%2F%2Fjs.pusher.com%2F8.6.0%2Fsockjs.js",
        "?js_path=https%3A%2F%2Fstatic.example%2Fsockjs.js",
        "",
    ] {
        let page = server
            .http("GET", &format!("/pusher/iframe.html{query}"), "")
            .await;
        assert_eq!(page.status, 200);
        let onload = page.body.find("_sockjs_onload").unwrap();
        assert!(onload < page.body.find("src=").unwrap());
    }
    let without = TestServer::start().await;
    let page = without.http("GET", "/pusher/iframe.html", "").await;
    assert_eq!(page.status, 403);
    for script in [
        "?js_path=",
        "?js_path=https%3A%2F%2Fevil.example%2Fsockjs.js",
        "?js_path=%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "?js_path=file%3A%2F%2F%2Fetc%2Fpasswd",
        "?js_path=%ff%fe",
    ] {
        let page = server
            .http("GET", &format!("/pusher/iframe.html{script}"), "")
            .await;
        assert_eq!(page.status, 403, "{script}");
        assert!(!page.body.contains('<'), "{}", page.body);
        assert_eq!(page.headers["content-type"], "text/plain; charset=utf-8");
    }
}

#[tokio::test]
async fn hostile_paths_are_not_found() {
    let server = TestServer::start().await;
    let long = "x".repeat(65);
    for path in [
        "/pusher/app",
        "/pusher/app/app-key/1/session0/xhr/",
        "/pusher/app/app-key/1/..%2f..%2fetc/xhr",
        "/pusher/app/app-key/1/se%00ion/xhr",
        "/pusher/../etc/passwd",
        "/pusherx",
        &format!("/pusher/app/app-key/1/{long}/xhr"),
    ] {
        let answer = server.http("POST", path, "").await;
        assert_eq!(answer.status, 404, "{path}");
    }
}

#[tokio::test]
async fn the_fallback_can_be_moved_and_switched_off() {
    let moved = with_times(|config| config.http_fallback.path = "/live/http".to_owned()).await;
    let target = url("g9ftbuj5", "xhr").replace("/pusher", "/live/http");
    assert_eq!(moved.http("POST", &target, "").await.body, "o\n");
    assert_eq!(poll(&moved, "g9ftbuj5").await.status, 404);

    let off = with_times(|config| config.http_fallback.enabled = false).await;
    assert_eq!(poll(&off, "g9ftbuj5").await.status, 404);
}

/// 208.
#[tokio::test]
async fn reports_are_answered_and_dropped() {
    let server = TestServer::start().await;

    let script = server
        .http("GET", "/timeline/v2/jsonp/7?session=MQ%3D%3D", "")
        .await;
    let json = server
        .http("GET", "/timeline/v2/xhr/2?session=MQ", "")
        .await;

    assert_eq!(script.status, 200);
    assert_eq!(
        script.headers["content-type"],
        "text/javascript; charset=utf-8"
    );
    assert_eq!(script.body, "Pusher.ScriptReceivers[7](null, {});\n");
    assert_eq!((json.status, json.body.as_str()), (200, "{}"));
    for path in [
        "jsonp/7](alert(1))//",
        "jsonp/",
        "jsonp/12345678901",
        "xhr/3",
    ] {
        let answer = server
            .http("GET", &format!("/timeline/v2/{path}"), "")
            .await;
        assert_eq!(answer.status, 404, "{path}");
    }
}
