//! Asks a back end whether somebody may subscribe, where a rule says so.
//!
//! Answers are remembered for a short time, also refusals: a page that reconnects
//! asks again for each channel. At most [`MAX_ASKED`] requests are under way.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode, header};
use moka::sync::Cache;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::rules::Question;
use super::{Http, exchange};
use crate::adapter::client::http_client;
use crate::adapter::trust::Trust;

/// Requests that may be under way at the same time.
const MAX_ASKED: usize = 64;

/// Answers that are remembered.
const MAX_REMEMBERED: u64 = 10_000;

/// Bytes of an answer; none of them is looked at.
const MAX_ANSWER: usize = 64 << 10;

/// What a back end has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Yes,
    No,
    /// It is out of reach, or does not know.
    None,
}

/// The back ends of all rules.
#[derive(Debug)]
pub(super) struct BackEnds {
    http: Http,
    timeout: Duration,
    remembered: Cache<[u8; 32], bool>,
    free: Semaphore,
}

impl BackEnds {
    pub(super) fn new(timeout: Duration, remember: Duration) -> Self {
        Self {
            http: http_client(&Trust::web()),
            timeout,
            remembered: Cache::builder()
                .max_capacity(MAX_REMEMBERED)
                .time_to_live(remember)
                .build(),
            free: Semaphore::new(MAX_ASKED),
        }
    }

    /// Posts the question to `url`: 2xx is yes; 401, 403 and 404 are no.
    pub(super) async fn ask(&self, url: &str, question: &Question<'_>) -> Reply {
        // Another token of the same user may say something else.
        let claims = serde_json::to_string(&question.person.claims).unwrap_or_default();
        let key = key(&[url, question.channel, &claims]);
        if let Some(is_allowed) = self.remembered.get(&key) {
            return if is_allowed { Reply::Yes } else { Reply::No };
        }
        let Ok(_place) = self.free.try_acquire() else {
            tracing::warn!(url, "too many questions wait for the back end");
            return Reply::None;
        };
        let reply = self.post(url, question).await;
        if reply != Reply::None {
            self.remembered.insert(key, reply == Reply::Yes);
        }
        reply
    }

    async fn post(&self, url: &str, question: &Question<'_>) -> Reply {
        let body = json!({
            "channel": question.channel,
            "room": question.room,
            "socket_id": question.socket_id,
            "user_id": question.person.id,
            "roles": question.person.roles,
            "claims": question.person.claims,
        });
        let request = Request::post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_string())));
        let Ok(request) = request else {
            return Reply::None;
        };
        match exchange(&self.http, request, self.timeout, MAX_ANSWER).await {
            Ok((status, _)) if status.is_success() => Reply::Yes,
            Ok((StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND, _)) => {
                Reply::No
            }
            Ok((status, _)) => {
                tracing::warn!(
                    url,
                    status = status.as_u16(),
                    "the back end does not decide"
                );
                Reply::None
            }
            Err(error) => {
                tracing::warn!(url, %error, "the back end cannot be asked");
                Reply::None
            }
        }
    }
}

/// Parts of different lengths cannot run into each other.
fn key(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}
