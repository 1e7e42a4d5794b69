//! What waits for one HTTP client, and who takes it.
//!
//! A WebSocket can always be written to. An HTTP client has to come and ask: its
//! frames wait here until its newest receive request takes them. The queue is
//! bounded in bytes; a client that leaves it full is closed with 4100, as a slow
//! WebSocket is. Knows the frames of section 15.4 and nothing of HTTP.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::{Close, Frame, ServerMessage};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::http::Cut;
use crate::hub::Outbox;
use crate::transport::outbox::OutboxRules;

/// Text of one array of messages, after which the rest waits for the next one.
const MAX_ARRAY_BYTES: usize = 128 << 10;

/// The frame that asks whether a client is there.
const HEARTBEAT: &[u8] = b"h";

/// An answer to a client's ping is only needed after this long a silence: what
/// the client got before is answer enough.
const QUIET: Duration = Duration::from_secs(5);

/// How long a client may stay away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Time between two receive requests.
    pub(super) grace: Duration,
    /// Time to answer a heartbeat; `None` for clients that never do.
    pub(super) answer: Option<Duration>,
}

/// The queue of one client.
#[derive(Debug)]
pub(super) struct Line {
    state: Mutex<State>,
    /// Told when the client comes, goes or is closed: for the session's task.
    changed: Notify,
    rules: Arc<OutboxRules>,
    patience: Patience,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Texts of messages, without the head of a WebSocket frame.
    queue: VecDeque<Bytes>,
    /// Bytes in `queue`.
    bytes: usize,
    /// Whether an empty array is due, which answers a client's ping.
    owes_array: bool,
    /// Whether a heartbeat is due, which the client has to answer.
    owes_heartbeat: bool,
    /// The number of the newest receive request.
    newest: u64,
    receiving: Receiving,
    waker: Option<Waker>,
    /// Ends the connection of the newest receive request.
    cut: Option<Cut>,
    /// When the client last got anything.
    written: Instant,
    /// When it got a heartbeat that it has not answered yet.
    unanswered: Option<Instant>,
    /// Messages taken so far, to see progress.
    progress: u64,
    /// `progress` when the sweep last saw it change, and that time.
    last_progress: Option<(u64, u64)>,
    /// Whether closes are announced with `pusher:error` (section 2.2).
    announces_close: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Closed; the client gets this frame after what waits.
    Closing(Bytes),
    /// The client has been told.
    Closed,
}

/// Whether the client takes what comes.
#[derive(Clone, Copy, Debug)]
enum Receiving {
    /// A receive request is under way.
    Yes,
    /// One is, but what is written to it would be lost.
    Paused,
    /// None is, since this time.
    No(Instant),
}

/// What a receive request gets next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// A frame of section 15.4, without its end of line.
    Frame(Bytes),
    /// The last frame: nothing comes after it.
    Last(Bytes),
    /// Nothing: another request receives from now on, or the session has ended.
    Over,
}

