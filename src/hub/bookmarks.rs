//! What the sessions that clients name have surely seen.
//!
//! A [`Reader`] is the living connection of a session. Its positions move only when
//! the client answers a `pusher:ping` that was sent after the events: pusher-js does
//! so when the page has handled them. [`Bookmarks`] keeps the positions of a session
//! whose connection has ended, until it comes back, is too old or there are too many.
//! In a deployment of many nodes the engine keeps them for all: [`shared`].
//!
//! Lock order: a channel shard, then the reader, then its outbox. The lock of the
//! bookmarks comes before that of a reader.

mod shared;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use self::shared::News;

use fanfare_protocol::{
    AppId, ChannelName, Close, EventId, Frame, ServerMessage, SocketId, UserId,
};

use super::connection::Connection;
use super::engine::Role;

/// Bytes of a replay after which the client is asked how far it is, so that a slow
/// one does not begin at the start again when it is cut off.
const REPLAY_BYTES_PER_PING: usize = 64 << 10;

/// Questions without an answer, above which a client gets no further ones: it does
/// not answer at all.
const MAX_OPEN_PINGS: usize = 2_048;

/// Channels whose positions a session keeps; with more, the rest is forgotten and
/// reported as a gap.
const MAX_POSITIONS: usize = 256;

/// Earlier connections of a session that are remembered, so that it does not get
/// what it has sent itself.
const MAX_SOCKETS: usize = 8;

/// What a waiting session costs beside its texts.
const SESSION_OVERHEAD: usize = 512;

/// What one position costs beside its channel's name.
const POSITION_OVERHEAD: usize = 72;

/// How far a session is.
#[derive(Clone, Debug, Default)]
struct Places {
    positions: HashMap<ChannelName, EventId>,
    sockets: VecDeque<SocketId>,
}

/// A living connection that has named a session.
pub(super) struct Reader {
    connection: Arc<Connection>,
    state: Mutex<ReaderState>,
}

#[derive(Debug, Default)]
struct ReaderState {
    places: Places,
    /// Positions that the client confirms with its next answers.
    pings: VecDeque<Vec<(ChannelName, EventId)>>,
    /// Whether a question is on its way through the lanes.
    is_asked: bool,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("socket_id", &self.connection.socket_id)
            .finish_non_exhaustive()
    }
}

impl Reader {
    pub(super) fn new(connection: Arc<Connection>) -> Arc<Self> {
        let state = Mutex::default();
        Arc::new(Self { connection, state })
    }

    pub(super) fn socket_id(&self) -> SocketId {
        self.connection.socket_id
    }

    fn lock(&self) -> MutexGuard<'_, ReaderState> {
        // A panic between two steps leaves positions that are too low at worst.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the session stands in `channel`, if it is known.
    pub(super) fn position(&self, channel: &ChannelName) -> Option<EventId> {
        self.lock().places.positions.get(channel).copied()
    }

    /// Whether `socket_id` was a connection of this session.
    pub(super) fn was(&self, socket_id: SocketId) -> bool {
        socket_id == self.socket_id() || self.lock().places.sockets.contains(&socket_id)
    }

    /// Notes where the session starts in a channel.
    pub(super) fn begin(&self, channel: &ChannelName, position: EventId) {
        let mut state = self.lock();
        state.places.positions.insert(channel.clone(), position);
    }

    /// As [`Self::begin`], unless the session has a position in the channel.
    pub(super) fn begin_if_unknown(&self, channel: &ChannelName, position: EventId) {
        let mut state = self.lock();
        if !state.places.positions.contains_key(channel) {
            state.places.positions.insert(channel.clone(), position);
        }
    }

    /// Forgets a channel that the client does not want to hear of any more.
    pub(super) fn forget(&self, channel: &ChannelName) {
        self.lock().places.positions.remove(channel);
    }

    /// Notes that a subscription ended with its connection. A client that has
    /// confirmed everything up to `last` has seen everything up to `now`.
    pub(super) fn left(&self, channel: &ChannelName, last: EventId, now: EventId) {
        let mut state = self.lock();
        if let Some(position) = state.places.positions.get_mut(channel)
            && *position >= last
        {
            *position = now.max(*position);
        }
    }

