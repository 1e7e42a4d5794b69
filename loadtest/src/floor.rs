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

#[derive(Default)]
struct Floor {
    channels: Mutex<HashMap<String, Vec<Arc<Peer>>>>,
    fault: Option<Fault>,
}

struct Peer {
    stream: TcpStream,
    /// Kept back by [`Fault::Reorder`].
    held: Mutex<Option<Vec<u8>>>,
}

#[derive(Deserialize)]
struct Body {
    channels: Vec<String>,
    data: String,
}

pub(crate) async fn serve(port: u16, fault: Option<Fault>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    note(&format!("floor listens on {}", listener.local_addr()?));
    let floor = Arc::new(Floor {
        channels: Mutex::default(),
        fault,
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
            // A batch has no channels at the top; nobody listens to it here.
            if let Ok(body) = serde_json::from_slice::<Body>(&received[..length]) {
                self.publish(&body).await?;
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
        // One short masked frame of this program's client, its mask zeros.
        let mut bytes = [0; 512];
        let length = stream.read(&mut bytes).await?;
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        let channel = text
            .split_once(r#""channel":""#)
            .and_then(|(_, rest)| rest.split_once('"'))
            .map(|(channel, _)| channel.to_owned())
            .context("a subscription")?;
        let succeeded = format!(
            r#"{{"event":"pusher_internal:subscription_succeeded","data":"{{}}","channel":"{channel}"}}"#
        );
        stream.write_all(&frame(&succeeded)).await?;
        let peer = Arc::new(Peer {
            stream,
            held: Mutex::default(),
        });
        self.lock()
            .entry(channel.clone())
            .or_default()
            .push(Arc::clone(&peer));
        // Nothing more is expected of a client than its end.
        loop {
            peer.stream.readable().await?;
            match peer.stream.try_read(&mut bytes) {
                Ok(0) => break,
                Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => break,
                _ => {}
            }
        }
        self.lock()
            .entry(channel)
            .or_default()
            .retain(|other| !Arc::ptr_eq(other, &peer));
        Ok(())
    }

    async fn publish(&self, body: &Body) -> anyhow::Result<()> {
        for channel in &body.channels {
            let text = format!(
                r#"{{"event":"load","data":"{}","channel":"{channel}"}}"#,
                body.data
            );
            let bytes = frame(&text);
            let peers = self.lock().get(channel).cloned().unwrap_or_default();
            for (number, peer) in peers.iter().enumerate() {
                let fault = self.fault.filter(|_| number % FAULT_EVERY == 0);
                peer.deliver(&bytes, fault).await?;
            }
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
