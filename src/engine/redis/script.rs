//! The scripts of the registry, and what they answer.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use ::redis::{RedisResult, Script, Value};
use fanfare_protocol::UserId;
use serde_json::value::RawValue;

use super::edge::Edge;
use super::keys::Partition;
use super::link::Connection;
use super::replica::{Part, UserInfo};
use crate::hub::Member;

static SYNC: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("sync.lua")));
static BEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("beat.lua")));
static ENROLL: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("enroll.lua")));
static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("claim.lua")));
static LEAVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("leave.lua")));

/// What a call does beside telling the present state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Change,
    /// First makes true again what the registry may have lost.
    Restore,
    /// Removes all that a dead node has.
    Bury,
}

/// One call of `sync.lua`, which see.
#[derive(Debug)]
pub(super) struct Sync<'a> {
    pub(super) partition: &'a Partition,
    pub(super) node: &'a str,
    pub(super) name: &'a str,
    pub(super) publish_command: &'a str,
    pub(super) request: &'a str,
    pub(super) mode: Mode,
    pub(super) count: usize,
    pub(super) known_count: usize,
    pub(super) known: &'a [Member],
    pub(super) came: &'a [Member],
    pub(super) gone: &'a [UserId],
    /// Empty when nothing changes.
    pub(super) message: &'a str,
    pub(super) wants_whole: bool,
    /// Zero when nobody outside is told who comes and goes.
    pub(super) hold_back: Duration,
}

/// What a call did.
#[derive(Debug)]
pub(super) enum Synced {
    Done {
        version: u64,
        edges: Vec<Edge>,
        /// By node; empty unless it was asked for.
        whole: HashMap<String, Part>,
    },
    /// The registry has lost what it was told.
    Lost,
    /// This node was declared dead.
    Dead,
}

/// What a sign of life brought.
#[derive(Debug)]
pub(super) struct Beaten {
    pub(super) state: Standing,
    pub(super) nodes: u64,
    /// Gave no sign of life; to be buried.
    pub(super) dead: Vec<String>,
    /// Said good-bye; to be buried.
    pub(super) left: Vec<String>,
}

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parting {
    /// It said good-bye. The others look after what it has left behind.
    Left,
    /// Nothing of it is left.
    Gone,
}

/// What the registry thinks of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Known,
    New,
    Dead,
}

impl Sync<'_> {
    pub(super) async fn call(self, mut connection: Connection) -> RedisResult<Synced> {
        let mut call = SYNC.prepare_invoke();
        call.key(self.partition.record(self.name))
            .key(self.partition.index())
            .key(self.partition.held(self.node))
            .key(self.partition.tombstone(self.node))
            .key(self.partition.memo(self.node, self.name))
            .key(self.partition.holds())
            .arg(self.node)
            .arg(self.name)
            .arg(self.partition.topic(self.name))
            .arg(self.publish_command)
            .arg(self.request)
            .arg(match self.mode {
                Mode::Change => "change",
                Mode::Restore => "restore",
                Mode::Bury => "bury",
            })
            .arg(self.count)
            .arg(self.known_count)
            .arg(self.message)
            .arg(u8::from(self.wants_whole))
            .arg(u64::try_from(self.hold_back.as_millis()).unwrap_or(u64::MAX));
        for members in [self.known, self.came] {
            call.arg(members.len());
            for member in members {
                call.arg(member.user_id.as_str());
                call.arg(member.user_info.as_ref().map_or("", |info| info.get()));
            }
        }
        for user_id in self.gone {
            call.arg(user_id.as_str());
        }
        let answer: Vec<Value> = call.invoke_async(&mut connection).await?;
        Ok(synced(answer))
    }
}

fn synced(answer: Vec<Value>) -> Synced {
    let mut answer = answer.into_iter();
    match answer.next().and_then(text).as_deref() {
        Some("lost") => Synced::Lost,
        Some("dead") => Synced::Dead,
        _ => Synced::Done {
            version: answer
                .next()
                .and_then(text)
                .and_then(|version| version.parse().ok())
                .unwrap_or(0),
            edges: texts(answer.next())
                .iter()
                .filter_map(|edge| Edge::parse(edge))
                .collect(),
            whole: parts(&texts(answer.next())),
        },
    }
}

/// Sorts the fields of a topic by node.
pub(super) fn parts(fields: &[String]) -> HashMap<String, Part> {
    let mut parts: HashMap<String, Part> = HashMap::new();
    for field in fields.chunks_exact(2) {
        let (name, value) = (&field[0], &field[1]);
        if let Some(node) = name.strip_prefix("s:") {
            let count = value.parse().unwrap_or(0);
            parts.entry(node.to_owned()).or_default().count = count;
        } else if let Some((node, user)) = name
            .strip_prefix("m:")
            .and_then(|rest| rest.split_once(':'))
        {
            let part = parts.entry(node.to_owned()).or_default();
            part.members.insert(UserId::new(user), user_info(value));
        }
    }
    parts
}

