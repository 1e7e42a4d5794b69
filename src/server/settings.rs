//! What the parts are given: their settings, made of the configuration and of what
//! the machine allows.

use std::time::Duration;

use crate::adapter::{chat, rooms};
use crate::config::{
    AuthConfig, Config, ConfigError, ConnectionConfig, EngineConfig, RedisDeployment, TlsConfig,
    WebhooksConfig,
};
use crate::engine::{Deployment, RedisSettings};
use crate::transport::{CertificateError, CertificateFiles, Certificates, HttpFallbackSettings};
use crate::webhook::WebhookSettings;

/// The shortest time between two rounds over all connections.
const MIN_SWEEP_INTERVAL: Duration = Duration::from_millis(1);

/// The longest one.
const MAX_SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Descriptors that are not connections: the ports, the runtime, log and
/// certificate files, and requests of back ends.
const SPARE_FILES: u64 = 256;

/// Below this the limit of open files was probably never looked at.
const FEW_CONNECTIONS: usize = 10_000;

/// Reads the certificate files, if any are named.
///
/// # Errors
/// A file is not what it should be, or the two do not fit together.
pub fn certificates(config: &Config) -> Result<Option<Certificates>, ConfigError> {
    let Some(tls) = &config.server.tls else {
        return Ok(None);
    };
    let bad_value = |key: &str, value: String, expected| ConfigError::BadValue {
        key: key.to_owned(),
        value,
        origin: String::new(),
        expected,
    };
    Certificates::load(certificate_files(tls))
        .map(Some)
        .map_err(|error| match error {
            CertificateError::Unreadable {
                path,
                reason,
                expected,
            } => {
                let key = if path == tls.cert {
                    "server.tls.cert"
                } else if path == tls.key {
                    "server.tls.key"
                } else {
                    "server.tls.also"
                };
                let expected = format!("a PEM file with {expected} ({reason})");
                bad_value(key, format!("{path:?}"), expected)
            }
            CertificateError::Unusable { cert, key, reason } => bad_value(
                "server.tls",
                format!("{cert:?} with {key:?}"),
                format!("a certificate and the key that belongs to it ({reason})"),
            ),
        })
}

fn certificate_files(tls: &TlsConfig) -> Vec<CertificateFiles> {
    let first = (&tls.cert, &tls.key);
    let also = tls.also.iter().map(|more| (&more.cert, &more.key));
    std::iter::once(first)
        .chain(also)
        .map(|(cert, key)| CertificateFiles {
            cert: cert.clone(),
            key: key.clone(),
        })
        .collect()
}

/// How people with JWTs are authorised, if they are.
#[must_use]
pub fn auth_config(config: &Config) -> Option<AuthConfig> {
    let (rooms, chat) = (&config.adapters.rooms, &config.adapters.chat);
    let mut auth = config.auth.clone();
    if rooms.enabled {
        auth = rooms::rules::extend(&auth, rooms);
    }
    if chat.enabled {
        auth = chat::rules::extend(&auth, chat);
    }
    let sto = &config.adapters.sto;
    // It signs for its own channels itself.
    if sto.enabled {
        auth.app = auth.app.or_else(|| sto.app.clone());
    }
    (auth.enabled || rooms.enabled || chat.enabled || sto.enabled).then_some(auth)
}

pub(super) fn webhook_settings(config: &WebhooksConfig) -> WebhookSettings {
    WebhookSettings {
        deny_private_targets: config.deny_private_targets,
        hold_back: config.hold_back,
        batch_window: config.batch_window,
        connect_timeout: config.connect_timeout,
        timeout: config.timeout,
        first_retry: config.first_retry,
        retry_for: config.retry_for,
    }
}

pub(super) fn http_fallback_settings(config: &Config) -> HttpFallbackSettings {
    let fallback = &config.http_fallback;
    HttpFallbackSettings {
        path: fallback.path.clone(),
        hostname: fallback.hostname.clone(),
        activity_timeout: config.connection.activity_timeout,
        max_message_bytes: config.connection.max_message_bytes,
        outbox_bytes: config.connection.outbox_bytes,
        heartbeat: fallback.heartbeat,
        answer_wait: fallback.answer_wait,
        session_grace: fallback.session_grace,
        reopen_wait: fallback.reopen_wait,
        sockjs_scripts: fallback.sockjs_scripts.clone(),
    }
}

/// How Redis is reached, if it connects this node with others.
pub(crate) fn redis_settings(config: &EngineConfig, hold_back: Duration) -> Option<RedisSettings> {
    let address = config.url.as_ref().and_then(|url| url.parse())?;
    Some(RedisSettings {
        deployment: match address.deployment {
            RedisDeployment::Single => Deployment::Single,
            RedisDeployment::Sentinel(master) => Deployment::Sentinel { master },
            RedisDeployment::Cluster => Deployment::Cluster,
        },
        hosts: address.hosts,
        is_tls: address.is_tls,
        username: address.username,
        password: address.password,
        database: address.database,
        prefix: config.prefix.clone(),
        node_timeout: config.node_timeout,
        hold_back,
    })
}

/// How many connections this process can have, and what was asked for at most.
pub(super) fn max_connections(wanted: Option<usize>) -> usize {
    let files = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(files) => files,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files cannot be raised");
            rlimit::Resource::NOFILE.get_soft().unwrap_or(1_024)
        }
    };
    let possible = usize::try_from(files.saturating_sub(SPARE_FILES).max(1)).unwrap_or(usize::MAX);
    match wanted {
        Some(wanted) if wanted > possible => {
            tracing::warn!(
                wanted,
                possible,
                "the limit of open files allows fewer connections than server.max_connections; raise it with ulimit -n or LimitNOFILE"
            );
            possible
        }
        Some(wanted) => wanted,
        None => {
            if possible < FEW_CONNECTIONS {
                tracing::warn!(
                    possible,
                    "the limit of open files allows few connections; raise it with ulimit -n or LimitNOFILE"
                );
            }
            possible
        }
    }
}

/// What this node is called in the database: the same after a restart, and
/// another one for each server of a machine.
pub(super) fn node_name(port: u16) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{port}", host.trim())
}

pub(super) fn sweep_interval(connection: &ConnectionConfig) -> Duration {
    let shortest = connection
        .ping_after
        .min(connection.pong_wait)
        .min(connection.authorization_timeout)
        .min(connection.stalled_write);
    (shortest / 4).clamp(MIN_SWEEP_INTERVAL, MAX_SWEEP_INTERVAL)
}

/// A sweep finds out up to one interval late; looking for what is older than
/// this keeps the time that was promised.
pub(super) fn ahead_of_sweep(promised: Duration, interval: Duration) -> Duration {
    promised.saturating_sub(interval).max(MIN_SWEEP_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checklist 35: 75 s from the last sign of life to `member_removed`.
    #[test]
    fn a_silent_client_is_gone_within_the_times_that_are_configured() {
        let connection = ConnectionConfig::default();

        let interval = sweep_interval(&connection);
        let asked = ahead_of_sweep(connection.ping_after, interval) + interval;
        let closed = ahead_of_sweep(connection.pong_wait, interval) + interval;

        assert!(interval <= Duration::from_secs(1));
        assert_eq!(asked + closed, Duration::from_secs(75));
    }
}
