//! What nodes send to one another through pub/sub.
//!
//! An event carries the encoded payload as it is, behind a short head. What came
//! in from Redis is not trusted: a message that cannot be read is dropped.

use fanfare_protocol::{AppId, EventId, SocketId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A message of another node.
#[derive(Debug)]
pub(super) enum Message<'a> {
    Event(Event<'a>),
    Recorded(Recorded<'a>),
    /// What one node has of a topic has changed.
    Delta {
        version: u64,
        /// Whether nobody had anything of the topic before.
        is_first: bool,
        delta: Delta,
    },
    /// Close the connections of the user whom the topic is about.
    Terminate,
    /// A connection of another node has taken a session from one of this process.
    Taken {
        app: AppId,
        session: &'a str,
        socket_id: SocketId,
    },
    /// A node asks all others something.
    Question {
        number: u64,
        /// Where the answer goes.
        process: &'a str,
        question: &'a str,
    },
    /// What a node has answered to a question of this process.
    Answer {
        number: u64,
        answer: &'a str,
    },
}

/// An event that has a place in the past of its channel. `record.lua` writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recorded<'a> {
    /// The process that published it.
    pub(super) process: &'a str,
    /// What that calls it.
    pub(super) number: u64,
    pub(super) except: Option<SocketId>,
    pub(super) keep_seconds: u64,
    pub(super) id: EventId,
    /// The event before it.
    pub(super) before: EventId,
    pub(super) payload: &'a str,
}

/// An event for the subscribers of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event<'a> {
    /// The node that published it, which has delivered it to its own already.
    pub(super) node: &'a str,
    pub(super) except: Option<SocketId>,
    /// How long a cache channel keeps it; 0 when it is not kept.
    pub(super) keep_seconds: u64,
    /// The JSON text that goes to the clients.
    pub(super) payload: &'a str,
}

/// What has changed of one node's part of a topic.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Delta {
    pub(super) node: String,
    /// Its connections, after the change.
    pub(super) count: usize,
    /// Whether `came` is all that the node has.
    #[serde(default)]
    pub(super) is_whole: bool,
    /// Whether the node suspects that Redis has lost what it knew.
    #[serde(default)]
    pub(super) is_restored: bool,
    #[serde(default)]
    pub(super) came: Vec<(String, Option<Box<RawValue>>)>,
    #[serde(default)]
    pub(super) gone: Vec<String>,
}

impl Delta {
    pub(super) fn encode(&self) -> String {
        serde_json::to_string(self).expect("texts, numbers and JSON can be written as JSON")
    }

    pub(super) fn gone_users(&self) -> impl Iterator<Item = UserId> {
        self.gone.iter().map(|id| UserId::new(id))
    }
}

impl Event<'_> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let except = self.except.map(|id| id.to_string());
        let except = except.as_deref().unwrap_or("-");
        let head = format!("E{} {except} {}\n", self.node, self.keep_seconds);
        [head.as_bytes(), self.payload.as_bytes()].concat()
    }
}

/// The message that takes a session away.
pub(super) fn taken(app: &AppId, session: &str, socket_id: &str) -> Vec<u8> {
    format!("S{app}\n{session}\n{socket_id}").into_bytes()
}

/// The message that asks all nodes.
pub(super) fn question(number: u64, process: &str, question: &[u8]) -> Vec<u8> {
    [format!("Q{number}\n{process}\n").as_bytes(), question].concat()
}

/// The message that answers it.
pub(super) fn answer(number: u64, answer: &[u8]) -> Vec<u8> {
    [format!("A{number}\n").as_bytes(), answer].concat()
}

fn except(word: &str) -> Option<Option<SocketId>> {
    match word {
        "-" => Some(None),
        id => id.parse().ok().map(Some),
    }
}

/// The message that terminates.
pub(super) const TERMINATE: &[u8] = b"T";

/// Whether a message is an event, which needs no look at the registry.
pub(super) fn is_event(message: &[u8]) -> bool {
    matches!(message.first(), Some(b'E' | b'R'))
}