impl Line {
    pub(super) fn new(rules: Arc<OutboxRules>, patience: Patience) -> Self {
        let now = Instant::now();
        Self {
            state: Mutex::new(State {
                phase: Phase::Open,
                queue: VecDeque::new(),
                bytes: 0,
                owes_array: false,
                owes_heartbeat: false,
                newest: 0,
                receiving: Receiving::No(now),
                waker: None,
                cut: None,
                written: now,
                unanswered: None,
                progress: 0,
                last_progress: None,
                announces_close: false,
            }),
            changed: Notify::new(),
            rules,
            patience,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic between two steps leaves the queue readable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces closes from now on, as clients of protocol 4 and 5 need it.
    pub(super) fn announce_close(&self) {
        self.lock().announces_close = true;
    }

    /// Makes the caller the one who receives; `cut` ends its connection. That of
    /// the one before is ended.
    pub(super) fn receive(self: &Arc<Self>, cut: Cut) -> Receiver {
        let mut state = self.lock();
        state.newest += 1;
        state.receiving = Receiving::Yes;
        state.unanswered = None;
        let number = state.newest;
        state.waker = None;
        if let Some(Cut(previous)) = state.cut.replace(cut) {
            previous.cancel();
        }
        drop(state);
        self.changed.notify_one();
        Receiver {
            line: Arc::clone(self),
            number,
        }
    }

    /// Notes that the client sent something: it is there.
    pub(super) fn heard(&self) {
        self.lock().unanswered = None;
    }

    /// Answers a client's ping, unless it got something just now.
    pub(super) fn answer_ping(&self) {
        let mut state = self.lock();
        state.unanswered = None;
        if state.phase == Phase::Open && state.written.elapsed() >= QUIET {
            state.owes_array = true;
            state.wake();
        }
    }

    /// Whether the client is to be given up, or else when to look again.
    pub(super) fn presence(&self) -> Presence {
        let state = self.lock();
        if state.phase == Phase::Closed {
            return Presence::Gone;
        }
        let absent = match state.receiving {
            Receiving::No(since) => Some(since + self.patience.grace),
            Receiving::Yes | Receiving::Paused => None,
        };
        let silent = self
            .patience
            .answer
            .and_then(|answer| Some(state.unanswered? + answer));
        let until = absent.into_iter().chain(silent).min();
        let is_over = until.is_some_and(|until| until <= Instant::now());
        match (is_over, &state.phase) {
            (true, _) => Presence::Gone,
            (false, Phase::Open) => Presence::Until(until),
            (false, _) => Presence::Leaving,
        }
    }

    /// Whether heartbeats are questions, rather than news.
    pub(super) fn answers_heartbeats(&self) -> bool {
        self.patience.answer.is_some()
    }

    pub(super) fn is_receiving(&self) -> bool {
        !matches!(self.lock().receiving, Receiving::No(_))
    }

    /// Waits until [`Self::presence`] may have changed.
    ///
    /// # Cancel safety
    /// Nothing is lost: a change that nobody waited for ends the next wait.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Ends the line without a word. A client that has a receive request under
    /// way and did not take its close does not read: its connection is cut.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.clear();
        if let Some(Cut(cut)) = state.cut.take()
            && state.phase != Phase::Closed
        {
            cut.cancel();
        }
        state.phase = Phase::Closed;
        state.wake();
    }

    fn push<'a>(&self, texts: impl Iterator<Item = &'a Frame>) {
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return;
        }
        for frame in texts {
            state.append(frame);
        }
        if state.bytes > self.rules.max_bytes {
            self.rules.node.slow_readers.fetch_add(1, Ordering::Relaxed);
            state.clear();
            self.begin_close(&mut state, &Close::OverCapacity);
        }
        state.wake();
    }

    fn begin_close(&self, state: &mut State, close: &Close) {
        if state.phase != Phase::Open {
            return;
        }
        if state.announces_close && close.code() >= 4000 {
            state.append(&ServerMessage::Refused(close).encode());
        }
        state.phase = Phase::Closing(close_frame(close));
        state.wake();
        self.changed.notify_one();
    }
}

/// Whether a client is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is, as far as can be told before this time; without one, until
    /// something changes.
    Until(Option<Instant>),
    /// It has been closed, and does not know it yet.
    Leaving,
    /// It is not.
    Gone,
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn append(&mut self, frame: &Frame) {
        let text = frame.as_websocket().slice_ref(frame.payload());
        self.bytes += text.len();
        self.queue.push_back(text);
    }

    fn clear(&mut self) {
        self.queue = VecDeque::new();
        self.bytes = 0;
    }

    /// The next frame, if one is due.
    fn next(&mut self) -> Option<Taken> {
        let taken = if !self.queue.is_empty() {
            // Whatever is said proves as much as an empty array.
            self.owes_array = false;
            Taken::Frame(self.array())
        } else if let Phase::Closing(last) = &self.phase {
            let last = last.clone();
            self.phase = Phase::Closed;
            Taken::Last(last)
        } else if self.owes_array {
            self.owes_array = false;
            Taken::Frame(Bytes::from_static(b"a[]"))
        } else if self.owes_heartbeat {
            self.owes_heartbeat = false;
            self.heartbeat()
        } else {
            return None;
        };
        self.written = Instant::now();
        Some(taken)
    }

    fn heartbeat(&mut self) -> Taken {
        self.written = Instant::now();
        self.unanswered.get_or_insert(self.written);
        Taken::Frame(Bytes::from_static(HEARTBEAT))
    }

    /// The messages that wait, at least one of them.
    fn array(&mut self) -> Bytes {
        let mut text = b"a[".to_vec();
        while let Some(message) = self.queue.pop_front() {
            self.bytes -= message.len();
            self.progress += 1;
            if text.len() > 2 {
                text.push(b',');
            }
            // What the server encodes is always UTF-8.
            let message = String::from_utf8_lossy(&message);
            serde_json::to_writer(&mut text, &message).expect("a text can be written to memory");
            if text.len() >= MAX_ARRAY_BYTES {
                break;
            }
        }
        text.push(b']');
        Bytes::from(text)
    }
}