    /// Makes the caller the one who asks, unless the client has a question already.
    pub(super) fn may_ask(&self) -> bool {
        let mut state = self.lock();
        let may = !state.is_asked && state.pings.is_empty();
        state.is_asked |= may;
        may
    }

    /// Asks the client to confirm that it has handled everything so far, which is
    /// everything up to `positions`.
    fn ask(&self, positions: Vec<(ChannelName, EventId)>) {
        let mut state = self.lock();
        state.is_asked = false;
        if positions.is_empty() {
            return;
        }
        state.pings.push_back(positions);
        // Under the lock, so that answers and questions have one order.
        self.connection
            .outbox()
            .push(&[ServerMessage::Ping.encode()]);
    }

    /// Sends what the client has missed of `channel`, and asks about it.
    pub(super) fn replay(&self, channel: &ChannelName, events: &[(EventId, Frame)]) {
        let mut state = self.lock();
        let mut frames = Vec::with_capacity(events.len() + 1);
        let mut bytes = 0;
        for (position, (id, frame)) in events.iter().enumerate() {
            bytes += frame.as_websocket().len();
            frames.push(frame.clone());
            let is_last = position + 1 == events.len();
            if (is_last || bytes >= REPLAY_BYTES_PER_PING) && state.pings.len() < MAX_OPEN_PINGS {
                bytes = 0;
                state.pings.push_back(vec![(channel.clone(), *id)]);
                let events = events.len();
                let ping = match is_last {
                    true => ServerMessage::PingAfterReplay { channel, events },
                    false => ServerMessage::Ping,
                };
                frames.push(ping.encode());
            }
        }
        self.connection.outbox().push_replay(&frames);
    }

    /// Takes the answer to the oldest question. Returns the positions that it
    /// confirms, when no other question is open.
    pub(super) fn answered(&self) -> Option<Vec<(ChannelName, EventId)>> {
        let mut state = self.lock();
        let confirmed = state.pings.pop_front()?;
        for (channel, id) in confirmed {
            if let Some(position) = state.places.positions.get_mut(&channel) {
                *position = id.max(*position);
            }
        }
        let all = &state.places.positions;
        state
            .pings
            .is_empty()
            .then(|| all.iter().map(|(name, id)| (name.clone(), *id)).collect())
    }

    /// Takes over what another connection of the session, or an earlier one, had.
    fn absorb(&self, places: Places) {
        let mut state = self.lock();
        for (channel, position) in places.positions {
            let known = state.places.positions.entry(channel).or_default();
            *known = position.max(*known);
        }
        for socket_id in places.sockets {
            if !state.places.sockets.contains(&socket_id) {
                state.places.sockets.push_back(socket_id);
            }
        }
    }

    fn places(&self) -> Places {
        self.lock().places.clone()
    }

    /// Ends this connection's part in the session: nothing that it still says moves
    /// a position.
    fn end(&self) -> Places {
        let mut state = self.lock();
        state.pings = VecDeque::new();
        let mut places = std::mem::take(&mut state.places);
        places.sockets.push_back(self.connection.socket_id);
        while places.sockets.len() > MAX_SOCKETS {
            places.sockets.pop_front();
        }
        if places.positions.len() > MAX_POSITIONS {
            // Which ones is left to chance; whoever subscribes to another is told
            // that something may be missing.
            places.positions = places.positions.drain().take(MAX_POSITIONS).collect();
        }
        places
    }
}

/// One question on its way through the lanes of several channels. When it has
/// passed all of them, everything before it has been sent.
#[derive(Debug)]
pub(super) struct Question {
    reader: Arc<Reader>,
    state: Mutex<QuestionState>,
}

#[derive(Debug)]
struct QuestionState {
    lanes: usize,
    positions: Vec<(ChannelName, EventId)>,
}

impl Question {
    /// To be sent through `lanes` of them.
    pub(super) fn new(reader: Arc<Reader>, lanes: usize) -> Arc<Self> {
        let positions = Vec::with_capacity(lanes);
        let state = Mutex::new(QuestionState { lanes, positions });
        Arc::new(Self { reader, state })
    }

