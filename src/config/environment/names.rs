//! The tables of variables: our own names, and those that people already have.

use super::Form;

/// Our own names: variable, key, form.
pub const OWN_NAMES: &[(&str, &str, Form)] = &[
    ("FANFARE_SERVER_HOST", "server.host", Form::Text),
    ("FANFARE_SERVER_PORT", "server.port", Form::Number),
    (
        "FANFARE_SERVER_METRICS_HOST",
        "server.metrics_host",
        Form::Text,
    ),
    (
        "FANFARE_SERVER_METRICS_PORT",
        "server.metrics_port",
        Form::Number,
    ),
    (
        "FANFARE_SERVER_MAX_CONNECTIONS",
        "server.max_connections",
        Form::Limit,
    ),
    (
        "FANFARE_SERVER_SHUTDOWN_GRACE",
        "server.shutdown_grace",
        Form::Number,
    ),
    ("FANFARE_SERVER_REUSE_PORT", "server.reuse_port", Form::Flag),
    (
        "FANFARE_SERVER_TRUSTED_PROXIES",
        "server.trusted_proxies",
        Form::List,
    ),
    ("FANFARE_SERVER_TLS_CERT", "server.tls.cert", Form::Text),
    ("FANFARE_SERVER_TLS_KEY", "server.tls.key", Form::Text),
    ("FANFARE_SERVER_TLS_PORT", "server.tls.port", Form::Number),
    (
        "FANFARE_CONNECTION_ACTIVITY_TIMEOUT",
        "connection.activity_timeout",
        Form::Number,
    ),
    (
        "FANFARE_CONNECTION_PING_AFTER",
        "connection.ping_after",
        Form::Number,
    ),
    (
        "FANFARE_CONNECTION_PONG_WAIT",
        "connection.pong_wait",
        Form::Number,
    ),
    (
        "FANFARE_CONNECTION_AUTHORIZATION_TIMEOUT",
        "connection.authorization_timeout",
        Form::Number,
    ),
    (
        "FANFARE_CONNECTION_MAX_MESSAGE_BYTES",
        "connection.max_message_bytes",
        Form::Number,
    ),
    (
        "FANFARE_CONNECTION_OUTBOX_BYTES",
        "connection.outbox_bytes",
        Form::Number,
    ),
    (
        "FANFARE_CONNECTION_STALLED_WRITE",
        "connection.stalled_write",
        Form::Number,
    ),
    (
        "FANFARE_CONNECTION_ATTEMPTS_PER_MINUTE",
        "connection.attempts_per_minute",
        Form::Limit,
    ),
    (
        "FANFARE_CONNECTION_FAILURES_PER_MINUTE",
        "connection.failures_per_minute",
        Form::Limit,
    ),
    (
        "FANFARE_CONNECTION_REQUEST_HEADER_TIMEOUT",
        "connection.request_header_timeout",
        Form::Number,
    ),
    ("FANFARE_ENGINE_URL", "engine.url", Form::Text),
    ("FANFARE_ENGINE_PREFIX", "engine.prefix", Form::Text),
    (
        "FANFARE_ENGINE_NODE_TIMEOUT",
        "engine.node_timeout",
        Form::Number,
    ),
    (
        "FANFARE_SERVER_PATH_PREFIX",
        "server.path_prefix",
        Form::Path,
    ),
    (
        "FANFARE_SERVER_SOKETI_METRICS",
        "server.soketi_metrics",
        Form::Flag,
    ),
    ("FANFARE_HISTORY_BYTES", "history.bytes", Form::Number),
    ("FANFARE_HISTORY_SESSIONS", "history.sessions", Form::Number),
    (
        "FANFARE_HISTORY_SESSION_BYTES",
        "history.session_bytes",
        Form::Number,
    ),
    (
        "FANFARE_HTTP_FALLBACK_ENABLED",
        "http_fallback.enabled",
        Form::Flag,
    ),
    (
        "FANFARE_HTTP_FALLBACK_PATH",
        "http_fallback.path",
        Form::Text,
    ),
    (
        "FANFARE_HTTP_FALLBACK_HOSTNAME",
        "http_fallback.hostname",
        Form::Text,
    ),
    (
        "FANFARE_HTTP_FALLBACK_HEARTBEAT",
        "http_fallback.heartbeat",
        Form::Number,
    ),
    (
        "FANFARE_HTTP_FALLBACK_ANSWER_WAIT",
        "http_fallback.answer_wait",
        Form::Number,
    ),
    (
        "FANFARE_HTTP_FALLBACK_SESSION_GRACE",
        "http_fallback.session_grace",
        Form::Number,
    ),
    (
        "FANFARE_HTTP_FALLBACK_REOPEN_WAIT",
        "http_fallback.reopen_wait",
        Form::Number,
    ),
    (
        "FANFARE_HTTP_FALLBACK_SOCKJS_SCRIPTS",
        "http_fallback.sockjs_scripts",
        Form::List,
    ),
    ("FANFARE_LOG_LEVEL", "log.level", Form::Text),
    ("FANFARE_LOG_FORMAT", "log.format", Form::Text),
    ("FANFARE_RAW_WS_KEY", "raw_ws.key", Form::Text),
    ("FANFARE_AUTH_ENABLED", "auth.enabled", Form::Flag),
    ("FANFARE_AUTH_APP", "auth.app", Form::Text),
    ("FANFARE_AUTH_JWT_SECRET", "auth.jwt_secret", Form::Text),
    ("FANFARE_AUTH_ALGORITHMS", "auth.algorithms", Form::List),
    ("FANFARE_AUTH_JWKS_URL", "auth.jwks_url", Form::Text),
    ("FANFARE_AUTH_ISSUER", "auth.issuer", Form::Text),
    ("FANFARE_AUTH_AUDIENCE", "auth.audience", Form::Text),
    ("FANFARE_AUTH_LEEWAY", "auth.leeway", Form::Number),
    (
        "FANFARE_AUTH_DISCONNECT_ON_EXPIRY",
        "auth.disconnect_on_expiry",
        Form::Flag,
    ),
    ("FANFARE_AUTH_COOKIES", "auth.cookies", Form::List),
    (
        "FANFARE_AUTH_USER_ID_CLAIMS",
        "auth.user_id_claims",
        Form::List,
    ),
    ("FANFARE_AUTH_ROLE_CLAIM", "auth.role_claim", Form::Text),
    ("FANFARE_AUTH_INFO_CLAIMS", "auth.info_claims", Form::List),
    (
        "FANFARE_AUTH_ALLOWED_ORIGINS",
        "auth.allowed_origins",
        Form::List,
    ),
    (
        "FANFARE_AUTH_REQUESTS_PER_MINUTE",
        "auth.requests_per_minute",
        Form::Number,
    ),
    (
        "FANFARE_AUTH_BACK_END_TIMEOUT",
        "auth.back_end_timeout",
        Form::Number,
    ),
    (
        "FANFARE_AUTH_BACK_END_CACHE",
        "auth.back_end_cache",
        Form::Number,
    ),
    (
        "FANFARE_ADAPTERS_VACATE_GRACE_MS",
        "adapters.vacate_grace_ms",
        Form::Number,
    ),
    (
        "FANFARE_ADAPTERS_ROOMS_ENABLED",
        "adapters.rooms.enabled",
        Form::Flag,
    ),
    (
        "FANFARE_ADAPTERS_ROOMS_APP",
        "adapters.rooms.app",
        Form::Text,
    ),
    (
        "FANFARE_ADAPTERS_ROOMS_WEBHOOK_TOKEN",
        "adapters.rooms.webhook_token",
        Form::Text,
    ),
    (
        "FANFARE_ADAPTERS_ROOMS_PORT",
        "adapters.rooms.port",
        Form::Number,
    ),
    (
        "FANFARE_ADAPTERS_ROOMS_ONLINE_SCOPE",
        "adapters.rooms.online_scope",
        Form::Text,
    ),
    (
        "FANFARE_ADAPTERS_ROOMS_CHECK_CITIES",
        "adapters.rooms.check_cities",
        Form::Flag,
    ),
    (
        "FANFARE_ADAPTERS_CHAT_ENABLED",
        "adapters.chat.enabled",
        Form::Flag,
    ),
    ("FANFARE_ADAPTERS_CHAT_APP", "adapters.chat.app", Form::Text),
    ("FANFARE_ADAPTERS_CHAT_URL", "adapters.chat.url", Form::Text),
    (
        "FANFARE_ADAPTERS_CHAT_EXCHANGE",
        "adapters.chat.exchange",
        Form::Text,
    ),
    (
        "FANFARE_ADAPTERS_CHAT_BINDINGS",
        "adapters.chat.bindings",
        Form::List,
    ),
    (
        "FANFARE_ADAPTERS_CHAT_QUEUE_MODE",
        "adapters.chat.queue_mode",
        Form::Text,
    ),
    (
        "FANFARE_ADAPTERS_CHAT_PER_NODE_ABOVE",
        "adapters.chat.per_node_above",
        Form::Number,
    ),
    (
        "FANFARE_ADAPTERS_CHAT_PREFETCH",
        "adapters.chat.prefetch",
        Form::Number,
    ),
    (
        "FANFARE_ADAPTERS_CHAT_OFFLINE_BUFFER_S",
        "adapters.chat.offline_buffer_s",
        Form::Number,
    ),
    (
        "FANFARE_ADAPTERS_CHAT_TOKEN",
        "adapters.chat.token",
        Form::Text,
    ),
    (
        "FANFARE_ADAPTERS_CHAT_MEMBERSHIP_URL",
        "adapters.chat.membership_url",
        Form::Text,
    ),
    (
        "FANFARE_ADAPTERS_STO_ENABLED",
        "adapters.sto.enabled",
        Form::Flag,
    ),
    ("FANFARE_ADAPTERS_STO_APP", "adapters.sto.app", Form::Text),
    (
        "FANFARE_ADAPTERS_STO_WEBHOOK_TOKEN",
        "adapters.sto.webhook_token",
        Form::Text,
    ),
    (
        "FANFARE_ADAPTERS_STO_PORT",
        "adapters.sto.port",
        Form::Number,
    ),
    (
        "FANFARE_ADAPTERS_STO_BROADCAST_INTERVAL_MS",
        "adapters.sto.broadcast_interval_ms",
        Form::Number,
    ),
    (
        "FANFARE_ADAPTERS_STO_SEND_UNCHANGED",
        "adapters.sto.send_unchanged",
        Form::Flag,
    ),
    (
        "FANFARE_ADAPTERS_STO_HEARTBEAT_S",
        "adapters.sto.heartbeat_s",
        Form::Number,
    ),
    (
        "FANFARE_ADAPTERS_STO_PUBLIC_DISPLAYS",
        "adapters.sto.public_displays",
        Form::Flag,
    ),
    (
        "FANFARE_ADAPTERS_STO_PUSHER_JS",
        "adapters.sto.pusher_js",
        Form::Text,
    ),
    (
        "FANFARE_ADAPTERS_STO_UTC_OFFSET_MINUTES",
        "adapters.sto.utc_offset_minutes",
        Form::Number,
    ),
    (
        "FANFARE_ADAPTERS_STO_ORDERS_URL",
        "adapters.sto.orders_url",
        Form::Text,
    ),
    (
        "FANFARE_ADAPTERS_STO_BROKER_URL",
        "adapters.sto.broker_url",
        Form::Text,
    ),
    (
        "FANFARE_ADAPTERS_STO_PREFETCH",
        "adapters.sto.prefetch",
        Form::Number,
    ),
    (
        "FANFARE_ADAPTERS_STO_OUTBOX",
        "adapters.sto.outbox",
        Form::Number,
    ),
    (
        "FANFARE_ADAPTERS_STO_DEAD_LETTERS",
        "adapters.sto.dead_letters",
        Form::Text,
    ),
    ("FANFARE_STORE_URL", "store.url", Form::Text),
    ("FANFARE_STORE_MASTER_KEY", "store.master_key", Form::Text),
    (
        "FANFARE_STORE_OLD_MASTER_KEYS",
        "store.old_master_keys",
        Form::List,
    ),
    (
        "FANFARE_STORE_SOKETI_TABLE",
        "store.soketi_table",
        Form::Text,
    ),
    (
        "FANFARE_USAGE_MINUTE_COUNTS_HOURS",
        "usage.minute_counts_hours",
        Form::Number,
    ),
    (
        "FANFARE_USAGE_HOUR_COUNTS_DAYS",
        "usage.hour_counts_days",
        Form::Number,
    ),
    ("FANFARE_ADMIN_TOKEN", "admin.token", Form::Text),
    ("FANFARE_ADMIN_CONSOLE", "admin.console", Form::Flag),
    (
        "FANFARE_ADMIN_ON_CLIENT_PORT",
        "admin.on_client_port",
        Form::Flag,
    ),
    (
        "FANFARE_ADMIN_FEED_SHOWS_PRIVATE_DATA",
        "admin.feed_shows_private_data",
        Form::Flag,
    ),
    (
        "FANFARE_WEBHOOKS_DENY_PRIVATE_TARGETS",
        "webhooks.deny_private_targets",
        Form::Flag,
    ),
    (
        "FANFARE_WEBHOOKS_HOLD_BACK",
        "webhooks.hold_back",
        Form::Number,
    ),
    (
        "FANFARE_WEBHOOKS_BATCH_WINDOW",
        "webhooks.batch_window",
        Form::Number,
    ),
    (
        "FANFARE_WEBHOOKS_CONNECT_TIMEOUT",
        "webhooks.connect_timeout",
        Form::Number,
    ),
    ("FANFARE_WEBHOOKS_TIMEOUT", "webhooks.timeout", Form::Number),
    (
        "FANFARE_WEBHOOKS_FIRST_RETRY",
        "webhooks.first_retry",
        Form::Number,
    ),
    (
        "FANFARE_WEBHOOKS_RETRY_FOR",
        "webhooks.retry_for",
        Form::Number,
    ),
];

