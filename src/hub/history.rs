//! The past events of the channels of one shard.
//!
//! Stands under the lock of the shard, beside the channels: an event takes its
//! place here and in the lane in one step, and a subscriber finds here exactly what
//! stands before it in the lane. A history does not need anybody to be subscribed.
//! What is kept are the frames that subscribers got; nothing is encoded again.
//!
//! Each channel has a floor: all events after it are here. So a position below the
//! floor tells that something may be missing, and one above it that nothing is.
//!
//! In a deployment of many nodes the engine keeps the past, and what stands here is a
//! copy of its end: [`shared`].

mod shared;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use fanfare_protocol::server_message::GapReason;
use fanfare_protocol::{ChannelName, EventId, Frame, SocketId};

use self::shared::Copy;
pub(super) use self::shared::{Arrival, UnderWay, Unsent};
use super::bookmarks::Reader;
use super::connection::Connection;
use crate::apps::HistoryRule;

/// What one event costs beside its bytes: its place in the ring, and the head of
/// an allocation.
const EVENT_OVERHEAD: usize = 112;

/// What one channel costs beside its events.
const CHANNEL_OVERHEAD: usize = 320;

/// What one channel keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    events: usize,
    bytes: usize,
    age_ms: u64,
}

impl From<&HistoryRule> for Bounds {
    fn from(rule: &HistoryRule) -> Self {
        Self {
            events: rule.events,
            bytes: rule.bytes,
            age_ms: u64::try_from(rule.age.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// What the histories of a node take together, and what became of them.
#[derive(Debug)]
pub struct HistoryFigures {
    /// Bytes that they may take.
    pub max_bytes: usize,
    /// Bytes that they take.
    pub bytes: AtomicUsize,
    /// Channels whose history was dropped to stay below the bound.
    pub evicted_channels: AtomicU64,
    /// Subscriptions that were given what they had missed.
    pub replays: AtomicU64,
    /// Events in these.
    pub replayed_events: AtomicU64,
    /// Subscriptions that were told that something may be missing.
    pub gaps: AtomicU64,
}

impl HistoryFigures {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            bytes: AtomicUsize::new(0),
            evicted_channels: AtomicU64::new(0),
            replays: AtomicU64::new(0),
            replayed_events: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.max_bytes
    }

    pub(super) fn note(&self, replay: &Replay) {
        if replay.gap.is_some() {
            self.gaps.fetch_add(1, Ordering::Relaxed);
        }
        if !replay.events.is_empty() {
            self.replays.fetch_add(1, Ordering::Relaxed);
            self.replayed_events
                .fetch_add(replay.events.len() as u64, Ordering::Relaxed);
        }
    }
}

/// The past of the channels of one shard.
#[derive(Debug, Default)]
pub(super) struct Past {
    channels: HashMap<ChannelName, Ring>,
    /// Channels with events that their readers were not asked about yet.
    news: Vec<ChannelName>,
    /// A channel that has no ring has had no event after this.
    vanished: EventId,
}

/// The events of one channel.
#[derive(Debug)]
struct Ring {
    events: VecDeque<Event>,
    /// Bytes of `events`, overhead included.
    bytes: usize,
    /// Everything after this is in `events`.
    floor: EventId,
    /// The newest event that there was.
    last: EventId,
    bounds: Bounds,
    /// The sessions that are subscribed, by their connections.
    readers: HashMap<SocketId, Arc<Reader>>,
    /// Whether the channel stands in `news`.
    is_news: bool,
    /// Set when this is a copy of what the engine keeps.
    copy: Option<Box<Copy>>,
}

#[derive(Debug)]
struct Event {
    id: EventId,
    frame: Frame,
    except: Option<SocketId>,
}

impl Event {
    fn cost(&self) -> usize {
        self.frame.as_websocket().len() + EVENT_OVERHEAD
    }
}

/// Where a new subscriber stands, as far as anybody can tell.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    /// It has handled everything up to this event of its session.
    Session(EventId),
    /// It says itself up to where.
    Told(EventId),
    /// Nobody knows.
    Unknown(GapReason),
}

/// What a subscriber gets after its greeting.
#[derive(Debug)]
pub(super) struct Replay {
    /// Set when something may be missing before `events`.
    pub(super) gap: Option<GapReason>,
    /// What it has missed, in order.
    pub(super) events: Vec<(EventId, Frame)>,
    /// The position from which on it will be up to date.
    pub(super) head: EventId,
    /// Up to where it has said that it has handled everything.
    pub(super) handled: Option<EventId>,
    /// The subscriber's session, which is asked how far it has got.
    pub(super) reader: Option<Arc<Reader>>,
}

/// A page of the past, for the HTTP API.
#[derive(Debug)]
pub struct Page {
    /// The messages, the oldest first, each with its id.
    pub events: Vec<(EventId, Frame)>,
    /// Whether there are more after them.
    pub has_more: bool,
    /// Whether all events since the position that was asked for are there.
    pub is_complete: bool,
}

impl Past {
    /// Events of before `id` are unknown to whoever has no ring.
    pub(super) fn begin(&mut self, id: EventId) {
        self.vanished = self.vanished.max(id);
    }

    /// Gives the next event of `channel` its id, and keeps what `encode` makes.
    pub(super) fn append(
        &mut self,
        channel: &ChannelName,
        bounds: Bounds,
        now_ms: u64,
        except: Option<SocketId>,
        encode: impl FnOnce(EventId) -> Frame,
        figures: &HistoryFigures,
    ) -> Frame {
        let ring = ring(&mut self.channels, channel, self.vanished, bounds);
        let id = ring.last.next(now_ms);
        let frame = encode(id);
        let event = Event {
            id,
            frame: frame.clone(),
            except,
        };
        ring.bounds = bounds;
        if ring.push(event, now_ms, figures) {
            self.news.push(channel.clone());
        }
        frame
    }

    /// What a subscriber has missed that stands at `standing`. `is_own` tells which
    /// connections were the subscriber's.
    pub(super) fn replay(
        &mut self,
        channel: &ChannelName,
        standing: Standing,
        now_ms: u64,
        is_own: impl Fn(SocketId) -> bool,
        figures: &HistoryFigures,
    ) -> Replay {
        if let Some(reason) = self.unknown(channel) {
            return Replay::gap(reason, EventId::default());
        }
        let is_copy = self.is_copy(channel);
        let now = EventId::at(now_ms);
        let ring = self.channels.get_mut(channel);
        let (floor, last) = match ring {
            Some(ring) => {
                ring.trim(now_ms, figures);
                (ring.floor, ring.last)
            }
            None => (self.vanished, self.vanished),
        };
        // The clock of this node says nothing about ids that the engine gives.
        let head = if is_copy { last } else { last.max(now) };
        let (position, handled) = match standing {
            Standing::Session(position) => (position, None),
            // It cannot have handled what has not been.
            Standing::Told(position) if position > head => {
                return Replay::gap(GapReason::UnknownEvent, head);
            }
            Standing::Told(position) => (position, Some(position)),
            Standing::Unknown(reason) => return Replay::gap(reason, head),
        };
        let events = self
            .channels
            .get(channel)
            .into_iter()
            .flat_map(|ring| ring.after(position))
            .filter(|event| !event.except.is_some_and(&is_own))
            .map(|event| (event.id, event.frame.clone()))
            .chain(self.sent_ahead(channel, &is_own))
            .collect();
        let is_cut = position < floor || self.has_forgotten(channel);
        Replay {
            gap: is_cut.then_some(GapReason::History),
            events,
            head,
            handled,
            reader: None,
        }
    }

    /// The events after `after`, or from the oldest on.
    pub(super) fn page(
        &self,
        channel: &ChannelName,
        after: Option<EventId>,
        now_ms: u64,
        limit: usize,
        max_bytes: usize,
    ) -> Page {
        let Some(ring) = self.channels.get(channel) else {
            return Page {
                events: Vec::new(),
                has_more: false,
                is_complete: after.is_some_and(|after| after >= self.vanished),
            };
        };
        let oldest = EventId::at(now_ms.saturating_sub(ring.bounds.age_ms));
        let mut bytes = 0;
        let mut events = Vec::new();
        let mut has_more = false;
        for event in ring.after(after.unwrap_or_default().max(oldest)) {
            bytes += event.frame.as_websocket().len();
            if events.len() == limit || (bytes > max_bytes && !events.is_empty()) {
                has_more = true;
                break;
            }
            events.push((event.id, event.frame.clone()));
        }
        let floor = ring.floor_at(oldest);
        Page {
            events,
            has_more,
            is_complete: after.is_some_and(|after| after >= floor),
        }
    }

    /// Tells `reader` of what comes on `channel` from now on.
    pub(super) fn follow(&mut self, channel: &ChannelName, bounds: Bounds, reader: Arc<Reader>) {
        let ring = ring(&mut self.channels, channel, self.vanished, bounds);
        ring.readers.insert(reader.socket_id(), reader);
    }

    /// Ends that, and returns the position of the newest event.
    pub(super) fn unfollow(&mut self, channel: &ChannelName, socket_id: SocketId) -> EventId {
        match self.channels.get_mut(channel) {
            Some(ring) => {
                ring.readers.remove(&socket_id);
                ring.last
            }
            None => self.vanished,
        }
    }

    /// Notes that a reader has answered and may be asked again.
    pub(super) fn review(&mut self, channel: &ChannelName, position: EventId, socket_id: SocketId) {
        if let Some(ring) = self.channels.get_mut(channel)
            && !ring.is_news
            && ring.last > position
            && ring.readers.contains_key(&socket_id)
        {
            ring.is_news = true;
            self.news.push(channel.clone());
        }
    }

    /// The channels with news, and who reads them.
    pub(super) fn take_news(&mut self) -> Vec<(ChannelName, Vec<Arc<Reader>>)> {
        let channels = std::mem::take(&mut self.news);
        channels
            .into_iter()
            .filter_map(|channel| {
                let ring = self.channels.get_mut(&channel)?;
                ring.is_news = false;
                let readers = ring.readers.values().cloned().collect();
                Some((channel, readers))
            })
            .collect()
    }

    /// The newest event of `channel`.
    pub(super) fn last(&self, channel: &ChannelName) -> EventId {
        self.channels
            .get(channel)
            .map_or(self.vanished, |ring| ring.last)
    }

    /// Forgets what is too old, and channels of which nothing is left.
    pub(super) fn expire(&mut self, now_ms: u64, figures: &HistoryFigures) {
        let vanished = &mut self.vanished;
        self.channels.retain(|_, ring| {
            ring.trim(now_ms, figures);
            let stays = !ring.events.is_empty() || !ring.readers.is_empty() || ring.copy.is_some();
            if !stays {
                *vanished = (*vanished).max(ring.last);
            }
            stays
        });
        if self.channels.len() < self.channels.capacity() / 8 {
            self.channels.shrink_to_fit();
        }
    }

    /// Forgets the channels for which `keeps` says no: they have no history any
    /// more.
    pub(super) fn retain(
        &mut self,
        now_ms: u64,
        keeps: impl Fn(&ChannelName) -> bool,
        figures: &HistoryFigures,
    ) {
        self.begin(EventId::at(now_ms));
        let vanished = &mut self.vanished;
        self.channels.retain(|channel, ring| {
            let stays = keeps(channel);
            if !stays {
                *vanished = (*vanished).max(ring.last);
                figures.bytes.fetch_sub(ring.cost(), Ordering::Relaxed);
            }
            stays
        });
    }

    /// The channels that take room: when the newest event came, and bytes.
    pub(super) fn sizes(&self) -> impl Iterator<Item = (EventId, usize, &ChannelName)> {
        self.channels
            .iter()
            .filter(|(_, ring)| ring.cost() > 0)
            .map(|(channel, ring)| (ring.last, ring.cost(), channel))
    }

    /// Drops the events of one channel, which are needed elsewhere.
    pub(super) fn evict(&mut self, channel: &ChannelName, figures: &HistoryFigures) {
        let Some(ring) = self.channels.get_mut(channel) else {
            return;
        };
        ring.floor = ring.last;
        ring.clear(figures);
        ring.forget_sent(figures);
        figures.evicted_channels.fetch_add(1, Ordering::Relaxed);
        if ring.readers.is_empty() && ring.copy.is_none() {
            self.vanished = self.vanished.max(ring.last);
            self.channels.remove(channel);
        }
    }
}

fn ring<'a>(
    channels: &'a mut HashMap<ChannelName, Ring>,
    channel: &ChannelName,
    floor: EventId,
    bounds: Bounds,
) -> &'a mut Ring {
    // The name is only copied for a new one.
    if !channels.contains_key(channel) {
        channels.insert(
            channel.clone(),
            Ring {
                events: VecDeque::new(),
                bytes: 0,
                floor,
                last: floor,
                bounds,
                readers: HashMap::new(),
                is_news: false,
                copy: None,
            },
        );
    }
    channels
        .get_mut(channel)
        .expect("it was there or has just been inserted")
}

