//! The API of the operator, below `/admin/v1`: one file per noun.
//!
//! For programs with the token of the configuration, and for the console in the
//! browser. Everything is looked up in the parts of the server that have it, and
//! changes go through the database, so that every node sees them; apps of the
//! configuration file are shown and not changed. Nothing of it is on the way of an
//! event.

mod accounts;
mod apps;
mod caller;
mod channels;
mod connections;
mod deliveries;
mod error;
mod events;
mod feed;
mod keys;
mod nodes;
mod openapi;
mod others;
mod page;
mod router;
mod session;
mod statistics;
mod visitor;
mod webhooks;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::AppId;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::caller::Caller;
use self::error::AdminError;
use self::visitor::Visitor;
use super::error::ApiError;
use crate::accounts::Accounts;
use crate::adapter::supervisor::Adapters;
use crate::apps::{App, AppStore};
use crate::config::AppConfig;
use crate::http::{Answer, Peer, answer, whole_body};
use crate::hub::Hub;
use crate::limits::{Addresses, Meters};
use crate::store::{Database, Replica};
use crate::usage::Usage;
use crate::webhook::Tester;

/// What begins every path of the API.
const ROOT: &str = "/admin/v1";

/// Bytes of a body.
const MAX_BODY: usize = 256 << 10;

/// Time to do what is asked for. A webhook that is tried out has no more either,
/// whatever its own time-outs are and however many others wait to be sent.
const PATIENCE: Duration = Duration::from_secs(30);

/// Wrong tokens and passwords that may come from one address in a minute; then nothing
/// from there is looked at for a minute.
const FAILURES_PER_MINUTE: u32 = 10;

/// Bytes of a change that are written into the audit log.
const MAX_DETAIL: usize = 500;

/// Members of a body that are no business of the audit log.
const UNTOLD: [&str; 6] = ["password", "old", "new", "invitation", "headers", "data"];

/// Where the API finds what it tells, to operators and to other nodes.
pub struct AdminParts {
    /// The node.
    pub hub: Arc<Hub>,
    /// Apps, as clients find them.
    pub apps: Arc<dyn AppStore>,
    /// Apps of the configuration.
    pub file_apps: Vec<AppConfig>,
    /// The database, if there is one.
    pub database: Option<Database>,
    /// What the server keeps of it.
    pub replica: Option<Arc<Replica>>,
    /// Statistics.
    pub usage: Arc<Usage>,
    /// Quotas.
    pub meters: Arc<Meters>,
    /// What sends webhooks, if any app may have some.
    pub tester: Option<Tester>,
    /// Whether the live feed shows data of channels that are not public.
    pub feed_shows_private_data: bool,
    /// The port of clients and back ends.
    pub client_port: u16,
    /// The port of metrics and health.
    pub metrics_port: u16,
    /// Adapters, to tell how they are.
    pub adapters: Adapters,
    /// People who may call it, and what was changed.
    pub accounts: Arc<Accounts>,
    /// Whether people may come in.
    pub has_console: bool,
}

/// The admin API. One per server.
pub struct Admin {
    parts: Arc<AdminParts>,
    /// Compared instead of the token, so that its length makes no difference; absent:
    /// there is no token.
    token_digest: Option<[u8; 32]>,
    failures: Addresses,
    /// Places for those who look at the live feed.
    viewers: Arc<Semaphore>,
    /// Ends the feeds.
    closing: CancellationToken,
}

/// A request that may be believed.
struct Call<'a> {
    visitor: Visitor,
    /// Who asks; absent only where everybody may.
    caller: Option<Caller>,
    /// What stands in the path where the pattern has names, decoded.
    parameters: Vec<String>,
    query: &'a str,
    body: Bytes,
}

impl Admin {
    /// Answers people who may come in, and those who know `token`.
    #[must_use]
    pub fn new(parts: Arc<AdminParts>, token: Option<&str>) -> Self {
        Self {
            parts,
            token_digest: token.map(|token| Sha256::digest(token).into()),
            failures: Addresses::new(None, Some(FAILURES_PER_MINUTE)),
            viewers: Arc::new(Semaphore::new(feed::MAX_VIEWERS)),
            closing: CancellationToken::new(),
        }
    }

    /// Whether a path belongs to the API.
    #[must_use]
    pub fn owns(path: &str) -> bool {
        path.strip_prefix(ROOT)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether people may come in, so that they need pages.
    #[must_use]
    pub fn has_console(&self) -> bool {
        self.parts.has_console
    }

    /// Ends the live feeds, which would go on for ever.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<Incoming>, peer: Peer) -> Answer {
        let mut answer = match self.try_handle(request, peer).await {
            Ok(answer) => answer,
            Err(error) => error.into_answer(),
        };
        // Secrets pass here, which nobody on the way is to keep.
        let no_store = HeaderValue::from_static("no-store");
        answer.headers_mut().insert(header::CACHE_CONTROL, no_store);
        answer
    }

