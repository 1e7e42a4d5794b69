//! The ordered way from a channel to its subscribers.
//!
//! Everything that a channel's subscribers must see in one order goes through
//! one queue: publications, and the subscribers' own coming and going. One task
//! at a time is the drainer. It takes the subscriber list out of the channel,
//! works through the queue without holding any lock, and puts the list back when
//! the queue is empty. So a trigger that was answered before the next one was
//! sent is never overtaken, publications that arrive together share one write
//! per subscriber, and a snapshot taken when a subscriber joins the queue has an
//! exact cut against the events after it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use fanfare_protocol::{EventId, Frame, SocketId};
use tokio::sync::oneshot;

use super::bookmarks::Question;
use super::connection::Connection;
use super::history::Replay;

/// Publications that may wait in one channel. A drainer takes all of them at
/// once, so only a channel whose fan-out takes longer than these need to arrive
/// ever gets here.
const MAX_PUBLICATIONS: usize = 1_024;

/// Bytes of publications that may wait in one channel.
const MAX_BYTES: usize = 4 << 20;

/// Subscribers above which they are found by an index instead of a scan.
const INDEX_ABOVE: usize = 16;

/// A step that all subscribers of a channel see in the same order.
#[derive(Debug)]
pub(super) enum Op {
    /// A frame for all subscribers but one.
    Publish {
        frame: Frame,
        except: Option<SocketId>,
        /// When it was published, if it is timed.
        since: Option<Instant>,
    },
    /// A subscriber comes; the greeting is the first that it gets.
    Join {
        peer: Arc<Connection>,
        greeting: Vec<Frame>,
        /// What it has missed, which it gets next.
        replay: Option<Box<Replay>>,
        done: Option<oneshot::Sender<()>>,
    },
    /// A subscriber goes; it gets nothing after this.
    Leave {
        socket_id: SocketId,
        done: Option<oneshot::Sender<()>>,
    },
    /// Everything up to the event `last` has been sent: a session is to be asked
    /// about it.
    Ask {
        question: Arc<Question>,
        last: EventId,
    },
}

/// The queue of a channel, and its subscribers while nobody drains it.
#[derive(Debug)]
pub(super) struct Lane {
    queue: VecDeque<Op>,
    waiting_publications: usize,
    waiting_bytes: usize,
    /// `None` while a drainer has them.
    peers: Option<Peers>,
}

/// What a drainer takes with it.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) ops: VecDeque<Op>,
    pub(super) peers: Peers,
}

impl Lane {
    pub(super) fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            waiting_publications: 0,
            waiting_bytes: 0,
            peers: Some(Peers::default()),
        }
    }

    /// Whether one more publication may wait.
    pub(super) fn has_room(&self) -> bool {
        self.waiting_publications < MAX_PUBLICATIONS && self.waiting_bytes < MAX_BYTES
    }

    /// Whether somebody is draining, so that a new step will have to wait.
    pub(super) fn is_draining(&self) -> bool {
        self.peers.is_none()
    }

    /// The subscribers, while nobody drains.
    pub(super) fn peers(&self) -> Option<&Peers> {
        self.peers.as_ref()
    }

    pub(super) fn push(&mut self, op: Op) {
        if let Op::Publish { frame, .. } = &op {
            self.waiting_publications += 1;
            self.waiting_bytes += frame.as_websocket().len();
        }
        self.queue.push_back(op);
    }

    /// Makes the caller the drainer, if there is work and nobody is at it.
    pub(super) fn take_work(&mut self) -> Option<Work> {
        if self.queue.is_empty() {
            return None;
        }
        let peers = self.peers.take()?;
        Some(self.work(peers))
    }

    /// Ends a drainer's turn, or gives it what has come in the meantime.
    pub(super) fn hand_back(&mut self, peers: Peers) -> Option<Work> {
        if self.queue.is_empty() {
            self.peers = Some(peers);
            return None;
        }
        Some(self.work(peers))
    }

    fn work(&mut self, peers: Peers) -> Work {
        self.waiting_publications = 0;
        self.waiting_bytes = 0;
        Work {
            ops: std::mem::take(&mut self.queue),
            peers,
        }
    }
}

/// The subscribers of a channel, in no particular order.
#[derive(Debug, Default)]
pub(super) struct Peers {
    list: Vec<Arc<Connection>>,
    /// Position by socket id, once the list is long.
    index: Option<HashMap<SocketId, usize>>,
}

