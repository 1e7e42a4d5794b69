//! One WebSocket from the upgrade to its end.
//!
//! Decides who may come in (section 2.3 of the protocol) and runs the task of a
//! connection: bytes to frames, frames to messages, messages to the session. An
//! idle connection owns no buffer and no timer; a thread's scratch buffer serves
//! all connections that it reads from.

mod raw;

use std::cell::Cell;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::{AppKey, Close, SocketId};
use fastwebsockets::upgrade::UpgradeFut;
use hyper::body::Body;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode, Version};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use super::frame::{self, Incoming, Message};
use super::outbox::{Flushed, OutboxRules, SocketOutbox};
use crate::apps::{App, AppStore};
use crate::http::{Answer, AnswerBody, Peer, text_answer};
use crate::hub::{ClientInfo, Connection, Hub, Outbox, Place, Session};
use crate::limits::Addresses;

/// Time for a client to take the rest and to answer a close.
const LINGER: Duration = Duration::from_secs(5);

/// What one read takes from a socket at most.
const SCRATCH_BYTES: usize = 16 << 10;

/// Characters of the name of a session.
const MAX_SESSION_NAME: usize = 128;

/// Subprotocols that clients may offer; the one that is offered is chosen.
const SUBPROTOCOLS: [&str; 4] = [
    "pusher-channels-protocol-4",
    "pusher-channels-protocol-5",
    "pusher-channels-protocol-6",
    "pusher-channels-protocol-7",
];

/// What every WebSocket of a server shares.
#[derive(Debug)]
pub struct WebSockets {
    hub: Arc<Hub>,
    apps: Arc<dyn AppStore>,
    settings: WebSocketSettings,
    outbox_rules: Arc<OutboxRules>,
    tasks: TaskTracker,
}

/// How WebSockets are served.
#[derive(Clone, Debug)]
pub struct WebSocketSettings {
    /// Seconds of silence that clients are told to allow.
    pub activity_timeout: u32,
    /// Bytes of one message from a client.
    pub max_message_bytes: usize,
    /// Bytes that may wait for one client.
    pub outbox_bytes: usize,
    /// The app of plain WebSockets at `/ws`; `None`: there are none.
    pub raw_key: Option<AppKey>,
    /// How often clients may come from one address.
    pub addresses: Arc<Addresses>,
}

/// What a client asks for when it connects, by whatever transport.
pub(super) struct Wish {
    /// `None` for another path than `/app/KEY`.
    pub(super) key: Option<AppKey>,
    pub(super) protocol: Option<String>,
    pub(super) client: String,
    pub(super) version: String,
    pub(super) origin: Option<String>,
    pub(super) is_secure: bool,
    pub(super) address: IpAddr,
    /// The session that it names, checked or not.
    pub(super) session: Option<String>,
    /// Whether the client speaks the dialect of `/ws`.
    is_raw: bool,
}

impl WebSockets {
    /// Serves nobody yet. Tasks of connections are spawned on `tasks`.
    #[must_use]
    pub fn new(
        hub: Arc<Hub>,
        apps: Arc<dyn AppStore>,
        settings: WebSocketSettings,
        tasks: TaskTracker,
    ) -> Self {
        let outbox_rules = Arc::new(OutboxRules {
            max_bytes: settings.outbox_bytes,
            node: Arc::clone(hub.node()),
        });
        Self {
            hub,
            apps,
            settings,
            outbox_rules,
            tasks,
        }
    }

