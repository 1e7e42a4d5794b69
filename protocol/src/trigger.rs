//! Bodies of `POST /events` and `POST /batch_events` (sections 17.3 and 17.4).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::channel::{ChannelKind, ChannelName};
use crate::error::echo;
use crate::json;
use crate::limits::Limits;
use crate::socket_id::SocketId;

/// A checked wish to publish one event.
#[derive(Debug)]
pub struct Trigger<'a> {
    /// The event's name.
    pub name: Cow<'a, str>,
    /// The text that reaches the clients.
    pub data: Cow<'a, str>,
    /// Where it goes, each channel once.
    pub channels: Vec<ChannelName>,
    /// The connection that does not get it.
    pub socket_id: Option<SocketId>,
    /// What the answer should tell about the channels.
    pub info: Option<InfoAttributes>,
}

/// Attributes that `info` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InfoAttributes {
    /// Distinct users of a presence channel.
    pub user_count: bool,
    /// Connections subscribed.
    pub subscription_count: bool,
    /// The event that a cache channel keeps.
    pub cache: bool,
}

impl InfoAttributes {
    /// Reads a comma-separated list; spaces around names do not matter.
    ///
    /// # Errors
    /// A name that is no attribute.
    pub fn parse(text: &str) -> Result<Self, BodyError> {
        let mut attributes = Self::default();
        for name in text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            match name {
                "user_count" => attributes.user_count = true,
                "subscription_count" => attributes.subscription_count = true,
                "cache" => attributes.cache = true,
                other => return Err(BodyError::UnknownAttribute(echo(other))),
            }
        }
        Ok(attributes)
    }
}

/// Why a body is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// Status 400.
    #[error("Expected the body to be a JSON object")]
    NotAnObject,
    /// Status 400.
    #[error("Expected name parameter to be a string")]
    NameNotAString,
    /// Status 400.
    #[error("Invalid event name: it must have 1 to {limit} characters")]
    NameLength {
        /// Characters.
        limit: usize,
    },
    /// Status 400.
    #[error(
        "Invalid event name '{0}': names starting with pusher: or pusher_internal: are reserved"
    )]
    NameReserved(String),
    /// Status 400.
    #[error("Expected data parameter to be a string")]
    DataNotAString,
    /// Status 413.
    #[error(
        "The data content of this event exceeds the allowed maximum ({limit} bytes). See docs/protocol.md for more info"
    )]
    DataTooLarge {
        /// Bytes of UTF-8.
        limit: usize,
    },
    /// Status 400.
    #[error("Expected channels parameter to be an array of strings, or channel to be a string")]
    ChannelsNotStrings,
    /// Status 400.
    #[error("Missing parameter: channels")]
    NoChannel,
    /// Status 400.
    #[error("Too many channels: an event may go to {limit} at most")]
    TooManyChannels {
        /// Channels.
        limit: usize,
    },
    /// Status 400.
    #[error("Invalid channel name '{0}'")]
    InvalidChannelName(String),
    /// Status 400.
    #[error("An event for an encrypted channel must go to that channel alone")]
    EncryptedWithOthers,
    /// Status 400.
    #[error("Expected socket_id parameter to be a string")]
    SocketIdNotAString,
    /// Status 400.
    #[error("Expected info parameter to be a comma-separated string")]
    InfoNotAString,
    /// Status 400.
    #[error("Unknown info attribute '{0}': expected user_count, subscription_count or cache")]
    UnknownAttribute(String),
    /// Status 400.
    #[error("Expected batch parameter to be an array of 1 to {limit} events")]
    BatchLength {
        /// Events.
        limit: usize,
    },
    /// Something is wrong with one event of a batch; nothing was sent.
    #[error("Event {index} of the batch: {error}")]
    InBatch {
        /// Position, counted from 0.
        index: usize,
        /// What is wrong with it.
        #[source]
        error: Box<Self>,
    },
}

