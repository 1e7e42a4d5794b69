//! The queue of what this node publishes.
//!
//! Publishing never waits: what Redis does not take is queued, in order; a full queue
//! drops the oldest. A message is sent at most once, so an answer that does not come
//! counts as a loss. But an event of a channel with a history ([`Record`]) stays until
//! it is recorded, and when it has to be dropped, a gap is recorded in its place.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::{ErrorKind, RedisError, RedisResult, Script, ServerErrorKind, Value};
use fanfare_protocol::server_message::GapReason;
use fanfare_protocol::{ServerMessage, SocketId};
use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::keys::{Subject, TopicId};
use super::link::Connection;
use super::{Shared, past};
use crate::hub::Hub;

const RECORD_SCRIPT: &str = include_str!("record.lua");

static RECORD: LazyLock<Script> = LazyLock::new(|| Script::new(RECORD_SCRIPT));

/// Publications that wait for Redis.
const MAX_WAITING: usize = 65_536;

/// Bytes of them.
const MAX_BYTES: usize = 16 << 20;

/// Channels of which is remembered that an event was dropped.
const MAX_GAPS: usize = 16_384;

/// Publications in one round trip.
const BATCH: usize = 256;

/// Time for the last of them, when the node stops.
const FAREWELL: Duration = Duration::from_secs(3);

/// Before Redis is tried again with what it did not take.
const PAUSE: Duration = Duration::from_millis(100);

/// The time between two warnings about losses.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// A message for a topic.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) topic: String,
    /// Of a [`Record`] the text of the event, else what is published.
    pub(super) message: Vec<u8>,
    pub(super) keep: Option<Keep>,
    pub(super) record: Option<Box<Record>>,
}

/// What Redis is to remember beside it.
#[derive(Debug)]
pub(super) struct Keep {
    pub(super) key: String,
    pub(super) text: Vec<u8>,
    pub(super) milliseconds: u64,
}

/// The place of an event in the past of its channel, as `record.lua` takes it.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: TopicId,
    pub(super) past: String,
    pub(super) bounds: String,
    pub(super) began: String,
    pub(super) cached: String,
    /// `None` for what is no event of a process.
    pub(super) process: Option<Arc<str>>,
    pub(super) number: u64,
    pub(super) except: Option<SocketId>,
    pub(super) keep_ms: u64,
    pub(super) events: usize,
    pub(super) bytes: usize,
    pub(super) age_ms: u64,
    /// Whether it may have been recorded, because an answer did not come.
    pub(super) is_again: bool,
}

/// What has become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Sent,
    /// It may or may not have been sent.
    Unknown,
    /// It was not sent, but may be later.
    Later,
    Refused,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct OutgoingQueue {
    waiting: Mutex<Waiting>,
    filled: Notify,
    /// Whether some are on their way to Redis.
    is_sending: AtomicBool,
    /// Publications that were handed to Redis.
    pub(super) sent: AtomicU64,
    /// Publications that the others may have missed.
    pub(super) lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Outgoing>,
    bytes: usize,
    /// By topic: what is recorded in place of events that were dropped.
    gaps: HashMap<String, Outgoing>,
}

impl Outgoing {
    fn bytes(&self) -> usize {
        let kept = self.keep.as_ref().map_or(0, |keep| keep.text.len());
        let record = self.record.as_ref();
        let keys = record.map_or(0, |record| size_of::<Record>() + 4 * record.past.len());
        self.topic.len() + self.message.len() + kept + keys
    }

    /// What stands in the past when this does not; `None` for what has no past.
    fn into_gap(self) -> Option<Self> {
        let record = self.record?;
        let Subject::Channel(channel) = &record.id.subject else {
            return None;
        };
        let gap = ServerMessage::Gap {
            channel,
            reason: GapReason::Lost,
        };
        Some(Self {
            topic: self.topic,
            message: gap.encode().payload().to_vec(),
            keep: None,
            record: Some(Box::new(Record {
                process: None,
                except: None,
                keep_ms: 0,
                is_again: false,
                ..*record
            })),
        })
    }
}

impl Waiting {
    /// Drops the oldest where there is no room, and returns how many that were.
    fn trim(&mut self) -> u64 {
        let mut lost = 0;
        while self.messages.len() > MAX_WAITING || self.bytes > MAX_BYTES {
            let Some(oldest) = self.messages.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes();
            self.lose(oldest);
            lost += 1;
        }
        lost
    }

