//! What a server may send, and the one place where it is encoded.
//!
//! `data` is a string that holds JSON in every message but `pusher:error`, where
//! it is an object; absent members are left out, never `null`. Section 3.1 tells
//! which client breaks otherwise.

use std::io::Write;

use crate::channel::{ChannelKind, ChannelName};
use crate::error::{ClientError, Close, SubscriptionFailure};
use crate::event_id::EventId;
use crate::frame::{Draft, EVENT_ID_MEMBER, Frame, FrameBuilder};
use crate::json::push_string;
use crate::socket_id::SocketId;
use crate::user::UserId;

/// A message of the protocol itself. What apps publish is an [`EventText`].
#[derive(Debug)]
pub enum ServerMessage<'a> {
    /// The first message on every connection.
    ConnectionEstablished {
        /// The id of this connection.
        socket_id: SocketId,
        /// Seconds of silence after which the client should ping.
        activity_timeout: u32,
    },
    /// Announces a close to clients of protocol 5 and older.
    Refused(&'a Close),
    /// Something that the client did wrong; the connection goes on.
    Error(&'a ClientError),
    /// Answers `pusher:ping`.
    Pong,
    /// Asks for `pusher:pong`.
    Ping,
    /// A subscription to any channel but presence ones.
    SubscriptionSucceeded {
        /// The channel.
        channel: &'a ChannelName,
    },
    /// A subscription to a presence channel, with its members.
    PresenceSucceeded {
        /// The channel.
        channel: &'a ChannelName,
        /// JSON text of `{"presence":…}`, see [`MembersText`].
        members: &'a str,
    },
    /// Tells the channel, beside the connection, that it was refused.
    SubscriptionError {
        /// The channel as the client sent it.
        channel: &'a str,
        /// Class of the failure.
        failure: SubscriptionFailure,
        /// The text of the error.
        error: &'a str,
        /// The prefix that .NET and Flutter look for, instead of `pusher:`.
        internal: bool,
    },
    /// A user's first connection came to a presence channel.
    MemberAdded {
        /// The channel.
        channel: &'a ChannelName,
        /// The user.
        user_id: &'a UserId,
        /// JSON text of an object.
        user_info: Option<&'a str>,
    },
    /// A user's last connection left a presence channel.
    MemberRemoved {
        /// The channel.
        channel: &'a ChannelName,
        /// The user.
        user_id: &'a UserId,
    },
    /// How many connections are subscribed.
    SubscriptionCount {
        /// The channel.
        channel: &'a ChannelName,
        /// Connections.
        count: usize,
    },
    /// A cache channel has nothing cached.
    CacheMiss {
        /// The channel.
        channel: &'a ChannelName,
    },
    /// What the client knows of a channel may be incomplete.
    Gap {
        /// The channel.
        channel: &'a ChannelName,
        /// Why nothing better can be said.
        reason: GapReason,
    },
    /// The sign-in was accepted.
    SignInSucceeded {
        /// `user_data` as the client sent it.
        user_data: &'a str,
    },
    /// Users of the watchlist that are, or have come, online or offline.
    WatchlistEvents {
        /// Users with a connection.
        online: &'a [UserId],
        /// Users without one.
        offline: &'a [UserId],
    },
}

/// Why a subscriber cannot be given all that it may have missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// Nothing is known of what this client has seen of the channel: it is here
    /// for the first time, or its session is forgotten.
    New,
    /// Events that it has not seen are not kept any more.
    History,
    /// The `last_event_id` that it named is none of this channel's.
    UnknownEvent,
    /// The session belongs to another user.
    OtherUser,
    /// What is kept for all nodes is out of reach at the moment.
    Unavailable,
    /// Events did not get through to the other nodes, or to this client.
    Lost,
}

impl GapReason {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::History => "history",
            Self::UnknownEvent => "unknown_event",
            Self::OtherUser => "other_user",
            Self::Unavailable => "unavailable",
            Self::Lost => "lost",
        }
    }
}

/// The name of the event that tells of a gap. Clients decrypt what comes on an
/// encrypted channel, unless its name is one of the protocol's own.
fn gap_event(channel: &ChannelName) -> &'static str {
    match channel.kind() {
        ChannelKind::PrivateEncrypted => "pusher:fanfare_gap",
        _ => "fanfare:gap",
    }
}

