//! A server on free ports and a client that says exactly what it is told to.
//!
//! Every wait is bounded and tells what did not come.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fanfare::config::{AppConfig, Config};
use fanfare::server::Server;
use fanfare::transport::Certificates;
use fanfare_protocol::{AppKey, AppSecret, SocketId, auth, request};
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const ID: &str = "app-id";
pub(crate) const KEY: &str = "app-key";
pub(crate) const SECRET: &str = "app-secret";

/// How long a test waits for anything before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what must happen.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Asks until the answer is yes, where nothing tells when to ask.
pub(crate) async fn eventually(what: &str, is_so: impl AsyncFnMut() -> bool) {
    Box::pin(eventually_within(PATIENCE, what, is_so)).await;
}

/// The same for what takes its time.
pub(crate) async fn eventually_within(
    patience: Duration,
    what: &str,
    mut is_so: impl AsyncFnMut() -> bool,
) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if Box::pin(tokio::time::timeout(patience, asking))
        .await
        .is_err()
    {
        panic!("waited in vain for {what}");
    }
}

/// The target of a pusher-js 8 page.
pub(crate) fn target() -> String {
    format!("/app/{KEY}?protocol=7&client=js&version=8.6.0&flash=false")
}

/// A server of its own for one test.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) metrics_address: SocketAddr,
    pub(crate) tls_address: Option<SocketAddr>,
    pub(crate) rooms_address: Option<SocketAddr>,
    certificates: Option<Arc<Certificates>>,
    stop: CancellationToken,
    running: Option<JoinHandle<anyhow::Result<()>>>,
}

impl TestServer {
    /// With one app that has client events and watchlists.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With a configuration that differs from [`Self::start`]'s.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::with_server(change, |_| ()).await.0
    }

    /// As [`Self::with`], with something that only the server itself tells.
    pub(crate) async fn with_server<T>(
        change: impl FnOnce(&mut Config),
        ask: impl FnOnce(&Server) -> T,
    ) -> (Self, T) {
        let mut config = Config::default();
        config.server.port = 0;
        config.server.metrics_port = 0;
        config.apps = vec![app(ID, KEY, SECRET)];
        change(&mut config);
        let server = Box::pin(Server::bind(&config)).await.unwrap();
        let told = ask(&server);
        (Self::run(server), told)
    }

    /// As `fanfare serve --test` runs it.
    pub(crate) async fn for_tests() -> Self {
        let mut config = Config::default();
        config.server.port = 0;
        config.server.metrics_port = 0;
        config.apps = vec![app(ID, KEY, SECRET)];
        Self::run(Box::pin(Server::bind_for_tests(&config)).await.unwrap())
    }

    /// One that another process runs.
    pub(crate) fn at(address: SocketAddr, metrics_address: SocketAddr) -> Self {
        Self {
            address,
            metrics_address,
            tls_address: None,
            rooms_address: None,
            certificates: None,
            stop: CancellationToken::new(),
            running: None,
        }
    }

    fn run(server: Server) -> Self {
        let stop = CancellationToken::new();
        Self {
            address: server.address(),
            metrics_address: server.metrics_address(),
            tls_address: server.tls_address(),
            rooms_address: server.rooms_address(),
            certificates: server.certificates(),
            running: Some(tokio::spawn(server.run(stop.clone()))),
            stop,
        }
    }

    /// With one app that differs from [`Self::start`]'s.
    pub(crate) async fn with_app(change: impl FnOnce(&mut AppConfig)) -> Self {
        Self::with(|config| change(&mut config.apps[0])).await
    }

    /// The certificates, to be read again.
    pub(crate) fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_deref()
    }

    /// Begins to shut down.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the server has ended by itself.
    pub(crate) async fn ended(&mut self) {
        let running = self.running.take().unwrap();
        soon("the end of the server", running)
            .await
            .unwrap()
            .unwrap();
    }

    /// A connection that is up, as a pusher-js 8 page has it.
    pub(crate) async fn connect(&self) -> Client {
        self.connect_to(&target()).await
    }

    /// A connection that is up.
    pub(crate) async fn connect_to(&self, target: &str) -> Client {
        let mut client = self.open(target).await;
        client.establish().await;
        client
    }

    /// A WebSocket of which nothing was read yet.
    pub(crate) async fn open(&self, target: &str) -> Client {
        let (client, head) = self.upgrade(target, "").await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client
    }

    /// Sends an upgrade request with further header lines, and returns the head
    /// of the answer beside the connection.
    pub(crate) async fn upgrade(&self, target: &str, headers: &str) -> (Client, String) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        Client::upgrade(stream, target, headers).await
    }

    /// A connection that is subscribed to a channel which needs no signature.
    pub(crate) async fn subscriber(&self, channel: &str) -> Client {
        let mut client = self.connect().await;
        client.subscribe(channel).await;
        client
    }

    /// A signed request; `parameters` are those beside the signature's.
    pub(crate) async fn api(
        &self,
        method: &str,
        path: &str,
        parameters: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let query = request::sign_request(
            method,
            path,
            parameters,
            body.as_bytes(),
            &AppKey::new(KEY),
            &AppSecret::new(SECRET),
            now(),
        );
        self.http(method, &format!("{path}?{query}"), body).await
    }

    /// `POST /apps/app-id/events`.
    pub(crate) async fn post_event(&self, body: &Value) -> Answer {
        let path = format!("/apps/{ID}/events");
        self.api("POST", &path, &[], &body.to_string()).await
    }

    /// Publishes one event, which must be accepted.
    pub(crate) async fn trigger(&self, channel: &str, event: &str, data: &str) {
        let answer = self
            .post_event(&json!({"name": event, "channel": channel, "data": data}))
            .await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
    }

    /// `GET` below `/apps/app-id`, which must succeed.
    pub(crate) async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let answer = self
            .api("GET", &format!("/apps/{ID}{path}"), parameters, "")
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// An HTTP request as it stands.
    pub(crate) async fn http(&self, method: &str, target: &str, body: &str) -> Answer {
        http(self.address, method, target, body).await
    }

    /// A request to the second port.
    pub(crate) async fn ops(&self, path: &str) -> Answer {
        http(self.metrics_address, "GET", path, "").await
    }

    /// Waits until the server is ready and in touch with all that it depends on.
    pub(crate) async fn ready(&self) {
        eventually("/ready", async || self.ops("/ready").await.body == "OK\n").await;
    }

    /// Waits until a `GET` below `/apps/app-id` brings `expected`.
    pub(crate) async fn until(&self, path: &str, expected: Value) {
        let what = format!("{expected} at {path}");
        eventually(&what, async || self.get(path, &[]).await == expected).await;
    }

    /// Whether the server still takes clients and delivers to `witness`, which is
    /// subscribed to the public channel `channel`.
    pub(crate) async fn still_serves(&self, witness: &mut Client, channel: &str) {
        self.trigger(channel, "witness", "still here").await;
        assert_eq!(
            witness.next().await,
            json!({"event": "witness", "data": "still here", "channel": channel})
        );
        self.connect().await;
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

/// An app with client events and watchlists.
pub(crate) fn app(id: &str, key: &str, secret: &str) -> AppConfig {
    AppConfig {
        client_events: true,
        watchlist: true,
        ..AppConfig::new(id, key, secret)
    }
}

/// Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// What came back from an HTTP request.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

async fn http(address: SocketAddr, method: &str, target: &str, body: &str) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut connection = HttpClient::new(stream).await;
    connection.send(method, target, body).await
}

