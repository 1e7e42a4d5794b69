//! One exchange over HTTP, and what its status means to all clients.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::Value;

use super::EgrnError;
use crate::adapter::client::http_client;
use crate::adapter::trust::Trust;

/// Bytes of a document.
const MAX_ANSWER: usize = 32 << 20;

/// Pause when the portal does not say how long.
const DEFAULT_PAUSE: Duration = Duration::from_secs(60);

/// The longest pause that is believed.
const MAX_PAUSE: Duration = Duration::from_secs(86_400);

/// Asks one server.
#[derive(Debug)]
pub(super) struct Exchange {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    timeout: Duration,
}

impl Exchange {
    pub(super) fn new(base: &str, trust: &Trust, timeout: Duration) -> Self {
        Self {
            http: http_client(trust),
            base: base.to_owned(),
            timeout,
        }
    }

    /// Asks for JSON.
    pub(super) async fn json(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, String)],
        body: Option<&Value>,
    ) -> Result<Value, EgrnError> {
        let answer = self.bytes(method, path, headers, body).await?;
        serde_json::from_slice(&answer)
            .map_err(|_| EgrnError::Transient(format!("{path} answered something else than JSON")))
    }

    /// Asks for whatever comes.
    pub(super) async fn bytes(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, String)],
        body: Option<&Value>,
    ) -> Result<Bytes, EgrnError> {
        let transient = |reason: String| EgrnError::Transient(format!("{path}: {reason}"));
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| EgrnError::Auth(format!("the header {name} cannot be sent")))?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let text = body.map(Value::to_string).unwrap_or_default();
        let request = request
            .header("content-type", "application/json")
            .body(Full::from(text))
            .map_err(|error| transient(error.to_string()))?;
        let exchange = async {
            let response = self
                .http
                .request(request)
                .await
                .map_err(|error| transient(error.to_string()))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER)
                .collect()
                .await
                .map_err(|error| transient(error.to_string()))?;
            Ok((head.status, head.headers, body.to_bytes()))
        };
        let (status, headers, body) = tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or_else(|_| {
                let seconds = self.timeout.as_secs_f64();
                Err(transient(format!("no answer within {seconds} s")))
            })?;
        match refusal(status, &headers) {
            None => Ok(body),
            Some(EgrnError::Transient(reason)) => Err(transient(reason)),
            Some(error) => Err(error),
        }
    }
}

/// What an answer means that is none. What it says is not repeated: it may be what it was
/// sent, passwords with it.
fn refusal(status: StatusCode, headers: &HeaderMap) -> Option<EgrnError> {
    if status.is_success() {
        return None;
    }
    Some(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            EgrnError::Auth(format!("status {}", status.as_u16()))
        }
        // A page for people to sign in.
        status if status.is_redirection() => {
            EgrnError::Auth("it asks for a new session".to_owned())
        }
        StatusCode::PAYMENT_REQUIRED => EgrnError::InsufficientBalance,
        StatusCode::NOT_FOUND => EgrnError::NotFound,
        StatusCode::TOO_MANY_REQUESTS => EgrnError::RateLimited(pause(headers)),
        status => EgrnError::Transient(format!("status {}", status.as_u16())),
    })
}

fn pause(headers: &HeaderMap) -> Duration {
    headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map_or(DEFAULT_PAUSE, Duration::from_secs)
        .min(MAX_PAUSE)
}

/// `text` as one segment of a path, or a value of a query.
pub(super) fn encoded(text: &str) -> impl std::fmt::Display + '_ {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
}

/// Text, or a number as text.
pub(super) fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whose_problem_it_is() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        let of = |status: u16| refusal(StatusCode::from_u16(status).unwrap(), &headers);

        assert_eq!(of(200), None);
        assert!(matches!(of(302), Some(EgrnError::Auth(_))));
        assert!(matches!(of(401), Some(EgrnError::Auth(_))));
        assert_eq!(of(402), Some(EgrnError::InsufficientBalance));
        assert_eq!(of(404), Some(EgrnError::NotFound));
        assert_eq!(
            of(429),
            Some(EgrnError::RateLimited(Duration::from_secs(7)))
        );
        assert_eq!(of(500), Some(EgrnError::Transient("status 500".to_owned())));
    }

    #[test]
    fn a_pause_that_nobody_believes_is_cut() {
        let mut headers = HeaderMap::new();
        assert_eq!(pause(&headers), DEFAULT_PAUSE);
        for (said, believed) in [("soon", DEFAULT_PAUSE), ("99999999999", MAX_PAUSE)] {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(said));
            assert_eq!(pause(&headers), believed, "{said}");
        }
    }
}
