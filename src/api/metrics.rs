//! Figures in the text format of Prometheus.
//!
//! The hub counts; a registry is filled when somebody asks, so that the hot path
//! pays one atomic addition per figure and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use procfs::{Current, Meminfo};
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use serde::Serialize;

use super::figures::ApiFigures;
use crate::adapter::supervisor::Adapters;
use crate::hub::engine::Figure;
use crate::hub::{AppHub, Hub};
use crate::limits::Meters;
use crate::store::Replica;
use crate::webhook;

/// Where the figures of a node come from.
#[derive(Debug)]
pub struct Sources {
    /// The node.
    pub hub: Arc<Hub>,
    /// The HTTP API.
    pub api: ApiFigures,
    /// What of their days the apps have used.
    pub meters: Arc<Meters>,
    /// Webhooks, if there are any.
    pub webhooks: Option<webhook::Figures>,
    /// The database of apps, if there is one.
    pub replica: Option<Arc<Replica>>,
    /// Adapters, if there are any.
    pub adapters: Adapters,
    /// The port of the clients, where figures have the names of soketi too.
    pub soketi_port: Option<u16>,
}

/// All figures of this node.
///
/// # Errors
/// Two figures have the same name, or one has none.
pub(super) fn text(sources: &Sources) -> prometheus::Result<Vec<u8>> {
    let Sources {
        hub,
        api,
        meters,
        webhooks,
        replica,
        adapters,
        soketi_port,
    } = sources;
    let registry = Registry::new();
    registry.register(Box::new(ProcessCollector::for_self()))?;
    node_figures(hub, &registry)?;
    api.register(&registry)?;
    quota_figures(hub, meters, &registry)?;
    history_figures(hub, &registry)?;
    app_figures(&hub.apps(), &registry)?;
    figures(&hub.engine().health().figures, &registry)?;
    adapter_figures(adapters, &registry)?;
    if let Some(figures) = webhooks {
        figures.register(&registry)?;
    }
    if let Some(replica) = replica {
        let up = IntGauge::new("fanfare_store_up", "1 while the database of apps answers.")?;
        up.set(replica.is_reachable().into());
        registry.register(Box::new(up))?;
    }
    if let Some(port) = soketi_port {
        soketi_figures(&hub.apps(), *port, &registry)?;
    }
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    Ok(text)
}

fn node_figures(hub: &Hub, registry: &Registry) -> prometheus::Result<()> {
    let node = hub.node();
    let version = env!("CARGO_PKG_VERSION");
    let build = IntGaugeVec::new(
        Opts::new(
            "fanfare_build_info",
            "Always 1; the version is in the label.",
        ),
        &["version"],
    )?;
    build.with_label_values(&[version]).set(1);
    registry.register(Box::new(build))?;
    for (name, help, value) in [
        (
            "fanfare_max_connections",
            "Connections that this node takes.",
            node.max_connections() as u64,
        ),
        (
            "fanfare_draining",
            "1 while this node sends its clients away.",
            node.is_draining().into(),
        ),
    ] {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(Box::new(gauge))?;
    }
    for (name, help, label, tally) in [
        (
            "fanfare_closes_total",
            "Connections that this node closed or refused.",
            "code",
            &node.closes,
        ),
        (
            "fanfare_api_refusals_total",
            "API requests that this node refused.",
            "status",
            &node.api_refusals,
        ),
    ] {
        let counter = IntCounterVec::new(Opts::new(name, help), &[label])?;
        for (code, count) in tally.counts() {
            let code = code.to_string();
            counter.with_label_values(&[code.as_str()]).inc_by(count);
        }
        registry.register(Box::new(counter))?;
    }
    let slow = IntCounter::new(
        "fanfare_slow_readers_total",
        "Clients closed with 4100 because too much waited for them.",
    )?;
    slow.inc_by(node.slow_readers.load(Ordering::Relaxed));
    registry.register(Box::new(slow))?;
    registry.register(Box::new(node.publish_seconds.clone()))
}

