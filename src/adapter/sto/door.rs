//! `POST /adapters/sto/v1/auth`: what pusher-js asks before it subscribes to a channel
//! of the car service.
//!
//! | channel | who may |
//! | --- | --- |
//! | `presence-sto-display;ID` | displays and administrators, or everybody |
//! | `presence-sto-mechanics`, `private-sto-orders`, `private-sto-zone;ZONE` | mechanics and administrators |
//! | `private-sto-order;ID` | who knows the telephone of the order |

use fanfare_protocol::{ChannelName, SocketId, auth};
use hyper::header::HeaderMap;
use serde_json::{Value, json};

use super::endpoint::Refusal;
use super::filters::Filters;
use super::{MECHANICS, ORDERS, Sto, displays, tracking};
use crate::adapter::auth::{Person, bearer, room};
use crate::apps::App;
use crate::http::Peer;

/// Bytes of the id of a display.
const MAX_DISPLAY_ID: usize = 100;

/// Roles of the token of a display.
const DISPLAYS: [&str; 2] = ["admin", "display"];

/// Roles of the token of a mechanic.
const STAFF: [&str; 2] = ["admin", "mechanic"];

impl Sto {
    /// Signs a subscription, if it may be.
    pub(super) async fn authorise(
        &self,
        app: &App,
        headers: &HeaderMap,
        peer: Peer,
        body: &[u8],
    ) -> Result<Value, Refusal> {
        let form = |wanted: &str| {
            form_urlencoded::parse(body)
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.into_owned())
        };
        let socket_id: SocketId = form("socket_id")
            .and_then(|text| text.parse().ok())
            .ok_or(Refusal::SocketId)?;
        let name = form("channel_name").unwrap_or_default();
        let channel = ChannelName::parse(&name, &app.limits).map_err(|_| Refusal::Channel)?;
        let mut person = None;
        let data = if let Some(id) = displays::id_of(&channel) {
            if !self.config.public_displays {
                person = Some(self.person(headers, peer, &DISPLAYS).await?);
            }
            if id.len() > MAX_DISPLAY_ID || form("displayId").is_some_and(|named| named != id) {
                return Err(Refusal::DisplayId);
            }
            let filters = match form("filters") {
                None => Filters::all(),
                Some(text) => {
                    let value: Value = serde_json::from_str(&text).unwrap_or_default();
                    Filters::parse(&value)?
                }
            };
            Some(json!({"user_id": id, "user_info": {"filters": filters}}))
        } else if let Some(id) = tracking::id_of(&channel) {
            self.followed(&id, &form("phone").unwrap_or_default(), peer)
                .await?;
            None
        } else if name == MECHANICS {
            let mechanic = self.person(headers, peer, &STAFF).await?;
            let zone = form("zone").filter(|zone| zone.len() <= MAX_DISPLAY_ID);
            let info = zone.map_or_else(|| json!({}), |zone| json!({"zone": zone}));
            let data = json!({"user_id": mechanic.id, "user_info": info});
            person = Some(mechanic);
            Some(data)
        } else if name == ORDERS || is_zone(&name) {
            person = Some(self.person(headers, peer, &STAFF).await?);
            None
        } else {
            return Err(Refusal::Channel);
        };
        // The newest pair: the oldest are on their way out.
        let pair = app.keys.last().ok_or(Refusal::App)?;
        let data = data.map(|data| data.to_string());
        let text = auth::channel_text(socket_id, channel.as_str(), data.as_deref());
        let signature = match person.filter(|_| self.has_end) {
            Some(person) => auth::sign_until(&pair.secret, &text, person.valid_until),
            None => auth::sign(&pair.secret, &text),
        };
        let mut answer = json!({"auth": format!("{}:{signature}", pair.key)});
        if let Some(data) = data {
            answer["channel_data"] = data.into();
        }
        Ok(answer)
    }

    /// The person that a request comes from, who must have one of `roles`.
    pub(super) async fn person(
        &self,
        headers: &HeaderMap,
        peer: Peer,
        roles: &[&str],
    ) -> Result<Person, Refusal> {
        if !self.failures.may_authorize(peer.address) {
            return Err(Refusal::TooMany);
        }
        let token = bearer(headers).ok_or(Refusal::NoPerson)?;
        let Ok(person) = self.authority.person(&token).await else {
            self.failures.note_failure(peer.address);
            return Err(Refusal::NoPerson);
        };
        let has_role = person
            .roles
            .iter()
            .any(|role| roles.contains(&role.as_str()));
        has_role.then_some(person).ok_or(Refusal::Forbidden)
    }

    /// The order with this id and this telephone. Which of the two is wrong is not
    /// told.
    pub(super) async fn followed(
        &self,
        id: &str,
        phone: &str,
        peer: Peer,
    ) -> Result<super::orders::Order, Refusal> {
        if !self.failures.may_authorize(peer.address) {
            return Err(Refusal::TooMany);
        }
        let order = self.orders.find(id).await?;
        let is_theirs = |order: &super::orders::Order| {
            let known = order.phone().unwrap_or_default();
            tracking::is_same_phone(&known, phone)
        };
        let order = order.filter(is_theirs);
        if order.is_none() {
            self.failures.note_failure(peer.address);
        }
        order.ok_or(Refusal::NoOrder)
    }
}

/// Whether a channel is that of a zone, in the one way in which it is written.
fn is_zone(name: &str) -> bool {
    let zone = |room: &String| {
        let zone = room.strip_prefix("sto-zone:")?.to_owned();
        (!zone.is_empty() && zone == zone.to_lowercase()).then_some(zone)
    };
    name.starts_with("private-")
        && room::of_channel(name)
            .ok()
            .and_then(|room| zone(&room))
            .is_some()
}
