//! Orders of the car service, and where those of today are read.
//!
//! An order is the JSON text that somebody else made, passed on as it is; only what
//! filters, sorting and events need is looked at.

mod memory;
mod postgres;

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::{Map, Value};

pub(super) use self::memory::Memory;
pub(super) use self::postgres::Postgres;
use super::moment::Moment;

/// Bytes of an order.
const MAX_ORDER: usize = 64 << 10;

/// Bytes of an id, and of other words that are compared.
const MAX_WORD: usize = 128;

/// What tells who a customer is, and is not for everybody.
const CONTACTS: [&str; 5] = [
    "customerId",
    "customerName",
    "customerPhone",
    "customerEmail",
    "vin",
];

/// Priorities, the most urgent first; any other counts as the last.
const PRIORITIES: [&str; 4] = ["urgent", "vip", "warranty", "normal"];

/// An order. Clones share its text.
#[derive(Clone, Debug)]
pub(super) struct Order {
    text: Arc<str>,
    id: String,
    zone: String,
    work_type: String,
    status: String,
    priority: usize,
    created: Option<Moment>,
}

/// A text is no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "order: expected an object of up to {MAX_ORDER} bytes with id, zone and status, each a text of 1 to {MAX_WORD} bytes"
)]
pub(super) struct NoOrder;

/// The orders cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrdersError {
    #[error("the database of the orders cannot be read: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the database of the orders does not answer in time")]
    Slow,
}

/// Where orders are.
#[derive(Debug)]
pub(super) enum Orders {
    Memory(Memory),
    Postgres(Postgres),
}

