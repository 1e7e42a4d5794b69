//! This node's copy of the end of a past that the engine keeps for all nodes.
//!
//! An event has a place only when it comes back from the engine; so what stands here
//! is in the order of all nodes, and a position means the same on each of them. What
//! is older is fetched when somebody needs it ([`Past::missing`], [`Past::fill`]).
//!
//! What this node has published and what has not come back is [`UnderWay`]. While the
//! engine is out of reach, subscribers are sent that without an id, and are not sent
//! it again when it comes back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fanfare_protocol::server_message::GapReason;
use fanfare_protocol::{ChannelName, EventId, Frame, SocketId};
use tokio::sync::Mutex;

use super::{Bounds, EVENT_OVERHEAD, Event, HistoryFigures, Past, Ring, ring};
use crate::hub::engine::{PastRange, Recorded, SharedPast};

/// What makes a ring a copy.
#[derive(Debug, Default)]
pub(super) struct Copy {
    /// Whether nothing is known yet of the engine's past.
    is_adrift: bool,
    /// Whether nothing can have been missed since it was filled, or caught up.
    is_whole: bool,
    under_way: VecDeque<UnderWay>,
    /// Bytes of these.
    bytes: usize,
    /// Events of this node up to this number were sent to its subscribers before
    /// they had a place.
    ahead_up_to: u64,
    /// Whether some of those are not here any more for a new subscriber.
    has_forgotten: bool,
    /// Whether subscribers were told that they do not get everything, and have not
    /// got anything since.
    is_cut: bool,
    /// Held by the one who fetches what is missing.
    filling: Arc<Mutex<()>>,
}

/// Messages, each with the connection that does not get it.
pub(in crate::hub) type Unsent = Vec<(Frame, Option<SocketId>)>;

/// An event of this node without a place so far.
#[derive(Debug)]
pub(in crate::hub) struct UnderWay {
    /// Those of one channel grow.
    pub(in crate::hub) number: u64,
    /// The message, without an id.
    pub(in crate::hub) frame: Frame,
    pub(in crate::hub) except: Option<SocketId>,
    /// Whether the subscribers have it.
    pub(in crate::hub) is_sent: bool,
}

impl UnderWay {
    fn cost(&self) -> usize {
        self.frame.as_websocket().len() + EVENT_OVERHEAD
    }
}

/// What has become of an event that came from the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::hub) enum Arrival {
    /// It is the next one, and to be sent.
    Next,
    /// The subscribers have it already.
    Known,
    /// Something before it has not come.
    Hole,
}

impl Copy {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes out the first of what is under way.
    fn pop(&mut self, figures: &HistoryFigures) -> Option<UnderWay> {
        let first = self.under_way.pop_front()?;
        self.bytes -= first.cost();
        figures.bytes.fetch_sub(first.cost(), Ordering::Relaxed);
        Some(first)
    }

    /// Notes that the event `number` of this node has come back. Returns whether
    /// the subscribers had it before.
    fn settle(&mut self, number: u64, figures: &HistoryFigures) -> bool {
        while self
            .under_way
            .front()
            .is_some_and(|first| first.number <= number)
        {
            self.pop(figures);
        }
        self.has_forgotten &= number < self.ahead_up_to;
        number <= self.ahead_up_to
    }

    /// What is under way and was not sent, which the caller does now.
    fn send_ahead(&mut self) -> Unsent {
        let mut frames = Vec::new();
        for event in self.under_way.iter_mut().filter(|event| !event.is_sent) {
            event.is_sent = true;
            self.ahead_up_to = event.number;
            frames.push((event.frame.clone(), event.except));
        }
        frames
    }
}

impl Ring {
    /// Forgets what subscribers were sent ahead.
    pub(super) fn forget_sent(&mut self, figures: &HistoryFigures) {
        let Some(copy) = &mut self.copy else {
            return;
        };
        while copy.under_way.front().is_some_and(|first| first.is_sent) {
            copy.pop(figures);
            copy.has_forgotten = true;
        }
    }
}

