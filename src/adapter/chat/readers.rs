//! The users who have a page open on this node, and what the broker has to know of
//! them.
//!
//! What is wanted stands here, whether the broker is there or not: whoever follows the
//! hub says who reads, and whoever has a session with the broker takes the differences
//! from here and says what is bound.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use fanfare_protocol::{ChannelName, Limits};
use tokio::sync::Notify;

use crate::adapter::auth::room;

/// What the channel of a user begins with; the id follows.
pub(super) const CHANNEL_PREFIX: &str = "private-user;";

/// Bytes of an id.
const MAX_ID: usize = 64;

/// The id of a user that may stand in a binding: no dot, no `*`, no `#`, with which it
/// would bind the updates of others.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct UserId(Arc<str>);

/// A user with a page on this node.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) id: UserId,
    pub(super) channel: ChannelName,
    /// Updates that came for them.
    updates: AtomicU64,
    /// When the last one came, in Unix milliseconds; 0: none has.
    last_update_ms: AtomicU64,
}

/// All of them. Nothing here waits for the broker.
#[derive(Debug, Default)]
pub(super) struct Readers {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    wanted: HashMap<UserId, Arc<Reader>>,
    bound: HashMap<UserId, Bound>,
    /// Users whose binding may not be as wanted, each once.
    changed: VecDeque<UserId>,
    is_changed: HashSet<UserId>,
}

/// How the updates of a user come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// From a queue of their own.
    Own {
        /// Its name.
        queue: String,
    },
    /// From the one that all users of this node share who have none of their own.
    Shared {
        /// Its name.
        queue: String,
    },
}

/// What a user needs of the broker.
#[derive(Debug)]
pub(super) enum Need {
    /// To be bound.
    Bind(Arc<Reader>),
    /// To be bound no more.
    Release(UserId, Bound),
}

