//! Removes what a dead node has left in the registry.
//!
//! Every survivor may do it at the same time: each topic is taken over by one
//! call of a script, and only that call returns the edges.

use std::sync::Arc;

use ::redis::RedisResult;
use futures_util::future::try_join_all;

use super::Shared;
use super::keys::Partition;
use super::link::Connection;
use super::message::Delta;
use super::registry::report;
use super::script::{self, Mode, Sync, Synced};
use crate::hub::Hub;

/// Topics in one round trip.
const BATCH: usize = 256;

/// Buries `dead`. May be called again when it has failed half-way.
pub(super) async fn bury(
    shared: Arc<Shared>,
    hub: Arc<Hub>,
    mut connection: Connection,
    publish_command: &'static str,
    dead: String,
) -> RedisResult<()> {
    let mut topics = 0;
    let tags: Vec<String> = ::redis::cmd("SMEMBERS")
        .arg(shared.keys.partitions_of(&dead))
        .query_async(&mut connection)
        .await?;
    for tag in tags {
        let partition = shared.keys.tagged_partition(tag);
        topics += bury_partition(&hub, &mut connection, publish_command, &dead, &partition).await?;
    }
    ::redis::cmd("DEL")
        .arg(shared.keys.partitions_of(&dead))
        .exec_async(&mut connection)
        .await?;
    script::leave(&mut connection, &shared.keys.nodes(), &dead, true).await?;
    tracing::info!(node = dead, topics, "removed what a dead node has left");
    Ok(())
}

async fn bury_partition(
    hub: &Hub,
    connection: &mut Connection,
    publish_command: &'static str,
    dead: &str,
    partition: &Partition,
) -> RedisResult<usize> {
    // From here on nothing of the dead node is accepted, whatever is still on
    // its way.
    ::redis::cmd("SET")
        .arg(partition.tombstone(dead))
        .arg(1)
        .arg("EX")
        .arg(3_600)
        .exec_async(connection)
        .await?;
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
            };
            call.call(connection.clone())
        });
        for (name, synced) in names.iter().zip(try_join_all(calls).await?) {
            if let (Some(app), Synced::Done { edges, .. }) = (partition.app(), synced) {
                report(hub, &app, name, &edges);
            }
        }
    }
}