    /// Answers an upgrade request, and serves the WebSocket in a new task, so
    /// that the buffers of the HTTP connection are freed.
    ///
    /// Refusals come as a close frame after a completed upgrade: pusher-js would
    /// repeat a request for ever that is answered with an HTTP error.
    pub fn upgrade<B: Body>(self: &Arc<Self>, mut request: Request<B>, peer: Peer) -> Answer {
        if request.method() != Method::GET
            || request.version() != Version::HTTP_11
            || !request.body().is_end_stream()
        {
            // A body would be taken for frames.
            return text_answer(
                StatusCode::BAD_REQUEST,
                "Expected GET of HTTP/1.1 without a body\n",
            );
        }
        let wish = Wish::read(&request, peer, self.settings.raw_key.as_ref());
        let version = request.headers().get(header::SEC_WEBSOCKET_VERSION);
        if version.is_none_or(|version| version != "13") {
            let mut answer = text_answer(
                StatusCode::UPGRADE_REQUIRED,
                "Expected Sec-WebSocket-Version: 13\n",
            );
            answer.headers_mut().insert(
                header::SEC_WEBSOCKET_VERSION,
                HeaderValue::from_static("13"),
            );
            return answer;
        }
        let Ok((response, upgraded)) = fastwebsockets::upgrade::upgrade(&mut request) else {
            return text_answer(StatusCode::BAD_REQUEST, "Expected Sec-WebSocket-Key\n");
        };
        let mut answer = response.map(|_empty| AnswerBody::default());
        if let Some(subprotocol) = chosen_subprotocol(request.headers()) {
            answer.headers_mut().insert(
                header::SEC_WEBSOCKET_PROTOCOL,
                HeaderValue::from_static(subprotocol),
            );
        }
        let sockets = Arc::clone(self);
        if wish.is_raw {
            self.tasks.spawn(raw::serve(sockets, upgraded, wish));
        } else {
            // Boxed, so that the task carries no room for it.
            self.tasks.spawn(sockets.serve(upgraded, Box::new(wish)));
        }
        answer
    }

    /// The life of one WebSocket.
    async fn serve(self: Arc<Self>, upgraded: UpgradeFut, wish: Box<Wish>) {
        // Boxed, so that the room for the beginning is given back.
        let Some((mut session, connection, received)) =
            Box::pin(Arc::clone(&self).begin(upgraded, wish)).await
        else {
            return;
        };
        let outcome = self.converse(&connection, &mut session, received).await;
        // Nobody must wait for the linger to see that this client is gone.
        drop(session);
        if let Err(Some(close)) = &outcome {
            tracing::debug!(socket_id = %connection.socket_id, code = close.code(), reason = ?close.reason(), "connection closed");
            connection.outbox().close(close);
        }
        if !matches!(outcome, Err(None)) {
            Box::pin(linger(connection.outbox())).await;
        }
    }

    /// Takes the socket over from HTTP and decides whether the client may stay.
    async fn begin(
        self: Arc<Self>,
        upgraded: UpgradeFut,
        wish: Box<Wish>,
    ) -> Option<(Session, Arc<Connection<SocketOutbox>>, Bytes)> {
        let (outbox, received) = self.take_over(upgraded, &wish).await?;
        match self.admit(&wish).await {
            Ok(place) => {
                let socket_id = SocketId::from_random(rand::random());
                let client = ClientInfo {
                    client: &wish.client,
                    version: &wish.version,
                    address: wish.address,
                    session: wish.session.as_deref(),
                };
                let activity_timeout = self.settings.activity_timeout;
                let (session, connection) =
                    Session::open(place, socket_id, outbox, activity_timeout, client);
                Some((session, connection, received))
            }
            Err(close) => {
                // Quoted, since a client's own text may stand in it.
                tracing::debug!(code = close.code(), reason = ?close.reason(), "connection refused");
                outbox.close(&close);
                linger(&outbox).await;
                None
            }
        }
    }

