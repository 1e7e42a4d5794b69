//! The turn of a drainer: carries what waits in a lane to the subscribers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fanfare_protocol::{ChannelName, Frame};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::app::AppHub;
use super::connection::Connection;
use super::history::Replay;
use super::lane::{Batch, Op, Peers, Sent, Work};

/// Writes between two yields of a drainer that has a task of its own. A write is
/// some 6 µs, so other connections of the worker wait 2 ms at most.
pub(super) const WRITES_PER_YIELD: usize = 256;

/// Subscribers from which on all processors write. Below, the tasks that this takes
/// would cost more than the time that is won.
const SHARED_FROM: usize = 4 * WRITES_PER_YIELD;

/// Owns the subscribers of one channel while it works. Runs in portions, so that
/// neither an API answer nor a worker thread has to wait for a large fan-out.
///
/// Dropping it finishes the work, since nobody else could.
#[derive(Debug)]
pub(super) struct Drain {
    app: Arc<AppHub>,
    channel: ChannelName,
    ops: VecDeque<Op>,
    peers: Peers,
    batch: Batch,
    /// The next subscriber that gets `batch`; past the end when all have it.
    next_peer: usize,
    sent: Sent,
    /// Those that greeted a new subscriber.
    greeted: usize,
    is_finished: bool,
}

impl Drain {
    pub(super) fn new(app: Arc<AppHub>, channel: ChannelName, work: Work) -> Self {
        Self {
            app,
            channel,
            ops: work.ops,
            peers: work.peers,
            batch: Batch::default(),
            next_peer: usize::MAX,
            sent: Sent::default(),
            greeted: 0,
            is_finished: false,
        }
    }

    /// Works until nothing waits, or until `budget` subscribers were written to.
    /// Returns whether nothing waits any more.
    pub(super) fn run(&mut self, budget: &mut usize) -> bool {
        while !self.is_finished {
            let count = self.peers.portion(self.next_peer, *budget).len();
            self.sent += self.batch.deliver(&self.peers, self.next_peer, count);
            *budget -= count;
            self.next_peer = self.next_peer.saturating_add(count);
            if self.next_peer < self.peers.len() {
                return false;
            }
            self.next_batch(budget);
            if *budget == 0 && !self.is_finished {
                return false;
            }
        }
        true
    }

    /// Takes the next steps out of the queue up to one that needs the publications
    /// before it delivered, or hands the subscribers back.
    fn next_batch(&mut self, budget: &mut usize) {
        if let Some(since) = self.batch.since {
            let seconds = since.elapsed().as_secs_f64();
            self.app.core().node().publish_seconds.observe(seconds);
        }
        self.batch = Batch::default();
        // Who comes next is not to get what was sent before.
        self.next_peer = usize::MAX;
        while *budget > 0
            && let Some(op) = self.ops.pop_front()
        {
            match op {
                Op::Publish {
                    frame,
                    except,
                    since,
                } => self.batch.add(frame, except, since),
                Op::Join {
                    peer,
                    greeting,
                    replay,
                    done,
                } => {
                    *budget -= 1;
                    self.greet(&peer, &greeting, replay);
                    self.peers.insert(peer);
                    self.batch.note_late();
                    // The receiver is gone when the client is; nobody to tell then.
                    let _ = done.map(|done| done.send(()));
                }
                Op::Leave { socket_id, done } if !self.batch.has_late() => {
                    if !self.batch.is_empty()
                        && let Some(peer) = self.peers.get(socket_id)
                    {
                        *budget -= 1;
                        self.sent += self.batch.deliver_from(0, peer);
                    }
                    self.peers.remove(socket_id);
                    let _ = done.map(|done| done.send(()));
                }
                Op::Ask { question, last } if self.batch.is_empty() => {
                    // A ping, perhaps.
                    *budget -= 1;
                    question.passed(Some((self.channel.clone(), last)));
                }
                op => {
                    self.ops.push_front(op);
                    break;
                }
            }
        }
        if !self.batch.is_empty() {
            self.next_peer = 0;
        } else if self.ops.is_empty() {
            self.hand_back();
        }
    }

    fn greet(&mut self, peer: &Connection, greeting: &[Frame], replay: Option<Box<Replay>>) {
        self.sent += Sent::of(greeting);
        self.greeted += greeting.len();
        peer.outbox().push(greeting);
        if let Some(replay) = replay {
            for (_, frame) in &replay.events {
                self.sent += Sent::of(std::slice::from_ref(frame));
            }
            self.greeted += replay.events.len();
            replay.send(peer, &self.channel);
        }
    }

    /// Has the rest of the batch written by all worker threads. Returns when every
    /// subscriber has it, so that the next step cannot overtake it.
    async fn share(&mut self, workers: usize) {
        let round = Arc::new(Round {
            batch: std::mem::take(&mut self.batch),
            peers: std::mem::take(&mut self.peers),
            next_peer: AtomicUsize::new(self.next_peer),
            sent: Mutex::default(),
        });
        let mut others = JoinSet::new();
        for _ in 1..workers {
            let round = Arc::clone(&round);
            others.spawn(async move { round.work().await });
        }
        round.work().await;
        while others.join_next().await.is_some() {}
        let round = Arc::into_inner(round).expect("the other tasks have ended");
        self.sent += round
            .sent
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        // Timed when the next batch begins.
        self.batch.since = round.batch.since;
        self.peers = round.peers;
        self.next_peer = usize::MAX;
    }

    fn hand_back(&mut self) {
        self.app
            .counters
            .messages_sent
            .fetch_add(self.sent.frames as u64, Ordering::Relaxed);
        self.app
            .counters
            .sent_bytes
            .fetch_add(self.sent.bytes as u64, Ordering::Relaxed);
        self.sent = Sent::default();
        if self.greeted > 0 {
            self.app
                .counters
                .greetings
                .fetch_add(self.greeted as u64, Ordering::Relaxed);
            self.greeted = 0;
        }
        self.batch = Batch::default();
        let peers = std::mem::take(&mut self.peers);
        match self.app.hand_back(&self.channel, peers) {
            Some(work) => {
                self.ops = work.ops;
                self.peers = work.peers;
            }
            None => self.is_finished = true,
        }
    }

    /// Works until nothing waits, and lets other tasks run in between.
    pub(super) async fn finish(mut self) {
        let workers = Handle::current().metrics().num_workers();
        loop {
            if workers > 1 && self.peers.len().saturating_sub(self.next_peer) >= SHARED_FROM {
                self.share(workers).await;
            }
            let mut budget = WRITES_PER_YIELD;
            if self.run(&mut budget) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// One batch on its way to many subscribers. Tasks take portions of them until none
/// is left, so a task that never gets to run delays nobody.
#[derive(Debug)]
struct Round {
    batch: Batch,
    peers: Peers,
    next_peer: AtomicUsize,
    /// Added to once for each portion.
    sent: Mutex<Sent>,
}

impl Round {
    async fn work(&self) {
        loop {
            let first = self
                .next_peer
                .fetch_add(WRITES_PER_YIELD, Ordering::Relaxed);
            if first >= self.peers.len() {
                return;
            }
            let sent = self.batch.deliver(&self.peers, first, WRITES_PER_YIELD);
            *self.sent.lock().unwrap_or_else(PoisonError::into_inner) += sent;
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        let mut unlimited = usize::MAX;
        self.run(&mut unlimited);
    }
}