impl Ring {
    /// Bytes that are charged for it: none while it holds no event, since then
    /// nothing could be dropped to get them back.
    fn cost(&self) -> usize {
        let copy = self.copy.as_ref().map_or(0, |copy| copy.bytes());
        let events = match self.bytes {
            0 => 0,
            bytes => bytes + CHANNEL_OVERHEAD,
        };
        events + copy
    }

    /// Puts the newest event in. Returns whether the channel has news from now on.
    fn push(&mut self, event: Event, now_ms: u64, figures: &HistoryFigures) -> bool {
        self.grow(event.cost(), figures);
        self.last = event.id;
        self.events.push_back(event);
        self.trim(now_ms, figures);
        let is_first = !self.is_news && !self.readers.is_empty();
        self.is_news |= is_first;
        is_first
    }

    fn grow(&mut self, bytes: usize, figures: &HistoryFigures) {
        let before = self.cost();
        self.bytes += bytes;
        figures
            .bytes
            .fetch_add(self.cost() - before, Ordering::Relaxed);
    }

    fn clear(&mut self, figures: &HistoryFigures) {
        let before = self.cost();
        self.bytes = 0;
        self.events = VecDeque::new();
        figures
            .bytes
            .fetch_sub(before - self.cost(), Ordering::Relaxed);
    }

