//! The port of a worker: metrics and health, for operators only.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use prometheus::{Encoder, Registry, TextEncoder};
use tokio_util::sync::CancellationToken;

use crate::http::{Answer, Handler, Peer, answer, text_answer};

/// Answers on that port.
#[derive(Debug)]
pub struct WorkerOps {
    /// What is counted.
    pub registry: Registry,
    /// Whether the worker takes no more jobs.
    pub stop: CancellationToken,
}

impl WorkerOps {
    fn answer(&self, path: &str) -> Answer {
        match path {
            "/metrics" => metrics(&self.registry),
            "/ready" if self.stop.is_cancelled() => {
                text_answer(StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
            }
            "/" | "/up" | "/health" | "/ready" => text_answer(StatusCode::OK, "OK\n"),
            _ => text_answer(
                StatusCode::NOT_FOUND,
                "Path not found: expected /metrics, /health or /ready\n",
            ),
        }
    }
}

impl Handler for WorkerOps {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, _: Peer) -> Answer {
        self.answer(request.uri().path())
    }
}

/// All figures as Prometheus reads them.
pub(super) fn metrics(registry: &Registry) -> Answer {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&registry.gather(), &mut text) {
        Ok(()) => answer(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            Bytes::from(text),
        ),
        Err(error) => text_answer(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}
