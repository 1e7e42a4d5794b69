//! What a client may send (section 3.2).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{ClientError, echo};
use crate::json;

/// One message of a client, checked for its shape only: whether the channel
/// exists, the signature fits and the limits hold is decided later.
#[derive(Debug)]
pub enum ClientMessage<'a> {
    /// `pusher:ping`: answer with `pusher:pong`.
    Ping,
    /// `pusher:pong`: a sign of life.
    Pong,
    /// `pusher:subscribe`.
    Subscribe(Subscribe),
    /// `pusher:unsubscribe`.
    Unsubscribe {
        /// The channel as it was sent.
        channel: String,
    },
    /// `pusher:signin`.
    SignIn(SignIn),
    /// `client-…`.
    ClientEvent(ClientEvent<'a>),
}

/// The wish to hear what is published on a channel.
#[derive(Debug)]
pub struct Subscribe {
    /// The channel as it was sent.
    pub channel: String,
    /// `key:signature`; pusher-js sends an empty one for public channels.
    pub auth: Option<String>,
    /// JSON text, verbatim as signed.
    pub channel_data: Option<String>,
    /// The last event of the channel that the client has handled, where it can say
    /// so; it gets what came after it. An extension of this server.
    pub last_event_id: Option<String>,
}

/// The claim to be a user of the app.
#[derive(Debug)]
pub struct SignIn {
    /// `key:signature`.
    pub auth: Option<String>,
    /// JSON text, verbatim as signed.
    pub user_data: Option<String>,
}

/// An event from a client to the other subscribers of a channel.
#[derive(Debug)]
pub struct ClientEvent<'a> {
    /// The name, which starts with `client-`.
    pub event: Cow<'a, str>,
    /// The channel as it was sent.
    pub channel: Cow<'a, str>,
    /// A string as it is, any other JSON value as its text.
    pub data: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    channel: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct SystemMembers<'a> {
    #[serde(borrow)]
    channel: Option<&'a RawValue>,
    #[serde(borrow)]
    auth: Option<&'a RawValue>,
    #[serde(borrow)]
    channel_data: Option<&'a RawValue>,
    #[serde(borrow)]
    last_event_id: Option<&'a RawValue>,
    #[serde(borrow)]
    user_data: Option<&'a RawValue>,
}

impl<'a> ClientMessage<'a> {
    /// Reads one text message.
    ///
    /// # Errors
    /// [`ClientError::InvalidJson`] when it is no JSON object with an `event`;
    /// otherwise what is wrong with this event. None of them ends a connection
    /// by itself.
    pub fn parse(text: &'a str) -> Result<Self, ClientError> {
        let envelope: Envelope<'a> = json::object(text).ok_or(ClientError::InvalidJson)?;
        let event = envelope
            .event
            .and_then(json::text)
            .ok_or(ClientError::InvalidJson)?;
        match event.as_ref() {
            "pusher:ping" => Ok(Self::Ping),
            "pusher:pong" => Ok(Self::Pong),
            "pusher:subscribe" => system_members(envelope.data, |data| {
                Ok(Self::Subscribe(Subscribe {
                    channel: channel_text(data.channel)?,
                    auth: owned_text(data.auth),
                    channel_data: owned_text(data.channel_data),
                    last_event_id: owned_text(data.last_event_id),
                }))
            }),
            "pusher:unsubscribe" => system_members(envelope.data, |data| {
                Ok(Self::Unsubscribe {
                    channel: channel_text(data.channel)?,
                })
            }),
            "pusher:signin" => system_members(envelope.data, |data| {
                Ok(Self::SignIn(SignIn {
                    auth: owned_text(data.auth),
                    user_data: owned_text(data.user_data),
                }))
            }),
            name if name.starts_with("client-") => {
                let channel = envelope.channel.and_then(json::text);
                let (Some(channel), Some(data)) = (channel, envelope.data) else {
                    return Err(ClientError::ClientEventIncomplete);
                };
                let data = json::text(data).unwrap_or(Cow::Borrowed(data.get()));
                Ok(Self::ClientEvent(ClientEvent {
                    event,
                    channel,
                    data,
                }))
            }
            name => Err(ClientError::UnsupportedEvent { event: echo(name) }),
        }
    }
}

