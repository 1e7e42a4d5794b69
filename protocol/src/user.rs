//! Users: ids, the data of a sign-in, and the data of a presence subscription.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::ClientError;
use crate::json;
use crate::limits::Limits;

/// The id of a user. Cloning shares the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

impl UserId {
    /// Wraps `id` as it is.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self(id.into())
    }

    /// The id as it goes over the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Bytes allowed in channel names and in the ids of signed-in users.
pub(crate) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-=@,.;".contains(&byte)
}

/// The longest id of a signed-in user: it must fit into `#server-to-user-<id>`.
const MAX_SIGNED_IN_ID_LENGTH: usize =
    crate::channel::MAX_CHANNEL_NAME_LENGTH - crate::channel::SERVER_TO_USER_PREFIX.len();

/// What a presence subscription says about its user (section 7).
#[derive(Clone, Debug)]
pub struct ChannelData {
    /// Always a string from here on, whatever the app signed.
    pub user_id: UserId,
    /// JSON text of an object, as the app wrote it.
    pub user_info: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct ChannelDataMembers<'a> {
    #[serde(borrow)]
    user_id: Option<&'a RawValue>,
    #[serde(borrow)]
    user_info: Option<&'a RawValue>,
}

impl ChannelData {
    /// Reads the `channel_data` of a presence subscription.
    ///
    /// A numeric `user_id` becomes a string with exactly its digits.
    ///
    /// # Errors
    /// It is not an object, has no usable `user_id`, or breaks a limit.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, ClientError> {
        let members: ChannelDataMembers<'_> =
            json::object(text).ok_or(ClientError::InvalidChannelData)?;
        let user_id = members
            .user_id
            .and_then(json::text_or_number)
            .filter(|id| !id.is_empty())
            .ok_or(ClientError::MissingUserId)?;
        if user_id.chars().count() > limits.presence_user_id_length {
            return Err(ClientError::UserIdTooLong {
                limit: limits.presence_user_id_length,
            });
        }
        let user_info = user_info(members.user_info, limits)?;
        Ok(Self {
            user_id: UserId::new(&user_id),
            user_info,
        })
    }
}

/// Checks the optional `user_info`: an object within the size limit.
fn user_info(
    member: Option<&RawValue>,
    limits: &Limits,
) -> Result<Option<Box<RawValue>>, ClientError> {
    let Some(raw) = member else {
        return Ok(None);
    };
    if !raw.get().starts_with('{') {
        return Err(ClientError::UserInfoNotAnObject);
    }
    if raw.get().len() > limits.presence_user_info_bytes {
        return Err(ClientError::UserInfoTooLarge {
            limit: limits.presence_user_info_bytes,
        });
    }
    Ok(Some(raw.to_owned()))
}

/// What a sign-in says about its user (section 12.1).
#[derive(Clone, Debug)]
pub struct UserData {
    /// Non-empty, of the characters of channel names.
    pub id: UserId,
    /// JSON text of an object, used by presence channels that got no
    /// `channel_data`.
    pub user_info: Option<Box<RawValue>>,
    /// The users whose coming and going this one wants to hear of.
    pub watchlist: Vec<UserId>,
    /// Whether the watchlist was cut at the limit.
    pub watchlist_was_cut: bool,
}

#[derive(Deserialize)]
struct UserDataMembers<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    user_info: Option<&'a RawValue>,
    #[serde(borrow)]
    watchlist: Option<&'a RawValue>,
}

impl UserData {
    /// Reads the `user_data` of a sign-in.
    ///
    /// # Errors
    /// It is not an object, or its `id` is not a non-empty string of allowed
    /// characters (a numeric id leaves pusher-js signed out without a word).
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, ClientError> {
        let members: UserDataMembers<'_> =
            json::object(text).ok_or(ClientError::InvalidUserData)?;
        let id = members
            .id
            .and_then(json::text)
            .filter(|id| is_signed_in_id(id))
            .ok_or(ClientError::InvalidUserId)?;
        let user_info = user_info(members.user_info, limits)?;
        let mut watchlist = members.watchlist.map(json::texts).unwrap_or_default();
        let watchlist_was_cut = watchlist.len() > limits.watchlist_ids;
        watchlist.truncate(limits.watchlist_ids);
        let mut watchlist: Vec<UserId> = watchlist.iter().map(|id| UserId::new(id)).collect();
        watchlist.sort_unstable();
        watchlist.dedup();
        Ok(Self {
            id: UserId::new(&id),
            user_info,
            watchlist,
            watchlist_was_cut,
        })
    }
}

fn is_signed_in_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_SIGNED_IN_ID_LENGTH && id.bytes().all(is_name_byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel_data(text: &str) -> Result<ChannelData, ClientError> {
        ChannelData::parse(text, &Limits::default())
    }

    fn user_data(text: &str) -> Result<UserData, ClientError> {
        UserData::parse(text, &Limits::default())
    }

    /// Checklist 65 and 66.
    #[test]
    fn numeric_user_ids_keep_every_digit() {
        for (text, id) in [
            (r#"{"user_id":10}"#, "10"),
            (r#"{"user_id":9007199254740993}"#, "9007199254740993"),
            (r#"{"user_id":"cook-1","user_info":null}"#, "cook-1"),
        ] {
            assert_eq!(channel_data(text).unwrap().user_id.as_str(), id);
        }
    }

    /// Checklist 67 and 68.
    #[test]
    fn presence_data_is_checked() {
        let long_id = format!(r#"{{"user_id":"{}"}}"#, "u".repeat(129));
        let large_info = format!(
            r#"{{"user_id":"1","user_info":{{"a":"{}"}}}}"#,
            "x".repeat(1_024)
        );
        for (text, error) in [
            ("[]", ClientError::InvalidChannelData),
            ("nonsense", ClientError::InvalidChannelData),
            ("{}", ClientError::MissingUserId),
            (r#"{"user_id":""}"#, ClientError::MissingUserId),
            (r#"{"user_id":true}"#, ClientError::MissingUserId),
            (
                r#"{"user_id":"1","user_info":"x"}"#,
                ClientError::UserInfoNotAnObject,
            ),
            (long_id.as_str(), ClientError::UserIdTooLong { limit: 128 }),
            (
                large_info.as_str(),
                ClientError::UserInfoTooLarge { limit: 1_024 },
            ),
        ] {
            assert_eq!(channel_data(text).unwrap_err(), error, "{text}");
        }
    }

    /// Checklist 114.
    #[test]
    fn a_sign_in_needs_a_string_id() {
        for text in [r#"{"id":7}"#, r#"{"id":""}"#, "{}", r#"{"id":"a b"}"#] {
            assert_eq!(
                user_data(text).unwrap_err(),
                ClientError::InvalidUserId,
                "{text}"
            );
        }
        assert_eq!(user_data("7").unwrap_err(), ClientError::InvalidUserData);
    }

    /// Checklist 124.
    #[test]
    fn a_watchlist_is_cut_at_its_limit_and_odd_ids_are_ignored() {
        let ids: Vec<String> = (0..101).map(|n| format!("\"u{n:03}\"")).collect();

        let long = user_data(&format!(r#"{{"id":"a","watchlist":[{}]}}"#, ids.join(","))).unwrap();
        let odd = user_data(r#"{"id":"a","watchlist":["b",7,null,"b"]}"#).unwrap();

        assert_eq!((long.watchlist.len(), long.watchlist_was_cut), (100, true));
        assert_eq!(
            (odd.watchlist, odd.watchlist_was_cut),
            (vec![UserId::new("b")], false)
        );
    }
}
