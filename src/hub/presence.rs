//! The members of a presence channel: a user appears once, however many
//! connections it has.

use std::collections::BTreeMap;

use fanfare_protocol::UserId;
use fanfare_protocol::server_message::MembersText;
use serde_json::value::RawValue;

/// Who a connection is on a presence channel, taken from verified data.
#[derive(Clone, Debug)]
pub struct Member {
    /// The user.
    pub user_id: UserId,
    /// JSON text of an object.
    pub user_info: Option<Box<RawValue>>,
}

/// The users of one presence channel on all nodes, ordered by id.
#[derive(Debug, Default)]
pub(super) struct Members {
    users: BTreeMap<UserId, User>,
}

#[derive(Debug)]
struct User {
    /// That of the first connection, until the user has left.
    user_info: Option<Box<RawValue>>,
    /// On this node.
    connections: usize,
    /// Whether another node has a connection of this user.
    is_elsewhere: bool,
}

/// What a connection's coming meant for its user.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// The user was not there before.
    First,
    /// One more connection of a user who is there.
    Again,
    /// The channel takes no further user.
    Full,
}

impl Members {
    pub(super) fn join(&mut self, member: &Member, limit: usize) -> Joined {
        if let Some(user) = self.users.get_mut(&member.user_id) {
            user.connections += 1;
            return Joined::Again;
        }
        if self.users.len() >= limit {
            return Joined::Full;
        }
        let user = User {
            user_info: member.user_info.clone(),
            connections: 1,
            is_elsewhere: false,
        };
        self.users.insert(member.user_id.clone(), user);
        Joined::First
    }

    /// Returns whether that was the user's last connection.
    pub(super) fn leave(&mut self, user_id: &UserId) -> bool {
        let Some(user) = self.users.get_mut(user_id) else {
            return false;
        };
        let Some(connections) = user.connections.checked_sub(1) else {
            return false;
        };
        user.connections = connections;
        let was_last = connections == 0 && !user.is_elsewhere;
        if was_last {
            self.users.remove(user_id);
        }
        was_last
    }

    /// Notes that another node has a connection of this user. Returns whether
    /// the user was not there before.
    pub(super) fn come_elsewhere(&mut self, member: &Member) -> bool {
        if let Some(user) = self.users.get_mut(&member.user_id) {
            user.is_elsewhere = true;
            return false;
        }
        let user = User {
            user_info: member.user_info.clone(),
            connections: 0,
            is_elsewhere: true,
        };
        self.users.insert(member.user_id.clone(), user);
        true
    }

    /// Notes that no other node has a connection of this user any more. Returns
    /// whether the user has gone with it.
    pub(super) fn go_elsewhere(&mut self, user_id: &UserId) -> bool {
        let Some(user) = self.users.get_mut(user_id) else {
            return false;
        };
        let has_gone = user.is_elsewhere && user.connections == 0;
        user.is_elsewhere = false;
        if has_gone {
            self.users.remove(user_id);
        }
        has_gone
    }

    /// The users that other nodes have.
    pub(super) fn elsewhere(&self) -> impl Iterator<Item = &UserId> {
        self.users
            .iter()
            .filter(|(_, user)| user.is_elsewhere)
            .map(|(user_id, _)| user_id)
    }

    /// The users who have a connection on this node.
    pub(super) fn here(&self) -> impl Iterator<Item = Member> {
        self.users
            .iter()
            .filter(|(_, user)| user.connections > 0)
            .map(|(user_id, user)| Member {
                user_id: user_id.clone(),
                user_info: user.user_info.clone(),
            })
    }

    /// One who has a connection on this node.
    pub(super) fn member(&self, user_id: &UserId) -> Option<Member> {
        let user = self.users.get(user_id)?;
        (user.connections > 0).then(|| Member {
            user_id: user_id.clone(),
            user_info: user.user_info.clone(),
        })
    }

    pub(super) fn count(&self) -> usize {
        self.users.len()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &UserId> {
        self.users.keys()
    }

    /// The `data` of a successful subscription.
    pub(super) fn snapshot(&self) -> String {
        let mut text = MembersText::with_capacity(self.users.len());
        for (user_id, user) in &self.users {
            text.push(user_id, user.user_info.as_deref().map(RawValue::get));
        }
        text.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, info: Option<&str>) -> Member {
        Member {
            user_id: UserId::new(id),
            user_info: info.map(|text| RawValue::from_string(text.to_owned()).unwrap()),
        }
    }

    /// Checklist 70, 71 and 73.
    #[test]
    fn a_user_counts_once_and_leaves_with_its_last_connection() {
        let mut members = Members::default();

        assert_eq!(
            members.join(&member("a", Some(r#"{"n":1}"#)), 2),
            Joined::First
        );
        assert_eq!(members.join(&member("b", None), 2), Joined::First);
        assert_eq!(members.join(&member("c", None), 2), Joined::Full);
        assert_eq!(
            members.join(&member("a", Some(r#"{"n":2}"#)), 2),
            Joined::Again
        );

        assert_eq!(
            members.snapshot(),
            r#"{"presence":{"count":2,"ids":["a","b"],"hash":{"a":{"n":1},"b":null}}}"#
        );
        assert!(!members.leave(&UserId::new("a")));
        assert!(members.leave(&UserId::new("a")));
        assert!(!members.leave(&UserId::new("a")));
        assert_eq!(members.count(), 1);
    }

    /// Checklist 77.
    #[test]
    fn a_user_on_two_nodes_comes_once_and_goes_when_both_have_let_it_go() {
        let mut members = Members::default();
        let a = member("a", None);

        assert!(members.come_elsewhere(&a));
        assert!(!members.come_elsewhere(&a));
        assert_eq!(members.join(&a, 1), Joined::Again);
        assert_eq!(members.join(&member("b", None), 1), Joined::Full);
        assert!(!members.go_elsewhere(&a.user_id));
        assert!(members.leave(&a.user_id));

        assert!(members.come_elsewhere(&a));
        assert!(!members.leave(&a.user_id));
        assert_eq!(members.join(&a, 1), Joined::Again);
        assert_eq!(members.here().count(), 1);
        assert!(!members.leave(&a.user_id));
        assert_eq!(members.here().count(), 0);
        assert!(members.go_elsewhere(&a.user_id));
        assert!(!members.go_elsewhere(&a.user_id));
        assert_eq!(members.count(), 0);
    }
}
