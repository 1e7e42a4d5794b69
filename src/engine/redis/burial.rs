//! Removes what a dead node has left in the registry.
//!
//! Every survivor may do it at the same time: each topic is taken over by one
//! call of a script, and only that call returns the edges.

use std::sync::Arc;

use ::redis::RedisResult;
use futures_util::future::try_join_all;

use super::Shared;
use super::edge::{known_topic, report};
use super::holds;
use super::keys::Partition;
use super::link::Connection;
use super::message::Delta;
use super::script::{self, Mode, Parting, Sync, Synced};
use crate::hub::Hub;

/// Topics in one round trip.
const BATCH: usize = 256;

/// Buries `dead`. May be called again when it has failed half-way. Returns false
/// when this node itself was taken for dead in the meantime.
pub(super) async fn bury(
    shared: Arc<Shared>,
    hub: Arc<Hub>,
    mut connection: Connection,
    publish_command: &'static str,
    dead: String,
) -> RedisResult<bool> {
    let mut topics = 0;
    let node = shared.node();
    let tags: Vec<String> = ::redis::cmd("SMEMBERS")
        .arg(shared.keys.partitions_of(&dead))
        .query_async(&mut connection)
        .await?;
    for tag in tags {
        // What is held back here from now on is found by who buries this node.
        let is_alive = script::enroll(
            &mut connection,
            &shared.keys.nodes(),
            &shared.keys.partitions_of(&node),
            &node,
            std::slice::from_ref(&tag),
        )
        .await?;
        if !is_alive {
            return Ok(false);
        }
        let partition = shared.keys.tagged_partition(tag);
        let grave = Grave {
            shared: &shared,
            hub: &hub,
            publish_command,
            dead: &dead,
            partition: &partition,
        };
        topics += grave.clear(&mut connection).await?;
    }
    ::redis::cmd("DEL")
        .arg(shared.keys.partitions_of(&dead))
        .exec_async(&mut connection)
        .await?;
    script::leave(&mut connection, &shared.keys.nodes(), &dead, Parting::Gone).await?;
    tracing::info!(node = dead, topics, "removed what a node has left behind");
    Ok(true)
}

/// What a dead node has in one partition.
struct Grave<'a> {
    shared: &'a Shared,
    hub: &'a Hub,
    publish_command: &'static str,
    dead: &'a str,
    partition: &'a Partition,
}

impl Grave<'_> {
    /// Returns how many topics were taken away.
    async fn clear(&self, connection: &mut Connection) -> RedisResult<usize> {
        let Self {
            shared,
            hub,
            publish_command,
            dead,
            partition,
        } = *self;
        // From here on nothing of the dead node is accepted, whatever is still on
        // its way.
        ::redis::cmd("SET")
            .arg(partition.tombstone(dead))
            .arg(1)
            .arg("EX")
            .arg(86_400)
            .exec_async(connection)
            .await?;
        // Before new ones are made, which are told by whoever makes them.
        holds::inherit(hub, connection, partition, false).await?;
        let app = partition.app();
        let hold_back = |name: &str| {
            let id = known_topic(app.as_ref()?, name)?;
            Some(holds::hold_back(shared, hub, &id))
        };
        let message = Delta {
            node: dead.to_owned(),
            is_whole: true,
            ..Delta::default()
        }
        .encode();
        let mut topics = 0;
        loop {
            let names: Vec<String> = ::redis::cmd("SRANDMEMBER")
                .arg(partition.held(dead))
                .arg(BATCH)
                .query_async(connection)
                .await?;
            if names.is_empty() {
                return Ok(topics);
            }
            topics += names.len();
            let calls = names.iter().map(|name| {
                let call = Sync {
                    partition,
                    node: dead,
                    name,
                    publish_command,
                    request: "",
                    mode: Mode::Bury,
                    count: 0,
                    known_count: 0,
                    known: &[],
                    came: &[],
                    gone: &[],
                    message: &message,
                    wants_whole: false,
                    hold_back: hold_back(name).unwrap_or_default(),
                };
                call.call(connection.clone())
            });
            for (name, synced) in names.iter().zip(try_join_all(calls).await?) {
                if let (Some(app), Synced::Done { edges, .. }) = (&app, synced) {
                    report(hub, app, name, &edges);
                }
            }
        }
    }
}
