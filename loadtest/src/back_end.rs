//! Publishes as a back end does: signed requests on one kept connection.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use bytes::Bytes;
use fanfare_protocol::request::sign_request;
use fanfare_protocol::{AppKey, AppSecret};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;

use crate::Server;

/// One kept connection to the HTTP API.
pub(crate) struct BackEnd {
    sender: SendRequest<Full<Bytes>>,
    path: String,
    key: AppKey,
    secret: AppSecret,
}

impl BackEnd {
    pub(crate) async fn connect(server: &Server) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(server.address)
            .await
            .with_context(|| format!("{} cannot be reached", server.address))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self {
            sender,
            path: format!("/apps/{}", server.app_id),
            key: AppKey::new(&server.key),
            secret: AppSecret::new(&server.secret),
        })
    }

    pub(crate) async fn trigger(&mut self, channel: &str, data: &str) -> anyhow::Result<()> {
        let body = json!({"name": "load", "channels": [channel], "data": data});
        self.post("events", body.to_string()).await
    }

    pub(crate) async fn batch(&mut self, events: usize, data: &str) -> anyhow::Result<()> {
        let event = json!({"name": "load", "channel": "nobody", "data": data});
        let body = json!({"batch": vec![event; events]});
        self.post("batch_events", body.to_string()).await
    }

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
        let request = Request::post(format!("{path}?{query}"))
            .header("host", "loadtest")
            .header("content-type", "application/json")
            .body(Full::from(body))?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(
            status == 200,
            "the server answered {status}: {}",
            String::from_utf8_lossy(&body).trim()
        );
        Ok(())
    }
}
