//! The signed-in users of one app, and who watches whom.
//!
//! A user is online while at least one connection is signed in with its id. All
//! changes of an app take one lock, and what they mean for others goes through
//! one queue with one drainer, as in a channel's lane: so a watcher never sees
//! "online" and "offline" in the wrong order, and the first list it gets fits
//! exactly to the changes after it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use fanfare_protocol::{Frame, ServerMessage, SocketId, UserId};
use tokio::sync::oneshot;

use super::connection::Connection;
use super::drain::WRITES_PER_YIELD;

/// The users of one app who are signed in or watched on this node.
#[derive(Debug, Default)]
pub(super) struct Users {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    users: HashMap<UserId, User>,
    /// A connection waits for the notice of its sign-in, and can only make one
    /// more by leaving: there are at most two for each connection, and what the
    /// engine hears from other nodes in the time of one turn of the drainer.
    notices: VecDeque<Notice>,
    is_draining: bool,
}

/// A user who is online, or watched, or both.
#[derive(Debug, Default)]
struct User {
    /// Those of this node.
    connections: HashMap<SocketId, Arc<Connection>>,
    /// Whether another node has a connection of this user.
    is_elsewhere: bool,
    watchers: HashMap<SocketId, Arc<Connection>>,
}

/// Frames for some connections, in their turn.
#[derive(Debug)]
struct Notice {
    receivers: Vec<Arc<Connection>>,
    frames: Vec<Frame>,
    done: Option<oneshot::Sender<()>>,
}

/// The user of one connection, as its session keeps it.
#[derive(Clone, Debug)]
pub(super) struct SignedIn {
    pub(super) user_id: UserId,
    pub(super) watchlist: Vec<UserId>,
}

/// What a sign-in or sign-out changed for the whole app.
#[derive(Debug)]
pub(super) struct Changed {
    /// Whether the user came online, or went offline.
    pub(super) is_edge: bool,
    /// Completes when everybody concerned has been told.
    pub(super) told: oneshot::Receiver<()>,
    /// Whether the caller has to see to it that [`Users::drain`] runs.
    pub(super) must_drain: bool,
}

impl Users {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("the users are never poisoned: no panic under their lock")
    }

    /// Signs `connection` in, or renews its sign-in with another watchlist.
    ///
    /// `greeting` goes to the connection first, then the state of the users that
    /// it watches.
    pub(super) fn sign_in(
        &self,
        connection: &Arc<Connection>,
        signed_in: &SignedIn,
        previous: Option<&SignedIn>,
        mut greeting: Vec<Frame>,
    ) -> Changed {
        let mut state = self.lock();
        if let Some(previous) = previous {
            state.unwatch(connection.socket_id, &previous.watchlist);
        }
        let is_edge = state.come(connection, &signed_in.user_id);
        if is_edge {
            state.tell_watchers(&signed_in.user_id, true);
        }
        let (online, offline) = state.watch(connection, &signed_in.watchlist);
        if !signed_in.watchlist.is_empty() {
            greeting.push(
                ServerMessage::WatchlistEvents {
                    online: &online,
                    offline: &offline,
                }
                .encode(),
            );
        }
        state.finish(is_edge, vec![Arc::clone(connection)], greeting)
    }

    /// Signs a connection out because it is gone.
    pub(super) fn sign_out(&self, socket_id: SocketId, signed_in: &SignedIn) -> Changed {
        let mut state = self.lock();
        state.unwatch(socket_id, &signed_in.watchlist);
        let is_edge = state.go(socket_id, &signed_in.user_id);
        if is_edge {
            state.tell_watchers(&signed_in.user_id, false);
        }
        state.finish(is_edge, Vec::new(), Vec::new())
    }

    /// Sends what is queued, until nothing is. Only one task does it at a time.
    pub(super) async fn drain(&self) {
        loop {
            let notices = {
                let mut state = self.lock();
                let notices = std::mem::take(&mut state.notices);
                if notices.is_empty() {
                    state.is_draining = false;
                    return;
                }
                notices
            };
            for notice in notices {
                for receivers in notice.receivers.chunks(WRITES_PER_YIELD) {
                    for receiver in receivers {
                        receiver.outbox().push(&notice.frames);
                    }
                    tokio::task::yield_now().await;
                }
                // The waiting connection may have gone in the meantime.
                let _ = notice.done.map(|done| done.send(()));
            }
        }
    }

    /// Notes whether another node has a connection of `user`. Returns whether
    /// the caller has to see to it that [`Self::drain`] runs.
    pub(super) fn elsewhere(&self, user_id: &UserId, is_online: bool) -> bool {
        let mut state = self.lock();
        // Made when it is not there: a watcher may be on its way.
        let user = state.users.entry(user_id.clone()).or_default();
        let was_online = user.is_online();
        user.is_elsewhere = is_online;
        let is_edge = user.is_online() != was_online;
        if user.is_of_no_concern() && !is_online {
            state.users.remove(user_id);
            return false;
        }
        if is_edge {
            state.tell_watchers(user_id, is_online);
        }
        let must_drain = !state.notices.is_empty() && !state.is_draining;
        state.is_draining |= must_drain;
        must_drain
    }

    /// The connections of this node, if `user` is signed in or watched here.
    pub(super) fn roll(&self, user_id: &UserId) -> Option<usize> {
        let state = self.lock();
        let user = state.users.get(user_id)?;
        (!user.is_of_no_concern()).then_some(user.connections.len())
    }

    /// Those who are signed in or watched here.
    pub(super) fn ids(&self) -> Vec<UserId> {
        let state = self.lock();
        state
            .users
            .iter()
            .filter(|(_, user)| !user.is_of_no_concern())
            .map(|(user_id, _)| user_id.clone())
            .collect()
    }

    /// Forgets what other nodes have of a user who concerns nobody here.
    pub(super) fn forget(&self, user_id: &UserId) {
        let mut state = self.lock();
        if state.users.get(user_id).is_some_and(User::is_of_no_concern) {
            state.users.remove(user_id);
        }
    }

    /// The user that a connection is signed in as. Looks at all users.
    pub(super) fn user_of(&self, socket_id: SocketId) -> Option<UserId> {
        let state = self.lock();
        let mut users = state.users.iter();
        users
            .find(|(_, user)| user.connections.contains_key(&socket_id))
            .map(|(user_id, _)| user_id.clone())
    }

    /// The users of all connections that are signed in.
    pub(super) fn by_connection(&self) -> HashMap<SocketId, UserId> {
        let state = self.lock();
        let mut users = HashMap::new();
        for (user_id, user) in &state.users {
            users.extend(user.connections.keys().map(|id| (*id, user_id.clone())));
        }
        users
    }

    /// The connections that are signed in as `user`.
    pub(super) fn connections(&self, user: &UserId) -> Vec<Arc<Connection>> {
        self.lock()
            .users
            .get(user)
            .map(|user| user.connections.values().cloned().collect())
            .unwrap_or_default()
    }
}

