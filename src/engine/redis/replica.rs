//! What this node believes that the other nodes have of one topic.
//!
//! Filled by a snapshot of the registry, then kept by the deltas, whose versions
//! have no holes. Does no IO and tells nobody; what changed is returned.

use std::collections::{BTreeMap, HashMap};

use fanfare_protocol::UserId;
use serde_json::value::RawValue;

use super::message::Delta;
use crate::hub::Member;
use crate::hub::engine::Elsewhere;

/// JSON text of an object.
pub(super) type UserInfo = Option<Box<RawValue>>;

/// What one node has of one topic.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    pub(super) count: usize,
    pub(super) members: BTreeMap<UserId, UserInfo>,
}

/// What other nodes have of one topic.
#[derive(Debug, Default)]
pub(super) struct Replica {
    /// `None` until the first snapshot.
    version: Option<u64>,
    parts: HashMap<String, Part>,
}

/// What a delta meant.
#[derive(Debug)]
pub(super) enum Applied {
    /// Something changed.
    Changed(Elsewhere),
    /// It was known, or concerns this node only.
    Nothing,
    /// Something before it was missed: a snapshot is needed.
    Gap,
}

impl Replica {
    /// Whether a snapshot has been seen.
    pub(super) fn is_filled(&self) -> bool {
        self.version.is_some()
    }

    /// Takes a snapshot of all nodes but this one. Returns everything.
    pub(super) fn fill(&mut self, version: u64, parts: HashMap<String, Part>) -> Elsewhere {
        self.version = Some(version);
        self.parts = parts;
        self.whole()
    }

    /// Everything that is known.
    pub(super) fn whole(&self) -> Elsewhere {
        let mut members: BTreeMap<&UserId, &UserInfo> = BTreeMap::new();
        for part in self.parts.values() {
            members.extend(&part.members);
        }
        Elsewhere {
            subscriptions: self.count(),
            came: members
                .into_iter()
                .map(|(user_id, user_info)| member(user_id, user_info))
                .collect(),
            gone: Vec::new(),
            is_whole: true,
        }
    }

    /// Takes over a delta. `is_own` says that it tells of this node itself;
    /// `is_lenient` that holes are expected and will be made good later.
    pub(super) fn apply(
        &mut self,
        version: u64,
        is_first: bool,
        delta: &Delta,
        is_own: bool,
        is_lenient: bool,
    ) -> Applied {
        let Some(known) = self.version else {
            return Applied::Nothing;
        };
        // After a loss of the registry versions may start anew, from the clock.
        if version <= known && !is_lenient {
            return Applied::Nothing;
        }
        let follows = known.checked_add(1) == Some(version);
        if !follows && !is_first && !is_lenient {
            return Applied::Gap;
        }
        self.version = Some(version);
        let forgets = is_first && !is_lenient && !self.parts.is_empty();
        if forgets {
            self.parts.clear();
        }
        let change = if is_own {
            None
        } else {
            Some(self.apply_part(delta))
        };
        if forgets {
            return Applied::Changed(self.whole());
        }
        change.map_or(Applied::Nothing, Applied::Changed)
    }

    fn apply_part(&mut self, delta: &Delta) -> Elsewhere {
        let mut part = self.parts.remove(&delta.node).unwrap_or_default();
        let mut gone: Vec<UserId> = delta.gone_users().collect();
        if delta.is_whole {
            gone.extend(std::mem::take(&mut part.members).into_keys());
        }
        for user_id in &gone {
            part.members.remove(user_id);
        }
        let mut came = Vec::new();
        for (user_id, user_info) in &delta.came {
            let user_id = UserId::new(user_id);
            gone.retain(|gone| *gone != user_id);
            came.push(member(&user_id, user_info));
            part.members.insert(user_id, user_info.clone());
        }
        part.count = delta.count;
        if part.count > 0 || !part.members.is_empty() {
            self.parts.insert(delta.node.clone(), part);
        }
        gone.retain(|user_id| {
            let is_somewhere = |part: &Part| part.members.contains_key(user_id);
            !self.parts.values().any(is_somewhere)
        });
        Elsewhere {
            subscriptions: self.count(),
            came,
            gone,
            is_whole: false,
        }
    }

