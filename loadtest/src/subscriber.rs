//! A client that costs as little as possible: what is measured is the server.

use std::ops::Range;

use anyhow::{Context, bail, ensure};
use fanfare_protocol::{AppSecret, SocketId, auth};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Server;
use crate::ledger::{Ledger, Tally};
use crate::stream::{self, Stream};

/// Bytes of one read: some sixty messages of the usual size.
const READ: usize = 16 << 10;

/// One WebSocket.
pub(crate) struct Subscriber {
    stream: Stream,
    socket_id: SocketId,
    received: Vec<u8>,
    /// How much of `received` has been read already.
    start: usize,
    /// How often the kernel was asked for bytes and had some.
    reads: usize,
}

/// The messages that one subscriber has to get, in this order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) event: &'static str,
    /// The number of the first message ...
    pub(crate) first: usize,
    /// ... and from one to the next.
    pub(crate) step: usize,
    pub(crate) messages: usize,
    /// Bytes of data in each.
    pub(crate) bytes: usize,
}

/// A server message, as far as it matters here.
#[derive(Deserialize)]
struct Envelope {
    event: String,
    /// Not every server has some in every message.
    #[serde(default)]
    data: String,
}

#[derive(Deserialize)]
struct Established {
    socket_id: String,
}

#[derive(Deserialize)]
struct Roster {
    presence: Count,
}

#[derive(Deserialize)]
struct Count {
    count: usize,
}

#[derive(Deserialize)]
struct Added {
    user_id: String,
}

impl Subscriber {
    /// Connects and waits for the greeting.
    pub(crate) async fn connect(server: &Server) -> anyhow::Result<Self> {
        Self::connect_below(server, "").await
    }

    /// The same, with a session.
    pub(crate) async fn resume(server: &Server, session: &str) -> anyhow::Result<Self> {
        Self::connect_below(server, &format!("/s/{session}")).await
    }

    async fn connect_below(server: &Server, path: &str) -> anyhow::Result<Self> {
        let mut stream = stream::connect(server).await?;
        let request = format!(
            "GET {path}/app/{}?protocol=7&client=js&version=8.6.0 HTTP/1.1\r\nHost: loadtest\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            server.key
        );
        stream.write_all(request.as_bytes()).await?;
        let mut subscriber = Self {
            stream,
            socket_id: "1.1".parse().expect("two numbers are a socket id"),
            received: Vec::new(),
            start: 0,
            reads: 0,
        };
        let end = loop {
            if let Some(end) = find(&subscriber.received, b"\r\n\r\n") {
                break end + 4;
            }
            subscriber.read_more().await?;
        };
        ensure!(
            subscriber.received.starts_with(b"HTTP/1.1 101"),
            "no upgrade: {}",
            String::from_utf8_lossy(&subscriber.received[..end])
        );
        subscriber.start = end;
        let data = subscriber.expect("pusher:connection_established").await?;
        let established: Established = serde_json::from_str(&data)?;
        subscriber.socket_id = established.socket_id.parse()?;
        subscriber.rest();
        Ok(subscriber)
    }

    /// Subscribes and waits for the success, whose data it returns.
    pub(crate) async fn subscribe(
        &mut self,
        server: &Server,
        channel: &str,
        user: Option<usize>,
    ) -> anyhow::Result<String> {
        let user = user.map(|user| json!({"user_id": user.to_string()}).to_string());
        self.ask(server, channel, user).await?;
        let data = self
            .expect("pusher_internal:subscription_succeeded")
            .await?;
        self.rest();
        Ok(data)
    }

    /// Asks for a subscription, as the member that `channel_data` says.
    pub(crate) async fn ask(
        &mut self,
        server: &Server,
        channel: &str,
        channel_data: Option<String>,
    ) -> anyhow::Result<()> {
        let mut data = json!({"channel": channel});
        if channel.starts_with("private-") || channel.starts_with("presence-") {
            let secret = AppSecret::new(&server.secret);
            let signature =
                auth::sign_channel(&secret, self.socket_id, channel, channel_data.as_deref());
            data["auth"] = format!("{}:{signature}", server.key).into();
            if let Some(channel_data) = channel_data {
                data["channel_data"] = channel_data.into();
            }
        }
        let text = json!({"event": "pusher:subscribe", "data": data}).to_string();
        self.send(0x81, text.as_bytes()).await
    }

