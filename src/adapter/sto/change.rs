//! What a change of an order means for whom.

use std::sync::Arc;

use fanfare_protocol::ChannelName;
use serde_json::json;

use super::displays::Which;
use super::moment::Moment;
use super::orders::Order;
use super::{ORDERS, Sto, channel_of_room, tracking};
use crate::adapter::ground::event_id;
use crate::apps::App;
use crate::hub::{ChannelFull, Scope};

impl Sto {
    /// An order is new: the displays show it, then everybody who may see it hears of it.
    pub(super) async fn created(&self, app: &Arc<App>, order: &Order) -> Result<(), ChannelFull> {
        self.counts.changes.count();
        self.orders.note(order);
        self.tell_displays(app, Which::Due).await;
        let timestamp = Moment::now().text();
        let text = |order: &str| format!(r#"{{"order":{order},"timestamp":"{timestamp}""#);
        self.announce(app, "new_order", order, text)?;
        self.tell_customers(app, order).await;
        Ok(())
    }

    /// An order, given as it is now, has another status.
    pub(super) async fn status_changed(
        &self,
        app: &Arc<App>,
        order: &Order,
        new_status: &str,
    ) -> Result<(), ChannelFull> {
        self.counts.changes.count();
        self.orders.note(order);
        let timestamp = Moment::now().text();
        let (id, status) = (json!(order.id()), json!(new_status));
        let text = |order: &str| {
            format!(
                r#"{{"orderId":{id},"newStatus":{status},"order":{order},"timestamp":"{timestamp}""#
            )
        };
        self.announce(app, "order_status_changed", order, text)?;
        self.tell_displays(app, Which::Due).await;
        self.tell_customers(app, order).await;
        Ok(())
    }

    /// Tells the displays of this node that show the zone, and mechanics everywhere.
    /// `text` makes the data of an order's text, up to its closing brace.
    fn announce(
        &self,
        app: &Arc<App>,
        event: &str,
        order: &Order,
        text: impl Fn(&str) -> String,
    ) -> Result<(), ChannelFull> {
        let mut data = if self.config.public_displays {
            text(&order.text_without_contacts())
        } else {
            text(order.text())
        };
        data.push('}');
        let displays = self.displays.of_zone(order.zone());
        for display in &displays {
            // One that does not keep up gets its next update; nobody waits for it.
            let display = std::slice::from_ref(display);
            let _ = self.tell(app, display, event, &data, Scope::Node);
        }
        self.tell_mechanics(app, order.zone(), event, &text(order.text()))
    }

    /// Tells mechanics of a zone, and those who see all. `data` lacks its closing
    /// brace: a page on both channels knows by `_eid` what it has seen.
    pub(super) fn tell_mechanics(
        &self,
        app: &Arc<App>,
        zone: &str,
        event: &str,
        data: &str,
    ) -> Result<(), ChannelFull> {
        let zone = zone.to_lowercase();
        let channels: Vec<ChannelName> = ChannelName::parse(ORDERS, &app.limits)
            .ok()
            .into_iter()
            .chain(
                channel_of_room(&format!("sto-zone:{zone}"), &app.limits)
                    .filter(|_| !zone.is_empty()),
            )
            .collect();
        let data = format!(r#"{data},"_eid":"{}"}}"#, event_id());
        self.tell(app, &channels, event, &data, Scope::Cluster)
    }

    /// Tells the customers with an open page how far their orders are: the one of
    /// `order`, and those who wait in the same zone.
    async fn tell_customers(&self, app: &Arc<App>, order: &Order) {
        if let Err(error) = self.try_tell_customers(app, order).await {
            tracing::warn!(%error, "customers are not told how far their orders are");
        }
    }

    async fn try_tell_customers(&self, app: &Arc<App>, order: &Order) -> anyhow::Result<()> {
        let here = self.ground.here(app);
        let engine = self.ground.engine();
        let open = engine.channels(&here, tracking::PREFIX).await?;
        if open.is_empty() {
            return Ok(());
        }
        let today = self.orders.today().await?;
        for occupancy in open.into_iter().take(tracking::MAX_PAGES) {
            let Some(id) = tracking::id_of(&occupancy.channel) else {
                continue;
            };
            let followed = if id == order.id() {
                Some(order)
            } else {
                let in_zone = |known: &&Order| {
                    known.id() == id && known.zone().eq_ignore_ascii_case(order.zone())
                };
                today.iter().find(in_zone)
            };
            let Some(followed) = followed else {
                continue;
            };
            let mut status = tracking::status(followed, &today);
            status["timestamp"] = Moment::now().text().into();
            let channels = std::slice::from_ref(&occupancy.channel);
            let data = status.to_string();
            // A page that misses one gets the next, or asks.
            let _ = self.tell(app, channels, "tracking_update", &data, Scope::Cluster);
        }
        Ok(())
    }
}
