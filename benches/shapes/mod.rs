//! The shapes that are measured, in time by `pieces` and in instructions by
//! `instructions`: the same work for both.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanfare::apps::App;
use fanfare::engine::MemoryEngine;
use fanfare::hub::{ClientInfo, Hub, Origin, Outbox, Publish, Publisher, Scope, Session, Timeouts};
use fanfare::transport::frame;
use fanfare_protocol::request::{SignedQuery, sign_request};
use fanfare_protocol::server_message::EventText;
use fanfare_protocol::trigger::{QueryParameters, Trigger};
use fanfare_protocol::{AppKey, AppSecret, ChannelName, Close, Frame, Limits};
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;

const EVENT: &str = "order.created";
const SECRET: &str = "7ad3773142a6692b25b8";
const PATH: &str = "/apps/3/events";
const NOW: u64 = 1_353_088_179;
const LONGEST: Duration = Duration::from_secs(3_600);

/// An outbox that takes everything, and counts it.
#[derive(Debug)]
struct Sink(Arc<AtomicUsize>);

impl Outbox for Sink {
    fn push(&self, frames: &[Frame]) {
        self.0.fetch_add(black_box(frames).len(), Ordering::Relaxed);
    }

    fn close(&self, _: &Close) {}

    fn abort(&self, _: &Close) {}

    fn probe(&self) {}

    fn stalled_ms(&self, _now_ms: u64) -> Option<u64> {
        None
    }
}

/// A hub with channels that have subscribers.
pub(crate) struct Audience {
    runtime: Runtime,
    tasks: TaskTracker,
    publisher: Publisher,
    channels: Vec<ChannelName>,
    received: Arc<AtomicUsize>,
    /// Each keeps its client subscribed.
    _sessions: Vec<Session>,
}

impl Audience {
    pub(crate) fn new(channels: usize, subscribers_of_each: usize) -> Self {
        let timeouts = Timeouts {
            ping_after: LONGEST,
            pong_wait: LONGEST,
            authorization: LONGEST,
            stalled_write: LONGEST,
        };
        let tasks = TaskTracker::new();
        tasks.close();
        let engine = Arc::new(MemoryEngine::new());
        let hub = Hub::new(engine, timeouts, usize::MAX, tasks.clone());
        let app = Arc::new(App::new("3", "key", SECRET));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime without drivers needs nothing of the system");
        let received = Arc::new(AtomicUsize::new(0));
        let channels: Vec<_> = (0..channels)
            .map(|number| {
                ChannelName::parse(&format!("kitchen-{number}"), &app.limits)
                    .expect("letters and digits are a channel name")
            })
            .collect();
        let mut sessions = Vec::new();
        for (number, channel) in (1..).zip(
            channels
                .iter()
                .flat_map(|channel| std::iter::repeat_n(channel, subscribers_of_each)),
        ) {
            let place = hub.app(&app).admit().expect("there is no limit");
            let socket_id = format!("1.{number}")
                .parse()
                .expect("two numbers are a socket id");
            let (mut session, _) = Session::open(
                place,
                socket_id,
                Sink(Arc::clone(&received)),
                120,
                ClientInfo {
                    client: "js",
                    version: "",
                    address: std::net::Ipv4Addr::LOCALHOST.into(),
                    session: None,
                },
            );
            let text =
                format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{channel}"}}}}"#);
            runtime
                .block_on(session.handle(&text))
                .expect("a public channel takes anybody");
            sessions.push(session);
        }
        let audience = Self {
            publisher: hub.publisher(&app),
            runtime,
            tasks,
            channels,
            received,
            _sessions: sessions,
        };
        audience.settle();
        audience
    }

    /// Publishes `times` to one channel after the other, waits until all have
    /// everything, and returns how many frames the subscribers got.
    pub(crate) fn publish(&self, times: usize) -> usize {
        let before = self.received.load(Ordering::Relaxed);
        let _guard = self.runtime.enter();
        for channel in self.channels.iter().cycle().take(times) {
            self.publish_to(channel);
        }
        self.settle();
        self.received.load(Ordering::Relaxed) - before
    }

    /// Publishes once to each channel. For channels so small that the publisher
    /// writes to all subscribers itself.
    pub(crate) fn publish_to_each(&self) {
        for channel in &self.channels {
            self.publish_to(channel);
        }
    }

    fn publish_to(&self, channel: &ChannelName) {
        self.publisher
            .publish(&Publish {
                channels: std::slice::from_ref(channel),
                event: EVENT,
                data: &DATA,
                except: None,
                scope: Scope::Cluster,
                origin: Origin::Api,
            })
            .expect("the channel has room");
    }

    fn settle(&self) {
        self.runtime.block_on(self.tasks.wait());
    }
}

/// 256 bytes, as an order may look.
static DATA: std::sync::LazyLock<String> =
    std::sync::LazyLock::new(|| format!(r#"{{"id":7,"table":12,"note":"{}"}}"#, "x".repeat(225)));

/// Encodes one event for one channel.
pub(crate) fn encode() -> impl FnMut() {
    let channel = ChannelName::parse("kitchen-1", &Limits::default())
        .expect("letters and digits are a channel name");
    move || {
        black_box(EventText::new(black_box(EVENT), &DATA).encode(&channel, None));
    }
}

/// Decodes one frame of a client.
pub(crate) fn decode() -> impl FnMut() {
    let text = br#"{"event":"client-typing","channel":"private-kitchen-1","data":{"id":7}}"#;
    let length = u8::try_from(text.len()).expect("the text is short");
    let mut frame = vec![0x81, 0x80 | length, 1, 2, 3, 4];
    frame.extend_from_slice(text);
    move || {
        // Unmasks it, or masks it again: the work is the same.
        let decoded = frame::decode(black_box(&mut frame), 1 << 16);
        assert!(black_box(decoded).is_ok_and(|decoded| decoded.is_some()));
    }
}

/// Checks the signature of one trigger, and reads its body.
pub(crate) fn request() -> impl FnMut() {
    let secret = AppSecret::new(SECRET);
    let body = format!(
        r#"{{"name":"{EVENT}","channels":["kitchen-1"],"data":{:?}}}"#,
        *DATA
    );
    let key = AppKey::new("key");
    let query = sign_request("POST", PATH, &[], body.as_bytes(), &key, &secret, NOW);
    let limits = Limits::default();
    move || {
        let query = SignedQuery::parse(black_box(&query)).expect("no parameter stands twice");
        query
            .verify("POST", PATH, body.as_bytes(), &secret, NOW)
            .expect("the signature fits");
        let parameters = QueryParameters {
            name: query.get("name"),
            socket_id: query.get("socket_id"),
            info: query.get("info"),
            data: query.get("data"),
            channels: query
                .get_all("channels[]")
                .chain(query.get("channel"))
                .collect(),
        };
        let trigger = Trigger::parse(body.as_bytes(), parameters, &limits);
        assert!(black_box(trigger).is_ok());
    }
}
