//! The plain WebSocket of development machines: another dialect for the public
//! channels of one app.
//!
//! Clients send `{"action":"subscribe","channels":["orders","tables:5"]}`, the same
//! with `unsubscribe`, or `{"type":"ping"}`. They get `{"success":…}`, `pong` and
//! events in an envelope with a number and the time. There are no signatures and
//! no client events. Names may be written as rooms, see [`channel_of`].

use std::borrow::Cow;
use std::io::Write;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::frame::{Frame, FrameBuilder};
use crate::json::{self, push_string};

/// Rooms that have a channel for each of their members: the room, and what the
/// channels begin with.
const ROOMS: [(&str, &str); 5] = [
    ("tables", "table"),
    ("stations", "station"),
    ("orders", "order"),
    ("storage", "storage"),
    ("splits", "split"),
];

/// What a client may send.
#[derive(Debug, PartialEq, Eq)]
pub enum RawRequest<'a> {
    /// Begin to deliver these, in the client's own spelling.
    Subscribe(Vec<Cow<'a, str>>),
    /// Stop delivering these.
    Unsubscribe(Vec<Cow<'a, str>>),
    /// Answer with [`RawMessage::Pong`].
    Ping,
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    action: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    channels: Option<&'a RawValue>,
}

impl<'a> RawRequest<'a> {
    /// Reads one text message. `None` for everything that is none of the three;
    /// further members, such as `filters`, are passed over.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let members: Members<'a> = json::object(text)?;
        if let Some(action) = members.action.and_then(json::text) {
            let channels = members.channels.map(json::texts)?;
            return match action.as_ref() {
                "subscribe" => Some(Self::Subscribe(channels)),
                "unsubscribe" => Some(Self::Unsubscribe(channels)),
                _ => None,
            };
        }
        (members.kind.and_then(json::text)? == "ping").then_some(Self::Ping)
    }
}

/// The channel that `name` stands for: `tables:5` is `table-5`. Whatever is no
/// room is the channel's own name.
#[must_use]
pub fn channel_of(name: &str) -> Cow<'_, str> {
    let Some((room, member)) = name.split_once(':') else {
        return Cow::Borrowed(name);
    };
    match ROOMS.iter().find(|(known, _)| *known == room) {
        Some((_, channel)) => Cow::Owned(format!("{channel}-{member}")),
        None => Cow::Borrowed(name),
    }
}

/// What a client gets.
#[derive(Debug)]
pub enum RawMessage<'a> {
    /// Answers a ping.
    Pong,
    /// Answers a subscription or the end of one.
    Answer {
        /// Channels of the request that are delivered now, as the client spells
        /// them.
        subscribed: &'a [&'a str],
        /// What went wrong with the others.
        error: Option<&'a str>,
    },
    /// Something that was published.
    Event {
        /// Its name.
        event: &'a str,
        /// Its channel.
        channel: &'a str,
        /// Its data; JSON stands in the message as it is, other text as a string.
        data: &'a str,
        /// Counts the events of this connection from 1.
        sequence: u64,
        /// When this server sent it, ISO 8601.
        timestamp: &'a str,
        /// The same in Unix milliseconds.
        timestamp_ms: u64,
    },
}

