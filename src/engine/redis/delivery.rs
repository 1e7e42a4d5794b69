//! Events on their way from Redis to this node's hub: those of other nodes, and those
//! of this one that have got a place in the past of their channel.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fanfare_protocol::{AppId, ChannelName, Frame};
use tokio::sync::mpsc;

use super::link::Pushed;
use super::message::{Event, Message};
use super::{Shared, past, queries};
use crate::hub::engine::Recorded;
use crate::hub::{AppHub, Hub};

/// Events that are handed over together, if they have come together.
const BURST: usize = 64;

/// Hands events to the hub.
pub(super) async fn deliver(
    shared: Arc<Shared>,
    hub: Arc<Hub>,
    mut events: mpsc::Receiver<Pushed>,
) {
    let mut pushed = Vec::new();
    while events.recv_many(&mut pushed, BURST).await > 0 {
        let mut recorded = Run::default();
        for pushed in pushed.drain(..) {
            take(&shared, &hub, &pushed, &mut recorded);
        }
        recorded.hand_over();
    }
}

/// Events that follow each other on one channel: they share a write.
#[derive(Default)]
struct Run {
    channel: Option<(Arc<AppHub>, ChannelName)>,
    events: Vec<Recorded>,
}

impl Run {
    fn add(&mut self, app: Arc<AppHub>, channel: ChannelName, event: Recorded) {
        let is_same = self
            .channel
            .as_ref()
            .is_some_and(|(known, name)| Arc::ptr_eq(known, &app) && *name == channel);
        if !is_same {
            self.hand_over();
            self.channel = Some((app, channel));
        }
        self.events.push(event);
    }

    fn hand_over(&mut self) {
        if let Some((app, channel)) = self.channel.take() {
            app.recorded(&channel, std::mem::take(&mut self.events));
        }
    }
}

/// Takes one message; what cannot be read, or concerns nobody here, is dropped.
fn take(shared: &Shared, hub: &Hub, pushed: &Pushed, run: &mut Run) -> Option<()> {
    let topic = std::str::from_utf8(&pushed.topic).ok()?;
    let (app, name) = shared.keys.parse_topic(topic)?;
    let message = Message::parse(&pushed.payload)?;
    if let Message::Event(event) = &message
        && *event.node == *shared.node()
    {
        return None;
    }
    let app = hub.find(&AppId::new(app))?;
    let channel = ChannelName::parse(name.strip_prefix('c')?, &app.app().limits).ok()?;
    match message {
        Message::Recorded(message) => {
            let event = past::recorded(shared, &message);
            if event.own.is_none() {
                shared.counters.received.fetch_add(1, Ordering::Relaxed);
            }
            run.add(app, channel, event);
        }
        Message::Event(event) => {
            run.hand_over();
            deliver_one(shared, &app, &channel, event);
        }
        _ => {}
    }
    Some(())
}

fn deliver_one(shared: &Shared, app: &Arc<AppHub>, channel: &ChannelName, event: Event<'_>) {
    let cached = queries::kept_for(event.payload, event.keep_seconds);
    let frame = Frame::from_text(event.payload);
    let counter = if app.deliver_from_elsewhere(channel, frame, event.except, cached) {
        &shared.counters.received
    } else {
        &shared.counters.received_lost
    };
    counter.fetch_add(1, Ordering::Relaxed);
}