impl<'a> Message<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let kind = *message.first()?;
        if !kind.is_ascii() {
            return None;
        }
        let rest = &text[1..];
        match kind {
            b'E' => {
                let (head, payload) = rest.split_once('\n')?;
                let mut words = head.split(' ');
                let node = words.next()?;
                let except = except(words.next()?)?;
                let keep_seconds = words.next()?.parse().ok()?;
                Some(Self::Event(Event {
                    node,
                    except,
                    keep_seconds,
                    payload,
                }))
            }
            b'D' | b'N' => {
                let (version, delta) = rest.split_once('\n')?;
                Some(Self::Delta {
                    version: version.parse().ok()?,
                    is_first: kind == b'N',
                    delta: serde_json::from_str(delta).ok()?,
                })
            }
            b'R' => {
                let (head, payload) = rest.split_once('\n')?;
                let mut words = head.split(' ');
                Some(Self::Recorded(Recorded {
                    process: words.next()?,
                    number: words.next()?.parse().ok()?,
                    except: except(words.next()?)?,
                    keep_seconds: words.next()?.parse().ok()?,
                    id: words.next()?.parse().ok()?,
                    before: words.next()?.parse().ok()?,
                    payload,
                }))
            }
            b'S' => {
                let mut lines = rest.split('\n');
                Some(Self::Taken {
                    app: AppId::new(lines.next()?),
                    session: lines.next()?,
                    socket_id: lines.next()?.parse().ok()?,
                })
            }
            b'T' => Some(Self::Terminate),
            b'Q' => {
                let (number, rest) = rest.split_once('\n')?;
                let (process, question) = rest.split_once('\n')?;
                Some(Self::Question {
                    number: number.parse().ok()?,
                    process,
                    question,
                })
            }
            b'A' => {
                let (number, answer) = rest.split_once('\n')?;
                Some(Self::Answer {
                    number: number.parse().ok()?,
                    answer,
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_arrives_as_it_was_sent() {
        for (except, keep_seconds) in [(None, 0), (Some("12.34".parse().unwrap()), 1_800)] {
            let event = Event {
                node: "n1",
                except,
                keep_seconds,
                payload: "{\"event\":\"a\",\"data\":\"x y\\n\"}\n",
            };

            let bytes = event.encode();

            assert!(is_event(&bytes));
            let Some(Message::Event(read)) = Message::parse(&bytes) else {
                panic!("no event: {bytes:?}");
            };
            assert_eq!(read, event);
        }
    }

    #[test]
    fn a_recorded_event_is_read_as_the_script_writes_it() {
        let text = b"Rab 7 1.2 60 0000000000009-00001 0000000000007-00042\n{\"a\":\"\\n\"}";

        let Some(Message::Recorded(read)) = Message::parse(text) else {
            panic!("not read");
        };

        assert!(is_event(text));
        assert_eq!((read.process, read.number), ("ab", 7));
        assert_eq!(read.except, Some("1.2".parse().unwrap()));
        assert_eq!(read.keep_seconds, 60);
        assert!(read.before < read.id && read.id.ms == 9);
        assert_eq!(read.payload, "{\"a\":\"\\n\"}");
    }

    #[test]
    fn questions_and_answers_are_read_as_they_were_written() {
        let asked = question(7, "p1", b"{\n}");
        let answered = answer(u64::MAX, b"{\n}");

        assert!(matches!(
            Message::parse(&asked),
            Some(Message::Question {
                number: 7,
                process: "p1",
                question: "{\n}"
            })
        ));
        assert!(matches!(
            Message::parse(&answered),
            Some(Message::Answer {
                number: u64::MAX,
                answer: "{\n}"
            })
        ));
    }

    #[test]
    fn a_delta_may_leave_out_what_is_empty() {
        let Some(Message::Delta { version, delta, .. }) = Message::parse(
            br#"D17
{"node":"n1","count":2,"came":[["u1",{"a":1}],["u2",null]]}"#,
        ) else {
            panic!("no delta");
        };

        assert_eq!((version, delta.count, delta.came.len()), (17, 2, 2));
        assert_eq!(delta.came[1].1.as_ref().map(|info| info.get()), None);
        assert!(!delta.is_whole);
    }

    #[test]
    fn what_cannot_be_read_is_dropped() {
        for message in [
            &b""[..],
            b"X",
            b"\xff\xfe",
            "Е".as_bytes(),
            b"E",
            b"En1 -\n{}",
            b"En1 1.x 0\n{}",
            b"En1 - -1\n{}",
            b"Rp 1 - 0 7-1\n{}",
            b"Rp x - 0 7-1 6-1\n{}",
            b"Rp 1 - 0 7-1 6\n{}",
            b"Q",
            b"Q1\np",
            b"Q-1\np\n{}",
            b"A",
            b"A1",
            b"Ax\n{}",
            b"Sapp\nname",
            b"Sapp\nname\n1",
            b"D\n{}",
            b"D1\n{}",
            b"D1\n{\"node\":1,\"count\":1}",
            b"D1\n{\"node\":\"n\",\"count\":-1}",
        ] {
            assert!(Message::parse(message).is_none(), "{message:?}");
        }
    }
}
