//! `/adapters/chat3/v1/…`: what the adapter knows, for operators.
//!
//! | path | answer |
//! | --- | --- |
//! | `stats` | how many users are bound, and whether the broker is there |
//! | `users/{id}` | whether a user is bound |
//! | `diagnose/{userId}` | why updates do not arrive |

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Chat;
use super::readers::{Bound, Reader, UserId};
use crate::adapter::auth::bearer;
use crate::adapter::broker::QueueState;
use crate::http::{Answer, Peer, value_answer};

/// Where the paths begin.
const PREFIX: &str = "/adapters/chat3/v1/";

/// Users that one answer lists.
const MAX_USERS: usize = 10_000;

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    Stats,
    User(&'a str),
    Diagnose(&'a str),
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("Cannot find this path")]
    Path,
    #[error("Method not allowed: expected GET")]
    Method,
    #[error(
        "Unauthorized: expected adapters.chat.token as Authorization: Bearer, or a request from this machine itself"
    )]
    Unauthorized,
    #[error("Too many requests")]
    TooMany,
}

/// What is known of a user, the first thing that is wrong first.
#[derive(Debug)]
struct Findings {
    is_connected: bool,
    trouble: Option<String>,
    has_exchange: Option<bool>,
    is_valid: bool,
    is_here: bool,
    is_bound: bool,
    queue: Option<QueueState>,
    updates: u64,
}

impl Chat {
    /// Whether a path is one of the adapter.
    #[must_use]
    pub fn owns(path: &str) -> bool {
        path.starts_with(PREFIX)
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<Incoming>, peer: Peer) -> Answer {
        match self.try_handle(&request, peer).await {
            Ok(body) => value_answer(StatusCode::OK, &body),
            Err(refusal) => refusal.into_answer(),
        }
    }

    async fn try_handle(&self, request: &Request<Incoming>, peer: Peer) -> Result<Value, Refusal> {
        // Who is on this machine has other ways to keep it busy.
        let is_far = !peer.is_this_machine(request.headers());
        if is_far && !self.requests.take(peer.address) {
            return Err(Refusal::TooMany);
        }
        let route = route(request.uri().path()).ok_or(Refusal::Path)?;
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Refusal::Method);
        }
        self.check_reader(request.headers(), peer)?;
        Ok(match route {
            Route::Stats => {
                let lists_users = request.uri().query().is_some_and(|query| {
                    form_urlencoded::parse(query.as_bytes())
                        .any(|(name, value)| name == "users" && value == "true")
                });
                self.stats(lists_users)
            }
            Route::User(id) => {
                let bound = UserId::parse(id).and_then(|id| self.readers.bound(&id));
                json!({ "userId": id, "subscribed": bound.is_some() })
            }
            Route::Diagnose(id) => self.diagnose(id).await,
        })
    }

    fn check_reader(&self, headers: &HeaderMap, peer: Peer) -> Result<(), Refusal> {
        let Some(sent) = bearer(headers) else {
            return if peer.is_this_machine(headers) {
                Ok(())
            } else {
                Err(Refusal::Unauthorized)
            };
        };
        if !self.failures.may_authorize(peer.address) {
            return Err(Refusal::TooMany);
        }
        if self.token.as_ref().is_some_and(|token| token.is(&sent)) {
            return Ok(());
        }
        self.failures.note_failure(peer.address);
        Err(Refusal::Unauthorized)
    }

    fn stats(&self, lists_users: bool) -> Value {
        let link = self.link.state();
        let mut stats = json!({
            "subscribers": self.readers.bound_count(),
            "isConnected": link.is_connected,
            "problem": link.trouble.map(|trouble| trouble.to_string()),
            "connects": link.connects,
            "updates": self.counts.updates.get(),
        });
        if lists_users {
            let ids = self.readers.bound_ids(MAX_USERS);
            stats["users"] = ids.iter().map(UserId::as_str).collect();
        }
        stats
    }

    async fn diagnose(&self, text: &str) -> Value {
        let id = UserId::parse(text);
        let reader = id.as_ref().and_then(|id| self.readers.get(id));
        let bound = id.as_ref().and_then(|id| self.readers.bound(id));
        let (queue_name, mode) = match &bound {
            Some(Bound::Own { queue }) => (Some(queue.as_str()), "per_user"),
            Some(Bound::Shared { queue }) => (Some(queue.as_str()), "per_node"),
            None => (None, ""),
        };
        let link = self.link.state();
        let mut findings = Findings {
            is_connected: link.is_connected,
            trouble: link.trouble.map(|trouble| trouble.to_string()),
            has_exchange: None,
            is_valid: id.is_some(),
            is_here: reader.is_some(),
            is_bound: bound.is_some(),
            queue: None,
            updates: reader.as_deref().map_or(0, Reader::updates),
        };
        if let Some(session) = self.link.session() {
            let asked = async {
                let has_exchange = session.has_exchange(&self.config.exchange).await?;
                let queue = match queue_name {
                    Some(name) => session.queue(name).await?,
                    None => None,
                };
                Ok::<_, crate::adapter::broker::Trouble>((has_exchange, queue))
            };
            match asked.await {
                Ok((has_exchange, queue)) => {
                    findings.has_exchange = Some(has_exchange);
                    findings.queue = queue;
                }
                Err(trouble) => findings.trouble = Some(trouble.to_string()),
            }
        }
        let keys = id.as_ref().map(|id| self.bindings.keys(id));
        let last_update = reader
            .as_deref()
            .and_then(Reader::last_update_ms)
            .and_then(iso);
        json!({
            "userId": text,
            "isConnected": findings.is_connected,
            "problem": findings.trouble,
            "exchange": { "name": self.config.exchange, "exists": findings.has_exchange },
            "pageOnThisNode": findings.is_here,
            "subscribed": findings.is_bound,
            "queue": bound.is_some().then(|| json!({
                "name": queue_name,
                "mode": mode,
                "messages": findings.queue.map(|queue| queue.messages),
                "consumers": findings.queue.map(|queue| queue.consumers),
            })),
            "bindings": keys,
            "updates": findings.updates,
            "lastUpdate": last_update,
            "verdict": findings.verdict(),
        })
    }
}