impl Past {
    fn copy(&self, channel: &ChannelName) -> Option<&Copy> {
        self.channels.get(channel)?.copy.as_deref()
    }

    fn ring_and_copy(&mut self, channel: &ChannelName) -> Option<(&mut Ring, Box<Copy>)> {
        let ring = self.channels.get_mut(channel)?;
        let copy = ring.copy.take()?;
        Some((ring, copy))
    }

    pub(in crate::hub) fn is_copy(&self, channel: &ChannelName) -> bool {
        self.copy(channel).is_some()
    }

    /// Why nothing can be said about the past of a channel.
    pub(in crate::hub) fn unknown(&self, channel: &ChannelName) -> Option<GapReason> {
        self.copy(channel)?
            .is_adrift
            .then_some(GapReason::Unavailable)
    }

    /// What new subscribers have to get beside what has a place. It counts as
    /// belonging to the newest event that has one.
    pub(super) fn sent_ahead(
        &self,
        channel: &ChannelName,
        is_own: impl Fn(SocketId) -> bool,
    ) -> Vec<(EventId, Frame)> {
        let Some(ring) = self.channels.get(channel) else {
            return Vec::new();
        };
        let under_way = ring.copy.iter().flat_map(|copy| &copy.under_way);
        under_way
            .filter(|event| event.is_sent && !event.except.is_some_and(&is_own))
            .map(|event| (ring.last, event.frame.clone()))
            .collect()
    }

    pub(super) fn has_forgotten(&self, channel: &ChannelName) -> bool {
        self.copy(channel).is_some_and(|copy| copy.has_forgotten)
    }

    /// Begins a copy, if there is none. To be called before the engine is asked to
    /// send what comes.
    pub(in crate::hub) fn expect(&mut self, channel: &ChannelName, bounds: Bounds) {
        let ring = ring(&mut self.channels, channel, EventId::default(), bounds);
        ring.bounds = bounds;
        ring.copy.get_or_insert_with(|| {
            Box::new(Copy {
                is_adrift: true,
                ..Copy::default()
            })
        });
    }

    /// Ends it: nobody is subscribed any more.
    pub(in crate::hub) fn leave(&mut self, channel: &ChannelName, figures: &HistoryFigures) {
        if self.is_copy(channel)
            && let Some(ring) = self.channels.remove(channel)
        {
            figures.bytes.fetch_sub(ring.cost(), Ordering::Relaxed);
        }
    }

    /// What has to be fetched for a subscriber that stands at `position`, and the
    /// lock to hold meanwhile.
    pub(in crate::hub) fn missing(
        &self,
        channel: &ChannelName,
        position: Option<EventId>,
    ) -> Option<(PastRange, Arc<Mutex<()>>)> {
        let ring = self.channels.get(channel)?;
        let copy = ring.copy.as_ref()?;
        let after = position.filter(|position| copy.is_adrift || *position < ring.floor);
        if !copy.is_adrift && after.is_none() {
            return None;
        }
        let range = PastRange {
            after,
            until: (!copy.is_adrift).then_some(ring.floor),
            // One more shows that there are more than are kept.
            limit: after.map_or(0, |_| ring.bounds.events + 1),
        };
        Some((range, Arc::clone(&copy.filling)))
    }

    /// Takes over what was fetched. Returns whether it fits: the copy may have become
    /// another one since [`Self::missing`].
    pub(in crate::hub) fn fill(
        &mut self,
        channel: &ChannelName,
        range: &PastRange,
        past: SharedPast,
        now_ms: u64,
        figures: &HistoryFigures,
    ) -> bool {
        let Some(ring) = self.channels.get_mut(channel) else {
            return false;
        };
        let Some(copy) = &mut ring.copy else {
            return false;
        };
        let floor = match range.after {
            Some(after) => after.max(past.floor),
            None => past.head,
        };
        if copy.is_adrift {
            copy.is_adrift = false;
            copy.is_whole = true;
            // What of this has come back was not noticed, and does not come again. What
            // still comes is sent like an event of another node.
            while copy.pop(figures).is_some() {}
            copy.ahead_up_to = 0;
            copy.has_forgotten = false;
            ring.floor = floor;
            ring.last = past.head;
        } else if range.until == Some(ring.floor) && past.events.len() <= ring.bounds.events {
            ring.floor = floor.min(ring.floor);
        } else {
            return false;
        }
        for event in past.events.into_iter().rev() {
            let event = Event {
                id: event.id,
                frame: event.frame,
                except: event.except,
            };
            ring.grow(event.cost(), figures);
            ring.events.push_front(event);
        }
        ring.trim(now_ms, figures);
        true
    }

