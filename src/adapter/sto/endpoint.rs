//! The paths of the car service: hooks of the order service, statistics, customers.
//!
//! | path | who | what |
//! | --- | --- | --- |
//! | `POST /adapters/sto/v1/auth` | pages | signs a subscription |
//! | `POST /adapters/sto/v1/orders/created` | order service | an order is new |
//! | `POST /adapters/sto/v1/orders/status-changed` | order service | it has another status |
//! | `POST /adapters/sto/v1/notifications` | order service | a customer is to be told |
//! | `POST /adapters/sto/v1/displays/refresh` | order service | the displays are to be told now |
//! | `GET /adapters/sto/v1/stats` | order service, administrators | who is there |
//! | `GET /public/queue/status/ID?phone=…` | customers | how far an order is |
//! | `GET /adapters/sto/board`, `…/mechanic`, `/queue/status/ID` | anybody | the pages |

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use fanfare_protocol::request::SignedQuery;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::displays::{self, Which};
use super::events::{Notification, NotificationError, Unsent};
use super::filters::NoFilters;
use super::orders::{NoOrder, Order, OrdersError};
use super::page::{self, PageSettings};
use super::{Sto, tracking};
use crate::adapter::auth::bearer;
use crate::adapter::auth::origins::{Visitor, preflight};
use crate::adapter::refusal::refusal;
use crate::apps::App;
use crate::http::{Answer, BodyFault, Peer, value_answer, whole_body};
use crate::hub::ChannelFull;
use crate::hub::engine::EngineError;

/// Bytes of a body.
const MAX_BODY: usize = 256 << 10;

/// Where the paths of the adapter begin.
const PREFIX: &str = "/adapters/sto/";

/// Where those of customers begin.
const PUBLIC: &str = "/public/queue/";

/// Where the pages of customers begin.
const PAGES: &str = "/queue/status/";

/// The role that may see the statistics.
const ADMIN: [&str; 1] = ["admin"];

/// What a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Route {
    Authorise,
    Created,
    StatusChanged,
    Notify,
    Refresh,
    Stats,
    Status(String),
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("Cannot find this path")]
    Path,
    #[error("Method not allowed: expected {0}")]
    Method(Method),
    #[error("Pages of this origin may not ask: auth.allowed_origins does not name it")]
    Origin,
    #[error("The body exceeds the allowed maximum ({MAX_BODY} bytes)")]
    BodyTooLarge,
    #[error("The body did not arrive")]
    BodyIncomplete,
    #[error("The body is not what was expected: {0}")]
    Body(String),
    #[error("{0}")]
    Order(#[from] NoOrder),
    #[error("orderId is not the id of the order")]
    OtherOrder,
    #[error("{0}")]
    Filters(#[from] NoFilters),
    #[error("{0}")]
    Notification(#[from] NotificationError),
    #[error("{0}")]
    Unsent(#[from] Unsent),
    #[error(
        "socket_id is missing or not the id of a connection: expected the form fields of pusher-js"
    )]
    SocketId,
    #[error("channel_name is not a channel of the car service")]
    Channel,
    #[error("displayId is not the one of the channel, or too long")]
    DisplayId,
    #[error("There is no order with this id and this telephone")]
    NoOrder,
    #[error(
        "Unauthorized: expected adapters.sto.webhook_token as X-Webhook-Token, or a signature with the app's secret"
    )]
    Unauthorized,
    #[error("Unauthorized: expected a JWT as Authorization: Bearer")]
    NoPerson,
    #[error("The role of this token may not do this")]
    Forbidden,
    #[error("Too many requests")]
    TooMany,
    #[error("{0}")]
    Full(#[from] ChannelFull),
    #[error("{0}")]
    Engine(#[from] EngineError),
    #[error("The orders cannot be read at the moment")]
    Orders(#[from] OrdersError),
    #[error("The app of adapters.sto.app is not there or disabled")]
    App,
}

#[derive(Deserialize)]
struct Created<'a> {
    #[serde(borrow)]
    order: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusChanged<'a> {
    order_id: Value,
    new_status: String,
    #[serde(borrow)]
    order: &'a RawValue,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        if let Some(id) = path
            .strip_prefix(PUBLIC)
            .and_then(|rest| rest.strip_prefix("status/"))
        {
            let id = percent_decode_str(id).decode_utf8().ok()?;
            return Some(Self::Status(id.into_owned()));
        }
        Some(match path.strip_prefix(PREFIX)?.strip_prefix("v1/")? {
            "auth" => Self::Authorise,
            "orders/created" => Self::Created,
            "orders/status-changed" => Self::StatusChanged,
            "notifications" => Self::Notify,
            "displays/refresh" => Self::Refresh,
            "stats" => Self::Stats,
            _ => return None,
        })
    }

    fn method(&self) -> Method {
        match self {
            Self::Stats | Self::Status(_) => Method::GET,
            _ => Method::POST,
        }
    }
}