impl ServerMessage<'_> {
    /// Makes the bytes that go to the client.
    #[must_use]
    pub fn encode(&self) -> Frame {
        match self {
            Self::ConnectionEstablished {
                socket_id,
                activity_timeout,
            } => message(
                "pusher:connection_established",
                None,
                &format!(r#"{{"socket_id":"{socket_id}","activity_timeout":{activity_timeout}}}"#),
            ),
            Self::Refused(close) => error(Some(close.code()), &close.to_string()),
            Self::Error(client_error) => error(client_error.code(), &client_error.to_string()),
            Self::Pong => message("pusher:pong", None, "{}"),
            Self::Ping => message("pusher:ping", None, "{}"),
            Self::SubscriptionSucceeded { channel } => message(
                "pusher_internal:subscription_succeeded",
                Some(channel.as_str()),
                "{}",
            ),
            Self::PresenceSucceeded { channel, members } => message(
                "pusher_internal:subscription_succeeded",
                Some(channel.as_str()),
                members,
            ),
            Self::SubscriptionError {
                channel,
                failure,
                error,
                internal,
            } => subscription_error(channel, *failure, error, *internal),
            Self::MemberAdded {
                channel,
                user_id,
                user_info,
            } => member_added(channel, user_id, *user_info),
            Self::MemberRemoved { channel, user_id } => message(
                "pusher_internal:member_removed",
                Some(channel.as_str()),
                &format!(r#"{{"user_id":{}}}"#, quoted(user_id.as_str())),
            ),
            Self::SubscriptionCount { channel, count } => message(
                "pusher_internal:subscription_count",
                Some(channel.as_str()),
                &format!(r#"{{"subscription_count":{count}}}"#),
            ),
            Self::CacheMiss { channel } => {
                message("pusher:cache_miss", Some(channel.as_str()), "{}")
            }
            Self::Gap { channel, reason } => message(
                gap_event(channel),
                Some(channel.as_str()),
                &format!(r#"{{"reason":"{}"}}"#, reason.as_str()),
            ),
            Self::SignInSucceeded { user_data } => message(
                "pusher:signin_success",
                None,
                &format!(r#"{{"user_data":{}}}"#, quoted(user_data)),
            ),
            Self::WatchlistEvents { online, offline } => watchlist_events(online, offline),
        }
    }
}

/// A message whose `data` is a string.
fn message(event: &str, channel: Option<&str>, data: &str) -> Frame {
    let room = event.len() + channel.map_or(0, str::len) + data.len() + data.len() / 4 + 48;
    let mut builder = FrameBuilder::with_capacity(room);
    let out = builder.text();
    out.extend_from_slice(b"{\"event\":");
    push_string(out, event);
    out.extend_from_slice(b",\"data\":");
    push_string(out, data);
    if let Some(channel) = channel {
        out.extend_from_slice(b",\"channel\":");
        push_string(out, channel);
    }
    out.push(b'}');
    builder.finish()
}

fn error(code: Option<u16>, text: &str) -> Frame {
    let mut builder = FrameBuilder::with_capacity(text.len() + 64);
    let out = builder.text();
    out.extend_from_slice(br#"{"event":"pusher:error","data":{"code":"#);
    match code {
        Some(code) => write!(out, "{code}").expect("writing to memory does not fail"),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"message\":");
    push_string(out, text);
    out.extend_from_slice(b"}}");
    builder.finish()
}

fn subscription_error(
    channel: &str,
    failure: SubscriptionFailure,
    error: &str,
    internal: bool,
) -> Frame {
    let event = if internal {
        "pusher_internal:subscription_error"
    } else {
        "pusher:subscription_error"
    };
    let data = format!(
        r#"{{"type":"{}","error":{},"status":{}}}"#,
        failure.name(),
        quoted(error),
        failure.status()
    );
    message(event, Some(channel), &data)
}

fn member_added(channel: &ChannelName, user_id: &UserId, user_info: Option<&str>) -> Frame {
    let mut data = format!(r#"{{"user_id":{}"#, quoted(user_id.as_str()));
    if let Some(user_info) = user_info {
        data.push_str(",\"user_info\":");
        data.push_str(user_info);
    }
    data.push('}');
    message(
        "pusher_internal:member_added",
        Some(channel.as_str()),
        &data,
    )
}

fn watchlist_events(online: &[UserId], offline: &[UserId]) -> Frame {
    let lists: Vec<String> = [("online", online), ("offline", offline)]
        .into_iter()
        .filter(|(_, ids)| !ids.is_empty())
        .map(|(name, ids)| {
            let ids: Vec<String> = ids.iter().map(|id| quoted(id.as_str())).collect();
            format!(r#"{{"name":"{name}","user_ids":[{}]}}"#, ids.join(","))
        })
        .collect();
    let data = format!(r#"{{"events":[{}]}}"#, lists.join(","));
    message("pusher_internal:watchlist_events", None, &data)
}

/// `text` as a JSON string.
fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    String::from_utf8(out).expect("JSON of a string is UTF-8")
}

/// The `data` of a successful presence subscription, built member by member.
#[derive(Debug)]
pub struct MembersText {
    ids: String,
    hash: String,
    count: usize,
}

impl MembersText {
    /// Starts with no members.
    #[must_use]
    pub fn with_capacity(members: usize) -> Self {
        Self {
            ids: String::with_capacity(members * 16),
            hash: String::with_capacity(members * 48),
            count: 0,
        }
    }

    /// Adds one user; `user_info` is the JSON text of an object.
    pub fn push(&mut self, user_id: &UserId, user_info: Option<&str>) {
        if self.count > 0 {
            self.ids.push(',');
            self.hash.push(',');
        }
        let id = quoted(user_id.as_str());
        self.ids.push_str(&id);
        self.hash.push_str(&id);
        self.hash.push(':');
        self.hash.push_str(user_info.unwrap_or("null"));
        self.count += 1;
    }

    /// The text, with an entry in `hash` for every id: .NET and Swift need it.
    #[must_use]
    pub fn finish(self) -> String {
        let Self { ids, hash, count } = self;
        format!(r#"{{"presence":{{"count":{count},"ids":[{ids}],"hash":{{{hash}}}}}}}"#)
    }
}

/// An app's event, escaped once for all the channels that it goes to.
#[derive(Debug)]
pub struct EventText {
    /// `{"event":…,"data":…` without what depends on the channel.
    start: Vec<u8>,
}

impl EventText {
    /// Escapes the name and the data; `data` reaches clients as this very text.
    #[must_use]
    pub fn new(event: &str, data: &str) -> Self {
        let mut start = Vec::with_capacity(event.len() + data.len() + data.len() / 4 + 32);
        start.extend_from_slice(b"{\"event\":");
        push_string(&mut start, event);
        start.extend_from_slice(b",\"data\":");
        push_string(&mut start, data);
        Self { start }
    }

    /// The message for the subscribers of `channel`; `user_id` only for client
    /// events on presence channels.
    #[must_use]
    pub fn encode(&self, channel: &ChannelName, user_id: Option<&UserId>) -> Frame {
        let mut builder = self.begin(channel, user_id);
        builder.text().push(b'}');
        builder.finish()
    }

    /// As [`Self::encode`], for a channel with a history: the message ends with an
    /// `event_id`, which is still to be written.
    #[must_use]
    pub fn draft(&self, channel: &ChannelName, user_id: Option<&UserId>) -> Draft {
        const PLACE: [u8; EventId::WIDTH] = [b'0'; EventId::WIDTH];
        let mut builder = self.begin(channel, user_id);
        let out = builder.text();
        out.extend_from_slice(EVENT_ID_MEMBER);
        out.extend_from_slice(&PLACE);
        out.extend_from_slice(b"\"}");
        Draft::ending_with_id(builder, 2)
    }

    fn begin(&self, channel: &ChannelName, user_id: Option<&UserId>) -> FrameBuilder {
        let name = channel.as_str();
        let mut builder = FrameBuilder::with_capacity(self.start.len() + name.len() + 64);
        let out = builder.text();
        out.extend_from_slice(&self.start);
        out.extend_from_slice(b",\"channel\":\"");
        out.extend_from_slice(name.as_bytes());
        out.push(b'"');
        if let Some(user_id) = user_id {
            out.extend_from_slice(b",\"user_id\":");
            push_string(out, user_id.as_str());
        }
        builder
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn text(frame: &Frame) -> &str {
        std::str::from_utf8(frame.payload()).unwrap()
    }

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name, &Limits::default()).unwrap()
    }

    #[test]
    fn system_messages_have_exactly_the_documented_bytes() {
        let presence = channel("presence-p");
        let cook = UserId::new("9");
        for (message, expected) in [
            (
                ServerMessage::ConnectionEstablished {
                    socket_id: "218840.5562713".parse().unwrap(),
                    activity_timeout: 120,
                },
                r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"218840.5562713\",\"activity_timeout\":120}"}"#,
            ),
            (
                ServerMessage::Pong,
                r#"{"event":"pusher:pong","data":"{}"}"#,
            ),
            (
                ServerMessage::Error(&ClientError::InvalidJson),
                r#"{"event":"pusher:error","data":{"code":null,"message":"Invalid JSON"}}"#,
            ),
            (
                ServerMessage::Refused(&Close::AppDisabled),
                r#"{"event":"pusher:error","data":{"code":4003,"message":"Application disabled"}}"#,
            ),
            (
                ServerMessage::SubscriptionSucceeded {
                    channel: &channel("private-x"),
                },
                r#"{"event":"pusher_internal:subscription_succeeded","data":"{}","channel":"private-x"}"#,
            ),
            (
                ServerMessage::MemberAdded {
                    channel: &presence,
                    user_id: &cook,
                    user_info: Some(r#"{"name":"x"}"#),
                },
                r#"{"event":"pusher_internal:member_added","data":"{\"user_id\":\"9\",\"user_info\":{\"name\":\"x\"}}","channel":"presence-p"}"#,
            ),
            (
                ServerMessage::MemberAdded {
                    channel: &presence,
                    user_id: &cook,
                    user_info: None,
                },
                r#"{"event":"pusher_internal:member_added","data":"{\"user_id\":\"9\"}","channel":"presence-p"}"#,
            ),
            (
                ServerMessage::SubscriptionCount {
                    channel: &channel("pub"),
                    count: 3,
                },
                r#"{"event":"pusher_internal:subscription_count","data":"{\"subscription_count\":3}","channel":"pub"}"#,
            ),
            (
                ServerMessage::SignInSucceeded {
                    user_data: r#"{"id":"u1"}"#,
                },
                r#"{"event":"pusher:signin_success","data":"{\"user_data\":\"{\\\"id\\\":\\\"u1\\\"}\"}"}"#,
            ),
            (
                ServerMessage::WatchlistEvents {
                    online: std::slice::from_ref(&cook),
                    offline: &[],
                },
                r#"{"event":"pusher_internal:watchlist_events","data":"{\"events\":[{\"name\":\"online\",\"user_ids\":[\"9\"]}]}"}"#,
            ),
        ] {
            assert_eq!(text(&message.encode()), expected);
        }
    }

    /// Checklist 63 and 64.
    #[test]
    fn the_member_list_has_an_entry_for_every_id() {
        let mut members = MembersText::with_capacity(2);
        members.push(&UserId::new("7"), Some(r#"{"name":"me"}"#));
        members.push(&UserId::new("8"), None);

        assert_eq!(
            members.finish(),
            r#"{"presence":{"count":2,"ids":["7","8"],"hash":{"7":{"name":"me"},"8":null}}}"#
        );
    }

    /// Checklist 153.
    #[test]
    fn the_data_of_an_event_survives_its_encoding() {
        let data = "{\"a\":\"\\/ \u{2028} 😀 \\u00e9\"}\u{0}";

        let frame = EventText::new("order:new", data).encode(&channel("kitchen"), None);

        let message: serde_json::Value = serde_json::from_slice(frame.payload()).unwrap();
        assert_eq!(message["data"], data);
        assert_eq!(message["channel"], "kitchen");
        assert_eq!(message.as_object().unwrap().len(), 3);
    }

    #[test]
    fn an_event_of_a_history_ends_with_its_id() {
        let id: EventId = "1764037286123-00042".parse().unwrap();
        for length in [1, 200, 70_000] {
            let data = "x".repeat(length);
            let frame = EventText::new("order", &data)
                .draft(&channel("presence-p"), Some(&UserId::new("9")))
                .finish(id);
            assert_eq!(
                text(&frame),
                format!(
                    r#"{{"event":"order","data":"{data}","channel":"presence-p","user_id":"9","event_id":"1764037286123-00042"}}"#
                )
            );
        }
    }

    #[test]
    fn a_gap_is_told_in_a_way_that_the_channel_hears() {
        let gap = |name| {
            let channel = channel(name);
            let reason = GapReason::History;
            let frame = ServerMessage::Gap {
                channel: &channel,
                reason,
            }
            .encode();
            text(&frame).to_owned()
        };
        assert_eq!(
            gap("kitchen"),
            r#"{"event":"fanfare:gap","data":"{\"reason\":\"history\"}","channel":"kitchen"}"#
        );
        assert!(gap("private-encrypted-x").starts_with(r#"{"event":"pusher:fanfare_gap""#));
    }

    /// Checklist 82.
    #[test]
    fn the_user_id_of_a_client_event_stands_last() {
        let frame = EventText::new("client-x", "1")
            .encode(&channel("presence-p"), Some(&UserId::new("a\"b")));

        assert_eq!(
            text(&frame),
            r#"{"event":"client-x","data":"1","channel":"presence-p","user_id":"a\"b"}"#
        );
    }
}