    async fn take_over(&self, upgraded: UpgradeFut, wish: &Wish) -> Option<(SocketOutbox, Bytes)> {
        // The client may have gone before the upgrade was complete.
        let upgraded = upgraded.await.ok()?.into_inner().into_inner();
        let rules = Arc::clone(&self.outbox_rules);
        let protocol = wish.protocol.as_deref().map(str::parse::<u32>);
        let announces_close = matches!(protocol, Some(Ok(..=5)));
        let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => {
                let stream = parts.io.into_inner();
                let outbox = SocketOutbox::new(stream, None, rules, announces_close);
                return Some((outbox, parts.read_buf));
            }
            Err(upgraded) => upgraded,
        };
        let parts = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>().ok()?;
        let (stream, tls) = parts.io.into_inner().into_inner();
        let outbox = SocketOutbox::new(stream, Some(Box::new(tls)), rules, announces_close);
        Some((outbox, parts.read_buf))
    }

    /// Lets a client in, or tells those who look that it was not.
    pub(super) async fn admit(&self, wish: &Wish) -> Result<Place, Close> {
        let mut app = None;
        let admitted = self.judge_wish(wish, &mut app).await;
        admitted.inspect_err(|close| {
            let app = app.as_ref().map(|app| &app.id);
            self.hub.turned_away(app, wish.address, close);
        })
    }

    /// Checks in the order of section 2.3. `found` becomes the app of the key, if there
    /// is one.
    async fn judge_wish(&self, wish: &Wish, found: &mut Option<Arc<App>>) -> Result<Place, Close> {
        let key = wish.key.as_ref().ok_or(Close::PathNotFound)?;
        let session = wish.session.as_deref();
        if session.is_some_and(|name| !is_session_name(name)) {
            return Err(Close::InvalidSession);
        }
        let protocol = wish.protocol.as_deref().ok_or(Close::NoProtocol)?;
        if !matches!(protocol, "4" | "5" | "6" | "7") {
            return Err(Close::UnsupportedProtocol);
        }
        if !self.settings.addresses.may_connect(wish.address) {
            return Err(Close::OverCapacity);
        }
        let app = match self.apps.by_key(key).await {
            Ok(Some(app)) => app,
            Ok(None) => {
                self.settings.addresses.note_failure(wish.address);
                return Err(Close::UnknownApp {
                    key: key.as_str().to_owned(),
                });
            }
            Err(error) => {
                tracing::warn!(%error, "connection refused");
                return Err(Close::OverCapacity);
            }
        };
        let app = found.insert(app);
        if !app.enabled {
            return Err(Close::AppDisabled);
        }
        if app.tls_only && !wish.is_secure {
            return Err(Close::TlsOnly);
        }
        if !app.allows_origin(wish.origin.as_deref()) {
            return Err(Close::OriginNotAllowed);
        }
        self.hub.app(app).admit()
    }

    /// Counts a wrong key or signature of the message before, and closes who has
    /// brought too many: it could go on guessing otherwise.
    pub(super) fn judge(&self, session: &mut Session) -> Result<(), Close> {
        if !session.take_failure() {
            return Ok(());
        }
        let address = session.address();
        self.settings.addresses.note_failure(address);
        if self.settings.addresses.may_authorize(address) {
            Ok(())
        } else {
            Err(Close::OverCapacity)
        }
    }

    /// Reads until the connection ends.
    ///
    /// `Ok` when the outbox has said good-bye, `Err(Some)` when it should, and
    /// `Err(None)` when nobody is there to hear it.
    async fn converse(
        &self,
        connection: &Connection<SocketOutbox>,
        session: &mut Session,
        received: Bytes,
    ) -> Result<(), Option<Close>> {
        let outbox = connection.outbox();
        let mut reader = Reader {
            sockets: self,
            connection,
            partial: Vec::new(),
            message: Message::default(),
        };
        // Into a buffer of its own: even the empty one is hyper's, with all of its room.
        if !received.is_empty() {
            reader.accept(received.to_vec(), session).await?;
        }
        drop(received);
        loop {
            let mut scratch = take_scratch();
            let read = match outbox.try_read(&mut scratch) {
                Ok(0) => Err(None),
                Ok(length) => Ok(length),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(0),
                Err(_) => Err(None),
            };
            match read {
                Ok(0) => put_back_scratch(scratch),
                Ok(length) if reader.partial.is_empty() => {
                    reader.accept_scratch(scratch, length, session).await?;
                    continue;
                }
                Ok(length) => {
                    let mut joined = std::mem::take(&mut reader.partial);
                    joined.extend_from_slice(&scratch[..length]);
                    put_back_scratch(scratch);
                    reader.accept(joined, session).await?;
                    continue;
                }
                Err(end) => {
                    put_back_scratch(scratch);
                    return Err(end);
                }
            }
            match next_step(outbox, session.is_waiting()).await {
                Step::Read => {}
                Step::Flushed => Box::pin(session.go_on()).await,
                Step::Closed => return Ok(()),
                Step::Gone => return Err(None),
            }
        }
    }
}

/// What the task of a connection does next.
enum Step {
    /// Something has arrived.
    Read,
    /// Nothing waits for the client any more.
    Flushed,
    /// The close frame is out.
    Closed,
    /// Nobody is there any more.
    Gone,
}

