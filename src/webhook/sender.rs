//! One attempt: signs a body, posts it, and tells what came of it.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::auth::sign_webhook;
use fanfare_protocol::webhook::{KEY_HEADER, SIGNATURE_HEADER};
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::target::{ConnectError, Connector};
use crate::apps::{KeyPair, Webhook};

/// Requests under way to URLs that took the last one.
const HEALTHY_REQUESTS: usize = 2_048;

/// Requests under way to URLs that did not. They share places of their own, so
/// that any number of dead URLs leaves the others theirs.
const FAILING_REQUESTS: usize = 256;

/// Connections that wait for the next request to the same host, and for how long.
const IDLE_CONNECTIONS: usize = 2;
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of an answer that are read; it has no meaning to us, but a connection
/// can only be used again when its answer is at an end.
const MAX_ANSWER: usize = 64 << 10;

/// Posts webhooks. One for all apps.
#[derive(Debug)]
pub(super) struct Sender {
    http: Client<HttpsConnector<Connector>, Full<Bytes>>,
    timeout: Duration,
    healthy: Semaphore,
    failing: Semaphore,
}

/// Which places a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Healthy,
    Failing,
}

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    /// What the other side answered, if it did.
    pub(super) status: Option<StatusCode>,
    /// From connecting to the end.
    pub(super) latency: Duration,
    pub(super) outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was taken.
    Delivered,
    /// It was not, for this reason, and may be later.
    Failed(String),
    /// It must not be sent there.
    Refused(String),
}

impl Sender {
    pub(super) fn new(connector: Connector, timeout: Duration) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let http = Client::builder(TokioExecutor::new())
            // PHP behind Apache looks for the capitals of the specification.
            .http1_title_case_headers(true)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self {
            http,
            timeout,
            healthy: Semaphore::new(HEALTHY_REQUESTS),
            failing: Semaphore::new(FAILING_REQUESTS),
        }
    }

    /// Posts `body`, signed with `pair`. Returns after the time-out at the
    /// latest, not counting the wait for a place.
    pub(super) async fn send(
        &self,
        webhook: &Webhook,
        pair: &KeyPair,
        body: Bytes,
        lane: Lane,
    ) -> Attempt {
        let places = match lane {
            Lane::Healthy => &self.healthy,
            Lane::Failing => &self.failing,
        };
        let _place = places.acquire().await;
        let begin = Instant::now();
        let request = match request(webhook, pair, body) {
            Ok(request) => request,
            Err(error) => return Attempt::refused(error.to_string()),
        };
        let exchange = tokio::time::timeout(self.timeout, self.exchange(request));
        let result = exchange.await.unwrap_or_else(|_| {
            let seconds = self.timeout.as_secs_f64();
            Err(Outcome::Failed(format!("no answer within {seconds} s")))
        });
        let latency = begin.elapsed();
        match result {
            Ok(status) => Attempt {
                status: Some(status),
                latency,
                outcome: judge(status),
            },
            Err(outcome) => Attempt {
                status: None,
                latency,
                outcome,
            },
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<StatusCode, Outcome> {
        let response = self.http.request(request).await.map_err(|error| {
            let cause = root_cause(&error);
            match cause.downcast_ref::<ConnectError>() {
                Some(ConnectError::Refused { .. }) => Outcome::Refused(cause.to_string()),
                _ => Outcome::Failed(cause.to_string()),
            }
        })?;
        let status = response.status();
        // The status has decided; a body that is too long or breaks off costs
        // the connection and nothing else.
        let _ = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await;
        Ok(status)
    }
}

impl Attempt {
    /// Nothing was sent, and never will be.
    pub(super) fn refused(reason: String) -> Self {
        Self {
            status: None,
            latency: Duration::ZERO,
            outcome: Outcome::Refused(reason),
        }
    }

    /// Nothing was sent, but may be later.
    pub(super) fn postponed(reason: String) -> Self {
        Self {
            status: None,
            latency: Duration::ZERO,
            outcome: Outcome::Failed(reason),
        }
    }
}

/// Any success will do. A redirect is none: the new place was never allowed.
fn judge(status: StatusCode) -> Outcome {
    if status.is_success() {
        Outcome::Delivered
    } else {
        Outcome::Failed(format!("answered {status}"))
    }
}

fn request(
    webhook: &Webhook,
    pair: &KeyPair,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let mut builder = Request::post(webhook.url.clone())
        // Exactly this: the Node SDK refuses anything behind it.
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header(USER_AGENT, concat!("Fanfare/", env!("CARGO_PKG_VERSION")))
        .header(KEY_HEADER, pair.key.as_str())
        .header(SIGNATURE_HEADER, sign_webhook(&pair.secret, &body));
    if let Some(headers) = builder.headers_mut() {
        for (name, value) in &webhook.headers {
            headers.insert(name, value.clone());
        }
    }
    builder.body(Full::new(body))
}

/// What it was in the end; the layers above only say that it was something.
fn root_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut cause = error;
    loop {
        if cause.is::<ConnectError>() {
            return cause;
        }
        match cause.source() {
            Some(source) => cause = source,
            None => return cause,
        }
    }
}