/// An HTTP connection that is kept.
pub(crate) struct HttpClient {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

impl HttpClient {
    pub(crate) async fn new(stream: TcpStream) -> Self {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    pub(crate) async fn send(&mut self, method: &str, target: &str, body: &str) -> Answer {
        let json = [("Host", "127.0.0.1"), ("Content-Type", "application/json")];
        self.send_with(method, target, &json, body).await
    }

    /// With exactly these headers, beside the length.
    pub(crate) async fn send_with(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body.to_owned())).unwrap();
        let response = soon("an answer", self.sender.send_request(request))
            .await
            .unwrap();
        let status = response.status();
        assert_ne!(status, StatusCode::SWITCHING_PROTOCOLS);
        let headers = response.headers().clone();
        let body = soon("a body", response.into_body().collect())
            .await
            .unwrap()
            .to_bytes();
        Answer {
            status: status.as_u16(),
            headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }
}

/// Opcodes of RFC 6455, 5.2.
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// A frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

/// One client, byte by byte.
pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
    received: Vec<u8>,
    socket_id: String,
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Client<S> {
    pub(crate) async fn upgrade(stream: S, target: &str, headers: &str) -> (Self, String) {
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
        );
        Self::from_packet(stream, request.as_bytes()).await
    }

    /// Sends an upgrade request as it stands, and reads the head of the answer.
    pub(crate) async fn from_packet(mut stream: S, packet: &[u8]) -> (Self, String) {
        stream.write_all(packet).await.unwrap();
        let mut client = Self {
            stream,
            received: Vec::new(),
            socket_id: String::new(),
        };
        let head = loop {
            let end = client
                .received
                .windows(4)
                .position(|bytes| bytes == b"\r\n\r\n");
            if let Some(end) = end {
                let rest = client.received.split_off(end + 4);
                let head = std::mem::replace(&mut client.received, rest);
                break String::from_utf8(head).unwrap();
            }
            assert!(client.read_more().await, "the end of the head");
        };
        (client, head)
    }

