//! Whether this node is alive, ready and has room: what load balancers ask.

use std::sync::Arc;

use hyper::StatusCode;

use crate::http::{Answer, text_answer};
use crate::hub::Hub;

/// Answers the probes, on both ports.
#[derive(Clone, Debug)]
pub struct Health {
    hub: Arc<Hub>,
}

impl Health {
    /// Tells of the node that `hub` is on.
    #[must_use]
    pub fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    /// The answer to a probe; `None` when the path is none.
    #[must_use]
    pub fn answer(&self, path: &str) -> Option<Answer> {
        let node = self.hub.node();
        match path {
            "/" | "/up" | "/health" => Some(text_answer(StatusCode::OK, "OK\n")),
            "/ready" if node.is_draining() => Some(unavailable("shutting down\n".to_owned())),
            "/ready" => Some(match self.hub.engine().health().degraded {
                // Still ready: this node's own clients are served, and to take
                // all nodes out of service would help nobody.
                Some(why) => text_answer(StatusCode::OK, format!("degraded: {why}\n")),
                None => text_answer(StatusCode::OK, "OK\n"),
            }),
            "/accept-traffic" if node.is_draining() => {
                Some(unavailable("shutting down\n".to_owned()))
            }
            "/accept-traffic" if node.connections() >= node.max_connections() => Some(unavailable(
                format!("all {} connections are taken\n", node.max_connections()),
            )),
            "/accept-traffic" => Some(text_answer(StatusCode::OK, "OK\n")),
            _ => None,
        }
    }
}

fn unavailable(why: String) -> Answer {
    text_answer(StatusCode::SERVICE_UNAVAILABLE, why)
}