impl BodyError {
    /// Whether the answer is 413 rather than 400.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        match self {
            Self::DataTooLarge { .. } => true,
            Self::InBatch { error, .. } => error.is_too_large(),
            _ => false,
        }
    }
}

#[derive(Default, Deserialize)]
struct TriggerMembers<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    channels: Option<&'a RawValue>,
    #[serde(borrow)]
    channel: Option<&'a RawValue>,
    #[serde(borrow)]
    socket_id: Option<&'a RawValue>,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct BatchMembers<'a> {
    #[serde(borrow)]
    batch: Option<&'a RawValue>,
}

/// Parameters of a trigger that may also stand in the query; the body wins.
#[derive(Clone, Debug, Default)]
pub struct QueryParameters<'a> {
    /// `name` of the query.
    pub name: Option<&'a str>,
    /// `data` of the query.
    pub data: Option<&'a str>,
    /// `channels[]` and `channel` of the query.
    pub channels: Vec<&'a str>,
    /// `socket_id` of the query.
    pub socket_id: Option<&'a str>,
    /// `info` of the query.
    pub info: Option<&'a str>,
}

impl<'a> Trigger<'a> {
    /// Reads and checks the body of `POST /events`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(
        body: &'a [u8],
        query: QueryParameters<'a>,
        limits: &Limits,
    ) -> Result<Self, BodyError> {
        let text = std::str::from_utf8(body).map_err(|_| BodyError::NotAnObject)?;
        let members = if text.is_empty() {
            // Everything may stand in the query.
            TriggerMembers::default()
        } else {
            json::object(text).ok_or(BodyError::NotAnObject)?
        };
        Self::from_members(members, query, limits)
    }

    /// Reads and checks the body of `POST /batch_events`. Either all events are
    /// good, or none is returned.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse_batch(body: &'a [u8], limits: &Limits) -> Result<Vec<Self>, BodyError> {
        let text = std::str::from_utf8(body).map_err(|_| BodyError::NotAnObject)?;
        let members: BatchMembers<'a> = json::object(text).ok_or(BodyError::NotAnObject)?;
        let limit = limits.events_per_batch;
        let events: Vec<&'a RawValue> = members
            .batch
            .and_then(|raw| serde_json::from_str(raw.get()).ok())
            .filter(|events: &Vec<_>| (1..=limit).contains(&events.len()))
            .ok_or(BodyError::BatchLength { limit })?;
        events
            .into_iter()
            .enumerate()
            .map(|(index, raw)| {
                Self::in_batch(raw, limits).map_err(|error| BodyError::InBatch {
                    index,
                    error: Box::new(error),
                })
            })
            .collect()
    }

    fn in_batch(raw: &'a RawValue, limits: &Limits) -> Result<Self, BodyError> {
        let members: TriggerMembers<'a> = json::object(raw.get()).ok_or(BodyError::NotAnObject)?;
        if members.channel.is_none() {
            return Err(BodyError::NoChannel);
        }
        Self::from_members(members, QueryParameters::default(), limits)
    }

    fn from_members(
        members: TriggerMembers<'a>,
        query: QueryParameters<'a>,
        limits: &Limits,
    ) -> Result<Self, BodyError> {
        let name = string(members.name, BodyError::NameNotAString)?
            .or(query.name.map(Cow::Borrowed))
            .ok_or(BodyError::NameNotAString)?;
        check_name(&name, limits)?;
        let data = string(members.data, BodyError::DataNotAString)?
            .or(query.data.map(Cow::Borrowed))
            .ok_or(BodyError::DataNotAString)?;
        if data.len() > limits.event_data_bytes {
            return Err(BodyError::DataTooLarge {
                limit: limits.event_data_bytes,
            });
        }
        let channels = if members.channels.is_none() && members.channel.is_none() {
            channels(query.channels.into_iter().map(Cow::Borrowed), limits)?
        } else {
            let listed = listed(members.channels, members.channel)?;
            channels(listed.into_iter(), limits)?
        };
        // An id of another form names no connection, so it excludes none.
        let socket_id = string(members.socket_id, BodyError::SocketIdNotAString)?
            .or(query.socket_id.map(Cow::Borrowed))
            .and_then(|text| text.parse().ok());
        let info = string(members.info, BodyError::InfoNotAString)?
            .or(query.info.map(Cow::Borrowed))
            .map(|text| InfoAttributes::parse(&text))
            .transpose()?;
        Ok(Self {
            name,
            data,
            channels,
            socket_id,
            info,
        })
    }
}

