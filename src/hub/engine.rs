//! What the hub needs from the deployment around it, and what it tells it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_protocol::{AppId, ChannelName, EventId, Frame, SocketId, UserId};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::app::AppHub;
use super::presence::Member;
use crate::apps::HistoryRule;

/// The nodes cannot talk to one another at the moment.
#[derive(Debug, thiserror::Error)]
#[error("the other nodes are out of reach: {0}")]
pub struct EngineError(pub String);

impl EngineError {
    fn alone() -> Self {
        Self("there are none".to_owned())
    }
}

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

/// An event of a channel whose past the engine keeps, with the place that it has in
/// the order of all nodes.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its place.
    pub id: EventId,
    /// The event before it, or a place before which nothing is known.
    pub before: EventId,
    /// The message, with its id.
    pub frame: Frame,
    /// The connection that does not get it.
    pub except: Option<SocketId>,
    /// Set when later subscribers of a cache channel are to get it as well.
    pub cached: Option<CachedEvent>,
    /// The number that this node gave it; `None` when another node has published it.
    pub own: Option<u64>,
}

/// A part of the past of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastRange {
    /// Without this event and those before it; `None`: from the oldest on.
    pub after: Option<EventId>,
    /// Without those after this one; `None`: to the newest.
    pub until: Option<EventId>,
    /// Events at most.
    pub limit: usize,
}

/// What the engine has of it.
#[derive(Clone, Debug)]
pub struct SharedPast {
    /// All events after this one are kept.
    pub floor: EventId,
    /// Whoever comes now is up to date with this position.
    pub head: EventId,
    /// The events, in order.
    pub events: Vec<Recorded>,
}

/// A connection that wants the session that it has named.
#[derive(Clone, Copy, Debug)]
pub struct SessionClaim<'a> {
    /// The app.
    pub app: &'a AppId,
    /// The session's name.
    pub name: &'a str,
    /// The connection.
    pub socket_id: SocketId,
    /// Who it is, if that is known.
    pub user: Option<&'a UserId>,
    /// Whether sessions belong to users.
    pub is_bound_to_user: bool,
    /// How long a session is kept after its client has gone.
    pub age: Duration,
    /// Sessions of the app that are kept at most.
    pub max_sessions: usize,
}

/// What a connection is to the session that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The session is its own.
    Holder,
    /// The session belongs to a user, and this one is not known yet: it may see
    /// how far the session is, and change nothing.
    Guest,
    /// The session belongs to another user.
    Stranger,
}

/// What the deployment says to a [`SessionClaim`].
#[derive(Clone, Debug)]
pub struct ClaimedSession {
    /// Whose the session is.
    pub role: Role,
    /// How far it is in its channels; nothing for a stranger.
    pub positions: Vec<(ChannelName, EventId)>,
    /// Its earlier connections.
    pub sockets: Vec<SocketId>,
}

/// How far a session is, for the engine to keep.
#[derive(Clone, Debug)]
pub struct SessionState {
    /// The app.
    pub app: AppId,
    /// The session's name.
    pub name: Box<str>,
    /// The connection that holds it, or has held it last.
    pub socket_id: SocketId,
    /// Whether that is still there.
    pub is_held: bool,
    /// Whose it is.
    pub user: Option<UserId>,
    /// How far it is in its channels.
    pub positions: Vec<(ChannelName, EventId)>,
    /// Its connections.
    pub sockets: Vec<SocketId>,
    /// Whether a position behind which nothing has come is to be moved to the
    /// present, so that it does not grow old.
    pub is_review: bool,
    /// When its connection took it while the engine was out of reach, if that has not
    /// been told yet: whoever had taken it before does not count.
    pub taken_alone: Option<Instant>,
    /// How long it is kept.
    pub age: Duration,
}

/// A last in the deployment, of which nobody outside it has been told yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Departure {
    /// The app.
    pub app: AppId,
    /// The channel.
    pub channel: ChannelName,
    /// The user who left, or nobody when the channel lost its last subscriber.
    pub user_id: Option<UserId>,
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

/// What this node has of a channel, for the engine to tell the others.
#[derive(Clone, Debug, Default)]
pub struct Roll {
    /// Connections of this node that are subscribed.
    pub subscriptions: usize,
    /// Users of a presence channel who have a connection on this node.
    pub members: Vec<Member>,
}

/// What the other nodes together have of a channel.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere {
    /// Connections of other nodes that are subscribed.
    pub subscriptions: usize,
    /// Users who have a connection on another node, and had none before.
    pub came: Vec<Member>,
    /// Users who have no connection on another node any more.
    pub gone: Vec<UserId>,
    /// Whether `came` is all there is: who is not in it has gone.
    pub is_whole: bool,
}

/// How well the engine reaches the deployment.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Why the other nodes are out of reach; `None` while all is well.
    pub degraded: Option<String>,
    /// Name, meaning, value and kind of what it counts.
    pub figures: Vec<Figure>,
}

/// Something that an engine counts, for the metrics.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// The name of the metric.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// How much it is.
    pub value: u64,
    /// Whether it can fall again.
    pub is_gauge: bool,
}

impl Figure {
    /// What can fall again.
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str, value: u64) -> Self {
        Self {
            name,
            help,
            value,
            is_gauge: true,
        }
    }

    /// What only grows.
    #[must_use]
    pub const fn total(name: &'static str, help: &'static str, value: u64) -> Self {
        Self {
            name,
            help,
            value,
            is_gauge: false,
        }
    }
}

