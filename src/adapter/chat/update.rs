//! What an update of the chat becomes for the pages of its user.
//!
//! Decides only. What the chat has written reaches pages as it was written: of an
//! update only the names that decide are read, the rest is passed on as text.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::readers::UserId;

/// The event that every update is.
const UPDATE: &str = "chat3:update";

/// Bytes of a member that a shortened update repeats.
const MAX_REPEATED: usize = 256;

/// An event for a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event<'a> {
    pub(super) name: &'static str,
    pub(super) data: Cow<'a, str>,
}

/// What an update is for its user.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reading<'a> {
    pub(super) events: Vec<Event<'a>>,
    /// Whether it was too large, so that the page has to fetch it.
    pub(super) is_shortened: bool,
}

/// Why an update is passed on to nobody.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// Where, and never what stands there: it is somebody's message.
    #[error("it is not the JSON of an update (line {line}, column {column})")]
    Malformed { line: usize, column: usize },
    #[error("it names another user")]
    Foreign,
}

/// The members that decide. One that comes twice is an error, so that nobody else can
/// read another user out of it than we do.
#[derive(Deserialize)]
struct Update<'a> {
    #[serde(borrow, rename = "eventType", default)]
    event_type: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "userId", default)]
    user_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, rename = "_id", default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, rename = "entityId", default)]
    entity_id: Option<&'a RawValue>,
    #[serde(borrow, rename = "dialogId", default)]
    dialog_id: Option<&'a RawValue>,
}

/// `data` of the newer envelope, which has the message beside the dialog and others.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    typing: Option<&'a RawValue>,
    #[serde(borrow, default)]
    dialog: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Typing<'a> {
    #[serde(borrow, rename = "dialogId", default)]
    dialog_id: Option<&'a RawValue>,
    #[serde(borrow, rename = "userId", default)]
    user_id: Option<&'a RawValue>,
    #[serde(borrow, rename = "userName", default)]
    user_name: Option<&'a RawValue>,
    #[serde(borrow, rename = "userInfo", default)]
    user_info: Option<&'a RawValue>,
    #[serde(borrow, rename = "expiresInMs", default)]
    expires_in_ms: Option<&'a RawValue>,
}

/// Reads an update that came for `user`. No event has more than `limit` bytes of data.
pub(super) fn read<'a>(
    body: &'a [u8],
    user: &UserId,
    limit: usize,
) -> Result<Reading<'a>, Unreadable> {
    let text = std::str::from_utf8(body).map_err(|error| Unreadable::Malformed {
        line: 1,
        column: error.valid_up_to(),
    })?;
    if !is_object(text) {
        return Err(Unreadable::Malformed { line: 1, column: 0 });
    }
    let update: Update = serde_json::from_str(text).map_err(|error| Unreadable::Malformed {
        line: error.line(),
        column: error.column(),
    })?;
    if update
        .user_id
        .is_some_and(|named| plain(named).as_deref() != Some(user.as_str()))
    {
        return Err(Unreadable::Foreign);
    }
    let is_shortened = text.len() > limit;
    let whole = || Event {
        name: UPDATE,
        data: text.into(),
    };
    let mut events = Vec::with_capacity(2);
    events.push(if is_shortened {
        Event {
            name: UPDATE,
            data: update.shortened().into(),
        }
    } else {
        whole()
    });
    let further = match update.event_type.as_deref() {
        Some("message.create") => update.message().map(|message| Event {
            name: "message:new",
            data: message.into(),
        }),
        Some(
            "message.update"
            | "message.delete"
            | "message.reaction.add"
            | "message.reaction.update"
            | "message.reaction.remove"
            | "message.status.create"
            | "message.status.update",
        ) => Some(Event {
            name: "message:update",
            ..whole()
        }),
        Some(
            "dialog.create"
            | "dialog.update"
            | "dialog.delete"
            | "dialog.member.add"
            | "dialog.member.remove",
        ) => Some(Event {
            name: "dialog:update",
            ..whole()
        }),
        Some("dialog.typing") => update.typing().map(|typing| Event {
            name: "typing:update",
            data: typing.into(),
        }),
        _ => None,
    };
    events.extend(further.filter(|event| event.data.len() <= limit));
    Ok(Reading {
        events,
        is_shortened,
    })
}

