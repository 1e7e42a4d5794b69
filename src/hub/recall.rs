//! Where the channels of an app and their past meet: what is kept of a publication,
//! what a returning subscriber is given, and when it is asked how far it is.
//!
//! Costs an app without a history one look at a flag per publication.

mod shared;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fanfare_protocol::frame::Draft;
use fanfare_protocol::server_message::GapReason;
use fanfare_protocol::{ChannelName, EventId, SocketId};

use super::app::{AppHub, ChannelShard, SHARDS};
use super::bookmarks::{Question, Reader, SessionKey};
use super::engine::{CachedEvent, Publication, Role};
use super::history::{Bounds, Page, Replay, Standing};
use super::lane::Op;
use super::publisher::Origin;
use crate::apps::App;

/// What a subscriber says about what it has seen.
#[derive(Clone, Debug)]
pub(super) struct Recollection {
    /// Of itself: the last event that it has handled.
    pub(super) last_event_id: Option<String>,
    /// By the session that it has named.
    pub(super) session: Option<(Arc<Reader>, Role)>,
}

impl Recollection {
    fn standing(&self, channel: &ChannelName) -> Standing {
        if let Some(id) = &self.last_event_id {
            return match id.parse() {
                Ok(id) => Standing::Told(id),
                Err(_) => Standing::Unknown(GapReason::UnknownEvent),
            };
        }
        match &self.session {
            Some((_, Role::Stranger)) => Standing::Unknown(GapReason::OtherUser),
            None => Standing::Unknown(GapReason::New),
            Some((reader, Role::Holder | Role::Guest)) => match reader.position(channel) {
                Some(position) => Standing::Session(position),
                None => Standing::Unknown(GapReason::New),
            },
        }
    }

    /// Up to where it has got, if anybody knows.
    fn position(&self, channel: &ChannelName) -> Option<EventId> {
        match self.standing(channel) {
            Standing::Session(position) | Standing::Told(position) => Some(position),
            Standing::Unknown(_) => None,
        }
    }

    fn reader(&self) -> Option<&Arc<Reader>> {
        let (reader, role) = self.session.as_ref()?;
        (*role != Role::Stranger).then_some(reader)
    }
}

/// A publication on a channel with a history.
pub(super) struct Recording<'a> {
    pub(super) channel: &'a ChannelName,
    pub(super) bounds: Bounds,
    pub(super) draft: Draft,
    pub(super) except: Option<SocketId>,
    /// Set when later subscribers of a cache channel are to get it as well: its
    /// data, and when it is forgotten.
    pub(super) cached: Option<(Arc<str>, Instant)>,
}

impl AppHub {
    /// Whether any channel of the app has a history.
    pub(super) fn has_history(&self) -> bool {
        self.has_history.load(Ordering::Relaxed)
    }

    /// How long a session is kept whose client has gone.
    pub(super) fn session_age(&self) -> Duration {
        let app = self.app();
        let longest = app.history.iter().map(|rule| rule.age).max();
        longest.unwrap_or_default()
    }

    /// When a session ends whose client goes now.
    pub(super) fn session_end_ms(&self) -> u64 {
        self.core().unix_ms() + super::millis(self.session_age())
    }

    /// What `channel` keeps of a publication of this origin.
    pub(super) fn keeps(&self, channel: &ChannelName, origin: Origin<'_>) -> Option<Bounds> {
        if !self.has_history() {
            return None;
        }
        let app = self.app();
        let rule = app.history_of(channel)?;
        let is_kept = rule.client_events || !matches!(origin, Origin::Client { .. });
        is_kept.then(|| rule.into())
    }

