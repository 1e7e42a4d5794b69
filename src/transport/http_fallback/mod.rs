//! Clients that cannot use WebSockets: `xhr_streaming`, `xhr_polling` and the
//! part of SockJS that pusher-js falls back to (section 15).
//!
//! To the hub such a client is a connection like any other; what differs is the
//! way of its frames, which wait in a [`line::Line`] until the client fetches
//! them. Refusals come inside an answer with status 200, because pusher-js
//! understands nothing else. Every answer may be read by every page: which pages
//! may connect is decided by the app's list of origins.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod line;
mod session;
mod sockjs;
mod stream;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::{AppKey, Close};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use percent_encoding::percent_decode_str;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub use self::sockjs::is_script_address;

use self::line::{Line, Patience, Receiver, Taken, close_frame};
use self::session::{Opening, Record, SessionId, live, open};
use self::stream::{CutOff, Framing, StreamBody, StreamTimes};
use super::outbox::OutboxRules;
use super::websocket::{WebSockets, Wish, origin, split_session};
use crate::http::{Answer, AnswerBody, BodyFault, Cut, Peer, answer, text_answer, whole_body};
use crate::hub::Hub;

/// Characters of a session's name.
const MAX_SESSION_NAME: usize = 64;

/// SockJS clients that may be about to say which app they want.
const MAX_UNBOUND: usize = 1_000;

/// Header names that a pre-flight may ask for, in bytes.
const MAX_ALLOWED_HEADERS: usize = 512;

/// The first frame of a session that may move.
const OPEN: Bytes = Bytes::from_static(b"o");

const SCRIPT: &str = "application/javascript; charset=UTF-8";
const TEXT: &str = "text/plain; charset=UTF-8";
const NO_STORE: HeaderValue =
    HeaderValue::from_static("no-store, no-cache, no-transform, must-revalidate, max-age=0");
const ANY: HeaderValue = HeaderValue::from_static("*");

/// How clients without WebSockets are served.
#[derive(Clone, Debug)]
pub struct HttpFallbackSettings {
    /// Where their requests go: `httpPath` of pusher-js.
    pub path: String,
    /// Where pusher-js sends the other requests of a session.
    pub hostname: Option<String>,
    /// Seconds of silence that clients are told to allow.
    pub activity_timeout: u32,
    /// Bytes of one message from a client.
    pub max_message_bytes: usize,
    /// Bytes that may wait for one client.
    pub outbox_bytes: usize,
    /// Silence after which a client gets a heartbeat.
    pub heartbeat: Duration,
    /// Time to answer it.
    pub answer_wait: Duration,
    /// Time between two receive requests of one client.
    pub session_grace: Duration,
    /// Time for a client to replace a stream that has become too long for it.
    pub reopen_wait: Duration,
    /// Scripts that the SockJS page may load, beside those of Pusher.
    pub sockjs_scripts: Vec<String>,
}

/// Everything that clients without WebSockets share. One per server.
#[derive(Debug)]
pub struct HttpFallback {
    hub: Arc<Hub>,
    sockets: Arc<WebSockets>,
    settings: HttpFallbackSettings,
    /// The first frame of a session of pusher-js.
    open_frame: Bytes,
    rules: Arc<OutboxRules>,
    sessions: Mutex<HashMap<SessionId, Arc<Record>>>,
    unbound: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// What a path below the base stands for.
#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    /// `/app/KEY/SERVER/SESSION/…`, or without the app for SockJS.
    Session {
        key: Option<&'a str>,
        name: &'a str,
        action: Action,
    },
    Info,
    Iframe,
    Greeting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Stream,
    Events,
    Poll,
    Send,
}

