//! The paths of the service: broadcasts of back ends, statistics, health.
//!
//! Requests and answers have the shapes of the service that this one takes the place
//! of; so have errors.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Rooms;
use super::broadcast::{Body, BodyError, Event, Kind, Order};
use crate::adapter::auth::origins::{Visitor, preflight};
use crate::adapter::auth::{bearer, room};
use crate::adapter::ground::event_id;
use crate::adapter::refusal::refusal;
use crate::apps::App;
use crate::http::{Answer, BodyFault, Peer, value_answer, whole_body};
use crate::hub::engine::EngineError;
use crate::hub::{ChannelFull, Origin, Publish, Scope};

/// Bytes of a body.
const MAX_BODY: usize = 256 << 10;

/// Time that an answer waits for what an order was before.
const MEMORY_PATIENCE: Duration = Duration::from_millis(500);

/// The role that may see the statistics.
const DIRECTOR: &str = "director";

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Broadcast(Kind),
    Connections,
    Rooms,
    Health,
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("Cannot find this path")]
    Path,
    #[error("Method not allowed: expected {0}")]
    Method(Method),
    #[error("Pages of this origin may not ask: auth.allowed_origins does not name it")]
    Origin,
    #[error("the body exceeds the allowed maximum ({MAX_BODY} bytes)")]
    BodyTooLarge,
    #[error("the body did not arrive")]
    BodyIncomplete,
    #[error("{0}")]
    Body(#[from] BodyError),
    #[error("Webhook authentication not configured")]
    NoToken,
    #[error("Invalid webhook token")]
    WrongToken,
    #[error("Too many requests")]
    TooMany,
    #[error(
        "Unauthorized: expected the JWT of a director, or the webhook token, as Authorization: Bearer"
    )]
    Unauthorized,
    #[error("Only directors may see this")]
    Forbidden,
    #[error("{0}")]
    Full(#[from] ChannelFull),
    #[error("{0}")]
    Engine(#[from] EngineError),
    #[error("{0:#}")]
    Unavailable(anyhow::Error),
}

impl Route {
    fn method(self) -> Method {
        match self {
            Self::Broadcast(_) => Method::POST,
            Self::Connections | Self::Rooms | Self::Health => Method::GET,
        }
    }
}

impl Rooms {
    /// Whether a path is one of the service.
    #[must_use]
    pub fn owns(path: &str) -> bool {
        path == "/health"
            || path.starts_with("/api/v1/broadcast/")
            || path.starts_with("/api/v1/stats/")
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<Incoming>, peer: Peer) -> Answer {
        let visitor = self.origins.visitor(&request);
        let mut answer = if matches!(visitor, Visitor::Stranger) {
            Refusal::Origin.into_answer()
        } else if let Some(route) =
            route(request.uri().path()).filter(|_| request.method() == Method::OPTIONS)
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

    async fn try_handle(&self, request: Request<Incoming>, peer: Peer) -> Result<Value, Refusal> {
        let (head, body) = request.into_parts();
        let route = route(head.uri.path()).ok_or(Refusal::Path)?;
        let expected = route.method();
        // What holds of GET holds of HEAD.
        let is_head = head.method == Method::HEAD && expected == Method::GET;
        if head.method != expected && !is_head {
            return Err(Refusal::Method(expected));
        }
        match route {
            Route::Broadcast(kind) => {
                // Before anything of it is read: it has guessed too often.
                if !self.failures.may_authorize(peer.address) {
                    return Err(Refusal::TooMany);
                }
                let body = whole_body(body, MAX_BODY)
                    .await
                    .map_err(|fault| match fault {
                        BodyFault::TooLarge => Refusal::BodyTooLarge,
                        BodyFault::Incomplete | BodyFault::TooSlow => Refusal::BodyIncomplete,
                    })?;
                self.broadcast(kind, &body, peer).await
            }
            Route::Health => Ok(self.health().await),
            Route::Connections | Route::Rooms => {
                if !self.stats.take(peer.address) {
                    return Err(Refusal::TooMany);
                }
                self.check_reader(&head.headers, peer).await?;
                if route == Route::Connections {
                    self.connections().await
                } else {
                    self.rooms().await
                }
            }
        }
    }

    async fn broadcast(&self, kind: Kind, text: &[u8], peer: Peer) -> Result<Value, Refusal> {
        let expected = self.token.as_ref().ok_or(Refusal::NoToken)?;
        let body = Body::parse(text)?;
        if !expected.is(body.token()) {
            self.counts.refused.count();
            self.failures.note_failure(peer.address);
            return Err(Refusal::WrongToken);
        }
        let app = self.app().await?;
        let made = body.broadcast(kind, &app.limits, &event_id(), &now())?;
        self.publish(&app, &made.event)?;
        if let Some(order) = &made.order {
            self.derive(&app, kind, &body, order).await;
        }
        Ok(json!({
            "success": true,
            "message": kind.message(),
            "rooms": made.event.audience.rooms,
        }))
    }

    /// Tells what an update of an order means, as far as it is known what the order
    /// was before. The update itself is out already, so nothing here refuses it.
    async fn derive(&self, app: &Arc<App>, kind: Kind, body: &Body<'_>, order: &Order) {
        let exchange = self.memory.exchange_order(&order.id, &order.state);
        let before = match tokio::time::timeout(MEMORY_PATIENCE, exchange).await {
            Ok(Ok(before)) => before,
            Ok(Err(error)) => {
                tracing::warn!(%error, "it is not known what an order was before");
                return;
            }
            Err(_) => {
                tracing::warn!("it takes too long to know what an order was before");
                return;
            }
        };
        let Some(before) = before.filter(|_| kind == Kind::OrderUpdated) else {
            return;
        };
        match body.derived(order, &before, &app.limits, event_id) {
            Ok(events) => {
                for event in events {
                    if let Err(error) = self.publish(app, &event) {
                        tracing::warn!(%error, event = event.name, "not told");
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "nothing can be derived from an order"),
        }
    }

    fn publish(&self, app: &Arc<App>, event: &Event) -> Result<(), ChannelFull> {
        self.counts.ignored.add(event.audience.ignored);
        self.ground.publisher(app).publish(&Publish {
            channels: &event.audience.channels,
            event: event.name,
            data: &event.data,
            except: None,
            scope: Scope::Cluster,
            origin: Origin::Adapter,
        })?;
        self.counts.broadcasts.count();
        Ok(())
    }

    async fn app(&self) -> Result<Arc<App>, Refusal> {
        self.ground.app().await.map_err(Refusal::Unavailable)
    }

    /// Statistics are for directors, for who has the webhook token, and for whoever
    /// is on this machine: then no proxy must have brought the request, and no page
    /// whose name was made to lead here.
    async fn check_reader(&self, headers: &HeaderMap, peer: Peer) -> Result<(), Refusal> {
        let Some(token) = bearer(headers) else {
            return if peer.is_this_machine(headers) {
                Ok(())
            } else {
                Err(Refusal::Unauthorized)
            };
        };
        if !self.failures.may_authorize(peer.address) {
            return Err(Refusal::TooMany);
        }
        let expected = self.token.as_ref();
        if expected.is_some_and(|expected| expected.is(&token)) {
            return Ok(());
        }
        let Ok(person) = self.authority.person(&token).await else {
            self.failures.note_failure(peer.address);
            return Err(Refusal::Unauthorized);
        };
        if person.roles.iter().any(|role| role == DIRECTOR) {
            Ok(())
        } else {
            Err(Refusal::Forbidden)
        }
    }

    async fn connections(&self) -> Result<Value, Refusal> {
        let app = self.app().await?;
        let mut nodes = vec![self.node_report(&app)];
        match self.memory.others(&self.node).await {
            Ok(others) => nodes.extend(others),
            Err(error) => tracing::warn!(%error, "the figures of other nodes are missing"),
        }
        let total: usize = nodes.iter().map(|node| node.connections).sum();
        let users: Vec<_> = nodes.into_iter().flat_map(|node| node.sockets).collect();
        let mut by_role: BTreeMap<&str, usize> = BTreeMap::new();
        for user in &users {
            *by_role
                .entry(user.role.as_deref().unwrap_or("unknown"))
                .or_default() += 1;
        }
        Ok(json!({
            "success": true,
            "data": { "total": total, "users": users, "byRole": by_role },
        }))
    }

    async fn rooms(&self) -> Result<Value, Refusal> {
        let app = self.app().await?;
        let here = self.ground.here(&app);
        let mut rooms = Vec::new();
        for prefix in ["private-", "presence-"] {
            let occupied = self.ground.engine().channels(&here, prefix).await?;
            let names = occupied.iter().map(|known| known.channel.as_str());
            rooms.extend(names.filter_map(|name| room::of_channel(name).ok()));
        }
        rooms.sort_unstable();
        rooms.dedup();
        Ok(json!({
            "success": true,
            "data": { "total": rooms.len(), "rooms": rooms },
        }))
    }

    /// Alive is what it says; what does not work is in the details.
    async fn health(&self) -> Value {
        let engine = self.ground.engine();
        let degraded = engine.health().degraded;
        let (redis, scaling) = match (engine.is_clustered(), &degraded) {
            (false, _) => ("disabled", "disabled"),
            (true, None) => ("connected", "enabled"),
            (true, Some(_)) => ("disconnected", "enabled"),
        };
        let clients = match self.ground.app().await {
            Ok(app) => self.ground.here(&app).connection_count(),
            Err(_) => 0,
        };
        json!({
            "success": true,
            "status": "healthy",
            "data": {
                "websocket": { "status": "active", "connectedClients": clients },
                "redis": { "status": redis, "scaling": scaling },
                "uptime": self.started.elapsed().as_secs_f64(),
                "timestamp": now(),
            },
        })
    }
}

fn route(path: &str) -> Option<Route> {
    match path {
        "/health" | "/api/v1/stats/health" => Some(Route::Health),
        "/api/v1/stats/connections" => Some(Route::Connections),
        "/api/v1/stats/rooms" => Some(Route::Rooms),
        _ => path
            .strip_prefix("/api/v1/broadcast/")
            .and_then(Kind::of)
            .map(Route::Broadcast),
    }
}

/// The time as JavaScript writes it.
fn now() -> String {
    let now = OffsetDateTime::now_utc();
    let seconds = now.truncate_to_second().format(&Rfc3339);
    let seconds = seconds.unwrap_or_default();
    format!(
        "{}.{:03}Z",
        seconds.trim_end_matches('Z'),
        now.millisecond()
    )
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Path => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge | Self::Body(BodyError::TooLarge { .. }) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::BodyIncomplete | Self::Body(_) => StatusCode::BAD_REQUEST,
            Self::NoToken | Self::WrongToken | Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Origin | Self::Forbidden => StatusCode::FORBIDDEN,
            Self::TooMany | Self::Full(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Engine(_) | Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn into_answer(self) -> Answer {
        let status = self.status();
        let allowed = match &self {
            Self::Method(expected) => Some(expected),
            _ => None,
        };
        let retry_after = match self {
            Self::TooMany => Some(60),
            Self::Full(_) | Self::Engine(_) | Self::Unavailable(_) => Some(1),
            _ => None,
        };
        refusal(status, &self.to_string(), allowed, retry_after)
    }
}