/// A variable of another server or SDK that is honoured here.
#[derive(Clone, Copy, Debug)]
pub struct ForeignName {
    /// The variable.
    pub name: &'static str,
    /// The key that it sets; `app.` stands for the app of the environment.
    pub key: &'static str,
    /// How its text is read.
    pub form: Form,
}

const fn foreign(name: &'static str, key: &'static str, form: Form) -> ForeignName {
    ForeignName { name, key, form }
}

/// All foreign names. Where two set the same key, the later one wins.
pub const FOREIGN_NAMES: &[ForeignName] = &[
    foreign("CORS_ORIGIN", "auth.allowed_origins", Form::List),
    foreign("JWT_SECRET", "auth.jwt_secret", Form::Text),
    foreign("REVERB_APP_ID", "app.id", Form::Text),
    foreign("REVERB_APP_KEY", "app.key", Form::Text),
    foreign("REVERB_APP_SECRET", "app.secret", Form::Text),
    foreign(
        "REVERB_APP_MAX_CONNECTIONS",
        "app.limits.connections",
        Form::Limit,
    ),
    foreign(
        "REVERB_APP_ACCEPT_CLIENT_EVENTS_FROM",
        "app.client_events",
        Form::Senders,
    ),
    foreign(
        "REVERB_APP_PING_INTERVAL",
        "connection.ping_after",
        Form::Number,
    ),
    foreign(
        "REVERB_APP_ACTIVITY_TIMEOUT",
        "connection.activity_timeout",
        Form::Number,
    ),
    foreign(
        "REVERB_APP_MAX_MESSAGE_SIZE",
        "connection.max_message_bytes",
        Form::Number,
    ),
    foreign("REVERB_SERVER_HOST", "server.host", Form::Text),
    foreign("REVERB_SERVER_PORT", "server.port", Form::Number),
    foreign("REVERB_SERVER_PATH", "server.path_prefix", Form::Path),
    foreign("SOKETI_DEFAULT_APP_ID", "app.id", Form::Text),
    foreign("SOKETI_DEFAULT_APP_KEY", "app.key", Form::Text),
    foreign("SOKETI_DEFAULT_APP_SECRET", "app.secret", Form::Text),
    foreign("SOKETI_DEFAULT_APP_ENABLED", "app.enabled", Form::Flag),
    foreign(
        "SOKETI_DEFAULT_APP_MAX_CONNS",
        "app.limits.connections",
        Form::Limit,
    ),
    foreign(
        "SOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES",
        "app.client_events",
        Form::Flag,
    ),
    foreign(
        "SOKETI_DEFAULT_APP_MAX_CLIENT_EVENTS_PER_SEC",
        "app.limits.client_events_per_second",
        Form::Rate,
    ),
    foreign(
        "SOKETI_DEFAULT_APP_MAX_BACKEND_EVENTS_PER_SEC",
        "app.limits.backend_events_per_second",
        Form::Limit,
    ),
    foreign(
        "SOKETI_DEFAULT_APP_MAX_READ_REQ_PER_SEC",
        "app.limits.reads_per_second",
        Form::Limit,
    ),
    foreign(
        "SOKETI_DEFAULT_APP_USER_AUTHENTICATION",
        "app.authorized_connections",
        Form::Flag,
    ),
    foreign(
        "SOKETI_CHANNEL_CACHE_TTL",
        "app.limits.cache_seconds",
        Form::Number,
    ),
    foreign(
        "SOKETI_CHANNEL_MAX_NAME_LENGTH",
        "app.limits.channel_name_length",
        Form::Number,
    ),
    foreign(
        "SOKETI_CHANNEL_LIMITS_MAX_NAME_LENGTH",
        "app.limits.channel_name_length",
        Form::Number,
    ),
    foreign(
        "SOKETI_EVENT_MAX_BATCH_SIZE",
        "app.limits.events_per_batch",
        Form::Number,
    ),
    foreign(
        "SOKETI_EVENT_MAX_CHANNELS_AT_ONCE",
        "app.limits.channels_per_event",
        Form::Number,
    ),
    foreign(
        "SOKETI_EVENT_MAX_NAME_LENGTH",
        "app.limits.event_name_length",
        Form::Number,
    ),
    foreign(
        "SOKETI_EVENT_MAX_SIZE_IN_KB",
        "app.limits.event_data_bytes",
        Form::Kilobytes,
    ),
    foreign(
        "SOKETI_PRESENCE_MAX_MEMBERS",
        "app.limits.presence_members",
        Form::Number,
    ),
    foreign(
        "SOKETI_PRESENCE_MAX_MEMBER_SIZE",
        "app.limits.presence_user_info_bytes",
        Form::Kilobytes,
    ),
    foreign("SOKETI_HOST", "server.host", Form::Text),
    foreign("SOKETI_PORT", "server.port", Form::Number),
    foreign("SOKETI_PATH_PREFIX", "server.path_prefix", Form::Path),
    foreign("SOKETI_METRICS_HOST", "server.metrics_host", Form::Text),
    foreign(
        "SOKETI_METRICS_SERVER_PORT",
        "server.metrics_port",
        Form::Number,
    ),
    foreign(
        "SOKETI_SHUTDOWN_GRACE_PERIOD",
        "server.shutdown_grace",
        Form::Milliseconds,
    ),
    foreign(
        "SOKETI_USER_AUTHENTICATION_TIMEOUT",
        "connection.authorization_timeout",
        Form::Milliseconds,
    ),
    foreign("SOKETI_SSL_CERT", "server.tls.cert", Form::Text),
    foreign("SOKETI_SSL_KEY", "server.tls.key", Form::Text),
    foreign("SOKETI_DEBUG", "log.level", Form::Debug),
    foreign("PUSHER_URL", "app.id", Form::PusherUrl),
    foreign("PUSHER_APP_ID", "app.id", Form::Text),
    foreign("PUSHER_KEY", "app.key", Form::Text),
    foreign("PUSHER_APP_KEY", "app.key", Form::Text),
    foreign("PUSHER_SECRET", "app.secret", Form::Text),
    foreign("PUSHER_APP_SECRET", "app.secret", Form::Text),
];