impl HttpFallback {
    /// Serves nobody yet. `sockets` decides who may come in, as for WebSockets;
    /// tasks of sessions are spawned on `tasks`.
    #[must_use]
    pub fn new(
        hub: Arc<Hub>,
        sockets: Arc<WebSockets>,
        settings: HttpFallbackSettings,
        tasks: TaskTracker,
    ) -> Self {
        let rules = Arc::new(OutboxRules {
            max_bytes: settings.outbox_bytes,
            node: Arc::clone(hub.node()),
        });
        let open_frame = match &settings.hostname {
            Some(hostname) => format!(r#"o{{"hostname":"{hostname}"}}"#).into(),
            None => OPEN,
        };
        Self {
            hub,
            sockets,
            settings,
            open_frame,
            rules,
            sessions: Mutex::default(),
            unbound: Arc::new(Semaphore::new(MAX_UNBOUND)),
            tasks,
        }
    }

    /// Whether a path belongs to these clients.
    #[must_use]
    pub fn owns(&self, path: &str) -> bool {
        self.below(path).is_some()
    }

    /// The rest of a path below the base.
    fn below<'a>(&self, path: &'a str) -> Option<&'a str> {
        let (_, path) = split_session(path);
        let rest = path.strip_prefix(self.settings.path.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }

    /// Answers one request.
    pub async fn handle(self: &Arc<Self>, request: Request<Incoming>, peer: Peer) -> Answer {
        let is_sockjs = !self
            .below(request.uri().path())
            .is_some_and(|rest| rest.starts_with("/app/"));
        let origin = request.headers().get(header::ORIGIN).cloned();
        let answer = self.answer(request, peer).await;
        match origin {
            Some(origin) if is_sockjs => sockjs::with_credentials(answer, origin),
            _ => answer,
        }
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>, peer: Peer) -> Answer {
        // Pre-flights come before any question of session or app.
        if request.method() == Method::OPTIONS {
            return preflight(request.headers());
        }
        let path = request.uri().path().to_owned();
        let Some(route) = self.below(&path).and_then(route) else {
            return readable(text_answer(StatusCode::NOT_FOUND, "Path not found\n"), ANY);
        };
        match route {
            Route::Greeting => readable(text_answer(StatusCode::OK, "Welcome to SockJS!\n"), ANY),
            Route::Info => sockjs::info(),
            Route::Iframe => sockjs::iframe(request.uri().query(), &self.settings.sockjs_scripts),
            Route::Session { key, name, action } => {
                let id = SessionId {
                    key: key.map(|key| AppKey::new(&percent_decode_str(key).decode_utf8_lossy())),
                    name: name.to_owned(),
                };
                let expected = action.method();
                if request.method() != expected {
                    let text = format!("Method not allowed: expected {expected}\n");
                    return readable(text_answer(StatusCode::METHOD_NOT_ALLOWED, text), ANY);
                }
                if action == Action::Send {
                    self.send(&id, request).await
                } else {
                    self.receive(id, action, &request, peer).await
                }
            }
        }
    }

    // Receiving.

    async fn receive(
        self: &Arc<Self>,
        id: SessionId,
        action: Action,
        request: &Request<Incoming>,
        peer: Peer,
    ) -> Answer {
        let (record, is_new) = match self.find(&id) {
            Some(record) => (record, false),
            None => match self.begin(id.clone(), action, request, peer).await {
                Ok(begun) => begun,
                Err(close) => {
                    tracing::debug!(code = close.code(), %close, "HTTP client refused");
                    return refusal(action, id.key.is_some(), &close);
                }
            },
        };
        let allowed = match allowed_origin(&record, request.headers()) {
            Ok(allowed) => allowed,
            Err(close) => return refusal(action, id.key.is_some(), &close),
        };
        record.seen(self.hub.now_ms());
        let cut = request.extensions().get::<Cut>().cloned();
        let receiver = record.line.receive(cut.unwrap_or_default());
        let framing = match (action, &id.key) {
            (Action::Poll, key) if is_new => {
                let mut line = self.opening(key.is_some()).to_vec();
                line.push(b'\n');
                return script_answer(line.into(), allowed);
            }
            (Action::Poll | Action::Send, _) => return self.poll(receiver, allowed).await,
            (Action::Events, _) => Framing::Events,
            (Action::Stream, Some(_)) => Framing::Lines,
            (Action::Stream, None) => Framing::EndingLines,
        };
        let times = StreamTimes {
            heartbeat: self.settings.heartbeat,
            reopen: self.settings.reopen_wait,
        };
        let opening = is_new.then(|| self.opening(id.key.is_some()));
        let body = StreamBody::new(receiver, framing, times, opening);
        stream_answer(framing, AnswerBody::Stream(Box::pin(body)), allowed)
    }

