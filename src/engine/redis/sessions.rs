//! Sessions that clients name, kept for all nodes.
//!
//! Each is one hash in the partition of its name. A node tells it once a second of
//! those that have changed ([`save`]); who names one gets it from here ([`claim`]).

use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ::redis::{RedisResult, Script, Value};
use fanfare_protocol::{AppId, ChannelName, EventId, Limits, SocketId};
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::keys::{PARTITIONS, Partition, TopicId};
use super::link::Connection;
use super::outgoing::Outgoing;
use super::past::millis;
use super::{Shared, message, script};
use crate::hub::Hub;
use crate::hub::engine::{ClaimedSession, EngineError, Role, SessionClaim, SessionState};

static CLAIM: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("keep_session.lua"),
        include_str!("claim_session.lua")
    ))
});
static SAVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("keep_session.lua"),
        include_str!("save_session.lua")
    ))
});
static PRESENT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("present.lua")));

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(1);

/// Sessions in one round trip.
const BATCH: usize = 256;

/// Time for the last round.
const FAREWELL: Duration = Duration::from_secs(3);

fn partition(shared: &Shared, app: &AppId, name: &str) -> Partition {
    // As a topic of a third kind has it.
    shared.keys.partition(app, &format!("s{name}"))
}

fn holder(shared: &Shared, socket_id: SocketId) -> String {
    format!("{} {socket_id}", shared.process)
}

/// How long Redis keeps a session: some longer than it is of use, as the node tells of
/// those with a connection only now and then.
fn keep_ms(age: Duration) -> u64 {
    millis(age + age / 4) + 5_000
}

/// Asks for a session, and has whoever held it closed.
pub(super) async fn claim(
    shared: &Shared,
    claim: SessionClaim<'_>,
) -> Result<ClaimedSession, EngineError> {
    let (mut connection, _) = shared
        .try_connection()
        .ok_or_else(|| EngineError("Redis is out of reach".to_owned()))?;
    let partition = partition(shared, claim.app, claim.name);
    let me = holder(shared, claim.socket_id);
    let answer: Vec<Value> = CLAIM
        .key(partition.session(claim.name))
        .key(partition.sessions())
        .arg(claim.name)
        .arg(partition.session(""))
        .arg(keep_ms(claim.age))
        .arg(claim.max_sessions.div_ceil(usize::from(PARTITIONS)))
        .arg(&me)
        .arg(claim.user.map_or("", |user| user.as_str()))
        .arg(u8::from(claim.is_bound_to_user))
        .invoke_async(&mut connection)
        .await?;
    let answer: Vec<String> = answer
        .into_iter()
        .map(|value| script::text(value).unwrap_or_default())
        .collect();
    let [role, before, forgotten, fields @ ..] = &answer[..] else {
        return Err(EngineError("a session cannot be read".to_owned()));
    };
    let counter = &shared.counters.sessions_forgotten;
    counter.fetch_add(forgotten.parse().unwrap_or(0), Ordering::Relaxed);
    if let Some((process, socket_id)) = before.split_once(' ')
        && process != &*shared.process
    {
        shared.outgoing.push(Outgoing {
            topic: shared.keys.process_topic(process),
            message: message::taken(claim.app, claim.name, socket_id),
            keep: None,
            record: None,
        });
    }
    Ok(ClaimedSession {
        role: match role.as_str() {
            "holder" => Role::Holder,
            "guest" => Role::Guest,
            _ => Role::Stranger,
        },
        ..session(fields)
    })
}

/// Reads the fields of a session. What is none is left out.
pub(super) fn session(fields: &[String]) -> ClaimedSession {
    let limits = Limits {
        channel_name_length: fanfare_protocol::channel::MAX_CHANNEL_NAME_LENGTH,
        ..Limits::default()
    };
    let mut session = ClaimedSession {
        role: Role::Stranger,
        positions: Vec::new(),
        sockets: Vec::new(),
    };
    for field in fields.chunks_exact(2) {
        let (name, value) = (&field[0], &field[1]);
        if name == "s" {
            session.sockets = value.split(' ').filter_map(|id| id.parse().ok()).collect();
        } else if let Some(channel) = name.strip_prefix('c')
            && let (Ok(channel), Ok(position)) =
                (ChannelName::parse(channel, &limits), value.parse())
        {
            session.positions.push((channel, position));
        }
    }
    session
}