impl<'a> Update<'a> {
    /// What tells a page which update it has to fetch.
    fn shortened(&self) -> String {
        let event_type = self
            .event_type
            .as_deref()
            .filter(|text| text.len() <= MAX_REPEATED)
            .and_then(|text| serde_json::to_string(text).ok());
        let members = [
            ("_id", repeated(self.id)),
            ("eventType", event_type.as_deref()),
            ("entityId", repeated(self.entity_id)),
            ("dialogId", repeated(self.dialog_id)),
            ("truncated", Some("true")),
        ];
        object(&members)
    }

    /// The new message: `data`, or what the newer envelope has in it.
    fn message(&self) -> Option<&'a str> {
        let data = self.data?.get();
        let inner = members::<Envelope>(data)
            .and_then(|envelope| envelope.message)
            .filter(|message| is_object(message.get()));
        Some(inner.map_or(data, RawValue::get))
    }

    /// Who types where.
    fn typing(&self) -> Option<String> {
        let data = self.data?.get();
        let envelope: Envelope = members(data)?;
        let typing: Typing = members(envelope.typing.map_or(data, RawValue::get))?;
        let of_dialog = envelope
            .dialog
            .and_then(|dialog| members::<Typing>(dialog.get()))
            .and_then(|dialog| dialog.dialog_id);
        let dialog_id = typing.dialog_id.or(of_dialog).or(self.dialog_id);
        let text = |member: Option<&'a RawValue>| member.map(RawValue::get);
        Some(object(&[
            ("dialogId", text(dialog_id)),
            ("userId", text(typing.user_id)),
            ("userName", text(typing.user_name)),
            ("userInfo", text(typing.user_info)),
            ("expiresInMs", text(typing.expires_in_ms)),
        ]))
    }
}

/// The members of an object that are named; `None` if it is none. A list would be taken
/// for the members in their order.
fn members<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    is_object(text)
        .then(|| serde_json::from_str(text).ok())
        .flatten()
}

fn is_object(text: &str) -> bool {
    text.trim_ascii_start().starts_with('{')
}

