//! Personal updates of a chat, from RabbitMQ to the pages of each user.
//!
//! ```text
//! pages of a user -> presence (who reads here) -> readers -> queues (bind, consume)
//! RabbitMQ -> carrier -> update (what it means) -> Publisher -> private-user;ID
//! operators -> GET /adapters/chat3/v1/… -> endpoint
//! ```
//!
//! The chat (Chat3) publishes to a topic exchange of its own; each node binds a queue
//! for each of its users and delivers what comes to its own pages only.
//! docs/adapters/chat.md goes through everything that the chat's old back end did.

mod binding;
mod carrier;
mod endpoint;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod moves;
mod presence;
mod queues;
mod readers;
pub mod rules;
mod update;

use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::{ChannelName, Limits};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use self::binding::Bindings;
use self::queues::Queues;
use self::readers::Readers;
use super::broker::{Link, Session, Trouble};
use super::count::Count;
use super::ground::{Adapter, Ground};
use super::token::Token;
use crate::config::ChatConfig;
use crate::hub::Scope;
use crate::hub::engine::Figure;
use crate::limits::{Addresses, Rates};

/// The channel whose members are online.
const ONLINE: &str = "presence-chat3-online";

/// Wrong tokens of one address within a minute, after which it is not listened to.
const FAILURES_PER_MINUTE: u32 = 100;

/// Requests of one address within a minute.
const REQUESTS_PER_MINUTE: u32 = 600;

/// The chat. One per server.
#[derive(Debug)]
pub struct Chat {
    ground: Ground,
    config: ChatConfig,
    grace: Duration,
    bindings: Bindings,
    link: Link,
    readers: Arc<Readers>,
    online: ChannelName,
    /// What operators must send.
    token: Option<Token>,
    failures: Addresses,
    requests: Rates,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    updates: Count,
    shortened: Count,
    malformed: Count,
    foreign: Count,
    dropped: Count,
    refused: Count,
    moved: Count,
}

impl Chat {
    /// On `ground`, where a user stays bound for `grace` after their last page has
    /// gone; the broker shows this node as `node`. `None`: the broker's URL is none,
    /// which the configuration has checked.
    #[must_use]
    pub fn new(ground: Ground, config: &ChatConfig, grace: Duration, node: &str) -> Option<Self> {
        Some(Self {
            link: Link::new(
                config.url.parse()?,
                format!("fanfare-{node}/chat3"),
                "Updates will not be available.",
            ),
            ground,
            grace,
            bindings: Bindings::new(&config.bindings),
            readers: Arc::default(),
            online: ChannelName::parse(ONLINE, &Limits::default())
                .expect("the name of a channel is one"),
            token: config.token.as_ref().map(Token::new),
            failures: Addresses::new(None, Some(FAILURES_PER_MINUTE)),
            requests: Rates::per_minute(REQUESTS_PER_MINUTE),
            counts: Counts::default(),
            config: config.clone(),
        })
    }

    /// Works over one session until that is over; returns why.
    async fn work(self: Arc<Self>, session: Session) -> Trouble {
        let queues = Queues::new(self, session);
        match queues.exchange_is_there().await {
            Ok(()) => queues.keep().await,
            Err(trouble) => trouble,
        }
    }
}

impl Adapter for Chat {
    fn name(&self) -> &'static str {
        "chat"
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, anyhow::Result<()>> {
        async move {
            // Whatever ends one of the two ends the other, in an orderly way.
            let both = stop.child_token();
            let _end = both.clone().drop_guard();
            let happenings = self.ground.happenings(Scope::Cluster);
            let work = |session| Arc::clone(&self).work(session);
            let follow = async {
                let followed = self.follow(happenings, &both).await;
                both.cancel();
                followed
            };
            let (followed, ()) = tokio::join!(follow, self.link.keep(&both, work));
            followed
        }
        .boxed()
    }

    fn missing(&self) -> Option<String> {
        self.link.missing()
    }

    fn serves_the_last_client(&self) -> bool {
        true
    }

    fn figures(&self) -> Vec<Figure> {
        let link = self.link.state();
        let counts = &self.counts;
        vec![
            Figure::gauge(
                "fanfare_chat3_subscribers",
                "Users of this node whose updates the broker sends.",
                self.readers.bound_count() as u64,
            ),
            Figure::gauge(
                "fanfare_chat3_connected",
                "1 while the broker is connected.",
                link.is_connected.into(),
            ),
            Figure::total(
                "fanfare_chat3_connects_total",
                "Times that the broker was connected.",
                link.connects,
            ),
            Figure::total(
                "fanfare_chat3_connection_failures_total",
                "Times that the broker could not be connected, or was lost.",
                link.failures,
            ),
            Figure::total(
                "fanfare_chat3_updates_total",
                "Updates that were delivered to the pages of this node.",
                counts.updates.get(),
            ),
            Figure::total(
                "fanfare_chat3_shortened_updates_total",
                "Those among them that were too large, and name what is to be fetched.",
                counts.shortened.get(),
            ),
            Figure::total(
                "fanfare_chat3_malformed_updates_total",
                "Messages that are no update; they were rejected.",
                counts.malformed.get(),
            ),
            Figure::total(
                "fanfare_chat3_foreign_updates_total",
                "Updates that name another user than the one that they came for; they were rejected.",
                counts.foreign.get(),
            ),
            Figure::total(
                "fanfare_chat3_dropped_updates_total",
                "Updates that the server could not take twice.",
                counts.dropped.get(),
            ),
            Figure::total(
                "fanfare_chat3_refused_users_total",
                "Subscriptions of users whose id must not stand in a binding.",
                counts.refused.get(),
            ),
            Figure::total(
                "fanfare_chat3_moved_users_total",
                "Users who were moved from a queue of their own to the one of the node.",
                counts.moved.get(),
            ),
        ]
    }
}
