//! A client that costs as little as possible: what is measured is the server.

use std::ops::Range;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Server;
use crate::ledger::Ledger;

/// Bytes of one read: some sixty messages of the usual size.
const READ: usize = 16 << 10;

/// One WebSocket, subscribed to one channel.
pub(crate) struct Subscriber {
    stream: TcpStream,
    received: Vec<u8>,
    /// How much of `received` has been read already.
    start: usize,
}

impl Subscriber {
    /// Connects, subscribes, and waits for the success.
    pub(crate) async fn subscribe(server: &Server, channel: &str) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(server.address)
            .await
            .with_context(|| format!("{} cannot be reached", server.address))?;
        let request = format!(
            "GET /app/{}?protocol=7&client=js&version=8.6.0 HTTP/1.1\r\nHost: loadtest\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            server.key
        );
        stream.write_all(request.as_bytes()).await?;
        let mut subscriber = Self {
            stream,
            received: Vec::new(),
            start: 0,
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
        subscriber.expect(b"pusher:connection_established").await?;
        let text = format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{channel}"}}}}"#);
        subscriber.send(0x81, text.as_bytes()).await?;
        subscriber
            .expect(b"pusher_internal:subscription_succeeded")
            .await?;
        // An idle client keeps no buffer.
        subscriber.received.drain(..subscriber.start);
        subscriber.received.shrink_to_fit();
        subscriber.start = 0;
        Ok(subscriber)
    }

    /// Receives every `step`th message from `first` on, in order, for ever.
    pub(crate) async fn receive(
        mut self,
        ledger: &Ledger,
        first: usize,
        step: usize,
        bytes: usize,
    ) -> anyhow::Result<()> {
        let mut expected = first;
        loop {
            let payload = self.next().await?;
            let Some(data) = data(&self.received[payload]) else {
                continue;
            };
            ensure!(
                data.len() == bytes,
                "message {expected} came with {} bytes of data instead of {bytes}",
                data.len()
            );
            let (message, due_us) =
                parse(data).context("a message holds something else than what was sent")?;
            ensure!(
                message == expected,
                "message {message} came where {expected} was due"
            );
            expected += step;
            ledger.delivered(message, due_us).await?;
        }
    }

    async fn expect(&mut self, event: &[u8]) -> anyhow::Result<()> {
        let payload = self.next().await?;
        let payload = &self.received[payload];
        ensure!(
            find(payload, event).is_some(),
            "expected {}, got {}",
            String::from_utf8_lossy(event),
            String::from_utf8_lossy(payload)
        );
        Ok(())
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

    async fn read_more(&mut self) -> anyhow::Result<()> {
        self.received.drain(..self.start);
        self.start = 0;
        self.received.reserve(READ);
        let read = self.stream.read_buf(&mut self.received).await?;
        ensure!(read > 0, "the server ended the connection");
        Ok(())
    }

    /// Sends a short frame; a mask of zeros is a mask.
    async fn send(&mut self, first: u8, payload: &[u8]) -> anyhow::Result<()> {
        let mut bytes = vec![first];
        match u8::try_from(payload.len()) {
            Ok(length @ ..=125) => bytes.push(0x80 | length),
            _ => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&u16::try_from(payload.len())?.to_be_bytes());
            }
        }
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload);
        self.stream.write_all(&bytes).await?;
        Ok(())
    }
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
fn data(payload: &[u8]) -> Option<&[u8]> {
    find(payload, br#""event":"load""#)?;
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