    /// Joins a presence channel, and returns how many members it has then.
    pub(crate) async fn join(
        &mut self,
        server: &Server,
        channel: &str,
        user: usize,
    ) -> anyhow::Result<usize> {
        let data = self.subscribe(server, channel, Some(user)).await?;
        Ok(serde_json::from_str::<Roster>(&data)?.presence.count)
    }

    /// Sends an event to the other subscribers of a channel.
    pub(crate) async fn client_event(
        &mut self,
        event: &str,
        channel: &str,
        data: &str,
    ) -> anyhow::Result<()> {
        let text = format!(r#"{{"event":"{event}","channel":"{channel}","data":"{data}"}}"#);
        self.send(0x81, text.as_bytes()).await
    }

    /// Receives what is expected, in its order, and nothing more. Returns how often
    /// it had to read.
    pub(crate) async fn receive(
        &mut self,
        ledger: &Ledger,
        expected: Expected,
    ) -> anyhow::Result<usize> {
        let marker = format!(r#""event":"{}""#, expected.event);
        let reads = self.reads;
        let mut due = expected.first;
        for _ in 0..expected.messages {
            let payload = self.next().await?;
            let payload = &self.received[payload];
            let data = data(payload, marker.as_bytes()).with_context(|| {
                format!(
                    "got {} where message {due} was due",
                    String::from_utf8_lossy(payload)
                )
            })?;
            ensure!(
                data.len() == expected.bytes,
                "message {due} came with {} bytes of data instead of {}",
                data.len(),
                expected.bytes
            );
            let (message, due_us) =
                parse(data).context("a message holds something else than what was sent")?;
            ensure!(message == due, "message {message} came where {due} was due");
            due += expected.step;
            ledger.delivered(message, due_us).await?;
        }
        let reads = self.reads - reads;
        ledger.tally.ended().await;
        self.nothing_more().await?;
        Ok(reads)
    }

    /// Receives what the session has missed, as `expected`, and nothing more but
    /// questions how far it is, which it answers.
    pub(crate) async fn catch_up(
        &mut self,
        tally: &Tally,
        expected: Expected,
    ) -> anyhow::Result<()> {
        let marker = format!(r#""event":"{}""#, expected.event);
        let mut due = expected.first;
        while due < expected.first + expected.step * expected.messages {
            let payload = self.next().await?;
            let payload = &self.received[payload];
            if find(payload, b"\"pusher:ping\"").is_some() {
                self.pong().await?;
                continue;
            }
            let message =
                data(payload, marker.as_bytes()).filter(|data| data.len() == expected.bytes);
            let message = message.and_then(parse).map(|(message, _)| message);
            ensure!(
                message == Some(due),
                "got {} where message {due} was due",
                String::from_utf8_lossy(payload)
            );
            due += expected.step;
            tally.count();
        }
        tally.ended().await;
        // The question behind the last message.
        if expected.messages > 0 {
            self.expect("pusher:ping").await?;
            self.pong().await?;
        }
        self.nothing_more().await
    }

    /// Reads that nothing is known of the session yet, and nothing more.
    pub(crate) async fn gap(&mut self) -> anyhow::Result<()> {
        // Answered by a server that says nothing about it, too.
        self.send(0x81, br#"{"event":"pusher:ping","data":{}}"#)
            .await?;
        let expected = "the server must keep the past of the channel: loadtest/history.toml";
        self.expect("fanfare:gap").await.context(expected)?;
        self.expect("pusher:pong").await?;
        Ok(())
    }

    async fn pong(&mut self) -> anyhow::Result<()> {
        self.send(0x81, br#"{"event":"pusher:pong","data":{}}"#)
            .await
    }

    /// Receives `members` join events, and nothing more. Returns who joined, in the
    /// order in which it was told.
    pub(crate) async fn joins(
        &mut self,
        tally: &Tally,
        members: usize,
    ) -> anyhow::Result<Vec<usize>> {
        let mut joined = Vec::with_capacity(members);
        for _ in 0..members {
            let data = self.expect("pusher_internal:member_added").await?;
            joined.push(serde_json::from_str::<Added>(&data)?.user_id.parse()?);
            tally.count();
        }
        tally.ended().await;
        self.nothing_more().await?;
        Ok(joined)
    }

    /// Asks for a pong; nothing may come before it.
    pub(crate) async fn nothing_more(&mut self) -> anyhow::Result<()> {
        self.send(0x81, br#"{"event":"pusher:ping","data":{}}"#)
            .await?;
        let payload = self.next().await?;
        let payload = &self.received[payload];
        ensure!(
            find(payload, b"pusher:pong").is_some(),
            "got {} where nothing more was due",
            String::from_utf8_lossy(payload)
        );
        Ok(())
    }

    /// The data of the next message, which has to be an `event`.
    async fn expect(&mut self, event: &str) -> anyhow::Result<String> {
        let payload = self.next().await?;
        let payload = &self.received[payload];
        match serde_json::from_slice::<Envelope>(payload) {
            Ok(envelope) if envelope.event == event => Ok(envelope.data),
            _ => bail!("expected {event}, got {}", String::from_utf8_lossy(payload)),
        }
    }

    /// Where in `received` the payload of the next text frame stands.
    async fn next(&mut self) -> anyhow::Result<Range<usize>> {
        loop {
            let Some((opcode, payload)) = frame(&self.received[self.start..]) else {
                self.read_more().await?;
                continue;
            };
            let payload = self.start + payload.start..self.start + payload.end;
            self.start = payload.end;
            match opcode {
                1 => return Ok(payload),
                8 => bail!("the server closed the connection"),
                9 => {
                    let ping = self.received[payload].to_vec();
                    self.send(0x8a, &ping).await?;
                }
                _ => {}
            }
        }
    }

    /// Gives the buffer back: an idle client keeps none.
    fn rest(&mut self) {
        self.received.drain(..self.start);
        self.received.shrink_to_fit();
        self.start = 0;
    }

    async fn read_more(&mut self) -> anyhow::Result<()> {
        self.received.drain(..self.start);
        self.start = 0;
        self.received.reserve(READ);
        let read = self.stream.read_buf(&mut self.received).await?;
        ensure!(read > 0, "the server ended the connection");
        self.reads += 1;
        Ok(())
    }

    async fn send(&mut self, first: u8, payload: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(&client_frame(first, payload)).await?;
        Ok(())
    }

    /// The data of the next message, which has to be an `event`.
    pub(crate) async fn event(&mut self, event: &str) -> anyhow::Result<String> {
        self.expect(event).await
    }

    /// The connection, for those who speak for themselves.
    pub(crate) fn into_stream(self) -> Stream {
        self.stream
    }
}

/// A frame of a client; a mask of zeros is a mask.
pub(crate) fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..=125), _) => bytes.push(0x80 | length),
        (_, Ok(length)) => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

/// The data of message `message`, due at `due_us`, filled up to `bytes`.
pub(crate) fn message_data(message: usize, due_us: u64, bytes: usize) -> String {
    let mut data = format!("{message}|{due_us}|");
    while data.len() < bytes {
        data.push('x');
    }
    data
}

/// The shortest data that holds what is checked.
pub(crate) const MIN_BYTES: usize = 48;

/// Message number and due time in its data.
fn parse(data: &[u8]) -> Option<(usize, u64)> {
    let mut parts = std::str::from_utf8(data).ok()?.splitn(3, '|');
    let message = parts.next()?.parse().ok()?;
    let due_us = parts.next()?.parse().ok()?;
    let is_padding = parts.next()?.bytes().all(|byte| byte == b'x');
    is_padding.then_some((message, due_us))
}

/// The data of a load event; nothing for any other message.
fn data<'a>(payload: &'a [u8], marker: &[u8]) -> Option<&'a [u8]> {
    find(payload, marker)?;
    let start = find(payload, br#""data":""#)? + br#""data":""#.len();
    let length = payload[start..].iter().position(|byte| *byte == b'"')?;
    Some(&payload[start..start + length])
}

/// Opcode and payload of the frame at the start of `bytes`, if it is whole.
fn frame(bytes: &[u8]) -> Option<(u8, Range<usize>)> {
    let (length, start): (usize, usize) = match *bytes.get(1)? {
        126 => (
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
            4,
        ),
        127 => {
            let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
            (usize::try_from(length).ok()?, 10)
        }
        short => (usize::from(short), 2),
    };
    let payload = start..start.checked_add(length)?;
    (bytes.len() >= payload.end).then_some((bytes[0] & 0x0f, payload))
}

pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
