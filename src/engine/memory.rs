//! The engine of a single node: there is nobody else to tell.

use std::time::{Duration, Instant};

use fanfare_protocol::{AppId, ChannelName, UserId};
use futures_util::future::{BoxFuture, FutureExt, ready};
use moka::Expiry;
use moka::sync::Cache;

use crate::hub::AppHub;
use crate::hub::engine::{CachedEvent, Engine, EngineError, Occupancy, Publication, SharedState};

/// Bytes of cached events over all apps. Above it the events that were used
/// least are forgotten before their time.
const CACHE_BYTES: u64 = 64 << 20;

/// What one cached event costs beside its text.
const ENTRY_OVERHEAD: usize = 256;

type CacheKey = (AppId, ChannelName);

/// Keeps cached events; everything else is already known to the hub.
#[derive(Debug)]
pub struct MemoryEngine {
    cache: Cache<CacheKey, CachedEvent>,
}

impl MemoryEngine {
    /// Starts with an empty cache.
    #[must_use]
    pub fn new() -> Self {
        let cache = Cache::builder()
            .max_capacity(CACHE_BYTES)
            .weigher(|_key: &CacheKey, event: &CachedEvent| {
                let bytes = event.frame.as_websocket().len() + event.data.len() + ENTRY_OVERHEAD;
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .expire_after(UntilItExpires)
            .build();
        Self { cache }
    }

    fn get(&self, app: &AppId, channel: &ChannelName) -> Option<CachedEvent> {
        self.cache.get(&(app.clone(), channel.clone()))
    }
}

impl Default for MemoryEngine {
    fn default() -> Self {
        Self::new()
    }
}

/// Each event carries its own end.
#[derive(Debug)]
struct UntilItExpires;

impl Expiry<CacheKey, CachedEvent> for UntilItExpires {
    fn expire_after_create(
        &self,
        _key: &CacheKey,
        event: &CachedEvent,
        created: Instant,
    ) -> Option<Duration> {
        Some(event.expires.saturating_duration_since(created))
    }

    fn expire_after_update(
        &self,
        _key: &CacheKey,
        event: &CachedEvent,
        updated: Instant,
        _current: Option<Duration>,
    ) -> Option<Duration> {
        Some(event.expires.saturating_duration_since(updated))
    }
}

impl Engine for MemoryEngine {
    fn is_clustered(&self) -> bool {
        false
    }

    fn publish(&self, publication: &Publication) {
        if let Some(cached) = &publication.cached {
            let key = (publication.app.clone(), publication.channel.clone());
            self.cache.insert(key, cached.clone());
        }
    }

    fn attach<'a>(
        &'a self,
        app: &'a AppId,
        channel: &'a ChannelName,
    ) -> BoxFuture<'a, Result<SharedState, EngineError>> {
        let cached = channel.is_cache().then(|| self.get(app, channel)).flatten();
        ready(Ok(SharedState { cached })).boxed()
    }

    fn changed(&self, _app: &AppId, _channel: &ChannelName) {}

    fn attach_users<'a>(&'a self, _app: &'a AppId, _users: Vec<UserId>) -> BoxFuture<'a, ()> {
        ready(()).boxed()
    }

    fn user_changed(&self, _app: &AppId, _user: &UserId) {}

    fn cached<'a>(
        &'a self,
        app: &'a AppId,
        channel: &'a ChannelName,
    ) -> BoxFuture<'a, Result<Option<CachedEvent>, EngineError>> {
        ready(Ok(self.get(app, channel))).boxed()
    }

    fn channels<'a>(
        &'a self,
        local: &'a AppHub,
        prefix: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Occupancy>, EngineError>> {
        ready(Ok(local.channels(prefix))).boxed()
    }

    fn occupancy<'a>(
        &'a self,
        local: &'a AppHub,
        channel: &'a ChannelName,
    ) -> BoxFuture<'a, Result<Occupancy, EngineError>> {
        ready(Ok(local.occupancy(channel))).boxed()
    }

    fn users<'a>(
        &'a self,
        local: &'a AppHub,
        channel: &'a ChannelName,
    ) -> BoxFuture<'a, Result<Vec<UserId>, EngineError>> {
        ready(Ok(local.users(channel))).boxed()
    }

    fn terminate(&self, _app: &AppId, _user: &UserId) {}
}
