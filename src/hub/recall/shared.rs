//! The past of channels in a deployment of many nodes: events go out to the engine
//! and come back with a place; what this node does not have is fetched.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fanfare_protocol::server_message::GapReason;
use fanfare_protocol::{ChannelName, EventId, ServerMessage, UserId};

use super::super::app::{AppHub, ChannelShard, INLINE_WRITES};
use super::super::bookmarks::{Reader, SessionKey};
use super::super::channel::Channel;
use super::super::engine::{
    EngineError, PastRange, Publication, Recorded, Role, SessionClaim, SharedPast,
};
use super::super::history::{Arrival, Page, UnderWay, Unsent};
use super::Recollection;
use crate::apps::HistoryRule;

/// How often a past is fetched for one subscriber. What comes from other nodes while
/// the first answer is on its way begins the copy at another place; the second one
/// fits.
const FETCHES: usize = 4;

impl AppHub {
    /// As [`Self::deliver`], for a channel whose past the engine keeps: the event
    /// reaches the subscribers of this node as well when it comes back, or at once
    /// while the engine is out of reach.
    pub(in crate::hub) fn hand_over(
        self: &Arc<Self>,
        publication: Publication,
        budget: Option<&mut usize>,
    ) {
        let channel = publication.channel.clone();
        let figures = &self.core().history;
        let app = self.app();
        let Some(rule) = app.history_of(&channel) else {
            // The rules have changed this moment.
            self.core().engine.publish(&publication);
            let Publication {
                frame,
                except,
                cached,
                ..
            } = publication;
            self.deliver(&channel, frame, except, cached, budget);
            return;
        };
        let work = {
            let mut guard = self.channel_shard(&channel);
            let ChannelShard { channels, past, .. } = &mut *guard;
            // Under the lock, so that what comes later is also later there.
            let number = self.core().next_number();
            let comes_back = self.core().engine.record(&publication, number, rule);
            channels.get_mut(&channel).and_then(|record| {
                let event = UnderWay {
                    number,
                    frame: publication.frame,
                    except: publication.except,
                    is_sent: !comes_back,
                };
                let frames = past.set_out(&channel, event, figures);
                if let Some(event) = publication.cached.filter(|_| !comes_back) {
                    record.cache(event);
                }
                publish_all(record, frames);
                match budget {
                    Some(budget) => record.lane.take_work().map(|work| (work, budget)),
                    None => None,
                }
            })
        };
        if figures.is_over() {
            self.core().make_room();
        }
        if let Some((work, budget)) = work {
            self.drain_within(&channel, Some(work), budget);
        }
    }

    /// Takes events that have come from the engine, in order. One that is not the
    /// next has the engine look for those before it.
    pub fn recorded(self: &Arc<Self>, channel: &ChannelName, events: Vec<Recorded>) {
        let figures = &self.core().history;
        let now_ms = self.core().unix_ms();
        let work = {
            let mut guard = self.channel_shard(channel);
            let ChannelShard { channels, past, .. } = &mut *guard;
            let Some(record) = channels.get_mut(channel) else {
                return;
            };
            for event in events {
                match past.arrive(channel, &event, now_ms, figures) {
                    Arrival::Next => {}
                    Arrival::Known => continue,
                    Arrival::Hole => {
                        self.core().engine.catch_up(self.id(), channel);
                        break;
                    }
                }
                if let Some(cached) = event.cached {
                    record.cache(cached);
                }
                let has_room = record.lane.has_room();
                if past.cut(channel, !has_room) {
                    tell_gap(record, channel, GapReason::Lost);
                    figures.gaps.fetch_add(1, Ordering::Relaxed);
                }
                if has_room {
                    record.publish(event.frame, event.except);
                }
            }
            record.lane.take_work()
        };
        if figures.is_over() {
            self.core().make_room();
        }
        self.drain_within(channel, work, &mut { INLINE_WRITES });
    }

