//! The displays of this node: which are there, and what they were told last.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanfare_protocol::ChannelName;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::filters::Filters;
use super::moment::Moment;
use super::orders::Order;
use crate::adapter::auth::room;

/// What the names of their channels begin with.
pub(super) const PREFIX: &str = "presence-sto-display;";

/// What their rooms begin with.
const ROOM: &str = "sto-display:";

/// Orders in one update; `totalCount` counts all.
const MAX_ORDERS: usize = 500;

/// The displays of this node.
#[derive(Debug, Default)]
pub(super) struct Displays(Mutex<HashMap<ChannelName, Display>>);

#[derive(Clone, Debug)]
struct Display {
    id: String,
    filters: Filters,
    /// A hash of what it was told last, and when.
    told: Option<(u64, Instant)>,
}

/// How updates are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Whether a display is told what it shows already.
    pub(super) sends_unchanged: bool,
    /// If it is not: after this time it is.
    pub(super) heartbeat: Duration,
    /// Whether orders are shown without their customers.
    pub(super) hides_contacts: bool,
}

/// Which displays are to be told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which<'a> {
    /// Those for whom it is time.
    Due,
    /// All of them.
    All,
    /// These.
    These(&'a [ChannelName]),
}

/// The id of the display that a channel belongs to.
pub(super) fn id_of(channel: &ChannelName) -> Option<String> {
    let room = room::of_channel(channel.as_str()).ok()?;
    let id = room.strip_prefix(ROOM).filter(|id| !id.is_empty())?;
    channel.as_str().starts_with(PREFIX).then(|| id.to_owned())
}

impl Displays {
    /// A display is there, or is there again with other filters. The last word counts.
    pub(super) fn register(&self, channel: &ChannelName, filters: Filters) {
        let Some(id) = id_of(channel) else {
            return;
        };
        let display = Display {
            id,
            filters,
            told: None,
        };
        self.lock().insert(channel.clone(), display);
    }

    /// A display that is there shows something else now. False: it is not there.
    pub(super) fn change(&self, channel: &ChannelName, filters: Filters) -> bool {
        let mut displays = self.lock();
        let display = displays.get_mut(channel);
        display.map(|display| display.filters = filters).is_some()
    }

    pub(super) fn remove(&self, channel: &ChannelName) {
        self.lock().remove(channel);
    }

    pub(super) fn has(&self, channel: &ChannelName) -> bool {
        self.lock().contains_key(channel)
    }

    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Removes those whose channel is not among these.
    pub(super) fn retain(&self, is_there: impl Fn(&ChannelName) -> bool) {
        self.lock().retain(|channel, _| is_there(channel));
    }

    /// The filters of a display, if it is on this node.
    pub(super) fn filters(&self, channel: &ChannelName) -> Option<Filters> {
        self.lock()
            .get(channel)
            .map(|display| display.filters.clone())
    }

    /// The channels of those that show a zone.
    pub(super) fn of_zone(&self, zone: &str) -> Vec<ChannelName> {
        let displays = self.lock();
        let showing = displays
            .iter()
            .filter(|(_, display)| display.filters.has_zone(zone));
        showing.map(|(channel, _)| channel.clone()).collect()
    }