    /// Drops what the bounds do not allow.
    fn trim(&mut self, now_ms: u64, figures: &HistoryFigures) {
        let oldest_ms = now_ms.saturating_sub(self.bounds.age_ms);
        while let Some(event) = self.events.front() {
            let is_allowed = self.events.len() <= self.bounds.events
                && self.bytes <= self.bounds.bytes
                && event.id.ms >= oldest_ms;
            if is_allowed {
                return;
            }
            self.floor = event.id;
            let cost = event.cost();
            self.events.pop_front();
            let before = self.cost();
            self.bytes -= cost;
            figures
                .bytes
                .fetch_sub(before - self.cost(), Ordering::Relaxed);
        }
        // A channel that has become quiet keeps no memory for what once was.
        self.events = VecDeque::new();
    }

    /// The events after `position`.
    fn after(&self, position: EventId) -> impl Iterator<Item = &Event> {
        let first = self.events.partition_point(|event| event.id <= position);
        self.events.range(first..)
    }

    /// What the floor will be when everything before `oldest` is dropped.
    fn floor_at(&self, oldest: EventId) -> EventId {
        let kept = self.events.partition_point(|event| event.id < oldest);
        match kept.checked_sub(1).and_then(|last| self.events.get(last)) {
            Some(event) => event.id,
            None => self.floor,
        }
    }
}