impl Sto {
    /// Whether a path is one of the car service.
    #[must_use]
    pub fn owns(path: &str) -> bool {
        [PREFIX, PUBLIC, PAGES]
            .iter()
            .any(|prefix| path.starts_with(prefix))
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<Incoming>, peer: Peer) -> Answer {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        if is_read && page::owns(request.uri().path()) {
            return self.page(request.uri().path()).await;
        }
        let visitor = self.origins.visitor(&request);
        let mut answer = if matches!(visitor, Visitor::Stranger) {
            Refusal::Origin.into_answer()
        } else if let Some(route) =
            Route::of(request.uri().path()).filter(|_| request.method() == Method::OPTIONS)
        {
            preflight(request.headers(), &route.method())
        } else {
            match self.try_handle(request, peer).await {
                Ok(body) => value_answer(StatusCode::OK, &body),
                Err(refusal) => refusal.into_answer(),
            }
        };
        self.origins.share(&mut answer, visitor);
        answer
    }

    /// The pages are the same for everybody, and told the public key of the app.
    async fn page(&self, path: &str) -> Answer {
        let Ok(app) = self.ground.app().await else {
            return Refusal::App.into_answer();
        };
        let settings = PageSettings {
            key: app.keys.last().map_or("", |pair| pair.key.as_str()),
            pusher_js: &self.config.pusher_js,
        };
        page::answer(path, settings).unwrap_or_else(|| Refusal::Path.into_answer())
    }

    async fn try_handle(&self, request: Request<Incoming>, peer: Peer) -> Result<Value, Refusal> {
        let (head, body) = request.into_parts();
        let route = Route::of(head.uri.path()).ok_or(Refusal::Path)?;
        let expected = route.method();
        let is_head = head.method == Method::HEAD && expected == Method::GET;
        if head.method != expected && !is_head {
            return Err(Refusal::Method(expected));
        }
        let app = self.ground.app().await.map_err(|_| Refusal::App)?;
        match &route {
            Route::Authorise => {
                if !self.requests.take(peer.address) {
                    return Err(Refusal::TooMany);
                }
                let body = whole_body(body, MAX_BODY).await?;
                return self.authorise(&app, &head.headers, peer, &body).await;
            }
            Route::Status(id) => {
                if !self.requests.take(peer.address) {
                    return Err(Refusal::TooMany);
                }
                let query = head.uri.query().unwrap_or_default();
                let phone = form_urlencoded::parse(query.as_bytes())
                    .find(|(name, _)| name == "phone")
                    .map(|(_, phone)| phone.into_owned());
                let order = self.followed(id, &phone.unwrap_or_default(), peer).await?;
                let today = self.orders.today().await?;
                return Ok(tracking::status(&order, &today));
            }
            Route::Stats if bearer(&head.headers).is_some() => {
                self.person(&head.headers, peer, &ADMIN).await?;
                return self.stats(&app).await;
            }
            _ => {}
        }
        // Before anything of it is read: it has guessed too often.
        if !self.failures.may_authorize(peer.address) {
            return Err(Refusal::TooMany);
        }
        let query = self.check_caller(&app, &head).inspect_err(|_| {
            self.counts.refused.count();
            self.failures.note_failure(peer.address);
        })?;
        let body = whole_body(body, MAX_BODY).await?;
        if let Some(query) = query {
            query
                .verify_body(&body)
                .map_err(|_| Refusal::Unauthorized)?;
        }
        match route {
            Route::Stats => self.stats(&app).await,
            Route::Created => {
                let body: Created<'_> = parse(&body)?;
                let order = Order::parse(body.order.get())?;
                self.announce_created(&order)?;
                self.created(&app, &order).await?;
                Ok(json!({"success": true}))
            }
            Route::StatusChanged => {
                let body: StatusChanged<'_> = parse(&body)?;
                let order = Order::parse(body.order.get())?;
                let id = match &body.order_id {
                    Value::String(id) => id.clone(),
                    id => id.to_string(),
                };
                if id != order.id() {
                    return Err(Refusal::OtherOrder);
                }
                let order = order.with_status(&body.new_status);
                if order.has_status("completed") {
                    self.announce_completed(&order)?;
                }
                self.status_changed(&app, &order, &body.new_status).await?;
                Ok(json!({"success": true}))
            }
            Route::Notify => {
                let text =
                    std::str::from_utf8(&body).map_err(|error| Refusal::Body(error.to_string()))?;
                self.send_notification(&Notification::parse(text)?)?;
                Ok(json!({"success": true}))
            }
            Route::Refresh => {
                self.tell_displays(&app, Which::All).await;
                Ok(json!({"success": true, "displayCount": self.displays.count()}))
            }
            Route::Authorise | Route::Status(_) => Err(Refusal::Path),
        }
    }

