//! Past events that all nodes share: streams in Redis, written by `record.lua` and read
//! by `past.lua`.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::{RedisResult, Script, Value};
use fanfare_protocol::{AppId, ChannelName, EventId, Frame};
use futures_util::future::join_all;
use tokio::sync::Notify;

use super::keys::{Subject, TopicId};
use super::link::Connection;
use super::message::{self, Message};
use super::{Shared, queries, script};
use crate::apps::HistoryRule;
use crate::hub::Hub;
use crate::hub::engine::{CachedEvent, EngineError, PastRange, Recorded, SharedPast};

static READ: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("past.lua")));

/// Events that one call reads, so that Redis can do other things in between.
const PAGE: usize = 500;

/// Channels that are looked at again at the same time.
const AT_ONCE: usize = 64;

/// Before a channel is looked at again when that has failed.
const PAUSE: Duration = Duration::from_millis(200);

/// Channels of which this node has missed something.
#[derive(Debug, Default)]
pub(super) struct Holes {
    channels: Mutex<HashSet<TopicId>>,
    found: Notify,
}

impl Holes {
    fn lock(&self) -> MutexGuard<'_, HashSet<TopicId>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, channel: TopicId) {
        self.lock().insert(channel);
        self.found.notify_one();
    }

    fn take(&self) -> Vec<TopicId> {
        let mut channels = self.lock();
        let some: Vec<_> = channels.iter().take(AT_ONCE).cloned().collect();
        for channel in &some {
            channels.remove(channel);
        }
        some
    }
}

/// The event of a message, for the hub.
pub(super) fn recorded(shared: &Shared, message: &message::Recorded<'_>) -> Recorded {
    let frame = Frame::from_text(message.payload);
    let cached = queries::kept_for(message.payload, message.keep_seconds);
    Recorded {
        id: message.id,
        before: message.before,
        cached: cached.map(|event| CachedEvent {
            frame: frame.clone(),
            ..event
        }),
        frame,
        except: message.except,
        own: (message.process == &*shared.process).then_some(message.number),
    }
}

/// Reads what there is of `range`.
pub(super) async fn read(
    shared: &Shared,
    app: &AppId,
    channel: &ChannelName,
    range: PastRange,
    rule: &HistoryRule,
) -> Result<SharedPast, EngineError> {
    let (mut connection, _) = shared
        .try_connection()
        .ok_or_else(|| EngineError("Redis is out of reach".to_owned()))?;
    let name = TopicId::channel(app, channel).name();
    let partition = shared.keys.partition(app, &name);
    let mut past: Option<SharedPast> = None;
    let mut left = range.limit;
    let mut after = range.after;
    let mut until = range.until;
    loop {
        let asked = left.min(PAGE);
        let text = |id: Option<EventId>| id.map(|id| id.to_string()).unwrap_or_default();
        let answer: Vec<Value> = READ
            .key(partition.past(&name))
            .key(partition.bounds(&name))
            .key(partition.began())
            .arg(text(after))
            .arg(text(until))
            .arg(millis(rule.age))
            .arg(asked)
            .invoke_async(&mut connection)
            .await?;
        let mut answer = answer.into_iter().filter_map(script::text);
        let mut id = || answer.next()?.parse::<EventId>().ok();
        let (Some(floor), Some(head)) = (id(), id()) else {
            return Err(EngineError(
                "the past of a channel cannot be read".to_owned(),
            ));
        };
        // What comes while pages are read is not a part of what ends at the head.
        until = until.or(Some(head));
        let events = answer.map(|text| match Message::parse(text.as_bytes()) {
            Some(Message::Recorded(message)) => Ok(recorded(shared, &message)),
            // What was left out would be looked for again with each event that follows.
            _ => Err(EngineError("a past event cannot be read".to_owned())),
        });
        let events: Vec<Recorded> = events.collect::<Result<_, _>>()?;
        let count = events.len();
        let last = events.last().map(|event| event.id);
        match &mut past {
            None => {
                past = Some(SharedPast {
                    floor,
                    head,
                    events,
                })
            }
            Some(past) => {
                if after.is_some_and(|after| floor > after) {
                    // What was read before is not all any more.
                    past.events.clear();
                    past.floor = floor;
                }
                past.events.extend(events);
            }
        }
        left -= asked;
        match (last, past) {
            (Some(last), Some(so_far)) if left > 0 && count == asked => {
                after = Some(last);
                past = Some(so_far);
            }
            (last, Some(mut all)) => {
                if let Some(last) = last
                    && count == asked
                {
                    // There may be more than was asked for.
                    all.head = last;
                }
                return Ok(all);
            }
            (_, None) => return Err(EngineError("nothing was read".to_owned())),
        }
    }
}

/// Looks at what this node has missed, as long as the engine lives.
pub(super) async fn catch_up(shared: &Shared, hub: &Arc<Hub>) {
    loop {
        let channels = shared.holes.take();
        if channels.is_empty() {
            shared.holes.found.notified().await;
            continue;
        }
        // Waits until Redis is there.
        shared.connection().await;
        let looks = channels.iter().map(|id| catch_up_on(shared, hub, id));
        let outcomes = join_all(looks).await;
        let mut has_failed = false;
        for (id, outcome) in channels.into_iter().zip(outcomes) {
            if let Err(error) = outcome {
                tracing::debug!(%error, "what was missed of a channel cannot be read yet");
                shared.holes.lock().insert(id);
                has_failed = true;
            }
        }
        if has_failed {
            shared.suspect();
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn catch_up_on(shared: &Shared, hub: &Hub, id: &TopicId) -> Result<(), EngineError> {
    let (Subject::Channel(channel), Some(app)) = (&id.subject, hub.find(&id.app)) else {
        return Ok(());
    };
    let Some(rule) = app.app().history_of(channel).cloned() else {
        return Ok(());
    };
    let Some(end) = app.end_of_past(channel) else {
        return Ok(());
    };
    let range = PastRange {
        after: end,
        until: None,
        limit: if end.is_some() { rule.events } else { 0 },
    };
    let past = read(shared, &id.app, channel, range, &rule).await?;
    shared.counters.catch_ups.fetch_add(1, Ordering::Relaxed);
    app.caught_up(channel, end, past);
    Ok(())
}

/// The command that records, which Redis must have been given before.
pub(super) async fn load(connection: &mut Connection, script: &str) -> RedisResult<()> {
    ::redis::cmd("SCRIPT")
        .arg("LOAD")
        .arg(script)
        .exec_async(connection)
        .await
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
