//! Receive requests whose answer stays open: `xhr_streaming` and `eventsource`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::time::{Instant, Sleep};

use super::line::{Receiver, Taken};

/// Text units after which pusher-js gives a stream up and asks for another one:
/// it keeps all that it received, and what comes later is lost (section 15.5).
const MAX_UNITS: usize = 256 << 10;

/// Units after which a stream for a SockJS client ends: it asks again at once.
const MAX_SOCKJS_UNITS: usize = 128 << 10;

/// What old browsers need to see before they hand the rest to the page.
const PRELUDE_LENGTH: usize = 2_048;

/// How frames stand in a stream, and how long it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// `xhr_streaming` of pusher-js: lines, with a pause before the client's own
    /// limit; never ended without a close.
    Lines,
    /// `xhr_streaming` of SockJS: lines, ended from time to time.
    EndingLines,
    /// `eventsource`: server-sent events without end.
    Events,
}

/// Times of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamTimes {
    /// Silence after which a heartbeat is sent.
    pub(super) heartbeat: Duration,
    /// Time for the client to ask for another stream, after which this one goes on.
    pub(super) reopen: Duration,
}

/// The body of the answer to one receive request.
pub(super) struct StreamBody {
    receiver: Receiver,
    framing: Framing,
    times: StreamTimes,
    /// The beginning, until it is sent.
    head: Option<Vec<u8>>,
    /// UTF-16 code units so far: what pusher-js counts.
    units: usize,
    phase: Phase,
    /// The next heartbeat, or the end of the pause.
    timer: Pin<Box<Sleep>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Flowing,
    Paused,
    /// The client does not do as pusher-js does: it takes more than the limit.
    Unlimited,
    Ended,
}

impl StreamBody {
    /// `opening` is the first frame of a new session.
    pub(super) fn new(
        receiver: Receiver,
        framing: Framing,
        times: StreamTimes,
        opening: Option<Bytes>,
    ) -> Self {
        let frames: Vec<&[u8]> = opening.iter().map(|frame| &frame[..]).collect();
        let head = framing.whole(true, &frames);
        Self {
            receiver,
            framing,
            times,
            head: Some(head),
            units: 0,
            phase: Phase::Flowing,
            timer: Box::pin(tokio::time::sleep(times.heartbeat)),
        }
    }

    fn send(&mut self, frame: &[u8]) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let text = self.framing.wrap(frame);
        self.send_text(text)
    }

    fn send_text(&mut self, text: Vec<u8>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.units += utf16_units(&text);
        self.timer
            .as_mut()
            .reset(Instant::now() + self.times.heartbeat);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(text)))))
    }

    /// What the length of the stream so far means for the next frame.
    fn look_at_length(&mut self) {
        match self.framing {
            Framing::Lines if self.units > MAX_UNITS && self.phase == Phase::Flowing => {
                self.phase = Phase::Paused;
                self.timer
                    .as_mut()
                    .reset(Instant::now() + self.times.reopen);
            }
            Framing::EndingLines if self.units > MAX_SOCKJS_UNITS => self.phase = Phase::Ended,
            _ => {}
        }
    }
}

impl Framing {
    /// A stream that is known as a whole.
    pub(super) fn whole(self, has_head: bool, frames: &[&[u8]]) -> Vec<u8> {
        let mut text = if has_head { self.head() } else { Vec::new() };
        for frame in frames {
            text.extend_from_slice(&self.wrap(frame));
        }
        text
    }

    /// What comes before the first frame.
    fn head(self) -> Vec<u8> {
        match self {
            Self::Lines | Self::EndingLines => {
                let mut prelude = vec![b'h'; PRELUDE_LENGTH];
                prelude.push(b'\n');
                prelude
            }
            Self::Events => b"\r\n".to_vec(),
        }
    }

    fn wrap(self, frame: &[u8]) -> Vec<u8> {
        match self {
            Self::Lines | Self::EndingLines => [frame, b"\n"].concat(),
            Self::Events => [b"data: ", frame, b"\r\n\r\n"].concat(),
        }
    }
}

/// What `responseText.length` of a browser says of `text`, which is UTF-8.
fn utf16_units(text: &[u8]) -> usize {
    text.iter()
        .map(|byte| match byte {
            0x80..=0xbf => 0,
            0xf0.. => 2,
            _ => 1,
        })
        .sum()
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if let Some(head) = this.head.take() {
            return this.send_text(head);
        }
        this.look_at_length();
        if this.phase == Phase::Ended {
            return Poll::Ready(None);
        }
        if this.phase == Phase::Paused {
            if this.receiver.poll_taken_over(context).is_ready() {
                return Poll::Ready(Some(Err(taken_over())));
            }
            if this.timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            this.phase = Phase::Unlimited;
            this.receiver.resume();
            this.timer
                .as_mut()
                .reset(Instant::now() + this.times.heartbeat);
        }
        match this.receiver.poll_take(context) {
            Poll::Ready(Taken::Frame(frame)) => return this.send(&frame),
            Poll::Ready(Taken::Last(frame)) => {
                this.phase = Phase::Ended;
                return this.send(&frame);
            }
            Poll::Ready(Taken::Over) => return Poll::Ready(Some(Err(taken_over()))),
            Poll::Pending => {}
        }
        if this.timer.as_mut().poll(context).is_ready() {
            let heartbeat = this.receiver.heartbeat();
            return this.send(&heartbeat);
        }
        Poll::Pending
    }
}

/// The body of a request that does not receive any more.
pub(super) struct CutOff;

impl Body for CutOff {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(Some(Err(taken_over())))
    }
}

/// Ends the connection: a stream that ends as if it were whole counts as a
/// failure of the transport in pusher-js, and the client is not there any more.
fn taken_over() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "another request of this client receives",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_measured_as_browsers_do() {
        assert_eq!(utf16_units("abc".as_bytes()), 3);
        assert_eq!(utf16_units("Zoë".as_bytes()), 3);
        assert_eq!(utf16_units("Кухня".as_bytes()), 5);
        assert_eq!(utf16_units("🍜".as_bytes()), 2);
    }
}
