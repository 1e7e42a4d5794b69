//! Channel names and the kinds that their prefixes stand for (section 6.1).

use std::fmt;
use std::sync::Arc;

use crate::limits::Limits;
use crate::user::{UserId, is_name_byte};

/// What the prefix of a channel name asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelKind {
    /// Anybody may subscribe.
    Public,
    /// A signature is needed.
    Private,
    /// As private; the payload is ciphertext and clients send no events.
    PrivateEncrypted,
    /// As private, with a list of members.
    Presence,
    /// Reserved for the connections that are signed in as the user in the name.
    ServerToUser,
}

/// The longest name that any setting allows, and that of `#server-to-user-` + id.
pub const MAX_CHANNEL_NAME_LENGTH: usize = 200;

/// Prefix of the channel through which a signed-in user is reached.
pub const SERVER_TO_USER_PREFIX: &str = "#server-to-user-";

/// A valid channel name. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

impl ChannelName {
    /// Checks `name` against the allowed characters and the app's limit.
    ///
    /// # Errors
    /// The name is empty, too long, or has a character that is not allowed.
    pub fn parse(name: &str, limits: &Limits) -> Result<Self, InvalidChannelName> {
        let (rest, max_length) = match name.strip_prefix(SERVER_TO_USER_PREFIX) {
            Some(user_id) => (user_id, MAX_CHANNEL_NAME_LENGTH),
            None => (name, limits.channel_name_length),
        };
        let is_valid =
            !rest.is_empty() && name.len() <= max_length && rest.bytes().all(is_name_byte);
        if is_valid {
            Ok(Self(name.into()))
        } else {
            Err(InvalidChannelName)
        }
    }

    /// The channel through which `user` is reached.
    #[must_use]
    pub fn server_to_user(user: &UserId) -> Self {
        Self(format!("{SERVER_TO_USER_PREFIX}{user}").into())
    }

    /// The name as it goes over the wire. It needs no escaping in JSON.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The kind that the prefix stands for. Prefixes are case-sensitive.
    #[must_use]
    pub fn kind(&self) -> ChannelKind {
        let name = self.as_str();
        if name.starts_with("private-encrypted-") {
            ChannelKind::PrivateEncrypted
        } else if name.starts_with("private-") {
            ChannelKind::Private
        } else if name.starts_with("presence-") {
            ChannelKind::Presence
        } else if name.starts_with('#') {
            ChannelKind::ServerToUser
        } else {
            ChannelKind::Public
        }
    }

    /// Whether the last event of this channel is kept for later subscribers.
    #[must_use]
    pub fn is_cache(&self) -> bool {
        [
            "private-encrypted-cache-",
            "private-cache-",
            "presence-cache-",
            "cache-",
        ]
        .iter()
        .any(|prefix| self.as_str().starts_with(prefix))
    }

    /// Whether a subscription needs a signature.
    #[must_use]
    pub fn needs_signature(&self) -> bool {
        matches!(
            self.kind(),
            ChannelKind::Private | ChannelKind::PrivateEncrypted | ChannelKind::Presence
        )
    }

    /// The user that a `#server-to-user-` channel belongs to.
    #[must_use]
    pub fn server_to_user_id(&self) -> Option<&str> {
        self.as_str().strip_prefix(SERVER_TO_USER_PREFIX)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text cannot name a channel; the caller knows the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid channel name")]
pub struct InvalidChannelName;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Result<ChannelName, InvalidChannelName> {
        ChannelName::parse(name, &Limits::default())
    }

    #[test]
    fn the_longest_prefix_decides_the_kind() {
        for (name, kind, is_cache) in [
            ("kitchen", ChannelKind::Public, false),
            ("cache-menu", ChannelKind::Public, true),
            ("private-x", ChannelKind::Private, false),
            ("private-cache-x", ChannelKind::Private, true),
            ("private-encrypted-x", ChannelKind::PrivateEncrypted, false),
            (
                "private-encrypted-cache-x",
                ChannelKind::PrivateEncrypted,
                true,
            ),
            ("presence-x", ChannelKind::Presence, false),
            ("presence-cache-x", ChannelKind::Presence, true),
            ("#server-to-user-7", ChannelKind::ServerToUser, false),
            // Checklist 47 and 48: neither contains nor differs only in case.
            ("my-private-x", ChannelKind::Public, false),
            ("Private-x", ChannelKind::Public, false),
        ] {
            let channel = parse(name).unwrap();

            assert_eq!(
                (channel.kind(), channel.is_cache()),
                (kind, is_cache),
                "{name}"
            );
        }
    }

    /// Checklist 44 to 47.
    #[test]
    fn names_are_limited_in_characters_and_length() {
        assert!(parse("aZ09_-=@,.;").is_ok());
        assert!(parse(&"x".repeat(164)).is_ok());
        assert!(parse(&format!("#server-to-user-{}", "u".repeat(184))).is_ok());
        for bad in [
            "",
            "a b",
            "a:b",
            "a/b",
            "кухня",
            "#x",
            "#server-to-user-",
            "a\0b",
        ] {
            assert_eq!(parse(bad), Err(InvalidChannelName), "{bad:?}");
        }
        assert!(parse(&"x".repeat(165)).is_err());
        assert!(parse(&format!("#server-to-user-{}", "u".repeat(185))).is_err());
    }
}
