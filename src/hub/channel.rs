//! One channel of one app that is occupied on this node.
//!
//! Decides what a coming or going means and puts the messages for it into the
//! channel's lane. All of it happens under the lock of the channel's shard; no
//! message is sent here.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use fanfare_protocol::error::ClientError;
use fanfare_protocol::{ChannelKind, ChannelName, Frame, ServerMessage, SocketId, UserId};
use tokio::sync::oneshot;

use super::connection::Connection;
use super::engine::{CachedEvent, Elsewhere, Occupancy, Roll, SharedState};
use super::events::HubEventKind;
use super::history::Replay;
use super::lane::{Lane, Op};
use super::presence::{Joined, Member, Members};

/// Subscriptions above which the count is told at intervals instead of at once.
const COUNT_AT_ONCE: usize = 100;

/// The interval, in milliseconds.
const COUNT_INTERVAL_MS: u64 = 5_000;

/// A `cache_miss` is reported once per channel in this time, in milliseconds.
const CACHE_MISS_INTERVAL_MS: u64 = 5_000;

/// What the app of a channel asks for, as far as the channel needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChannelRules {
    pub(super) subscription_count: bool,
    pub(super) presence_members: usize,
}

/// One channel with at least one subscriber, or one on its way.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) lane: Lane,
    /// Connections of this node.
    subscriptions: usize,
    /// Connections of other nodes.
    elsewhere: usize,
    /// Subscribers that wait for the engine; they keep the channel alive.
    pub(super) joining: usize,
    /// Whether the engine sends what other nodes publish here.
    pub(super) is_attached: bool,
    members: Option<Box<Members>>,
    /// Replica of what the engine keeps, in order with the lane.
    cached: Option<Box<CachedEvent>>,
    count_told: usize,
    count_told_ms: Option<u64>,
    cache_miss_ms: Option<u64>,
}

/// A subscription that went through, for the caller to report and wait for.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) events: Vec<HubEventKind>,
    /// Set when somebody else will send the greeting.
    pub(super) greeted: Option<oneshot::Receiver<()>>,
}

impl Channel {
    pub(super) fn new(name: &ChannelName) -> Self {
        Self {
            lane: Lane::new(),
            subscriptions: 0,
            elsewhere: 0,
            joining: 0,
            is_attached: false,
            members: (name.kind() == ChannelKind::Presence).then(Box::default),
            cached: None,
            count_told: 0,
            count_told_ms: None,
            cache_miss_ms: None,
        }
    }

    /// Whether nobody is here and nothing is under way.
    pub(super) fn is_deserted(&self) -> bool {
        self.subscriptions == 0 && self.joining == 0
    }

    /// Takes over what the engine told, once.
    pub(super) fn attached(&mut self, state: SharedState) {
        if self.is_attached {
            return;
        }
        self.is_attached = true;
        // A publication that came while the engine was answering is newer.
        if self.cached.is_none() {
            self.cached = state.cached.map(Box::new);
        }
    }

    /// Lets a connection in: the greeting, the news for the others, the count.
    pub(super) fn enter(
        &mut self,
        name: &ChannelName,
        peer: Arc<Connection>,
        member: Option<&Member>,
        replay: Option<Replay>,
        rules: ChannelRules,
        now_ms: u64,
    ) -> Result<Entered, ClientError> {
        let mut events = Vec::new();
        let socket_id = peer.socket_id;
        let is_first_of_user = self.join_members(name, member, rules)?;
        self.subscriptions += 1;
        if self.subscriptions == 1 && name.kind() != ChannelKind::ServerToUser {
            events.push(HubEventKind::Occupied {
                channel: name.clone(),
            });
        }
        if let (true, Some(member)) = (is_first_of_user, member) {
            // Stands before the join, so that it does not reach the joiner.
            let user_info = member.user_info.as_ref().map(|info| info.get());
            self.publish(
                ServerMessage::MemberAdded {
                    channel: name,
                    user_id: &member.user_id,
                    user_info,
                }
                .encode(),
                None,
            );
            events.push(HubEventKind::MemberAdded {
                channel: name.clone(),
                user_id: member.user_id.clone(),
            });
        }
        let (greeting, missed) = self.greeting(name, replay.as_ref(), now_ms);
        let (done, greeted) = self.completion();
        self.lane.push(Op::Join {
            peer,
            greeting,
            replay: replay
                .filter(|replay| !replay.events.is_empty())
                .map(Box::new),
            done,
        });
        events.push(HubEventKind::Subscribed {
            channel: name.clone(),
            socket_id,
            user_id: member.map(|member| member.user_id.clone()),
        });
        if missed {
            events.push(HubEventKind::CacheMiss {
                channel: name.clone(),
            });
        }
        self.tell_count(name, rules, now_ms, &mut events);
        Ok(Entered { events, greeted })
    }