impl Findings {
    fn verdict(&self) -> &'static str {
        if !self.is_valid {
            "this id must not stand in a binding: 1 to 64 letters, digits, _ or -"
        } else if !self.is_connected {
            "RabbitMQ is not connected: see problem"
        } else if self.has_exchange == Some(false) {
            "the exchange does not exist: is the chat running, and does adapters.chat.exchange name its exchange?"
        } else if !self.is_here {
            "no page of this user is subscribed on this node: ask the other nodes, and look at the page's subscription to private-user;ID"
        } else if !self.is_bound {
            "the user is not bound yet: ask again in a moment"
        } else if self.queue.is_none_or(|queue| queue.consumers == 0) {
            "the queue of this user is gone, or nobody consumes from it; it is made again within a moment"
        } else if self.updates == 0 {
            "all is ready and nothing has come so far: is the chat's update worker running, and does it publish with one of these bindings?"
        } else {
            "updates arrive"
        }
    }
}

fn route(path: &str) -> Option<Route<'_>> {
    let rest = path.strip_prefix(PREFIX)?;
    let id = |id: &'_ str| !id.is_empty() && !id.contains('/');
    match rest.split_once('/') {
        None if rest == "stats" => Some(Route::Stats),
        Some(("users", user)) if id(user) => Some(Route::User(user)),
        Some(("diagnose", user)) if id(user) => Some(Route::Diagnose(user)),
        _ => None,
    }
}

/// Unix milliseconds as people read them.
fn iso(unix_ms: u64) -> Option<String> {
    let nanoseconds = i128::from(unix_ms) * 1_000_000;
    let at = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok()?;
    at.format(&Rfc3339).ok()
}

impl Refusal {
    fn into_answer(self) -> Answer {
        let status = match self {
            Self::Path => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
        };
        let body = json!({ "error": self.to_string() });
        let mut answer = value_answer(status, &body);
        let header = match self {
            Self::Path => None,
            Self::Method => Some((header::ALLOW, "GET")),
            Self::Unauthorized => Some((header::WWW_AUTHENTICATE, "Bearer")),
            Self::TooMany => Some((header::RETRY_AFTER, "60")),
        };
        if let Some((name, value)) = header {
            answer
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_what_they_name() {
        for (path, expected) in [
            ("/adapters/chat3/v1/stats", Some(Route::Stats)),
            ("/adapters/chat3/v1/users/usr_1", Some(Route::User("usr_1"))),
            (
                "/adapters/chat3/v1/diagnose/usr_1",
                Some(Route::Diagnose("usr_1")),
            ),
            ("/adapters/chat3/v1/users/", None),
            ("/adapters/chat3/v1/users/a/b", None),
            ("/adapters/chat3/v1/", None),
            ("/adapters/chat3/v2/stats", None),
        ] {
            assert_eq!(route(path), expected, "{path}");
        }
    }

    #[test]
    fn the_first_thing_that_is_wrong_is_told() {
        let all_well = || Findings {
            is_connected: true,
            trouble: None,
            has_exchange: Some(true),
            is_valid: true,
            is_here: true,
            is_bound: true,
            queue: Some(QueueState {
                messages: 0,
                consumers: 1,
            }),
            updates: 1,
        };
        for (change, expected) in [
            ((|_| {}) as fn(&mut Findings), "updates arrive"),
            (|found| found.updates = 0, "all is ready"),
            (|found| found.queue = None, "the queue of this user is gone"),
            (|found| found.is_bound = false, "the user is not bound yet"),
            (|found| found.is_here = false, "no page of this user"),
            (
                |found| found.has_exchange = Some(false),
                "the exchange does not exist",
            ),
            (
                |found| found.is_connected = false,
                "RabbitMQ is not connected",
            ),
            (|found| found.is_valid = false, "this id must not"),
        ] {
            let mut findings = all_well();
            change(&mut findings);

            assert!(findings.verdict().starts_with(expected), "{findings:?}");
        }
    }
}