impl Order {
    /// Reads one.
    pub(super) fn parse(text: &str) -> Result<Self, NoOrder> {
        if text.len() > MAX_ORDER {
            return Err(NoOrder);
        }
        let members: Map<String, Value> = serde_json::from_str(text).map_err(|_| NoOrder)?;
        let word = |name: &str| match members.get(name) {
            Some(Value::String(text)) if (1..=MAX_WORD).contains(&text.len()) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let priority = word("priority").unwrap_or_default();
        let created = members.get("createdAt").and_then(Value::as_str);
        Ok(Self {
            text: text.into(),
            id: word("id").ok_or(NoOrder)?,
            zone: word("zone").ok_or(NoOrder)?,
            work_type: word("workType").unwrap_or_default(),
            status: word("status").ok_or(NoOrder)?,
            priority: PRIORITIES
                .iter()
                .position(|known| known.eq_ignore_ascii_case(&priority))
                .unwrap_or(PRIORITIES.len()),
            created: created.and_then(Moment::parse),
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn zone(&self) -> &str {
        &self.zone
    }

    pub(super) fn work_type(&self) -> &str {
        &self.work_type
    }

    pub(super) fn has_status(&self, status: &str) -> bool {
        self.status.eq_ignore_ascii_case(status)
    }

    /// As it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Its members.
    pub(super) fn members(&self) -> Map<String, Value> {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// With another status, where it has another.
    pub(super) fn with_status(&self, status: &str) -> Self {
        if self.has_status(status) {
            return self.clone();
        }
        let mut members = self.members();
        members.insert("status".to_owned(), status.into());
        Self {
            text: Value::Object(members).to_string().into(),
            status: status.to_owned(),
            ..self.clone()
        }
    }

    /// Its text without what tells who the customer is.
    pub(super) fn text_without_contacts(&self) -> String {
        let mut members = self.members();
        members.retain(|name, _| !CONTACTS.contains(&name.as_str()));
        Value::Object(members).to_string()
    }

    /// The telephone of its customer, which some callers name `phone`.
    pub(super) fn phone(&self) -> Option<String> {
        let members = self.members();
        let named = ["customerPhone", "phone"].map(|name| members.get(name));
        let phone = named.into_iter().flatten().find_map(Value::as_str);
        phone.map(str::to_owned)
    }

    /// Whether it was made on the day of `now`; one of which that is not known counts.
    pub(super) fn is_of_today(&self, now: Moment, offset_minutes: i16) -> bool {
        self.created
            .is_none_or(|created| created.day(offset_minutes) == now.day(offset_minutes))
    }

    /// Which of two comes first: the more urgent, then the older, then by id so that
    /// displays do not flicker.
    pub(super) fn rank(&self, other: &Self) -> Ordering {
        let key = |order: &Self| (order.priority, order.created.is_none(), order.created);
        key(self)
            .cmp(&key(other))
            .then_with(|| self.id.cmp(&other.id))
    }
}

impl Orders {
    /// Those of today that are not over, in the order in which displays show them.
    pub(super) async fn today(&self) -> Result<Vec<Order>, OrdersError> {
        let mut orders = match self {
            Self::Memory(memory) => memory.today(),
            Self::Postgres(postgres) => postgres.today().await?,
        };
        orders.sort_by(Order::rank);
        Ok(orders)
    }

    /// One of them, whatever has become of it.
    pub(super) async fn find(&self, id: &str) -> Result<Option<Order>, OrdersError> {
        match self {
            Self::Memory(memory) => Ok(memory.find(id)),
            Self::Postgres(postgres) => postgres.find(id).await,
        }
    }

    /// Takes note of an order that a hook has told of.
    pub(super) fn note(&self, order: &Order) {
        match self {
            Self::Memory(memory) => memory.note(order),
            // The order service writes it there.
            Self::Postgres(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn order(id: &str, priority: &str, created: &str) -> Order {
        let order = json!({
            "id": id, "zone": "reception", "status": "waiting",
            "priority": priority, "createdAt": created,
        });
        Order::parse(&order.to_string()).unwrap()
    }

    #[test]
    fn the_urgent_come_first_then_the_old() {
        let mut orders = [
            order("a", "NORMAL", "2026-11-25T08:00:00.000Z"),
            order("b", "vip", "2026-11-25T10:00:00.000Z"),
            order("c", "URGENT", "2026-11-25T11:00:00.000Z"),
            order("d", "vip", "2026-11-25T09:00:00.000Z"),
            order("e", "warranty", "2026-11-25T09:00:00.000Z"),
            order("f", "unheard of", "2026-11-25T01:00:00.000Z"),
            order("g", "vip", "no time"),
        ];
        orders.sort_by(Order::rank);

        let ids: Vec<&str> = orders.iter().map(Order::id).collect();
        assert_eq!(ids, ["c", "d", "b", "g", "e", "a", "f"]);
    }

    #[test]
    fn an_order_is_passed_on_as_it_was_written() {
        let text =
            r#"{ "id": 7, "zone":"r", "status":"WAITING", "cost": 1.50, "customerPhone":"+992"}"#;
        let order = Order::parse(text).unwrap();

        assert_eq!(order.text(), text);
        assert_eq!(order.with_status("waiting").text(), text);
        assert_eq!(order.id(), "7");
        assert!(order.with_status("completed").has_status("COMPLETED"));
        assert_eq!(order.phone().as_deref(), Some("+992"));
        assert!(!order.text_without_contacts().contains("992"));
    }

    #[test]
    fn what_is_no_order_is_refused() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"id":"1","zone":"r"}"#,
            r#"{"id":"","zone":"r","status":"waiting"}"#,
            r#"{"id":"1","zone":{},"status":"waiting"}"#,
            &format!(
                r#"{{"id":"{}","zone":"r","status":"waiting"}}"#,
                "x".repeat(129)
            ),
            &format!(
                r#"{{"id":"1","zone":"r","status":"waiting","x":"{}"}}"#,
                "x".repeat(MAX_ORDER)
            ),
        ] {
            assert!(Order::parse(text).is_err(), "{text:.60}");
        }
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_yesterday() {
        let memory = Memory::new(0);
        let today = Moment::now().text();
        memory.note(&order("a", "vip", &today));
        memory.note(&order("b", "vip", "2001-01-01T00:00:00.000Z"));
        memory.note(&order("c", "vip", &today).with_status("completed"));

        let ids: Vec<String> = memory.today().iter().map(|o| o.id().to_owned()).collect();
        assert_eq!(ids, ["a"]);
        assert!(memory.find("b").is_none());
        assert!(memory.find("c").unwrap().has_status("completed"));
        for number in 0..10_050 {
            memory.note(&order(&format!("n{number}"), "vip", &today));
        }
        assert_eq!(memory.today().len(), 10_000);
    }
}
