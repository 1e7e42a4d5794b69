//! The way out of one WebSocket: written directly, queued only when it must be.
//!
//! Whoever has a frame for a client writes it to the socket at once, under the
//! lock of this one outbox; no task is woken for it. Only what the kernel does
//! not take is queued, in a bounded queue that the connection's own task
//! empties. A client whose queue is full is closed with 4100, and nobody else
//! notices. With TLS the same lock guards the encryption.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use fanfare_protocol::{Close, Frame, ServerMessage};
use futures_util::task::AtomicWaker;
use rustls::ServerConnection;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::frame;
use crate::hub::{Node, Outbox};

/// Buffers per vectored write; more would only make the call itself slower.
const MAX_SLICES: usize = 64;

/// What a frame that waits costs beside its bytes. Without it a client that asks
/// for pongs and takes none would be worth fifty megabytes.
const FRAME_OVERHEAD: usize = 64;

/// Plaintext that is encrypted in one step: one TLS record.
const TLS_CHUNK: usize = 16 << 10;

/// What all outboxes of a server share.
#[derive(Debug)]
pub(super) struct OutboxRules {
    /// Bytes that may wait for one client.
    pub(super) max_bytes: usize,
    /// Where clients are counted that were closed because they read too slowly.
    pub(super) node: Arc<Node>,
}

/// The outbox of one WebSocket, and its socket.
#[derive(Debug)]
pub(super) struct SocketOutbox {
    stream: TcpStream,
    rules: Arc<OutboxRules>,
    /// The task that reads from the socket and empties the queue.
    task: AtomicWaker,
    is_tls: bool,
    /// Whether a refusal is told with `pusher:error` before the close: what
    /// clients of protocol 4 and 5 rely on (section 2.2).
    announces_close: bool,
    queue: Mutex<Queue>,
}

#[derive(Debug)]
struct Queue {
    state: State,
    /// What the kernel did not take yet, the front possibly in part.
    pending: VecDeque<Bytes>,
    /// Bytes in `pending`.
    bytes: usize,
    /// Whether the front of `pending` has begun to go out.
    front_is_cut: bool,
    /// What replays may add to the bound while they wait; gone when nothing waits.
    replay_cost: usize,
    /// Bytes that the kernel took since something waits, to see progress.
    progress: u64,
    /// `progress` when the sweep last saw it change, and that time.
    last_progress: Option<(u64, u64)>,
    tls: Option<Box<ServerConnection>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// A close frame is the last in the queue.
    Closing,
    /// Nothing is sent any more.
    Aborted,
}

/// How far a connection's task has got with the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Nothing waits; the connection goes on.
    Open,
    /// The close frame is out.
    Closed,
    /// The connection is to be dropped.
    Aborted,
}

