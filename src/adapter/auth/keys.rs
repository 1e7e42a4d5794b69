//! The public keys of an issuer (RFC 7517), fetched when they are needed.
//!
//! A key that nobody knows makes one request, not more often than every ten
//! seconds whatever comes in; keys that are known stay when the issuer is out of
//! reach. So an issuer may change its keys at any time, and nobody can use us to
//! flood it.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Http, exchange};
use crate::adapter::client::http_client;
use crate::adapter::trust::Trust;

/// Age at which keys are fetched again, so that withdrawn ones go.
const MAX_AGE: Duration = Duration::from_secs(600);

/// The shortest time between two requests.
const MIN_GAP: Duration = Duration::from_secs(10);

/// Time for a request.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of an answer.
const MAX_ANSWER: usize = 256 << 10;

/// Keys that are kept of an answer.
const MAX_KEYS: usize = 100;

/// The keys of one issuer.
#[derive(Debug)]
pub(super) struct IssuerKeys {
    url: String,
    http: Http,
    known: RwLock<Arc<Known>>,
    /// When the last request began. Held while one is under way.
    asked: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Known {
    keys: Vec<Key>,
    fetched: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl IssuerKeys {
    /// Those at `url`; nothing is fetched yet.
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            http: http_client(&Trust::web()),
            known: RwLock::default(),
            asked: Mutex::new(None),
        }
    }

    /// The key with the id `kid`, or the only one for `algorithm` when a token
    /// names none.
    pub(super) async fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Option<DecodingKey> {
        let known = self.known();
        let is_fresh = known
            .fetched
            .is_some_and(|fetched| fetched.elapsed() < MAX_AGE);
        let found = known.find(kid, algorithm);
        if is_fresh && found.is_some() {
            return found;
        }
        // One asks; whoever has a key goes on meanwhile.
        if found.is_some() && self.asked.try_lock().is_err() {
            return found;
        }
        self.refresh().await;
        self.known().find(kid, algorithm)
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn refresh(&self) {
        let before = self.known().fetched;
        let mut asked = self.asked.lock().await;
        // Somebody else has fetched them while we waited.
        if self.known().fetched != before {
            return;
        }
        if asked.is_some_and(|asked| asked.elapsed() < MIN_GAP) {
            return;
        }
        *asked = Some(Instant::now());
        match self.fetch().await {
            Ok(keys) => {
                tracing::debug!(keys = keys.len(), "keys of the issuer fetched");
                let known = Known {
                    keys,
                    fetched: Some(Instant::now()),
                };
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
            }
            Err(error) => tracing::warn!(url = self.url, error, "the issuer's keys cannot be had"),
        }
    }

    async fn fetch(&self) -> Result<Vec<Key>, String> {
        let request = Request::get(self.url.as_str())
            .header("accept", "application/json")
            .body(Full::default())
            .map_err(|error| error.to_string())?;
        let (status, body) = exchange(&self.http, request, TIMEOUT, MAX_ANSWER)
            .await
            .map_err(|error| error.to_string())?;
        if !status.is_success() {
            return Err(format!("status {status}"));
        }
        read(&body).map_err(|error| error.to_string())
    }
}

/// The keys in the answer of an issuer.
pub(super) fn read(body: &[u8]) -> Result<Vec<Key>, serde_json::Error> {
    let set: JwkSet = serde_json::from_slice(body)?;
    Ok(set.keys.iter().filter_map(Key::of).take(MAX_KEYS).collect())
}

impl Known {
    fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
        let mut fitting = self
            .keys
            .iter()
            .filter(|key| key.algorithm == algorithm)
            .filter(|key| kid.is_none() || key.id.as_deref() == kid);
        let first = fitting.next()?;
        let is_only = fitting.next().is_none();
        (kid.is_some() || is_only).then(|| first.key.clone())
    }
}

impl Key {
    /// `None` for a key that verifies nothing here. A secret in a public set is
    /// none of ours.
    fn of(jwk: &Jwk) -> Option<Self> {
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(_) => Algorithm::ES256,
            _ => return None,
        };
        let is_for_signatures = matches!(
            jwk.common.public_key_use,
            None | Some(PublicKeyUse::Signature)
        );
        let is_for_this = jwk
            .common
            .key_algorithm
            .is_none_or(|wanted| wanted.to_string() == format!("{algorithm:?}"));
        if !is_for_signatures || !is_for_this {
            return None;
        }
        Some(Self {
            id: jwk.common.key_id.clone(),
            algorithm,
            key: DecodingKey::from_jwk(jwk).ok()?,
        })
    }
}
