//! What happened on a server that runs for somebody's tests: a log in memory that
//! can be read and awaited over HTTP. Only `fanfare serve --test` has it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanfare_protocol::{ChannelName, SocketId};
use hyper::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use tokio::sync::{Notify, broadcast};

use crate::http::{Answer, json_answer, text_answer};
use crate::hub::{HubEvent, HubEventKind};

/// Entries that are kept; the oldest make room.
const MAX_ENTRIES: usize = 10_000;

/// Bytes of event data that are kept; the oldest make room.
const MAX_BYTES: usize = 16 << 20;

/// The longest wait for an entry.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// The log. One per server.
#[derive(Debug, Default)]
pub struct TestLog {
    entries: Mutex<Entries>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    kept: VecDeque<Entry>,
    bytes: usize,
    /// The number of the newest.
    last: u64,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
struct Entry {
    id: u64,
    kind: Kind,
    channel: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The text that the clients get.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Event,
    ClientEvent,
    Subscribed,
    Unsubscribed,
}

/// Which entries somebody asks for.
#[derive(Debug, Default)]
struct Question {
    channel: Option<String>,
    name: Option<String>,
    kind: Option<String>,
    after: u64,
    count: usize,
    wait: Duration,
}

#[derive(Serialize)]
struct Events {
    events: Vec<Entry>,
    /// The number to ask after for what comes next.
    last: u64,
}

impl TestLog {
    /// Whether a path belongs to the log.
    #[must_use]
    pub fn owns(path: &str) -> bool {
        path.starts_with("/test/")
    }

    /// Notes an event that a back end published.
    pub(super) fn published(
        &self,
        channels: &[ChannelName],
        name: &str,
        data: &str,
        except: Option<SocketId>,
    ) {
        for channel in channels {
            self.add(Entry {
                name: Some(name.to_owned()),
                data: Some(data.to_owned()),
                socket_id: except.map(|socket_id| socket_id.to_string()),
                ..Entry::new(Kind::Event, channel)
            });
        }
    }

