//! The sessions of a node in a deployment of many: the engine decides whose they are
//! and keeps them for all; the node tells it once a second what has changed.
//!
//! What stands on the shelf beside it is for the time while the engine is out of
//! reach. All of it was confirmed by the client, so nothing is missed by it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_protocol::{AppId, Close, SocketId, UserId};

use super::{Bookmarks, Entry, EntryState, Places, Reader, SessionKey, Shelf};
use crate::hub::engine::{ClaimedSession, Role, SessionState};
use crate::hub::millis;

/// The engine is told of a session at least this many times in the time that it
/// keeps it, so that neither grows old while the client is here.
const REVIEWS: u32 = 4;

/// What the engine has not been told.
#[derive(Debug, Default)]
pub(super) struct News {
    /// The sessions, and whether their positions are to be moved to the present.
    unsaved: HashMap<Arc<SessionKey>, bool>,
    /// When it is told again of those with a connection.
    reviews: BTreeMap<(u64, u64), Arc<SessionKey>>,
    next_number: u64,
}

impl News {
    fn note(&mut self, key: &Arc<SessionKey>, is_review: bool) {
        match self.unsaved.get_mut(key) {
            Some(noted) => *noted |= is_review,
            None => {
                self.unsaved.insert(Arc::clone(key), is_review);
            }
        }
    }
}

impl Shelf {
    /// Notes that the engine is to be told of a session.
    fn note(&mut self, key: &SessionKey, is_review: bool) {
        if let Some((key, _)) = self.sessions.get_key_value(key) {
            self.news.note(key, is_review);
        }
    }
}

impl Bookmarks {
    /// As [`Self::claim`], when the engine has decided.
    pub(in crate::hub) fn accept(
        &self,
        key: &SessionKey,
        reader: &Arc<Reader>,
        claimed: ClaimedSession,
        user: Option<&UserId>,
    ) -> Role {
        if claimed.role == Role::Stranger {
            return Role::Stranger;
        }
        reader.absorb(Places {
            positions: claimed.positions.into_iter().collect(),
            sockets: claimed.sockets.into(),
        });
        let shelf = self.lock();
        if claimed.role == Role::Guest {
            if let Some(places) = shelf.sessions.get(key).map(Entry::places) {
                reader.absorb(places);
            }
            return Role::Guest;
        }
        self.hold(shelf, key, reader, user);
        let mut shelf = self.lock();
        if let Some(entry) = shelf.sessions.get_mut(key) {
            entry.taken_alone = None;
        }
        shelf.note(key, true);
        Role::Holder
    }

    /// Notes that a session was given out while the engine was out of reach: it is told
    /// with the next save who holds it.
    pub(in crate::hub) fn held_alone(&self, key: &SessionKey) {
        let mut shelf = self.lock();
        if let Some(entry) = shelf.sessions.get_mut(key) {
            entry.taken_alone = Some(Instant::now());
        }
        shelf.note(key, true);
    }

    pub(in crate::hub) fn max_sessions(&self) -> usize {
        self.max_sessions
    }

    /// Notes that a position of a session may have moved.
    pub(in crate::hub) fn changed(&self, key: &SessionKey) {
        self.lock().note(key, false);
    }

    /// Notes that its connection has ended.
    pub(in crate::hub) fn left(&self, key: &SessionKey) {
        self.lock().note(key, true);
    }

    /// Takes out `limit` of the sessions of which the engine has not been told.
    pub(in crate::hub) fn unsaved(
        &self,
        now_ms: u64,
        limit: usize,
        age_of: impl Fn(&AppId) -> Option<Duration>,
    ) -> Vec<SessionState> {
        let mut guard = self.lock();
        let Shelf { sessions, news, .. } = &mut *guard;
        while let Some(first) = news.reviews.first_entry()
            && first.key().0 <= now_ms
        {
            let (due, key) = first.remove_entry();
            if sessions
                .get(&key)
                .is_some_and(|entry| entry.review == Some(due))
            {
                news.note(&key, true);
            }
        }
        let keys: Vec<_> = news.unsaved.keys().take(limit).cloned().collect();
        let mut states = Vec::new();
        for key in keys {
            let is_review = news.unsaved.remove(&key).unwrap_or_default();
            let (Some(entry), Some(age)) = (sessions.get_mut(&key), age_of(&key.app)) else {
                continue;
            };
            let places = entry.places();
            let (socket_id, is_held) = match &entry.state {
                EntryState::Held(reader) => (reader.socket_id(), true),
                EntryState::Waiting { places, .. } => match places.sockets.back() {
                    Some(socket_id) => (*socket_id, false),
                    None => continue,
                },
            };
            if is_review && is_held {
                let interval_ms = millis(age / REVIEWS).max(1_000);
                let due = (now_ms + interval_ms, news.next_number);
                news.next_number += 1;
                entry.review = Some(due);
                news.reviews.insert(due, Arc::clone(&key));
            }
            states.push(SessionState {
                app: key.app.clone(),
                name: key.name.clone(),
                socket_id,
                is_held,
                user: entry.user.clone(),
                positions: places.positions.into_iter().collect(),
                sockets: places.sockets.into(),
                is_review,
                taken_alone: entry.taken_alone.take(),
                age,
            });
        }
        if news.unsaved.is_empty() {
            news.unsaved.shrink_to_fit();
        }
        states
    }

