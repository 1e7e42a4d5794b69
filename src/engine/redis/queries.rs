//! Questions about the whole deployment, answered by the registry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::RedisResult;
use fanfare_protocol::{AppId, ChannelName, Frame, UserId};
use futures_util::future::try_join_all;
use serde::Deserialize;

use super::Shared;
use super::keys::{PARTITIONS, Partition};
use super::link::Connection;
use crate::apps::App;
use crate::hub::engine::{CachedEvent, EngineError, Occupancy};

/// Channels in one step of a scan, so that Redis can do other things in between.
const SCAN_COUNT: usize = 2_000;

impl From<::redis::RedisError> for EngineError {
    fn from(error: ::redis::RedisError) -> Self {
        Self(error.to_string())
    }
}

/// Waits until this node's own changes are told, and returns the connection.
async fn connection(shared: &Shared) -> Result<Connection, EngineError> {
    shared.settled().await;
    shared
        .try_connection()
        .map(|(connection, _)| connection)
        .ok_or_else(|| EngineError("Redis is out of reach".to_owned()))
}

pub(super) async fn channels(
    shared: &Shared,
    app: &Arc<App>,
    prefix: &str,
) -> Result<Vec<Occupancy>, EngineError> {
    let connection = connection(shared).await?;
    let scans = (0..PARTITIONS).map(|number| {
        let partition = shared.keys.numbered_partition(&app.id, number);
        scan(connection.clone(), partition, prefix)
    });
    let mut found = BTreeMap::new();
    for (name, counts) in try_join_all(scans).await?.into_iter().flatten() {
        let Some(name) = name
            .strip_prefix('c')
            .filter(|name| name.starts_with(prefix))
        else {
            continue;
        };
        let Ok(channel) = ChannelName::parse(name, &app.limits) else {
            continue;
        };
        let (subscriptions, users) = counts.split_once(' ').unwrap_or((&counts, ""));
        let occupancy = Occupancy {
            subscriptions: subscriptions.parse().unwrap_or(0),
            users: users.parse().unwrap_or(0),
            channel: channel.clone(),
        };
        // A scan may show one twice.
        found.insert(channel, occupancy);
    }
    Ok(found.into_values().collect())
}

async fn scan(
    mut connection: Connection,
    partition: Partition,
    prefix: &str,
) -> RedisResult<Vec<(String, String)>> {
    let pattern = format!("c{}*", escape(prefix));
    let mut found = Vec::new();
    let mut cursor = "0".to_owned();
    loop {
        let (next, page): (String, Vec<(String, String)>) = ::redis::cmd("HSCAN")
            .arg(partition.index())
            .arg(&cursor)
            .arg("MATCH")
            .arg(&pattern)
            .arg("COUNT")
            .arg(SCAN_COUNT)
            .query_async(&mut connection)
            .await?;
        found.extend(page);
        if next == "0" {
            return Ok(found);
        }
        cursor = next;
    }
}

/// Takes the meaning from what is special in a pattern.
fn escape(prefix: &str) -> String {
    let mut escaped = String::with_capacity(prefix.len());
    for character in prefix.chars() {
        if "*?[]^\\".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

pub(super) async fn occupancy(
    shared: &Shared,
    app: &AppId,
    channel: &ChannelName,
) -> Result<Occupancy, EngineError> {
    let mut connection = connection(shared).await?;
    let name = format!("c{channel}");
    let partition = shared.keys.partition(app, &name);
    let (subscriptions, users): (Option<usize>, Option<usize>) = ::redis::cmd("HMGET")
        .arg(partition.record(&name))
        .arg("t")
        .arg("n")
        .query_async(&mut connection)
        .await?;
    Ok(Occupancy {
        channel: channel.clone(),
        subscriptions: subscriptions.unwrap_or(0),
        users: users.unwrap_or(0),
    })
}

pub(super) async fn users(
    shared: &Shared,
    app: &AppId,
    channel: &ChannelName,
) -> Result<Vec<UserId>, EngineError> {
    let mut connection = connection(shared).await?;
    let name = format!("c{channel}");
    let partition = shared.keys.partition(app, &name);
    let fields: Vec<String> = ::redis::cmd("HKEYS")
        .arg(partition.record(&name))
        .query_async(&mut connection)
        .await?;
    let mut users: Vec<UserId> = fields
        .iter()
        .filter_map(|field| field.strip_prefix("u:"))
        .map(UserId::new)
        .collect();
    users.sort();
    Ok(users)
}

#[derive(Deserialize)]
struct CachedText {
    data: String,
}

pub(super) async fn cached(
    shared: &Shared,
    app: &AppId,
    channel: &ChannelName,
) -> Result<Option<CachedEvent>, EngineError> {
    let (mut connection, _) = shared
        .try_connection()
        .ok_or_else(|| EngineError("Redis is out of reach".to_owned()))?;
    let name = format!("c{channel}");
    let key = shared.keys.partition(app, &name).cached(&name);
    let (text, milliseconds): (Option<String>, i64) = ::redis::pipe()
        .cmd("GET")
        .arg(&key)
        .cmd("PTTL")
        .arg(&key)
        .query_async(&mut connection)
        .await?;
    Ok(text.and_then(|text| kept(&text, milliseconds)))
}

/// Reads what Redis kept; `None` when it has just ended or cannot be read.
fn kept(text: &str, milliseconds: i64) -> Option<CachedEvent> {
    let left = u64::try_from(milliseconds).ok().filter(|left| *left > 0)?;
    let CachedText { data } = serde_json::from_str(text).ok()?;
    Some(CachedEvent {
        frame: Frame::from_text(text),
        data: data.into(),
        expires: Instant::now().checked_add(Duration::from_millis(left))?,
    })
}

/// What another node has published on a cache channel.
pub(super) fn kept_for(payload: &str, seconds: u64) -> Option<CachedEvent> {
    kept(payload, i64::try_from(seconds.checked_mul(1_000)?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_no_pattern() {
        assert_eq!(escape("presence-[a]*?\\^"), r"presence-\[a\]\*\?\\\^");
    }

    #[test]
    fn only_what_is_an_event_and_has_time_left_is_kept() {
        let text = r#"{"event":"a","channel":"cache-x","data":"{\"n\":1}"}"#;

        let event = kept(text, 5_000).unwrap();

        assert_eq!(&*event.data, r#"{"n":1}"#);
        assert_eq!(event.frame.payload(), text.as_bytes());
        assert!(kept(text, -2).is_none());
        assert!(kept("{}", 5_000).is_none());
        assert!(kept_for(text, u64::MAX).is_none());
    }
}
