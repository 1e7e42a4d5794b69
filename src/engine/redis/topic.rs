//! One topic that concerns this node: what the registry was told of it, and the call
//! that makes the registry say what the hub has.
//!
//! Decides only; [`super::registry`] makes the calls.

use std::collections::BTreeMap;
use std::time::Duration;

use fanfare_protocol::UserId;

use super::edge::{Change, Edge, report, report_here};
use super::keys::{Partition, Subject, TopicId};
use super::message::Delta;
use super::replica::{Part, Replica, UserInfo};
use super::script::{Mode, Sync};
use super::{Shared, holds};
use crate::hub::engine::Elsewhere;
use crate::hub::{Hub, Member};

/// Users of this node: what the registry was told of them.
pub(super) type Told = Part;

/// One topic that concerns this node.
#[derive(Debug, Default)]
pub(super) struct Topic {
    pub(super) is_subscribed: bool,
    /// Whether the replica has to be filled.
    pub(super) wants_whole: bool,
    /// Whether the registry may have lost what it was told.
    pub(super) must_restore: bool,
    pub(super) told: Told,
    /// The version of the topic at that time.
    pub(super) told_version: u64,
    /// Sent, and not answered yet.
    pub(super) request: Option<Request>,
    pub(super) replica: Replica,
}

#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) number: String,
    pub(super) target: Told,
    pub(super) came: Vec<Member>,
    pub(super) gone: Vec<UserId>,
}

/// A request on its way, with what the call borrows.
pub(super) struct Call {
    pub(super) id: TopicId,
    pub(super) name: String,
    pub(super) partition: Partition,
    pub(super) mode: Mode,
    pub(super) known: Vec<Member>,
    pub(super) request: Request,
    pub(super) known_count: usize,
    pub(super) message: String,
    pub(super) wants_whole: bool,
    pub(super) hold_back: Duration,
}

impl Topic {
    /// The call that makes the registry say `target` of this node, if any is needed.
    /// `number` is for a request that was not made before.
    pub(super) fn call(
        &mut self,
        shared: &Shared,
        hub: &Hub,
        id: &TopicId,
        target: &Told,
        number: u64,
    ) -> Option<Call> {
        if self.request.is_none() {
            let came = members_without(target, &self.told);
            let gone = users_without(&self.told, target);
            let is_changed =
                !came.is_empty() || !gone.is_empty() || target.count != self.told.count;
            let must_restore = self.must_restore && self.told.count > 0;
            if !is_changed && !must_restore && !self.wants_whole {
                self.must_restore = false;
                return None;
            }
            self.request = Some(Request {
                number: number.to_string(),
                target: target.clone(),
                came,
                gone,
            });
        }
        let request = self.request.clone()?;
        let mode = if self.must_restore {
            Mode::Restore
        } else {
            Mode::Change
        };
        let is_changed = !request.came.is_empty()
            || !request.gone.is_empty()
            || request.target.count != self.told.count
            || mode == Mode::Restore;
        let name = id.name();
        Some(Call {
            partition: shared.keys.partition(&id.app, &name),
            message: if is_changed {
                delta(&shared.node(), &request, mode).encode()
            } else {
                String::new()
            },
            known: if mode == Mode::Restore {
                members(&self.told.members)
            } else {
                Vec::new()
            },
            known_count: self.told.count,
            wants_whole: self.wants_whole,
            hold_back: holds::hold_back(shared, hub, id),
            id: id.clone(),
            name,
            mode,
            request,
        })
    }
}

impl Call {
    /// As the script takes it.
    pub(super) fn sync<'a>(&'a self, node: &'a str, publish_command: &'a str) -> Sync<'a> {
        Sync {
            partition: &self.partition,
            node,
            name: &self.name,
            publish_command,
            request: &self.request.number,
            mode: self.mode,
            count: self.request.target.count,
            known_count: self.known_count,
            known: &self.known,
            came: &self.request.came,
            gone: &self.request.gone,
            message: &self.message,
            wants_whole: self.wants_whole,
            hold_back: self.hold_back,
        }
    }

    /// Reports what a call of this node meant, edges or not.
    pub(super) fn report(&self, hub: &Hub, before: &Told, edges: &[Edge]) {
        report(hub, &self.id.app, &self.name, edges);
        // What was known before an outage has been reported before it.
        if self.mode == Mode::Restore {
            return;
        }
        let mut only_here = Vec::new();
        let now = &self.request.target;
        if before.count == 0 && now.count > 0 {
            only_here.push(Change::Occupied);
        }
        let came = self.request.came.iter();
        only_here.extend(came.map(|member| Change::Added(member.user_id.clone())));
        let gone = self.request.gone.iter();
        only_here.extend(gone.map(|user_id| Change::Removed(user_id.clone())));
        if before.count > 0 && now.count == 0 {
            only_here.push(Change::Vacated);
        }
        only_here.retain(|change| !edges.iter().any(|edge| edge.change == *change));
        for change in only_here {
            report_here(hub, &self.id.app, &self.name, change);
        }
    }
}

/// What this node has of a topic; `None` when it needs no news of it.
pub(super) fn here(hub: &Hub, id: &TopicId) -> Option<Told> {
    let app = hub.find(&id.app)?;
    match &id.subject {
        Subject::Channel(channel) => {
            let roll = app.roll(channel)?;
            let members = roll.members.into_iter();
            Some(Told {
                count: roll.subscriptions,
                members: members
                    .map(|member| (member.user_id, member.user_info))
                    .collect(),
            })
        }
        Subject::User(user) => Some(Told {
            count: app.user_roll(user)?,
            members: BTreeMap::new(),
        }),
    }
}

/// Tells the hub what others have.
pub(super) fn tell(hub: &Hub, id: &TopicId, elsewhere: &Elsewhere) {
    let Some(app) = hub.find(&id.app) else {
        return;
    };
    match &id.subject {
        Subject::Channel(channel) => app.elsewhere(channel, elsewhere),
        Subject::User(user) => app.user_elsewhere(user, elsewhere.subscriptions > 0),
    }
}

fn delta(node: &str, request: &Request, mode: Mode) -> Delta {
    let texts = |members: &[Member]| {
        members
            .iter()
            .map(|member| (member.user_id.to_string(), member.user_info.clone()))
            .collect()
    };
    let is_restored = mode == Mode::Restore;
    Delta {
        node: node.to_owned(),
        count: request.target.count,
        is_whole: is_restored,
        is_restored,
        came: if is_restored {
            texts(&members(&request.target.members))
        } else {
            texts(&request.came)
        },
        gone: if is_restored {
            Vec::new()
        } else {
            request.gone.iter().map(UserId::to_string).collect()
        },
    }
}

fn members(list: &BTreeMap<UserId, UserInfo>) -> Vec<Member> {
    list.iter()
        .map(|(user_id, user_info)| Member {
            user_id: user_id.clone(),
            user_info: user_info.clone(),
        })
        .collect()
}

fn members_without(list: &Told, other: &Told) -> Vec<Member> {
    let new = list
        .members
        .iter()
        .filter(|(user_id, _)| !other.members.contains_key(*user_id));
    new.map(|(user_id, user_info)| Member {
        user_id: user_id.clone(),
        user_info: user_info.clone(),
    })
    .collect()
}

fn users_without(list: &Told, other: &Told) -> Vec<UserId> {
    let old = list.members.keys();
    old.filter(|user_id| !other.members.contains_key(*user_id))
        .cloned()
        .collect()
}

pub(super) fn is_same(one: &Told, other: &Told) -> bool {
    one.count == other.count && one.members.keys().eq(other.members.keys())
}
