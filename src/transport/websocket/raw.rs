//! The plain WebSocket at `/ws`: another dialect for an ordinary connection.
//!
//! To the hub its client is like any other: the same session, the same admission,
//! limits and signs of life. Only the words differ. They are translated here, for
//! each client anew, which is why this is for development machines and not for
//! crowds.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fanfare_protocol::raw::{RawMessage, RawRequest, channel_of};
use fanfare_protocol::{Close, Frame, SocketId};
use fastwebsockets::upgrade::UpgradeFut;
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{SCRATCH_BYTES, Step, WebSockets, Wish, linger, next_step};
use crate::hub::{ClientInfo, Connection, Outbox, Session};
use crate::transport::frame::{self, Incoming, Message};
use crate::transport::outbox::SocketOutbox;

/// Where these clients connect.
pub(super) const PATH: &str = "/ws";

/// An outbox that puts what the hub says into the other dialect.
struct RawOutbox {
    socket: SocketOutbox,
    /// Held while a frame is handed on, so that numbers arrive in their order.
    dialog: Mutex<Dialog>,
}

#[derive(Default)]
struct Dialog {
    /// Events so far.
    sequence: u64,
    /// Channels that are delivered.
    subscribed: HashSet<String>,
    /// The last error, until an answer has told it.
    error: Option<String>,
}

/// A message of the Pusher protocol, as the hub encodes it.
#[derive(Deserialize)]
struct HubMessage<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    data: HubData<'a>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum HubData<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Error { message: String },
}

impl RawOutbox {
    fn new(socket: SocketOutbox) -> Self {
        Self {
            socket,
            dialog: Mutex::default(),
        }
    }

    fn dialog(&self) -> MutexGuard<'_, Dialog> {
        // A panic between two steps leaves the dialog readable.
        self.dialog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, message: &RawMessage<'_>) {
        self.socket.push(&[message.encode()]);
    }

    fn translate(&self, frame: &Frame) {
        let message: HubMessage<'_> = match serde_json::from_slice(frame.payload()) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(%error, "a message of the hub cannot be read");
                return;
            }
        };
        let mut dialog = self.dialog();
        match (message.event.as_ref(), message.data) {
            ("pusher_internal:subscription_succeeded", _) => {
                dialog.subscribed.insert(message.channel.into_owned());
            }
            ("pusher:error", HubData::Error { message }) => dialog.error = Some(message),
            // The protocol's own news have no words in this dialect.
            (event, _) if event.starts_with("pusher:") || event.starts_with("pusher_internal:") => {
            }
            (event, HubData::Text(data)) => {
                dialog.sequence += 1;
                let now = OffsetDateTime::now_utc();
                let timestamp_ms = now.unix_timestamp_nanos() / 1_000_000;
                self.say(&RawMessage::Event {
                    event,
                    channel: &message.channel,
                    data: &data,
                    sequence: dialog.sequence,
                    timestamp: &in_milliseconds(now),
                    timestamp_ms: u64::try_from(timestamp_ms).unwrap_or_default(),
                });
            }
            (_, HubData::Error { .. }) => {}
        }
    }
}

/// ISO 8601 as JavaScript writes it.
fn in_milliseconds(time: OffsetDateTime) -> String {
    let millisecond = time.millisecond();
    let whole = time
        .replace_nanosecond(0)
        .unwrap_or(time)
        .format(&Rfc3339)
        .expect("a time of this era has a text");
    format!("{}.{millisecond:03}Z", whole.trim_end_matches('Z'))
}

impl Outbox for RawOutbox {
    fn push(&self, frames: &[Frame]) {
        frames.iter().for_each(|frame| self.translate(frame));
    }

    fn transport(&self) -> &'static str {
        "raw_websocket"
    }

    fn waiting_bytes(&self) -> usize {
        self.socket.waiting_bytes()
    }

    fn close(&self, close: &Close) {
        self.socket.close(close);
    }

    fn abort(&self, close: &Close) {
        self.socket.abort(close);
    }

    fn probe(&self) {
        self.socket.probe();
    }

    fn stalled_ms(&self, now_ms: u64) -> Option<u64> {
        self.socket.stalled_ms(now_ms)
    }
}

/// The life of one such WebSocket.
pub(super) async fn serve(sockets: Arc<WebSockets>, upgraded: UpgradeFut, wish: Wish) {
    let Some((socket, received)) = sockets.take_over(upgraded, &wish).await else {
        return;
    };
    let place = match sockets.admit(&wish).await {
        Ok(place) => place,
        Err(close) => {
            tracing::debug!(code = close.code(), %close, "connection refused");
            socket.close(&close);
            linger(&socket).await;
            return;
        }
    };
    let socket_id = SocketId::from_random(rand::random());
    let client = ClientInfo {
        client: "raw",
        version: "",
        address: wish.address,
        session: None,
    };
    let outbox = RawOutbox::new(socket);
    let activity_timeout = sockets.settings.activity_timeout;
    let (session, connection) = Session::open(place, socket_id, outbox, activity_timeout, client);
    let mut client = RawClient {
        sockets: &sockets,
        connection: &connection,
        session,
        message: Message::default(),
    };
    let outcome = client.converse(received).await;
    // Nobody must wait for the linger to see that this client is gone.
    drop(client);
    let socket = &connection.outbox().socket;
    if let Err(Some(close)) = &outcome {
        tracing::debug!(%socket_id, code = close.code(), %close, "connection closed");
        socket.close(close);
    }
    if !matches!(outcome, Err(None)) {
        linger(socket).await;
    }
}

