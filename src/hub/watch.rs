//! What back ends publish, what clients are refused and what becomes of webhooks, for
//! those who look on: the live feed of an operator.
//!
//! While nobody looks, a publication pays one relaxed load. While somebody does,
//! at most [`PER_SECOND`] of a second are copied; the others are counted.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use fanfare_protocol::error::ClientError;
use fanfare_protocol::{AppId, ChannelName, Close, SocketId};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::broadcast;

/// Sights of a second, of all apps together.
const PER_SECOND: NonZeroU32 = NonZeroU32::new(500).expect("it is not zero");

/// Clients of a second that are not let in. Fewer, as many at a time are all alike, and
/// must not take the place of everything else.
const TURNED_AWAY_PER_SECOND: NonZeroU32 = NonZeroU32::new(20).expect("it is not zero");

/// Sights that wait for the slowest of those who look.
const CAPACITY: usize = 1_024;

/// Bytes of the data that are shown.
const MAX_DATA: usize = 1_024;

/// Something that is only made for those who look.
#[derive(Clone, Debug)]
pub enum Sight {
    /// A back end published.
    Published(Published),
    /// A client was told that it cannot have what it asked for.
    Refused {
        /// The app.
        app: AppId,
        /// The client.
        socket_id: SocketId,
        /// The code that it got, if the refusal has one.
        code: Option<u16>,
        /// The text that it got.
        message: Arc<str>,
    },
    /// A client was not let in.
    TurnedAway {
        /// The app, if its key is one.
        app: Option<AppId>,
        /// Where the client comes from.
        address: IpAddr,
        /// The code that it got.
        code: u16,
        /// The reason that it got.
        reason: Arc<str>,
    },
    /// A request of a webhook was tried.
    Webhook {
        /// The app.
        app: AppId,
        /// Where it went.
        url: Arc<str>,
        /// What became of it, as the journal calls it.
        outcome: &'static str,
        /// What it was answered.
        status: Option<u16>,
        /// How long that took.
        latency: Duration,
        /// Why it failed.
        error: Option<Arc<str>>,
    },
}

/// An event that a back end published to one channel.
#[derive(Clone, Debug)]
pub struct Published {
    /// The app.
    pub app: AppId,
    /// The channel.
    pub channel: ChannelName,
    /// The name of the event.
    pub event: Arc<str>,
    /// Its data, or the beginning of it.
    pub data: Arc<str>,
    /// Bytes of the whole data.
    pub size: usize,
}

/// The writing end.
#[derive(Debug)]
pub(super) struct Watch {
    watchers: Arc<AtomicUsize>,
    skipped: Arc<AtomicU64>,
    bucket: DefaultDirectRateLimiter,
    door: DefaultDirectRateLimiter,
    sender: broadcast::Sender<Sight>,
}

/// Somebody who looks on, until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    /// What is to be seen from now on.
    pub sights: broadcast::Receiver<Sight>,
    watchers: Arc<AtomicUsize>,
    skipped: Arc<AtomicU64>,
    /// How many had been skipped at the last look.
    seen: u64,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            watchers: Arc::default(),
            skipped: Arc::default(),
            bucket: RateLimiter::direct(Quota::per_second(PER_SECOND)),
            door: RateLimiter::direct(Quota::per_second(TURNED_AWAY_PER_SECOND)),
            sender: broadcast::Sender::new(CAPACITY),
        }
    }

    pub(super) fn watch(&self) -> Watcher {
        self.watchers.fetch_add(1, Ordering::Relaxed);
        Watcher {
            sights: self.sender.subscribe(),
            watchers: Arc::clone(&self.watchers),
            skipped: Arc::clone(&self.skipped),
            seen: self.skipped.load(Ordering::Relaxed),
        }
    }

    /// Whether anybody looks.
    pub(super) fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::Relaxed) > 0
    }

    /// Shows an event, or counts it.
    pub(super) fn show(&self, app: &AppId, channels: &[ChannelName], event: &str, data: &str) {
        let shown = Arc::<str>::from(beginning(data));
        let event = Arc::<str>::from(event);
        for channel in channels {
            self.sight(|| {
                Sight::Published(Published {
                    app: app.clone(),
                    channel: channel.clone(),
                    event: Arc::clone(&event),
                    data: Arc::clone(&shown),
                    size: data.len(),
                })
            });
        }
    }

    /// Shows what a client was told, or counts it.
    pub(super) fn refused(&self, app: &AppId, socket_id: SocketId, error: &ClientError) {
        self.sight(|| Sight::Refused {
            app: app.clone(),
            socket_id,
            code: error.code(),
            message: error.to_string().into(),
        });
    }

    /// Shows that a client was not let in, or counts it.
    pub(super) fn turned_away(&self, app: Option<&AppId>, address: IpAddr, close: &Close) {
        if self.is_watched() && self.door.check().is_err() {
            self.skipped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.sight(|| Sight::TurnedAway {
            app: app.cloned(),
            address,
            code: close.code(),
            reason: close.reason().into(),
        });
    }

    /// Shows something, or counts it; makes it only for somebody who looks.
    pub(super) fn sight(&self, make: impl FnOnce() -> Sight) {
        if !self.is_watched() {
            return;
        }
        if self.bucket.check().is_err() {
            self.skipped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // The last one who looked may have gone since.
        let _ = self.sender.send(make());
    }
}

impl Watcher {
    /// How many sights were not shown since the last call.
    pub fn take_skipped(&mut self) -> u64 {
        let skipped = self.skipped.load(Ordering::Relaxed);
        let more = skipped.saturating_sub(self.seen);
        self.seen = skipped;
        more
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

fn beginning(data: &str) -> &str {
    &data[..data.floor_char_boundary(MAX_DATA)]
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::Limits;

    use super::*;

    #[test]
    fn more_than_is_shown_in_a_second_is_counted() {
        let watch = Watch::new();
        assert!(!watch.is_watched());
        let mut watcher = watch.watch();
        assert!(watch.is_watched());
        let channel = [ChannelName::parse("news", &Limits::default()).unwrap()];

        for _ in 0..1_000 {
            watch.show(&AppId::new("1"), &channel, "tick", "1");
        }

        let shown = std::iter::from_fn(|| watcher.sights.try_recv().ok()).count();
        let skipped = watcher.take_skipped();
        assert_eq!(shown as u64 + skipped, 1_000);
        assert!(shown >= 500 && skipped > 0, "{shown} {skipped}");
        assert_eq!(watcher.take_skipped(), 0);
        drop(watcher);
        assert!(!watch.is_watched());
    }

    #[test]
    fn a_crowd_at_the_door_leaves_room_for_the_rest() {
        let watch = Watch::new();
        let mut watcher = watch.watch();
        let address = IpAddr::from([192, 0, 2, 1]);

        for _ in 0..10_000 {
            watch.turned_away(None, address, &Close::OverCapacity);
        }
        let shown = std::iter::from_fn(|| watcher.sights.try_recv().ok()).count();
        assert!((20..100).contains(&shown), "{shown}");
        assert_eq!(watcher.take_skipped() + shown as u64, 10_000);
        let channel = [ChannelName::parse("news", &Limits::default()).unwrap()];
        watch.show(&AppId::new("1"), &channel, "tick", "1");
        assert!(watcher.sights.try_recv().is_ok());
    }

    #[test]
    fn data_is_cut_at_a_character() {
        let data = format!("{}é", "x".repeat(MAX_DATA - 1));
        assert_eq!(beginning(&data).len(), MAX_DATA - 1);
        assert_eq!(beginning("é"), "é");
    }
}
