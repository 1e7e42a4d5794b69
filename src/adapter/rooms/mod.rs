//! The realtime service of a call centre, in the place of the one that it had.
//!
//! ```text
//! back ends -> POST /api/v1/broadcast/… -> endpoint -> broadcast -> Publisher
//! operators -> GET /api/v1/stats/…, /health -> endpoint
//! presence-online -> happenings -> presence -> user:online, user:offline
//! ```
//!
//! Rooms are channels by [`crate::adapter::auth::room`]; [`rules`] says who may be in
//! which. docs/adapters/rooms.md goes through everything that the old service did.

mod broadcast;
mod endpoint;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod memory;
mod presence;
pub mod rules;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use fanfare_protocol::{ChannelName, Limits, SocketId, UserId};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use self::memory::Memory;
use super::auth::Authority;
use super::auth::origins::Origins;
use super::count::Count;
use super::ground::{Adapter, Ground, event_id};
use super::token::Token;
use crate::config::{AuthConfig, RoomsConfig};
use crate::engine::RedisCommands;
use crate::hub::Scope;
use crate::hub::engine::Figure;
use crate::limits::{Addresses, Rates};

/// The channel whose members are online.
const ONLINE: &str = "presence-online";

/// Wrong tokens of one address within a minute, after which it is not listened to.
const FAILURES_PER_MINUTE: u32 = 100;

/// Requests for statistics of one address within a minute.
const STATS_PER_MINUTE: u32 = 100;

/// The service. One per server.
#[derive(Debug)]
pub struct Rooms {
    ground: Ground,
    authority: Arc<Authority>,
    origins: Origins,
    config: RoomsConfig,
    memory: Memory,
    /// What back ends must send.
    token: Option<Token>,
    online: ChannelName,
    /// The connections of this node whose users are online.
    sockets: Mutex<HashMap<SocketId, UserId>>,
    /// This node among the others.
    node: String,
    started: Instant,
    failures: Addresses,
    stats: Rates,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    broadcasts: Count,
    ignored: Count,
    refused: Count,
    online: Count,
}

impl Rooms {
    /// On `ground`; people are who `authority`, made of `auth`, says they are. With `redis` the nodes of
    /// the deployment remember together.
    #[must_use]
    pub fn new(
        ground: Ground,
        config: &RoomsConfig,
        auth: &AuthConfig,
        authority: Arc<Authority>,
        redis: Option<RedisCommands>,
    ) -> Self {
        let memory = match redis {
            Some(redis) => Memory::shared(redis, ground.app_id().as_str()),
            None => Memory::local(),
        };
        Self {
            ground,
            authority,
            origins: Origins::new(&auth.allowed_origins),
            memory,
            token: config.webhook_token.as_ref().map(Token::new),
            config: config.clone(),
            online: ChannelName::parse(ONLINE, &Limits::default())
                .expect("the name of a channel is one"),
            sockets: Mutex::default(),
            node: event_id(),
            started: Instant::now(),
            failures: Addresses::new(None, Some(FAILURES_PER_MINUTE)),
            stats: Rates::per_minute(STATS_PER_MINUTE),
            counts: Counts::default(),
        }
    }
}

impl Adapter for Rooms {
    fn name(&self) -> &'static str {
        "rooms"
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, anyhow::Result<()>> {
        async move {
            let happenings = self.ground.happenings(Scope::Cluster);
            self.follow(happenings, stop).await
        }
        .boxed()
    }

    fn figures(&self) -> Vec<Figure> {
        let figure = |name, help, count: &Count| Figure::total(name, help, count.get());
        vec![
            figure(
                "fanfare_rooms_events_total",
                "Events that back ends broadcast, and those derived from them.",
                &self.counts.broadcasts,
            ),
            figure(
                "fanfare_rooms_ignored_rooms_total",
                "Rooms of broadcasts that stand for nobody, such as operator:undefined.",
                &self.counts.ignored,
            ),
            figure(
                "fanfare_rooms_refused_tokens_total",
                "Broadcasts with a wrong token.",
                &self.counts.refused,
            ),
            figure(
                "fanfare_rooms_online_events_total",
                "Times that this node told of a user's coming or going.",
                &self.counts.online,
            ),
        ]
    }
}