    /// Reads `pusher:connection_established`.
    pub(crate) async fn establish(&mut self) -> Value {
        let message = self.next().await;
        assert_eq!(message["event"], "pusher:connection_established");
        let data: Value = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
        self.socket_id = data["socket_id"].as_str().unwrap().to_owned();
        data
    }

    pub(crate) fn socket_id(&self) -> &str {
        &self.socket_id
    }

    // Sending.

    pub(crate) async fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.send_frame(TEXT, text.as_bytes()).await;
    }

    pub(crate) async fn send_frame(&mut self, opcode: u8, payload: &[u8]) {
        self.send_bytes(&frame(0x80 | opcode, payload)).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        soon("room to send", self.stream.write_all(bytes))
            .await
            .unwrap();
    }

    // Receiving.

    /// Whether anything more came before the end of the stream.
    async fn read_more(&mut self) -> bool {
        let read = soon(
            "bytes from the server",
            self.stream.read_buf(&mut self.received),
        )
        .await;
        // A connection that was reset has ended as well.
        let length = read.unwrap_or(0);
        length > 0
    }

    /// Reads up to and including `end`, whatever it is.
    pub(crate) async fn skip_through(&mut self, end: &[u8]) {
        loop {
            let mut windows = self.received.windows(end.len());
            if let Some(start) = windows.position(|bytes| bytes == end) {
                self.received.drain(..start + end.len());
                return;
            }
            assert!(self.read_more().await, "the connection has ended");
        }
    }

    /// The next frame, or `None` at the end of the stream.
    pub(crate) async fn next_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = take_frame(&mut self.received) {
                return Some(frame);
            }
            if !self.read_more().await {
                return None;
            }
        }
    }

    /// The next message, which must come before anything else.
    pub(crate) async fn next(&mut self) -> Value {
        let frame = self.next_frame().await.expect("the connection has ended");
        assert_eq!(
            frame.opcode,
            TEXT,
            "not a text message: {}",
            String::from_utf8_lossy(&frame.payload)
        );
        let message: Value = serde_json::from_slice(&frame.payload).unwrap();
        check_shape(&message);
        message
    }

    /// The data of the next message, which must be this event on this channel.
    pub(crate) async fn next_data(&mut self, event: &str, channel: &str) -> Value {
        let message = self.next().await;
        assert_eq!(
            (&message["event"], &message["channel"]),
            (&json!(event), &json!(channel)),
            "{message}"
        );
        serde_json::from_str(message["data"].as_str().unwrap()).unwrap()
    }

    /// Code and message of the next message, which must be `pusher:error`.
    pub(crate) async fn next_error(&mut self) -> (Value, String) {
        let message = self.next().await;
        assert_eq!(message["event"], "pusher:error", "{message}");
        let data = &message["data"];
        let text = data["message"].as_str().unwrap().to_owned();
        (data["code"].clone(), text)
    }

    /// The text of the next message, which must be `pusher:error` without a code.
    pub(crate) async fn next_error_text(&mut self) -> String {
        let (code, text) = self.next_error().await;
        assert_eq!(code, Value::Null, "{text}");
        text
    }

    /// Code and reason of the close frame that comes next, and the end after it.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        let frame = self.next_frame().await.expect("a close frame");
        assert_eq!(
            frame.opcode,
            CLOSE,
            "not a close frame: {}",
            String::from_utf8_lossy(&frame.payload)
        );
        assert!(frame.payload.len() <= 125);
        let code = u16::from_be_bytes([frame.payload[0], frame.payload[1]]);
        let reason = String::from_utf8(frame.payload[2..].to_vec()).unwrap();
        (code, reason)
    }

    /// Asks for a pong and expects it next: nothing else was on its way.
    pub(crate) async fn receives_nothing_before_pong(&mut self) {
        self.send(&json!({"event": "pusher:ping", "data": {}}))
            .await;
        assert_eq!(
            self.next().await,
            json!({"event": "pusher:pong", "data": "{}"})
        );
    }

    // Conversations.

    /// Subscribes to a channel that needs no signature, and reads the success.
    pub(crate) async fn subscribe(&mut self, channel: &str) {
        self.send(&json!({"event": "pusher:subscribe", "data": {"channel": channel}}))
            .await;
        assert_eq!(
            self.next().await,
            json!({"event": "pusher_internal:subscription_succeeded", "data": "{}", "channel": channel})
        );
    }

    pub(crate) async fn unsubscribe(&mut self, channel: &str) {
        self.send(&json!({"event": "pusher:unsubscribe", "data": {"channel": channel}}))
            .await;
    }

    /// `auth` for a channel, as the app's back end gives it to this connection.
    pub(crate) fn auth(&self, channel: &str, channel_data: Option<&str>) -> String {
        auth_for(&self.socket_id, channel, channel_data)
    }

    /// Subscribes to a private channel, and reads the success.
    pub(crate) async fn subscribe_private(&mut self, channel: &str) {
        let auth = self.auth(channel, None);
        self.send(
            &json!({"event": "pusher:subscribe", "data": {"auth": auth, "channel": channel}}),
        )
        .await;
        assert_eq!(
            self.next().await,
            json!({"event": "pusher_internal:subscription_succeeded", "data": "{}", "channel": channel})
        );
    }

    /// Asks for a presence channel; the answer is not read.
    pub(crate) async fn ask_presence(&mut self, channel: &str, channel_data: &str) {
        let auth = self.auth(channel, Some(channel_data));
        self.send(&json!({
            "event": "pusher:subscribe",
            "data": {"auth": auth, "channel": channel, "channel_data": channel_data}
        }))
        .await;
    }

    /// Joins a presence channel, and returns `presence` of the success.
    pub(crate) async fn join(&mut self, channel: &str, channel_data: &str) -> Value {
        self.ask_presence(channel, channel_data).await;
        let data = self
            .next_data("pusher_internal:subscription_succeeded", channel)
            .await;
        data["presence"].clone()
    }

    /// Signs in, and reads the success.
    pub(crate) async fn sign_in(&mut self, user_data: &str) {
        self.ask_sign_in(user_data).await;
        let message = self.next().await;
        assert_eq!(message["event"], "pusher:signin_success", "{message}");
        let data: Value = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
        assert_eq!(data, json!({"user_data": user_data}));
    }

    /// Asks to be signed in; the answer is not read.
    pub(crate) async fn ask_sign_in(&mut self, user_data: &str) {
        let socket_id: SocketId = self.socket_id.parse().unwrap();
        let signature = auth::sign_user(&AppSecret::new(SECRET), socket_id, user_data);
        let auth = format!("{KEY}:{signature}");
        self.send(
            &json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": user_data}}),
        )
        .await;
    }
}