impl UserId {
    /// `None` if the text must not stand in a binding.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        ((1..=MAX_ID).contains(&text.len()) && text.bytes().all(is_plain))
            .then(|| Self(text.into()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose channel it is; `None` if it is no user's. The error is a room of a user whose
/// id must not be bound.
pub(super) fn user_of(channel: &ChannelName) -> Option<Result<UserId, String>> {
    if !channel.as_str().starts_with(CHANNEL_PREFIX) {
        return None;
    }
    let room = room::of_channel(channel.as_str()).ok()?;
    let id = room.strip_prefix("user:")?;
    Some(UserId::parse(id).ok_or_else(|| id.to_owned()))
}

impl Reader {
    pub(super) fn new(id: UserId) -> Self {
        let name = format!("{CHANNEL_PREFIX}{id}");
        Self {
            channel: ChannelName::parse(&name, &Limits::default())
                .expect("an id has few characters, which names of channels have too"),
            id,
            updates: AtomicU64::new(0),
            last_update_ms: AtomicU64::new(0),
        }
    }

    pub(super) fn note_update(&self) {
        self.updates.fetch_add(1, Ordering::Relaxed);
        self.last_update_ms.store(unix_ms(), Ordering::Relaxed);
    }

    pub(super) fn updates(&self) -> u64 {
        self.updates.load(Ordering::Relaxed)
    }

    /// In Unix milliseconds.
    pub(super) fn last_update_ms(&self) -> Option<u64> {
        Some(self.last_update_ms.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }
}

impl Readers {
    /// A page of the user is here.
    pub(super) fn arrive(&self, id: &UserId) {
        let mut state = self.state();
        if state.wanted.contains_key(id) {
            return;
        }
        let reader = Arc::new(Reader::new(id.clone()));
        state.wanted.insert(id.clone(), reader);
        self.note(&mut state, id);
    }

    /// No page of the user is here any more.
    pub(super) fn leave(&self, id: &UserId) {
        let mut state = self.state();
        if state.wanted.remove(id).is_some() {
            self.note(&mut state, id);
        }
    }

    /// The broker has forgotten everything.
    pub(super) fn forget_bindings(&self) {
        let mut state = self.state();
        state.bound.clear();
        let ids: Vec<UserId> = state.wanted.keys().cloned().collect();
        for id in ids {
            self.note(&mut state, &id);
        }
    }

    /// The broker has done what was needed; `None`: the user is bound no more.
    pub(super) fn is_bound(&self, id: &UserId, bound: Option<Bound>) {
        let mut state = self.state();
        let is_wanted = state.wanted.contains_key(id);
        let is_as_wanted = is_wanted == bound.is_some();
        match bound {
            Some(bound) => state.bound.insert(id.clone(), bound),
            None => state.bound.remove(id),
        };
        // It has changed meanwhile.
        if !is_as_wanted {
            self.note(&mut state, id);
        }
    }

    /// The next user of whom the broker does not know what it should. The caller says
    /// [`Self::is_bound`] before the same user is asked about again.
    pub(super) fn next_need(&self, is_busy: impl Fn(&UserId) -> bool) -> Option<Need> {
        let mut state = self.state();
        for _ in 0..state.changed.len() {
            let id = state.changed.pop_front()?;
            if is_busy(&id) {
                state.changed.push_back(id);
                continue;
            }
            state.is_changed.remove(&id);
            match (state.wanted.get(&id), state.bound.get(&id)) {
                (Some(reader), None) => return Some(Need::Bind(Arc::clone(reader))),
                (None, Some(bound)) => {
                    let bound = bound.clone();
                    return Some(Need::Release(id, bound));
                }
                _ => {}
            }
        }
        None
    }

    /// Waits until somebody came or left.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn get(&self, id: &UserId) -> Option<Arc<Reader>> {
        self.state().wanted.get(id).cloned()
    }

    pub(super) fn bound(&self, id: &UserId) -> Option<Bound> {
        self.state().bound.get(id).cloned()
    }

    pub(super) fn ids(&self) -> Vec<UserId> {
        self.state().wanted.keys().cloned().collect()
    }

    /// How many have a page here.
    pub(super) fn count(&self) -> usize {
        self.state().wanted.len()
    }

    /// Those that are bound, in order, at most `limit`.
    pub(super) fn bound_ids(&self, limit: usize) -> Vec<UserId> {
        let mut ids: Vec<UserId> = self.state().bound.keys().cloned().collect();
        ids.sort_unstable();
        ids.truncate(limit);
        ids
    }

    /// How many are bound.
    pub(super) fn bound_count(&self) -> usize {
        self.state().bound.len()
    }

    fn note(&self, state: &mut State, id: &UserId) {
        if state.is_changed.insert(id.clone()) {
            state.changed.push_back(id.clone());
        }
        self.changed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> UserId {
        UserId::parse(text).unwrap()
    }

    fn need(readers: &Readers) -> String {
        match readers.next_need(|_| false) {
            Some(Need::Bind(reader)) => format!("+{}", reader.id),
            Some(Need::Release(id, _)) => format!("-{id}"),
            None => String::new(),
        }
    }

    fn own() -> Option<Bound> {
        Some(Bound::Own {
            queue: "q".to_owned(),
        })
    }

    fn user(channel: &str) -> Option<Result<String, String>> {
        let channel = ChannelName::parse(channel, &Limits::default()).unwrap();
        user_of(&channel).map(|user| user.map(|id| id.to_string()))
    }

    #[test]
    fn c3_evil_user_id() {
        assert_eq!(user("private-user;usr_1"), Some(Ok("usr_1".to_owned())));
        assert_eq!(user("private-user;a.b"), Some(Err("a.b".to_owned())));
        // `*` and `#` as the rule for names writes them.
        assert_eq!(user("private-user;=Kg"), Some(Err("*".to_owned())));
        assert_eq!(user("private-user;=Iw"), Some(Err("#".to_owned())));
        assert_eq!(user("private-user;a;b"), Some(Err("a:b".to_owned())));
        for other in [
            "private-dialog;1",
            "presence-user;1",
            "private-user;=dXNyXzE",
        ] {
            assert_eq!(user(other), None, "{other}");
        }
        for text in ["", "a b", "a.*", "ü", "a\n", &"a".repeat(65)] {
            assert_eq!(UserId::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_broker_is_told_the_differences_once() {
        let readers = Readers::default();
        readers.arrive(&id("a"));
        readers.arrive(&id("a"));
        readers.arrive(&id("b"));
        readers.leave(&id("b"));

        assert_eq!(
            (need(&readers), need(&readers)),
            ("+a".into(), String::new())
        );
        // Left and came back while it was being bound.
        readers.leave(&id("a"));
        readers.arrive(&id("a"));
        readers.is_bound(&id("a"), own());
        assert_eq!(need(&readers), "");
        // Left while it was being bound again, after a crash.
        readers.forget_bindings();
        assert_eq!(need(&readers), "+a");
        readers.leave(&id("a"));
        readers.is_bound(&id("a"), own());
        assert_eq!(need(&readers), "-a");
        readers.is_bound(&id("a"), None);
        assert_eq!(need(&readers), "");
        assert_eq!(readers.bound_count(), 0);
    }

    #[test]
    fn a_user_at_whom_somebody_works_waits() {
        let readers = Readers::default();
        readers.arrive(&id("a"));
        readers.arrive(&id("b"));

        let first = readers.next_need(|user| *user == id("a"));

        assert!(matches!(first, Some(Need::Bind(reader)) if reader.id == id("b")));
        assert!(readers.next_need(|user| *user == id("a")).is_none());
        assert_eq!(need(&readers), "+a");
    }
}
