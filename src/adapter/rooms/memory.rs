//! What all nodes of a deployment remember together: orders as they were, users who
//! are known to be online, and what each node has.
//!
//! In Redis where that connects the nodes, else in this process.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use moka::sync::Cache;
use redis::pipe;
use serde::{Deserialize, Serialize};

use super::broadcast::OrderState;
use crate::engine::{RedisCommands, RedisUnavailable};

/// Time that an order is remembered after it was last seen.
const ORDER_AGE: Duration = Duration::from_secs(30 * 86_400);

/// Orders that are remembered without Redis.
const MAX_ORDERS: u64 = 100_000;

/// Age at which what a node has told counts no more: it is gone.
const NODE_AGE: Duration = Duration::from_secs(60);

/// What is remembered.
#[derive(Debug)]
pub(super) enum Memory {
    /// Of this process.
    Local(Local),
    /// Of the deployment.
    Shared {
        redis: RedisCommands,
        /// Beginning of the keys of this app.
        prefix: String,
    },
}

#[derive(Debug)]
pub(super) struct Local {
    orders: Cache<String, OrderState>,
    /// Makes an exchange of an order one step.
    exchange: Mutex<()>,
    online: Mutex<HashMap<String, String>>,
}

/// What a node has told of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct NodeReport {
    /// Unix seconds.
    pub(super) at: u64,
    pub(super) connections: usize,
    pub(super) sockets: Vec<Socket>,
}

/// A connection whose user is online.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Socket {
    pub(super) socket_id: String,
    pub(super) user_id: String,
    pub(super) role: Option<String>,
}

impl Memory {
    pub(super) fn local() -> Self {
        Self::Local(Local {
            orders: Cache::builder()
                .max_capacity(MAX_ORDERS)
                .time_to_live(ORDER_AGE)
                .build(),
            exchange: Mutex::default(),
            online: Mutex::default(),
        })
    }

    /// For the app with the id `app`.
    pub(super) fn shared(redis: RedisCommands, app: &str) -> Self {
        let prefix = format!("{}:rt:{app}", redis.prefix());
        Self::Shared { redis, prefix }
    }