    /// What to tell whom, of `orders` in the order of [`Order::rank`].
    pub(super) fn updates(
        &self,
        orders: &[Order],
        which: Which<'_>,
        manner: Manner,
        now: Instant,
    ) -> Vec<(ChannelName, String)> {
        let timestamp = Moment::now().text();
        let mut lists: HashMap<Filters, (String, usize, u64)> = HashMap::new();
        let mut updates = Vec::new();
        for (channel, display) in self.lock().iter_mut() {
            if let Which::These(channels) = which
                && !channels.contains(channel)
            {
                continue;
            }
            let (list, count, hash) = lists
                .entry(display.filters.clone())
                .or_insert_with(|| list(orders, &display.filters, manner.hides_contacts));
            let is_due = display.told.is_none_or(|(told, at)| {
                told != *hash || manner.sends_unchanged || now - at >= manner.heartbeat
            });
            if matches!(which, Which::Due) && !is_due {
                continue;
            }
            display.told = Some((*hash, now));
            let id = json!(display.id);
            let update = format!(
                r#"{{"displayId":{id},"timestamp":"{timestamp}","orders":[{list}],"totalCount":{count}}}"#
            );
            updates.push((channel.clone(), update));
        }
        updates
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelName, Display>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The orders that filters let through, as text, with their number and a hash.
fn list(orders: &[Order], filters: &Filters, hides_contacts: bool) -> (String, usize, u64) {
    let kept: Vec<&Order> = orders.iter().filter(|order| filters.keep(order)).collect();
    let mut text = String::new();
    for order in kept.iter().take(MAX_ORDERS) {
        if !text.is_empty() {
            text.push(',');
        }
        if hides_contacts {
            text.push_str(&order.text_without_contacts());
        } else {
            text.push_str(order.text());
        }
    }
    let mut hasher = DefaultHasher::new();
    (&text, kept.len()).hash(&mut hasher);
    (text, kept.len(), hasher.finish())
}

/// The filters in what a member says of itself.
pub(super) fn filters_of(user_info: Option<&str>) -> Filters {
    let said: Option<Value> = user_info.and_then(|text| serde_json::from_str(text).ok());
    let filters = said.as_ref().and_then(|said| said.get("filters"));
    let filters = filters.map(Filters::parse);
    filters.and_then(Result::ok).unwrap_or_else(Filters::all)
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::Limits;

    use super::*;

    fn order(id: &str, zone: &str) -> Order {
        let order = json!({"id": id, "zone": zone, "status": "waiting", "customerPhone": "+992"});
        Order::parse(&order.to_string()).unwrap()
    }

    const MANNER: Manner = Manner {
        sends_unchanged: false,
        heartbeat: Duration::from_secs(30),
        hides_contacts: false,
    };

    #[test]
    fn a_display_hears_of_changes_and_of_a_heartbeat() {
        let displays = Displays::default();
        let name = format!("presence-{}", room::encode("sto-display:Зал 1"));
        let channel = ChannelName::parse(&name, &Limits::default()).unwrap();
        assert_eq!(id_of(&channel).as_deref(), Some("Зал 1"));
        let reception = Filters::parse(&json!({"zones": ["reception"]})).unwrap();
        displays.register(&channel, reception);
        let mut orders = vec![order("1", "RECEPTION"), order("2", "workshop")];
        let now = Instant::now();
        let due = |orders: &[Order], manner| displays.updates(orders, Which::Due, manner, now);

        let first: Value = serde_json::from_str(&due(&orders, MANNER)[0].1).unwrap();
        assert_eq!(first["displayId"], "Зал 1");
        assert_eq!(first["totalCount"], 1);
        assert_eq!(first["orders"][0]["customerPhone"], "+992");
        assert!(due(&orders, MANNER).is_empty());
        // What it does not show has changed.
        orders.push(order("3", "workshop"));
        assert!(due(&orders, MANNER).is_empty());
        orders.push(order("4", "reception"));
        assert_eq!(due(&orders, MANNER).len(), 1);
        let later = displays.updates(&orders, Which::Due, MANNER, now + MANNER.heartbeat);
        assert_eq!(later.len(), 1);
        let always = Manner {
            sends_unchanged: true,
            hides_contacts: true,
            ..MANNER
        };
        assert!(!due(&orders, always)[0].1.contains("992"));
        assert!(displays.change(&channel, Filters::all()));
        assert_eq!(due(&orders, MANNER).len(), 1);
        displays.remove(&channel);
        assert!(due(&orders, always).is_empty());
        assert!(!displays.change(&channel, Filters::all()));
    }
}