/// An object of members that are JSON already; those that are absent are left out.
fn object(members: &[(&str, Option<&str>)]) -> String {
    let members: Vec<String> = members
        .iter()
        .filter_map(|(name, value)| Some(format!("\"{name}\":{}", (*value)?)))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// A text or a number, if it is short.
fn repeated(member: Option<&RawValue>) -> Option<&str> {
    let text = member?.get();
    (text.len() <= MAX_REPEATED && !text.starts_with(['{', '['])).then_some(text)
}

/// An id as text, whether it was written as text or as a number.
fn plain(id: &RawValue) -> Option<Cow<'_, str>> {
    let text = id.get();
    if text.starts_with('"') {
        return serde_json::from_str(text).ok();
    }
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        .then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> UserId {
        UserId::parse("usr_1").unwrap()
    }

    fn events(body: &str) -> Vec<(&'static str, String)> {
        let reading = read(body.as_bytes(), &user(), 10_240).unwrap();
        assert!(!reading.is_shortened);
        let events = reading.events.into_iter();
        events
            .map(|event| (event.name, event.data.into_owned()))
            .collect()
    }

    /// C-15 to C-28.
    #[test]
    fn each_event_type_has_its_events() {
        for (event_type, further) in [
            ("message.create", Some("message:new")),
            ("message.update", Some("message:update")),
            ("message.delete", Some("message:update")),
            ("message.reaction.add", Some("message:update")),
            ("message.reaction.update", Some("message:update")),
            ("message.reaction.remove", Some("message:update")),
            ("message.status.create", Some("message:update")),
            ("message.status.update", Some("message:update")),
            ("dialog.create", Some("dialog:update")),
            ("dialog.update", Some("dialog:update")),
            ("dialog.delete", Some("dialog:update")),
            ("dialog.member.add", Some("dialog:update")),
            ("dialog.member.remove", Some("dialog:update")),
            ("user.update", None),
            ("message.create.later", None),
        ] {
            // The spaces, the order and 1.50 must survive.
            let body = format!(
                r#"{{"eventType": "{event_type}", "x" : 1.50, "userId":"usr_1","data":{{"z":1,"a":  2}}}}"#
            );

            let events = events(&body);

            assert_eq!(events[0], ("chat3:update", body.clone()));
            assert_eq!(
                events.get(1).map(|(name, _)| *name),
                further,
                "{event_type}"
            );
            match further {
                Some("message:new") => assert_eq!(events[1].1, r#"{"z":1,"a":  2}"#),
                Some(_) => assert_eq!(events[1].1, body),
                None => {}
            }
        }
    }

    #[test]
    fn the_newer_envelope_has_the_message_inside() {
        let new = events(
            r#"{"eventType":"message.create","data":{"dialog":{"x":1},"message":{"content":"hi"}}}"#,
        );
        assert_eq!(new[1], ("message:new", r#"{"content":"hi"}"#.to_owned()));
        let old = events(r#"{"eventType":"message.create","data":{"message":"hi"}}"#);
        assert_eq!(old[1].1, r#"{"message":"hi"}"#);
        let list = events(r#"{"eventType":"message.create","data":[{"content":"hi"}]}"#);
        assert_eq!(list[1].1, r#"[{"content":"hi"}]"#);
        let none = events(r#"{"eventType":"message.create"}"#);
        assert_eq!(none.len(), 1);
    }

    #[test]
    fn typing_has_one_form_whatever_envelope_it_came_in() {
        for body in [
            r#"{"eventType":"dialog.typing","dialogId":"d1","data":{"userId":"usr_2","userName":"B","expiresInMs":5000}}"#,
            r#"{"eventType":"dialog.typing","data":{"dialog":{"dialogId":"d1"},"typing":{"userId":"usr_2","userName":"B","expiresInMs":5000}}}"#,
        ] {
            assert_eq!(
                events(body)[1],
                (
                    "typing:update",
                    r#"{"dialogId":"d1","userId":"usr_2","userName":"B","expiresInMs":5000}"#
                        .to_owned()
                )
            );
        }
    }

    /// C-29.
    #[test]
    fn an_update_that_names_another_user_is_not_read() {
        let read = |body: &str| read(body.as_bytes(), &user(), 10_240).unwrap_err();
        for body in [
            r#"{"userId":"usr_2"}"#,
            r#"{"userId":""}"#,
            r#"{"userId":{"$ne":1}}"#,
            r#"{"userId":["usr_1"]}"#,
            r#"{"userId":7}"#,
        ] {
            assert_eq!(read(body), Unreadable::Foreign, "{body}");
        }
        // Nobody is named.
        assert_eq!(events(r#"{"userId":null}"#).len(), 1);
        assert!(matches!(
            read(r#"{"userId":"usr_1","userId":"usr_2"}"#),
            Unreadable::Malformed { .. }
        ));
        let seven = UserId::parse("7").unwrap();
        assert!(super::read(br#"{"userId":7}"#, &seven, 100).is_ok());
    }

    #[test]
    fn what_is_no_update_is_malformed() {
        for body in [
            &b""[..],
            b"{",
            b"null",
            b"[]",
            b"\"text\"",
            b"\xff\xfe",
            b"{\"eventType\":1}",
            b"{} {}",
            b"{\"data\":{\"a\":}}",
        ] {
            let error = read(body, &user(), 10_240).unwrap_err();

            assert!(matches!(error, Unreadable::Malformed { .. }), "{body:?}");
        }
        // However deep, nothing is taken apart that need not be.
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let deep = format!("{{\"eventType\":\"message.create\",\"data\":{deep}}}");
        assert!(read(deep.as_bytes(), &user(), 10_240).unwrap().is_shortened);
    }

    #[test]
    fn what_is_too_large_is_named_so_that_it_can_be_fetched() {
        let body = format!(
            r#"{{"_id":"u1","eventType":"message.update","entityId":7,"dialogId":{{"a":1}},"data":"{}"}}"#,
            "x".repeat(200)
        );

        let reading = read(body.as_bytes(), &user(), 200).unwrap();

        assert!(reading.is_shortened);
        assert_eq!(
            reading.events,
            [Event {
                name: "chat3:update",
                data: r#"{"_id":"u1","eventType":"message.update","entityId":7,"truncated":true}"#
                    .into()
            }]
        );
        let message = format!(
            r#"{{"eventType":"message.create","more":"{}","data":{{"m":1}}}}"#,
            "x".repeat(200)
        );
        let reading = read(message.as_bytes(), &user(), 200).unwrap();
        assert_eq!(
            reading.events[1],
            Event {
                name: "message:new",
                data: r#"{"m":1}"#.into()
            }
        );
    }
}