/// Waits for something to read, and sends what waits meanwhile.
/// `is_awaited` tells that the session wants to know when all of it is sent.
async fn next_step(outbox: &SocketOutbox, is_awaited: bool) -> Step {
    poll_fn(|context| {
        outbox.register(context.waker());
        match outbox.poll_flush(context) {
            Poll::Ready(Flushed::Closed) => return Poll::Ready(Step::Closed),
            Poll::Ready(Flushed::Aborted) => return Poll::Ready(Step::Gone),
            Poll::Ready(Flushed::Open) if is_awaited => return Poll::Ready(Step::Flushed),
            Poll::Ready(Flushed::Open) | Poll::Pending => {}
        }
        match outbox.poll_read_ready(context) {
            Poll::Ready(Ok(())) => Poll::Ready(Step::Read),
            Poll::Ready(Err(_)) => Poll::Ready(Step::Gone),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Lets the client take the rest, and gives it time to close from its side: a
/// socket that is dropped with unread bytes resets the connection, and the close
/// frame would be lost with it.
async fn linger(outbox: &SocketOutbox) {
    let end = async {
        let flushed = poll_fn(|context| {
            outbox.register(context.waker());
            outbox.poll_flush(context)
        })
        .await;
        if flushed == Flushed::Aborted {
            return;
        }
        outbox.shutdown();
        let mut scratch = take_scratch();
        loop {
            match outbox.try_read(&mut scratch) {
                Ok(0) => break,
                Ok(_) => tokio::task::coop::consume_budget().await,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    put_back_scratch(scratch);
                    if poll_fn(|context| outbox.poll_read_ready(context))
                        .await
                        .is_err()
                    {
                        return;
                    }
                    scratch = take_scratch();
                }
                Err(_) => break,
            }
        }
        put_back_scratch(scratch);
    };
    // Too late is as good as gone.
    let _ = tokio::time::timeout(LINGER, end).await;
}

/// The inbound half of a connection.
struct Reader<'a> {
    sockets: &'a WebSockets,
    connection: &'a Connection<SocketOutbox>,
    /// The beginning of a frame whose end has not come yet.
    partial: Vec<u8>,
    message: Message,
}

impl Reader<'_> {
    async fn accept_scratch(
        &mut self,
        mut scratch: Vec<u8>,
        length: usize,
        session: &mut Session,
    ) -> Result<(), Option<Close>> {
        let outcome = self.take_frames(&mut scratch[..length], session).await;
        if let Ok(taken) = outcome {
            self.keep(&scratch[taken..length]);
        }
        put_back_scratch(scratch);
        outcome.map(|_| ())
    }

    async fn accept(
        &mut self,
        mut bytes: Vec<u8>,
        session: &mut Session,
    ) -> Result<(), Option<Close>> {
        let taken = self.take_frames(&mut bytes, session).await?;
        if taken == 0 {
            self.partial = bytes;
        } else {
            self.keep(&bytes[taken..]);
        }
        Ok(())
    }

    fn keep(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            self.partial = rest.to_vec();
        }
    }

    /// Works through the whole frames at the start of `buffer`, and returns how
    /// many bytes they take.
    async fn take_frames(
        &mut self,
        buffer: &mut [u8],
        session: &mut Session,
    ) -> Result<usize, Option<Close>> {
        let max = self.sockets.settings.max_message_bytes;
        let mut taken = 0;
        while let Some(frame) = frame::decode(&mut buffer[taken..], max)? {
            self.connection.seen(self.sockets.hub.now_ms());
            let bytes = &buffer[taken..];
            let payload = &bytes[frame.payload.clone()];
            match self.message.accept(&frame, bytes, max)? {
                Incoming::Text => {
                    match self.message.take() {
                        Some(joined) => handle(session, &joined).await?,
                        None => handle(session, payload).await?,
                    }
                    self.sockets.judge(session)?;
                }
                Incoming::Ping => {
                    let pong = Bytes::from(frame::pong(payload));
                    self.connection.outbox().push_bytes(pong);
                }
                Incoming::Pong | Incoming::Fragment => {}
                Incoming::Close => return Err(Some(Close::Normal)),
            }
            taken += frame.end();
            // A client that sends without end must not keep the others waiting.
            tokio::task::coop::consume_budget().await;
        }
        Ok(taken)
    }
}

async fn handle(session: &mut Session, text: &[u8]) -> Result<(), Close> {
    let text = std::str::from_utf8(text).map_err(|_| Close::InvalidUtf8)?;
    session.handle(text).await
}

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The thread's buffer, or a new one while another task still holds it.
fn take_scratch() -> Vec<u8> {
    let mut scratch = SCRATCH.take();
    if scratch.is_empty() {
        scratch = vec![0; SCRATCH_BYTES];
    }
    scratch
}

fn put_back_scratch(scratch: Vec<u8>) {
    SCRATCH.set(scratch);
}

