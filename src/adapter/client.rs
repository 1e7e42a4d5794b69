//! The HTTP API from the other side: a signed client.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fanfare_protocol::request::sign_request;
use fanfare_protocol::{AppId, AppKey, AppSecret};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::Value;

/// Time for one request, from connecting to the last byte of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of an answer. A list of 100,000 channels fits.
const MAX_ANSWER: usize = 16 << 20;

/// Whose events a client publishes.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The app.
    pub app_id: AppId,
    /// Its key.
    pub key: AppKey,
    /// The secret of that key.
    pub secret: AppSecret,
}

/// Calls the HTTP API of one app. Connections are kept and shared by clones.
#[derive(Clone, Debug)]
pub struct ApiClient {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    credentials: Credentials,
}

/// An event to publish.
#[derive(Clone, Debug, Serialize)]
pub struct Event<'a> {
    /// Its name.
    pub name: &'a str,
    /// The text that reaches the clients.
    pub data: &'a str,
    /// Where it goes.
    pub channels: &'a [String],
    /// The connection that does not get it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_id: Option<&'a str>,
}

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ApiClientError {
    /// The URL is not one of a server.
    #[error("{url} is not a URL of a server: expected http://HOST:PORT or https://HOST:PORT")]
    BadUrl {
        /// The URL.
        url: String,
    },
    /// Nobody answered.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// The URL.
        url: String,
        /// Why.
        reason: String,
    },
    /// The answer did not come in time.
    #[error("{url} did not answer within {} s", TIMEOUT.as_secs())]
    Timeout {
        /// The URL.
        url: String,
    },
    /// The server refused.
    #[error("{url} answered {status}: {text}")]
    Refused {
        /// The URL.
        url: String,
        /// The status.
        status: StatusCode,
        /// The server's words.
        text: String,
    },
    /// The answer is not what the API answers.
    #[error("{url} answered with something else than JSON; is it a Pusher-compatible server?")]
    NotJson {
        /// The URL.
        url: String,
    },
}

impl ApiClient {
    /// Calls the server at `url`, such as `http://127.0.0.1:6001`.
    ///
    /// # Errors
    /// `url` has no scheme or no host.
    pub fn new(url: &str, credentials: Credentials) -> Result<Self, ApiClientError> {
        let base = url.trim_end_matches('/').to_owned();
        let is_url = base.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
        });
        if !is_url {
            return Err(ApiClientError::BadUrl {
                url: url.to_owned(),
            });
        }
        Ok(Self {
            http: http_client(),
            base,
            credentials,
        })
    }

    /// Publishes one event.
    ///
    /// # Errors
    /// The server cannot be reached or refuses; nothing was published then.
    pub async fn trigger(&self, event: &Event<'_>) -> Result<(), ApiClientError> {
        let body = serde_json::to_vec(event).expect("an event is JSON");
        self.call(Method::POST, "/events", &[], body).await?;
        Ok(())
    }

    /// The occupied channels whose names start with `prefix`, with the attributes
    /// that `info` names.
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn channels(&self, prefix: &str, info: &str) -> Result<Value, ApiClientError> {
        let mut parameters = Vec::new();
        for (name, value) in [("filter_by_prefix", prefix), ("info", info)] {
            if !value.is_empty() {
                parameters.push((name, value));
            }
        }
        self.call(Method::GET, "/channels", &parameters, Vec::new())
            .await
    }

    /// Closes all connections of a user.
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn terminate_user(&self, user_id: &str) -> Result<(), ApiClientError> {
        let user_id = utf8_percent_encode(user_id, NON_ALPHANUMERIC);
        let path = format!("/users/{user_id}/terminate_connections");
        self.call(Method::POST, &path, &[], b"{}".to_vec()).await?;
        Ok(())
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        parameters: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Value, ApiClientError> {
        let Credentials {
            app_id,
            key,
            secret,
        } = &self.credentials;
        let path = format!("/apps/{app_id}{path}");
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let query = sign_request(method.as_str(), &path, parameters, &body, key, secret, now);
        let url = format!("{}{path}", self.base);
        let request = Request::builder()
            .method(method)
            .uri(format!("{url}?{query}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body))
            .map_err(|_| ApiClientError::BadUrl { url: url.clone() })?;
        let (status, text) = send(&self.http, request, &url).await?;
        if status != StatusCode::OK {
            return Err(ApiClientError::Refused {
                url,
                status,
                text: text.trim().to_owned(),
            });
        }
        serde_json::from_str(&text).map_err(|_| ApiClientError::NotJson { url })
    }
}

/// An unsigned `GET`: status and text.
///
/// # Errors
/// The URL is wrong, or nobody answers.
pub async fn get(url: &str) -> Result<(u16, String), ApiClientError> {
    let request = Request::get(url)
        .body(Full::default())
        .map_err(|_| ApiClientError::BadUrl {
            url: url.to_owned(),
        })?;
    let (status, text) = send(&http_client(), request, url).await?;
    Ok((status.as_u16(), text))
}

fn http_client() -> Client<HttpsConnector<HttpConnector>, Full<Bytes>> {
    let connector = HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .build();
    Client::builder(TokioExecutor::new()).build(connector)
}

async fn send(
    http: &Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    request: Request<Full<Bytes>>,
    url: &str,
) -> Result<(StatusCode, String), ApiClientError> {
    let url = url.to_owned();
    let unreachable = |error: &dyn std::error::Error| ApiClientError::Unreachable {
        url: url.clone(),
        reason: root_cause(error),
    };
    let exchange = async {
        let response = http
            .request(request)
            .await
            .map_err(|error| unreachable(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                Some(_) => ApiClientError::NotJson { url: url.clone() },
                None => unreachable(error.as_ref()),
            })?;
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        Ok((status, text))
    };
    match tokio::time::timeout(TIMEOUT, exchange).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ApiClientError::Timeout { url: url.clone() }),
    }
}

/// The last of a chain of errors: what the user can do something about.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
