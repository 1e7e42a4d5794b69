//! What must hold of whatever a back end broadcasts, for `fuzz/` and the replay of its
//! corpus.

use fanfare_protocol::Limits;
use serde_json::{Map, Value};

use super::broadcast::{Body, Event, Kind, OrderState};

/// The kind as the last segment of the path, and after the first line the body.
///
/// # Panics
/// An event is no object, is too large, or has more channels than it may.
pub fn broadcast(text: &str) {
    let (kind, body) = text.split_once('\n').unwrap_or((text, ""));
    let (Some(kind), Ok(body)) = (Kind::of(kind), Body::parse(body.as_bytes())) else {
        return;
    };
    let limits = Limits::default();
    let _ = body.token();
    let Ok(broadcast) = body.broadcast(kind, &limits, "e1", "2026-01-01T00:00:00Z") else {
        return;
    };
    check(&broadcast.event, &limits);
    let Some(order) = &broadcast.order else {
        return;
    };
    let before = OrderState {
        master: None,
        status: Some("\"before\"".to_owned()),
    };
    let derived = body.derived(order, &before, &limits, || "e2".to_owned());
    for event in derived.into_iter().flatten() {
        check(&event, &limits);
    }
}

fn check(event: &Event, limits: &Limits) {
    assert!(event.data.len() <= limits.event_data_bytes);
    serde_json::from_str::<Map<String, Value>>(&event.data).expect("it is an object");
    assert_eq!(event.audience.rooms.len(), event.audience.channels.len());
    // Those that are named, and those of people and things.
    assert!(event.audience.channels.len() <= 110);
}
