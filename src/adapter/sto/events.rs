//! RabbitMQ: what the CRM is told of orders, and what it tells.
//!
//! Told: `sto_order_created`, `sto_order_completed`, `sto_notification_request`, each
//! persistent, confirmed, and with a warning when its queue is gone. Heard:
//! `crm_inventory_reserved`. All are queues of the default exchange that Node declares
//! as well, so they are declared exactly as it does: durable, without arguments. What
//! is told is never read here: it is for the CRM alone.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions,
    BasicRejectOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Sto;
use super::moment::Moment;
use super::orders::Order;
use crate::adapter::broker::{Full, Letter, Link, Outbox, Session, Trouble, within};
use crate::config::{DeadLetters, StoConfig};
use crate::hub::engine::Figure;

const CREATED: &str = "sto_order_created";
const COMPLETED: &str = "sto_order_completed";
const NOTIFICATIONS: &str = "sto_notification_request";
const RESERVED: &str = "crm_inventory_reserved";

/// Where messages go that mean nothing.
const DEAD: &str = "sto.dead";

/// Ways to tell a customer something.
const CHANNELS: [&str; 4] = ["SMS", "WhatsApp", "Email", "Telegram"];

/// How soon; the one of those who say nothing is in the middle.
const PRIORITIES: [&str; 3] = ["HIGH", "NORMAL", "LOW"];

/// Bytes of a notification's message.
const MAX_MESSAGE: usize = 16 << 10;

/// Bytes of its other members.
const MAX_MEMBER: usize = 256;

/// Bytes of a reservation; mechanics get all of it.
const MAX_RESERVED: usize = 64 << 10;

/// Bytes of an error in a header.
const MAX_ERROR: usize = 500;

/// Time before something that the hub had no room for is taken again.
const PAUSE: Duration = Duration::from_secs(1);

/// The broker, and what waits for it.
#[derive(Debug)]
pub(super) struct Events {
    link: Link,
    outbox: Outbox,
    prefetch: u16,
    dead_letters: DeadLetters,
    reserved: AtomicU64,
    dead: AtomicU64,
}

/// A message to a customer, as the CRM gets it.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Notification {
    order_id: String,
    channel: &'static str,
    recipient: String,
    message: String,
    priority: &'static str,
}

/// A text is no notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected orderId, channel (SMS, WhatsApp, Email or Telegram), recipient, message, and priority (HIGH, NORMAL or LOW) if any"
)]
pub(super) struct NotificationError;

/// A message cannot be taken for the broker.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsent {
    #[error("RabbitMQ is not configured: adapters.sto.broker_url")]
    NoBroker,
    #[error("{0}")]
    Full(#[from] Full),
}

/// What the CRM tells of parts for an order.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reserved<'a> {
    order_id: Value,
    #[serde(borrow)]
    items: &'a RawValue,
    #[serde(borrow)]
    total_amount: Option<&'a RawValue>,
}

impl Notification {
    /// Reads one.
    pub(super) fn parse(text: &str) -> Result<Self, NotificationError> {
        let value: Value = serde_json::from_str(text).map_err(|_| NotificationError)?;
        let text = |name: &str, most: usize| {
            let text = match value.get(name)? {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => return None,
            };
            (1..=most).contains(&text.len()).then_some(text)
        };
        let read = || {
            let channel = text("channel", MAX_MEMBER)?;
            let priority = match value.get("priority") {
                None | Some(Value::Null) => "NORMAL",
                Some(_) => known(&PRIORITIES, &text("priority", MAX_MEMBER)?)?,
            };
            Some(Self {
                order_id: text("orderId", MAX_MEMBER)?,
                channel: known(&CHANNELS, &channel)?,
                recipient: text("recipient", MAX_MEMBER)?,
                message: text("message", MAX_MESSAGE)?,
                priority,
            })
        };
        read().ok_or(NotificationError)
    }
}