    /// Puts sessions back that the engine could not be told of.
    pub(in crate::hub) fn not_saved(&self, sessions: &[SessionState]) {
        let mut shelf = self.lock();
        for session in sessions {
            let key = SessionKey {
                app: session.app.clone(),
                name: session.name.clone(),
            };
            if session.taken_alone.is_some()
                && let Some(entry) = shelf.sessions.get_mut(&key)
            {
                entry.taken_alone = session.taken_alone;
            }
            shelf.note(&key, session.is_review);
        }
    }

    /// Lets go of a session that a connection of another node has taken.
    pub(in crate::hub) fn taken(&self, app: &AppId, name: &str, socket_id: SocketId) {
        let key = SessionKey {
            app: app.clone(),
            name: name.into(),
        };
        let mut shelf = self.lock();
        let holder = match shelf.sessions.get(&key).map(|entry| &entry.state) {
            Some(EntryState::Held(reader)) if reader.socket_id() == socket_id => Arc::clone(reader),
            _ => return,
        };
        shelf.sessions.remove(&key);
        drop(shelf);
        holder.end();
        holder.connection.outbox().close(&Close::SessionTaken);
    }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::{ChannelName, EventId, Limits};

    use super::super::super::connection::Connection;
    use super::super::super::connection::recorder::Recorder;
    use super::*;

    const AGE: Duration = Duration::from_secs(3_600);

    fn key() -> SessionKey {
        SessionKey {
            app: AppId::new("1"),
            name: "s".into(),
        }
    }

    fn reader(number: u64) -> (Arc<Reader>, Arc<Connection<Recorder>>) {
        let socket_id = format!("1.{number}").parse().unwrap();
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        let connection = Arc::new(Connection::new(socket_id, address, Recorder::default(), 0));
        let reader = Reader::new(Arc::clone(&connection) as Arc<Connection>);
        (reader, connection)
    }

    fn claimed(positions: &[(ChannelName, EventId)]) -> ClaimedSession {
        ClaimedSession {
            role: Role::Holder,
            positions: positions.to_vec(),
            sockets: vec!["9.9".parse().unwrap()],
        }
    }

    #[test]
    fn the_engine_is_told_of_what_changes_and_again_before_it_forgets() {
        let bookmarks = Bookmarks::new(10, 1 << 20);
        let channel = ChannelName::parse("kitchen", &Limits::default()).unwrap();
        let (reader, _) = reader(1);
        let position = (channel.clone(), EventId::at(7));
        let unsaved = |now_ms| bookmarks.unsaved(now_ms, 10, |_| Some(AGE));

        bookmarks.accept(
            &key(),
            &reader,
            claimed(std::slice::from_ref(&position)),
            None,
        );
        let told = unsaved(0);
        assert_eq!((told.len(), told[0].is_review), (1, true));
        assert_eq!(told[0].positions, [position]);
        assert!(reader.was("9.9".parse().unwrap()));
        assert!(unsaved(1).is_empty());

        bookmarks.changed(&key());
        let told = unsaved(2);
        assert!(!told[0].is_review && told[0].is_held);
        bookmarks.not_saved(&told);
        assert_eq!(unsaved(3).len(), 1);
        assert!(unsaved(millis(AGE) / 4 - 1).is_empty());
        assert!(unsaved(millis(AGE) / 4)[0].is_review);
        assert!(unsaved(millis(AGE) / 2)[0].is_review);

        bookmarks.release(&key(), &reader, millis(AGE));
        bookmarks.left(&key());
        let told = unsaved(millis(AGE) / 2);
        assert!(!told[0].is_held && told[0].is_review);
        assert_eq!(told[0].socket_id, reader.socket_id());
        assert!(unsaved(2 * millis(AGE)).is_empty());
    }

    #[test]
    fn who_loses_its_session_to_another_node_is_told_and_says_nothing_more_of_it() {
        let bookmarks = Bookmarks::new(10, 1 << 20);
        let (reader, connection) = reader(1);
        bookmarks.accept(&key(), &reader, claimed(&[]), None);

        bookmarks.taken(&key().app, "s", "5.5".parse().unwrap());
        assert!(connection.outbox().received().is_empty());
        bookmarks.taken(&key().app, "s", reader.socket_id());

        assert_eq!(connection.outbox().received(), ["close 4010"]);
        bookmarks.release(&key(), &reader, 1);
        bookmarks.left(&key());
        assert!(bookmarks.unsaved(0, 10, |_| Some(AGE)).is_empty());
    }
}