fn history_figures(hub: &Hub, registry: &Registry) -> prometheus::Result<()> {
    let history = hub.history();
    let sessions = hub.session_figures();
    for (name, help, value) in [
        (
            "fanfare_history_bytes",
            "Bytes of past events that this node keeps.",
            history.bytes.load(Ordering::Relaxed),
        ),
        (
            "fanfare_sessions_connected",
            "Sessions with a connection to this node.",
            sessions.connected,
        ),
        (
            "fanfare_sessions_waiting",
            "Sessions whose client is away.",
            sessions.waiting,
        ),
        (
            "fanfare_session_bytes",
            "Bytes of the sessions whose client is away.",
            sessions.waiting_bytes,
        ),
    ] {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(Box::new(gauge))?;
    }
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    for (name, help, value) in [
        (
            "fanfare_history_evicted_channels_total",
            "Channels whose past was dropped to stay below history.bytes.",
            read(&history.evicted_channels),
        ),
        (
            "fanfare_history_replays_total",
            "Subscriptions that were given what they had missed.",
            read(&history.replays),
        ),
        (
            "fanfare_history_replayed_events_total",
            "Events in these.",
            read(&history.replayed_events),
        ),
        (
            "fanfare_history_gaps_total",
            "Subscriptions that were told that something may be missing.",
            read(&history.gaps),
        ),
        (
            "fanfare_sessions_dropped_total",
            "Sessions that were forgotten before their time.",
            sessions.dropped,
        ),
    ] {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(value);
        registry.register(Box::new(counter))?;
    }
    Ok(())
}

/// Apps with a daily number of messages only.
fn quota_figures(hub: &Hub, meters: &Meters, registry: &Registry) -> prometheus::Result<()> {
    let [used, limit] = [
        (
            "fanfare_quota_used_messages",
            "Messages of this day that the app has used.",
        ),
        (
            "fanfare_quota_limit_messages",
            "Messages that the app may have in a day.",
        ),
    ]
    .map(|(name, help)| IntGaugeVec::new(Opts::new(name, help), &["app_id"]));
    let (used, limit) = (used?, limit?);
    for app in hub.apps() {
        if let Some(day) = meters.used(&app, SystemTime::now()) {
            let label = [app.id().as_str()];
            let gauge = |value| i64::try_from(value).unwrap_or(i64::MAX);
            used.with_label_values(&label).set(gauge(day.used));
            limit.with_label_values(&label).set(gauge(day.limit));
        }
    }
    registry.register(Box::new(used))?;
    registry.register(Box::new(limit))
}

fn adapter_figures(adapters: &Adapters, registry: &Registry) -> prometheus::Result<()> {
    let up = IntGaugeVec::new(
        Opts::new("fanfare_adapter_up", "1 while the adapter works."),
        &["adapter"],
    )?;
    let restarts = IntCounterVec::new(
        Opts::new(
            "fanfare_adapter_restarts_total",
            "Times that the adapter was started again after it had failed.",
        ),
        &["adapter"],
    )?;
    for state in adapters.states() {
        up.with_label_values(&[state.name]).set(state.is_up.into());
        restarts
            .with_label_values(&[state.name])
            .inc_by(state.restarts);
    }
    registry.register(Box::new(up))?;
    registry.register(Box::new(restarts))?;
    figures(&adapters.figures(), registry)
}

fn figures(figures: &[Figure], registry: &Registry) -> prometheus::Result<()> {
    for figure in figures {
        if figure.is_gauge {
            let gauge = IntGauge::new(figure.name, figure.help)?;
            gauge.set(i64::try_from(figure.value).unwrap_or(i64::MAX));
            registry.register(Box::new(gauge))?;
        } else {
            let counter = IntCounter::new(figure.name, figure.help)?;
            counter.inc_by(figure.value);
            registry.register(Box::new(counter))?;
        }
    }
    Ok(())
}

type Read = fn(&AppHub) -> u64;

/// Name, meaning and source of what is counted per app.
const COUNTERS: [(&str, &str, Read); 10] = [
    (
        "fanfare_connections_opened_total",
        "Clients that connected.",
        |app| app.counters.connections_opened.load(Ordering::Relaxed),
    ),
    (
        "fanfare_connections_closed_total",
        "Clients that went.",
        |app| app.counters.connections_closed.load(Ordering::Relaxed),
    ),
    (
        "fanfare_messages_received_total",
        "Messages that clients sent.",
        |app| app.counters.messages_received.load(Ordering::Relaxed),
    ),
    (
        "fanfare_messages_sent_total",
        "Messages that were handed to clients.",
        |app| app.counters.messages_sent.load(Ordering::Relaxed),
    ),
    (
        "fanfare_received_bytes_total",
        "Bytes of the messages that clients sent.",
        |app| app.counters.received_bytes.load(Ordering::Relaxed),
    ),
    (
        "fanfare_sent_bytes_total",
        "Bytes of the messages that were handed to clients.",
        |app| app.counters.sent_bytes.load(Ordering::Relaxed),
    ),
    (
        "fanfare_api_events_total",
        "Events that the HTTP API accepted, each channel counted.",
        |app| app.counters.api_events.load(Ordering::Relaxed),
    ),
    (
        "fanfare_api_requests_total",
        "Requests of back ends that could be believed, refused ones among them.",
        |app| app.counters.api_requests.load(Ordering::Relaxed),
    ),
    (
        "fanfare_rate_refusals_total",
        "Messages and API requests that came faster than a limit allows.",
        |app| app.counters.rate_refusals.load(Ordering::Relaxed),
    ),
    (
        "fanfare_client_events_total",
        "Client events that were accepted.",
        |app| app.counters.client_events.load(Ordering::Relaxed),
    ),
];