/// What stands in Redis goes into messages as it is, so it has to be JSON.
fn user_info(text: &str) -> UserInfo {
    RawValue::from_string(text.to_owned()).ok()
}

pub(super) async fn beat(
    connection: &mut Connection,
    nodes: &str,
    node: &str,
    patience_ms: u64,
    outage_ms: u64,
) -> RedisResult<Beaten> {
    let answer: Vec<Value> = BEAT
        .key(nodes)
        .arg(node)
        .arg(patience_ms)
        .arg(outage_ms)
        .invoke_async(connection)
        .await?;
    let mut answer = answer.into_iter();
    let state = match answer.next().and_then(text).as_deref() {
        Some("new") => Standing::New,
        Some("dead") => Standing::Dead,
        _ => Standing::Known,
    };
    let mut number = || match answer.next() {
        Some(Value::Int(number)) => u64::try_from(number).unwrap_or(0),
        _ => 0,
    };
    let (nodes, died) = (number(), number());
    let mut dead: Vec<String> = answer.filter_map(text).collect();
    let died = usize::try_from(died).unwrap_or(usize::MAX).min(dead.len());
    let left = dead.split_off(died);
    Ok(Beaten {
        state,
        nodes,
        dead,
        left,
    })
}

/// Returns whether the node is alive, so that it may write.
pub(super) async fn enroll(
    connection: &mut Connection,
    nodes: &str,
    partitions_key: &str,
    node: &str,
    partitions: &[String],
) -> RedisResult<bool> {
    let mut call = ENROLL.prepare_invoke();
    call.key(nodes).key(partitions_key).arg(node);
    for partition in partitions {
        call.arg(partition);
    }
    let answer: i64 = call.invoke_async(connection).await?;
    Ok(answer == 1)
}

/// Which of `entries` of the holds this node is to tell.
pub(super) async fn claim(
    connection: &mut Connection,
    partition: &Partition,
    request: &str,
    entries: &[String],
) -> RedisResult<Vec<bool>> {
    let mut call = CLAIM.prepare_invoke();
    call.key(partition.holds()).key(partition.claim(request));
    for entry in entries {
        call.arg(entry);
    }
    let answers: Vec<i64> = call.invoke_async(connection).await?;
    Ok(answers.into_iter().map(|answer| answer == 1).collect())
}

pub(super) async fn leave(
    connection: &mut Connection,
    nodes: &str,
    node: &str,
    parting: Parting,
) -> RedisResult<()> {
    let _: i64 = LEAVE
        .key(nodes)
        .arg(node)
        .arg(match parting {
            Parting::Left => "left",
            Parting::Gone => "gone",
        })
        .invoke_async(connection)
        .await?;
    Ok(())
}

pub(super) fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

pub(super) fn texts(value: Option<Value>) -> Vec<String> {
    match value {
        Some(Value::Array(list)) => list.into_iter().filter_map(text).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::edge::Change;
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn an_answer_is_read_by_node() {
        let fields = [
            "v",
            "17",
            "t",
            "3",
            "n",
            "1",
            "s:a",
            "2",
            "s:b",
            "1",
            "m:a:u:1",
            "{\"x\":1}",
            "m:b:u:1",
            "",
            "u:u:1",
            "2",
        ];
        let answer = vec![
            bulk("ok"),
            bulk("17"),
            Value::Array(vec![
                bulk("o"),
                bulk("+u:1"),
                bulk("-é"),
                bulk("?x"),
                bulk("v"),
            ]),
            Value::Array(fields.iter().map(|field| bulk(field)).collect()),
        ];

        let Synced::Done {
            version,
            edges,
            whole,
        } = synced(answer)
        else {
            panic!("not done");
        };

        assert_eq!(version, 17);
        let changes: Vec<Change> = edges.into_iter().map(|edge| edge.change).collect();
        assert_eq!(
            changes,
            [
                Change::Occupied,
                Change::Added(UserId::new("u:1")),
                Change::Removed(UserId::new("é")),
                Change::Vacated
            ]
        );
        assert_eq!((whole["a"].count, whole["b"].count), (2, 1));
        let info = whole["a"].members[&UserId::new("u:1")].as_ref().unwrap();
        assert_eq!(info.get(), "{\"x\":1}");
        assert!(whole["b"].members[&UserId::new("u:1")].is_none());
    }

    #[test]
    fn an_answer_that_makes_no_sense_does_no_harm() {
        for answer in [
            vec![],
            vec![Value::Nil],
            vec![bulk("ok"), Value::Int(3), Value::Nil],
            vec![
                bulk("ok"),
                bulk("x"),
                Value::Array(vec![bulk(""), bulk("é")]),
            ],
        ] {
            assert!(matches!(synced(answer), Synced::Done { .. }));
        }
        assert!(matches!(synced(vec![bulk("lost")]), Synced::Lost));
        assert!(matches!(synced(vec![bulk("dead")]), Synced::Dead));
    }
}
