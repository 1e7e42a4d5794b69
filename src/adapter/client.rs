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
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::{Value, json};

use super::trust::Trust;

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

/// One event of a batch.
#[derive(Clone, Debug, Serialize)]
pub struct BatchEvent<'a> {
    /// Its name.
    pub name: &'a str,
    /// The text that reaches the clients.
    pub data: &'a str,
    /// Where it goes.
    pub channel: &'a str,
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
        Self::trusting(url, credentials, &Trust::web())
    }

    /// The same, with a choice of the authorities whose certificate the server may
    /// have.
    ///
    /// # Errors
    /// `url` has no scheme or no host.
    pub fn trusting(
        url: &str,
        credentials: Credentials,
        trust: &Trust,
    ) -> Result<Self, ApiClientError> {
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
            http: http_client(trust),
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

    /// Publishes several events with one request. The server accepts all or none.
    ///
    /// # Errors
    /// The server cannot be reached or refuses; nothing was published then.
    pub async fn trigger_batch(&self, events: &[BatchEvent<'_>]) -> Result<(), ApiClientError> {
        let body = serde_json::to_vec(&json!({ "batch": events })).expect("events are JSON");
        self.call(Method::POST, "/batch_events", &[], body).await?;
        Ok(())
    }

    /// One channel, with the attributes that `info` names.
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn channel(&self, name: &str, info: &str) -> Result<Value, ApiClientError> {
        let path = format!("/channels/{}", segment(name));
        self.call(Method::GET, &path, &given(&[("info", info)]), Vec::new())
            .await
    }

    /// The ids of the users on a presence channel.
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn users(&self, channel: &str) -> Result<Vec<String>, ApiClientError> {
        let path = format!("/channels/{}/users", segment(channel));
        let answer = self.call(Method::GET, &path, &[], Vec::new()).await?;
        let users = answer["users"].as_array().into_iter().flatten();
        Ok(users
            .filter_map(|user| user["id"].as_str())
            .map(str::to_owned)
            .collect())
    }

    /// The occupied channels whose names start with `prefix`, with the attributes
    /// that `info` names.
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn channels(&self, prefix: &str, info: &str) -> Result<Value, ApiClientError> {
        let parameters = given(&[("filter_by_prefix", prefix), ("info", info)]);
        self.call(Method::GET, "/channels", &parameters, Vec::new())
            .await
    }

    /// Closes all connections of a user.
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn terminate_user(&self, user_id: &str) -> Result<(), ApiClientError> {
        let path = format!("/users/{}/terminate_connections", segment(user_id));
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

/// The parameters that have a value.
fn given<'a>(parameters: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let with_value = parameters.iter().filter(|(_, value)| !value.is_empty());
    with_value.copied().collect()
}

/// `text` as one segment of a path.
fn segment(text: &str) -> impl std::fmt::Display + '_ {
    /// What channel names may hold needs no escape in a path.
    const SPECIAL: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'=')
        .remove(b'@')
        .remove(b',')
        .remove(b'.')
        .remove(b';');
    utf8_percent_encode(text, SPECIAL)
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
    let (status, text) = send(&http_client(&Trust::web()), request, url).await?;
    Ok((status.as_u16(), text))
}

pub(super) fn http_client(trust: &Trust) -> Client<HttpsConnector<HttpConnector>, Full<Bytes>> {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(trust.client_config())
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

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;
    use crate::config::{AppConfig, Config};
    use crate::server::Server;

    /// A server with the default app, which ends with its test.
    async fn client() -> (ApiClient, AbortOnDropHandle<anyhow::Result<()>>) {
        let mut config = Config::default();
        config.server.port = 0;
        config.server.metrics_port = 0;
        config.apps.push(AppConfig::default_app());
        let server = Box::pin(Server::bind(&config)).await.unwrap();
        let url = format!("http://{}/", server.address());
        let running = tokio::spawn(server.run(CancellationToken::new()));
        let credentials = Credentials {
            app_id: AppId::new("app-id"),
            key: AppKey::new("app-key"),
            secret: AppSecret::new("app-secret"),
        };
        let client = ApiClient::new(&url, credentials).unwrap();
        (client, AbortOnDropHandle::new(running))
    }

    #[tokio::test]
    async fn every_call_is_signed_as_the_server_expects_it() {
        let (client, _server) = client().await;
        let batch = [("a", "one"), ("private-b", "two")].map(|(channel, name)| BatchEvent {
            name,
            data: "{}",
            channel,
            socket_id: None,
        });

        client
            .trigger(&Event {
                name: "greet",
                data: "\u{fc}",
                channels: &["a".to_owned(), "b".to_owned()],
                socket_id: Some("1.1"),
            })
            .await
            .unwrap();
        client.trigger_batch(&batch).await.unwrap();
        client.terminate_user("user/1 \u{fc}").await.unwrap();
        let channels = client.channels("presence-", "user_count").await.unwrap();
        let channel = client.channel("a=@,.;_-", "").await.unwrap();
        let users = client.users("presence-a").await.unwrap();

        assert_eq!(channels["channels"], json!({}));
        assert_eq!(channel["occupied"], json!(false));
        assert!(users.is_empty());
    }

    #[tokio::test]
    async fn a_refusal_carries_status_and_words_of_the_server() {
        let (client, _server) = client().await;

        let error = client.users("a").await.unwrap_err();

        let ApiClientError::Refused { status, text, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(!text.is_empty());
    }

    #[tokio::test]
    async fn nobody_there_is_told_with_the_reason() {
        let credentials = Credentials {
            app_id: AppId::new("1"),
            key: AppKey::new("k"),
            secret: AppSecret::new("s"),
        };
        // The port is free again as soon as it is known.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let client = ApiClient::new(&format!("http://127.0.0.1:{port}"), credentials).unwrap();

        let error = client.channels("", "").await.unwrap_err().to_string();

        assert!(error.contains("Connection refused"), "{error}");
    }
}
