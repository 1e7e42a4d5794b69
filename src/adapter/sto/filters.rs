//! What a display wants to show.
//!
//! Zones, kinds of work and states are compared without regard to case: back ends
//! store them in small letters, examples for displays have capitals.

use serde::Serialize;
use serde_json::Value;

use super::orders::Order;

/// Entries of one list.
const MAX_ENTRIES: usize = 32;

/// Bytes of an entry.
const MAX_ENTRY: usize = 64;

/// States of orders that stand on a display.
const SHOWN: [&str; 3] = ["waiting", "in_progress", "blocked"];

/// What one display shows of the orders of today.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Filters {
    zones: Vec<String>,
    work_types: Vec<String>,
    show_blocked: bool,
}

/// The filters of a display are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "filters: expected {{\"zones\": [\"…\"], \"workTypes\": [\"…\"], \"showBlocked\": true or false}}, with up to {MAX_ENTRIES} entries of up to {MAX_ENTRY} bytes in each list"
)]
pub(super) struct NoFilters;

impl Filters {
    /// Of a display that has named none.
    pub(super) fn all() -> Self {
        Self {
            zones: Vec::new(),
            work_types: Vec::new(),
            show_blocked: true,
        }
    }

    /// Reads them. Without `showBlocked` blocked orders are not shown, as in the
    /// system that this one takes the place of.
    pub(super) fn parse(value: &Value) -> Result<Self, NoFilters> {
        let object = value.as_object().ok_or(NoFilters)?;
        Ok(Self {
            zones: list(object.get("zones"))?,
            work_types: list(object.get("workTypes"))?,
            show_blocked: match object.get("showBlocked") {
                None | Some(Value::Null) => false,
                Some(flag) => flag.as_bool().ok_or(NoFilters)?,
            },
        })
    }

    /// Whether they let an order through.
    pub(super) fn keep(&self, order: &Order) -> bool {
        let is_shown = SHOWN.iter().any(|state| order.has_status(state));
        is_shown
            && self.has_zone(order.zone())
            && has(&self.work_types, order.work_type())
            && (self.show_blocked || !order.has_status("blocked"))
    }

    /// Whether they are for orders of a zone.
    pub(super) fn has_zone(&self, zone: &str) -> bool {
        has(&self.zones, zone)
    }
}

fn list(value: Option<&Value>) -> Result<Vec<String>, NoFilters> {
    let entries = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(value) => value.as_array().ok_or(NoFilters)?,
    };
    if entries.len() > MAX_ENTRIES {
        return Err(NoFilters);
    }
    let text = |entry: &Value| {
        let text = entry.as_str().filter(|text| text.len() <= MAX_ENTRY);
        text.map(str::to_owned).ok_or(NoFilters)
    };
    entries.iter().map(text).collect()
}

/// Whether a list, if it has entries, has this one.
fn has(list: &[String], wanted: &str) -> bool {
    list.is_empty() || list.iter().any(|entry| entry.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn order(zone: &str, work_type: &str, status: &str) -> Order {
        let order = json!({"id": "1", "zone": zone, "workType": work_type, "status": status});
        Order::parse(&order.to_string()).unwrap()
    }

    #[test]
    fn letters_have_no_case_and_empty_lists_mean_all() {
        let filters = json!({"zones": ["RECEPTION", "workshop"], "showBlocked": false});
        let filters = Filters::parse(&filters).unwrap();
        for (zone, status, expected) in [
            ("reception", "waiting", true),
            ("Workshop", "IN_PROGRESS", true),
            ("bodywork", "waiting", false),
            ("reception", "blocked", false),
            ("reception", "completed", false),
            ("reception", "cancelled", false),
        ] {
            let order = order(zone, "repair", status);
            assert_eq!(filters.keep(&order), expected, "{zone} {status}");
        }
        let repairs = Filters::parse(&json!({"workTypes": ["REPAIR"], "showBlocked": true}));
        let repairs = repairs.unwrap();
        assert!(repairs.keep(&order("any", "repair", "Blocked")));
        assert!(!repairs.keep(&order("any", "diagnostic", "waiting")));
        assert!(Filters::all().keep(&order("any", "any", "blocked")));
        assert!(
            !Filters::parse(&json!({}))
                .unwrap()
                .keep(&order("any", "any", "blocked"))
        );
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for filters in [
            json!(null),
            json!([]),
            json!({"zones": "reception"}),
            json!({"zones": [1]}),
            json!({"zones": vec!["x"; 33]}),
            json!({"workTypes": ["x".repeat(65)]}),
            json!({"showBlocked": "no"}),
        ] {
            assert_eq!(Filters::parse(&filters), Err(NoFilters), "{filters}");
        }
    }
}
