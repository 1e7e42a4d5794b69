//! What a customer sees of their order.

use fanfare_protocol::ChannelName;
use serde_json::{Map, Value, json};

use super::orders::Order;
use crate::adapter::auth::room;

/// What the names of the channels of single orders begin with.
pub(super) const PREFIX: &str = "private-sto-order;";

/// Open pages that one change is told to.
pub(super) const MAX_PAGES: usize = 1_000;

/// Minutes that an order ahead is thought to take.
const MINUTES_EACH: usize = 30;

/// Members that a customer sees as they are.
const SEEN: [&str; 9] = [
    "queueNumber",
    "queueNumberInZone",
    "zone",
    "status",
    "vehicleMake",
    "vehicleModel",
    "workType",
    "createdAt",
    "startedAt",
];

/// The order that a channel belongs to.
pub(super) fn id_of(channel: &ChannelName) -> Option<String> {
    let room = room::of_channel(channel.as_str()).ok()?;
    let id = room
        .strip_prefix("sto-order:")
        .filter(|id| !id.is_empty())?;
    channel.as_str().starts_with(PREFIX).then(|| id.to_owned())
}

/// How far an order is; `today` are the open ones, sorted.
pub(super) fn status(order: &Order, today: &[Order]) -> Value {
    let members = order.members();
    let mut status = Map::new();
    status.insert("orderId".to_owned(), order.id().into());
    for name in SEEN {
        let value = members.get(name).cloned().unwrap_or_default();
        status.insert(name.to_owned(), value);
    }
    status.insert(
        "completedAt".to_owned(),
        members.get("completedAt").cloned().unwrap_or_default(),
    );
    let is_waiting = order.has_status("waiting");
    let ahead = today.iter().filter(|other| {
        other.has_status("waiting")
            && other.zone().eq_ignore_ascii_case(order.zone())
            && other.id() != order.id()
            && other.rank(order).is_lt()
    });
    let ahead = if is_waiting { ahead.count() } else { 0 };
    let position = if is_waiting { ahead + 1 } else { 0 };
    status.insert("currentPosition".to_owned(), json!(position));
    status.insert(
        "estimatedWaitMinutes".to_owned(),
        json!(ahead * MINUTES_EACH),
    );
    status.insert("canCancel".to_owned(), json!(is_waiting));
    Value::Object(status)
}

/// Whether two texts are the same telephone number, however it is written.
pub(super) fn is_same_phone(one: &str, other: &str) -> bool {
    let digits = |text: &str| -> String { text.chars().filter(char::is_ascii_digit).collect() };
    let one = digits(one);
    one.len() >= 5 && one == digits(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(id: &str, status: &str, priority: &str) -> Order {
        let order = json!({
            "id": id, "zone": "reception", "status": status, "priority": priority,
            "createdAt": format!("2026-11-25T0{id}:00:00.000Z"), "customerPhone": "+992",
        });
        Order::parse(&order.to_string()).unwrap()
    }

    #[test]
    fn a_customer_sees_who_is_ahead_and_nothing_of_others() {
        let today = [
            order("3", "waiting", "urgent"),
            order("1", "waiting", "normal"),
            order("2", "waiting", "normal"),
            order("4", "in_progress", "normal"),
        ];

        let status = |index: usize| status(&today[index], &today);

        assert_eq!(status(2)["currentPosition"], 3);
        assert_eq!(status(2)["estimatedWaitMinutes"], 60);
        assert_eq!(status(0)["currentPosition"], 1);
        assert_eq!(status(3)["currentPosition"], 0);
        assert_eq!(status(3)["canCancel"], false);
        assert!(!status(2).to_string().contains("992"));
    }

    #[test]
    fn a_telephone_number_is_its_digits() {
        assert!(is_same_phone("+992 (90) 123-45-67", "992901234567"));
        assert!(!is_same_phone("+992901234567", "+992901234568"));
        assert!(!is_same_phone("", ""));
        assert!(!is_same_phone("+", "+"));
    }
}
