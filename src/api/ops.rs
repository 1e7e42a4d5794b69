//! The second port: metrics, usage and health, for operators only.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};

use super::health::Health;
use super::metrics;
use crate::adapter::supervisor::Adapters;
use crate::http::{Answer, Handler, Peer, answer, json_answer, text_answer};
use crate::hub::Hub;
use crate::store::Replica;
use crate::webhook;

/// Answers on the second port.
#[derive(Debug)]
pub struct Ops {
    hub: Arc<Hub>,
    health: Health,
    webhooks: Option<webhook::Figures>,
    replica: Option<Arc<Replica>>,
    adapters: Adapters,
    /// The port of the clients, where metrics have the names of soketi too.
    soketi_port: Option<u16>,
}

impl Ops {
    /// Tells of the node that `hub` is on, and of webhooks, the database and
    /// adapters if there are any; with `soketi_port`, the port of the clients, also under the
    /// names of soketi.
    #[must_use]
    pub fn new(
        hub: Arc<Hub>,
        webhooks: Option<webhook::Figures>,
        replica: Option<Arc<Replica>>,
        adapters: Adapters,
        soketi_port: Option<u16>,
    ) -> Self {
        let health = Health::new(Arc::clone(&hub), adapters.clone());
        Self {
            hub,
            health,
            webhooks,
            replica,
            adapters,
            soketi_port,
        }
    }

    fn answer(&self, path: &str) -> Answer {
        if let Some(answer) = self.health.answer(path) {
            return answer;
        }
        match path {
            "/metrics" => {
                let figures = metrics::text(
                    &self.hub,
                    self.webhooks.as_ref(),
                    self.replica.as_deref(),
                    &self.adapters,
                    self.soketi_port,
                );
                match figures {
                    Ok(text) => answer(
                        StatusCode::OK,
                        "text/plain; version=0.0.4; charset=utf-8",
                        Bytes::from(text),
                    ),
                    Err(error) => {
                        tracing::warn!(%error, "metrics cannot be told");
                        text_answer(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
                    }
                }
            }
            "/usage" => match metrics::memory_usage() {
                Ok(usage) => json_answer(usage),
                Err(error) => text_answer(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            },
            _ => text_answer(
                StatusCode::NOT_FOUND,
                "Path not found: expected /metrics, /usage, /health, /ready or /accept-traffic\n",
            ),
        }
    }
}

impl Handler for Ops {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, _peer: Peer) -> Answer {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text_answer(
                StatusCode::METHOD_NOT_ALLOWED,
                "Method not allowed: expected GET\n",
            );
        }
        self.answer(request.uri().path())
    }
}