fn string(member: Option<&RawValue>, error: BodyError) -> Result<Option<Cow<'_, str>>, BodyError> {
    match member {
        None => Ok(None),
        Some(raw) => json::text(raw).map(Some).ok_or(error),
    }
}

fn check_name(name: &str, limits: &Limits) -> Result<(), BodyError> {
    let limit = limits.event_name_length;
    if name.is_empty() || name.chars().count() > limit {
        return Err(BodyError::NameLength { limit });
    }
    if name.starts_with("pusher:") || name.starts_with("pusher_internal:") {
        return Err(BodyError::NameReserved(echo(name)));
    }
    Ok(())
}

/// The union of `channels` and `channel`, in order.
fn listed<'a>(
    channels: Option<&'a RawValue>,
    channel: Option<&'a RawValue>,
) -> Result<Vec<Cow<'a, str>>, BodyError> {
    let listed: Vec<&RawValue> = match channels {
        Some(raw) => serde_json::from_str(raw.get()).map_err(|_| BodyError::ChannelsNotStrings)?,
        None => Vec::new(),
    };
    listed
        .into_iter()
        .chain(channel)
        .map(|raw| json::text(raw).ok_or(BodyError::ChannelsNotStrings))
        .collect()
}

/// The channels of these names, each once.
fn channels<'a>(
    texts: impl Iterator<Item = Cow<'a, str>>,
    limits: &Limits,
) -> Result<Vec<ChannelName>, BodyError> {
    let mut names = Vec::new();
    for text in texts {
        let name = ChannelName::parse(&text, limits)
            .map_err(|_| BodyError::InvalidChannelName(echo(&text)))?;
        if !names.contains(&name) {
            names.push(name);
        }
        if names.len() > limits.channels_per_event {
            return Err(BodyError::TooManyChannels {
                limit: limits.channels_per_event,
            });
        }
    }
    let is_encrypted = |name: &ChannelName| name.kind() == ChannelKind::PrivateEncrypted;
    match names.len() {
        0 => Err(BodyError::NoChannel),
        1 => Ok(names),
        _ if names.iter().any(is_encrypted) => Err(BodyError::EncryptedWithOthers),
        _ => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Trigger<'_>, BodyError> {
        Trigger::parse(
            body.as_bytes(),
            QueryParameters::default(),
            &Limits::default(),
        )
    }

    fn error(body: &str) -> BodyError {
        parse(body).unwrap_err()
    }

    #[test]
    fn the_body_of_the_documentation_is_read() {
        let body = r#"{"name":"foo","data":"{\"some\":\"data\"}","channels":["project-3"],"socket_id":"1234.1234","info":"subscription_count"}"#;

        let trigger = parse(body).unwrap();

        assert_eq!(trigger.name, "foo");
        assert_eq!(trigger.data, r#"{"some":"data"}"#);
        assert_eq!(trigger.channels[0].as_str(), "project-3");
        assert_eq!(trigger.socket_id.unwrap().to_string(), "1234.1234");
        assert!(trigger.info.unwrap().subscription_count);
    }

    /// Checklist 145, 151 and 152.
    #[test]
    fn channels_are_a_union_and_null_is_absent() {
        let body = r#"{"name":"e","data":"","channel":"b","channels":["a","b","a"],"socket_id":null,"info":null}"#;
        let trigger = parse(body).unwrap();
        let odd = parse(r#"{"name":"e","data":"","channel":"b","socket_id":"123123"}"#).unwrap();

        let names: Vec<&str> = trigger.channels.iter().map(ChannelName::as_str).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!((trigger.socket_id, trigger.info), (None, None));
        assert_eq!(odd.socket_id, None);
    }

    /// Checklist 95, 146 to 149.
    #[test]
    fn what_is_wrong_is_named() {
        let long_name = format!(
            r#"{{"name":"{}","data":"","channel":"a"}}"#,
            "x".repeat(201)
        );
        let large = format!(
            r#"{{"name":"e","data":"{}","channel":"a"}}"#,
            "é".repeat(5_121)
        );
        let many: Vec<String> = (0..101).map(|n| format!("\"c{n}\"")).collect();
        let many = format!(
            r#"{{"name":"e","data":"","channels":[{}]}}"#,
            many.join(",")
        );
        for (body, expected) in [
            ("[]", BodyError::NotAnObject),
            ("{}", BodyError::NameNotAString),
            (
                r#"{"name":7,"data":"","channel":"a"}"#,
                BodyError::NameNotAString,
            ),
            (
                r#"{"name":"","data":"","channel":"a"}"#,
                BodyError::NameLength { limit: 200 },
            ),
            (long_name.as_str(), BodyError::NameLength { limit: 200 }),
            (
                r#"{"name":"pusher:x","data":"","channel":"a"}"#,
                BodyError::NameReserved("pusher:x".to_owned()),
            ),
            (r#"{"name":"e","channel":"a"}"#, BodyError::DataNotAString),
            (
                r#"{"name":"e","data":{},"channel":"a"}"#,
                BodyError::DataNotAString,
            ),
            (
                r#"{"name":"e","data":7,"channel":"a"}"#,
                BodyError::DataNotAString,
            ),
            (large.as_str(), BodyError::DataTooLarge { limit: 10_240 }),
            (r#"{"name":"e","data":""}"#, BodyError::NoChannel),
            (
                r#"{"name":"e","data":"","channels":[]}"#,
                BodyError::NoChannel,
            ),
            (
                r#"{"name":"e","data":"","channels":"a"}"#,
                BodyError::ChannelsNotStrings,
            ),
            (
                r#"{"name":"e","data":"","channels":{}}"#,
                BodyError::ChannelsNotStrings,
            ),
            (
                r#"{"name":"e","data":"","channels":[7]}"#,
                BodyError::ChannelsNotStrings,
            ),
            (many.as_str(), BodyError::TooManyChannels { limit: 100 }),
            (
                r##"{"name":"e","data":"","channel":"#x"}"##,
                BodyError::InvalidChannelName("#x".to_owned()),
            ),
            (
                r#"{"name":"e","data":"","channels":["a","private-encrypted-b"]}"#,
                BodyError::EncryptedWithOthers,
            ),
            (
                r#"{"name":"e","data":"","channel":"a","info":"connection_count"}"#,
                BodyError::UnknownAttribute("connection_count".to_owned()),
            ),
        ] {
            assert_eq!(error(body), expected, "{body}");
        }
    }

    #[test]
    fn a_batch_is_good_as_a_whole_or_not_at_all() {
        let limits = Limits::default();
        let event = r#"{"name":"e","data":"","channel":"private-encrypted-a"}"#;
        let batch = |events: &[&str]| format!(r#"{{"batch":[{}]}}"#, events.join(","));

        assert_eq!(
            Trigger::parse_batch(batch(&[event; 10]).as_bytes(), &limits)
                .unwrap()
                .len(),
            10
        );
        for body in [
            batch(&[event; 11]),
            batch(&[]),
            "{}".to_owned(),
            r#"{"batch":{}}"#.to_owned(),
        ] {
            let error = Trigger::parse_batch(body.as_bytes(), &limits).unwrap_err();
            assert_eq!(error, BodyError::BatchLength { limit: 10 }, "{body}");
        }
        let body = batch(&[event, r#"{"name":"e","data":"","channels":["a"]}"#]);
        let error = Trigger::parse_batch(body.as_bytes(), &limits).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Event 1 of the batch: Missing parameter: channels"
        );
    }
}
