//! Publishes as a back end does: signed requests on one kept connection.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use bytes::Bytes;
use fanfare_protocol::request::sign_request;
use fanfare_protocol::{AppKey, AppSecret};
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::json;

use crate::Server;
use crate::ledger::histogram;
use crate::stream;

/// One kept connection to the HTTP API.
pub(crate) struct BackEnd {
    sender: SendRequest<Full<Bytes>>,
    path: String,
    key: AppKey,
    secret: AppSecret,
    /// Microseconds from a request to its answer.
    pub(crate) answers_us: Histogram<u64>,
}

impl BackEnd {
    pub(crate) async fn connect(server: &Server) -> anyhow::Result<Self> {
        let stream = stream::connect(&server.for_back_ends()).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self {
            sender,
            path: format!("/apps/{}", server.app_id),
            key: AppKey::new(&server.key),
            secret: AppSecret::new(&server.secret),
            answers_us: histogram(),
        })
    }

    pub(crate) async fn trigger(&mut self, channel: &str, data: &str) -> anyhow::Result<()> {
        let body = json!({"name": "load", "channels": [channel], "data": data});
        self.post("events", body.to_string()).await
    }

    /// Publishes several events to one channel with one request.
    pub(crate) async fn batch(&mut self, channel: &str, data: &[String]) -> anyhow::Result<()> {
        let events: Vec<_> = data
            .iter()
            .map(|data| json!({"name": "load", "channel": channel, "data": data}))
            .collect();
        self.post("batch_events", json!({"batch": events}).to_string())
            .await
    }

    /// Posts a signed request to an endpoint of the app.
    async fn post(&mut self, endpoint: &str, body: String) -> anyhow::Result<()> {
        let path = format!("{}/{endpoint}", self.path);
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let query = sign_request(
            "POST",
            &path,
            &[],
            body.as_bytes(),
            &self.key,
            &self.secret,
            now,
        );
        self.post_to(&format!("{path}?{query}"), body).await
    }

    /// Posts to any path. An answer other than 200 is an error.
    pub(crate) async fn post_to(&mut self, path: &str, body: String) -> anyhow::Result<()> {
        let request = Request::post(path)
            .header("host", "loadtest")
            .header("content-type", "application/json")
            .body(Full::from(body))?;
        let began = Instant::now();
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.answers_us.saturating_record(took);
        ensure!(
            status == 200,
            "the server answered {status}: {}",
            String::from_utf8_lossy(&body).trim()
        );
        Ok(())
    }
}
