//! The API of the operator, below `/admin/v1`: one file per noun.
//!
//! Off unless a token is set. Everything is looked up in the parts of the server
//! that have it, and changes go through the database, so that every node sees them;
//! apps of the configuration file are shown and not changed. Nothing of it is on the
//! way of an event.

mod apps;
mod channels;
mod connections;
mod deliveries;
mod error;
mod events;
mod feed;
mod keys;
mod nodes;
mod openapi;
mod page;
mod router;
mod statistics;
mod webhooks;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::AppId;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::error::AdminError;
use crate::apps::{App, AppStore};
use crate::config::AppConfig;
use crate::http::{Answer, Peer, answer};
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

/// Wrong tokens that may come from one address in a minute; then nothing from there
/// is looked at for a minute.
const FAILURES_PER_MINUTE: u32 = 10;

/// Where the API finds what it tells.
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
}

/// The admin API. One per server.
pub struct Admin {
    parts: AdminParts,
    /// Compared instead of the token, so that its length makes no difference.
    token_digest: [u8; 32],
    failures: Addresses,
    /// Places for those who look at the live feed.
    viewers: Arc<Semaphore>,
    /// Ends the feeds.
    closing: CancellationToken,
}

/// A request that may be believed.
struct Call<'a> {
    /// What stands in the path where the pattern has names, decoded.
    parameters: Vec<String>,
    query: &'a str,
    body: Bytes,
}

impl Admin {
    /// Answers those who know `token`.
    #[must_use]
    pub fn new(parts: AdminParts, token: &str) -> Self {
        Self {
            parts,
            token_digest: Sha256::digest(token).into(),
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
        self.authenticate(&head.headers, peer)?;
        let path = head.uri.path().strip_prefix(ROOT).unwrap_or_default();
        let (operation, parameters) = router::find(&head.method, path)?;
        let call = Call {
            parameters,
            query: head.uri.query().unwrap_or_default(),
            body: super::read_body(body, MAX_BODY).await?,
        };
        // A database that hangs must not keep the server from stopping.
        let done = tokio::time::timeout(PATIENCE, router::run(operation, self, &call));
        done.await.unwrap_or_else(|_| {
            let message = format!("nothing was answered within {} s", PATIENCE.as_secs());
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Err(AdminError::new(status, "unavailable", message).retry_after(1))
        })
    }

    fn authenticate(&self, headers: &HeaderMap, peer: Peer) -> Result<(), AdminError> {
        if !self.failures.may_authorize(peer.address) {
            let message = "too many wrong tokens came from this address";
            return Err(
                AdminError::new(StatusCode::TOO_MANY_REQUESTS, "blocked", message).retry_after(60),
            );
        }
        let refused = |message| {
            AdminError::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
                .expected("Authorization: Bearer TOKEN, with the token of admin.token")
        };
        let Some(credentials) = headers.get(header::AUTHORIZATION) else {
            return Err(refused("the token is missing"));
        };
        let token = credentials
            .as_bytes()
            .split_first_chunk::<7>()
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
            .map_or(&b""[..], |(_, token)| token);
        let digest: [u8; 32] = Sha256::digest(token).into();
        if bool::from(digest.ct_eq(&self.token_digest)) {
            return Ok(());
        }
        self.failures.note_failure(peer.address);
        tracing::warn!(address = %peer.address, "an admin request came with a wrong token");
        Err(refused("the token is wrong"))
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

impl fmt::Debug for AdminParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminParts").finish_non_exhaustive()
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