/// Knows what other nodes may ask of this one.
pub trait Respondent: Debug + Send + Sync {
    /// The answer to a question; `None` when it is not understood. Questions come
    /// from outside, as everything that Redis hands over.
    fn answer<'a>(&'a self, question: &'a [u8]) -> BoxFuture<'a, Option<Vec<u8>>>;
}

/// A question that is under way to the other nodes.
#[derive(Debug)]
pub struct Inquiry {
    answers: Option<mpsc::Receiver<Vec<u8>>>,
    deadline: Instant,
    /// Nodes that have not answered yet.
    missing: usize,
}

impl Inquiry {
    /// For `others` nodes, none of which can be asked.
    #[must_use]
    pub fn nobody(others: usize) -> Self {
        Self {
            answers: None,
            deadline: Instant::now(),
            missing: others,
        }
    }

    /// `others` nodes will answer into `answers`, or not, within `patience`.
    #[must_use]
    pub fn new(answers: mpsc::Receiver<Vec<u8>>, others: usize, patience: Duration) -> Self {
        Self {
            answers: Some(answers),
            deadline: Instant::now() + patience,
            missing: others,
        }
    }

    /// The next answer; `None` when all have answered, or the time is over.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        if self.missing == 0 {
            return None;
        }
        let next = self.answers.as_mut()?.recv();
        let answer = tokio::time::timeout_at(self.deadline.into(), next)
            .await
            .ok()??;
        self.missing -= 1;
        Some(answer)
    }

    /// How many nodes have not answered, so far.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.missing
    }
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
    /// `channel`, and [`AppHub::elsewhere`] has been told what they have of it.
    /// Called for the first subscriber of this node, and possibly by several of
    /// them at the same time. An engine that is out of reach of the others
    /// completes as well, and makes up for it when it is back.
    fn attach<'a>(
        &'a self,
        app: &'a AppId,
        channel: &'a ChannelName,
    ) -> BoxFuture<'a, Result<SharedState, EngineError>>;

    /// What [`AppHub::roll`] tells of `channel` has changed. Returns at once;
    /// called under the channel's lock, so that it cannot pass a later
    /// [`Self::attach`]. Only an engine that is clustered is told.
    fn changed(&self, app: &AppId, channel: &ChannelName);

    /// From its completion on, this node hears when one of `users` comes online
    /// or goes offline on other nodes, and [`AppHub::user_elsewhere`] has been
    /// told of those who are online. Only an engine that is clustered is asked.
    fn attach_users<'a>(&'a self, app: &'a AppId, users: Vec<UserId>) -> BoxFuture<'a, ()>;

    /// What [`AppHub::user_roll`] tells of `user` has changed. Returns at once.
    /// Only an engine that is clustered is told.
    fn user_changed(&self, app: &AppId, user: &UserId);

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

    /// Claims departures whose time to be held back is over: those that nobody
    /// returned for, and that no other node has claimed. Takes as long as the
    /// others are out of reach. Only an engine that is clustered is asked: it
    /// holds every departure for the whole deployment, so that one that is
    /// reported here may end elsewhere.
    fn claim(&self, departures: Vec<Departure>) -> BoxFuture<'static, Vec<Departure>> {
        Box::pin(std::future::ready(departures))
    }

    /// Notes that this node has used `here` of the app's messages of a day, and
    /// returns what the others have used, as far as is known. Returns at once.
    fn used_elsewhere(&self, app: &AppId, day: u64, here: u64) -> u64 {
        let _ = (app, day, here);
        0
    }

    /// Gives `publication` the next place in the past of its channel, hands it to the
    /// nodes that have subscribers, and to this one: it comes back through
    /// [`AppHub::recorded`], in the order of all nodes, with `number`. `number`s of
    /// one channel grow. Returns at once. False while the others are out of reach:
    /// then it comes back when they are there again, if too much does not wait for
    /// them by then. Only an engine that is clustered is asked.
    fn record(&self, publication: &Publication, number: u64, rule: &HistoryRule) -> bool {
        let _ = (publication, number, rule);
        false
    }

    /// The past of a channel. Only an engine that is clustered is asked.
    fn past<'a>(
        &'a self,
        app: &'a AppId,
        channel: &'a ChannelName,
        range: PastRange,
        rule: &'a HistoryRule,
    ) -> BoxFuture<'a, Result<SharedPast, EngineError>> {
        let _ = (app, channel, range, rule);
        Box::pin(std::future::ready(Err(EngineError::alone())))
    }

    /// Has the engine look again at the past of a channel of which this node has
    /// missed something. Returns at once. Only an engine that is clustered is asked.
    fn catch_up(&self, app: &AppId, channel: &ChannelName) {
        let _ = (app, channel);
    }

    /// Gives a connection the session that it names, if it may have it; the
    /// connection that held it, on whatever node, is closed. Only an engine that is
    /// clustered is asked.
    fn claim_session<'a>(
        &'a self,
        claim: SessionClaim<'a>,
    ) -> BoxFuture<'a, Result<ClaimedSession, EngineError>> {
        let _ = claim;
        Box::pin(std::future::ready(Err(EngineError::alone())))
    }

    /// Asks all other nodes; their [`Respondent`]s answer. Only an engine that is
    /// clustered has others.
    fn ask<'a>(&'a self, question: &'a [u8]) -> BoxFuture<'a, Inquiry> {
        let _ = question;
        Box::pin(std::future::ready(Inquiry::nobody(0)))
    }

    /// How well the deployment is reached.
    fn health(&self) -> Health {
        Health::default()
    }
}