    /// Notes what clients do, until the hub ends.
    pub async fn follow(self: Arc<Self>, mut events: broadcast::Receiver<HubEvent>) {
        loop {
            match events.recv().await {
                Ok(event) => self.note(event),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "the test log has gaps");
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    fn note(&self, event: HubEvent) {
        let (kind, channel, socket_id, user_id) = match &event.kind {
            HubEventKind::Subscribed {
                channel,
                socket_id,
                user_id,
            } => (Kind::Subscribed, channel, socket_id, user_id),
            HubEventKind::Unsubscribed {
                channel,
                socket_id,
                user_id,
            } => (Kind::Unsubscribed, channel, socket_id, user_id),
            HubEventKind::ClientEvent {
                channel,
                socket_id,
                user_id,
                ..
            } => (Kind::ClientEvent, channel, socket_id, user_id),
            _ => return,
        };
        let mut entry = Entry {
            socket_id: Some(socket_id.to_string()),
            user_id: user_id.as_ref().map(|user_id| user_id.as_str().to_owned()),
            ..Entry::new(kind, channel)
        };
        if let HubEventKind::ClientEvent { event, data, .. } = &event.kind {
            entry.name = Some(event.to_string());
            entry.data = Some(data.to_string());
        }
        self.add(entry);
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // A panic between two steps leaves the entries readable.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, mut entry: Entry) {
        let mut entries = self.lock();
        entries.last += 1;
        entry.id = entries.last;
        entries.bytes += entry.size();
        entries.kept.push_back(entry);
        while entries.kept.len() > MAX_ENTRIES || entries.bytes > MAX_BYTES {
            let Some(oldest) = entries.kept.pop_front() else {
                break;
            };
            entries.bytes -= oldest.size();
        }
        drop(entries);
        self.changed.notify_waiters();
    }

    /// Answers one request.
    pub async fn answer(&self, method: &Method, path: &str, query: Option<&str>) -> Answer {
        match (path, method) {
            ("/test/events", &Method::GET) => match Question::parse(query.unwrap_or_default()) {
                Ok(question) => self.events(&question).await,
                Err(expected) => text_answer(StatusCode::BAD_REQUEST, format!("{expected}\n")),
            },
            ("/test/events", &Method::DELETE) => {
                let mut entries = self.lock();
                entries.kept.clear();
                entries.bytes = 0;
                json_answer("{}")
            }
            ("/test/events", _) => text_answer(
                StatusCode::METHOD_NOT_ALLOWED,
                "Method not allowed: expected GET or DELETE\n",
            ),
            _ => text_answer(
                StatusCode::NOT_FOUND,
                "Path not found: expected /test/events\n",
            ),
        }
    }

    async fn events(&self, question: &Question) -> Answer {
        let found = async {
            loop {
                let changed = self.changed.notified();
                let mut changed = std::pin::pin!(changed);
                // Before the look, so that nothing falls between the two.
                changed.as_mut().enable();
                let found = self.find(question);
                if found.events.len() >= question.count {
                    return found;
                }
                changed.await;
            }
        };
        let found = match tokio::time::timeout(question.wait, found).await {
            Ok(found) => found,
            Err(_) => self.find(question),
        };
        match serde_json::to_vec(&found) {
            Ok(body) => json_answer(body),
            Err(error) => text_answer(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }

    fn find(&self, question: &Question) -> Events {
        let entries = self.lock();
        Events {
            events: entries
                .kept
                .iter()
                .filter(|entry| question.fits(entry))
                .cloned()
                .collect(),
            last: entries.last,
        }
    }
}

impl Entry {
    fn new(kind: Kind, channel: &ChannelName) -> Self {
        Self {
            id: 0,
            kind,
            channel: channel.as_str().to_owned(),
            name: None,
            data: None,
            socket_id: None,
            user_id: None,
        }
    }

    fn size(&self) -> usize {
        self.data.as_ref().map_or(0, String::len)
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::ClientEvent => "client_event",
            Self::Subscribed => "subscribed",
            Self::Unsubscribed => "unsubscribed",
        }
    }
}

impl Question {
    /// Reads the query; the error says what is expected.
    fn parse(query: &str) -> Result<Self, String> {
        let mut question = Self {
            count: 1,
            ..Self::default()
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            let number = || {
                value
                    .parse::<u64>()
                    .map_err(|_| format!("{name} is not valid: expected a whole number"))
            };
            match name {
                "channel" => question.channel = Some(value),
                "name" => question.name = Some(value),
                "kind" => question.kind = Some(value),
                "after" => question.after = number()?,
                "count" => question.count = usize::try_from(number()?).unwrap_or(usize::MAX),
                "wait" => question.wait = Duration::from_secs(number()?).min(MAX_WAIT),
                _ => {
                    return Err(
                        "unknown parameter: expected channel, name, kind, after, count or wait"
                            .to_owned(),
                    );
                }
            }
        }
        Ok(question)
    }

    fn fits(&self, entry: &Entry) -> bool {
        let is = |wanted: &Option<String>, value: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == value)
        };
        entry.id > self.after
            && is(&self.channel, Some(&entry.channel))
            && is(&self.name, entry.name.as_deref())
            && is(&self.kind, Some(entry.kind.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(data: &str) -> Entry {
        let limits = fanfare_protocol::Limits::default();
        let channel = ChannelName::parse("orders", &limits).unwrap();
        Entry {
            data: Some(data.to_owned()),
            ..Entry::new(Kind::Event, &channel)
        }
    }

    #[test]
    fn the_log_is_bounded_in_entries_and_bytes() {
        let log = TestLog::default();
        for _ in 0..MAX_ENTRIES + 5 {
            log.add(entry(""));
        }
        assert_eq!(log.lock().kept.len(), MAX_ENTRIES);
        assert_eq!(log.lock().kept.front().unwrap().id, 6);

        log.add(entry(&"x".repeat(MAX_BYTES)));
        assert!(log.lock().bytes <= MAX_BYTES);
        assert_eq!(log.lock().kept.len(), MAX_ENTRIES);
        log.add(entry("y"));
        assert_eq!(log.lock().kept.len(), 1);
    }

    #[test]
    fn questions_are_checked() {
        let question = Question::parse("channel=a%2Cb&wait=5&count=2&after=7").unwrap();
        assert_eq!(question.channel.as_deref(), Some("a,b"));
        assert_eq!((question.count, question.after), (2, 7));
        for query in [
            "wait=soon",
            "count=-1",
            "chanel=x",
            "after=99999999999999999999",
        ] {
            assert!(Question::parse(query).is_err(), "{query}");
        }
        assert_eq!(Question::parse("wait=999999").unwrap().wait, MAX_WAIT);
    }
}