    /// The first frame of a session. SockJS clients know it in its plain form only.
    fn opening(&self, is_pusher: bool) -> Bytes {
        if is_pusher {
            self.open_frame.clone()
        } else {
            OPEN
        }
    }

    /// One line, as soon as there is one.
    async fn poll(&self, receiver: Receiver, allowed: HeaderValue) -> Answer {
        let taken = poll_fn(|context| receiver.poll_take(context));
        let mut line = match tokio::time::timeout(self.settings.heartbeat, taken).await {
            Ok(Taken::Frame(frame) | Taken::Last(frame)) => frame.to_vec(),
            Ok(Taken::Over) => {
                let body = AnswerBody::Stream(Box::pin(CutOff));
                return stream_answer(Framing::Lines, body, allowed);
            }
            Err(_) => receiver.heartbeat().to_vec(),
        };
        line.push(b'\n');
        script_answer(Bytes::from(line), allowed)
    }

    /// Starts a session, unless another request of the client was quicker.
    async fn begin(
        self: &Arc<Self>,
        id: SessionId,
        action: Action,
        request: &Request<Incoming>,
        peer: Peer,
    ) -> Result<(Arc<Record>, bool), Close> {
        let query = request.uri().query().unwrap_or_default();
        let mut wish = Wish::new(id.key.clone(), query, request.headers(), peer);
        if let (Some(session), _) = split_session(request.uri().path()) {
            wish.session = Some(session.to_owned());
        }
        let patience = Patience {
            grace: self.settings.session_grace,
            // pusher-js answers heartbeats in streams, and comes back by itself
            // otherwise; SockJS clients do not.
            answer: (id.key.is_some() && action == Action::Stream)
                .then_some(self.settings.answer_wait),
        };
        let (record, inbound) = Record::new(Line::new(Arc::clone(&self.rules), patience));
        let opening = if id.key.is_some() {
            let place = self.sockets.admit(&wish).await?;
            Opening::Bound(open(self, &record, place, &wish))
        } else {
            let permit = Arc::clone(&self.unbound)
                .try_acquire_owned()
                .map_err(|_| Close::OverCapacity)?;
            Opening::Unbound(wish, permit)
        };
        match self.sessions().entry(id.clone()) {
            Entry::Occupied(known) => return Ok((Arc::clone(known.get()), false)),
            Entry::Vacant(vacant) => vacant.insert(Arc::clone(&record)),
        };
        let life = live(Arc::clone(self), id, Arc::clone(&record), inbound, opening);
        self.tasks.spawn(life);
        Ok((record, true))
    }

    // Sending.