impl SocketOutbox {
    pub(super) fn new(
        stream: TcpStream,
        tls: Option<Box<ServerConnection>>,
        rules: Arc<OutboxRules>,
        announces_close: bool,
    ) -> Self {
        Self {
            stream,
            rules,
            task: AtomicWaker::new(),
            is_tls: tls.is_some(),
            announces_close,
            queue: Mutex::new(Queue {
                state: State::Open,
                pending: VecDeque::new(),
                bytes: 0,
                front_is_cut: false,
                replay_cost: 0,
                progress: 0,
                last_progress: None,
                tls,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A panic between two steps leaves the queue readable.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends bytes that are already framed, such as a pong.
    pub(super) fn push_bytes(&self, bytes: Bytes) {
        self.send(std::iter::once(&bytes));
    }

    fn send<'a>(&self, frames: impl Iterator<Item = &'a Bytes> + Clone) {
        self.send_under(&mut self.lock(), frames);
    }

    fn send_under<'a>(&self, queue: &mut Queue, frames: impl Iterator<Item = &'a Bytes> + Clone) {
        if queue.state != State::Open {
            return;
        }
        let was_empty = queue.is_empty();
        let mut taken = 0;
        if was_empty && queue.tls.is_none() {
            match self.write_slices(frames.clone()) {
                Ok(bytes) => taken = bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.abandon(queue);
                    return;
                }
            }
        }
        queue.append(frames, taken);
        if queue.is_empty() {
            return;
        }
        // More than one write takes is no reason to wake the task; a write that was
        // cut short is.
        let has_room = queue.tls.is_some() || (taken > 0 && !queue.front_is_cut);
        if was_empty && has_room && self.flush(queue).is_err() {
            self.abandon(queue);
            return;
        }
        if queue.is_empty() {
            return;
        }
        if queue.cost() > self.rules.max_bytes + queue.replay_cost {
            self.rules.node.slow_readers.fetch_add(1, Ordering::Relaxed);
            queue.drop_whole_frames();
            self.begin_close(queue, &Close::OverCapacity);
        } else if was_empty {
            self.task.wake();
        }
    }

    /// One attempt to write the first frames without waiting.
    fn write_slices<'a>(&self, frames: impl Iterator<Item = &'a Bytes>) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut count = 0;
        for (slice, frame) in slices.iter_mut().zip(frames) {
            *slice = IoSlice::new(frame);
            count += 1;
        }
        match &slices[..count] {
            [one] => self.stream.try_write(one),
            many => self.stream.try_write_vectored(many),
        }
    }

    /// Writes what is queued until the kernel takes no more.
    fn flush(&self, queue: &mut Queue) -> io::Result<()> {
        let outcome = if queue.tls.is_some() {
            self.flush_tls(queue)
        } else {
            self.flush_plain(queue)
        };
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            outcome => outcome,
        }
    }

    fn flush_plain(&self, queue: &mut Queue) -> io::Result<()> {
        while !queue.pending.is_empty() {
            let written = self.write_slices(queue.pending.iter())?;
            queue.advance(written);
        }
        Ok(())
    }

    fn flush_tls(&self, queue: &mut Queue) -> io::Result<()> {
        loop {
            let Some(tls) = &mut queue.tls else {
                return Ok(());
            };
            while tls.wants_write() {
                let written = tls.write_tls(&mut TrySocket(&self.stream))?;
                queue.progress += written as u64;
            }
            let Some(front) = queue.pending.front() else {
                return Ok(());
            };
            let chunk = front.len().min(TLS_CHUNK);
            let taken = tls.writer().write(&front[..chunk])?;
            queue.advance(taken);
        }
    }

    /// The last step for a client: what waits, then the close frame.
    fn begin_close(&self, queue: &mut Queue, close: &Close) {
        if queue.state != State::Open {
            return;
        }
        self.rules.node.closes.count(close.code());
        if self.announces_close && close.code() >= 4000 {
            let refused = ServerMessage::Refused(close).encode();
            queue.append(std::iter::once(refused.as_websocket()), 0);
        }
        let bytes = Bytes::from(frame::close(close));
        queue.append(std::iter::once(&bytes), 0);
        queue.state = State::Closing;
        self.task.wake();
    }

    fn abandon(&self, queue: &mut Queue) {
        queue.state = State::Aborted;
        queue.pending = VecDeque::new();
        queue.bytes = 0;
        self.task.wake();
    }

    // What the connection's own task calls.

    /// Lets the task be woken when there is work for it.
    pub(super) fn register(&self, waker: &Waker) {
        self.task.register(waker);
    }

    /// Writes what waits. Pending while the kernel takes no more; the rest of
    /// the connection goes on meanwhile.
    pub(super) fn poll_flush(&self, context: &mut Context<'_>) -> Poll<Flushed> {
        let mut queue = self.lock();
        loop {
            if queue.state == State::Aborted {
                return Poll::Ready(Flushed::Aborted);
            }
            if queue.is_empty() {
                return Poll::Ready(match queue.state {
                    State::Open => Flushed::Open,
                    _ => Flushed::Closed,
                });
            }
            match self.stream.poll_write_ready(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(ready) => {
                    if ready.and_then(|()| self.flush(&mut queue)).is_err() {
                        self.abandon(&mut queue);
                    }
                }
            }
        }
    }

    pub(super) fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_read_ready(context)
    }

    /// Reads what has arrived; `Ok(0)` is the end of the stream.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.is_tls {
            return self.stream.try_read(buffer);
        }
        let mut queue = self.lock();
        loop {
            let Some(tls) = &mut queue.tls else {
                return Ok(0);
            };
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
            if tls.read_tls(&mut TrySocket(&self.stream))? == 0 {
                return Ok(0);
            }
            let outcome = tls.process_new_packets();
            // An alert or a key update wants to go out, also after an error.
            if self.flush(&mut queue).is_err() {
                self.abandon(&mut queue);
            }
            outcome.map_err(io::Error::other)?;
        }
    }

    /// Tells the peer that nothing more comes; it may still be sending.
    pub(super) fn shutdown(&self) {
        let mut queue = self.lock();
        if let Some(tls) = &mut queue.tls {
            tls.send_close_notify();
        }
        // Whatever fails here, the socket is dropped next.
        let _ = self.flush(&mut queue);
        let _ = SockRef::from(&self.stream).shutdown(Shutdown::Write);
    }
}

impl Outbox for SocketOutbox {
    fn push(&self, frames: &[Frame]) {
        self.send(frames.iter().map(Frame::as_websocket));
    }