    /// Connections on other nodes.
    pub(super) fn count(&self) -> usize {
        // The numbers are another node's word.
        self.parts
            .values()
            .fold(0, |sum, part| part.count.saturating_add(sum))
    }
}

fn member(user_id: &UserId, user_info: &UserInfo) -> Member {
    Member {
        user_id: user_id.clone(),
        user_info: user_info.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(node: &str, count: usize, came: &[&str], gone: &[&str]) -> Delta {
        Delta {
            node: node.to_owned(),
            count,
            came: came.iter().map(|id| ((*id).to_owned(), None)).collect(),
            gone: gone.iter().map(|id| (*id).to_owned()).collect(),
            ..Delta::default()
        }
    }

    fn changed(applied: Applied) -> (usize, Vec<String>, Vec<String>) {
        let Applied::Changed(change) = applied else {
            panic!("{applied:?}");
        };
        (
            change.subscriptions,
            change.came.iter().map(|m| m.user_id.to_string()).collect(),
            change.gone.iter().map(UserId::to_string).collect(),
        )
    }

    fn filled() -> Replica {
        let mut replica = Replica::default();
        replica.fill(10, HashMap::new());
        replica
    }

    #[test]
    fn a_user_is_gone_when_the_last_node_has_let_it_go() {
        let mut replica = filled();

        replica.apply(11, false, &delta("a", 1, &["u"], &[]), false, false);
        replica.apply(12, false, &delta("b", 1, &["u"], &[]), false, false);
        let first = changed(replica.apply(13, false, &delta("a", 0, &[], &["u"]), false, false));
        let second = changed(replica.apply(14, false, &delta("b", 0, &[], &["u"]), false, false));

        assert_eq!(first, (1, vec![], vec![]));
        assert_eq!(second, (0, vec![], vec!["u".to_owned()]));
    }

    #[test]
    fn what_is_old_is_ignored_and_a_hole_is_noticed() {
        let mut replica = filled();
        let news = delta("a", 1, &["u"], &[]);

        assert!(matches!(
            replica.apply(10, false, &news, false, false),
            Applied::Nothing
        ));
        assert!(matches!(
            replica.apply(12, false, &news, false, false),
            Applied::Gap
        ));
        assert!(matches!(
            replica.apply(11, false, &delta("me", 1, &["x"], &[]), true, false),
            Applied::Nothing
        ));
        assert_eq!(
            changed(replica.apply(12, false, &news, false, false)),
            (1, vec!["u".to_owned()], vec![])
        );
    }

    #[test]
    fn a_whole_part_replaces_what_the_node_had() {
        let mut replica = filled();
        replica.apply(11, false, &delta("a", 2, &["u", "v"], &[]), false, false);
        let mut whole = delta("a", 2, &["v", "w"], &[]);
        whole.is_whole = true;

        let (count, came, gone) = changed(replica.apply(12, false, &whole, false, false));

        assert_eq!(count, 2);
        assert_eq!(came, ["v", "w"]);
        assert_eq!(gone, ["u"]);
    }

    /// Redis has lost everything: the first who writes again is not the only one.
    #[test]
    fn a_topic_that_starts_anew_forgets_others_unless_they_are_waited_for() {
        for (is_lenient, left) in [(false, 1), (true, 3)] {
            let mut replica = filled();
            replica.apply(11, false, &delta("a", 2, &["u"], &[]), false, false);

            replica.apply(99, true, &delta("b", 1, &["w"], &[]), false, is_lenient);

            assert_eq!(replica.count(), left);
        }
    }
}