    async fn send(&self, id: &SessionId, request: Request<Incoming>) -> Answer {
        let Some(record) = self.find(id) else {
            return unknown_session();
        };
        let allowed = match allowed_origin(&record, request.headers()) {
            Ok(allowed) => allowed,
            Err(close) => {
                let text = format!("{close}\n");
                return readable(text_answer(StatusCode::FORBIDDEN, text), ANY);
            }
        };
        // An escaped text may be twice as long as what it stands for.
        let limit = 2 * self.settings.max_message_bytes + 1_024;
        let body = match whole_body(request.into_body(), limit).await {
            Ok(body) => body,
            Err(fault) => {
                let (status, text) = match fault {
                    BodyFault::TooLarge => {
                        record.close(&Close::MessageTooLarge {
                            limit: self.settings.max_message_bytes,
                        });
                        let text = "The message is too large\n";
                        (StatusCode::PAYLOAD_TOO_LARGE, text)
                    }
                    BodyFault::Incomplete => (StatusCode::BAD_REQUEST, "The body is incomplete\n"),
                    BodyFault::TooSlow => {
                        (StatusCode::REQUEST_TIMEOUT, "The body came too slowly\n")
                    }
                };
                return readable(text_answer(status, text), allowed);
            }
        };
        let broken = |text: &'static str| {
            let answer = text_answer(StatusCode::INTERNAL_SERVER_ERROR, text);
            readable(answer, allowed.clone())
        };
        if body.is_empty() {
            return broken("Payload expected.");
        }
        let Ok(messages) = messages(&body) else {
            return broken("Broken JSON encoding.");
        };
        record.seen(self.hub.now_ms());
        if messages.is_empty() {
            record.line.answer_ping();
        } else {
            record.line.heard();
        }
        for message in messages {
            if !record.send(message).await {
                return unknown_session();
            }
        }
        let mut answer = answer(StatusCode::NO_CONTENT, TEXT, Bytes::new());
        answer.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
        readable(answer, allowed)
    }

    // The register.

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Record>>> {
        self.sessions
            .lock()
            .expect("the register is never poisoned: no panic under its lock")
    }

    fn find(&self, id: &SessionId) -> Option<Arc<Record>> {
        self.sessions().get(id).cloned()
    }

    fn forget(&self, id: &SessionId, record: &Arc<Record>) {
        let mut sessions = self.sessions();
        if sessions
            .get(id)
            .is_some_and(|known| Arc::ptr_eq(known, record))
        {
            sessions.remove(id);
        }
    }
}

impl Action {
    fn method(self) -> Method {
        match self {
            Self::Events => Method::GET,
            Self::Stream | Self::Poll | Self::Send => Method::POST,
        }
    }
}

/// What a path below the base stands for.
fn route(path: &str) -> Option<Route<'_>> {
    if matches!(path, "" | "/") {
        return Some(Route::Greeting);
    }
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let (key, server, name, action) = match segments[..] {
        ["info"] => return Some(Route::Info),
        [page] if is_iframe(page) => return Some(Route::Iframe),
        ["app", key, server, name, action] => (Some(key), server, name, action),
        [server, name, action] => (None, server, name, action),
        _ => return None,
    };
    if key == Some("") || server.is_empty() || server.contains('.') || !is_session_name(name) {
        return None;
    }
    let action = match action {
        "xhr_streaming" => Action::Stream,
        "xhr" => Action::Poll,
        "xhr_send" => Action::Send,
        "eventsource" if key.is_none() => Action::Events,
        _ => return None,
    };
    Some(Route::Session { key, name, action })
}

