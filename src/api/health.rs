//! Whether this node is alive, ready and has room: what load balancers ask.

use std::sync::Arc;

use hyper::StatusCode;

use crate::adapter::supervisor::Adapters;
use crate::http::{Answer, text_answer};
use crate::hub::Hub;

/// Answers the probes, on both ports.
#[derive(Clone, Debug)]
pub struct Health {
    hub: Arc<Hub>,
    adapters: Adapters,
}

impl Health {
    /// Tells of the node that `hub` is on, and of its adapters.
    #[must_use]
    pub fn new(hub: Arc<Hub>, adapters: Adapters) -> Self {
        Self { hub, adapters }
    }

    /// The answer to a probe; `None` when the path is none.
    #[must_use]
    pub fn answer(&self, path: &str) -> Option<Answer> {
        let node = self.hub.node();
        match path {
            "/" | "/up" | "/health" => Some(text_answer(StatusCode::OK, "OK\n")),
            "/ready" if node.is_draining() => Some(unavailable("shutting down\n".to_owned())),
            "/ready" => {
                let problems = self.problems();
                // Still ready: this node's own clients are served, and to take
                // all nodes out of service would help nobody.
                let text = if problems.is_empty() {
                    "OK\n".to_owned()
                } else {
                    format!("degraded: {}\n", problems.join("; "))
                };
                Some(text_answer(StatusCode::OK, text))
            }
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

impl Health {
    /// What does not work, though clients are served.
    fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.hub.engine().health().degraded.into_iter().collect();
        for adapter in self.adapters.states() {
            let name = adapter.name;
            if !adapter.is_up {
                // Why is in the log: anybody may read this.
                problems.push(format!("adapter {name} is down"));
            } else if let Some(missing) = adapter.missing {
                problems.push(format!("adapter {name}: {missing}"));
            }
        }
        problems
    }
}

fn unavailable(why: String) -> Answer {
    text_answer(StatusCode::SERVICE_UNAVAILABLE, why)
}
