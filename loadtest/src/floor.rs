//! The lower bound: a server that can do nothing else.
//!
//! It upgrades, matches the channel and writes one prebuilt frame per socket. It
//! checks no signature, no text and no limit, and answers just enough for this
//! program's own clients. What a real server costs above it is its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use clap::ValueEnum;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::report::note;
use crate::subscriber::find;

/// Every how many deliveries something goes wrong.
const FAULT_EVERY: usize = 50;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// A delivery is left out.
    Drop,
    /// A delivery is made twice.
    Duplicate,
    /// A delivery comes after the next one.
    Reorder,
    /// The text is changed.
    Damage,
}

/// The most of one read from a client.
const READ: usize = 4 << 10;

#[derive(Default)]
struct Floor {
    channels: Mutex<HashMap<String, Vec<Arc<Peer>>>>,
    /// Held while something is sent, so that all see it in one order.
    sending: tokio::sync::Mutex<()>,
    fault: Option<Fault>,
}

struct Peer {
    stream: TcpStream,
    /// Kept back by [`Fault::Reorder`].
    held: Mutex<Option<Vec<u8>>>,
}

/// A trigger or a batch.
#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    channels: Vec<String>,
    #[serde(default)]
    data: String,
    #[serde(default)]
    batch: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    channel: String,
    data: String,
}

pub(crate) async fn serve(port: u16, fault: Option<Fault>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    note(&format!("floor listens on {}", listener.local_addr()?));
    let floor = Arc::new(Floor {
        fault,
        ..Floor::default()
    });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let floor = Arc::clone(&floor);
        tokio::spawn(async move {
            if let Err(error) = floor.connection(stream).await {
                note(&format!("floor: {error:#}"));
            }
        });
    }
}

impl Floor {
    async fn connection(&self, mut stream: TcpStream) -> anyhow::Result<()> {
        let mut received = Vec::with_capacity(4_096);
        loop {
            while find(&received, b"\r\n\r\n").is_none() {
                if stream.read_buf(&mut received).await? == 0 {
                    return Ok(());
                }
            }
            let end = find(&received, b"\r\n\r\n").context("the end of a head")? + 4;
            let head = String::from_utf8_lossy(&received[..end]).to_lowercase();
            received.drain(..end);
            if head.contains("upgrade: websocket") {
                return self.subscriber(stream).await;
            }
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(Ok(0), |length| length.trim().parse())?;
            while received.len() < length {
                if stream.read_buf(&mut received).await? == 0 {
                    return Ok(());
                }
            }
            let body: Body = serde_json::from_slice(&received[..length])?;
            for channel in &body.channels {
                self.publish(channel, &body.data).await?;
            }
            for event in &body.batch {
                self.publish(&event.channel, &event.data).await?;
            }
            received.drain(..length);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                .await?;
        }
    }

