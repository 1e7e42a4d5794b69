//! The frame decoder: whatever a client sends, whole or in pieces.
#![no_main]

use fanfare::transport::frame::{Incoming, Message, decode};
use fanfare_protocol::Close;
use libfuzzer_sys::fuzz_target;

/// Small, so that the fuzzer reaches it.
const MAX: usize = 1_000;

/// What came of a stream of bytes.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    messages: Vec<Vec<u8>>,
    others: usize,
    end: Option<Close>,
}

/// Reads `bytes` as a connection does, `piece` of them at a time.
fn read(bytes: &[u8], piece: usize) -> Outcome {
    let mut outcome = Outcome::default();
    let mut message = Message::default();
    let mut buffer = Vec::new();
    for piece in bytes.chunks(piece) {
        buffer.extend_from_slice(piece);
        loop {
            let frame = match decode(&mut buffer, MAX) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(close) => {
                    outcome.end = Some(close);
                    return outcome;
                }
            };
            assert!(frame.end() <= buffer.len());
            assert!(frame.payload.len() <= MAX);
            match message.accept(&frame, &buffer, MAX) {
                Ok(Incoming::Text) => {
                    let text = message
                        .take()
                        .unwrap_or_else(|| buffer[frame.payload.clone()].to_vec());
                    assert!(text.len() <= MAX);
                    outcome.messages.push(text);
                }
                Ok(_) => outcome.others += 1,
                Err(close) => {
                    outcome.end = Some(close);
                    return outcome;
                }
            }
            buffer.drain(..frame.end());
        }
        // A frame that is not whole yet never makes more be kept than it may have.
        assert!(buffer.len() <= MAX + 14 + piece.len());
    }
    outcome
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let whole = read(bytes, bytes.len().max(1));
    let pieces = read(bytes, usize::from(piece).max(1));
    assert_eq!(whole, pieces);
});