    /// As [`Self::deliver`], for a channel with a history: the event takes its
    /// place in the past and in the lane in one step.
    pub(super) fn deliver_recorded(
        self: &Arc<Self>,
        recording: Recording<'_>,
        budget: Option<&mut usize>,
    ) {
        let Recording {
            channel,
            bounds,
            draft,
            except,
            cached,
        } = recording;
        let figures = &self.core().history;
        let work = {
            let mut shard = self.channel_shard(channel);
            // Under the lock: no id may be below a position that was taken before.
            let now_ms = self.core().unix_ms();
            let frame = shard.past.append(
                channel,
                bounds,
                now_ms,
                except,
                |id| draft.finish(id),
                figures,
            );
            let publication = Publication {
                app: self.id().clone(),
                channel: channel.clone(),
                cached: cached.map(|(data, expires)| CachedEvent {
                    frame: frame.clone(),
                    data,
                    expires,
                }),
                frame,
                except,
            };
            // Under the lock, so that a subscriber who comes after this finds a
            // cached event in one of the two places.
            self.core().engine.publish(&publication);
            let Publication { frame, cached, .. } = publication;
            shard.publish(channel, frame, except, cached, budget)
        };
        if figures.is_over() {
            self.core().make_room();
        }
        if let Some((work, budget)) = work {
            self.drain_within(channel, Some(work), budget);
        }
    }

    /// What a subscriber has missed of a channel with a history. Under the lock of
    /// the channel's shard, together with the subscriber's place in the lane.
    pub(super) fn replay(
        &self,
        shard: &mut ChannelShard,
        channel: &ChannelName,
        recollection: &Recollection,
    ) -> Replay {
        let figures = &self.core().history;
        let is_own = |socket_id| {
            recollection
                .reader()
                .is_some_and(|reader| reader.was(socket_id))
        };
        let standing = recollection.standing(channel);
        let now_ms = self.core().unix_ms();
        let mut replay = shard
            .past
            .replay(channel, standing, now_ms, is_own, figures);
        replay.reader = recollection.reader().cloned();
        figures.note(&replay);
        replay
    }

    /// Lets a subscriber's session follow the channel, once it is subscribed.
    pub(super) fn follow(
        &self,
        shard: &mut ChannelShard,
        channel: &ChannelName,
        recollection: &Recollection,
        replay_head: EventId,
    ) {
        let app = self.app();
        let (Some(reader), Some(rule)) = (recollection.reader(), app.history_of(channel)) else {
            return;
        };
        let reader = Arc::clone(reader);
        if shard.past.unknown(channel).is_some() {
            shard.past.follow(channel, rule.into(), reader);
            return;
        }
        let start = match recollection.standing(channel) {
            Standing::Session(position) | Standing::Told(position) => position.min(replay_head),
            Standing::Unknown(_) => replay_head,
        };
        reader.begin(channel, start);
        shard.past.follow(channel, rule.into(), reader);
    }

    /// Ends that for a connection that has left the channel.
    pub(super) fn unfollow(
        &self,
        shard: &mut ChannelShard,
        channel: &ChannelName,
        reader: &Reader,
    ) {
        let last = shard.past.unfollow(channel, reader.socket_id());
        // In a deployment the engine knows what the time is.
        if !self.core().is_clustered {
            reader.left(channel, last, EventId::at(self.core().unix_ms()));
        }
    }

    /// Takes the answer of a reader of the session `key` to a question.
    pub(super) fn answered(&self, key: &SessionKey, reader: &Reader) {
        let answered = reader.answered();
        if self.core().is_clustered {
            self.core().bookmarks().changed(key);
        }
        for (channel, position) in answered.unwrap_or_default() {
            let mut shard = self.channel_shard(&channel);
            shard.past.review(&channel, position, reader.socket_id());
        }
    }