impl Taken {
    /// Whether it changes when the client is given up.
    fn is_news(&self) -> bool {
        match self {
            Self::Frame(frame) => frame == HEARTBEAT,
            Self::Last(_) | Self::Over => true,
        }
    }
}

/// `c[CODE,"reason"]`.
pub(super) fn close_frame(close: &Close) -> Bytes {
    let reason = serde_json::Value::from(close.reason());
    Bytes::from(format!("c[{},{reason}]", close.code()))
}

/// A receive request. When it is dropped, the client's time away begins.
#[derive(Debug)]
pub(super) struct Receiver {
    line: Arc<Line>,
    number: u64,
}

impl Receiver {
    /// What comes next. Frames that are taken are not kept.
    pub(super) fn poll_take(&self, context: &mut Context<'_>) -> Poll<Taken> {
        let mut state = self.line.lock();
        if state.newest != self.number {
            return Poll::Ready(Taken::Over);
        }
        if let Some(taken) = state.next() {
            drop(state);
            // Messages alone are no news to the session's task.
            if taken.is_news() {
                self.line.changed.notify_one();
            }
            return Poll::Ready(taken);
        }
        if state.phase == Phase::Closed {
            return Poll::Ready(Taken::Over);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Waits for another receive request, and keeps the queue meanwhile.
    pub(super) fn poll_taken_over(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.line.lock();
        if state.newest != self.number || state.phase == Phase::Closed {
            return Poll::Ready(());
        }
        state.receiving = Receiving::Paused;
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Ends a pause.
    pub(super) fn resume(&self) {
        let mut state = self.line.lock();
        if state.newest == self.number {
            state.receiving = Receiving::Yes;
        }
    }

    /// The heartbeat after a silence.
    pub(super) fn heartbeat(&self) -> Bytes {
        let taken = self.line.lock().heartbeat();
        self.line.changed.notify_one();
        match taken {
            Taken::Frame(frame) | Taken::Last(frame) => frame,
            Taken::Over => Bytes::new(),
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.line.lock();
        if state.newest == self.number {
            state.receiving = Receiving::No(Instant::now());
            state.waker = None;
            state.cut = None;
            state.unanswered = None;
            self.line.changed.notify_one();
        }
    }
}

/// The outbox of an HTTP client: its end of the line.
#[derive(Debug)]
pub(super) struct HttpOutbox(pub(super) Arc<Line>);

impl Outbox for HttpOutbox {
    fn push(&self, frames: &[Frame]) {
        self.0.push(frames.iter());
    }

    fn close(&self, close: &Close) {
        let mut state = self.0.lock();
        self.0.begin_close(&mut state, close);
    }

    fn abort(&self, close: &Close) {
        let mut state = self.0.lock();
        state.clear();
        self.0.begin_close(&mut state, close);
    }

    fn probe(&self) {
        let mut state = self.0.lock();
        state.owes_heartbeat = true;
        state.wake();
    }

    fn transport(&self) -> &'static str {
        "http"
    }

    fn waiting_bytes(&self) -> usize {
        self.0.lock().bytes
    }

    fn stalled_ms(&self, now_ms: u64) -> Option<u64> {
        let mut state = self.0.lock();
        // A client that is away or changes its request has a time of its own.
        if state.queue.is_empty() || !matches!(state.receiving, Receiving::Yes) {
            state.last_progress = None;
            return None;
        }
        match state.last_progress {
            Some((progress, since_ms)) if progress == state.progress => {
                Some(now_ms.saturating_sub(since_ms))
            }
            _ => {
                state.last_progress = Some((state.progress, now_ms));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::engine::MemoryEngine;
    use crate::hub::{Hub, Timeouts};

    fn line(max_bytes: usize) -> Arc<Line> {
        let timeouts = Timeouts {
            ping_after: Duration::from_secs(45),
            pong_wait: Duration::from_secs(30),
            authorization: Duration::from_secs(30),
            stalled_write: Duration::from_secs(10),
        };
        let tasks = tokio_util::task::TaskTracker::new();
        let hub = Hub::new(Arc::new(MemoryEngine::new()), timeouts, 10, tasks);
        let rules = OutboxRules {
            max_bytes,
            node: Arc::clone(hub.node()),
        };
        let patience = Patience {
            grace: Duration::from_secs(10),
            answer: Some(Duration::from_secs(15)),
        };
        Arc::new(Line::new(Arc::new(rules), patience))
    }

    fn take(receiver: &Receiver) -> Option<String> {
        let mut context = Context::from_waker(Waker::noop());
        match receiver.poll_take(&mut context) {
            Poll::Ready(Taken::Frame(frame) | Taken::Last(frame)) => {
                Some(String::from_utf8(frame.to_vec()).unwrap())
            }
            Poll::Ready(Taken::Over) => Some("over".to_owned()),
            Poll::Pending => None,
        }
    }

    fn pong() -> Frame {
        ServerMessage::Pong.encode()
    }

    #[test]
    fn messages_that_wait_together_are_one_array() {
        let line = line(1_000);
        let outbox = HttpOutbox(Arc::clone(&line));
        outbox.push(&[pong(), pong()]);
        let receiver = line.receive(Cut::default());

        let pong = r#""{\"event\":\"pusher:pong\",\"data\":\"{}\"}""#;
        assert_eq!(take(&receiver), Some(format!("a[{pong},{pong}]")));
        assert_eq!(take(&receiver), None);
    }

    /// The bound holds however many messages come, and the close is the last.
    #[test]
    fn a_full_line_is_emptied_and_closed() {
        let line = line(100);
        let outbox = HttpOutbox(Arc::clone(&line));
        for _ in 0..1_000 {
            outbox.push(&[pong()]);
        }
        assert_eq!(line.lock().bytes, 0);
        let receiver = line.receive(Cut::default());

        assert_eq!(take(&receiver).unwrap(), r#"c[4100,"Over capacity"]"#);
        assert_eq!(take(&receiver).unwrap(), "over");
    }

    #[test]
    fn a_client_that_does_not_read_is_cut_off() {
        let line = line(1_000);
        let [old, new] = [(); 2].map(|()| CancellationToken::new());
        let first = line.receive(Cut(old.clone()));
        let _second = line.receive(Cut(new.clone()));
        assert!(old.is_cancelled() && !new.is_cancelled());
        drop(first);
        HttpOutbox(Arc::clone(&line)).close(&Close::OverCapacity);

        line.end();

        assert!(new.is_cancelled());
    }

    /// What it has taken must still reach it.
    #[test]
    fn a_client_that_took_its_close_is_not_cut_off() {
        let line = line(1_000);
        let cut = CancellationToken::new();
        let receiver = line.receive(Cut(cut.clone()));
        HttpOutbox(Arc::clone(&line)).close(&Close::Reconnect);
        assert!(take(&receiver).unwrap().starts_with("c[4200,"));

        line.end();

        assert!(!cut.is_cancelled());
    }

    #[test]
    fn a_probe_is_a_heartbeat_and_asks_for_an_answer() {
        let line = line(1_000);
        let receiver = line.receive(Cut::default());
        HttpOutbox(Arc::clone(&line)).probe();

        assert_eq!(take(&receiver).as_deref(), Some("h"));

        assert!(matches!(line.presence(), Presence::Until(Some(_))));
        line.heard();
        assert_eq!(line.presence(), Presence::Until(None));
    }
}
