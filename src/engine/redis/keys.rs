//! What things are called in Redis.
//!
//! All keys of one topic have the same hash tag, so that a script may touch them
//! together in a Redis Cluster. An app is cut into partitions, so that its load
//! can be on more than one of the Cluster's nodes.

use fanfare_protocol::{AppId, ChannelName, UserId};

/// Partitions of one app. All nodes of a deployment must agree.
pub(super) const PARTITIONS: u8 = 16;

/// Something that nodes keep a common record of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TopicId {
    pub(super) app: AppId,
    pub(super) subject: Subject,
}

/// What a topic is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    Channel(ChannelName),
    /// A user who signs in: is it online, and where.
    User(UserId),
}

impl TopicId {
    pub(super) fn channel(app: &AppId, channel: &ChannelName) -> Self {
        Self {
            app: app.clone(),
            subject: Subject::Channel(channel.clone()),
        }
    }

    pub(super) fn user(app: &AppId, user: &UserId) -> Self {
        Self {
            app: app.clone(),
            subject: Subject::User(user.clone()),
        }
    }

    /// The name within its app; the first letter is the kind.
    pub(super) fn name(&self) -> String {
        match &self.subject {
            Subject::Channel(channel) => format!("c{channel}"),
            Subject::User(user) => format!("u{user}"),
        }
    }
}

/// Makes the names of one deployment.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
    /// Pub/sub knows no database numbers, so they stand in the names.
    topic_prefix: String,
}

/// One partition of one app: where in Redis it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Partition {
    base: String,
    topic_base: String,
    /// `APP:NUMBER`.
    pub(super) tag: String,
}

impl Keys {
    pub(super) fn new(prefix: &str, database: u32) -> Self {
        let topic_prefix = match database {
            0 => prefix.to_owned(),
            number => format!("{prefix}@{number}"),
        };
        Self {
            prefix: prefix.to_owned(),
            topic_prefix,
        }
    }

    /// Signs of life of all nodes.
    pub(super) fn nodes(&self) -> String {
        format!("{}:{{nodes}}", self.prefix)
    }

    /// The partitions in which `node` has something.
    pub(super) fn partitions_of(&self, node: &str) -> String {
        format!("{}:{{nodes}}:p:{node}", self.prefix)
    }

    pub(super) fn partition(&self, app: &AppId, name: &str) -> Partition {
        self.numbered_partition(app, number_of(name))
    }

    pub(super) fn numbered_partition(&self, app: &AppId, number: u8) -> Partition {
        self.tagged_partition(format!("{app}:{number}"))
    }

    pub(super) fn tagged_partition(&self, tag: String) -> Partition {
        Partition {
            base: format!("{}:{{{tag}}}", self.prefix),
            topic_base: format!("{}:{{{tag}}}:t:", self.topic_prefix),
            tag,
        }
    }

    /// What each node has used of an app's messages of a day.
    pub(super) fn usage(&self, app: &AppId, day: u64) -> String {
        format!("{}:{{{app}:0}}:u:{day}", self.prefix)
    }

    /// Where one process hears what concerns it alone.
    pub(super) fn process_topic(&self, process: &str) -> String {
        format!("{}:{{nodes}}:t:{process}", self.topic_prefix)
    }

    /// Where every process hears what others ask. No process is called so: their names
    /// are numbers of 16 digits.
    pub(super) fn common_topic(&self) -> String {
        self.process_topic("all")
    }

    /// App and name of a pub/sub topic.
    pub(super) fn parse_topic<'a>(&self, topic: &'a str) -> Option<(&'a str, &'a str)> {
        let rest = topic.strip_prefix(self.topic_prefix.as_str())?;
        let (tag, name) = rest.strip_prefix(":{")?.split_once("}:t:")?;
        let (app, _number) = tag.rsplit_once(':')?;
        Some((app, name))
    }
}

impl Partition {
    /// The app, out of the tag.
    pub(super) fn app(&self) -> Option<AppId> {
        self.tag.rsplit_once(':').map(|(app, _)| AppId::new(app))
    }

    pub(super) fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.topic_base)
    }

    pub(super) fn record(&self, name: &str) -> String {
        format!("{}:n:{name}", self.base)
    }

    pub(super) fn index(&self) -> String {
        format!("{}:i", self.base)
    }

    pub(super) fn held(&self, node: &str) -> String {
        format!("{}:k:{node}", self.base)
    }

    pub(super) fn tombstone(&self, node: &str) -> String {
        format!("{}:d:{node}", self.base)
    }

    pub(super) fn memo(&self, node: &str, name: &str) -> String {
        format!("{}:r:{node}:{name}", self.base)
    }

    pub(super) fn holds(&self) -> String {
        format!("{}:h", self.base)
    }

    pub(super) fn claim(&self, request: &str) -> String {
        format!("{}:q:{request}", self.base)
    }

    pub(super) fn cached(&self, name: &str) -> String {
        format!("{}:e:{name}", self.base)
    }

    /// The past events of a channel.
    pub(super) fn past(&self, name: &str) -> String {
        format!("{}:s:{name}", self.base)
    }

    /// Where they begin and end.
    pub(super) fn bounds(&self, name: &str) -> String {
        format!("{}:b:{name}", self.base)
    }

    /// Since when pasts are known.
    pub(super) fn began(&self) -> String {
        format!("{}:a", self.base)
    }

    /// A session that clients name.
    pub(super) fn session(&self, name: &str) -> String {
        format!("{}:w:{name}", self.base)
    }

    /// All sessions, by the end of their time.
    pub(super) fn sessions(&self) -> String {
        format!("{}:x", self.base)
    }
}

/// The partition of a name, the same on every node and in every version: FNV-1a,
/// then mixed, as its upper bits hardly depend on the end of a name.
fn number_of(name: &str) -> u8 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    u8::try_from((mixed >> 32) % u64::from(PARTITIONS))
        .expect("there are fewer than 256 partitions")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_tells_its_app_and_its_name() {
        for database in [0, 3] {
            let keys = Keys::new("fanfare", database);
            let partition = keys.partition(&AppId::new("my.app-1"), "cpresence-x");

            let topic = partition.topic("cpresence-x");

            assert_eq!(keys.parse_topic(&topic), Some(("my.app-1", "cpresence-x")));
            assert_eq!(partition.app(), Some(AppId::new("my.app-1")));
        }
        let keys = Keys::new("fanfare", 0);
        for topic in [
            "",
            "fanfare",
            "fanfare:{a",
            "fanfare:{a}:t:x",
            "other:{a:1}:t:cx",
        ] {
            assert_eq!(keys.parse_topic(topic), None, "{topic}");
        }
    }

    #[test]
    fn names_are_spread_over_all_partitions() {
        let numbers: std::collections::BTreeSet<u8> = (0..200)
            .map(|n| number_of(&format!("corders-{n}")))
            .collect();

        assert_eq!(numbers.len(), usize::from(PARTITIONS));
    }
}
