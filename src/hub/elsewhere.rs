//! Where the hub and its engine meet: what this node has, for the other nodes,
//! and what they have, for the clients of this one.
//!
//! The engine decides when and in what order; here it only takes effect. All of
//! it may be called again with the same news.

use std::sync::Arc;

use fanfare_protocol::{ChannelName, Frame, SocketId, UserId};

use super::app::{AppHub, Audience, INLINE_WRITES};
use super::channel::Channel;
use super::engine::{CachedEvent, Elsewhere, Roll};
use super::users::SignedIn;

impl AppHub {
    /// What this node has of `channel`; `None` when it needs no news of it.
    #[must_use]
    pub fn roll(&self, channel: &ChannelName) -> Option<Roll> {
        let shard = self.channel_shard(channel);
        shard.channels.get(channel).map(Channel::roll)
    }

    /// Takes over what other nodes have of `channel`, and tells its subscribers.
    pub fn elsewhere(self: &Arc<Self>, channel: &ChannelName, change: &Elsewhere) {
        let now_ms = self.core().now_ms();
        let work = {
            let mut shard = self.channel_shard(channel);
            let Some(record) = shard.channels.get_mut(channel) else {
                return;
            };
            record.elsewhere(channel, change, self.rules(), now_ms);
            let work = record.lane.take_work();
            self.put_off_count(&mut shard, channel);
            work
        };
        self.drain(channel, work);
    }

    /// Delivers what another node has published. A channel whose subscribers do
    /// not keep up misses it, as it would if the network had lost it; returns
    /// whether that is so.
    pub fn deliver_from_elsewhere(
        self: &Arc<Self>,
        channel: &ChannelName,
        frame: Frame,
        except: Option<SocketId>,
        cached: Option<CachedEvent>,
    ) -> bool {
        if self.audience(channel) == Audience::Full {
            return false;
        }
        let mut budget = INLINE_WRITES;
        self.deliver(channel, frame, except, cached, Some(&mut budget));
        true
    }

    /// Notes what this node has used of the messages of a day, and returns what the
    /// others have.
    #[must_use]
    pub fn used_elsewhere(&self, day: u64, here: u64) -> u64 {
        self.core().engine.used_elsewhere(self.id(), day, here)
    }

    /// The channels that this node has a record of.
    #[must_use]
    pub fn channels_here(&self) -> Vec<ChannelName> {
        let mut names = Vec::new();
        for shard in &self.channels {
            let shard = shard
                .lock()
                .expect("a shard is never poisoned: no panic under its lock");
            names.extend(shard.channels.keys().cloned());
        }
        names
    }

    /// How many connections of this node are signed in as `user`; `None` when it
    /// needs no news of that user.
    #[must_use]
    pub fn user_roll(&self, user: &UserId) -> Option<usize> {
        self.users.roll(user)
    }

    /// Takes over whether another node has a connection of `user`, and tells
    /// those who watch it.
    pub fn user_elsewhere(self: &Arc<Self>, user: &UserId, is_online: bool) {
        if self.users.elsewhere(user, is_online) {
            let app = Arc::clone(self);
            self.core()
                .tasks
                .spawn(async move { app.users.drain().await });
        }
    }

    /// Forgets what other nodes have of a user who concerns nobody here.
    pub fn forget_user(&self, user: &UserId) {
        self.users.forget(user);
    }

    /// The users who are signed in or watched on this node.
    #[must_use]
    pub fn users_here(&self) -> Vec<UserId> {
        self.users.ids()
    }

    /// Waits until the state of the user and of those whom it watches is known.
    pub(super) async fn attach_users(&self, signed_in: &SignedIn) {
        let mut users = vec![signed_in.user_id.clone()];
        users.extend(signed_in.watchlist.iter().cloned());
        self.core().engine.attach_users(&self.app().id, users).await;
    }

    /// Has the engine look whether this node still needs news of `users`.
    pub(super) fn watches_changed(&self, users: &[UserId]) {
        if !self.core().is_clustered {
            return;
        }
        for user in users {
            self.core().engine.user_changed(&self.app().id, user);
        }
    }
}