    /// Asks the readers of channels with news how far they are. To be called once
    /// a second.
    pub(super) fn ask_readers(self: &Arc<Self>) {
        if !self.has_history() {
            return;
        }
        let mut news: Vec<(ChannelName, Vec<Arc<Reader>>)> = Vec::new();
        for shard in &self.channels {
            let mut shard = shard
                .lock()
                .expect("a shard is never poisoned: no panic under its lock");
            news.extend(shard.past.take_news());
        }
        // How many of the channels each reader is to be asked about. Who has not
        // answered yet is asked when it has.
        let mut asked: HashMap<SocketId, (Arc<Reader>, usize)> = HashMap::new();
        let mut refused: HashSet<SocketId> = HashSet::new();
        for reader in news.iter().flat_map(|(_, readers)| readers) {
            let socket_id = reader.socket_id();
            if let Some((_, channels)) = asked.get_mut(&socket_id) {
                *channels += 1;
            } else if !refused.contains(&socket_id) {
                if reader.may_ask() {
                    asked.insert(socket_id, (Arc::clone(reader), 1));
                } else {
                    refused.insert(socket_id);
                }
            }
        }
        let questions: HashMap<SocketId, Arc<Question>> = asked
            .into_iter()
            .map(|(socket_id, (reader, channels))| (socket_id, Question::new(reader, channels)))
            .collect();
        for (channel, readers) in news {
            let mine = readers
                .iter()
                .filter_map(|reader| questions.get(&reader.socket_id()));
            let work = {
                let mut shard = self.channel_shard(&channel);
                let last = shard.past.last(&channel);
                let mut record = shard.channels.get_mut(&channel);
                for question in mine {
                    match &mut record {
                        Some(record) => record.lane.push(Op::Ask {
                            question: Arc::clone(question),
                            last,
                        }),
                        // Everybody has left meanwhile.
                        None => question.passed(None),
                    }
                }
                record.and_then(|record| record.lane.take_work())
            };
            self.drain(&channel, work);
        }
    }

    /// Forgets what is too old in one of the shards; `round` says in which.
    pub(super) fn expire_past(&self, round: usize) {
        let mut shard = self.channels[round % SHARDS]
            .lock()
            .expect("a shard is never poisoned: no panic under its lock");
        let now_ms = self.core().unix_ms();
        shard.past.expire(now_ms, &self.core().history);
    }

    /// Takes over other rules. Channels that had no history until now have one
    /// from now on.
    pub(super) fn update_history(&self, before: &App, now: &App) {
        if before.history == now.history {
            return;
        }
        self.has_history
            .store(!now.history.is_empty(), Ordering::Relaxed);
        for shard in &self.channels {
            let mut shard = shard
                .lock()
                .expect("a shard is never poisoned: no panic under its lock");
            let now_ms = self.core().unix_ms();
            let keeps = |channel: &ChannelName| {
                before.history_of(channel).is_some() && now.history_of(channel).is_some()
            };
            shard.past.retain(now_ms, keeps, &self.core().history);
        }
    }

    /// The past of `channel` after an event, or from the oldest that is kept;
    /// `None` when it has no history.
    pub async fn past(
        &self,
        channel: &ChannelName,
        after: Option<EventId>,
        limit: usize,
        max_bytes: usize,
    ) -> Option<Page> {
        if !self.has_history() {
            return None;
        }
        let rule = self.app().history_of(channel)?.clone();
        if self.core().is_clustered
            && let Ok(page) = self
                .shared_page(channel, after, limit, max_bytes, &rule)
                .await
        {
            return Some(page);
        }
        let now_ms = self.core().unix_ms();
        let shard = self.channel_shard(channel);
        let mut page = shard.past.page(channel, after, now_ms, limit, max_bytes);
        // What other nodes have published may not be here.
        page.is_complete &= !self.core().is_clustered;
        Some(page)
    }

    /// The channels of this app with a history: when the last event came, bytes,
    /// name.
    pub(super) fn past_sizes(&self) -> Vec<(EventId, usize, ChannelName)> {
        let mut sizes = Vec::new();
        for shard in &self.channels {
            let shard = shard
                .lock()
                .expect("a shard is never poisoned: no panic under its lock");
            let these = shard.past.sizes();
            sizes.extend(these.map(|(last, bytes, channel)| (last, bytes, channel.clone())));
        }
        sizes
    }

    pub(super) fn evict_past(&self, channel: &ChannelName) {
        let mut shard = self.channel_shard(channel);
        shard.past.evict(channel, &self.core().history);
    }
}