fn known(all: &[&'static str], text: &str) -> Option<&'static str> {
    let same = |known: &&&'static str| known.eq_ignore_ascii_case(text);
    all.iter().find(same).copied()
}

impl Events {
    /// As `config` says; the broker shows this node as `node`.
    pub(super) fn new(config: &StoConfig, node: &str) -> Option<Self> {
        let address = config.broker_url.as_ref()?.parse()?;
        Some(Self {
            link: Link::new(
                address,
                format!("fanfare-{node}/sto"),
                "The CRM hears of orders later.",
            ),
            outbox: Outbox::new(usize::try_from(config.outbox).unwrap_or(usize::MAX)),
            prefetch: config.prefetch,
            dead_letters: config.dead_letters,
            reserved: AtomicU64::new(0),
            dead: AtomicU64::new(0),
        })
    }

    /// Keeps the connection up until `stop`.
    pub(super) async fn keep(&self, sto: &Arc<Sto>, stop: &CancellationToken) {
        let work = |session: Session| async move {
            match Box::pin(self.work(sto, &session)).await {
                Ok(never) => match never {},
                Err(trouble) => trouble,
            }
        };
        self.link.keep(stop, work).await;
    }

    /// Waits until the broker has everything that it is to get.
    pub(super) async fn emptied(&self) {
        self.outbox.emptied().await;
    }

    /// What is wrong, for anybody.
    pub(super) fn missing(&self) -> Option<String> {
        self.link.missing()
    }

    pub(super) fn figures(&self) -> Vec<Figure> {
        let link = self.link.state();
        let outbox = self.outbox.figures();
        vec![
            Figure::gauge(
                "fanfare_sto_broker_connected",
                "1 while the broker is connected.",
                link.is_connected.into(),
            ),
            Figure::total(
                "fanfare_sto_broker_failures_total",
                "Times that the broker could not be connected, or was lost.",
                link.failures,
            ),
            Figure::gauge(
                "fanfare_sto_amqp_waiting",
                "Messages that wait for the broker.",
                outbox.waiting as u64,
            ),
            Figure::total(
                "fanfare_sto_amqp_confirmed_total",
                "Messages that the broker has confirmed.",
                outbox.confirmed,
            ),
            Figure::total(
                "fanfare_sto_amqp_unroutable_total",
                "Messages among them whose queue was not there.",
                outbox.unroutable,
            ),
            Figure::total(
                "fanfare_sto_amqp_refused_total",
                "Messages that found too many waiting.",
                outbox.refused,
            ),
            Figure::total(
                "fanfare_sto_reservations_total",
                "Reservations of parts that mechanics were told of.",
                self.reserved.load(Ordering::Relaxed),
            ),
            Figure::total(
                "fanfare_sto_dead_letters_total",
                "Messages of the CRM that mean nothing.",
                self.dead.load(Ordering::Relaxed),
            ),
        ]
    }

    fn send(&self, queue: &str, body: String) -> Result<(), Full> {
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(2)
            .with_timestamp(Moment::now().unix_seconds());
        self.outbox.push(Letter {
            exchange: String::new(),
            routing_key: queue.to_owned(),
            body: body.into(),
            properties,
            is_mandatory: true,
        })
    }

    /// Works over one session until it is over.
    async fn work(&self, sto: &Arc<Sto>, session: &Session) -> Result<Infallible, Trouble> {
        let channel = session.channel().await?;
        let durable = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let own = (self.dead_letters == DeadLetters::App).then_some(DEAD);
        for queue in [CREATED, COMPLETED, NOTIFICATIONS, RESERVED]
            .into_iter()
            .chain(own)
        {
            within(channel.queue_declare(queue.into(), durable, FieldTable::default())).await?;
        }
        within(channel.basic_qos(self.prefetch, BasicQosOptions::default())).await?;
        // For dead letters.
        within(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let consumer = within(channel.basic_consume(
            RESERVED.into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        ))
        .await?;
        let hear = async {
            let mut deliveries = consumer;
            while let Some(delivery) = deliveries.next().await {
                self.hear(sto, &channel, delivery?).await?;
            }
            Err(Trouble::Lost("the consumer was cancelled".to_owned()))
        };
        tokio::select! {
            ended = hear => ended,
            ended = self.outbox.send(session) => ended,
        }
    }

    /// One message of the CRM: acknowledged when everybody has heard of it.
    async fn hear(
        &self,
        sto: &Arc<Sto>,
        channel: &Channel,
        delivery: Delivery,
    ) -> Result<(), Trouble> {
        match sto.reserved(&delivery.data).await {
            Ok(()) => {
                self.reserved.fetch_add(1, Ordering::Relaxed);
                within(delivery.ack(BasicAckOptions::default())).await?;
            }
            Err(Unheard::Meaningless(error)) => {
                self.dead.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, queue = RESERVED, "a message means nothing");
                self.bury(channel, &delivery, &error).await?;
            }
            Err(Unheard::Later(error)) => {
                tracing::warn!(error, queue = RESERVED, "a message is taken again");
                tokio::time::sleep(PAUSE).await;
                let options = BasicNackOptions {
                    requeue: true,
                    ..BasicNackOptions::default()
                };
                within(delivery.nack(options)).await?;
            }
        }
        Ok(())
    }

    async fn bury(
        &self,
        channel: &Channel,
        delivery: &Delivery,
        error: &str,
    ) -> Result<(), Trouble> {
        match self.dead_letters {
            DeadLetters::Policy => {
                within(delivery.reject(BasicRejectOptions { requeue: false })).await?;
                return Ok(());
            }
            DeadLetters::Drop => {}
            DeadLetters::App => {
                // Of its own only what it is: the broker would act on the rest (CC, user_id,
                // expiration).
                let mut headers = FieldTable::default();
                let error: String = error.chars().take(MAX_ERROR).collect();
                let text = |text: &str| AMQPValue::LongString(text.into());
                headers.insert(ShortString::from("x-error"), text(&error));
                headers.insert(ShortString::from("x-source-queue"), text(RESERVED));
                let mut properties = BasicProperties::default()
                    .with_headers(headers)
                    .with_delivery_mode(2);
                if let Some(kind) = delivery.properties.content_type() {
                    properties = properties.with_content_type(kind.clone());
                }
                let sent = within(channel.basic_publish(
                    "".into(),
                    DEAD.into(),
                    BasicPublishOptions {
                        mandatory: true,
                        ..BasicPublishOptions::default()
                    },
                    &delivery.data,
                    properties,
                ))
                .await?;
                // Unconfirmed, it stays where it is.
                if !matches!(within(sent).await?, Confirmation::Ack(None)) {
                    return Err(Trouble::Refused(format!("a message for {DEAD}")));
                }
            }
        }
        within(delivery.ack(BasicAckOptions::default())).await?;
        Ok(())
    }
}

/// Why a message has no effect.
enum Unheard {
    /// It never will have one.
    Meaningless(String),
    /// There was no room for it.
    Later(String),
}

impl Sto {
    /// Tells the CRM of a new order.
    pub(super) fn announce_created(&self, order: &Order) -> Result<(), Unsent> {
        let Some(events) = &self.events else {
            return Ok(());
        };
        Ok(events.send(CREATED, created(order))?)
    }

    /// Tells it that an order is done.
    pub(super) fn announce_completed(&self, order: &Order) -> Result<(), Unsent> {
        let Some(events) = &self.events else {
            return Ok(());
        };
        Ok(events.send(COMPLETED, completed(order))?)
    }

    /// Has the CRM tell a customer something.
    pub(super) fn send_notification(&self, notification: &Notification) -> Result<(), Unsent> {
        let events = self.events.as_ref().ok_or(Unsent::NoBroker)?;
        let body = serde_json::to_string(notification).unwrap_or_default();
        Ok(events.send(NOTIFICATIONS, body)?)
    }

    /// Parts are reserved for an order: mechanics hear of it.
    async fn reserved(&self, body: &[u8]) -> Result<(), Unheard> {
        if body.len() > MAX_RESERVED {
            let reason = format!("it has more than {MAX_RESERVED} bytes");
            return Err(Unheard::Meaningless(reason));
        }
        let told: Reserved<'_> = serde_json::from_slice(body)
            .map_err(|error| Unheard::Meaningless(error.to_string()))?;
        if !told.items.get().starts_with('[') {
            return Err(Unheard::Meaningless("items is no list".to_owned()));
        }
        let id = match &told.order_id {
            Value::String(id) => id.clone(),
            Value::Number(id) => id.to_string(),
            _ => return Err(Unheard::Meaningless("orderId is no id".to_owned())),
        };
        let app = self.ground.app().await;
        let app = app.map_err(|error| Unheard::Later(error.to_string()))?;
        // Mechanics without a zone hear of it even if the order is not known.
        let order = self.orders.find(&id).await;
        let order = order.map_err(|error| Unheard::Later(error.to_string()))?;
        let zone = order.as_ref().map_or("", Order::zone);
        let amount = told.total_amount.map_or("null", RawValue::get);
        let data = format!(
            r#"{{"orderId":{},"items":{},"totalAmount":{amount},"timestamp":"{}""#,
            json!(id),
            told.items.get(),
            Moment::now().text()
        );
        self.tell_mechanics(&app, zone, "inventory_reserved", &data)
            .map_err(|error| Unheard::Later(error.to_string()))
    }
}

/// `{orderId, customerId?, phone, customerName?, zone, workType, queueNumber, status,
/// createdAt}`, in this order.
fn created(order: &Order) -> String {
    let members = order.members();
    let mut body = Body::new();
    body.put("orderId", &order.id().into());
    body.put_known("customerId", members.get("customerId"));
    body.put("phone", &order.phone().into());
    body.put_known("customerName", members.get("customerName"));
    for name in ["zone", "workType", "queueNumber", "status", "createdAt"] {
        body.put_known(name, members.get(name));
    }
    body.end()
}

/// `{orderId, customerId?, completedAt, totalDuration, zone, workType}`, in this order.
fn completed(order: &Order) -> String {
    let members = order.members();
    let at = |name: &str| {
        members
            .get(name)
            .and_then(Value::as_str)
            .and_then(Moment::parse)
    };
    let end = at("completedAt").unwrap_or_else(Moment::now);
    let minutes = at("startedAt").map_or(0, |begin| end.minutes_since(begin));
    let mut body = Body::new();
    body.put("orderId", &order.id().into());
    body.put_known("customerId", members.get("customerId"));
    body.put("completedAt", &end.text().into());
    body.put("totalDuration", &minutes.into());
    body.put_known("zone", members.get("zone"));
    body.put_known("workType", members.get("workType"));
    body.end()
}

/// An object whose members keep their order.
struct Body(String);

impl Body {
    fn new() -> Self {
        Self("{".to_owned())
    }

    fn put(&mut self, name: &str, value: &Value) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&format!("{}:{value}", json!(name)));
    }

    /// Nothing for what is not there, as JavaScript leaves out what is undefined.
    fn put_known(&mut self, name: &str, value: Option<&Value>) {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            self.put(name, value);
        }
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crm_gets_the_bodies_that_it_knows() {
        let order = json!({
            "id": "o1", "zone": "reception", "workType": "repair", "status": "completed",
            "queueNumber": 7, "customerPhone": "+992", "customerName": null,
            "customerId": "c1", "createdAt": "2026-11-25T08:00:00.000Z",
            "startedAt": "2026-11-25T08:00:30.000Z", "completedAt": "2026-11-25T09:00:29.000Z",
        });
        let order = Order::parse(&order.to_string()).unwrap();

        assert_eq!(
            created(&order),
            r#"{"orderId":"o1","customerId":"c1","phone":"+992","zone":"reception","workType":"repair","queueNumber":7,"status":"completed","createdAt":"2026-11-25T08:00:00.000Z"}"#
        );
        assert_eq!(
            completed(&order),
            r#"{"orderId":"o1","customerId":"c1","completedAt":"2026-11-25T09:00:29.000Z","totalDuration":59,"zone":"reception","workType":"repair"}"#
        );
    }

    #[test]
    fn a_notification_names_one_of_four_ways() {
        let notification = |channel: &str, priority: &str| {
            Notification::parse(&format!(
                r#"{{"orderId":"o","channel":"{channel}","recipient":"+992","message":"m"{priority}}}"#
            ))
        };

        let parsed = notification("whatsapp", r#","priority":"high""#).unwrap();
        assert_eq!((parsed.channel, parsed.priority), ("WhatsApp", "HIGH"));
        assert_eq!(notification("SMS", "").unwrap().priority, "NORMAL");
        for (channel, priority) in [
            ("Pigeon", ""),
            ("", ""),
            ("SMS", r#","priority":"SOON""#),
            ("SMS", r#","priority":{}"#),
        ] {
            assert!(
                notification(channel, priority).is_err(),
                "{channel} {priority}"
            );
        }
        assert!(Notification::parse("[]").is_err());
    }
}