/// `auth` of the app's back end for any connection.
pub(crate) fn auth_for(socket_id: &str, channel: &str, channel_data: Option<&str>) -> String {
    let socket_id: SocketId = socket_id.parse().unwrap();
    let secret = AppSecret::new(SECRET);
    let signature = auth::sign_channel(&secret, socket_id, channel, channel_data);
    format!("{KEY}:{signature}")
}

/// A masked frame; `first` holds the opcode and the flags.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | u8::try_from(length).unwrap()),
        length @ 126..=65_535 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&mask);
    let masked = payload.iter().zip(mask.iter().cycle());
    bytes.extend(masked.map(|(byte, mask)| byte ^ mask));
    bytes
}

/// Takes one server frame out of what was received.
fn take_frame(received: &mut Vec<u8>) -> Option<Frame> {
    let (length, start) = match *received.get(1)? {
        126 => {
            let length = received.get(2..4)?;
            (usize::from(u16::from_be_bytes([length[0], length[1]])), 4)
        }
        127 => {
            let length: [u8; 8] = received.get(2..10)?.try_into().unwrap();
            (usize::try_from(u64::from_be_bytes(length)).unwrap(), 10)
        }
        short => {
            assert_eq!(short & 0x80, 0, "a server masks nothing");
            (usize::from(short), 2)
        }
    };
    let payload = received.get(start..start + length)?.to_vec();
    let first = received[0];
    assert_eq!(first & 0xf0, 0x80, "every frame of the server is whole");
    received.drain(..start + length);
    Some(Frame {
        opcode: first & 0x0f,
        payload,
    })
}

/// 27 to 29: what holds of every message that any test reads.
fn check_shape(message: &Value) {
    let members = message.as_object().expect("a message is an object");
    assert!(members["event"].is_string(), "{message}");
    assert!(
        members.get("channel").is_none_or(Value::is_string),
        "{message}"
    );
    assert!(
        members.get("user_id").is_none_or(Value::is_string),
        "{message}"
    );
    if members["event"] == "pusher:error" {
        let data = &members["data"];
        assert!(data["message"].is_string(), "{message}");
        assert!(data["code"].is_null() || data["code"].is_u64(), "{message}");
    } else {
        assert!(members["data"].is_string(), "{message}");
    }
}