    async fn try_handle(
        &self,
        request: Request<Incoming>,
        peer: Peer,
    ) -> Result<Answer, AdminError> {
        let (head, body) = request.into_parts();
        let visitor = Visitor::of(&head, peer);
        let path = head.uri.path().strip_prefix(ROOT).unwrap_or_default();
        let found = router::find(&head.method, path);
        let is_for_everybody = found
            .as_ref()
            .is_ok_and(|(operation, _)| operation.is_for_everybody());
        let caller = match within(Box::pin(self.caller(&visitor, &head.method))).await {
            Ok(caller) => Some(caller),
            Err(error) if is_for_everybody && error.is_about_the_caller() => None,
            Err(error) => return Err(error),
        };
        // Only now: strangers are not told which paths there are.
        let (operation, parameters) = found?;
        if let Some(caller) = &caller {
            Self::permit(caller, operation)?;
        }
        let call = Call {
            visitor,
            caller,
            parameters,
            query: head.uri.query().unwrap_or_default(),
            body: whole_body(body, MAX_BODY)
                .await
                .map_err(|fault| ApiError::body(fault, MAX_BODY))?,
        };
        // Boxed: the operations differ much in what they need.
        let run = Box::pin(router::run(operation, self, &call));
        let answer = within(run).await?;
        if head.method != Method::GET {
            self.note(&call, &head.method, path).await;
        }
        Ok(answer)
    }

    /// Writes a change into the audit log.
    async fn note(&self, call: &Call<'_>, method: &Method, path: &str) {
        let detail = detail(&call.body);
        let address = call.visitor.peer.address.to_string();
        let action = format!("{method} {path}");
        // Whoever signs in is the one that the body names.
        let named = serde_json::from_slice::<Value>(&call.body).ok();
        let named = named.as_ref().and_then(|body| body.get("name")?.as_str());
        let actor = match &call.caller {
            Some(caller) => caller.name(),
            None => named.unwrap_or("loopback"),
        };
        let actor = actor.to_owned();
        let accounts = Arc::clone(&self.parts.accounts);
        // A task of its own: whoever hangs up now does not take it along.
        let noted = tokio::spawn(async move {
            accounts.note(&actor, &address, &action, detail).await;
        });
        let _ = tokio::time::timeout(PATIENCE, noted).await;
    }

    /// An app as clients find it.
    async fn app(&self, id: &str) -> Result<Arc<App>, AdminError> {
        let found = self.parts.apps.by_id(&AppId::new(id)).await?;
        found.ok_or_else(|| AdminError::unknown_app(id))
    }

    fn file_app(&self, id: &str) -> Option<&AppConfig> {
        self.parts.file_apps.iter().find(|app| app.id == id)
    }

    /// The database, for a change of an app.
    fn writable(&self, id: &str) -> Result<&Database, AdminError> {
        if self.file_app(id).is_some() {
            return Err(AdminError::new(
                StatusCode::CONFLICT,
                "read_only",
                format!("the app {id:?} stands in the configuration file"),
            )
            .expected("a change of the file and a restart, or an app of the database"));
        }
        self.parts
            .database
            .as_ref()
            .ok_or_else(AdminError::no_database)
    }

    /// Takes a change over on this node before it is answered, so that who asks
    /// next sees it. Other nodes follow within a second.
    async fn changed(&self) {
        if let Some(replica) = &self.parts.replica {
            // The database has just answered; if it does not any more, the change
            // is seen when it is back.
            replica.refresh().await;
        }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Call<'_> {
    /// The part of the path at a place; the router has counted them.
    fn parameter(&self, position: usize) -> &str {
        self.parameters.get(position).map_or("", String::as_str)
    }

    fn query<T: DeserializeOwned>(&self) -> Result<T, AdminError> {
        serde_urlencoded::from_str(self.query)
            .map_err(|error| AdminError::invalid(format!("the query is not valid: {error}")))
    }

    fn body<T: DeserializeOwned>(&self) -> Result<T, AdminError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| AdminError::invalid(format!("the body is not valid: {error}")))
    }
}

/// A database that hangs must not keep the server from stopping.
async fn within<T>(work: impl Future<Output = Result<T, AdminError>>) -> Result<T, AdminError> {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| {
        let message = format!("nothing was answered within {} s", PATIENCE.as_secs());
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Err(AdminError::new(status, "unavailable", message).retry_after(1))
    })
}

/// What of a body may be written down: the beginning, without secrets.
fn detail(body: &[u8]) -> Option<String> {
    let Value::Object(mut members) = serde_json::from_slice(body).ok()? else {
        return None;
    };
    members.retain(|name, _| !UNTOLD.contains(&name.as_str()));
    let text = Value::Object(members).to_string();
    let end = text.floor_char_boundary(MAX_DETAIL);
    (text != "{}").then(|| text[..end].to_owned())
}

/// Decodes a part of a path.
fn decode(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("an answer has string keys only")
}

fn reply(status: StatusCode, value: &impl Serialize) -> Answer {
    answer(status, "application/json", json(value).into())
}

/// It is done, and there is nothing to say about it.
fn nothing() -> Answer {
    let mut answer = answer(StatusCode::NO_CONTENT, "application/json", Bytes::new());
    answer.headers_mut().remove(header::CONTENT_TYPE);
    answer
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_written_down() {
        let body = br#"{"name":"ann","password":"correct horse","role":"viewer"}"#;
        let told = r#"{"name":"ann","role":"viewer"}"#;
        assert_eq!(detail(body).as_deref(), Some(told));
        for nothing in [&b""[..], b"{}", b"[]", br#"{"password":"x"}"#] {
            assert_eq!(detail(nothing), None);
        }
        let long = format!(r#"{{"a":"{}"}}"#, "é".repeat(1_000));
        assert!(detail(long.as_bytes()).is_some_and(|text| text.len() <= MAX_DETAIL));
    }
}
