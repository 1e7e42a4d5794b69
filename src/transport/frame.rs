//! Turns bytes from a client into WebSocket frames.
//!
//! Knows RFC 6455 and the limits, and nothing of Pusher. Does no IO: the state
//! between two reads is the caller's buffer, so a reader that is cancelled loses
//! nothing. Joining fragments is [`Message`]'s work, because the limit there is
//! per message.

use std::ops::Range;

use fanfare_protocol::Close;
use fastwebsockets::OpCode;

/// The longest payload of a control frame (RFC 6455, 5.5).
const MAX_CONTROL_PAYLOAD: usize = 125;

/// One frame at the start of a buffer, its payload unmasked in place.
#[derive(Debug, PartialEq)]
pub struct Decoded {
    /// Whether this is the last fragment of its message.
    pub is_final: bool,
    /// What the payload is.
    pub opcode: OpCode,
    /// Where in the buffer the payload stands.
    pub payload: Range<usize>,
}

impl Decoded {
    /// How many bytes of the buffer the frame takes.
    #[must_use]
    pub fn end(&self) -> usize {
        self.payload.end
    }
}

/// Takes the frame at the start of `buffer`.
///
/// `Ok(None)` means that more bytes are needed; the buffer is untouched then.
/// Limits are checked on the head, before any payload is waited for.
///
/// # Errors
/// The peer broke RFC 6455 or the limit. The stream is out of step: close it.
pub fn decode(buffer: &mut [u8], max_payload: usize) -> Result<Option<Decoded>, Close> {
    let [first, second, ..] = *buffer else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return Err(Close::ProtocolViolation("Reserved bits are not zero"));
    }
    let opcode =
        OpCode::try_from(first & 0x0f).map_err(|_| Close::ProtocolViolation("Unknown opcode"))?;
    let is_final = first & 0x80 != 0;
    if second & 0x80 == 0 {
        return Err(Close::ProtocolViolation("Client frames must be masked"));
    }
    let Some((length, mask_start)) = payload_length(buffer, second & 0x7f)? else {
        return Ok(None);
    };
    let is_control = matches!(opcode, OpCode::Ping | OpCode::Pong | OpCode::Close);
    if is_control && (!is_final || length > MAX_CONTROL_PAYLOAD as u64) {
        return Err(Close::ProtocolViolation(
            "Control frames must be whole and short",
        ));
    }
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= max_payload)
        .ok_or(Close::MessageTooLarge { limit: max_payload })?;

    let payload_start = mask_start + 4;
    let payload = payload_start..payload_start + length;
    if buffer.len() < payload.end {
        return Ok(None);
    }
    let mask = [
        buffer[mask_start],
        buffer[mask_start + 1],
        buffer[mask_start + 2],
        buffer[mask_start + 3],
    ];
    fastwebsockets::unmask(&mut buffer[payload.clone()], mask);
    Ok(Some(Decoded {
        is_final,
        opcode,
        payload,
    }))
}

/// Reads the length that follows the second byte, and where the mask begins.
fn payload_length(buffer: &[u8], short: u8) -> Result<Option<(u64, usize)>, Close> {
    let (length, mask_start, least) = match short {
        126 => match *buffer {
            [_, _, a, b, ..] => (u64::from(u16::from_be_bytes([a, b])), 4, 126),
            _ => return Ok(None),
        },
        127 => match *buffer {
            [_, _, a, b, c, d, e, f, g, h, ..] => {
                let length = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
                (length, 10, 65_536)
            }
            _ => return Ok(None),
        },
        short => (u64::from(short), 2, 0),
    };
    if length < least {
        return Err(Close::ProtocolViolation(
            "Payload length is not in its shortest form",
        ));
    }
    Ok(Some((length, mask_start)))
}

/// What came from a client, fragments joined.
#[derive(Debug, PartialEq)]
pub enum Incoming {
    /// A whole text message: what [`Message::take`] gives if it came in
    /// fragments, otherwise the payload of this frame.
    Text,
    /// Answer with a pong of the same payload.
    Ping,
    /// A sign of life.
    Pong,
    /// The client says good-bye, with this code if it gave one.
    Close,
    /// A fragment; the rest is to come.
    Fragment,
}