    /// Up to where this node has the past of a channel with subscribers here: the
    /// position, or `None` when it knows nothing of it; nothing at all when it needs
    /// nothing.
    #[must_use]
    pub fn end_of_past(&self, channel: &ChannelName) -> Option<Option<EventId>> {
        let shard = self.channel_shard(channel);
        let is_needed = shard.channels.contains_key(channel) && shard.past.is_copy(channel);
        is_needed.then(|| shard.past.end(channel))
    }

    /// Whether a channel has subscribers here who may have missed something, now that
    /// what comes was asked for anew.
    #[must_use]
    pub fn may_have_missed(&self, channel: &ChannelName) -> bool {
        let mut shard = self.channel_shard(channel);
        shard.past.doubt(channel);
        let record = shard.channels.get(channel);
        record.is_some_and(Channel::is_occupied) && shard.past.is_copy(channel)
    }

    /// Takes what the engine has after `after`, which [`Self::end_of_past`] has told.
    pub fn caught_up(
        self: &Arc<Self>,
        channel: &ChannelName,
        after: Option<EventId>,
        past: SharedPast,
    ) {
        if after.is_none() {
            let range = PastRange {
                after: None,
                until: None,
                limit: 0,
            };
            if !self.take_past(channel, &range, past) {
                // Somebody was faster, perhaps with less.
                self.core().engine.catch_up(self.id(), channel);
            }
            return;
        }
        let work = {
            let mut guard = self.channel_shard(channel);
            let ChannelShard {
                channels,
                past: all,
                ..
            } = &mut *guard;
            let Some(record) = channels.get_mut(channel) else {
                return;
            };
            let figures = &self.core().history;
            if all.skip_to(channel, past.floor, figures) {
                figures.gaps.fetch_add(1, Ordering::Relaxed);
                tell_gap(record, channel, GapReason::History);
            }
            record.lane.take_work()
        };
        self.drain(channel, work);
        self.recorded(channel, past.events);
    }

    /// Takes over what was fetched. Where nothing was known before, those who are here
    /// are told that they may have missed something. Returns whether it fits.
    fn take_past(
        self: &Arc<Self>,
        channel: &ChannelName,
        range: &PastRange,
        past: SharedPast,
    ) -> bool {
        let figures = &self.core().history;
        let (fits, work) = {
            let mut guard = self.channel_shard(channel);
            let ChannelShard {
                channels,
                past: all,
                ..
            } = &mut *guard;
            let was_unknown = all.unknown(channel).is_some();
            let fits = all.fill(channel, range, past, self.core().unix_ms(), figures);
            let here = channels
                .get_mut(channel)
                .filter(|record| fits && was_unknown && record.is_occupied());
            let work = here.and_then(|record| {
                all.begin_readers(channel);
                tell_gap(record, channel, GapReason::Unavailable);
                record.lane.take_work()
            });
            (fits, work)
        };
        if figures.is_over() {
            self.core().make_room();
        }
        self.drain(channel, work);
        fits
    }

    /// The engine is out of reach: sends the subscribers of this node what has not
    /// come back.
    pub fn go_alone(self: &Arc<Self>) {
        if !self.has_history() {
            return;
        }
        for shard in &self.channels {
            let mut todo = Vec::new();
            {
                let mut guard = shard
                    .lock()
                    .expect("a shard is never poisoned: no panic under its lock");
                let ChannelShard { channels, past, .. } = &mut *guard;
                for (channel, frames) in past.send_ahead() {
                    if let Some(record) = channels.get_mut(&channel) {
                        publish_all(record, frames);
                        todo.push((channel, record.lane.take_work()));
                    }
                }
            }
            for (channel, work) in todo {
                self.drain(&channel, work);
            }
        }
    }

    /// Begins this node's copy of a past that the engine keeps. Returns whether the
    /// channel has one.
    pub(in crate::hub) fn expect_past(&self, channel: &ChannelName) -> bool {
        if !self.core().is_clustered || !self.has_history() {
            return false;
        }
        let app = self.app();
        let Some(rule) = app.history_of(channel) else {
            return false;
        };
        let mut shard = self.channel_shard(channel);
        shard.past.expect(channel, rule.into());
        true
    }

