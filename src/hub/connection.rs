//! One client, as the rest of the server sees it.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fanfare_protocol::{Close, Frame, SocketId};

/// Where the messages for one client go.
///
/// Every method returns at once and none of them fails: a client that cannot
/// take what it is given is closed by its outbox, and only that client suffers.
/// Frames reach the client in the order in which they were pushed, or not at
/// all after a close.
pub trait Outbox: Send + Sync {
    /// Sends `frames` now, or keeps them until the client takes them. Above the
    /// bound of the queue the client is closed with 4100.
    fn push(&self, frames: &[Frame]);

    /// As [`Self::push`], for what a returning client has missed: the frames are
    /// kept by the history too, so they may be more than the queue's bound.
    fn push_replay(&self, frames: &[Frame]) {
        self.push(frames);
    }

    /// Whether some of that still waits; a client gets no second one meanwhile.
    fn is_replaying(&self) -> bool {
        false
    }

    /// Says good-bye after what was pushed before. Later pushes are dropped.
    fn close(&self, close: &Close);

    /// Drops the client without waiting for anything, after an attempt to say why.
    fn abort(&self, close: &Close);

    /// Asks the client for a sign of life.
    fn probe(&self);

    /// What carries it, for those who look.
    fn transport(&self) -> &'static str {
        "websocket"
    }

    /// Bytes that wait for the client, for those who look.
    fn waiting_bytes(&self) -> usize {
        0
    }

    /// Milliseconds since the client last took something although more is
    /// waiting for it; `None` while nothing waits.
    fn stalled_ms(&self, now_ms: u64) -> Option<u64>;
}

/// One client: its id, its outbox and its signs of life.
///
/// The outbox is the last field, so that a connection and its outbox are one
/// allocation behind one `Arc<Connection>`.
pub struct Connection<O: ?Sized = dyn Outbox> {
    /// The id on the wire.
    pub socket_id: SocketId,
    /// Where it comes from.
    pub address: IpAddr,
    /// When it came, in milliseconds of the hub's clock.
    opened_ms: u64,
    /// When anything last came from it; written by its own task.
    last_seen_ms: AtomicU64,
    /// When it was asked for a sign of life; 0 while no answer is awaited.
    probed_ms: AtomicU64,
    /// Whether it has signed in or holds a private subscription.
    authorized: AtomicBool,
    /// When the first of its signatures ends, in milliseconds of the hub's clock;
    /// `u64::MAX` when none does.
    ends_ms: AtomicU64,
    /// What it calls itself: a number of the hub's `Clients`.
    pub(super) client: u16,
    outbox: O,
}

/// What the sweep finds out about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Liveness {
    Fine,
    /// Silent for so long that it should be asked.
    Silent,
    /// Asked, and no answer in time.
    Dead,
}

impl<O: Outbox> Connection<O> {
    pub(super) fn new(socket_id: SocketId, address: IpAddr, outbox: O, now_ms: u64) -> Self {
        Self {
            socket_id,
            address,
            opened_ms: now_ms,
            last_seen_ms: AtomicU64::new(now_ms),
            probed_ms: AtomicU64::new(0),
            authorized: AtomicBool::new(false),
            ends_ms: AtomicU64::new(u64::MAX),
            client: 0,
            outbox,
        }
    }

    pub(super) fn calls_itself(mut self, client: u16) -> Self {
        self.client = client;
        self
    }
}

impl<O: Outbox + ?Sized> Connection<O> {
    /// The outbox.
    pub fn outbox(&self) -> &O {
        &self.outbox
    }

    /// Notes a sign of life, of whatever kind.
    pub fn seen(&self, now_ms: u64) {
        self.last_seen_ms.store(now_ms, Ordering::Relaxed);
        self.probed_ms.store(0, Ordering::Relaxed);
    }

