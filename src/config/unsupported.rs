//! Names of soketi, Reverb and Pusher that set nothing here, and what to do
//! about each. The other half of the table in `environment.rs`.

/// What becomes of a foreign name that sets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing is lost: it is meant for somebody else, or what it asks for is so
    /// in any case.
    None,
    /// Something that the other server did is not done.
    Behaviour,
}

/// A name, or all names with this beginning if it ends with `_`.
type Row = (&'static str, Loss, &'static str);

const ONE_NODE: &str =
    "nodes find one another through Redis: set engine.url, see docs/operations.md";
const CLIENTS: &str = "it is for clients, which connect to this server now";
const IN_MEMORY: &str = "nothing has to be set: this is done in the server's memory";

/// The first row that fits counts.
const ROWS: &[Row] = &[
    (
        "SOKETI_MODE",
        Loss::None,
        "every node serves clients and the API; there are no other modes",
    ),
    (
        "SOKETI_ADAPTER_REDIS_",
        Loss::None,
        "the defaults fit; engine.prefix is what names in Redis begin with",
    ),
    ("SOKETI_ADAPTER_", Loss::Behaviour, ONE_NODE),
    ("SOKETI_CLUSTER_", Loss::Behaviour, ONE_NODE),
    (
        "SOKETI_APP_MANAGER_DRIVER",
        Loss::Behaviour,
        "put the apps into [[apps]] of the configuration file, as migrate-check prints those of a soketi JSON file, or set store.url and store.soketi_table: docs/apps.md",
    ),
    (
        "SOKETI_APP_MANAGER_CACHE_",
        Loss::None,
        "apps of the file are always in memory",
    ),
    (
        "SOKETI_APP_MANAGER_",
        Loss::Behaviour,
        "put the apps into [[apps]] of the configuration file, or set store.soketi_table: docs/apps.md",
    ),
    (
        "SOKETI_DB_REDIS_",
        Loss::None,
        "Redis is used where SOKETI_ADAPTER_DRIVER is redis, or by engine.url",
    ),
    (
        "SOKETI_DB_",
        Loss::Behaviour,
        "the database of apps is store.url: docs/apps.md",
    ),
    ("SOKETI_CACHE_", Loss::None, IN_MEMORY),
    ("SOKETI_QUEUE_", Loss::None, IN_MEMORY),
    ("SOKETI_RATE_LIMITER_", Loss::None, IN_MEMORY),
    (
        "SOKETI_WEBHOOKS_",
        Loss::Behaviour,
        "put them into webhooks of the app: docs/webhooks.md",
    ),
    (
        "SOKETI_DEFAULT_APP_WEBHOOKS",
        Loss::Behaviour,
        "put them into webhooks of the app: docs/webhooks.md",
    ),
    (
        "SOKETI_METRICS_ENABLED",
        Loss::None,
        "metrics are always there, on server.metrics_port",
    ),
    (
        "SOKETI_METRICS_DRIVER",
        Loss::None,
        "metrics are always in the format of Prometheus",
    ),
    (
        "SOKETI_METRICS_PROMETHEUS_PREFIX",
        Loss::Behaviour,
        "metrics are called fanfare_…; set server.soketi_metrics = true for the names of soketi, which begin with soketi_",
    ),
    (
        "SOKETI_SSL_PASS",
        Loss::Behaviour,
        "store the key without a passphrase: openssl pkey -in key.pem -out plain.pem",
    ),
    (
        "SOKETI_SSL_CA",
        Loss::Behaviour,
        "append the intermediate certificates to the file of the certificate",
    ),
    (
        "SOKETI_HTTP_ACCEPT_TRAFFIC_MEMORY_THRESHOLD",
        Loss::Behaviour,
        "/accept-traffic looks at the number of connections: set server.max_connections",
    ),
    (
        "SOKETI_HTTP_MAX_REQUEST_SIZE",
        Loss::Behaviour,
        "requests are bounded at 256 KiB, batches at 1 MiB",
    ),
    ("REVERB_HOST", Loss::None, CLIENTS),
    ("REVERB_PORT", Loss::None, CLIENTS),
    ("REVERB_SCHEME", Loss::None, CLIENTS),
    ("REVERB_SERVER_SCALING_", Loss::Behaviour, ONE_NODE),
    (
        "REVERB_SCALING_CHANNEL",
        Loss::None,
        "engine.prefix is what names in Redis begin with",
    ),
    ("REVERB_SCALING_", Loss::Behaviour, ONE_NODE),
    (
        "REVERB_MAX_REQUEST_SIZE",
        Loss::Behaviour,
        "requests are bounded at 256 KiB, batches at 1 MiB",
    ),
    (
        "REVERB_APP_RATE_",
        Loss::Behaviour,
        "client events have a limit per second: set client_events_per_second of the app",
    ),
    (
        "REVERB_PULSE_",
        Loss::Behaviour,
        "the figures are at /metrics of server.metrics_port",
    ),
    (
        "REVERB_TELESCOPE_",
        Loss::Behaviour,
        "the figures are at /metrics of server.metrics_port",
    ),
    ("PUSHER_HOST", Loss::None, CLIENTS),
    ("PUSHER_PORT", Loss::None, CLIENTS),
    ("PUSHER_SCHEME", Loss::None, CLIENTS),
    ("PUSHER_CLUSTER", Loss::None, CLIENTS),
    ("PUSHER_APP_CLUSTER", Loss::None, CLIENTS),
    ("PUSHER_USE_TLS", Loss::None, CLIENTS),
];