    /// Fetches what a subscriber may need of it. Without the engine there is only
    /// what is here.
    pub(in crate::hub) async fn fetch_past(
        self: &Arc<Self>,
        channel: &ChannelName,
        recollection: Option<&Recollection>,
    ) {
        let Some(rule) = self.app().history_of(channel).cloned() else {
            return;
        };
        let position = recollection.and_then(|seen| seen.position(channel));
        let missing = self.channel_shard(channel).past.missing(channel, position);
        if let Some((_, filling)) = missing {
            let _filling = filling.lock().await;
            for _ in 0..FETCHES {
                // Somebody else may have fetched it meanwhile.
                let missing = self.channel_shard(channel).past.missing(channel, position);
                let Some((range, _)) = missing else {
                    break;
                };
                let engine = &self.core().engine;
                match engine.past(self.id(), channel, range.clone(), &rule).await {
                    Ok(past) => {
                        if self.take_past(channel, &range, past) {
                            break;
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, app.id = %self.id(), "the past of a channel is out of reach");
                        return;
                    }
                }
            }
        }
        // A client of another node may have got what has not come here so far.
        let end = self.channel_shard(channel).past.end(channel);
        if let (Some(end), Some(position)) = (end, position)
            && position > end
        {
            let range = PastRange {
                after: Some(end),
                until: None,
                limit: rule.events,
            };
            let engine = &self.core().engine;
            if let Ok(past) = engine.past(self.id(), channel, range, &rule).await {
                self.caught_up(channel, Some(end), past);
            }
        }
    }

    /// Gives a connection the session that it names, if it may have it.
    pub(in crate::hub) async fn claim_session(
        &self,
        key: &SessionKey,
        reader: &Arc<Reader>,
        user: Option<&UserId>,
        is_bound_to_user: bool,
    ) -> Role {
        let bookmarks = self.core().bookmarks();
        if self.core().is_clustered {
            let claim = SessionClaim {
                app: self.id(),
                name: &key.name,
                socket_id: reader.socket_id(),
                user,
                is_bound_to_user,
                age: self.session_age(),
                max_sessions: bookmarks.max_sessions(),
            };
            match self.core().engine.claim_session(claim).await {
                Ok(claimed) => {
                    let user = user.filter(|_| is_bound_to_user);
                    return bookmarks.accept(key, reader, claimed, user);
                }
                Err(error) => {
                    tracing::debug!(%error, app.id = %self.id(), "a session is known here only");
                }
            }
        }
        let role = bookmarks.claim(key, reader, user, is_bound_to_user);
        if self.core().is_clustered && role == Role::Holder {
            bookmarks.held_alone(key);
        }
        role
    }

    /// A page of the past as the engine has it.
    pub(super) async fn shared_page(
        &self,
        channel: &ChannelName,
        after: Option<EventId>,
        limit: usize,
        max_bytes: usize,
        rule: &HistoryRule,
    ) -> Result<Page, EngineError> {
        let range = PastRange {
            after,
            until: None,
            limit: limit + 1,
        };
        let engine = &self.core().engine;
        let past = engine.past(self.id(), channel, range, rule).await?;
        let mut bytes = 0;
        let mut events = Vec::new();
        let mut has_more = false;
        for event in past.events {
            bytes += event.frame.as_websocket().len();
            if events.len() == limit || (bytes > max_bytes && !events.is_empty()) {
                has_more = true;
                break;
            }
            events.push((event.id, event.frame));
        }
        Ok(Page {
            events,
            has_more,
            is_complete: after.is_some_and(|after| after >= past.floor),
        })
    }
}

fn publish_all(record: &mut Channel, frames: Unsent) {
    for (frame, except) in frames {
        record.publish(frame, except);
    }
}

fn tell_gap(record: &mut Channel, channel: &ChannelName, reason: GapReason) {
    record.publish(ServerMessage::Gap { channel, reason }.encode(), None);
}