    pub(super) fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.opened_ms)
    }

    /// Time since anything came from it.
    pub(super) fn silence_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.last_seen_ms.load(Ordering::Relaxed))
    }

    pub(super) fn is_authorized(&self) -> bool {
        self.authorized.load(Ordering::Relaxed)
    }

    /// Returns whether it was not authorised before.
    pub(super) fn authorize(&self) -> bool {
        !self.authorized.swap(true, Ordering::Relaxed)
    }

    /// Notes that a signature of this connection ends at `ends_ms`.
    pub(super) fn end_at(&self, ends_ms: u64) {
        self.ends_ms.fetch_min(ends_ms, Ordering::Relaxed);
    }

    /// Whether one of its signatures has ended.
    pub(super) fn has_ended(&self, now_ms: u64) -> bool {
        now_ms >= self.ends_ms.load(Ordering::Relaxed)
    }

    /// Decides what the silence of this connection means, and remembers that it
    /// was asked.
    pub(super) fn liveness(&self, now_ms: u64, ping_after_ms: u64, pong_wait_ms: u64) -> Liveness {
        let probed_ms = self.probed_ms.load(Ordering::Relaxed);
        if probed_ms > 0 {
            return if now_ms.saturating_sub(probed_ms) >= pong_wait_ms {
                Liveness::Dead
            } else {
                Liveness::Fine
            };
        }
        if self.silence_ms(now_ms) < ping_after_ms {
            return Liveness::Fine;
        }
        self.probed_ms.store(now_ms.max(1), Ordering::Relaxed);
        Liveness::Silent
    }
}

impl<O: ?Sized> fmt::Debug for Connection<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("socket_id", &self.socket_id)
            .finish_non_exhaustive()
    }
}

/// An outbox that keeps what it is given, for the tests of the hub.
#[cfg(test)]
pub(crate) mod recorder {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use fanfare_protocol::{Close, Frame};

    use super::Outbox;

    #[derive(Debug, Default)]
    pub(crate) struct Recorder {
        received: Mutex<Vec<String>>,
        pushes: AtomicUsize,
    }

    impl Recorder {
        pub(crate) fn received(&self) -> Vec<String> {
            self.received.lock().unwrap().clone()
        }

        /// How often it was given something.
        pub(crate) fn pushes(&self) -> usize {
            self.pushes.load(Ordering::Relaxed)
        }

        fn note(&self, text: String) {
            self.received.lock().unwrap().push(text);
        }
    }

    impl Outbox for Recorder {
        fn push(&self, frames: &[Frame]) {
            self.pushes.fetch_add(1, Ordering::Relaxed);
            for frame in frames {
                self.note(String::from_utf8(frame.payload().to_vec()).unwrap());
            }
        }

        fn close(&self, close: &Close) {
            self.note(format!("close {}", close.code()));
        }

        fn abort(&self, close: &Close) {
            self.note(format!("abort {}", close.code()));
        }

        fn probe(&self) {
            self.note("probe".to_owned());
        }

        fn stalled_ms(&self, _now_ms: u64) -> Option<u64> {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::recorder::Recorder;
    use super::*;

    fn connection() -> Connection<Recorder> {
        Connection::new(
            "1.1".parse().unwrap(),
            Ipv4Addr::LOCALHOST.into(),
            Recorder::default(),
            1_000,
        )
    }

    /// Checklist 34 to 37.
    #[test]
    fn silence_is_asked_about_once_and_then_is_death() {
        let connection = connection();

        assert_eq!(connection.liveness(45_999, 45_000, 30_000), Liveness::Fine);
        assert_eq!(
            connection.liveness(46_000, 45_000, 30_000),
            Liveness::Silent
        );
        assert_eq!(connection.liveness(75_999, 45_000, 30_000), Liveness::Fine);
        assert_eq!(connection.liveness(76_000, 45_000, 30_000), Liveness::Dead);
        connection.seen(76_000);
        assert_eq!(connection.liveness(76_001, 45_000, 30_000), Liveness::Fine);
    }
}