impl Peers {
    pub(super) fn has(&self, socket_id: SocketId) -> bool {
        match &self.index {
            Some(index) => index.contains_key(&socket_id),
            None => self.ids().any(|id| id == socket_id),
        }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = SocketId> + '_ {
        self.list.iter().map(|peer| peer.socket_id)
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn get(&self, socket_id: SocketId) -> Option<&Arc<Connection>> {
        match &self.index {
            Some(index) => self.list.get(*index.get(&socket_id)?),
            None => self.list.iter().find(|peer| peer.socket_id == socket_id),
        }
    }

    /// At most `count` subscribers from `first` on.
    pub(super) fn portion(&self, first: usize, count: usize) -> &[Arc<Connection>] {
        let rest = self.list.get(first..).unwrap_or_default();
        &rest[..rest.len().min(count)]
    }

    pub(super) fn insert(&mut self, peer: Arc<Connection>) {
        let position = self.list.len();
        if let Some(index) = &mut self.index {
            index.insert(peer.socket_id, position);
        }
        self.list.push(peer);
        if self.index.is_none() && self.list.len() > INDEX_ABOVE {
            self.index = Some(self.positions().collect());
        }
    }

    pub(super) fn remove(&mut self, socket_id: SocketId) {
        let position = match &mut self.index {
            Some(index) => index.remove(&socket_id),
            None => self
                .list
                .iter()
                .position(|peer| peer.socket_id == socket_id),
        };
        let Some(position) = position else {
            return;
        };
        self.list.swap_remove(position);
        if let (Some(index), Some(moved)) = (&mut self.index, self.list.get(position)) {
            index.insert(moved.socket_id, position);
        }
        if self.list.len() <= INDEX_ABOVE / 2 {
            self.index = None;
            self.list.shrink_to(INDEX_ABOVE);
        }
    }

    fn positions(&self) -> impl Iterator<Item = (SocketId, usize)> + '_ {
        self.list
            .iter()
            .enumerate()
            .map(|(position, peer)| (peer.socket_id, position))
    }
}

/// Publications that go to every subscriber in one write.
///
/// Subscribers may come while it is gathered: they stand last in the list, and get
/// only what was published after they came. So a thousand members who join at once
/// are told of each other in a few writes each.
#[derive(Debug, Default)]
pub(super) struct Batch {
    frames: Vec<Frame>,
    /// Of all frames.
    bytes: usize,
    /// When the first publication that is timed was published.
    pub(super) since: Option<Instant>,
    /// Positions in `frames` that one subscriber does not get.
    exceptions: Vec<(usize, SocketId)>,
    /// The first position in `frames` that each of the last subscribers gets.
    late: Vec<usize>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether a subscriber has come since the first publication.
    pub(super) fn has_late(&self) -> bool {
        !self.late.is_empty()
    }

    pub(super) fn add(&mut self, frame: Frame, except: Option<SocketId>, since: Option<Instant>) {
        if let Some(socket_id) = except {
            self.exceptions.push((self.frames.len(), socket_id));
        }
        self.bytes += frame.as_websocket().len();
        self.since = self.since.or(since);
        self.frames.push(frame);
    }

    /// The subscriber that was just put last in the list gets only what is added
    /// from now on.
    pub(super) fn note_late(&mut self) {
        if !self.is_empty() {
            self.late.push(self.frames.len());
        }
    }

    /// Sends what is for them to at most `count` of `peers`, from `first` on, and
    /// returns how much that was.
    pub(super) fn deliver(&self, peers: &Peers, first: usize, count: usize) -> Sent {
        let portion = peers.portion(first, count);
        let first_late = peers.len() - self.late.len();
        let timely = first_late.saturating_sub(first).min(portion.len());
        let (timely, late) = portion.split_at(timely);
        let mut sent = Sent::default();
        if self.exceptions.is_empty() {
            for peer in timely {
                peer.outbox().push(&self.frames);
            }
            sent.frames = self.frames.len() * timely.len();
            sent.bytes = self.bytes * timely.len();
        } else {
            for peer in timely {
                sent += self.deliver_from(0, peer);
            }
        }
        let from = &self.late[first.saturating_sub(first_late).min(self.late.len())..];
        for (peer, &from) in late.iter().zip(from) {
            sent += self.deliver_from(from, peer);
        }
        sent
    }