/// Tells Redis once a second what has changed, and once more at `stop`.
pub(super) async fn save(shared: &Shared, hub: &Hub, stop: &CancellationToken) {
    loop {
        let is_over = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(INTERVAL) => false,
        };
        if !is_over {
            save_all(shared, hub).await;
            continue;
        }
        if tokio::time::timeout(FAREWELL, save_all(shared, hub))
            .await
            .is_err()
        {
            tracing::warn!("Redis is too slow to be told how far sessions are");
        }
        return;
    }
}

async fn save_all(shared: &Shared, hub: &Hub) {
    loop {
        let Some((connection, _)) = shared.try_connection() else {
            // The hub keeps them within its bounds.
            return;
        };
        let states = hub.unsaved_sessions(BATCH);
        if states.is_empty() {
            return;
        }
        let saves = states
            .iter()
            .map(|state| save_one(shared, connection.clone(), state, hub.max_sessions()));
        let mut failed = Vec::new();
        for (state, outcome) in states.iter().zip(join_all(saves).await) {
            match outcome {
                Ok(forgotten) => {
                    let counter = &shared.counters.sessions_forgotten;
                    counter.fetch_add(forgotten, Ordering::Relaxed);
                }
                Err(error) => {
                    tracing::debug!(%error, "a session cannot be kept yet");
                    failed.push(state.clone());
                }
            }
        }
        if !failed.is_empty() {
            hub.not_saved(&failed);
            shared.suspect();
            return;
        }
    }
}

async fn save_one(
    shared: &Shared,
    mut connection: Connection,
    state: &SessionState,
    max_sessions: usize,
) -> RedisResult<u64> {
    let mut positions = state.positions.clone();
    if state.is_review {
        let moves = positions.iter().map(|(channel, position)| {
            present(shared, connection.clone(), &state.app, channel, *position)
        });
        let moved = join_all(moves).await;
        for ((_, position), moved) in positions.iter_mut().zip(moved) {
            *position = moved?;
        }
    }
    let name = &*state.name;
    let partition = partition(shared, &state.app, name);
    let sockets: Vec<String> = state.sockets.iter().map(SocketId::to_string).collect();
    let mut call = SAVE.prepare_invoke();
    call.key(partition.session(name))
        .key(partition.sessions())
        .arg(name)
        .arg(partition.session(""))
        .arg(keep_ms(state.age))
        .arg(max_sessions.div_ceil(usize::from(PARTITIONS)))
        .arg(holder(shared, state.socket_id))
        .arg(state.user.as_ref().map_or("", |user| user.as_str()))
        .arg(sockets.join(" "))
        .arg(
            state
                .taken_alone
                .map_or_else(String::new, |taken| millis(taken.elapsed()).to_string()),
        );
    for (channel, position) in positions {
        call.arg(channel.as_str()).arg(position.to_string());
    }
    call.invoke_async(&mut connection).await
}

async fn present(
    shared: &Shared,
    mut connection: Connection,
    app: &AppId,
    channel: &ChannelName,
    position: EventId,
) -> RedisResult<EventId> {
    let name = TopicId::channel(app, channel).name();
    let moved: String = PRESENT
        .key(shared.keys.partition(app, &name).bounds(&name))
        .arg(position.to_string())
        .invoke_async(&mut connection)
        .await?;
    Ok(moved.parse().unwrap_or(position))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_field_of_a_session_is_left_out() {
        let fields = [
            "h",
            "p 1.1",
            "s",
            "1.1 x 2.2",
            "ckitchen",
            "0000000000007-00001",
            "cbad name",
            "0000000000007-00001",
            "cbar",
            "x",
            "u",
            "ann",
            "odd",
        ];
        let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();

        let session = session(&fields);

        assert_eq!(session.sockets.len(), 2);
        let [(channel, position)] = &session.positions[..] else {
            panic!("{:?}", session.positions);
        };
        assert_eq!((channel.as_str(), position.ms), ("kitchen", 7));
    }
}
