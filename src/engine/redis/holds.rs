//! Departures that the deployment holds back (section 14.3).
//!
//! They stand in Redis, so that a return on another node finds them, and so that
//! they are told when the node that reported them is no more. Whoever wants to
//! tell one has to claim it first; any number of nodes may try.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ::redis::RedisResult;
use fanfare_protocol::{ChannelKind, UserId};
use futures_util::future::join_all;

use super::Shared;
use super::edge::known_topic;
use super::keys::{Partition, Subject, TopicId};
use super::link::Connection;
use super::script;
use crate::hub::engine::Departure;
use crate::hub::{Hub, HubEvent, HubEventKind, Scope};

/// Departures of one partition that are taken over at once. The next look finds
/// the others.
const MAX_INHERITED: usize = 2_000;

/// A departure that was not told this long after its time has been forgotten by
/// the node that reported it.
const OVERDUE: Duration = Duration::from_secs(5);

/// Between two attempts to claim.
const PAUSE: Duration = Duration::from_millis(200);

/// How long departures of a topic are held: nobody outside is told of some.
pub(super) fn hold_back(shared: &Shared, hub: &Hub, id: &TopicId) -> Duration {
    let is_told = match &id.subject {
        Subject::Channel(channel) => channel.kind() != ChannelKind::ServerToUser,
        Subject::User(_) => false,
    };
    // An app that this node does not know may have webhooks.
    let app = hub.find(&id.app);
    if is_told && app.is_none_or(|app| app.app().tells_changes()) {
        shared.settings.hold_back
    } else {
        Duration::ZERO
    }
}

fn entry(departure: &Departure) -> String {
    let channel = &departure.channel;
    match &departure.user_id {
        Some(user_id) => format!("c{channel}\n-{user_id}"),
        None => format!("c{channel}\nv"),
    }
}

fn departure(partition: &Partition, entry: &str) -> Option<Departure> {
    let (name, edge) = entry.split_once('\n')?;
    let app = partition.app()?;
    let Subject::Channel(channel) = known_topic(&app, name)?.subject else {
        return None;
    };
    let user_id = match edge {
        "v" => None,
        _ => Some(UserId::new(edge.strip_prefix('-')?)),
    };
    Some(Departure {
        app,
        channel,
        user_id,
    })
}

/// Returns those of `departures` that this node is to tell, in their order.
pub(super) async fn claim(shared: Arc<Shared>, departures: Vec<Departure>) -> Vec<Departure> {
    let mut groups: HashMap<Partition, (Vec<usize>, Vec<String>)> = HashMap::new();
    for (place, departure) in departures.iter().enumerate() {
        let name = format!("c{}", departure.channel);
        let partition = shared.keys.partition(&departure.app, &name);
        let (places, entries) = groups.entry(partition).or_default();
        places.push(place);
        entries.push(entry(departure));
    }
    let request = format!("{:032x}", rand::random::<u128>());
    let claims = groups.into_iter().map(|(partition, (places, entries))| {
        let (shared, request) = (&shared, &request);
        async move {
            let claimed = claim_entries(shared, &partition, request, &entries).await;
            places.into_iter().zip(claimed)
        }
    });
    let mut is_claimed = vec![false; departures.len()];
    for (place, claimed) in join_all(claims).await.into_iter().flatten() {
        is_claimed[place] = claimed;
    }
    let claimed = departures.into_iter().zip(is_claimed);
    claimed
        .filter_map(|(departure, is_claimed)| is_claimed.then_some(departure))
        .collect()
}

/// Asks until there is an answer: the registry gives the same one every time.
async fn claim_entries(
    shared: &Shared,
    partition: &Partition,
    request: &str,
    entries: &[String],
) -> Vec<bool> {
    loop {
        let (mut connection, _) = shared.connection().await;
        match script::claim(&mut connection, partition, request, entries).await {
            Ok(claimed) => return claimed,
            Err(error) => tracing::debug!(%error, "departures cannot be claimed yet"),
        }
        shared.suspect();
        tokio::time::sleep(PAUSE).await;
    }
}

/// Takes over all departures of a partition, or those whose nodes have forgotten
/// them. Others may do the same, and who reported them may still claim them.
pub(super) async fn inherit(
    hub: &Hub,
    connection: &mut Connection,
    partition: &Partition,
    is_overdue: bool,
) -> RedisResult<()> {
    let until = if is_overdue {
        let (seconds, micros): (u64, u64) = ::redis::cmd("TIME").query_async(connection).await?;
        let now = Duration::from_secs(seconds) + Duration::from_micros(micros);
        now.saturating_sub(OVERDUE).as_millis().to_string()
    } else {
        "+inf".to_owned()
    };
    let entries: Vec<String> = ::redis::cmd("ZRANGEBYSCORE")
        .arg(partition.holds())
        .arg("-inf")
        .arg(until)
        .arg("LIMIT")
        .arg(0)
        .arg(MAX_INHERITED)
        .query_async(connection)
        .await?;
    for entry in entries {
        let Some(departure) = departure(partition, &entry) else {
            continue;
        };
        hub.report(HubEvent {
            app: departure.app.clone(),
            scope: Scope::Cluster,
            is_return: false,
            kind: HubEventKind::Inherited(departure),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::keys::Keys;
    use super::*;
    use fanfare_protocol::{AppId, ChannelName, Limits};

    #[test]
    fn a_departure_is_read_as_it_was_written() {
        let keys = Keys::new("fanfare", 0);
        for (channel, user) in [("news", None), ("presence-a", Some("u\n:é"))] {
            let expected = Departure {
                app: AppId::new("app-id"),
                channel: ChannelName::parse(channel, &Limits::default()).unwrap(),
                user_id: user.map(UserId::new),
            };
            let partition = keys.partition(&expected.app, &format!("c{channel}"));

            assert_eq!(departure(&partition, &entry(&expected)), Some(expected));
        }
        let partition = keys.partition(&AppId::new("app-id"), "cnews");
        for nonsense in ["", "cnews", "cnews\nx", "ux\nv", "c?\nv"] {
            assert_eq!(departure(&partition, nonsense), None, "{nonsense:?}");
        }
    }
}