impl Replay {
    fn gap(reason: GapReason, head: EventId) -> Self {
        Self {
            gap: Some(reason),
            events: Vec::new(),
            head,
            handled: None,
            reader: None,
        }
    }

    /// Sends the events, behind the greeting.
    pub(super) fn send(&self, peer: &Connection, channel: &ChannelName) {
        if let Some(reader) = &self.reader {
            reader.replay(channel, &self.events);
            return;
        }
        let frames: Vec<Frame> = self.events.iter().map(|(_, frame)| frame.clone()).collect();
        peer.outbox().push_replay(&frames);
    }

    /// Whether the subscriber need not get `cached` before the rest: it is among
    /// what it has missed, or it has said that it has handled it.
    pub(super) fn makes_up_for(&self, cached: &Frame) -> bool {
        let start = cached.as_websocket().as_ptr();
        let id = cached.event_id();
        self.events
            .iter()
            .any(|(of, frame)| id == Some(*of) || frame.as_websocket().as_ptr() == start)
            || self
                .handled
                .is_some_and(|handled| id.is_some_and(|id| id <= handled))
    }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::Limits;
    use fanfare_protocol::server_message::EventText;

    use super::super::connection::recorder::Recorder;
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name, &Limits::default()).unwrap()
    }

    struct Fixture {
        past: Past,
        figures: HistoryFigures,
        bounds: Bounds,
    }

    impl Fixture {
        fn new(events: usize, bytes: usize) -> Self {
            let mut past = Past::default();
            past.begin(EventId::at(1_000));
            Self {
                past,
                figures: HistoryFigures::new(1 << 20),
                bounds: Bounds {
                    events,
                    bytes,
                    age_ms: HOUR_MS,
                },
            }
        }

        fn append(&mut self, name: &str, now_ms: u64, except: Option<SocketId>) -> EventId {
            let channel = channel(name);
            let draft = EventText::new("order", "1").draft(&channel, None);
            let encode = |id| draft.finish(id);
            let frame =
                self.past
                    .append(&channel, self.bounds, now_ms, except, encode, &self.figures);
            frame.event_id().unwrap()
        }

        fn replay(&mut self, name: &str, standing: Standing, now_ms: u64) -> Replay {
            let own: SocketId = "1.1".parse().unwrap();
            let is_own = |socket_id| socket_id == own;
            self.past
                .replay(&channel(name), standing, now_ms, is_own, &self.figures)
        }
    }

    fn ids(replay: &Replay) -> Vec<EventId> {
        replay.events.iter().map(|(id, _)| *id).collect()
    }

    #[test]
    fn what_came_after_a_position_is_replayed_and_what_is_gone_is_a_gap() {
        let mut fixture = Fixture::new(3, 1 << 20);
        let before = EventId::at(1_500);
        let all: Vec<_> = (0..5).map(|_| fixture.append("x", 2_000, None)).collect();

        let whole = fixture.replay("x", Standing::Session(all[1]), 2_000);
        assert_eq!((ids(&whole), whole.gap), (all[2..].to_vec(), None));
        let cut = fixture.replay("x", Standing::Session(before), 2_000);
        assert_eq!(
            (ids(&cut), cut.gap),
            (all[2..].to_vec(), Some(GapReason::History))
        );
        let nothing = fixture.replay("x", Standing::Told(all[4]), 2_000);
        assert_eq!((ids(&nothing), nothing.gap), (vec![], None));
        let quiet = fixture.replay("quiet", Standing::Session(before), 2_000);
        assert_eq!((ids(&quiet), quiet.gap), (vec![], None));
        let too_old = fixture.replay("quiet", Standing::Session(EventId::at(900)), 2_000);
        assert_eq!(too_old.gap, Some(GapReason::History));
        let future = fixture.replay("x", Standing::Told(EventId::at(9_000)), 2_000);
        assert_eq!(future.gap, Some(GapReason::UnknownEvent));
    }

    #[test]
    fn an_event_that_its_own_sender_did_not_get_is_not_replayed_to_it() {
        let mut fixture = Fixture::new(10, 1 << 20);
        fixture.append("x", 2_000, Some("1.1".parse().unwrap()));
        let other = fixture.append("x", 2_000, Some("2.2".parse().unwrap()));

        let replay = fixture.replay("x", Standing::Session(EventId::at(1_000)), 2_000);

        assert_eq!(ids(&replay), [other]);
    }

    #[test]
    fn old_events_go_and_the_bytes_of_all_are_given_back() {
        let mut fixture = Fixture::new(100, 1 << 20);
        let first = fixture.append("x", 2_000, None);
        let second = fixture.append("x", HOUR_MS, None);
        fixture.append("y", 2_000, None);

        let later = HOUR_MS + 2_001;
        let replay = fixture.replay("x", Standing::Session(first), later);
        assert_eq!((ids(&replay), replay.gap), (vec![second], None));
        fixture.past.expire(2 * HOUR_MS + 1, &fixture.figures);

        assert_eq!(fixture.figures.bytes.load(Ordering::Relaxed), 0);
        assert!(fixture.past.channels.is_empty());
        let late = fixture.replay("y", Standing::Session(EventId::at(1_500)), 2 * HOUR_MS);
        assert_eq!(late.gap, Some(GapReason::History));
    }

    #[test]
    fn the_bytes_of_a_channel_are_bounded() {
        let mut fixture = Fixture::new(100_000, 10_000);
        for _ in 0..1_000 {
            fixture.append("x", 2_000, None);
        }

        let bytes = fixture.figures.bytes.load(Ordering::Relaxed);
        assert!(
            (8_000..=10_000 + CHANNEL_OVERHEAD).contains(&bytes),
            "{bytes}"
        );
        fixture.past.evict(&channel("x"), &fixture.figures);
        assert_eq!(fixture.figures.bytes.load(Ordering::Relaxed), 0);
    }

    /// Nothing could be dropped to get that room back.
    #[test]
    fn subscribers_of_channels_without_events_take_no_room_from_the_others() {
        let mut fixture = Fixture::new(100, 1 << 20);
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        let connection = Connection::new("1.1".parse().unwrap(), address, Recorder::default(), 0);
        let reader = Reader::new(Arc::new(connection));
        for number in 0..100 {
            let name = channel(&format!("x-{number}"));
            let (bounds, reader) = (fixture.bounds, Arc::clone(&reader));
            fixture.past.follow(&name, bounds, reader);
        }

        assert_eq!(fixture.figures.bytes.load(Ordering::Relaxed), 0);
        fixture.append("x-1", 2_000, None);
        assert!(fixture.figures.bytes.load(Ordering::Relaxed) > CHANNEL_OVERHEAD);
        fixture.past.evict(&channel("x-1"), &fixture.figures);
        assert_eq!(fixture.figures.bytes.load(Ordering::Relaxed), 0);
        assert_eq!(fixture.past.channels.len(), 100);
    }

    #[test]
    fn a_page_says_whether_it_is_all() {
        let mut fixture = Fixture::new(3, 1 << 20);
        let all: Vec<_> = (0..5).map(|_| fixture.append("x", 2_000, None)).collect();
        let page = |after, limit, max_bytes| {
            let page = fixture
                .past
                .page(&channel("x"), after, 2_000, limit, max_bytes);
            let ids: Vec<_> = page.events.iter().map(|(id, _)| *id).collect();
            (ids, page.has_more, page.is_complete)
        };

        assert_eq!(
            page(Some(all[2]), 9, 1 << 20),
            (all[3..].to_vec(), false, true)
        );
        assert_eq!(
            page(Some(all[0]), 2, 1 << 20),
            (all[2..4].to_vec(), true, false)
        );
        assert_eq!(page(None, 9, 1), (vec![all[2]], true, false));
    }
}
