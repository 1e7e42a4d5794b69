//! What must hold of whatever Redis says, for `fuzz/` and the replay of its corpus.

use super::message::{Event, Message, is_event};
use super::{edge, queries, script, sessions};
use fanfare_protocol::{AppId, EventId};

/// A message of another node.
///
/// # Panics
/// One that was read is not what its text says.
pub fn message(bytes: &[u8]) {
    match Message::parse(bytes) {
        Some(Message::Event(event)) => {
            assert!(is_event(bytes));
            let again = event.encode();
            let Some(Message::Event(read)) = Message::parse(&again) else {
                panic!("our own message cannot be read: {again:?}");
            };
            assert_eq!(read, event);
            let Event {
                payload,
                keep_seconds,
                ..
            } = event;
            if let Some(kept) = queries::kept_for(payload, keep_seconds) {
                assert_eq!(kept.frame.payload(), payload.as_bytes());
            }
        }
        Some(Message::Recorded(recorded)) => {
            assert!(is_event(bytes));
            for id in [recorded.id, recorded.before] {
                assert_eq!(id.to_string().parse::<EventId>().ok(), Some(id));
            }
        }
        Some(Message::Delta { delta, .. }) => {
            let text = format!("D7\n{}", delta.encode());
            let Some(Message::Delta { delta: read, .. }) = Message::parse(text.as_bytes()) else {
                panic!("our own change cannot be read: {text}");
            };
            assert_eq!(read.encode(), delta.encode());
        }
        Some(
            Message::Terminate
            | Message::Taken { .. }
            | Message::Question { .. }
            | Message::Answer { .. },
        ) => assert!(!is_event(bytes)),
        None => {}
    }
}

/// Fields of the registry, one a line: of topics, of sessions, edges, names.
///
/// # Panics
/// More was read than stands there.
pub fn fields(text: &str) {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let members: usize = script::parts(&lines)
        .values()
        .map(|part| part.members.len())
        .sum();
    assert!(members <= lines.len() / 2);
    let session = sessions::session(&lines);
    assert!(session.positions.len() <= lines.len() / 2);
    for line in &lines {
        let _ = edge::Edge::parse(line);
        if let Some(topic) = edge::known_topic(&AppId::new("1"), line) {
            assert_eq!(topic.name(), *line);
        }
    }
}