    /// Notes that it has passed the lane of `channel` behind the event `last`;
    /// `None` when the channel is no more.
    pub(super) fn passed(&self, at: Option<(ChannelName, EventId)>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.positions.extend(at);
        state.lanes -= 1;
        if state.lanes == 0 {
            let positions = std::mem::take(&mut state.positions);
            drop(state);
            self.reader.ask(positions);
        }
    }
}

/// A session's name, which means something within one app only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SessionKey {
    pub(super) app: AppId,
    pub(super) name: Box<str>,
}

/// The sessions of a node.
#[derive(Debug)]
pub(super) struct Bookmarks {
    max_sessions: usize,
    max_bytes: usize,
    shelf: Mutex<Shelf>,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Shelf {
    sessions: HashMap<Arc<SessionKey>, Entry>,
    /// Those that wait, by the end of their time and a number.
    ends: BTreeMap<(u64, u64), Arc<SessionKey>>,
    next_number: u64,
    /// Bytes of those that wait.
    bytes: usize,
    /// What is to be told to the engine.
    news: News,
}

#[derive(Debug)]
struct Entry {
    /// Set where sessions belong to users.
    user: Option<UserId>,
    state: EntryState,
    /// When the engine is told again of one that has a connection.
    review: Option<(u64, u64)>,
    /// When it was given out without the engine, as long as that does not know of it.
    taken_alone: Option<Instant>,
}

#[derive(Debug)]
enum EntryState {
    Held(Arc<Reader>),
    Waiting {
        places: Places,
        end: (u64, u64),
        cost: usize,
    },
}

/// How many sessions there are, and what they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionFigures {
    /// Sessions with a connection.
    pub connected: usize,
    /// Sessions that wait for their client to come back.
    pub waiting: usize,
    /// Bytes of these.
    pub waiting_bytes: usize,
    /// Sessions that were forgotten before their time, since the start.
    pub dropped: u64,
}