/// The inbound half of a connection.
struct RawClient<'a> {
    sockets: &'a WebSockets,
    connection: &'a Connection<RawOutbox>,
    session: Session,
    message: Message,
}

impl RawClient<'_> {
    fn outbox(&self) -> &RawOutbox {
        self.connection.outbox()
    }

    /// Reads until the connection ends; the outcome is that of
    /// `WebSockets::converse`.
    async fn converse(&mut self, received: Bytes) -> Result<(), Option<Close>> {
        // A frame at most, and what one read brings beyond it.
        let mut buffer: Vec<u8> = received.into();
        loop {
            let taken = self.take_frames(&mut buffer).await?;
            buffer.drain(..taken);
            let start = buffer.len();
            buffer.resize(start + SCRATCH_BYTES, 0);
            let read = self.outbox().socket.try_read(&mut buffer[start..]);
            buffer.truncate(start + read.as_ref().map_or(0, |length| *length));
            match read {
                Ok(0) => return Err(None),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    buffer.shrink_to_fit();
                    match next_step(&self.outbox().socket, false).await {
                        Step::Read | Step::Flushed => {}
                        Step::Closed => return Ok(()),
                        Step::Gone => return Err(None),
                    }
                }
                Err(_) => return Err(None),
            }
        }
    }

    /// Works through the whole frames at the start of `buffer`, and returns how
    /// many bytes they take.
    async fn take_frames(&mut self, buffer: &mut [u8]) -> Result<usize, Option<Close>> {
        let max = self.sockets.settings.max_message_bytes;
        let mut taken = 0;
        while let Some(frame) = frame::decode(&mut buffer[taken..], max)? {
            self.connection.seen(self.sockets.hub.now_ms());
            let bytes = &buffer[taken..];
            let payload = &bytes[frame.payload.clone()];
            match self.message.accept(&frame, bytes, max)? {
                Incoming::Text => match self.message.take() {
                    Some(joined) => self.handle(&joined).await?,
                    None => self.handle(payload).await?,
                },
                Incoming::Ping => {
                    let pong = Bytes::from(frame::pong(payload));
                    self.outbox().socket.push_bytes(pong);
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

    async fn handle(&mut self, text: &[u8]) -> Result<(), Close> {
        let text = std::str::from_utf8(text).map_err(|_| Close::InvalidUtf8)?;
        let Some(request) = RawRequest::parse(text) else {
            // The session counts what nobody can read, and ends with a client that
            // goes on. The text itself might be a message of the other dialect.
            self.session.handle("").await?;
            self.answer(&[]);
            return Ok(());
        };
        match request {
            RawRequest::Ping => self.outbox().say(&RawMessage::Pong),
            RawRequest::Subscribe(names) => {
                for name in &names {
                    self.subscribe(&channel_of(name)).await?;
                }
                self.answer(&names);
            }
            RawRequest::Unsubscribe(names) => {
                for name in &names {
                    self.unsubscribe(&channel_of(name)).await?;
                }
                self.answer(&[]);
            }
        }
        Ok(())
    }

    async fn subscribe(&mut self, channel: &str) -> Result<(), Close> {
        if self.outbox().dialog().subscribed.contains(channel) {
            return Ok(());
        }
        self.tell_session("pusher:subscribe", channel).await
    }

    async fn unsubscribe(&mut self, channel: &str) -> Result<(), Close> {
        if !self.outbox().dialog().subscribed.remove(channel) {
            return Ok(());
        }
        self.tell_session("pusher:unsubscribe", channel).await
    }

    async fn tell_session(&mut self, event: &str, channel: &str) -> Result<(), Close> {
        let message = json!({"event": event, "data": {"channel": channel}});
        self.session.handle(&message.to_string()).await
    }

    /// Tells which of `names` are delivered now, and what went wrong.
    fn answer(&self, names: &[Cow<'_, str>]) {
        let mut dialog = self.outbox().dialog();
        let error = dialog.error.take();
        let subscribed: Vec<&str> = names
            .iter()
            .map(AsRef::as_ref)
            .filter(|name| dialog.subscribed.contains(channel_of(name).as_ref()))
            .collect();
        self.outbox().say(&RawMessage::Answer {
            subscribed: &subscribed,
            error: error.as_deref(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_always() {
        for (nanoseconds, text) in [
            (1_767_323_045_000_000_000, "2026-01-02T03:04:05.000Z"),
            (1_767_323_045_006_999_999, "2026-01-02T03:04:05.006Z"),
        ] {
            let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap();
            assert_eq!(in_milliseconds(time), text);
        }
    }
}