/// Hands the members of `data` to `read`. The object may also come inside a
/// string; what is neither reads as if it had no members.
fn system_members<T>(
    data: Option<&RawValue>,
    read: impl FnOnce(SystemMembers<'_>) -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let quoted = data.and_then(json::text);
    let text = quoted
        .as_deref()
        .or_else(|| data.map(RawValue::get))
        .unwrap_or("{}");
    read(json::object(text).unwrap_or_default())
}

fn channel_text(raw: Option<&RawValue>) -> Result<String, ClientError> {
    raw.and_then(json::text)
        .map(Cow::into_owned)
        .ok_or_else(|| ClientError::InvalidChannelName {
            channel: raw.map(|raw| echo(raw.get())).unwrap_or_default(),
        })
}

fn owned_text(raw: Option<&RawValue>) -> Option<String> {
    raw.and_then(json::text).map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscribe(text: &str) -> Subscribe {
        match ClientMessage::parse(text) {
            Ok(ClientMessage::Subscribe(subscribe)) => subscribe,
            other => panic!("{other:?}"),
        }
    }

    fn error(text: &str) -> ClientError {
        ClientMessage::parse(text).unwrap_err()
    }

    #[test]
    fn a_subscription_of_pusher_js_is_read() {
        let text = r#"{"event":"pusher:subscribe","data":{"auth":"k:s","channel_data":"{\"user_id\":\"7\"}","channel":"presence-p"}}"#;

        let message = subscribe(text);

        assert_eq!(message.channel, "presence-p");
        assert_eq!(message.auth.as_deref(), Some("k:s"));
        assert_eq!(message.channel_data.as_deref(), Some(r#"{"user_id":"7"}"#));
    }

    /// Checklist 30.
    #[test]
    fn data_may_be_an_object_in_a_string() {
        let text = r#"{"event":"pusher:subscribe","data":"{\"channel\":\"x\"}"}"#;

        assert_eq!(subscribe(text).channel, "x");
    }

    #[test]
    fn a_subscription_without_a_usable_channel_names_what_came() {
        for (data, channel) in [
            ("", ""),
            (r#","data":{}"#, ""),
            (r#","data":[]"#, ""),
            (r#","data":null"#, ""),
            (r#","data":{"channel":7}"#, "7"),
            (r#","data":{"channel":null}"#, ""),
        ] {
            let text = format!(r#"{{"event":"pusher:subscribe"{data}}}"#);

            let channel = channel.to_owned();
            assert_eq!(
                error(&text),
                ClientError::InvalidChannelName { channel },
                "{text}"
            );
        }
    }

    /// Checklist 25 and 26.
    #[test]
    fn what_is_no_message_is_invalid_json() {
        let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
        for text in [
            "",
            "x",
            "7",
            "[]",
            "{}",
            r#"{"event":7}"#,
            "{\"event\":\"a\"",
            &deep,
        ] {
            assert_eq!(error(text), ClientError::InvalidJson);
        }
        assert_eq!(
            error(r#"{"event":"pusher:nonsense"}"#).to_string(),
            "Unsupported event received on socket: pusher:nonsense"
        );
    }

    /// Checklist 89 and 92.
    #[test]
    fn a_client_event_keeps_the_bytes_of_its_data() {
        for (data, expected) in [
            (r#"{"b":1, "a":2}"#, r#"{"b":1, "a":2}"#),
            (r#""plain \"text\"""#, r#"plain "text""#),
            ("7", "7"),
        ] {
            let text = format!(r#"{{"event":"client-x","data":{data},"channel":"private-x"}}"#);
            let Ok(ClientMessage::ClientEvent(event)) = ClientMessage::parse(&text) else {
                panic!("{text}");
            };

            assert_eq!(event.data, expected);
        }
        for text in [
            r#"{"event":"client-x","channel":"private-x"}"#,
            r#"{"event":"client-x","data":null,"channel":"private-x"}"#,
            r#"{"event":"client-x","data":"x"}"#,
        ] {
            assert_eq!(error(text), ClientError::ClientEventIncomplete, "{text}");
        }
    }
}