    /// Up to where the copy goes: `None` when there is none, or nothing is known.
    pub(in crate::hub) fn end(&self, channel: &ChannelName) -> Option<EventId> {
        let ring = self.channels.get(channel)?;
        let copy = ring.copy.as_ref()?;
        (!copy.is_adrift).then_some(ring.last)
    }

    /// Notes that something may have been missed.
    pub(in crate::hub) fn doubt(&mut self, channel: &ChannelName) {
        let ring = self.channels.get_mut(channel);
        if let Some(copy) = ring.and_then(|ring| ring.copy.as_mut()) {
            copy.is_whole = false;
        }
    }

    /// The past has been read up to now. Goes on at `floor`, if what was before it is
    /// not kept any more; returns whether that is so.
    pub(in crate::hub) fn skip_to(
        &mut self,
        channel: &ChannelName,
        floor: EventId,
        figures: &HistoryFigures,
    ) -> bool {
        let Some(ring) = self.channels.get_mut(channel) else {
            return false;
        };
        if let Some(copy) = &mut ring.copy {
            copy.is_whole = true;
        }
        if floor <= ring.last {
            return false;
        }
        ring.clear(figures);
        ring.floor = floor;
        ring.last = floor;
        true
    }

    /// Takes an event that has come from the engine.
    pub(in crate::hub) fn arrive(
        &mut self,
        channel: &ChannelName,
        event: &Recorded,
        now_ms: u64,
        figures: &HistoryFigures,
    ) -> Arrival {
        // Without a copy this node keeps nothing of the channel.
        let Some((ring, mut copy)) = self.ring_and_copy(channel) else {
            return Arrival::Next;
        };
        let mut is_news = false;
        let arrival = if copy.is_adrift {
            Arrival::Hole
        } else if event.id <= ring.last {
            if let Some(number) = event.own {
                copy.settle(number, figures);
            }
            Arrival::Known
        } else if event.before > ring.last && !(copy.is_whole && event.before.number == 0) {
            // Number 0 is no event: nothing had come for as long as anything is kept.
            Arrival::Hole
        } else {
            let is_sent = event.own.is_some_and(|number| copy.settle(number, figures));
            let kept = Event {
                id: event.id,
                frame: event.frame.clone(),
                except: event.except,
            };
            is_news = ring.push(kept, now_ms, figures);
            if is_sent {
                Arrival::Known
            } else {
                Arrival::Next
            }
        };
        ring.copy = Some(copy);
        if is_news {
            self.news.push(channel.clone());
        }
        arrival
    }

    /// Notes an event that this node has handed to the engine. Returns what the
    /// subscribers are to be sent now: nothing, unless the engine is out of reach or
    /// keeps too much waiting.
    pub(in crate::hub) fn set_out(
        &mut self,
        channel: &ChannelName,
        event: UnderWay,
        figures: &HistoryFigures,
    ) -> Unsent {
        let Some((ring, mut copy)) = self.ring_and_copy(channel) else {
            return match event.is_sent {
                true => vec![(event.frame, event.except)],
                false => Vec::new(),
            };
        };
        let must_send = event.is_sent;
        let event = UnderWay {
            is_sent: false,
            ..event
        };
        copy.bytes += event.cost();
        figures.bytes.fetch_add(event.cost(), Ordering::Relaxed);
        copy.under_way.push_back(event);
        let is_full = |copy: &Copy| {
            copy.under_way.len() > ring.bounds.events || copy.bytes > ring.bounds.bytes
        };
        let frames = if must_send || is_full(&copy) {
            copy.send_ahead()
        } else {
            Vec::new()
        };
        while is_full(&copy) {
            copy.pop(figures);
            copy.has_forgotten = true;
        }
        ring.copy = Some(copy);
        frames
    }

