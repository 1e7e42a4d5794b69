//! The nodes of the deployment: what each tells of itself.

use std::sync::atomic::{AtomicU64, Ordering};

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::AdminError;
use super::others::{self, Answers, Question};
use super::{Admin, AdminParts, Call, reply};
use crate::http::Answer;
use crate::hub::Hub;

/// The nodes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NodeList {
    /// The one that answers, then the others by name.
    nodes: Vec<NodeView>,
    /// Nodes that are there and did not answer within a second.
    unanswered: usize,
}

/// A node.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct NodeView {
    /// Host and port.
    name: String,
    /// The port of clients and back ends.
    client_port: u16,
    /// The port of metrics and health.
    metrics_port: u16,
    /// Whether it is the one that answers.
    is_this: bool,
    version: String,
    uptime_seconds: u64,
    connections: u64,
    /// Connections that it takes.
    max_connections: u64,
    /// Whether it sends its clients away.
    is_draining: bool,
    /// Whether it is connected with other nodes.
    is_clustered: bool,
    /// Why other nodes are out of reach; absent while all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    degraded: Option<String>,
    /// Whether the database answers; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    database_is_up: Option<bool>,
    /// Figures of the connection with other nodes.
    figures: Vec<FigureView>,
    /// Past events and sessions of this node.
    history: HistoryView,
    /// Foreign systems that the node takes the place of.
    adapters: Vec<AdapterView>,
}

/// Past events and sessions of a node. What counts, counts since its start.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct HistoryView {
    /// Bytes of past events that it keeps.
    bytes: u64,
    /// Bytes that it may keep.
    max_bytes: u64,
    /// Channels whose past was dropped to stay below that.
    evicted_channels: u64,
    /// Subscriptions that were given what they had missed.
    replays: u64,
    /// Events in these.
    replayed_events: u64,
    /// Subscriptions and channels that were told that something may be missing.
    gaps: u64,
    /// Sessions with a connection.
    sessions_connected: u64,
    /// Sessions whose client is away.
    sessions_waiting: u64,
    /// Bytes of these.
    session_bytes: u64,
    /// Sessions that were forgotten before their time.
    sessions_dropped: u64,
}

impl HistoryView {
    fn of(hub: &Hub) -> Self {
        let history = hub.history();
        let sessions = hub.session_figures();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            bytes: history.bytes.load(Ordering::Relaxed) as u64,
            max_bytes: history.max_bytes as u64,
            evicted_channels: read(&history.evicted_channels),
            replays: read(&history.replays),
            replayed_events: read(&history.replayed_events),
            gaps: read(&history.gaps),
            sessions_connected: sessions.connected as u64,
            sessions_waiting: sessions.waiting as u64,
            session_bytes: sessions.waiting_bytes as u64,
            sessions_dropped: sessions.dropped,
        }
    }
}

/// An adapter.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct AdapterView {
    name: String,
    is_up: bool,
    /// How often it was started again.
    restarts: u64,
    /// Why it was down the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// What it misses while it works.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
}

/// Something that the node counts.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct FigureView {
    name: String,
    help: String,
    value: u64,
}

impl NodeView {
    /// This node, as it tells of itself.
    pub(super) fn of(parts: &AdminParts) -> Self {
        let node = parts.hub.node();
        let health = parts.hub.engine().health();
        let figures = health.figures.iter().map(|figure| FigureView {
            name: figure.name.to_owned(),
            help: figure.help.to_owned(),
            value: figure.value,
        });
        let adapters = parts
            .adapters
            .states()
            .into_iter()
            .map(|state| AdapterView {
                name: state.name.to_owned(),
                is_up: state.is_up,
                restarts: state.restarts,
                problem: state.problem,
                missing: state.missing,
            });
        Self {
            name: parts.usage.node().to_owned(),
            client_port: parts.client_port,
            metrics_port: parts.metrics_port,
            is_this: true,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: parts.hub.uptime().as_secs(),
            connections: node.connections() as u64,
            max_connections: node.max_connections() as u64,
            is_draining: node.is_draining(),
            is_clustered: parts.hub.engine().is_clustered(),
            figures: figures.collect(),
            history: HistoryView::of(&parts.hub),
            adapters: adapters.collect(),
            degraded: health.degraded,
            database_is_up: parts.replica.as_ref().map(|replica| replica.is_reachable()),
        }
    }
}

/// List the nodes
///
/// Those of the deployment that are alive. Each is asked.
#[utoipa::path(get, path = "/admin/v1/nodes", tag = "nodes",
    responses((status = 200, description = "The nodes", body = NodeList)))]
pub(super) async fn list(admin: &Admin, _call: &Call<'_>) -> Result<Answer, AdminError> {
    let engine = admin.parts.hub.engine();
    let Answers {
        answers: mut others,
        unanswered,
    } = others::ask(engine, &Question::Node, |_: &NodeView| false).await;
    others.sort_by(|one, other| one.name.cmp(&other.name));
    let mut nodes = vec![NodeView::of(&admin.parts)];
    nodes.extend(others.into_iter().map(|node| NodeView {
        is_this: false,
        ..node
    }));
    Ok(reply(StatusCode::OK, &NodeList { nodes, unanswered }))
}