fn is_session_name(name: &str) -> bool {
    (1..=MAX_SESSION_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// `iframe.html`, or with a version that keeps it out of caches.
fn is_iframe(page: &str) -> bool {
    page.strip_prefix("iframe")
        .and_then(|rest| rest.strip_suffix(".html"))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Which origin may read the answer.
fn allowed_origin(record: &Record, headers: &HeaderMap) -> Result<HeaderValue, Close> {
    let Some(app) = record.app() else {
        return Ok(ANY);
    };
    if app.allowed_origins.is_empty() {
        return Ok(ANY);
    }
    let origin = origin(headers);
    if !app.allows_origin(origin.as_deref()) {
        return Err(Close::OriginNotAllowed);
    }
    Ok(headers.get(header::ORIGIN).cloned().unwrap_or(ANY))
}

// Answers.

fn preflight(headers: &HeaderMap) -> Answer {
    let mut answer = answer(StatusCode::NO_CONTENT, TEXT, Bytes::new());
    let own = answer.headers_mut();
    own.remove(header::CONTENT_TYPE);
    let asked = headers
        .get(header::ACCESS_CONTROL_REQUEST_HEADERS)
        .filter(|names| names.len() <= MAX_ALLOWED_HEADERS)
        .cloned()
        .unwrap_or(HeaderValue::from_static("content-type"));
    for (name, value) in [
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, POST, OPTIONS"),
        ),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, asked),
        (
            header::ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from_static("86400"),
        ),
    ] {
        own.insert(name, value);
    }
    readable(answer, ANY)
}

/// Lets pages of `origin` read the answer.
fn readable(mut answer: Answer, origin: HeaderValue) -> Answer {
    if origin != ANY {
        answer
            .headers_mut()
            .insert(header::VARY, HeaderValue::from_static("Origin"));
    }
    answer
        .headers_mut()
        .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    answer
}

fn script_answer(body: Bytes, allowed: HeaderValue) -> Answer {
    let mut answer = answer(StatusCode::OK, SCRIPT, body);
    answer.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    readable(answer, allowed)
}

fn stream_answer(framing: Framing, body: AnswerBody, allowed: HeaderValue) -> Answer {
    let content_type = match framing {
        Framing::Events => "text/event-stream; charset=UTF-8",
        Framing::Lines | Framing::EndingLines => SCRIPT,
    };
    let mut answer = answer(StatusCode::OK, content_type, Bytes::new());
    *answer.body_mut() = body;
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    // nginx would collect the stream before it hands anything on.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    readable(answer, allowed)
}

/// A refusal that pusher-js understands: status 200, an open frame and a close
/// (section 15.9).
fn refusal(action: Action, is_pusher: bool, close: &Close) -> Answer {
    let framing = match action {
        Action::Events => Framing::Events,
        Action::Stream if is_pusher => Framing::Lines,
        Action::Stream | Action::Poll | Action::Send => Framing::EndingLines,
    };
    let frames = [&OPEN[..], &close_frame(close)];
    let body = framing.whole(action != Action::Poll, &frames);
    let content_type = match framing {
        Framing::Events => "text/event-stream; charset=UTF-8",
        Framing::Lines | Framing::EndingLines => SCRIPT,
    };
    let mut answer = answer(StatusCode::OK, content_type, Bytes::from(body));
    answer.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    readable(answer, ANY)
}

fn unknown_session() -> Answer {
    readable(text_answer(StatusCode::NOT_FOUND, "Unknown session\n"), ANY)
}

/// The messages in the body of a send request.
fn messages(body: &[u8]) -> serde_json::Result<Vec<String>> {
    serde_json::from_slice(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_matched_as_a_whole() {
        assert_eq!(
            route("/app/k1/38/g9ftbuj5/xhr_streaming"),
            Some(Route::Session {
                key: Some("k1"),
                name: "g9ftbuj5",
                action: Action::Stream
            })
        );
        assert_eq!(
            route("/826/w5xgd_5e/eventsource"),
            Some(Route::Session {
                key: None,
                name: "w5xgd_5e",
                action: Action::Events
            })
        );
        assert_eq!(route("/info"), Some(Route::Info));
        assert_eq!(route("/iframe.html"), Some(Route::Iframe));
        assert_eq!(route("/iframe-0.3.4.html"), Some(Route::Iframe));
        for path in [
            "/app/k1/38/g9ftbuj5",
            "/app//38/g9ftbuj5/xhr",
            "/app/k1//g9ftbuj5/xhr",
            "/app/k1/38//xhr",
            "/app/k1/38/a.b/xhr",
            "/app/k1/38/%2e%2e/xhr",
            "/app/k1/38/g9ftbuj5/xhr/",
            "/app/k1/38/g9ftbuj5/websocket",
            "/app/k1/38/g9ftbuj5/eventsource",
            "/iframe.html/x",
            "/iframex.html",
        ] {
            assert_eq!(route(path), None, "{path}");
        }
        let long = "x".repeat(65);
        assert_eq!(route(&format!("/app/k1/38/{long}/xhr")), None);
    }
}