    /// Whether other nodes read what this one tells.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Shared { .. })
    }

    /// Remembers an order, and returns what was known of it, if anything was. What it
    /// does not say now stays as it was.
    pub(super) async fn exchange_order(
        &self,
        id: &str,
        now: &OrderState,
    ) -> Result<Option<OrderState>, RedisUnavailable> {
        match self {
            Self::Local(local) => Ok(local.exchange_order(id, now)),
            Self::Shared { redis, prefix } => {
                let key = format!("{prefix}:order:{id}");
                let mut fields = vec![("seen", "1")];
                fields.extend(now.master.as_deref().map(|master| ("master", master)));
                fields.extend(now.status.as_deref().map(|status| ("status", status)));
                let mut commands = pipe();
                commands
                    .atomic()
                    .hmget(&key, &["seen", "master", "status"])
                    .hset_multiple(&key, &fields)
                    .ignore()
                    .expire(&key, i64::try_from(ORDER_AGE.as_secs()).unwrap_or(i64::MAX))
                    .ignore();
                type Known = (Option<String>, Option<String>, Option<String>);
                let ((seen, master, status),): (Known,) = redis.query(&commands).await?;
                Ok(seen.map(|_| OrderState { master, status }))
            }
        }
    }

    /// Notes that a user is online. Returns whether nobody knew.
    pub(super) async fn come_online(
        &self,
        user: &str,
        info: &str,
    ) -> Result<bool, RedisUnavailable> {
        match self {
            Self::Local(local) => {
                let mut online = lock(&local.online);
                if online.contains_key(user) {
                    return Ok(false);
                }
                online.insert(user.to_owned(), info.to_owned());
                Ok(true)
            }
            Self::Shared { redis, prefix } => {
                let mut commands = pipe();
                commands.hset_nx(format!("{prefix}:online"), user, info);
                let (is_new,): (bool,) = redis.query(&commands).await?;
                Ok(is_new)
            }
        }
    }

    /// Notes that a user is not online any more. Returns what was said of them, once.
    pub(super) async fn go_offline(&self, user: &str) -> Result<Option<String>, RedisUnavailable> {
        match self {
            Self::Local(local) => Ok(lock(&local.online).remove(user)),
            Self::Shared { redis, prefix } => {
                let key = format!("{prefix}:online");
                let mut commands = pipe();
                commands.atomic().hget(&key, user).hdel(&key, user);
                let (info, removed): (Option<String>, usize) = redis.query(&commands).await?;
                Ok(info.filter(|_| removed == 1))
            }
        }
    }

    /// The users who are known to be online.
    pub(super) async fn online(&self) -> Result<Vec<String>, RedisUnavailable> {
        match self {
            Self::Local(local) => Ok(lock(&local.online).keys().cloned().collect()),
            Self::Shared { redis, prefix } => {
                let mut commands = pipe();
                commands.hkeys(format!("{prefix}:online"));
                let (users,): (Vec<String>,) = redis.query(&commands).await?;
                Ok(users)
            }
        }
    }

    /// Tells the other nodes what this one has; without others nobody is told.
    pub(super) async fn report(
        &self,
        node: &str,
        report: &NodeReport,
    ) -> Result<(), RedisUnavailable> {
        let Self::Shared { redis, prefix } = self else {
            return Ok(());
        };
        // What a dead node has told goes by itself, and its name with the next report
        // of any other.
        let names = nodes(prefix);
        let text = serde_json::to_string(report).unwrap_or_default();
        let oldest = report.at.saturating_sub(NODE_AGE.as_secs());
        let mut commands = pipe();
        commands
            .set_ex(format!("{names}:{node}"), text, NODE_AGE.as_secs())
            .ignore()
            .zadd(&names, node, report.at)
            .ignore()
            .zrembyscore(&names, "-inf", oldest)
            .ignore();
        redis.query(&commands).await
    }

    /// Takes back what this node has told.
    pub(super) async fn forget(&self, node: &str) -> Result<(), RedisUnavailable> {
        let Self::Shared { redis, prefix } = self else {
            return Ok(());
        };
        let names = nodes(prefix);
        let mut commands = pipe();
        commands.del(format!("{names}:{node}")).ignore();
        commands.zrem(&names, node).ignore();
        redis.query(&commands).await
    }

    /// What the nodes other than `node` have told within the last minute.
    pub(super) async fn others(&self, node: &str) -> Result<Vec<NodeReport>, RedisUnavailable> {
        let Self::Shared { redis, prefix } = self else {
            return Ok(Vec::new());
        };
        let names = nodes(prefix);
        let mut commands = pipe();
        commands.zrange(&names, 0, -1);
        let (others,): (Vec<String>,) = redis.query(&commands).await?;
        let keys: Vec<String> = others
            .iter()
            .filter(|name| *name != node)
            .map(|name| format!("{names}:{name}"))
            .collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut commands = pipe();
        commands.mget(keys);
        let (told,): (Vec<Option<String>>,) = redis.query(&commands).await?;
        Ok(told
            .into_iter()
            .flatten()
            .filter_map(|text| serde_json::from_str(&text).ok())
            .collect())
    }
}

/// Where the names of the nodes stand, and below it what each has told: in one slot
/// of a cluster.
fn nodes(prefix: &str) -> String {
    format!("{{{prefix}:nodes}}")
}

impl Local {
    fn exchange_order(&self, id: &str, now: &OrderState) -> Option<OrderState> {
        let _one_at_a_time = lock(&self.exchange);
        let before = self.orders.get(id);
        let known = before.clone().unwrap_or_default();
        let merged = OrderState {
            master: now.master.clone().or(known.master),
            status: now.status.clone().or(known.status),
        };
        self.orders.insert(id.to_owned(), merged);
        before
    }
}

pub(super) fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
