//! The HTTP API of section 17: what back ends call.
//!
//! Each request is authenticated before anything of it is believed, and answered
//! as soon as its events have their place in the order; who gets them is the
//! hub's business. Health and metrics are in [`Health`]
//! and [`Ops`].

mod admin;
mod authentication;
mod channels;
mod error;
mod events;
mod figures;
mod health;
mod metrics;
mod ops;
mod past;
pub mod statistics;
mod test_log;
mod users;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use hyper::http::request::Parts;
use hyper::{Method, Request};

pub use self::admin::{Admin, AdminParts};
use self::authentication::Authenticated;
use self::error::ApiError;
pub use self::figures::ApiFigures;
pub use self::health::Health;
pub use self::metrics::Sources;
pub use self::ops::Ops;
pub use self::test_log::TestLog;
use crate::apps::AppStore;
use crate::http::{Answer, BODY_TIMEOUT, Peer, json_answer, whole_body};
use crate::hub::Hub;
use crate::limits::{Allowance, NodeLimits, Wish};

/// Bytes of a body, except that of a batch.
const MAX_BODY: usize = 256 << 10;

/// Bytes of the body of a batch.
const MAX_BATCH_BODY: usize = 1 << 20;

/// The path of a request before the server's prefix was taken away from it: what
/// a back end may have signed. Stands in the extensions of the request.
#[derive(Clone, Debug)]
pub struct SignedPath(pub String);

/// The HTTP API. One per server.
#[derive(Debug)]
pub struct Api {
    hub: Arc<Hub>,
    apps: Arc<dyn AppStore>,
    limits: NodeLimits,
    figures: ApiFigures,
    test_log: Option<Arc<TestLog>>,
}

