//! The second port: metrics, usage and health, for operators only.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};

use super::admin::Admin;
use super::health::Health;
use super::metrics::{self, Sources};
use crate::console;
use crate::http::{Answer, Handler, Peer, answer, json_answer, text_answer};

/// Answers on the second port.
#[derive(Debug)]
pub struct Ops {
    health: Health,
    sources: Sources,
    admin: Option<Arc<Admin>>,
}

impl Ops {
    /// Tells of a node what `sources` know, and serves the API of the operator and the
    /// console, if there are any.
    #[must_use]
    pub fn new(sources: Sources, admin: Option<Arc<Admin>>) -> Self {
        Self {
            health: Health::new(Arc::clone(&sources.hub), sources.adapters.clone()),
            sources,
            admin,
        }
    }

    fn answer(&self, path: &str) -> Answer {
        if let Some(answer) = self.health.answer(path) {
            return answer;
        }
        match path {
            "/metrics" => {
                let figures = metrics::text(&self.sources);
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
    async fn handle(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Answer {
        if let Some(admin) = &self.admin
            && Admin::owns(request.uri().path())
        {
            return admin.handle(request, peer).await;
        }
        let has_console = self.admin.as_ref().is_some_and(|a| a.has_console());
        if has_console && console::owns(request.uri().path()) {
            return console::answer_to(&request);
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text_answer(
                StatusCode::METHOD_NOT_ALLOWED,
                "Method not allowed: expected GET\n",
            );
        }
        self.answer(request.uri().path())
    }
}