    /// Remembers that a message is not sent.
    fn lose(&mut self, message: Outgoing) {
        if message.record.is_none()
            || self.gaps.len() >= MAX_GAPS
            || self.gaps.contains_key(&message.topic)
        {
            return;
        }
        if let Some(gap) = message.into_gap() {
            self.gaps.insert(gap.topic.clone(), gap);
        }
    }
}

impl OutgoingQueue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message at the end, and drops the oldest where there is no room.
    pub(super) fn push(&self, message: Outgoing) {
        let lost = {
            let mut waiting = self.lock();
            waiting.bytes += message.bytes();
            waiting.messages.push_back(message);
            waiting.trim()
        };
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
        let topics: Vec<String> = waiting.gaps.keys().take(BATCH).cloned().collect();
        let mut batch: Vec<Outgoing> = topics
            .iter()
            .filter_map(|topic| waiting.gaps.remove(topic))
            .collect();
        let count = waiting.messages.len().min(BATCH - batch.len());
        let messages: Vec<Outgoing> = waiting.messages.drain(..count).collect();
        waiting.bytes -= messages.iter().map(Outgoing::bytes).sum::<usize>();
        batch.extend(messages);
        self.is_sending.store(!batch.is_empty(), Ordering::Relaxed);
        batch
    }

    /// Puts messages back to the front, in their order.
    fn put_back(&self, messages: Vec<Outgoing>) {
        let mut waiting = self.lock();
        for message in messages.into_iter().rev() {
            waiting.bytes += message.bytes();
            waiting.messages.push_front(message);
        }
        let lost = waiting.trim();
        self.lost.fetch_add(lost, Ordering::Relaxed);
    }

    fn lose(&self, message: Outgoing) {
        let is_gap = message
            .record
            .as_ref()
            .is_some_and(|record| record.process.is_none());
        self.lost.fetch_add(u64::from(!is_gap), Ordering::Relaxed);
        self.lock().lose(message);
    }
}