    /// Returns whether the user is new here.
    fn join_members(
        &mut self,
        name: &ChannelName,
        member: Option<&Member>,
        rules: ChannelRules,
    ) -> Result<bool, ClientError> {
        let (Some(members), Some(member)) = (&mut self.members, member) else {
            return Ok(false);
        };
        match members.join(member, rules.presence_members) {
            Joined::First => Ok(true),
            Joined::Again => Ok(false),
            Joined::Full => Err(ClientError::PresenceFull {
                channel: name.to_string(),
                limit: rules.presence_members,
            }),
        }
    }

    /// Lets a connection go. The caller knows that it is subscribed.
    pub(super) fn leave(
        &mut self,
        name: &ChannelName,
        socket_id: SocketId,
        user_id: Option<&UserId>,
        rules: ChannelRules,
        now_ms: u64,
    ) -> Entered {
        let mut events = Vec::new();
        let (done, greeted) = self.completion();
        self.lane.push(Op::Leave { socket_id, done });
        self.subscriptions -= 1;
        events.push(HubEventKind::Unsubscribed {
            channel: name.clone(),
            socket_id,
            user_id: user_id.cloned(),
        });
        if let (Some(members), Some(user_id)) = (&mut self.members, user_id)
            && members.leave(user_id)
        {
            self.publish(
                ServerMessage::MemberRemoved {
                    channel: name,
                    user_id,
                }
                .encode(),
                None,
            );
            events.push(HubEventKind::MemberRemoved {
                channel: name.clone(),
                user_id: user_id.clone(),
            });
        }
        if self.subscriptions > 0 {
            self.tell_count(name, rules, now_ms, &mut events);
        } else {
            // Whoever comes before this record is forgotten has been told nothing.
            self.count_told = 0;
        }
        if self.subscriptions == 0 && name.kind() != ChannelKind::ServerToUser {
            events.push(HubEventKind::Vacated {
                channel: name.clone(),
            });
        }
        Entered { events, greeted }
    }

    /// Takes over what other nodes have, and tells the subscribers what is new.
    pub(super) fn elsewhere(
        &mut self,
        name: &ChannelName,
        change: &Elsewhere,
        rules: ChannelRules,
        now_ms: u64,
    ) {
        self.elsewhere = change.subscriptions;
        for frame in self.members_elsewhere(name, change) {
            self.publish(frame, None);
        }
        if self.subscriptions > 0 {
            // The node where the number changed has reported it.
            self.tell_count(name, rules, now_ms, &mut Vec::new());
        }
    }

    fn members_elsewhere(&mut self, name: &ChannelName, change: &Elsewhere) -> Vec<Frame> {
        let mut frames = Vec::new();
        let Some(members) = &mut self.members else {
            return frames;
        };
        let mut gone = change.gone.clone();
        if change.is_whole {
            let stay: HashSet<&UserId> = change.came.iter().map(|member| &member.user_id).collect();
            gone.extend(
                members
                    .elsewhere()
                    .filter(|user_id| !stay.contains(user_id))
                    .cloned(),
            );
        }
        for user_id in &gone {
            if members.go_elsewhere(user_id) {
                let removed = ServerMessage::MemberRemoved {
                    channel: name,
                    user_id,
                };
                frames.push(removed.encode());
            }
        }
        for member in &change.came {
            if members.come_elsewhere(member) {
                let added = ServerMessage::MemberAdded {
                    channel: name,
                    user_id: &member.user_id,
                    user_info: member.user_info.as_ref().map(|info| info.get()),
                };
                frames.push(added.encode());
            }
        }
        frames
    }

    /// A member of a presence channel who has a connection on this node.
    pub(super) fn member(&self, user_id: &UserId) -> Option<Member> {
        self.members.as_ref()?.member(user_id)
    }

    /// What this node has, for the others.
    pub(super) fn roll(&self) -> Roll {
        Roll {
            subscriptions: self.subscriptions,
            members: self
                .members
                .iter()
                .flat_map(|members| members.here())
                .collect(),
        }
    }

    /// Puts a frame in line for all subscribers but one.
    pub(super) fn publish(&mut self, frame: Frame, except: Option<SocketId>) {
        self.publish_since(frame, except, None);
    }

    /// As [`Self::publish`], and times the way to the last subscriber when `since`
    /// is given.
    pub(super) fn publish_since(
        &mut self,
        frame: Frame,
        except: Option<SocketId>,
        since: Option<Instant>,
    ) {
        self.lane.push(Op::Publish {
            frame,
            except,
            since,
        });
    }