/// What a path of the API stands for. Segments are as in the request line.
#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    Events,
    BatchEvents,
    Channels,
    Channel(&'a str),
    Past(&'a str),
    Users(&'a str),
    Terminate(&'a str),
}

impl Api {
    /// Publishes into `hub` for the apps of `apps`, as much as `limits` allow;
    /// what is published is noted in `test_log`, if there is one.
    #[must_use]
    pub fn new(
        hub: Arc<Hub>,
        apps: Arc<dyn AppStore>,
        limits: NodeLimits,
        figures: ApiFigures,
        test_log: Option<Arc<TestLog>>,
    ) -> Self {
        Self {
            hub,
            apps,
            limits,
            figures,
            test_log,
        }
    }

    /// Whether a path belongs to the API, rather than to something else on the
    /// same port.
    #[must_use]
    pub fn owns(path: &str) -> bool {
        path.starts_with("/apps/") || path.starts_with("/users/")
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<Incoming>, peer: Peer) -> Answer {
        if !self.limits.addresses.may_authorize(peer.address) {
            return ApiError::TooManyFailures.into_answer();
        }
        match self.try_handle(request).await {
            Ok(reply) => reply.into_answer(),
            Err(error) => {
                let status = error.status().as_u16();
                self.hub.node().api_refusals.count(status);
                if error.is_failed_authorization() {
                    self.limits.addresses.note_failure(peer.address);
                }
                error.into_answer()
            }
        }
    }

    async fn try_handle(&self, request: Request<Incoming>) -> Result<Reply, ApiError> {
        let (head, body) = request.into_parts();
        let (app_id, route) = route(head.uri.path()).ok_or(ApiError::PathNotFound)?;
        let expected = route.method();
        if head.method != expected {
            return Err(ApiError::MethodNotAllowed { expected });
        }
        let begin = Instant::now();
        let outcome = self.grant(app_id, &route, &head, body).await;
        self.figures.observe(&route, begin.elapsed());
        outcome
    }

    /// Does what is asked for, if it may be.
    async fn grant(
        &self,
        app_id: Option<&str>,
        route: &Route<'_>,
        head: &Parts,
        body: Incoming,
    ) -> Result<Reply, ApiError> {
        let limit = match route {
            Route::BatchEvents => MAX_BATCH_BODY,
            _ => MAX_BODY,
        };
        // What is announced as too large is not waited for.
        if body.size_hint().lower() > limit as u64 {
            return Err(ApiError::BodyTooLarge { limit });
        }
        let library = head
            .headers
            .get("x-pusher-library")
            .and_then(|library| library.to_str().ok());
        tracing::trace!(path = head.uri.path(), library, "API request");
        let request = match self.authenticate(app_id, head).await {
            Ok(request) => request,
            Err(error) => {
                discard_body(body, limit).await;
                return Err(error);
            }
        };
        let body = whole_body(body, limit)
            .await
            .map_err(|fault| ApiError::body(fault, limit))?;
        request.check(&body)?;
        let mut reply = self.run(route, &request, &body).await?;
        if request.app.soketi_answers {
            reply.body = with_ok(&reply.body);
        }
        Ok(reply)
    }

    async fn run(
        &self,
        route: &Route<'_>,
        request: &Authenticated<'_>,
        body: &[u8],
    ) -> Result<Reply, ApiError> {
        let hub = self.hub.app(&request.app);
        hub.counters.api_requests.fetch_add(1, Ordering::Relaxed);
        let mut allowance = None;
        if route.method() == Method::GET {
            allowance = self.limits.meters.take(&hub, Wish::Read)?;
        }
        let body = match route {
            Route::Events => return self.trigger(request, body).await,
            Route::BatchEvents => return self.trigger_batch(request, body).await,
            Route::Channels => self.channels(request).await,
            Route::Channel(channel) => self.channel(request, channel).await,
            Route::Past(channel) => self.past(request, channel).await,
            Route::Users(channel) => self.users(request, channel).await,
            Route::Terminate(user) => self.terminate(request, user),
        };
        Ok(Reply {
            body: body?,
            allowance,
        })
    }
}

/// What is answered to a request that was granted.
#[derive(Debug)]
struct Reply {
    /// JSON.
    body: String,
    /// What the app may go on with, where it has a rate.
    allowance: Option<Allowance>,
}

impl Reply {
    fn into_answer(self) -> Answer {
        let mut answer = json_answer(self.body);
        if let Some(Allowance { limit, remaining }) = self.allowance {
            let headers = answer.headers_mut();
            headers.insert("x-ratelimit-limit", limit.into());
            headers.insert("x-ratelimit-remaining", remaining.into());
        }
        answer
    }
}

impl Route<'_> {
    /// What the routes are called in figures, by their numbers.
    const NAMES: [&'static str; 7] = [
        "events",
        "batch_events",
        "channels",
        "channel",
        "users",
        "terminate_connections",
        "channel_events",
    ];

    fn number(&self) -> usize {
        match self {
            Self::Events => 0,
            Self::BatchEvents => 1,
            Self::Channels => 2,
            Self::Channel(_) => 3,
            Self::Users(_) => 4,
            Self::Terminate(_) => 5,
            Self::Past(_) => 6,
        }
    }

    fn method(&self) -> Method {
        match self {
            Self::Events | Self::BatchEvents | Self::Terminate(_) => Method::POST,
            Self::Channels | Self::Channel(_) | Self::Past(_) | Self::Users(_) => Method::GET,
        }
    }
}

/// Adds the member that soketi's answers have; every answer is a JSON object.
fn with_ok(answer: &str) -> String {
    match answer.strip_prefix('{') {
        Some("}") | None => r#"{"ok":true}"#.to_owned(),
        Some(rest) => format!("{{\"ok\":true,{rest}"),
    }
}

/// The app id, where the path names one, and what is asked for.
fn route(path: &str) -> Option<(Option<&str>, Route<'_>)> {
    let mut segments = path.strip_prefix('/')?.split('/');
    // The Python SDK leaves the app out of this one path (section 17.8).
    let app_id = match segments.next()? {
        "apps" => Some(segments.next()?),
        "users" => {
            let user = segments.next()?;
            let is_whole =
                segments.next() == Some("terminate_connections") && segments.next().is_none();
            return is_whole.then_some((None, Route::Terminate(user)));
        }
        _ => return None,
    };
    let rest: Vec<&str> = segments.collect();
    let route = match rest[..] {
        ["events"] => Route::Events,
        ["batch_events"] => Route::BatchEvents,
        ["channels"] => Route::Channels,
        ["channels", channel] => Route::Channel(channel),
        ["channels", channel, "events"] => Route::Past(channel),
        ["channels", channel, "users"] => Route::Users(channel),
        ["users", user, "terminate_connections"] => Route::Terminate(user),
        _ => return None,
    };
    Some((app_id, route))
}

/// Reads a body without keeping it: a client that is hung up on while it still
/// sends does not get to read the answer.
async fn discard_body(body: Incoming, limit: usize) {
    let mut body = std::pin::pin!(Limited::new(body, limit));
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    // However it ends, the answer is the same.
    let _ = tokio::time::timeout(BODY_TIMEOUT, all).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_soketi_has_one_more_member() {
        assert_eq!(with_ok("{}"), r#"{"ok":true}"#);
        assert_eq!(
            with_ok(r#"{"channels":{}}"#),
            r#"{"ok":true,"channels":{}}"#
        );
    }

    #[test]
    fn paths_are_matched_as_a_whole() {
        assert_eq!(route("/apps/3/events"), Some((Some("3"), Route::Events)));
        assert_eq!(
            route("/apps/3/channels/presence-a=b@c,d.e;f/users"),
            Some((Some("3"), Route::Users("presence-a=b@c,d.e;f")))
        );
        assert_eq!(
            route("/users/u1/terminate_connections"),
            Some((None, Route::Terminate("u1")))
        );
        for path in [
            "/",
            "/apps",
            "/apps/3",
            "/apps/3/",
            "/apps/3/events/",
            "/apps/3/events/x",
            "/users/u1",
            "/users/u1/terminate_connections/x",
            "/apps/3/users/u1",
        ] {
            assert_eq!(route(path), None, "{path}");
        }
    }
}
