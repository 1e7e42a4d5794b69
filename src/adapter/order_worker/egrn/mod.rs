//! Who has the documents of the real-estate register (EGRN), behind one trait.
//!
//! There is no public API for ordering them. `stub` asks nobody; `gateway` speaks to an
//! intermediary with an API; `cabinet` does what the pages of a person's cabinet do, in
//! a session that somebody has opened in a browser. [`Portal`] is the client that a worker
//! uses: with a rate, and counted.
//!
//! Ordering costs money, so it has two steps: what [`EgrnClient::prepare`] returns is
//! written down before [`EgrnClient::confirm`] spends anything, and
//! [`EgrnClient::placed`] finds out later whether it did.

mod cabinet;
mod exchange;
mod gateway;
mod stub;

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use prometheus::{IntCounterVec, Opts, Registry};

use self::cabinet::Cabinet;
use self::gateway::Gateway;
use self::stub::Stub;
use super::cadastre::CadastralNumber;
use crate::adapter::trust::{Trust, TrustError};
use crate::config::{EgrnClientKind, EgrnConfig, Secret};

/// Characters of a number, as the column has it.
const MAX_NUMBER: usize = 255;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Access {
    /// The username of the account.
    pub account: String,
    /// The login of the state's portal.
    pub login: Option<String>,
    /// The account's password.
    pub password: Secret,
    /// Cookies of a session, as a browser sends them.
    pub cookies: Option<Secret>,
}

/// An order that can be confirmed. The text is all that is needed for it, and by what it
/// is found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft(pub String);

/// An order that is paid for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its number.
    pub order_num: String,
}

impl Placed {
    /// An order with a number that can be kept.
    ///
    /// # Errors
    /// The order is placed, and its number cannot be.
    pub(super) fn new(order_num: String) -> Result<Self, EgrnError> {
        if order_num.chars().count() > MAX_NUMBER || order_num.contains('\0') {
            let reason = "the portal has given a number that cannot be kept";
            return Err(EgrnError::Unclear(reason.to_owned()));
        }
        Ok(Self { order_num })
    }
}

/// How an order is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Somebody works on it; in their words.
    Pending(String),
    /// The document is there, by this name.
    Ready(String),
    /// There will be none; in their words.
    Refused(String),
}

/// Why something did not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgrnError {
    /// The portal knows nothing by this path or name.
    #[error("the portal does not know what it was asked for (404)")]
    NotFound,
    /// The account has no orders left.
    #[error("the account has no orders left")]
    InsufficientBalance,
    /// The account is not let in: this worker has to wait, its orders need not.
    #[error("the portal does not let the account in: {0}")]
    Auth(String),
    /// Too often; again after this time.
    #[error("the portal wants {} s without requests", .0.as_secs())]
    RateLimited(Duration),
    /// It may work the next time.
    #[error("{0}")]
    Transient(String),
    /// It cannot be found out whether an order was placed. Somebody has to look.
    #[error("whether this was ordered is not known: {0}; look at the portal before you try again")]
    Unclear(String),
}

/// What every client can do. None of it is tried again here.
pub trait EgrnClient: Send + Sync + std::fmt::Debug {
    /// Whether an order that was placed leads to a document to fetch.
    fn has_documents(&self) -> bool;

    /// Orders that the account has left, if that is known.
    fn balance<'a>(&'a self, access: &'a Access) -> BoxFuture<'a, Result<Option<u32>, EgrnError>>;

    /// Whether there is such an object.
    fn exists<'a>(
        &'a self,
        access: &'a Access,
        number: &'a CadastralNumber,
    ) -> BoxFuture<'a, Result<bool, EgrnError>>;

    /// Makes an order ready, which costs nothing. `reference` is unique to it.
    fn prepare<'a>(
        &'a self,
        access: &'a Access,
        number: &'a CadastralNumber,
        reference: &'a str,
    ) -> BoxFuture<'a, Result<Draft, EgrnError>>;

    /// Places an order. After an error it may be placed all the same.
    fn confirm<'a>(
        &'a self,
        access: &'a Access,
        number: &'a CadastralNumber,
        draft: &'a Draft,
    ) -> BoxFuture<'a, Result<Placed, EgrnError>>;

    /// The order that was made of a draft; `None` if it was surely not placed.
    fn placed<'a>(
        &'a self,
        access: &'a Access,
        draft: &'a Draft,
    ) -> BoxFuture<'a, Result<Option<Placed>, EgrnError>>;

    /// How an order is.
    fn status<'a>(
        &'a self,
        access: &'a Access,
        order_num: &'a str,
    ) -> BoxFuture<'a, Result<Progress, EgrnError>>;

    /// A document.
    fn download<'a>(
        &'a self,
        access: &'a Access,
        document: &'a str,
    ) -> BoxFuture<'a, Result<Bytes, EgrnError>>;
}

