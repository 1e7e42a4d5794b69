//! Events of other nodes on their way to this one's hub.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fanfare_protocol::{AppId, ChannelName, Frame};
use tokio::sync::mpsc;

use super::link::Pushed;
use super::message::Message;
use super::{Shared, queries};
use crate::hub::Hub;

/// Hands events of other nodes to the hub.
pub(super) async fn deliver(
    shared: Arc<Shared>,
    hub: Arc<Hub>,
    mut events: mpsc::Receiver<Pushed>,
) {
    while let Some(pushed) = events.recv().await {
        let counter = match deliver_one(&shared, &hub, &pushed) {
            Some(true) => &shared.counters.received,
            Some(false) => &shared.counters.received_lost,
            None => continue,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns whether there was room; `None` when the event is not for this node.
fn deliver_one(shared: &Shared, hub: &Hub, pushed: &Pushed) -> Option<bool> {
    let topic = std::str::from_utf8(&pushed.topic).ok()?;
    let (app, name) = shared.keys.parse_topic(topic)?;
    let Some(Message::Event(event)) = Message::parse(&pushed.payload) else {
        return None;
    };
    if *event.node == *shared.node() {
        return None;
    }
    let app = hub.find(&AppId::new(app))?;
    let channel = ChannelName::parse(name.strip_prefix('c')?, &app.app().limits).ok()?;
    let cached = queries::kept_for(event.payload, event.keep_seconds);
    let frame = Frame::from_text(event.payload);
    Some(app.deliver_from_elsewhere(&channel, frame, event.except, cached))
}
