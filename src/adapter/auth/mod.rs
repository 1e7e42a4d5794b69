//! Who may subscribe to what, for front ends whose people have JWTs.
//!
//! ```text
//! POST /pusher/auth -> endpoint -> token  (who is it? keys, signature)
//!                               -> rules  (may they? the table; back_end where it says so)
//!                               -> the app's secret signs
//! ```
//!
//! A front end that has nothing but JWTs needs no endpoint of its own. Nothing here
//! knows the hub: a subscription is checked there as any other. Tokens and what is
//! in them are never logged.

mod back_end;
mod endpoint;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod keys;
pub(super) mod origins;
mod ring;
pub mod room;
mod rules;
mod token;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;

use self::back_end::BackEnds;
pub use self::endpoint::AuthEndpoint;
use self::rules::Rules;
pub use self::rules::{Decision, Outcome, Question};
use self::token::Tokens;
pub use self::token::{Person, TokenError, bearer};
use crate::config::AuthConfig;

/// Says who somebody is, and what they may subscribe to.
#[derive(Debug)]
pub struct Authority {
    tokens: Tokens,
    rules: Rules,
    back_ends: BackEnds,
}

impl Authority {
    /// As `config` says, which was checked.
    #[must_use]
    pub fn new(config: &AuthConfig) -> Self {
        Self {
            tokens: Tokens::new(config),
            rules: Rules::new(&config.rules),
            back_ends: BackEnds::new(config.back_end_timeout, config.back_end_cache),
        }
    }

    /// The person that `token` was issued to.
    ///
    /// # Errors
    /// The token is not one of ours, is not valid now, or names nobody.
    pub async fn person(&self, token: &str) -> Result<Person, TokenError> {
        self.tokens.person(token).await
    }

    /// Whether they may subscribe, and why.
    pub async fn decide(&self, question: &Question<'_>) -> Decision {
        self.rules.decide(question, &self.back_ends).await
    }
}

/// An HTTP client of this module.
type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Nobody answered, not in time, or too much.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unanswered(String);

/// One exchange within `timeout`, with at most `limit` bytes of an answer.
async fn exchange(
    http: &Http,
    request: Request<Full<Bytes>>,
    timeout: Duration,
    limit: usize,
) -> Result<(StatusCode, Bytes), Unanswered> {
    let exchange = async {
        let response = http
            .request(request)
            .await
            .map_err(|error| Unanswered(error.to_string()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), limit)
            .collect()
            .await
            .map_err(|error| Unanswered(error.to_string()))?;
        Ok((status, body.to_bytes()))
    };
    tokio::time::timeout(timeout, exchange)
        .await
        .unwrap_or_else(|_| Err(Unanswered("no answer in time".to_owned())))
}