impl User {
    /// On this node or on another one.
    fn is_online(&self) -> bool {
        self.is_elsewhere || !self.connections.is_empty()
    }

    /// Whether nobody here is this user or watches it.
    fn is_of_no_concern(&self) -> bool {
        self.connections.is_empty() && self.watchers.is_empty()
    }
}

impl State {
    /// Returns whether the user was offline before.
    fn come(&mut self, connection: &Arc<Connection>, user_id: &UserId) -> bool {
        let user = self.users.entry(user_id.clone()).or_default();
        let was_offline = !user.is_online();
        user.connections
            .insert(connection.socket_id, Arc::clone(connection));
        was_offline
    }

    /// Returns whether the user is offline now.
    fn go(&mut self, socket_id: SocketId, user_id: &UserId) -> bool {
        let Some(user) = self.users.get_mut(user_id) else {
            return false;
        };
        let was_there = user.connections.remove(&socket_id).is_some();
        let is_offline = was_there && !user.is_online();
        // The watchers are told before an empty record could be dropped.
        if user.is_of_no_concern() {
            self.users.remove(user_id);
        }
        is_offline
    }

    /// Returns the watched users that are online, and those that are not.
    fn watch(
        &mut self,
        connection: &Arc<Connection>,
        watchlist: &[UserId],
    ) -> (Vec<UserId>, Vec<UserId>) {
        watchlist.iter().cloned().partition(|user_id| {
            let user = self.users.entry(user_id.clone()).or_default();
            user.watchers
                .insert(connection.socket_id, Arc::clone(connection));
            user.is_online()
        })
    }

    fn unwatch(&mut self, socket_id: SocketId, watchlist: &[UserId]) {
        for user_id in watchlist {
            let Some(user) = self.users.get_mut(user_id) else {
                continue;
            };
            user.watchers.remove(&socket_id);
            if user.is_of_no_concern() {
                self.users.remove(user_id);
            }
        }
    }

    fn tell_watchers(&mut self, user_id: &UserId, is_online: bool) {
        let Some(user) = self
            .users
            .get(user_id)
            .filter(|user| !user.watchers.is_empty())
        else {
            return;
        };
        let changed = std::slice::from_ref(user_id);
        let (online, offline) = if is_online {
            (changed, &[][..])
        } else {
            (&[][..], changed)
        };
        let frame = ServerMessage::WatchlistEvents { online, offline }.encode();
        let receivers = user.watchers.values().cloned().collect();
        self.notices.push_back(Notice {
            receivers,
            frames: vec![frame],
            done: None,
        });
    }

    /// Closes a change with the notice that its own connection waits for. Since
    /// every connection waits for its turn, the queue is never longer than there
    /// are connections.
    fn finish(
        &mut self,
        is_edge: bool,
        receivers: Vec<Arc<Connection>>,
        frames: Vec<Frame>,
    ) -> Changed {
        let (done, told) = oneshot::channel();
        self.notices.push_back(Notice {
            receivers,
            frames,
            done: Some(done),
        });
        let must_drain = !self.is_draining;
        self.is_draining = true;
        Changed {
            is_edge,
            told,
            must_drain,
        }
    }
}