/// A client that does not ask too often, and whose questions are counted.
#[derive(Debug)]
pub struct Portal {
    client: Box<dyn EgrnClient>,
    rate: Option<DefaultDirectRateLimiter>,
    requests: IntCounterVec,
}

impl Portal {
    /// The client of the configuration.
    ///
    /// # Errors
    /// The file with authorities cannot be used.
    pub fn new(config: &EgrnConfig, registry: &Registry) -> anyhow::Result<Self> {
        let trust = match &config.ca_file {
            None => Trust::web(),
            Some(path) => Trust::only(path).map_err(|error: TrustError| {
                anyhow::Error::new(error).context("ROSREESTR_CA_FILE")
            })?,
        };
        let base = config.base_url.as_deref().unwrap_or_default();
        let exchange = exchange::Exchange::new(base, &trust, config.timeout);
        let client: Box<dyn EgrnClient> = match config.client {
            EgrnClientKind::Stub => Box::new(Stub::new(config.stub_time)),
            EgrnClientKind::Gateway => {
                let token = config.gateway_token.clone().unwrap_or_else(|| "".into());
                Box::new(Gateway::new(exchange, token))
            }
            EgrnClientKind::Cabinet => Box::new(Cabinet::new(exchange)),
        };
        let requests = IntCounterVec::new(
            Opts::new("rosreestr_requests_total", "Questions to the portal."),
            &["op", "status"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        Ok(Self {
            client,
            // The stub asks nobody.
            rate: rate(config.interval).filter(|_| config.client != EgrnClientKind::Stub),
            requests,
        })
    }

    /// See [`EgrnClient::has_documents`].
    #[must_use]
    pub fn has_documents(&self) -> bool {
        self.client.has_documents()
    }

    /// See [`EgrnClient::balance`].
    ///
    /// # Errors
    /// As there.
    pub async fn balance(&self, access: &Access) -> Result<Option<u32>, EgrnError> {
        self.ask("balance", self.client.balance(access)).await
    }

    /// See [`EgrnClient::exists`].
    ///
    /// # Errors
    /// As there.
    pub async fn exists(
        &self,
        access: &Access,
        number: &CadastralNumber,
    ) -> Result<bool, EgrnError> {
        self.ask("find", self.client.exists(access, number)).await
    }

    /// See [`EgrnClient::prepare`].
    ///
    /// # Errors
    /// As there.
    pub async fn prepare(
        &self,
        access: &Access,
        number: &CadastralNumber,
        reference: &str,
    ) -> Result<Draft, EgrnError> {
        self.ask("prepare", self.client.prepare(access, number, reference))
            .await
    }

    /// See [`EgrnClient::confirm`].
    ///
    /// # Errors
    /// As there.
    pub async fn confirm(
        &self,
        access: &Access,
        number: &CadastralNumber,
        draft: &Draft,
    ) -> Result<Placed, EgrnError> {
        self.ask("confirm", self.client.confirm(access, number, draft))
            .await
    }

    /// See [`EgrnClient::placed`].
    ///
    /// # Errors
    /// As there.
    pub async fn placed(
        &self,
        access: &Access,
        draft: &Draft,
    ) -> Result<Option<Placed>, EgrnError> {
        self.ask("placed", self.client.placed(access, draft)).await
    }

    /// See [`EgrnClient::status`].
    ///
    /// # Errors
    /// As there.
    pub async fn status(&self, access: &Access, order_num: &str) -> Result<Progress, EgrnError> {
        self.ask("status", self.client.status(access, order_num))
            .await
    }

    /// See [`EgrnClient::download`].
    ///
    /// # Errors
    /// As there.
    pub async fn download(&self, access: &Access, document: &str) -> Result<Bytes, EgrnError> {
        self.ask("download", self.client.download(access, document))
            .await
    }

    async fn ask<T>(
        &self,
        operation: &str,
        question: BoxFuture<'_, Result<T, EgrnError>>,
    ) -> Result<T, EgrnError> {
        if let Some(rate) = &self.rate {
            while let Err(early) = rate.check() {
                tokio::time::sleep(early.wait_time_from(DefaultClock::default().now())).await;
            }
        }
        let outcome = question.await;
        let status = match &outcome {
            Ok(_) => "ok",
            Err(EgrnError::NotFound) => "not_found",
            Err(EgrnError::InsufficientBalance) => "no_balance",
            Err(EgrnError::Auth(_)) => "auth",
            Err(EgrnError::RateLimited(_)) => "rate_limited",
            Err(EgrnError::Transient(_)) => "transient",
            Err(EgrnError::Unclear(_)) => "unclear",
        };
        self.requests.with_label_values(&[operation, status]).inc();
        outcome
    }
}

/// One question in `interval`.
fn rate(interval: Duration) -> Option<DefaultDirectRateLimiter> {
    let quota = Quota::with_period(interval)?;
    Some(RateLimiter::direct(quota.allow_burst(NonZeroU32::MIN)))
}
