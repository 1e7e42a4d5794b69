//! What the hub tells the rest of the server about the comings and goings.
//!
//! One bounded stream: webhooks, usage, console and adapters read it. A reader
//! that falls behind loses the oldest events and is told how many; the hub never
//! waits for one. While nobody reads, nothing is made.

use std::sync::Arc;

use fanfare_protocol::{AppId, ChannelName, SocketId, UserId};
use tokio::sync::broadcast;

use super::engine::Departure;

/// Events that wait for the slowest reader before it loses the oldest.
const CAPACITY: usize = 8_192;

/// How far something reaches: a change, or a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This node only. A change: others had, or still have, what came or went.
    Node,
    /// The whole deployment. A change: the first, or the last, of all nodes.
    Cluster,
}

/// Something that happened in one app.
#[derive(Clone, Debug)]
pub struct HubEvent {
    /// The app.
    pub app: AppId,
    /// How far the change reaches.
    pub scope: Scope,
    /// Who came was gone for a moment only: the deployment holds the departure
    /// back and will not tell it. Never set where there is one node.
    pub is_return: bool,
    /// What happened.
    pub kind: HubEventKind,
}

/// The kinds of [`HubEvent`]. Events of one channel come in order: occupied
/// before member added, member removed before vacated.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HubEventKind {
    /// A client connected.
    ConnectionOpened {
        /// Its id.
        socket_id: SocketId,
    },
    /// A client is gone.
    ConnectionClosed {
        /// Its id.
        socket_id: SocketId,
    },
    /// A channel got its first subscription.
    Occupied {
        /// The channel.
        channel: ChannelName,
    },
    /// A channel lost its last subscription.
    Vacated {
        /// The channel.
        channel: ChannelName,
    },
    /// A user's first connection came to a presence channel.
    MemberAdded {
        /// The channel.
        channel: ChannelName,
        /// The user.
        user_id: UserId,
    },
    /// A user's last connection left a presence channel.
    MemberRemoved {
        /// The channel.
        channel: ChannelName,
        /// The user.
        user_id: UserId,
    },
    /// A connection subscribed.
    Subscribed {
        /// The channel.
        channel: ChannelName,
        /// The connection.
        socket_id: SocketId,
        /// The user, on presence channels.
        user_id: Option<UserId>,
    },
    /// A connection unsubscribed, by wish or by leaving.
    Unsubscribed {
        /// The channel.
        channel: ChannelName,
        /// The connection.
        socket_id: SocketId,
        /// The user, on presence channels.
        user_id: Option<UserId>,
    },
    /// The number of subscriptions was told to the subscribers.
    SubscriptionCount {
        /// The channel.
        channel: ChannelName,
        /// Connections.
        count: usize,
    },
    /// A client event was accepted.
    ClientEvent {
        /// The channel.
        channel: ChannelName,
        /// Its name.
        event: Arc<str>,
        /// Its data, as the receivers get it.
        data: Arc<str>,
        /// The sender.
        socket_id: SocketId,
        /// The sender's user, on presence channels.
        user_id: Option<UserId>,
    },
    /// A subscription met an empty cache channel.
    CacheMiss {
        /// The channel.
        channel: ChannelName,
    },
    /// Most of the messages of this day are used up; told once a day.
    QuotaWarning {
        /// Messages that the day has.
        limit: u64,
    },
    /// A departure that was reported on another node, which will not tell it: that
    /// node is dead, or fell behind.
    Inherited(Departure),
    /// A user's first connection signed in.
    UserOnline {
        /// The user.
        user_id: UserId,
    },
    /// A user's last signed-in connection is gone.
    UserOffline {
        /// The user.
        user_id: UserId,
    },
}

impl HubEventKind {
    /// Whether it tells of a first or a last. With other nodes around, only the
    /// engine knows whether it was.
    #[must_use]
    pub fn is_edge(&self) -> bool {
        matches!(
            self,
            Self::Occupied { .. }
                | Self::Vacated { .. }
                | Self::MemberAdded { .. }
                | Self::MemberRemoved { .. }
                | Self::UserOnline { .. }
                | Self::UserOffline { .. }
        )
    }
}

/// The writing end of the stream.
#[derive(Debug)]
pub(super) struct HubEvents {
    sender: broadcast::Sender<HubEvent>,
}

impl HubEvents {
    pub(super) fn new() -> Self {
        Self {
            sender: broadcast::Sender::new(CAPACITY),
        }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<HubEvent> {
        self.sender.subscribe()
    }

    /// Makes and sends an event, if anybody reads. What happens to a connection
    /// happens on one node, so that it is the deployment's news as well.
    pub(super) fn emit(&self, app: &AppId, kind: impl FnOnce() -> HubEventKind) {
        self.emit_scoped(app, Scope::Cluster, kind);
    }

    /// As [`Self::emit`], for a change of the given reach.
    pub(super) fn emit_scoped(
        &self,
        app: &AppId,
        scope: Scope,
        kind: impl FnOnce() -> HubEventKind,
    ) {
        if self.sender.receiver_count() == 0 {
            return;
        }
        self.send(HubEvent {
            app: app.clone(),
            scope,
            is_return: false,
            kind: kind(),
        });
    }

    /// Sends an event as it is.
    pub(super) fn send(&self, event: HubEvent) {
        // When nobody reads, nobody misses it.
        let _ = self.sender.send(event);
    }
}
