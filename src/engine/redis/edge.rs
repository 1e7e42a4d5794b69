//! Firsts and lasts of the deployment, and how they are reported.

use fanfare_protocol::channel::MAX_CHANNEL_NAME_LENGTH;
use fanfare_protocol::{AppId, ChannelKind, ChannelName, Limits, UserId};

use super::keys::{Subject, TopicId};
use crate::hub::{Hub, HubEvent, HubEventKind, Scope};

/// A first or a last in the deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) change: Change,
    /// The departure before it was still held back, and is not told.
    pub(super) is_return: bool,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Occupied,
    Vacated,
    Added(UserId),
    Removed(UserId),
}

impl Edge {
    /// Reads what a script tells.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, user) = (*text.as_bytes().first()?, text.get(1..)?);
        let user_id = || UserId::new(user);
        let (change, is_return) = match kind {
            b'o' => (Change::Occupied, false),
            b'O' => (Change::Occupied, true),
            b'v' => (Change::Vacated, false),
            b'+' => (Change::Added(user_id()), false),
            b'*' => (Change::Added(user_id()), true),
            b'-' => (Change::Removed(user_id()), false),
            _ => return None,
        };
        Some(Self { change, is_return })
    }
}

/// Reports firsts and lasts of the deployment.
pub(super) fn report(hub: &Hub, app: &AppId, name: &str, edges: &[Edge]) {
    for edge in edges {
        tracing::debug!(app.id = %app, topic = name, ?edge, "first or last of the deployment");
        report_one(hub, app, name, Scope::Cluster, edge);
    }
}

/// Reports a change that others had, or still have.
pub(super) fn report_here(hub: &Hub, app: &AppId, name: &str, change: Change) {
    let edge = Edge {
        change,
        is_return: false,
    };
    report_one(hub, app, name, Scope::Node, &edge);
}

fn report_one(hub: &Hub, app: &AppId, name: &str, scope: Scope, edge: &Edge) {
    if let Some(kind) = event(name, &edge.change) {
        hub.report(HubEvent {
            app: app.clone(),
            scope,
            is_return: edge.is_return,
            kind,
        });
    }
}

fn event(name: &str, change: &Change) -> Option<HubEventKind> {
    match known_topic(&AppId::new(""), name)?.subject {
        Subject::Channel(channel) if channel.kind() == ChannelKind::ServerToUser => None,
        Subject::Channel(channel) => Some(match change {
            Change::Occupied => HubEventKind::Occupied { channel },
            Change::Vacated => HubEventKind::Vacated { channel },
            Change::Added(user_id) => HubEventKind::MemberAdded {
                channel,
                user_id: user_id.clone(),
            },
            Change::Removed(user_id) => HubEventKind::MemberRemoved {
                channel,
                user_id: user_id.clone(),
            },
        }),
        Subject::User(user_id) => match change {
            Change::Occupied => Some(HubEventKind::UserOnline { user_id }),
            Change::Vacated => Some(HubEventKind::UserOffline { user_id }),
            Change::Added(_) | Change::Removed(_) => None,
        },
    }
}

/// The topic of a name in the registry, which comes from a node that has checked
/// it.
pub(super) fn known_topic(app: &AppId, name: &str) -> Option<TopicId> {
    let limits = Limits {
        channel_name_length: MAX_CHANNEL_NAME_LENGTH,
        ..Limits::default()
    };
    topic_id(app, name, &limits)
}

/// The topic of a name that anybody may have sent.
pub(super) fn topic_id(app: &AppId, name: &str, limits: &Limits) -> Option<TopicId> {
    if let Some(channel) = name.strip_prefix('c') {
        let channel = ChannelName::parse(channel, limits).ok()?;
        return Some(TopicId::channel(app, &channel));
    }
    let user = name.strip_prefix('u')?;
    Some(TopicId::user(app, &UserId::new(user)))
}
