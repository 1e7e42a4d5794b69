//! What a back end broadcasts: reads the body of a request and says which events go
//! to which rooms. Does no IO; what an order was before is passed in.
//!
//! Bodies are those of the service that this one takes the place of. A call or an
//! order reaches the clients as it was written: numbers keep their digits and
//! members their order.

use fanfare_protocol::{ChannelName, Limits, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::adapter::auth::room;

/// Rooms that one request may name.
const MAX_ROOMS: usize = 100;

/// What `severity` of a notification may be; the first when it has none.
const SEVERITIES: [&str; 4] = ["info", "warning", "error", "success"];

/// Bytes of an order's id, of its master and of its status that are remembered; what
/// is longer is none of these.
const MAX_REMEMBERED: usize = 256;

/// Segments of rooms that stand for nobody: what JavaScript makes of a value that is
/// not there.
const NOBODY: [&str; 3] = ["", "undefined", "null"];

/// What is broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    CallNew,
    CallUpdated,
    CallEnded,
    OrderNew,
    OrderUpdated,
    OrderMasterAssigned,
    OrderStatusChanged,
    Notification,
}

/// Why a body is refused. The texts are for the developer of a back end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is not a JSON object with the members of a broadcast")]
    NotAnObject,
    #[error("{0} must be an object")]
    Missing(&'static str),
    #[error("{0} must be a text or a number")]
    BadId(&'static str),
    #[error("rooms must be a list of at most {MAX_ROOMS} texts")]
    Rooms,
    #[error("the name of room {0:?} is too long")]
    RoomTooLong(String),
    #[error("userId cannot be the id of a user who is signed in")]
    UserId,
    #[error("type and message of a notification must be texts")]
    Notification,
    #[error("severity must be one of info, warning, error, success")]
    Severity,
    #[error("the data exceeds the allowed maximum ({limit} bytes)")]
    TooLarge { limit: usize },
}

/// The members that any body may have.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    token: Option<Value>,
    #[serde(borrow)]
    call: Option<&'a RawValue>,
    #[serde(borrow)]
    order: Option<&'a RawValue>,
    #[serde(borrow)]
    notification: Option<&'a RawValue>,
    user_id: Option<Value>,
    rooms: Option<Value>,
    master_name: Option<Value>,
}

/// A body, read as far as every kind of broadcast has it.
pub(super) struct Body<'a>(Members<'a>);

/// An event, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) name: &'static str,
    /// JSON text of an object.
    pub(super) data: String,
    pub(super) audience: Audience,
}

/// The rooms of an event, and their channels in the same order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Audience {
    pub(super) rooms: Vec<String>,
    pub(super) channels: Vec<ChannelName>,
    /// Rooms that stand for nobody.
    pub(super) ignored: u64,
}

/// An order, and what of it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) id: String,
    pub(super) state: OrderState,
}

/// What further events are told from, as JSON texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OrderState {
    /// Absent: nobody, or not said.
    pub(super) master: Option<String>,
    pub(super) status: Option<String>,
}

/// What one request makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broadcast {
    pub(super) event: Event,
    /// Set where what was known before decides about further events.
    pub(super) order: Option<Order>,
}

impl Kind {
    /// The kind that the last segment of a path names.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "call-new" => Self::CallNew,
            "call-updated" => Self::CallUpdated,
            "call-ended" => Self::CallEnded,
            "order-new" => Self::OrderNew,
            "order-updated" => Self::OrderUpdated,
            "order-master-assigned" => Self::OrderMasterAssigned,
            "order-status-changed" => Self::OrderStatusChanged,
            "notification" => Self::Notification,
            _ => return None,
        })
    }

    /// What the answer says.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::CallNew => "New call broadcasted",
            Self::CallUpdated => "Call update broadcasted",
            Self::CallEnded => "Call end broadcasted",
            Self::OrderNew => "New order broadcasted",
            Self::OrderUpdated => "Order update broadcasted",
            Self::OrderMasterAssigned => "Order master assignment broadcasted",
            Self::OrderStatusChanged => "Order status change broadcasted",
            Self::Notification => "Notification broadcasted",
        }
    }

    fn event(self) -> &'static str {
        match self {
            Self::CallNew => "call:new",
            Self::CallUpdated => "call:updated",
            Self::CallEnded => "call:ended",
            Self::OrderNew => "order:new",
            Self::OrderUpdated => "order:updated",
            Self::OrderMasterAssigned => "order:master-assigned",
            Self::OrderStatusChanged => "order:status-changed",
            Self::Notification => "notification",
        }
    }

    /// Where it goes when a request names no rooms.
    fn default_rooms(self) -> &'static [&'static str] {
        match self {
            Self::CallNew
            | Self::CallUpdated
            | Self::CallEnded
            | Self::OrderMasterAssigned
            | Self::OrderStatusChanged => &["operators"],
            Self::OrderNew | Self::OrderUpdated => &["operators", "directors"],
            Self::Notification => &["all"],
        }
    }
}

