//! The bytes of one server message, made once and shared by all who receive it.
//!
//! Server frames of RFC 6455 are not masked, so every WebSocket gets identical
//! bytes: the head is part of the frame, and a transport with another framing
//! takes [`Frame::payload`] instead.

use std::io::Write;

use bytes::Bytes;

use crate::event_id::EventId;

/// First byte of a WebSocket frame that is a whole text message (RFC 6455, 5.2).
const FINAL_TEXT: u8 = 0x81;

/// What stands before the id of an event.
pub(crate) const EVENT_ID_MEMBER: &[u8] = b",\"event_id\":\"";

/// The longest head of an unmasked frame.
const MAX_HEAD: usize = 10;

/// One text message inside its WebSocket frame. Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(Bytes);

impl Frame {
    /// Wraps the text of a message, as another node has encoded it.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let mut builder = FrameBuilder::with_capacity(text.len());
        builder.text().extend_from_slice(text.as_bytes());
        builder.finish()
    }

    /// Head and payload: what a WebSocket writes.
    #[must_use]
    pub fn as_websocket(&self) -> &Bytes {
        &self.0
    }

    /// The id of an event that has one: it stands at the end of its message.
    #[must_use]
    pub fn event_id(&self) -> Option<EventId> {
        let text = self.payload().strip_suffix(b"\"}")?;
        let (rest, id) = text.split_last_chunk::<{ EventId::WIDTH }>()?;
        rest.ends_with(EVENT_ID_MEMBER)
            .then(|| std::str::from_utf8(id).ok()?.parse().ok())?
    }

    /// The JSON text alone.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        let head = match self.0[1] {
            ..=125 => 2,
            126 => 4,
            _ => 10,
        };
        &self.0[head..]
    }
}

/// A message that is encoded but for its event id, which is known only when the
/// message has its place in the order of its channel.
#[derive(Debug)]
pub struct Draft {
    builder: FrameBuilder,
    /// Where the id belongs.
    id_at: usize,
}

impl Draft {
    /// The room for the id stands `rest` bytes before the end of the text.
    pub(crate) fn ending_with_id(builder: FrameBuilder, rest: usize) -> Self {
        let id_at = builder.0.len() - rest - EventId::WIDTH;
        Self { builder, id_at }
    }

    /// Writes the id into its place. Copies nothing else.
    #[must_use]
    pub fn finish(mut self, id: EventId) -> Frame {
        let mut place = &mut self.builder.0[self.id_at..self.id_at + EventId::WIDTH];
        // Ids are this wide until the year 2286; a longer one would be cut.
        let _ = write!(place, "{id}");
        self.builder.finish()
    }
}

/// Collects the text of a message behind room for its head.
#[derive(Debug)]
pub(crate) struct FrameBuilder(Vec<u8>);

impl FrameBuilder {
    pub(crate) fn with_capacity(payload: usize) -> Self {
        let mut bytes = Vec::with_capacity(MAX_HEAD + payload);
        bytes.resize(MAX_HEAD, 0);
        Self(bytes)
    }

    /// The text so far, to append to.
    pub(crate) fn text(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    pub(crate) fn finish(self) -> Frame {
        let Self(mut bytes) = self;
        let length = bytes.len() - MAX_HEAD;
        let start = if let Ok(short @ ..=125) = u8::try_from(length) {
            bytes[8..MAX_HEAD].copy_from_slice(&[FINAL_TEXT, short]);
            8
        } else if let Ok(medium) = u16::try_from(length) {
            bytes[6..8].copy_from_slice(&[FINAL_TEXT, 126]);
            bytes[8..MAX_HEAD].copy_from_slice(&medium.to_be_bytes());
            6
        } else {
            bytes[0..2].copy_from_slice(&[FINAL_TEXT, 127]);
            bytes[2..MAX_HEAD].copy_from_slice(&(length as u64).to_be_bytes());
            0
        };
        Frame(Bytes::from(bytes).slice(start..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize) -> Frame {
        let mut builder = FrameBuilder::with_capacity(length);
        builder.text().resize(MAX_HEAD + length, b'x');
        builder.finish()
    }

    #[test]
    fn the_head_has_the_shortest_form_of_the_length() {
        for (length, head) in [
            (0, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (65_535, &[0x81, 126, 0xff, 0xff]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = frame(length);

            assert!(frame.as_websocket().starts_with(head), "{length}");
            assert_eq!(frame.as_websocket().len(), head.len() + length);
            assert_eq!(frame.payload(), "x".repeat(length).as_bytes());
        }
    }
}