impl Bookmarks {
    pub(super) fn new(max_sessions: usize, max_bytes: usize) -> Self {
        Self {
            max_sessions,
            max_bytes,
            shelf: Mutex::default(),
            dropped: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf
            .lock()
            .expect("the shelf is never poisoned: no panic under its lock")
    }

    /// Gives `reader` the positions of a session of this node, and makes it the
    /// holder if it may be. The connection that held the session is closed.
    pub(super) fn claim(
        &self,
        key: &SessionKey,
        reader: &Arc<Reader>,
        user: Option<&UserId>,
        is_bound_to_user: bool,
    ) -> Role {
        let shelf = self.lock();
        let owner = shelf
            .sessions
            .get(key)
            .and_then(|entry| entry.user.as_ref())
            .filter(|_| is_bound_to_user);
        if let Some(owner) = owner {
            match user {
                Some(user) if user == owner => {}
                Some(_) => return Role::Stranger,
                None => {
                    if let Some(places) = shelf.sessions.get(key).map(Entry::places) {
                        reader.absorb(places);
                    }
                    return Role::Guest;
                }
            }
        }
        let user = user.filter(|_| is_bound_to_user);
        self.hold(shelf, key, reader, user);
        Role::Holder
    }

    /// Makes `reader` the holder of a session.
    fn hold(
        &self,
        mut shelf: MutexGuard<'_, Shelf>,
        key: &SessionKey,
        reader: &Arc<Reader>,
        user: Option<&UserId>,
    ) {
        let user = user.cloned();
        let taken = match shelf.sessions.get_mut(key) {
            Some(entry) => {
                entry.user = user.or_else(|| entry.user.take());
                let state =
                    std::mem::replace(&mut entry.state, EntryState::Held(Arc::clone(reader)));
                match state {
                    EntryState::Held(other) if Arc::ptr_eq(&other, reader) => None,
                    EntryState::Held(other) => {
                        reader.absorb(other.end());
                        Some(other)
                    }
                    EntryState::Waiting { places, end, cost } => {
                        reader.absorb(places);
                        shelf.ends.remove(&end);
                        shelf.bytes -= cost;
                        None
                    }
                }
            }
            None => {
                let entry = Entry {
                    user,
                    state: EntryState::Held(Arc::clone(reader)),
                    review: None,
                    taken_alone: None,
                };
                shelf.sessions.insert(Arc::new(key.clone()), entry);
                None
            }
        };
        drop(shelf);
        if let Some(other) = taken {
            other.connection.outbox().close(&Close::SessionTaken);
        }
    }

    /// Keeps the positions of a session whose connection has ended until `end_ms`.
    pub(super) fn release(&self, key: &SessionKey, reader: &Arc<Reader>, end_ms: u64) {
        let mut guard = self.lock();
        let shelf = &mut *guard;
        let Some((name, entry)) = shelf.sessions.get_key_value(key) else {
            return;
        };
        match &entry.state {
            EntryState::Held(holder) if Arc::ptr_eq(holder, reader) => {}
            // It has been taken over.
            _ => return,
        }
        let places = reader.end();
        if places.positions.is_empty() {
            shelf.sessions.remove(key);
            return;
        }
        let name = Arc::clone(name);
        let positions: usize = places
            .positions
            .keys()
            .map(|channel| channel.as_str().len() + POSITION_OVERHEAD)
            .sum();
        let cost = SESSION_OVERHEAD + key.app.as_str().len() + key.name.len() + positions;
        let end = (end_ms, shelf.next_number);
        shelf.next_number += 1;
        shelf.bytes += cost;
        shelf.ends.insert(end, Arc::clone(&name));
        if let Some(entry) = shelf.sessions.get_mut(&name) {
            entry.state = EntryState::Waiting { places, end, cost };
            entry.review = None;
        }
        while shelf.ends.len() > self.max_sessions || shelf.bytes > self.max_bytes {
            shelf.drop_first();
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Forgets the sessions whose time is over.
    pub(super) fn expire(&self, now_ms: u64) {
        let mut shelf = self.lock();
        while shelf
            .ends
            .first_key_value()
            .is_some_and(|((end_ms, _), _)| *end_ms <= now_ms)
        {
            shelf.drop_first();
        }
        if shelf.sessions.len() < shelf.sessions.capacity() / 8 {
            shelf.sessions.shrink_to_fit();
        }
    }

    pub(super) fn figures(&self) -> SessionFigures {
        let shelf = self.lock();
        SessionFigures {
            connected: shelf.sessions.len() - shelf.ends.len(),
            waiting: shelf.ends.len(),
            waiting_bytes: shelf.bytes,
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}

impl Shelf {
    fn drop_first(&mut self) {
        let Some((_, key)) = self.ends.pop_first() else {
            return;
        };
        if let Some(Entry {
            state: EntryState::Waiting { cost, .. },
            ..
        }) = self.sessions.remove(&key)
        {
            self.bytes -= cost;
        }
    }
}

impl Entry {
    fn places(&self) -> Places {
        match &self.state {
            EntryState::Held(reader) => reader.places(),
            EntryState::Waiting { places, .. } => places.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::Limits;

    use super::super::connection::recorder::Recorder;
    use super::*;

    fn channel(number: u64) -> ChannelName {
        ChannelName::parse(&format!("kitchen-{number}"), &Limits::default()).unwrap()
    }

    fn key(app: &str, name: &str) -> SessionKey {
        SessionKey {
            app: AppId::new(app),
            name: name.into(),
        }
    }

    fn reader(number: u64) -> (Arc<Reader>, Arc<Connection<Recorder>>) {
        let socket_id = format!("1.{number}").parse().unwrap();
        let connection = Arc::new(Connection::new(
            socket_id,
            std::net::Ipv4Addr::LOCALHOST.into(),
            Recorder::default(),
            0,
        ));
        let reader = Reader::new(Arc::clone(&connection) as Arc<Connection>);
        (reader, connection)
    }

    #[test]
    fn a_position_moves_only_with_the_answer_to_a_question_behind_the_event() {
        let (reader, connection) = reader(1);
        let (x, y) = (channel(1), channel(2));
        reader.begin(&x, EventId::at(1));
        reader.begin(&y, EventId::at(1));

        assert_eq!(reader.answered(), None);
        assert!(reader.may_ask());
        assert!(!reader.may_ask());
        let question = Question::new(Arc::clone(&reader), 2);
        question.passed(Some((x.clone(), EventId::at(5))));
        assert!(connection.outbox().received().is_empty());
        question.passed(None);
        assert_eq!(connection.outbox().received().len(), 1);
        assert!(!reader.may_ask());
        assert_eq!(reader.position(&x), Some(EventId::at(1)));

        assert_eq!(reader.answered().unwrap().len(), 2);
        assert_eq!(reader.position(&x), Some(EventId::at(5)));
        assert_eq!(reader.position(&y), Some(EventId::at(1)));
        assert!(reader.may_ask());
    }

    #[test]
    fn the_newer_connection_wins_and_the_older_is_told_and_moves_nothing_any_more() {
        let bookmarks = Bookmarks::new(10, 1 << 20);
        let (old, old_connection) = reader(1);
        let (new, _) = reader(2);
        let (elsewhere, _) = reader(3);
        let x = channel(1);
        bookmarks.claim(&key("1", "s"), &old, None, false);
        old.begin(&x, EventId::at(1));
        old.ask(vec![(x.clone(), EventId::at(9))]);

        assert_eq!(
            bookmarks.claim(&key("1", "s"), &new, None, false),
            Role::Holder
        );
        bookmarks.claim(&key("2", "s"), &elsewhere, None, false);
        old.answered();
        bookmarks.release(&key("1", "s"), &old, 1);

        assert_eq!(
            old_connection.outbox().received().last().unwrap(),
            "close 4010"
        );
        assert_eq!(new.position(&x), Some(EventId::at(1)));
        assert!(new.was("1.1".parse().unwrap()));
        assert_eq!(elsewhere.position(&x), None);
        assert_eq!(bookmarks.figures().connected, 2);
    }

    #[test]
    fn a_session_of_a_user_is_nobody_elses() {
        let bookmarks = Bookmarks::new(10, 1 << 20);
        let (ann, bob) = (UserId::new("ann"), UserId::new("bob"));
        let x = channel(1);
        let (first, first_connection) = reader(1);
        let session = key("1", "s");
        assert_eq!(bookmarks.claim(&session, &first, None, true), Role::Holder);
        assert_eq!(
            bookmarks.claim(&session, &first, Some(&ann), true),
            Role::Holder
        );
        first.begin(&x, EventId::at(1));

        let (thief, _) = reader(2);
        assert_eq!(
            bookmarks.claim(&session, &thief, Some(&bob), true),
            Role::Stranger
        );
        assert_eq!(thief.position(&x), None);
        let (guest, _) = reader(3);
        assert_eq!(bookmarks.claim(&session, &guest, None, true), Role::Guest);
        assert_eq!(guest.position(&x), Some(EventId::at(1)));
        assert!(first_connection.outbox().received().is_empty());

        assert_eq!(
            bookmarks.claim(&session, &guest, Some(&ann), true),
            Role::Holder
        );
        assert_eq!(first_connection.outbox().received(), ["close 4010"]);
    }

    #[test]
    fn sessions_that_never_come_back_are_bounded() {
        let (sessions, bytes) = (20_000, 8 << 20);
        let bookmarks = Bookmarks::new(sessions, bytes);
        for number in 0..100_000 {
            let (reader, _) = reader(number);
            let key = key("1", &format!("{number:0>64}"));
            bookmarks.claim(&key, &reader, None, false);
            for channel_number in 0..number % 4 {
                reader.begin(&channel(channel_number), EventId::at(number));
            }
            bookmarks.release(&key, &reader, number);
            let figures = bookmarks.figures();
            assert!(figures.waiting <= sessions && figures.waiting_bytes <= bytes);
        }

        let figures = bookmarks.figures();
        // Those without a position are not worth keeping.
        assert_eq!(figures.waiting as u64 + figures.dropped, 75_000);
        assert_eq!(figures.connected, 0);
        assert!(figures.waiting > 5_000);
        bookmarks.expire(100_000);
        let nothing = SessionFigures {
            dropped: figures.dropped,
            ..SessionFigures::default()
        };
        assert_eq!(bookmarks.figures(), nothing);
        assert!(bookmarks.lock().sessions.capacity() < 100);
    }
}