    /// The engine is out of reach: what every channel's subscribers are to be sent
    /// now.
    pub(in crate::hub) fn send_ahead(&mut self) -> Vec<(ChannelName, Unsent)> {
        let mut all = Vec::new();
        for (channel, ring) in &mut self.channels {
            let frames = ring.copy.iter_mut().flat_map(|copy| {
                copy.is_whole = false;
                copy.send_ahead()
            });
            let frames: Vec<_> = frames.collect();
            if !frames.is_empty() {
                all.push((channel.clone(), frames));
            }
        }
        all
    }

    /// Notes whether the subscribers get what comes. Returns whether they are to be
    /// told now that something is missing.
    pub(in crate::hub) fn cut(&mut self, channel: &ChannelName, is_cut: bool) -> bool {
        let ring = self.channels.get_mut(channel);
        let Some(copy) = ring.and_then(|ring| ring.copy.as_mut()) else {
            return false;
        };
        let was_cut = std::mem::replace(&mut copy.is_cut, is_cut);
        is_cut && !was_cut
    }

    /// The sessions that are subscribed, when the channel's past has become known:
    /// those without a position begin at its end.
    pub(in crate::hub) fn begin_readers(&self, channel: &ChannelName) {
        if let Some(ring) = self.channels.get(channel) {
            for reader in ring.readers.values() {
                reader.begin_if_unknown(channel, ring.last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::Limits;

    use super::super::{Replay, Standing};
    use super::*;

    const NOW_MS: u64 = 10_000;

    fn channel() -> ChannelName {
        ChannelName::parse("kitchen", &Limits::default()).unwrap()
    }

    fn id(number: u32) -> EventId {
        EventId { ms: 5_000, number }
    }

    fn frame(number: u64) -> Frame {
        Frame::from_text(&format!(r#"{{"event":"order","data":"{number}"}}"#))
    }

    fn event(number: u32, own: Option<u64>) -> Recorded {
        Recorded {
            id: id(number),
            before: id(number - 1),
            frame: frame(number.into()),
            except: None,
            cached: None,
            own,
        }
    }

    fn past(floor: u32, head: u32, events: Vec<Recorded>) -> SharedPast {
        SharedPast {
            floor: id(floor),
            head: id(head),
            events,
        }
    }

    struct Fixture {
        past: Past,
        figures: HistoryFigures,
        bounds: Bounds,
    }

    impl Fixture {
        fn new(events: usize) -> Self {
            let mut fixture = Self {
                past: Past::default(),
                figures: HistoryFigures::new(1 << 20),
                bounds: Bounds {
                    events,
                    bytes: 1 << 20,
                    age_ms: 3_600_000,
                },
            };
            fixture.past.expect(&channel(), fixture.bounds);
            fixture
        }

        /// One that knows everything up to `head`.
        fn at(head: u32) -> Self {
            let mut fixture = Self::new(100);
            let (range, _) = fixture.past.missing(&channel(), None).unwrap();
            fixture.fill(&range, past(head, head, vec![]));
            fixture
        }

        fn fill(&mut self, range: &PastRange, past: SharedPast) {
            let fits = self
                .past
                .fill(&channel(), range, past, NOW_MS, &self.figures);
            assert!(fits);
        }

        fn arrive(&mut self, event: &Recorded) -> Arrival {
            self.past.arrive(&channel(), event, NOW_MS, &self.figures)
        }

        fn set_out(&mut self, number: u64, is_sent: bool) -> usize {
            let event = UnderWay {
                number,
                frame: frame(number),
                except: None,
                is_sent,
            };
            self.past.set_out(&channel(), event, &self.figures).len()
        }

        fn replay(&mut self, position: u32) -> Replay {
            let standing = Standing::Session(id(position));
            self.past
                .replay(&channel(), standing, NOW_MS, |_| false, &self.figures)
        }
    }

    #[test]
    fn nothing_is_taken_before_something_is_known_and_nothing_twice_or_too_early() {
        let mut fixture = Fixture::new(100);
        assert_eq!(fixture.arrive(&event(1, None)), Arrival::Hole);
        assert_eq!(fixture.replay(1).gap, Some(GapReason::Unavailable));
        let (range, _) = fixture.past.missing(&channel(), Some(id(1))).unwrap();
        assert_eq!(range.after, Some(id(1)));

        fixture.fill(&range, past(0, 3, vec![event(2, None), event(3, None)]));

        assert_eq!(fixture.arrive(&event(3, None)), Arrival::Known);
        assert_eq!(fixture.arrive(&event(5, None)), Arrival::Hole);
        assert_eq!(fixture.arrive(&event(4, None)), Arrival::Next);
        assert_eq!(fixture.past.end(&channel()), Some(id(4)));
        let replay = fixture.replay(1);
        assert_eq!((replay.events.len(), replay.gap), (3, None));
        assert_eq!(replay.head, id(4));
    }

    /// A kitchen is quiet at night.
    #[test]
    fn a_silence_longer_than_the_past_is_no_hole_unless_something_may_be_missed() {
        let mut fixture = Fixture::at(1);
        let first_since = |ms| Recorded {
            id: EventId {
                ms: ms + 1_000,
                number: 1,
            },
            before: EventId::at(ms),
            ..event(1, None)
        };
        assert_eq!(fixture.arrive(&first_since(6_000)), Arrival::Next);

        fixture.past.doubt(&channel());
        assert_eq!(fixture.arrive(&first_since(8_000)), Arrival::Hole);

        let mut skips = |ms| {
            let floor = EventId::at(ms);
            fixture.past.skip_to(&channel(), floor, &fixture.figures)
        };
        assert!(skips(8_000));
        // What came meanwhile stays.
        assert!(!skips(7_500));
        assert_eq!(fixture.arrive(&first_since(8_000)), Arrival::Next);
    }

    #[test]
    fn what_is_under_way_when_a_copy_begins_is_not_sent_twice_to_those_who_come() {
        let mut fixture = Fixture::new(100);
        assert_eq!(fixture.set_out(1, true), 1);
        assert_eq!(fixture.set_out(2, false), 0);
        let (range, _) = fixture.past.missing(&channel(), None).unwrap();
        fixture.fill(&range, past(5, 5, vec![]));

        assert_eq!(fixture.replay(5).events.len(), 0);
        assert!(fixture.past.send_ahead().is_empty());
        assert_eq!(fixture.arrive(&event(6, Some(2))), Arrival::Next);
        fixture.past.leave(&channel(), &fixture.figures);
        assert_eq!(fixture.figures.bytes.load(Ordering::Relaxed), 0);
    }

    /// The answer to somebody who needs less was faster.
    #[test]
    fn what_was_fetched_for_another_copy_is_fetched_again() {
        let mut fixture = Fixture::new(100);
        let (range, _) = fixture.past.missing(&channel(), Some(id(1))).unwrap();
        let (short, _) = fixture.past.missing(&channel(), None).unwrap();
        fixture.fill(&short, past(0, 3, vec![]));
        let events = || vec![event(2, None), event(3, None)];
        let fits = fixture.past.fill(
            &channel(),
            &range,
            past(0, 3, events()),
            NOW_MS,
            &fixture.figures,
        );
        assert!(!fits);

        let (range, _) = fixture.past.missing(&channel(), Some(id(1))).unwrap();
        assert_eq!((range.after, range.until), (Some(id(1)), Some(id(3))));
        fixture.fill(&range, past(0, 3, events()));

        let replay = fixture.replay(1);
        assert_eq!((replay.events.len(), replay.gap), (2, None));
    }

    #[test]
    fn older_events_are_fetched_once_and_for_all() {
        let mut fixture = Fixture::at(4);
        assert_eq!(fixture.arrive(&event(5, None)), Arrival::Next);
        assert!(fixture.past.missing(&channel(), Some(id(4))).is_none());
        let (range, _) = fixture.past.missing(&channel(), Some(id(2))).unwrap();
        assert_eq!(range.until, Some(id(4)));

        fixture.fill(&range, past(1, 5, vec![event(3, None), event(4, None)]));
        let replay = fixture.replay(2);
        assert_eq!((replay.events.len(), replay.gap), (3, None));
        assert!(fixture.past.missing(&channel(), Some(id(2))).is_none());

        // What is not there any more is a gap.
        let (range, _) = fixture.past.missing(&channel(), Some(id(0))).unwrap();
        fixture.fill(&range, past(1, 5, vec![event(2, None)]));
        assert_eq!(fixture.replay(1).gap, None);
        assert_eq!(fixture.replay(0).gap, Some(GapReason::History));

        fixture.past.evict(&channel(), &fixture.figures);
        assert!(fixture.past.missing(&channel(), Some(id(4))).is_some());
        assert!(fixture.past.missing(&channel(), Some(id(5))).is_none());
        fixture.past.leave(&channel(), &fixture.figures);
        assert_eq!(fixture.figures.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_was_sent_ahead_is_not_sent_again_and_new_subscribers_get_it() {
        let mut fixture = Fixture::at(1);
        assert_eq!(fixture.set_out(1, false), 0);
        assert_eq!(fixture.arrive(&event(2, Some(1))), Arrival::Next);
        assert_eq!(fixture.set_out(2, false), 0);

        let sent = fixture.past.send_ahead();
        assert_eq!(sent[0].1.len(), 1);
        assert_eq!(fixture.set_out(3, true), 1);
        let replay = fixture.replay(1);
        assert_eq!(replay.events.len(), 1 + 2);
        assert_eq!(replay.head, id(2));

        assert_eq!(fixture.arrive(&event(3, None)), Arrival::Next);
        assert_eq!(fixture.arrive(&event(4, Some(2))), Arrival::Known);
        assert_eq!(fixture.arrive(&event(5, Some(3))), Arrival::Known);
        assert_eq!(fixture.set_out(4, false), 0);
        assert_eq!(fixture.arrive(&event(6, Some(4))), Arrival::Next);
        let replay = fixture.replay(1);
        assert_eq!((replay.events.len(), replay.gap), (5, None));
        fixture.past.leave(&channel(), &fixture.figures);
        assert_eq!(fixture.figures.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_under_way_is_bounded_and_says_so() {
        let mut fixture = Fixture::new(3);
        let (range, _) = fixture.past.missing(&channel(), None).unwrap();
        fixture.fill(&range, past(1, 1, vec![]));

        let sent: usize = (1..=5).map(|number| fixture.set_out(number, false)).sum();

        // Three may wait; with the fourth all before it were sent as well.
        assert_eq!(sent, 5);
        assert_eq!(fixture.replay(1).gap, Some(GapReason::History));
        assert_eq!(fixture.arrive(&event(2, Some(4))), Arrival::Known);
        assert_eq!(fixture.replay(1).gap, Some(GapReason::History));
        assert_eq!(fixture.arrive(&event(3, Some(5))), Arrival::Known);
        assert_eq!(fixture.replay(1).gap, None);
        assert_eq!(fixture.set_out(6, false), 0);
        assert_eq!(fixture.arrive(&event(4, Some(6))), Arrival::Next);
    }

    #[test]
    fn a_cut_is_told_once() {
        let mut fixture = Fixture::at(1);
        let mut cut = |is_cut| fixture.past.cut(&channel(), is_cut);

        assert_eq!(
            [cut(false), cut(true), cut(true), cut(false), cut(true)],
            [false, true, false, false, true]
        );
    }
}