impl Wish {
    /// `raw_key` is the app of plain WebSockets, if there are any.
    fn read<B>(request: &Request<B>, peer: Peer, raw_key: Option<&AppKey>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let (session, path) = split_session(request.uri().path());
        let raw_key = raw_key.filter(|_| path == raw::PATH);
        let key = raw_key.cloned().or_else(|| app_key(path));
        let mut wish = Self::new(key, query, request.headers(), peer);
        if let Some(session) = session {
            wish.session = Some(session.to_owned());
        }
        if raw_key.is_some() {
            wish.is_raw = true;
            // What they speak is translated into the newest protocol.
            wish.protocol = Some("7".to_owned());
        }
        wish
    }

    /// The wish of a client that names the app in a way of its transport's own.
    pub(super) fn new(key: Option<AppKey>, query: &str, headers: &HeaderMap, peer: Peer) -> Self {
        Self {
            is_raw: false,
            key,
            protocol: query_value(query, "protocol"),
            client: query_value(query, "client").unwrap_or_default(),
            version: query_value(query, "version").unwrap_or_default(),
            session: query_value(query, "session"),
            origin: origin(headers),
            is_secure: peer.is_secure,
            address: peer.address,
        }
    }
}

/// The origin of the page that asks, if a page asks.
pub(super) fn origin(headers: &HeaderMap) -> Option<String> {
    headers
        .get(header::ORIGIN)
        .map(|origin| String::from_utf8_lossy(origin.as_bytes()).into_owned())
}

/// The session in `/s/SESSION/app/KEY`, as `wsPath` of pusher-js puts it there, and
/// the rest of the path.
pub(super) fn split_session(path: &str) -> (Option<&str>, &str) {
    let Some((session, _)) = path
        .strip_prefix("/s/")
        .and_then(|rest| rest.split_once('/'))
    else {
        return (None, path);
    };
    (Some(session), &path["/s/".len() + session.len()..])
}

/// Whether `name` can be the name of a session.
fn is_session_name(name: &str) -> bool {
    (1..=MAX_SESSION_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// The key in `/app/KEY`.
pub(super) fn app_key(path: &str) -> Option<AppKey> {
    let key = path.strip_prefix("/app/")?;
    if key.is_empty() || key.contains('/') {
        return None;
    }
    Some(AppKey::new(&percent_decode_str(key).decode_utf8_lossy()))
}

pub(super) fn query_value(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then(|| percent_decode_str(value).decode_utf8_lossy().into_owned())
    })
}

fn chosen_subprotocol(headers: &HeaderMap) -> Option<&'static str> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|offer| offer.to_str().ok())
        .flat_map(|offer| offer.split(','))
        .find_map(|offer| {
            let offer = offer.trim();
            SUBPROTOCOLS.into_iter().find(|known| *known == offer)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_whole_rest_of_the_path() {
        assert_eq!(app_key("/app/a-key"), Some(AppKey::new("a-key")));
        assert_eq!(app_key("/app/a%20key"), Some(AppKey::new("a key")));
        for path in ["/", "/app", "/app/", "/app/key/", "/apps/key", "/x/app/key"] {
            assert_eq!(app_key(path), None, "{path}");
        }
    }

    #[test]
    fn a_session_stands_before_the_rest_of_the_path() {
        for (path, expected) in [
            ("/app/k", (None, "/app/k")),
            ("/s/kitchen-1/app/k", (Some("kitchen-1"), "/app/k")),
            ("/s//app/k", (Some(""), "/app/k")),
            ("/s/app", (None, "/s/app")),
            ("/sx/a/app/k", (None, "/sx/a/app/k")),
        ] {
            assert_eq!(split_session(path), expected, "{path}");
        }
        assert!(is_session_name("Kitchen_1-7"));
        for name in ["", "a.b", "a%20b", "ä", &"x".repeat(129)] {
            assert!(!is_session_name(name), "{name}");
        }
    }

    /// Checklist 4.
    #[test]
    fn query_values_are_found_in_any_order() {
        let query = "client=js&version=2.2.0%20rc1&protocol=7&flash=false";
        assert_eq!(query_value(query, "protocol").as_deref(), Some("7"));
        assert_eq!(query_value(query, "version").as_deref(), Some("2.2.0 rc1"));
        assert_eq!(query_value(query, "proto"), None);
    }

    fn size_of_future<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// 20,000 idle connections keep 20,000 of these.
    #[test]
    fn the_task_of_a_connection_is_small() {
        let size = size_of_future(WebSockets::serve);
        assert!(size <= 1_024, "{size} bytes");
    }
}