    async fn subscriber(&self, mut stream: TcpStream) -> anyhow::Result<()> {
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
            .await?;
        let established = r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.1\",\"activity_timeout\":120}"}"#;
        stream.write_all(&frame(established)).await?;
        let peer = Arc::new(Peer {
            stream,
            held: Mutex::default(),
        });
        let mut channels = Vec::new();
        let outcome = self.converse(&peer, &mut channels).await;
        for channel in channels {
            if let Some(peers) = self.lock().get_mut(&channel) {
                peers.retain(|other| !Arc::ptr_eq(other, &peer));
            }
        }
        outcome
    }

    /// Serves one client until its end.
    async fn converse(&self, peer: &Arc<Peer>, channels: &mut Vec<String>) -> anyhow::Result<()> {
        let mut received = Vec::new();
        loop {
            peer.stream.readable().await?;
            if peer.read(&mut received)? {
                return Ok(());
            }
            while let Some((text, rest)) = unmask(&received) {
                received = rest;
                self.message(peer, &text, channels).await?;
            }
        }
    }

    async fn message(
        &self,
        peer: &Arc<Peer>,
        text: &str,
        channels: &mut Vec<String>,
    ) -> anyhow::Result<()> {
        if text.contains(r#""event":"pusher:ping""#) {
            let _sending = self.sending.lock().await;
            return peer
                .write(&frame(r#"{"event":"pusher:pong","data":"{}"}"#))
                .await;
        }
        let channel = between(text, r#""channel":""#, '"');
        if text.contains(r#""event":"client-"#) {
            // It goes out as it came in.
            return self
                .send(channel.context("a channel")?, &frame(text), Some(peer))
                .await;
        }
        // A good-bye has no channel.
        let Some(channel) = channel else {
            return Ok(());
        };
        self.subscribe(peer, channel, between(text, r#"user_id\":\""#, '\\'))
            .await?;
        channels.push(channel.to_owned());
        Ok(())
    }

    async fn subscribe(
        &self,
        peer: &Arc<Peer>,
        channel: &str,
        user: Option<&str>,
    ) -> anyhow::Result<()> {
        if let Some(user) = user {
            let added = format!(
                r#"{{"event":"pusher_internal:member_added","data":"{{\"user_id\":\"{user}\"}}","channel":"{channel}"}}"#
            );
            self.send(channel, &frame(&added), None).await?;
        }
        // Nothing is sent between the count and the first event.
        let count = {
            let mut all = self.lock();
            let peers = all.entry(channel.to_owned()).or_default();
            peers.push(Arc::clone(peer));
            peers.len()
        };
        let data = match user {
            Some(_) => format!(r#"{{\"presence\":{{\"count\":{count}}}}}"#),
            None => "{}".to_owned(),
        };
        peer.write(&frame(&format!(
            r#"{{"event":"pusher_internal:subscription_succeeded","data":"{data}","channel":"{channel}"}}"#
        )))
        .await
    }

    async fn publish(&self, channel: &str, data: &str) -> anyhow::Result<()> {
        let text = format!(r#"{{"event":"load","data":"{data}","channel":"{channel}"}}"#);
        self.send(channel, &frame(&text), None).await
    }

    /// Writes one frame to each subscriber but one.
    async fn send(
        &self,
        channel: &str,
        bytes: &[u8],
        except: Option<&Arc<Peer>>,
    ) -> anyhow::Result<()> {
        let _sending = self.sending.lock().await;
        let peers = self.lock().get(channel).cloned().unwrap_or_default();
        for (number, peer) in peers.iter().enumerate() {
            if except.is_some_and(|except| Arc::ptr_eq(except, peer)) {
                continue;
            }
            // Without the sender of client events, who is the first.
            let first = usize::from(except.is_some());
            let fault = self.fault.filter(|_| number % FAULT_EVERY == first);
            peer.deliver(bytes, fault).await?;
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<Arc<Peer>>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    async fn deliver(&self, bytes: &[u8], fault: Option<Fault>) -> anyhow::Result<()> {
        match fault {
            None => self.write(bytes).await,
            Some(Fault::Drop) => Ok(()),
            Some(Fault::Duplicate) => {
                self.write(bytes).await?;
                self.write(bytes).await
            }
            Some(Fault::Damage) => {
                let mut damaged = bytes.to_vec();
                if let Some(padding) = find(&damaged, b"xx") {
                    damaged[padding] = b'y';
                }
                self.write(&damaged).await
            }
            Some(Fault::Reorder) => {
                let held = self
                    .held
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .replace(bytes.to_vec());
                match held {
                    None => Ok(()),
                    Some(earlier) => {
                        self.write(bytes).await?;
                        self.write(&earlier).await
                    }
                }
            }
        }
    }

    /// Appends what has come; true at the end.
    fn read(&self, received: &mut Vec<u8>) -> anyhow::Result<bool> {
        let mut bytes = [0; READ];
        match self.stream.try_read(&mut bytes) {
            Ok(0) => return Ok(true),
            Ok(length) => received.extend_from_slice(&bytes[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            // A client that is gone is gone.
            Err(_) => return Ok(true),
        }
        Ok(false)
    }

    async fn write(&self, mut bytes: &[u8]) -> anyhow::Result<()> {
        while !bytes.is_empty() {
            match self.stream.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.stream.writable().await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn frame(text: &str) -> Vec<u8> {
    let mut bytes = vec![0x81];
    match text.len() {
        length @ ..=125 => bytes.push(u8::try_from(length).unwrap_or(125)),
        length => {
            bytes.push(126);
            let length = u16::try_from(length).unwrap_or(u16::MAX);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// The text of the masked frame at the start of `received`, and what follows it.
fn unmask(received: &[u8]) -> Option<(String, Vec<u8>)> {
    let (length, start) = match received.get(1)? & 0x7f {
        126 => (
            usize::from(u16::from_be_bytes(received.get(2..4)?.try_into().ok()?)),
            4,
        ),
        short => (usize::from(short), 2),
    };
    let mask = received.get(start..start + 4)?;
    let payload = received.get(start + 4..start + 4 + length)?;
    let text = payload
        .iter()
        .zip(mask.iter().cycle())
        .map(|(byte, mask)| byte ^ mask)
        .collect();
    let rest = received[start + 4 + length..].to_vec();
    Some((String::from_utf8(text).ok()?, rest))
}

fn between<'a>(text: &'a str, before: &str, after: char) -> Option<&'a str> {
    text.split_once(before)?
        .1
        .split_once(after)
        .map(|(wanted, _)| wanted)
}