/// Names of the call centre's old service. They are so common that they count only
/// where that is turned on.
pub(super) const ROOMS_NAMES: &[ForeignName] = &[
    foreign("PORT", "adapters.rooms.port", Form::Number),
    foreign("WEBHOOK_TOKEN", "adapters.rooms.webhook_token", Form::Text),
];

/// Names of the chat's old back end, which count only where that is turned on.
pub(super) const CHAT_NAMES: &[ForeignName] = &[
    foreign("RABBITMQ_URL", "adapters.chat.url", Form::Text),
    foreign(
        "RABBITMQ_UPDATES_EXCHANGE",
        "adapters.chat.exchange",
        Form::Text,
    ),
    foreign("CHAT3_BINDINGS", "adapters.chat.bindings", Form::List),
];

/// Names of the car service's old gateway, which count only where that is turned on.
pub(super) const STO_NAMES: &[ForeignName] = &[
    foreign("WS_PORT", "adapters.sto.port", Form::Number),
    foreign("STO_WS_PORT", "adapters.sto.port", Form::Number),
    foreign(
        "STO_BROADCAST_INTERVAL_MS",
        "adapters.sto.broadcast_interval_ms",
        Form::Number,
    ),
    foreign("RABBITMQ_URL", "adapters.sto.broker_url", Form::Text),
];