/// Name, meaning and source of what an app has at the moment.
const GAUGES: [(&str, &str, Read); 2] = [
    ("fanfare_connections", "Connections of this node.", |app| {
        app.connection_count() as u64
    }),
    (
        "fanfare_channels",
        "Channels with a subscriber on this node.",
        |app| app.channel_count() as u64,
    ),
];

fn app_figures(apps: &[Arc<AppHub>], registry: &Registry) -> prometheus::Result<()> {
    for (name, help, read) in COUNTERS {
        let counter = IntCounterVec::new(Opts::new(name, help), &["app_id"])?;
        for app in apps {
            counter
                .with_label_values(&[app.id().as_str()])
                .inc_by(read(app));
        }
        registry.register(Box::new(counter))?;
    }
    for (name, help, read) in GAUGES {
        let gauge = IntGaugeVec::new(Opts::new(name, help), &["app_id"])?;
        for app in apps {
            gauge
                .with_label_values(&[app.id().as_str()])
                .set(i64::try_from(read(app)).unwrap_or(i64::MAX));
        }
        registry.register(Box::new(gauge))?;
    }
    Ok(())
}

/// What soketi calls a figure that is counted here too.
const SOKETI_COUNTERS: [(&str, &str, Read); 7] = [
    (
        "soketi_new_connections_total",
        "Clients that connected.",
        |app| app.counters.connections_opened.load(Ordering::Relaxed),
    ),
    (
        "soketi_new_disconnections_total",
        "Clients that went.",
        |app| app.counters.connections_closed.load(Ordering::Relaxed),
    ),
    (
        "soketi_ws_messages_received_total",
        "Messages that clients sent.",
        |app| app.counters.messages_received.load(Ordering::Relaxed),
    ),
    (
        "soketi_ws_messages_sent_total",
        "Messages that were handed to clients.",
        |app| app.counters.messages_sent.load(Ordering::Relaxed),
    ),
    (
        "soketi_socket_received_bytes",
        "Bytes of the messages that clients sent.",
        |app| app.counters.received_bytes.load(Ordering::Relaxed),
    ),
    (
        "soketi_socket_transmitted_bytes",
        "Bytes of the messages that were handed to clients.",
        |app| app.counters.sent_bytes.load(Ordering::Relaxed),
    ),
    (
        "soketi_http_calls_received_total",
        "Requests of back ends that could be believed.",
        |app| app.counters.api_requests.load(Ordering::Relaxed),
    ),
];

fn soketi_figures(apps: &[Arc<AppHub>], port: u16, registry: &Registry) -> prometheus::Result<()> {
    let port = port.to_string();
    let labels = ["app_id", "port"];
    let connected = IntGaugeVec::new(
        Opts::new("soketi_connected", "Connections of this node."),
        &labels,
    )?;
    for app in apps {
        let count = i64::try_from(app.connection_count()).unwrap_or(i64::MAX);
        connected
            .with_label_values(&[app.app().id.as_str(), &port])
            .set(count);
    }
    registry.register(Box::new(connected))?;
    for (name, help, read) in SOKETI_COUNTERS {
        let counter = IntCounterVec::new(Opts::new(name, help), &labels)?;
        for app in apps {
            counter
                .with_label_values(&[app.app().id.as_str(), &port])
                .inc_by(read(app));
        }
        registry.register(Box::new(counter))?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Usage {
    memory: Memory,
}

/// Bytes, and per cent of the machine's memory that this process uses.
#[derive(Serialize)]
struct Memory {
    free: u64,
    used: u64,
    total: u64,
    percent: f64,
}

/// The memory of this process and of its machine, as JSON.
///
/// # Errors
/// The system does not tell.
pub(super) fn memory_usage() -> anyhow::Result<String> {
    let machine = Meminfo::current()?;
    let pages = procfs::process::Process::myself()?.statm()?.resident;
    let used = pages * procfs::page_size();
    let percent = used as f64 / machine.mem_total as f64 * 100.0;
    let memory = Memory {
        free: machine.mem_available.unwrap_or(machine.mem_free),
        used,
        total: machine.mem_total,
        percent,
    };
    Ok(serde_json::to_string(&Usage { memory })?)
}