/// Joins the fragments of one message.
#[derive(Debug, Default)]
pub struct Message {
    /// The fragments so far; `None` between messages.
    fragments: Option<Vec<u8>>,
}

impl Message {
    /// Takes a frame and tells what to do about it.
    ///
    /// # Errors
    /// The sequence of fragments is wrong, the message too large or binary.
    pub fn accept(
        &mut self,
        frame: &Decoded,
        buffer: &[u8],
        max_message: usize,
    ) -> Result<Incoming, Close> {
        match frame.opcode {
            OpCode::Ping => Ok(Incoming::Ping),
            OpCode::Pong => Ok(Incoming::Pong),
            OpCode::Close => check_close(&buffer[frame.payload.clone()]).map(|()| Incoming::Close),
            OpCode::Binary => Err(Close::BinaryFrame),
            OpCode::Text if self.fragments.is_some() => Err(Close::ProtocolViolation(
                "A new message began before the last one ended",
            )),
            OpCode::Text if frame.is_final => Ok(Incoming::Text),
            OpCode::Text => {
                self.fragments = Some(Vec::new());
                self.append(frame, buffer, max_message)
            }
            OpCode::Continuation if self.fragments.is_none() => Err(Close::ProtocolViolation(
                "A continuation without a beginning",
            )),
            OpCode::Continuation => self.append(frame, buffer, max_message),
        }
    }

    fn append(
        &mut self,
        frame: &Decoded,
        buffer: &[u8],
        max_message: usize,
    ) -> Result<Incoming, Close> {
        let fragments = self.fragments.get_or_insert_default();
        let payload = &buffer[frame.payload.clone()];
        if fragments.len() + payload.len() > max_message {
            return Err(Close::MessageTooLarge { limit: max_message });
        }
        fragments.extend_from_slice(payload);
        Ok(if frame.is_final {
            Incoming::Text
        } else {
            Incoming::Fragment
        })
    }

    /// Takes the joined fragments of a text message, if it came in fragments.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        self.fragments.take()
    }
}

/// Checks the payload of a close frame: nothing, or a code and a reason.
fn check_close(payload: &[u8]) -> Result<(), Close> {
    let [high, low, reason @ ..] = payload else {
        return if payload.is_empty() {
            Ok(())
        } else {
            Err(Close::ProtocolViolation("Close frame of one byte"))
        };
    };
    let code = u16::from_be_bytes([*high, *low]);
    let is_allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    if !is_allowed {
        return Err(Close::ProtocolViolation("Close code is not allowed"));
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(()),
        Err(_) => Err(Close::InvalidUtf8),
    }
}

/// A ping without payload.
pub const PING: [u8; 2] = [0x89, 0];

/// The bytes of a pong with the payload of its ping.
#[must_use]
pub fn pong(payload: &[u8]) -> Vec<u8> {
    control(0x8a, payload)
}

/// The bytes of a close frame; a normal close carries no reason.
#[must_use]
pub fn close(close: &Close) -> Vec<u8> {
    let mut payload = close.code().to_be_bytes().to_vec();
    payload.extend_from_slice(close.reason().as_bytes());
    control(0x88, &payload)
}

