//! The queue of what this node publishes.
//!
//! Publishing never waits: what Redis does not take is queued, in order; a full
//! queue drops the oldest. A message is sent at most once, so an answer that
//! does not come counts as a loss.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Shared;
use super::link::Connection;

/// Publications that wait for Redis.
const MAX_WAITING: usize = 65_536;

/// Bytes of them.
const MAX_BYTES: usize = 16 << 20;

/// Publications in one round trip.
const BATCH: usize = 256;

/// The time between two warnings about losses.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// A message for a topic.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) topic: String,
    pub(super) message: Vec<u8>,
    pub(super) keep: Option<Keep>,
}

/// What Redis is to remember beside it.
#[derive(Debug)]
pub(super) struct Keep {
    pub(super) key: String,
    pub(super) text: Vec<u8>,
    pub(super) milliseconds: u64,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct OutgoingQueue {
    waiting: Mutex<Waiting>,
    filled: Notify,
    /// Publications that were handed to Redis.
    pub(super) sent: AtomicU64,
    /// Publications that the others may have missed.
    pub(super) lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Outgoing>,
    bytes: usize,
}

impl Outgoing {
    fn bytes(&self) -> usize {
        let kept = self.keep.as_ref().map_or(0, |keep| keep.text.len());
        self.topic.len() + self.message.len() + kept
    }
}

impl OutgoingQueue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message at the end, and drops the oldest where there is no room.
    pub(super) fn push(&self, message: Outgoing) {
        let mut lost = 0;
        {
            let mut waiting = self.lock();
            waiting.bytes += message.bytes();
            waiting.messages.push_back(message);
            while waiting.messages.len() > MAX_WAITING || waiting.bytes > MAX_BYTES {
                let Some(oldest) = waiting.messages.pop_front() else {
                    break;
                };
                waiting.bytes -= oldest.bytes();
                lost += 1;
            }
        }
        if lost > 0 {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
        self.filled.notify_one();
    }

    /// Publications that wait for Redis.
    pub(super) fn len(&self) -> usize {
        self.lock().messages.len()
    }

    fn take(&self) -> Vec<Outgoing> {
        let mut waiting = self.lock();
        let count = waiting.messages.len().min(BATCH);
        let batch: Vec<Outgoing> = waiting.messages.drain(..count).collect();
        waiting.bytes -= batch.iter().map(Outgoing::bytes).sum::<usize>();
        batch
    }
}

/// Sends what is queued, as long as the engine lives.
pub(super) async fn send(shared: &Shared) {
    let mut warned: Option<Instant> = None;
    let mut told = 0;
    loop {
        let (connection, command) = shared.connection().await;
        let batch = shared.outgoing.take();
        if batch.is_empty() {
            shared.outgoing.filled.notified().await;
            continue;
        }
        let count = batch.len() as u64;
        if publish(connection, command, batch).await {
            shared.outgoing.sent.fetch_add(count, Ordering::Relaxed);
        } else {
            shared.outgoing.lost.fetch_add(count, Ordering::Relaxed);
            shared.suspect();
        }
        let lost = shared.outgoing.lost.load(Ordering::Relaxed);
        let is_due = warned.is_none_or(|warned| warned.elapsed() >= WARNING_INTERVAL);
        if lost > told && is_due {
            tracing::warn!(
                events = lost - told,
                "events may not have reached the other nodes"
            );
            told = lost;
            warned = Some(Instant::now());
        }
    }
}

async fn publish(connection: Connection, command: &str, batch: Vec<Outgoing>) -> bool {
    if let Connection::One(mut connection) = connection {
        let mut pipeline = ::redis::pipe();
        for outgoing in &batch {
            if let Some(keep) = &outgoing.keep {
                pipeline.add_command(keep.command()).ignore();
            }
            pipeline.add_command(outgoing.command(command)).ignore();
        }
        return pipeline.exec_async(&mut connection).await.is_ok();
    }
    // A pipeline would have to stay within one slot. Commands of one connection
    // are sent in the order in which they are first polled.
    let commands = batch.iter().flat_map(|outgoing| {
        let keep = outgoing.keep.as_ref().map(Keep::command);
        keep.into_iter().chain([outgoing.command(command)])
    });
    let sends = commands.map(|command| {
        let mut connection = connection.clone();
        async move { command.exec_async(&mut connection).await }
    });
    join_all(sends).await.into_iter().all(|sent| sent.is_ok())
}

impl Outgoing {
    fn command(&self, command: &str) -> ::redis::Cmd {
        let mut publish = ::redis::cmd(command);
        publish.arg(&self.topic).arg(&self.message[..]);
        publish
    }
}

impl Keep {
    fn command(&self) -> ::redis::Cmd {
        let mut set = ::redis::cmd("SET");
        set.arg(&self.key)
            .arg(&self.text[..])
            .arg("PX")
            .arg(self.milliseconds);
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Outgoing {
        Outgoing {
            topic: String::new(),
            message: text.as_bytes().to_vec(),
            keep: None,
        }
    }

    #[test]
    fn a_full_queue_drops_the_oldest_and_counts_it() {
        let queue = OutgoingQueue::default();
        for number in 0..MAX_WAITING + 3 {
            queue.push(message(&number.to_string()));
        }

        let batch = queue.take();

        assert_eq!(queue.lost.load(Ordering::Relaxed), 3);
        assert_eq!(batch.len(), BATCH);
        assert_eq!(batch[0].message, b"3");
        assert_eq!(queue.len(), MAX_WAITING - BATCH);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let queue = OutgoingQueue::default();
        for _ in 0..20 {
            queue.push(message(&"x".repeat(1 << 20)));
        }

        assert_eq!(queue.len(), 16);
        assert_eq!(queue.lost.load(Ordering::Relaxed), 4);
    }
}