    /// Whether a request comes from the order service. A signed one is only proven
    /// when its body fits.
    fn check_caller<'a>(
        &self,
        app: &App,
        head: &'a Parts,
    ) -> Result<Option<SignedQuery<'a>>, Refusal> {
        if let Some(sent) = head.headers.get("x-webhook-token") {
            let sent = sent.to_str().map_err(|_| Refusal::Unauthorized)?;
            let is_right = self.token.as_ref().is_some_and(|token| token.is(sent));
            return is_right.then_some(None).ok_or(Refusal::Unauthorized);
        }
        let unauthorized = |_| Refusal::Unauthorized;
        let query =
            SignedQuery::parse(head.uri.query().unwrap_or_default()).map_err(unauthorized)?;
        let key = query.auth_key().map_err(unauthorized)?;
        let secret = app.secret_of(key.as_str()).ok_or(Refusal::Unauthorized)?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        query
            .verify_head(head.method.as_str(), head.uri.path(), secret, now)
            .map_err(unauthorized)?;
        Ok(Some(query))
    }

    /// Who is there, on all nodes. What a display shows is known where it is.
    async fn stats(&self, app: &Arc<App>) -> Result<Value, Refusal> {
        let here = self.ground.here(app);
        let engine = self.ground.engine();
        let displays = engine.channels(&here, displays::PREFIX).await?;
        let mechanics = engine.users(&here, &self.mechanics).await?;
        let displays: Vec<Value> = displays
            .iter()
            .filter_map(|occupancy| {
                let id = displays::id_of(&occupancy.channel)?;
                let filters = self.displays.filters(&occupancy.channel);
                Some(json!({"displayId": id, "filters": filters}))
            })
            .collect();
        let mechanics: Vec<Value> = mechanics
            .iter()
            .map(|user_id| {
                let member = here.member(&self.mechanics, user_id);
                let info = member.and_then(|member| member.user_info);
                let info: Value = info
                    .and_then(|info| serde_json::from_str(info.get()).ok())
                    .unwrap_or_default();
                json!({"mechanicId": user_id.as_str(), "zone": info["zone"]})
            })
            .collect();
        Ok(json!({
            "displayCount": displays.len(),
            "mechanicCount": mechanics.len(),
            "displays": displays,
            "mechanics": mechanics,
        }))
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::Body(error.to_string()))
}

impl From<BodyFault> for Refusal {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge => Self::BodyTooLarge,
            BodyFault::Incomplete | BodyFault::TooSlow => Self::BodyIncomplete,
        }
    }
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Path | Self::NoOrder => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyIncomplete
            | Self::Body(_)
            | Self::Order(_)
            | Self::OtherOrder
            | Self::Filters(_)
            | Self::Notification(_)
            | Self::SocketId
            | Self::Channel
            | Self::DisplayId => StatusCode::BAD_REQUEST,
            Self::Unauthorized | Self::NoPerson => StatusCode::UNAUTHORIZED,
            Self::Origin | Self::Forbidden => StatusCode::FORBIDDEN,
            Self::TooMany | Self::Full(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unsent(_) | Self::Engine(_) | Self::Orders(_) | Self::App => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    fn into_answer(self) -> Answer {
        let status = self.status();
        let allowed = match &self {
            Self::Method(expected) => Some(expected),
            _ => None,
        };
        let retry_after = match status {
            _ if matches!(self, Self::TooMany) => Some(60),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Some(1),
            _ => None,
        };
        refusal(status, &self.to_string(), allowed, retry_after)
    }
}