fn control(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len().min(MAX_CONTROL_PAYLOAD))
        .expect("the payload of a control frame is short");
    let mut bytes = Vec::with_capacity(2 + payload.len());
    bytes.extend_from_slice(&[first, length]);
    bytes.extend_from_slice(&payload[..usize::from(length)]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1_000;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut bytes = vec![first];
        match payload.len() {
            length @ 0..=125 => bytes.push(0x80 | u8::try_from(length).unwrap()),
            length => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            }
        }
        bytes.extend_from_slice(&mask);
        bytes.extend(
            payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        bytes
    }

    #[test]
    fn a_frame_is_taken_only_when_it_is_whole() {
        let whole = masked(0x81, &[b'x'; 300]);
        for length in 0..whole.len() {
            let mut part = whole[..length].to_vec();

            assert_eq!(decode(&mut part, MAX), Ok(None), "{length}");
            assert_eq!(part, whole[..length]);
        }
        let mut buffer = [whole.as_slice(), b"rest"].concat();

        let frame = decode(&mut buffer, MAX).unwrap().unwrap();

        assert_eq!(&buffer[frame.payload.clone()], [b'x'; 300]);
        assert_eq!(&buffer[frame.end()..], b"rest");
    }

    #[test]
    fn violations_are_found_on_the_head() {
        let too_large = Close::MessageTooLarge { limit: MAX };
        for (bytes, error) in [
            (
                &[0xc1, 0x80][..],
                Close::ProtocolViolation("Reserved bits are not zero"),
            ),
            (&[0x83, 0x80], Close::ProtocolViolation("Unknown opcode")),
            (
                &[0x81, 0x05],
                Close::ProtocolViolation("Client frames must be masked"),
            ),
            (
                &[0x09, 0x80],
                Close::ProtocolViolation("Control frames must be whole and short"),
            ),
            (
                &[0x89, 0xfe, 0, 126],
                Close::ProtocolViolation("Control frames must be whole and short"),
            ),
            (
                &[0x81, 0xfe, 0, 125],
                Close::ProtocolViolation("Payload length is not in its shortest form"),
            ),
            (&[0x81, 0xfe, 0x03, 0xe9], too_large.clone()),
            (
                &[0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                too_large.clone(),
            ),
            (
                &[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                too_large,
            ),
        ] {
            assert_eq!(decode(&mut bytes.to_vec(), MAX), Err(error), "{bytes:?}");
        }
    }

    fn join(frames: &[Vec<u8>]) -> Result<Vec<u8>, Close> {
        let mut message = Message::default();
        for bytes in frames {
            let mut bytes = bytes.clone();
            let frame = decode(&mut bytes, MAX)?.unwrap();
            if message.accept(&frame, &bytes, MAX)? == Incoming::Text {
                return Ok(message
                    .take()
                    .unwrap_or_else(|| bytes[frame.payload].to_vec()));
            }
        }
        panic!("the message does not end");
    }

    /// Checklist 21 to 23.
    #[test]
    fn fragments_are_joined_up_to_the_limit_of_a_message() {
        let half = vec![b'x'; 600];
        assert_eq!(
            join(&[
                masked(0x01, b"a"),
                masked(0x89, b"ping"),
                masked(0x00, b"b"),
                masked(0x80, b"c")
            ]),
            Ok(b"abc".to_vec())
        );
        for (frames, error) in [
            (
                vec![masked(0x80, b"a")],
                Close::ProtocolViolation("A continuation without a beginning"),
            ),
            (
                vec![masked(0x01, b"a"), masked(0x81, b"b")],
                Close::ProtocolViolation("A new message began before the last one ended"),
            ),
            (
                vec![masked(0x01, &half), masked(0x80, &half)],
                Close::MessageTooLarge { limit: MAX },
            ),
            (vec![masked(0x82, b"a")], Close::BinaryFrame),
        ] {
            assert_eq!(join(&frames), Err(error));
        }
    }

    #[test]
    fn close_frames_are_checked() {
        assert_eq!(check_close(b""), Ok(()));
        assert_eq!(check_close(&[0x03, 0xe8]), Ok(()));
        assert_eq!(check_close(&[0x0f, 0xa0, b'x']), Ok(()));
        for (payload, error) in [
            (
                &[0x03][..],
                Close::ProtocolViolation("Close frame of one byte"),
            ),
            (
                &[0x03, 0xed],
                Close::ProtocolViolation("Close code is not allowed"),
            ),
            (&[0x03, 0xe8, 0xff], Close::InvalidUtf8),
        ] {
            assert_eq!(check_close(payload), Err(error));
        }
        assert_eq!(close(&Close::AppDisabled)[..4], [0x88, 22, 0x0f, 0xa3]);
    }
}