/// Sends what is queued, as long as the engine lives.
pub(super) async fn send(shared: &Shared, hub: &Hub) {
    let mut warned: Option<Instant> = None;
    let mut told = 0;
    let mut is_loaded = false;
    loop {
        let (mut connection, command) = shared.connection().await;
        let batch = shared.outgoing.take();
        if batch.is_empty() {
            shared.outgoing.filled.notified().await;
            continue;
        }
        if !is_loaded {
            // A server that does not take it says so again below.
            is_loaded = past::load(&mut connection, RECORD_SCRIPT).await.is_ok();
        }
        let fates = publish(connection, command, &batch).await;
        if fates.iter().any(|fate| *fate != Fate::Sent) {
            is_loaded = false;
        }
        let is_all = conclude(shared, hub, batch, &fates);
        shared.outgoing.is_sending.store(false, Ordering::Relaxed);
        if !is_all {
            shared.suspect();
            tokio::time::sleep(PAUSE).await;
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

/// Waits until everything is sent, for a node that stops: as long as Redis is there, and
/// [`FAREWELL`] at most.
pub(super) async fn emptied(shared: &Shared) {
    let outgoing = &shared.outgoing;
    let end = Instant::now() + FAREWELL;
    while outgoing.len() > 0 || outgoing.is_sending.load(Ordering::Relaxed) {
        if shared.try_connection().is_none() || Instant::now() >= end {
            tracing::warn!(
                events = outgoing.len(),
                "the node stops before all events have reached the others"
            );
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Counts what was sent and keeps what is to be tried again. Returns whether all was
/// sent.
fn conclude(shared: &Shared, hub: &Hub, batch: Vec<Outgoing>, fates: &[Fate]) -> bool {
    let outgoing = &shared.outgoing;
    let mut again = Vec::new();
    let mut is_all = true;
    for (mut message, fate) in batch.into_iter().zip(fates) {
        if *fate == Fate::Sent {
            outgoing.sent.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        is_all = false;
        match &mut message.record {
            Some(record) if *fate != Fate::Refused => {
                record.is_again |= *fate == Fate::Unknown;
                again.push(message);
            }
            Some(record) => {
                // At least those who are here get it.
                if let Some(app) = hub.find(&record.id.app) {
                    app.go_alone();
                }
                outgoing.lose(message);
            }
            None => outgoing.lose(message),
        }
    }
    if !again.is_empty() {
        outgoing.put_back(again);
    }
    is_all
}

async fn publish(connection: Connection, command: &str, batch: &[Outgoing]) -> Vec<Fate> {
    if let Connection::One(mut connection) = connection {
        let mut pipeline = ::redis::pipe();
        for outgoing in batch {
            if let Some(keep) = &outgoing.keep {
                pipeline.add_command(keep.command()).ignore();
            }
            pipeline.add_command(outgoing.command(command));
        }
        let answers: RedisResult<Vec<RedisResult<Value>>> =
            pipeline.ignore_errors().query_async(&mut connection).await;
        return match answers {
            Ok(answers) if answers.len() == batch.len() => answers
                .iter()
                .map(|answer| fate(answer.as_ref().err()))
                .collect(),
            _ => vec![Fate::Unknown; batch.len()],
        };
    }
    // A pipeline would have to stay within one slot. Commands of one connection
    // are sent in the order in which they are first polled.
    let sends = batch.iter().map(|outgoing| {
        let keep = outgoing.keep.as_ref().map(Keep::command);
        let publish = outgoing.command(command);
        let (mut first, mut second) = (connection.clone(), connection.clone());
        async move {
            let keep = async {
                if let Some(keep) = keep {
                    // What is not kept is missed by nobody who is here.
                    let _ = keep.exec_async(&mut first).await;
                }
            };
            let ((), sent) = tokio::join!(biased; keep, publish.exec_async(&mut second));
            fate(sent.as_ref().err())
        }
    });
    join_all(sends).await
}

fn fate(error: Option<&RedisError>) -> Fate {
    let Some(error) = error else {
        return Fate::Sent;
    };
    match error.kind() {
        ErrorKind::Server(
            ServerErrorKind::NoScript
            | ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly,
        ) => Fate::Later,
        ErrorKind::Server(_) | ErrorKind::Extension => Fate::Refused,
        _ => Fate::Unknown,
    }
}

impl Outgoing {
    fn command(&self, command: &str) -> ::redis::Cmd {
        if let Some(record) = &self.record {
            return self.record_command(record, command);
        }
        let mut publish = ::redis::cmd(command);
        publish.arg(&self.topic).arg(&self.message[..]);
        publish
    }

    fn record_command(&self, record: &Record, command: &str) -> ::redis::Cmd {
        let mut call = ::redis::cmd("EVALSHA");
        call.arg(RECORD.get_hash()).arg(4);
        for key in [&record.past, &record.bounds, &record.began, &record.cached] {
            call.arg(key);
        }
        call.arg(&self.topic)
            .arg(command)
            .arg(record.process.as_deref().unwrap_or("-"))
            .arg(record.number)
            .arg(record.except.map_or("-".to_owned(), |id| id.to_string()))
            .arg(record.keep_ms)
            .arg(&self.message[..])
            .arg(record.events)
            .arg(record.bytes)
            .arg(record.age_ms)
            .arg(u8::from(record.is_again && record.process.is_some()));
        call
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
    use fanfare_protocol::{AppId, ChannelName, Limits};

    use super::*;

    fn message(text: &str) -> Outgoing {
        Outgoing {
            topic: String::new(),
            message: text.as_bytes().to_vec(),
            keep: None,
            record: None,
        }
    }

    fn event(channel: &str, number: u64) -> Outgoing {
        let channel = ChannelName::parse(channel, &Limits::default()).unwrap();
        Outgoing {
            topic: channel.to_string(),
            record: Some(Box::new(Record {
                id: TopicId::channel(&AppId::new("1"), &channel),
                past: String::new(),
                bounds: String::new(),
                began: String::new(),
                cached: String::new(),
                process: Some("p".into()),
                number,
                except: None,
                keep_ms: 0,
                events: 10,
                bytes: 1_000,
                age_ms: 1_000,
                is_again: false,
            })),
            ..message(&number.to_string())
        }
    }

    #[test]
    fn what_has_a_past_leaves_a_gap_where_it_is_dropped() {
        let queue = OutgoingQueue::default();
        for number in 0..MAX_WAITING as u64 + 5 {
            queue.push(event(if number < 3 { "a" } else { "b" }, number));
        }

        let batch = queue.take();

        let gaps: Vec<&Outgoing> = batch
            .iter()
            .filter(|message| message.record.as_ref().unwrap().process.is_none())
            .collect();
        assert_eq!(gaps.len(), 2);
        for gap in gaps {
            let text = std::str::from_utf8(&gap.message).unwrap();
            assert!(
                text.contains("fanfare:gap") && text.contains(&gap.topic),
                "{text}"
            );
        }
        assert_eq!(batch[2].message, b"5");
        assert_eq!(batch.len(), BATCH);
        queue.put_back(batch);
        assert_eq!(queue.take()[2].message, b"5");
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