    /// Sends to `peer` what is for it, from the position `from` on.
    pub(super) fn deliver_from(&self, from: usize, peer: &Connection) -> Sent {
        let frames = &self.frames[from..];
        if frames.is_empty() {
            return Sent::default();
        }
        let has_exception = self
            .exceptions
            .iter()
            .any(|(_, socket_id)| *socket_id == peer.socket_id);
        if !has_exception {
            peer.outbox().push(frames);
            return if from == 0 {
                Sent {
                    frames: frames.len(),
                    bytes: self.bytes,
                }
            } else {
                Sent::of(frames)
            };
        }
        let is_excepted = |position: usize| self.exceptions.contains(&(position, peer.socket_id));
        let frames: Vec<Frame> = frames
            .iter()
            .zip(from..)
            .filter(|(_, position)| !is_excepted(*position))
            .map(|(frame, _)| frame.clone())
            .collect();
        if !frames.is_empty() {
            peer.outbox().push(&frames);
        }
        Sent::of(&frames)
    }
}

/// How much was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    pub(super) frames: usize,
    pub(super) bytes: usize,
}

impl Sent {
    pub(super) fn of(frames: &[Frame]) -> Self {
        Self {
            frames: frames.len(),
            bytes: frames.iter().map(|frame| frame.as_websocket().len()).sum(),
        }
    }
}

impl std::ops::AddAssign for Sent {
    fn add_assign(&mut self, more: Self) {
        self.frames += more.frames;
        self.bytes += more.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::recorder::Recorder;
    use super::*;

    fn peer(number: u64) -> Arc<Connection> {
        recorded(number)
    }

    fn recorded(number: u64) -> Arc<Connection<Recorder>> {
        let socket_id = format!("1.{number}").parse().unwrap();
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        Arc::new(Connection::new(socket_id, address, Recorder::default(), 0))
    }

    #[test]
    fn peers_are_found_with_and_without_an_index() {
        let mut peers = Peers::default();
        let all: Vec<_> = (1..=40).map(peer).collect();
        for peer in &all {
            peers.insert(Arc::clone(peer));
        }

        for (gone, peer) in all.iter().enumerate() {
            peers.remove(peer.socket_id);
            peers.remove(peer.socket_id);

            let mut left: Vec<SocketId> = peers.list.iter().map(|peer| peer.socket_id).collect();
            left.sort_unstable();
            let expected: Vec<SocketId> =
                all[gone + 1..].iter().map(|peer| peer.socket_id).collect();
            assert_eq!(left, expected);
        }
    }

    #[test]
    fn who_comes_while_a_batch_is_gathered_gets_the_rest_of_it() {
        let frame = Frame::from_text;
        let all: Vec<_> = (1..=4).map(recorded).collect();
        for portion in 1..=all.len() {
            let mut peers = Peers::default();
            let mut batch = Batch::default();
            peers.insert(all[0].clone());
            // Before the first frame: not late.
            peers.insert(all[1].clone());
            batch.note_late();
            assert!(!batch.has_late());
            batch.add(frame("a"), None, None);
            peers.insert(all[2].clone());
            batch.note_late();
            batch.add(frame("b"), Some(all[1].socket_id), None);
            batch.add(frame("c"), Some(all[2].socket_id), None);
            peers.insert(all[3].clone());
            batch.note_late();

            let mut sent = Sent::default();
            for first in (0..all.len()).step_by(portion) {
                sent += batch.deliver(&peers, first, portion);
            }

            assert_eq!((sent.frames, sent.bytes), (6, 6 * batch.bytes / 3));
        }
        let received = |position: usize| all[position].outbox().received().join(" ");
        assert_eq!(received(0), ["a b c"; 4].join(" "));
        assert_eq!(received(1), ["a c"; 4].join(" "));
        assert_eq!(received(2), ["b"; 4].join(" "));
        assert_eq!(received(3), "");
    }

    #[test]
    fn only_one_drainer_works_at_a_time_and_it_gets_what_came_later() {
        let mut lane = Lane::new();
        let leave = || Op::Leave {
            socket_id: "1.1".parse().unwrap(),
            done: None,
        };
        assert!(lane.take_work().is_none());

        lane.push(leave());
        let first = lane.take_work().unwrap();
        lane.push(leave());

        assert!(lane.is_draining());
        assert!(lane.take_work().is_none());
        let second = lane.hand_back(first.peers).unwrap();
        assert_eq!(second.ops.len(), 1);
        assert!(lane.hand_back(second.peers).is_none());
        assert!(!lane.is_draining());
    }
}