impl<'a> Body<'a> {
    /// Reads the body of any broadcast.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, BodyError> {
        serde_json::from_slice(text)
            .map(Self)
            .map_err(|_| BodyError::NotAnObject)
    }

    /// What the back end says to prove itself.
    pub(super) fn token(&self) -> &str {
        let token = self.0.token.as_ref();
        token.and_then(Value::as_str).unwrap_or_default()
    }

    /// What it asks for. `event_id` marks an event of more than one channel, so that
    /// a client in several rooms takes it for one; `now` is for a notification
    /// without a time.
    pub(super) fn broadcast(
        &self,
        kind: Kind,
        limits: &Limits,
        event_id: &str,
        now: &str,
    ) -> Result<Broadcast, BodyError> {
        if kind == Kind::Notification {
            let event = self.notification(limits, event_id, now)?;
            return Ok(Broadcast { event, order: None });
        }
        let (raw, name) = match kind {
            Kind::CallNew | Kind::CallUpdated | Kind::CallEnded => (self.0.call, "call"),
            _ => (self.0.order, "order"),
        };
        let (text, object) = object(raw, name)?;
        let mut audience = self.audience(kind, limits)?;
        let mut order = None;
        match kind {
            Kind::CallNew | Kind::CallUpdated | Kind::CallEnded => {
                audience.add("operator", id(&object, "operatorId")?, limits)?;
            }
            Kind::OrderNew | Kind::OrderUpdated => {
                audience.add("city", id(&object, "city")?, limits)?;
                audience.add("master", id(&object, "masterId")?, limits)?;
                let order_id = id(&object, "id")?;
                if kind == Kind::OrderUpdated {
                    audience.add("order", order_id.clone(), limits)?;
                }
                let state = OrderState::of(&object);
                order = order_id
                    .filter(|id| id.len() <= MAX_REMEMBERED)
                    .map(|id| Order { id, state });
            }
            _ => {
                let order_id = id(&object, "orderId")?.or(id(&object, "id")?);
                audience.add("order", order_id, limits)?;
                audience.add("master", id(&object, "masterId")?, limits)?;
            }
        }
        let event = Event::new(kind, text, &object, audience, event_id, limits)?;
        Ok(Broadcast { event, order })
    }

    /// What an update of an order means beyond itself: another master, another
    /// status than `before`. Each event has an id of its own.
    pub(super) fn derived(
        &self,
        order: &Order,
        before: &OrderState,
        limits: &Limits,
        event_id: impl Fn() -> String,
    ) -> Result<Vec<Event>, BodyError> {
        let (_, object) = object(self.0.order, "order")?;
        let mut audience = Audience::default();
        audience.add("order", Some(order.id.clone()), limits)?;
        audience.add("master", id(&object, "masterId")?, limits)?;
        for room in Kind::OrderMasterAssigned.default_rooms() {
            audience.add_room(room, limits)?;
        }
        // Those of the update are counted with it.
        audience.ignored = 0;
        let event = |kind: Kind, data: Map<String, Value>| {
            let text = Value::Object(data.clone()).to_string();
            Event::new(kind, &text, &data, audience.clone(), &event_id(), limits)
        };
        let value = |member: &str| object.get(member).cloned().unwrap_or_default();
        let mut events = Vec::new();
        if order.state.master.is_some() && order.state.master != before.master {
            let mut data = Map::new();
            data.insert("orderId".to_owned(), value("id"));
            data.insert("masterId".to_owned(), value("masterId"));
            let name = object.get("masterName").or(self.0.master_name.as_ref());
            data.extend(name.map(|name| ("masterName".to_owned(), name.clone())));
            events.push(event(Kind::OrderMasterAssigned, data)?);
        }
        if let (Some(status), Some(old)) = (&order.state.status, &before.status)
            && status != old
        {
            let old: Value = serde_json::from_str(old).unwrap_or_default();
            let data = json!({"orderId": value("id"), "oldStatus": old, "newStatus": value("statusOrder")});
            let data = data.as_object().cloned().unwrap_or_default();
            events.push(event(Kind::OrderStatusChanged, data)?);
        }
        Ok(events)
    }

    fn notification(&self, limits: &Limits, event_id: &str, now: &str) -> Result<Event, BodyError> {
        let (_, mut object) = object(self.0.notification, "notification")?;
        let is_text = |member: &str| object.get(member).is_some_and(Value::is_string);
        if !is_text("type") || !is_text("message") {
            return Err(BodyError::Notification);
        }
        let severity = object.entry("severity").or_insert(Value::Null);
        match severity {
            Value::Null => *severity = SEVERITIES[0].into(),
            Value::String(severity) if SEVERITIES.contains(&severity.as_str()) => {}
            _ => return Err(BodyError::Severity),
        }
        let timestamp = object.entry("timestamp").or_insert(Value::Null);
        if timestamp.is_null() {
            *timestamp = now.into();
        }
        let audience = match &self.0.user_id {
            None | Some(Value::Null) => self.audience(Kind::Notification, limits)?,
            Some(user_id) => {
                let user = text(user_id).ok_or(BodyError::UserId)?;
                let channel = ChannelName::server_to_user(&UserId::new(&user));
                let channel =
                    ChannelName::parse(channel.as_str(), limits).map_err(|_| BodyError::UserId)?;
                Audience {
                    rooms: vec![format!("user:{user}")],
                    channels: vec![channel],
                    ignored: 0,
                }
            }
        };
        let text = Value::Object(object.clone()).to_string();
        Event::new(
            Kind::Notification,
            &text,
            &object,
            audience,
            event_id,
            limits,
        )
    }

    /// The rooms of the body, or those that the kind has.
    fn audience(&self, kind: Kind, limits: &Limits) -> Result<Audience, BodyError> {
        let mut audience = Audience::default();
        match &self.0.rooms {
            None | Some(Value::Null) => {
                for room in kind.default_rooms() {
                    audience.add_room(room, limits)?;
                }
            }
            Some(Value::Array(rooms)) if rooms.len() <= MAX_ROOMS => {
                for room in rooms {
                    let room = room.as_str().ok_or(BodyError::Rooms)?;
                    audience.add_room(room, limits)?;
                }
            }
            Some(_) => return Err(BodyError::Rooms),
        }
        Ok(audience)
    }
}

