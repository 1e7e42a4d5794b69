//! What an operator may look at: single connections, and who is on a channel.
//!
//! Nothing is kept for it. A look goes through the channels of the app, so it costs
//! what a list of channels costs, and nothing while nobody looks.

use std::net::IpAddr;
use std::time::Duration;

use fanfare_protocol::{ChannelName, Close, SocketId, UserId};

use super::app::AppHub;
use super::channel::Channel;

/// Looks at a channel whose subscribers a drainer has, and the pause between two.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(5);

/// One connection of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionState {
    /// Its id.
    pub socket_id: SocketId,
    /// Where it comes from.
    pub address: IpAddr,
    /// How long it has been here.
    pub age: Duration,
    /// Since when nothing has come from it.
    pub silence: Duration,
    /// The user that it is signed in as.
    pub user_id: Option<UserId>,
}

impl AppHub {
    /// The connections of this node that come after `after` in the order of their
    /// ids, at most `limit` of them.
    #[must_use]
    pub fn connection_page(&self, after: Option<SocketId>, limit: usize) -> Vec<ConnectionState> {
        let mut ids: Vec<SocketId> = self
            .connections()
            .iter()
            .map(|connection| connection.socket_id)
            .filter(|id| after.is_none_or(|after| *id > after))
            .collect();
        if ids.len() > limit {
            ids.select_nth_unstable(limit);
            ids.truncate(limit);
        }
        ids.sort_unstable();
        let users = self.users.by_connection();
        ids.into_iter()
            .filter_map(|id| self.state_of(id, users.get(&id).cloned()))
            .collect()
    }

    /// One connection of this node.
    #[must_use]
    pub fn connection_state(&self, socket_id: SocketId) -> Option<ConnectionState> {
        self.state_of(socket_id, self.users.user_of(socket_id))
    }

    fn state_of(&self, socket_id: SocketId, user_id: Option<UserId>) -> Option<ConnectionState> {
        let connection = self.connection(socket_id)?;
        let now_ms = self.core().now_ms();
        Some(ConnectionState {
            socket_id,
            address: connection.address,
            age: Duration::from_millis(connection.age_ms(now_ms)),
            silence: Duration::from_millis(connection.silence_ms(now_ms)),
            user_id,
        })
    }

    /// Closes one connection of this node. Returns whether there is such a one.
    pub fn disconnect(&self, socket_id: SocketId, close: &Close) -> bool {
        let connection = self.connection(socket_id);
        if let Some(connection) = &connection {
            connection.outbox().close(close);
        }
        connection.is_some()
    }

    /// The channels that a connection is subscribed to, by name. A channel that is
    /// busy all the time is left out.
    pub async fn channels_of(&self, socket_id: SocketId) -> Vec<ChannelName> {
        let mut found = Vec::new();
        for shard in 0..self.channels.len() {
            let mut busy = self.look_for(shard, None, socket_id, &mut found);
            for _ in 0..LOOKS {
                if busy.is_empty() {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
                busy = self.look_for(shard, Some(&busy), socket_id, &mut found);
            }
        }
        found.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        found
    }

    /// Adds the channels of a shard that the connection is on, among `only` if
    /// that is given, and returns those whose subscribers a drainer has.
    fn look_for(
        &self,
        shard: usize,
        only: Option<&[ChannelName]>,
        socket_id: SocketId,
        found: &mut Vec<ChannelName>,
    ) -> Vec<ChannelName> {
        let shard = self.channels[shard]
            .lock()
            .expect("a shard is never poisoned: no panic under its lock");
        let mut busy = Vec::new();
        let channels: Vec<(&ChannelName, &Channel)> = match only {
            None => shard.channels.iter().collect(),
            Some(only) => only
                .iter()
                .filter_map(|name| shard.channels.get_key_value(name))
                .collect(),
        };
        for (name, record) in channels {
            match record.lane.peers() {
                Some(peers) if peers.has(socket_id) => found.push(name.clone()),
                Some(_) => {}
                None => busy.push(name.clone()),
            }
        }
        busy
    }

    /// The connections of this node on a channel, at most `limit`, in order.
    /// `None` when the channel is busy all the time.
    pub async fn subscribers(&self, channel: &ChannelName, limit: usize) -> Option<Vec<SocketId>> {
        for _ in 0..LOOKS {
            let ids = match self.channel_shard(channel).channels.get(channel) {
                None => Some(Vec::new()),
                Some(record) => record.lane.peers().map(|peers| peers.ids().collect()),
            };
            if let Some(mut ids) = ids {
                ids.sort_unstable();
                ids.truncate(limit);
                return Some(ids);
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }
}
