//! What the hub needs from the deployment around it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use fanfare_protocol::{AppId, ChannelName, Frame, SocketId, UserId};
use futures_util::future::BoxFuture;

use super::app::AppHub;

/// The nodes cannot talk to one another at the moment.
#[derive(Debug, thiserror::Error)]
#[error("the other nodes are out of reach: {0}")]
pub struct EngineError(pub String);

/// One event on its way to the subscribers of one channel.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The app.
    pub app: AppId,
    /// The channel.
    pub channel: ChannelName,
    /// The message, encoded once.
    pub frame: Frame,
    /// The connection that does not get it, on whatever node it is.
    pub except: Option<SocketId>,
    /// Set when later subscribers of a cache channel are to get it as well.
    pub cached: Option<CachedEvent>,
}

/// The last event of a cache channel.
#[derive(Clone, Debug)]
pub struct CachedEvent {
    /// The message that a new subscriber gets.
    pub frame: Frame,
    /// Its `data`, for the HTTP API.
    pub data: Arc<str>,
    /// When it is forgotten.
    pub expires: Instant,
}

impl CachedEvent {
    /// Whole seconds until it is forgotten; `None` when it already is.
    #[must_use]
    pub fn seconds_left(&self, now: Instant) -> Option<u64> {
        let left = self.expires.checked_duration_since(now)?;
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        (seconds > 0).then_some(seconds)
    }
}

/// What the deployment knows of a channel that this node has just joined.
#[derive(Clone, Debug, Default)]
pub struct SharedState {
    /// The event that a cache channel keeps.
    pub cached: Option<CachedEvent>,
}

/// How a channel is occupied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// The channel.
    pub channel: ChannelName,
    /// Connections subscribed.
    pub subscriptions: usize,
    /// Distinct users, on presence channels.
    pub users: usize,
}

/// What the nodes of one deployment share.
///
/// Delivery between nodes is at most once: a node that loses touch misses the
/// events of that time, and goes on serving its own connections. Questions are
/// answered for the whole deployment; `local` is this node's part of the answer.
pub trait Engine: Debug + Send + Sync {
    /// Whether there are other nodes, so that a publication matters even while
    /// nobody listens here.
    fn is_clustered(&self) -> bool;

    /// Hands `publication` to the other nodes that have subscribers, and keeps
    /// it when it is to be cached. Returns at once; an engine that cannot keep
    /// up drops the oldest and counts it.
    ///
    /// Called before the local delivery, so that a subscriber who comes in
    /// between finds a cached event in one of the two places.
    fn publish(&self, publication: &Publication);

    /// From its completion on, this node hears what the others publish on
    /// `channel`. Called for the first subscriber of this node, and possibly by
    /// several of them at the same time.
    fn attach<'a>(
        &'a self,
        app: &'a AppId,
        channel: &'a ChannelName,
    ) -> BoxFuture<'a, Result<SharedState, EngineError>>;

    /// This node has no subscriber of `channel` any more. Returns at once; called
    /// under the channel's lock, so that it cannot pass a later [`Self::attach`].
    fn detach(&self, app: &AppId, channel: &ChannelName);

    /// The event that a cache channel keeps.
    fn cached<'a>(
        &'a self,
        app: &'a AppId,
        channel: &'a ChannelName,
    ) -> BoxFuture<'a, Result<Option<CachedEvent>, EngineError>>;

    /// The occupied channels whose names start with `prefix`.
    fn channels<'a>(
        &'a self,
        local: &'a AppHub,
        prefix: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Occupancy>, EngineError>>;

    /// How one channel is occupied; zeros if it is not.
    fn occupancy<'a>(
        &'a self,
        local: &'a AppHub,
        channel: &'a ChannelName,
    ) -> BoxFuture<'a, Result<Occupancy, EngineError>>;

    /// The distinct users of a presence channel.
    fn users<'a>(
        &'a self,
        local: &'a AppHub,
        channel: &'a ChannelName,
    ) -> BoxFuture<'a, Result<Vec<UserId>, EngineError>>;

    /// Tells the other nodes to close the connections signed in as `user`.
    fn terminate(&self, app: &AppId, user: &UserId);
}