/// What to do about a foreign name that sets nothing.
pub(super) fn advice(name: &str) -> Option<(Loss, &'static str)> {
    ROWS.iter()
        .find(|(known, ..)| *known == name || (known.ends_with('_') && name.starts_with(known)))
        .map(|(_, loss, advice)| (*loss, *advice))
}

#[cfg(test)]
mod tests {
    use super::super::FOREIGN_NAMES;
    use super::*;

    /// A name is either honoured or not.
    #[test]
    fn no_name_that_sets_something_is_called_unsupported() {
        for known in FOREIGN_NAMES {
            assert_eq!(advice(known.name), None, "{}", known.name);
        }
    }

    /// Every name of soketi 1.6, Reverb and Pusher that migration files hold.
    #[test]
    fn every_name_of_the_other_servers_is_known() {
        for name in [
            "SOKETI_MODE",
            "SOKETI_DEFAULT_APP_WEBHOOKS",
            "SOKETI_APP_MANAGER_DRIVER",
            "SOKETI_APP_MANAGER_CACHE_ENABLED",
            "SOKETI_APP_MANAGER_MYSQL_TABLE",
            "SOKETI_ADAPTER_DRIVER",
            "SOKETI_ADAPTER_REDIS_PREFIX",
            "SOKETI_ADAPTER_NATS_SERVERS",
            "SOKETI_CACHE_DRIVER",
            "SOKETI_DB_REDIS_HOST",
            "SOKETI_DB_POOLING_MAX",
            "SOKETI_QUEUE_DRIVER",
            "SOKETI_RATE_LIMITER_DRIVER",
            "SOKETI_METRICS_ENABLED",
            "SOKETI_METRICS_DRIVER",
            "SOKETI_METRICS_PROMETHEUS_PREFIX",
            "SOKETI_SSL_PASS",
            "SOKETI_SSL_CA",
            "SOKETI_WEBHOOKS_BATCHING",
            "SOKETI_HTTP_ACCEPT_TRAFFIC_MEMORY_THRESHOLD",
            "SOKETI_CLUSTER_PORT",
            "REVERB_HOST",
            "REVERB_PORT",
            "REVERB_SCHEME",
            "REVERB_SCALING_ENABLED",
            "REVERB_MAX_REQUEST_SIZE",
            "REVERB_APP_RATE_LIMITING_ENABLED",
            "PUSHER_HOST",
            "PUSHER_PORT",
            "PUSHER_SCHEME",
            "PUSHER_CLUSTER",
            "PUSHER_APP_CLUSTER",
        ] {
            assert!(advice(name).is_some(), "{name}");
        }
    }
}