impl RawMessage<'_> {
    /// Makes the bytes that go to the client.
    #[must_use]
    pub fn encode(&self) -> Frame {
        let mut builder = FrameBuilder::with_capacity(self.room());
        let out = builder.text();
        match self {
            Self::Pong => out.extend_from_slice(br#"{"type":"pong"}"#),
            Self::Answer { subscribed, error } => {
                let success = error.is_none();
                write!(out, r#"{{"success":{success},"subscribedChannels":["#)
                    .expect("writing to memory does not fail");
                for (index, channel) in subscribed.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    push_string(out, channel);
                }
                out.push(b']');
                if let Some(error) = error {
                    out.extend_from_slice(br#","error":"#);
                    push_string(out, error);
                }
                out.push(b'}');
            }
            Self::Event {
                event,
                channel,
                data,
                sequence,
                timestamp,
                timestamp_ms,
            } => {
                out.extend_from_slice(br#"{"type":"#);
                push_string(out, event);
                out.extend_from_slice(br#","channel":"#);
                push_string(out, channel);
                write!(
                    out,
                    r#","timestamp":"{timestamp}","serverTimestamp":{timestamp_ms},"sequence":{sequence},"payload":"#
                )
                .expect("writing to memory does not fail");
                if serde_json::from_str::<&RawValue>(data).is_ok() {
                    out.extend_from_slice(data.as_bytes());
                } else {
                    push_string(out, data);
                }
                out.push(b'}');
            }
        }
        builder.finish()
    }

    fn room(&self) -> usize {
        match self {
            Self::Pong => 16,
            Self::Answer { subscribed, error } => {
                let names: usize = subscribed.iter().map(|name| name.len() + 3).sum();
                names + error.map_or(0, str::len) + 64
            }
            Self::Event {
                event,
                channel,
                data,
                ..
            } => event.len() + channel.len() + data.len() + 160,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(message: &RawMessage<'_>) -> String {
        String::from_utf8(message.encode().payload().to_vec()).unwrap()
    }

    #[test]
    fn rooms_have_a_channel_for_each_member() {
        for (name, channel) in [
            ("orders", "orders"),
            ("kitchen", "kitchen"),
            ("tables:5", "table-5"),
            ("stations:grill", "station-grill"),
            ("orders:507f1f77", "order-507f1f77"),
            ("storage:beef", "storage-beef"),
            ("splits:9", "split-9"),
            ("table-5", "table-5"),
            ("unknown:5", "unknown:5"),
            ("tables:5:6", "table-5:6"),
            (":", ":"),
            ("", ""),
        ] {
            assert_eq!(channel_of(name), channel);
        }
    }

    #[test]
    fn requests_are_read_and_everything_else_is_none() {
        let channels =
            |names: &[&'static str]| names.iter().map(|name| Cow::Borrowed(*name)).collect();
        for (text, request) in [
            (
                r#"{"action":"subscribe","channels":["orders","tables:5"],"filters":{"a":1}}"#,
                Some(RawRequest::Subscribe(channels(&["orders", "tables:5"]))),
            ),
            (
                r#"{"action":"unsubscribe","channels":[]}"#,
                Some(RawRequest::Unsubscribe(Vec::new())),
            ),
            (
                r#"{"action":"subscribe","channels":[1,null,"orders",{}]}"#,
                Some(RawRequest::Subscribe(channels(&["orders"]))),
            ),
            (r#"{"type":"ping"}"#, Some(RawRequest::Ping)),
            (r#"{"type":"ping","action":null}"#, Some(RawRequest::Ping)),
            (r#"{"action":"subscribe"}"#, None),
            (r#"{"action":"publish","channels":["orders"]}"#, None),
            (
                r#"{"event":"pusher:subscribe","data":{"channel":"orders"}}"#,
                None,
            ),
            (r#"{"type":5}"#, None),
            (r#"["subscribe"]"#, None),
            ("ping", None),
            ("", None),
        ] {
            assert_eq!(RawRequest::parse(text), request, "{text}");
        }
    }

    #[test]
    fn messages_have_exactly_the_documented_bytes() {
        let event = |data| RawMessage::Event {
            event: "order.created",
            channel: "table-5",
            data,
            sequence: 7,
            timestamp: "2026-01-02T03:04:05.006Z",
            timestamp_ms: 1_767_323_045_006,
        };
        for (message, expected) in [
            (RawMessage::Pong, r#"{"type":"pong"}"#),
            (
                RawMessage::Answer {
                    subscribed: &["orders", "tables:5"],
                    error: None,
                },
                r#"{"success":true,"subscribedChannels":["orders","tables:5"]}"#,
            ),
            (
                RawMessage::Answer {
                    subscribed: &[],
                    error: Some("no \"such\""),
                },
                r#"{"success":false,"subscribedChannels":[],"error":"no \"such\""}"#,
            ),
            (
                event(r#"{"orderNumber":101}"#),
                r#"{"type":"order.created","channel":"table-5","timestamp":"2026-01-02T03:04:05.006Z","serverTimestamp":1767323045006,"sequence":7,"payload":{"orderNumber":101}}"#,
            ),
            (
                event("no JSON \"at all\""),
                r#"{"type":"order.created","channel":"table-5","timestamp":"2026-01-02T03:04:05.006Z","serverTimestamp":1767323045006,"sequence":7,"payload":"no JSON \"at all\""}"#,
            ),
        ] {
            assert_eq!(text(&message), expected);
        }
    }
}