    fn push_replay(&self, frames: &[Frame]) {
        let cost = |frame: &Frame| frame.as_websocket().len() + FRAME_OVERHEAD;
        let mut queue = self.lock();
        queue.replay_cost += frames.iter().map(cost).sum::<usize>();
        self.send_under(&mut queue, frames.iter().map(Frame::as_websocket));
        if queue.is_empty() {
            queue.replay_cost = 0;
        }
    }

    fn is_replaying(&self) -> bool {
        self.lock().replay_cost > 0
    }

    fn close(&self, close: &Close) {
        let mut queue = self.lock();
        self.begin_close(&mut queue, close);
    }

    fn abort(&self, close: &Close) {
        let mut queue = self.lock();
        if queue.state == State::Open {
            // Only an attempt: between two frames, and without waiting.
            if queue.front_is_cut {
                self.rules.node.closes.count(close.code());
            } else {
                queue.drop_whole_frames();
                self.begin_close(&mut queue, close);
                let _ = self.flush(&mut queue);
            }
        }
        self.abandon(&mut queue);
    }

    fn probe(&self) {
        self.push_bytes(Bytes::from_static(&frame::PING));
    }

    fn stalled_ms(&self, now_ms: u64) -> Option<u64> {
        let mut queue = self.lock();
        if queue.is_empty() {
            queue.last_progress = None;
            return None;
        }
        match queue.last_progress {
            Some((progress, since_ms)) if progress == queue.progress => {
                Some(now_ms.saturating_sub(since_ms))
            }
            _ => {
                queue.last_progress = Some((queue.progress, now_ms));
                Some(0)
            }
        }
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.tls.as_ref().is_none_or(|tls| !tls.wants_write())
    }

    /// Bytes of memory that what waits takes.
    fn cost(&self) -> usize {
        self.bytes + self.pending.len() * FRAME_OVERHEAD
    }

    /// Queues `frames` without their first `taken` bytes.
    fn append<'a>(&mut self, frames: impl Iterator<Item = &'a Bytes>, mut taken: usize) {
        self.progress += taken as u64;
        for frame in frames {
            if taken >= frame.len() {
                taken -= frame.len();
                continue;
            }
            if taken > 0 {
                self.front_is_cut = true;
            }
            self.bytes += frame.len() - taken;
            self.pending.push_back(frame.slice(taken..));
            taken = 0;
        }
    }

    /// Forgets the first `written` bytes, which are out.
    fn advance(&mut self, mut written: usize) {
        self.progress += written as u64;
        self.bytes -= written;
        while let Some(front) = self.pending.front_mut() {
            if written < front.len() {
                front.advance(written);
                self.front_is_cut |= written > 0;
                return;
            }
            written -= front.len();
            self.pending.pop_front();
            self.front_is_cut = false;
        }
        // An idle connection keeps no memory for what once waited.
        self.pending = VecDeque::new();
        self.replay_cost = 0;
    }

    /// Drops what waits, except a frame that has begun to go out: the client
    /// must be able to read what comes after it.
    fn drop_whole_frames(&mut self) {
        self.pending.truncate(usize::from(self.front_is_cut));
        self.bytes = self.pending.iter().map(Bytes::len).sum();
    }
}

/// A socket for code that wants to write without knowing that it may not wait.
struct TrySocket<'a>(&'a TcpStream);

impl Read for TrySocket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for TrySocket<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.try_write(buffer)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An outbox, and the client that it belongs to.
    async fn outbox(max_bytes: usize) -> (SocketOutbox, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        // Little, so that it is soon full.
        SockRef::from(&stream).set_send_buffer_size(4_096).unwrap();
        SockRef::from(&client).set_recv_buffer_size(4_096).unwrap();
        let rules = OutboxRules {
            max_bytes,
            node: Arc::new(Node::new(1)),
        };
        let outbox = SocketOutbox::new(stream, None, Arc::new(rules), false);
        (outbox, client)
    }

    #[tokio::test]
    async fn many_small_frames_cost_more_than_their_bytes() {
        let (outbox, client) = outbox(64 << 10).await;
        outbox.stream.writable().await.unwrap();
        let mut most = 0;

        while outbox.lock().state == State::Open {
            outbox.push_bytes(Bytes::from(frame::pong(b"")));
            most = most.max(outbox.lock().pending.len());
        }

        assert!((900..=1_024).contains(&most), "{most}");
        assert_eq!(outbox.rules.node.slow_readers.load(Ordering::Relaxed), 1);
        assert_eq!(outbox.rules.node.closes.counts(), [(4100, 1)]);
        drop(client);
    }
}
