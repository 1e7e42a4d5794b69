//! What back ends publish, for those who look on: the live feed of an operator.
//!
//! While nobody looks, a publication pays one relaxed load. While somebody does,
//! at most [`PER_SECOND`] of a second are copied; the others are counted.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use fanfare_protocol::{AppId, ChannelName};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::broadcast;

/// Publications that are shown in a second, of all apps together.
const PER_SECOND: NonZeroU32 = NonZeroU32::new(500).expect("it is not zero");

/// Publications that wait for the slowest of those who look.
const CAPACITY: usize = 1_024;

/// Bytes of the data that are shown.
const MAX_DATA: usize = 1_024;

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
    sender: broadcast::Sender<Published>,
}

/// Somebody who looks on, until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    /// What is published from now on.
    pub published: broadcast::Receiver<Published>,
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
            sender: broadcast::Sender::new(CAPACITY),
        }
    }

    pub(super) fn watch(&self) -> Watcher {
        self.watchers.fetch_add(1, Ordering::Relaxed);
        Watcher {
            published: self.sender.subscribe(),
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
            if self.bucket.check().is_err() {
                self.skipped.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            // The last one who looked may have gone since.
            let _ = self.sender.send(Published {
                app: app.clone(),
                channel: channel.clone(),
                event: Arc::clone(&event),
                data: Arc::clone(&shown),
                size: data.len(),
            });
        }
    }
}

impl Watcher {
    /// How many publications were not shown since the last call.
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

        let shown = std::iter::from_fn(|| watcher.published.try_recv().ok()).count();
        let skipped = watcher.take_skipped();
        assert_eq!(shown as u64 + skipped, 1_000);
        assert!(shown >= 500 && skipped > 0, "{shown} {skipped}");
        assert_eq!(watcher.take_skipped(), 0);
        drop(watcher);
        assert!(!watch.is_watched());
    }

    #[test]
    fn data_is_cut_at_a_character() {
        let data = format!("{}é", "x".repeat(MAX_DATA - 1));
        assert_eq!(beginning(&data).len(), MAX_DATA - 1);
        assert_eq!(beginning("é"), "é");
    }
}