    /// Remembers the event that later subscribers get.
    pub(super) fn cache(&mut self, event: CachedEvent) {
        self.cached = Some(Box::new(event));
    }

    /// The first messages of a new subscriber, and whether the cache missed in a
    /// way that is worth reporting.
    fn greeting(
        &mut self,
        name: &ChannelName,
        replay: Option<&Replay>,
        now_ms: u64,
    ) -> (Vec<Frame>, bool) {
        let success = match &self.members {
            Some(members) => ServerMessage::PresenceSucceeded {
                channel: name,
                members: &members.snapshot(),
            }
            .encode(),
            None => ServerMessage::SubscriptionSucceeded { channel: name }.encode(),
        };
        let mut greeting = vec![success];
        if let Some(reason) = replay.and_then(|replay| replay.gap) {
            let channel = name;
            greeting.push(ServerMessage::Gap { channel, reason }.encode());
        }
        if !name.is_cache() {
            return (greeting, false);
        }
        let now = Instant::now();
        let cached = self
            .cached
            .as_ref()
            .filter(|event| event.seconds_left(now).is_some());
        if let Some(event) = cached {
            if !replay.is_some_and(|replay| replay.makes_up_for(&event.frame)) {
                greeting.push(event.frame.clone());
            }
            return (greeting, false);
        }
        let is_due = self
            .cache_miss_ms
            .is_none_or(|told_ms| now_ms.saturating_sub(told_ms) >= CACHE_MISS_INTERVAL_MS);
        if is_due {
            self.cache_miss_ms = Some(now_ms);
        }
        greeting.push(ServerMessage::CacheMiss { channel: name }.encode());
        (greeting, is_due)
    }

    /// Tells the count now, or leaves it to the sweep in a large channel.
    fn tell_count(
        &mut self,
        name: &ChannelName,
        rules: ChannelRules,
        now_ms: u64,
        events: &mut Vec<HubEventKind>,
    ) {
        let is_counted = rules.subscription_count && is_counted(name);
        let count = self.subscriptions.saturating_add(self.elsewhere);
        let is_too_early = count > COUNT_AT_ONCE
            && self
                .count_told_ms
                .is_some_and(|told_ms| now_ms.saturating_sub(told_ms) < COUNT_INTERVAL_MS);
        if !is_counted || is_too_early || count == self.count_told {
            return;
        }
        self.count_told = count;
        self.count_told_ms = Some(now_ms);
        self.publish(
            ServerMessage::SubscriptionCount {
                channel: name,
                count,
            }
            .encode(),
            None,
        );
        events.push(HubEventKind::SubscriptionCount {
            channel: name.clone(),
            count,
        });
    }

    /// Tells a count that was put off; the sweep calls this.
    pub(super) fn tell_late_count(
        &mut self,
        name: &ChannelName,
        rules: ChannelRules,
        now_ms: u64,
    ) -> Vec<HubEventKind> {
        let mut events = Vec::new();
        if self.subscriptions > 0 {
            self.tell_count(name, rules, now_ms, &mut events);
        }
        events
    }

    /// Something to wait for, when another task works on the lane: the messages
    /// of one connection are processed in order, so it has to wait its turn.
    fn completion(&self) -> (Option<oneshot::Sender<()>>, Option<oneshot::Receiver<()>>) {
        if !self.lane.is_draining() {
            return (None, None);
        }
        let (done, completed) = oneshot::channel();
        (Some(done), Some(completed))
    }

    /// Whether the subscribers have been told another count than there is.
    pub(super) fn has_late_count(&self, name: &ChannelName) -> bool {
        is_counted(name)
            && self.subscriptions > 0
            && self.count_told != self.subscriptions.saturating_add(self.elsewhere)
    }

    pub(super) fn is_occupied(&self) -> bool {
        self.subscriptions > 0
    }

    pub(super) fn occupancy(&self, name: &ChannelName) -> Occupancy {
        Occupancy {
            channel: name.clone(),
            subscriptions: self.subscriptions.saturating_add(self.elsewhere),
            users: self.members.as_ref().map_or(0, |members| members.count()),
        }
    }

    pub(super) fn user_ids(&self) -> Vec<UserId> {
        self.members
            .iter()
            .flat_map(|members| members.ids().cloned())
            .collect()
    }
}

/// Whether subscribers of this kind of channel are told how many they are.
fn is_counted(name: &ChannelName) -> bool {
    !matches!(
        name.kind(),
        ChannelKind::Presence | ChannelKind::ServerToUser
    )
}