impl Audience {
    /// The room of a person or a thing, if there is one.
    fn add(&mut self, kind: &str, id: Option<String>, limits: &Limits) -> Result<(), BodyError> {
        match id {
            Some(id) => self.add_room(&format!("{kind}:{id}"), limits),
            None => Ok(()),
        }
    }

    /// A room is taken once, however often it is named.
    fn add_room(&mut self, room: &str, limits: &Limits) -> Result<(), BodyError> {
        if room.split(':').any(|segment| NOBODY.contains(&segment)) {
            self.ignored += 1;
            return Ok(());
        }
        let too_long = || BodyError::RoomTooLong(room.chars().take(50).collect());
        // A shorter name may become longer, but not the other way round by so much.
        if room.len() > 4 * limits.channel_name_length {
            return Err(too_long());
        }
        let channel = format!("private-{}", room::encode(room));
        let channel = ChannelName::parse(&channel, limits).map_err(|_| too_long())?;
        if !self.channels.contains(&channel) {
            self.channels.push(channel);
            self.rooms.push(room.to_owned());
        }
        Ok(())
    }
}

impl Event {
    /// `text` is that of `object`.
    fn new(
        kind: Kind,
        text: &str,
        object: &Map<String, Value>,
        audience: Audience,
        event_id: &str,
        limits: &Limits,
    ) -> Result<Self, BodyError> {
        let is_marked = object.contains_key("_eid");
        let data = match text.trim().strip_prefix('{') {
            Some(rest) if audience.channels.len() > 1 && !is_marked => {
                let comma = if object.is_empty() { "" } else { "," };
                format!("{{\"_eid\":\"{event_id}\"{comma}{rest}")
            }
            _ => text.to_owned(),
        };
        if data.len() > limits.event_data_bytes {
            return Err(BodyError::TooLarge {
                limit: limits.event_data_bytes,
            });
        }
        Ok(Self {
            name: kind.event(),
            data,
            audience,
        })
    }
}

impl OrderState {
    fn of(order: &Map<String, Value>) -> Self {
        let text = |member: &str| {
            order
                .get(member)
                .filter(|value| !value.is_null())
                .map(Value::to_string)
                .filter(|text| text.len() <= MAX_REMEMBERED)
        };
        Self {
            master: text("masterId"),
            status: text("statusOrder"),
        }
    }
}

fn object<'a>(
    raw: Option<&'a RawValue>,
    name: &'static str,
) -> Result<(&'a str, Map<String, Value>), BodyError> {
    let raw = raw.ok_or(BodyError::Missing(name))?;
    let object = serde_json::from_str(raw.get()).map_err(|_| BodyError::Missing(name))?;
    Ok((raw.get(), object))
}

/// The id in a member; none for nothing and null.
fn id(object: &Map<String, Value>, member: &'static str) -> Result<Option<String>, BodyError> {
    match object.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => text(value).map(Some).ok_or(BodyError::BadId(member)),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
