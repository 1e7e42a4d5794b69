//! One HTTP client from its first receive request to its end.
//!
//! The client's requests meet here: receive requests at its [`Line`], messages in
//! the queue of a task that owns the hub's [`Session`], as the task of a WebSocket
//! does. The task ends when the client stays away for too long, does not answer a
//! heartbeat, or has been told that it is closed.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fanfare_protocol::{AppKey, Close, SocketId};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::HttpFallback;
use super::line::{HttpOutbox, Line, Presence};
use crate::apps::App;
use crate::hub::{ClientInfo, Connection, Outbox, Place, Session};
use crate::transport::websocket::{Wish, app_key, query_value};

/// Messages of one client that may wait for those before them; its further
/// requests wait with their answer.
const MAX_WAITING_MESSAGES: usize = 8;

/// Time for a client to fetch its close.
const LINGER: Duration = Duration::from_secs(3);

/// Time for a SockJS client to say which app it wants.
const BIND_WAIT: Duration = Duration::from_secs(10);

/// A session's name among all of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SessionId {
    /// `None` for a SockJS client, whose URL does not name the app.
    pub(super) key: Option<AppKey>,
    /// What the client has chosen.
    pub(super) name: String,
}

/// A session, as requests find it.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) line: Arc<Line>,
    inbound: mpsc::Sender<String>,
    /// Set when the client is connected to an app.
    bound: OnceLock<Bound>,
}

#[derive(Debug)]
struct Bound {
    connection: Arc<Connection<HttpOutbox>>,
    app: Arc<App>,
}

/// The end of the queue that the task reads.
pub(super) type Inbound = mpsc::Receiver<String>;

/// How a session begins.
pub(super) enum Opening {
    /// The URL named the app.
    Bound(Session),
    /// The first message will name it; so many may wait at a time.
    Unbound(Wish, OwnedSemaphorePermit),
}

impl Record {
    pub(super) fn new(line: Line) -> (Arc<Self>, Inbound) {
        let (inbound, receiver) = mpsc::channel(MAX_WAITING_MESSAGES);
        let record = Self {
            line: Arc::new(line),
            inbound,
            bound: OnceLock::new(),
        };
        (Arc::new(record), receiver)
    }

    /// Hands a message to the task; waits while too many wait already. False
    /// when the session has ended.
    pub(super) async fn send(&self, text: String) -> bool {
        self.inbound.send(text).await.is_ok()
    }

    /// Notes a sign of life.
    pub(super) fn seen(&self, now_ms: u64) {
        if let Some(bound) = self.bound.get() {
            bound.connection.seen(now_ms);
        }
    }

    pub(super) fn app(&self) -> Option<&Arc<App>> {
        self.bound.get().map(|bound| &bound.app)
    }

    /// Closes the client, whichever state it is in.
    pub(super) fn close(&self, close: &Close) {
        HttpOutbox(Arc::clone(&self.line)).close(close);
    }
}

/// Takes the session out of the register when its task ends, however it ends.
struct Registered {
    fallback: Arc<HttpFallback>,
    id: SessionId,
    record: Arc<Record>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.record.line.end();
        self.fallback.forget(&self.id, &self.record);
    }
}

/// The life of a session.
pub(super) async fn live(
    fallback: Arc<HttpFallback>,
    id: SessionId,
    record: Arc<Record>,
    mut inbound: Inbound,
    opening: Opening,
) {
    let registered = Registered {
        fallback,
        id,
        record,
    };
    let (fallback, record) = (&registered.fallback, &registered.record);
    let opened = match opening {
        Opening::Bound(session) => Some(session),
        Opening::Unbound(wish, permit) => {
            let bound = tokio::time::timeout(BIND_WAIT, bind(fallback, &mut inbound, wish)).await;
            drop(permit);
            match bound {
                Ok(Ok((place, wish))) => Some(open(fallback, record, place, &wish)),
                Ok(Err(close)) => {
                    record.close(&close);
                    None
                }
                Err(_) => {
                    record.close(&Close::PathNotFound);
                    None
                }
            }
        }
    };
    if let Some(mut session) = opened {
        converse(fallback, record, &mut inbound, &mut session).await;
        // Nobody must wait for the linger to see that this client is gone.
        drop(session);
    }
    let told = async {
        while record.line.presence() != Presence::Gone {
            record.line.changed().await;
        }
    };
    // Too late is as good as gone.
    let _ = tokio::time::timeout(LINGER, told).await;
}

/// Connects the session to its app.
pub(super) fn open(fallback: &HttpFallback, record: &Record, place: Place, wish: &Wish) -> Session {
    if matches!(wish.protocol.as_deref(), Some("4" | "5")) {
        record.line.announce_close();
    }
    let app = place.app();
    let (session, connection) = Session::open(
        place,
        SocketId::from_random(rand::random()),
        HttpOutbox(Arc::clone(&record.line)),
        fallback.settings.activity_timeout,
        ClientInfo {
            client: &wish.client,
            version: &wish.version,
            address: wish.address,
            session: wish.session.as_deref(),
        },
    );
    // Nobody else sets it: a session is opened once.
    let _ = record.bound.set(Bound { connection, app });
    session
}

/// The first message of a SockJS client.
#[derive(Deserialize)]
pub(super) struct FirstMessage {
    pub(super) path: String,
}

/// Waits for the message that says which app the client wants.
async fn bind(
    fallback: &HttpFallback,
    inbound: &mut Inbound,
    mut wish: Wish,
) -> Result<(Place, Wish), Close> {
    let text = inbound.recv().await.ok_or(Close::PathNotFound)?;
    let first: FirstMessage = serde_json::from_str(&text).map_err(|_| Close::PathNotFound)?;
    let (path, query) = first.path.split_once('?').unwrap_or((&first.path, ""));
    wish.key = app_key(path);
    wish.protocol = query_value(query, "protocol");
    wish.client = query_value(query, "client").unwrap_or_default();
    wish.version = query_value(query, "version").unwrap_or_default();
    wish.session = query_value(query, "session").or(wish.session);
    let place = fallback.sockets.admit(&wish).await?;
    Ok((place, wish))
}

/// Works through what the client sends until it is gone or closed.
async fn converse(
    fallback: &HttpFallback,
    record: &Record,
    inbound: &mut Inbound,
    session: &mut Session,
) {
    let line = &record.line;
    loop {
        let until = match line.presence() {
            Presence::Until(until) => until,
            Presence::Leaving | Presence::Gone => return,
        };
        let patience = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = line.changed() => {
                // A client that never answers heartbeats is there as long as it
                // takes them.
                if !line.answers_heartbeats() && line.is_receiving() {
                    record.seen(fallback.hub.now_ms());
                }
            }
            () = patience => {}
            text = inbound.recv() => {
                // The sender is in the record, which this task holds.
                let Some(text) = text else { return };
                let outcome = if text.len() > fallback.settings.max_message_bytes {
                    let limit = fallback.settings.max_message_bytes;
                    Err(Close::MessageTooLarge { limit })
                } else {
                    let outcome = session.handle(&text).await;
                    outcome.and_then(|()| fallback.sockets.judge(session))
                };
                if let Err(close) = outcome {
                    record.close(&close);
                }
            }
        }
    }
}
