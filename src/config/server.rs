//! `[server]`: ports, certificates, start and stop.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::http_fallback::is_path;
use super::seconds;

/// Ports, certificates, start and stop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Address for clients and back ends. Default 127.0.0.1.
    pub host: IpAddr,
    /// Port for clients and back ends; 0 takes any free one. Default 6001.
    pub port: u16,
    /// Address for metrics and health. Default 127.0.0.1.
    pub metrics_host: IpAddr,
    /// Port for metrics and health; 0 takes any free one. Default 9601.
    pub metrics_port: u16,
    /// Connections that this node takes; absent: as many as the limit of open
    /// files allows. Further ones are refused with 4100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<usize>,
    /// Seconds over which clients are sent away at shutdown. Default 10.
    #[serde(with = "seconds")]
    pub shutdown_grace: Duration,
    /// Whether another process may listen on the same ports, so that a new one
    /// can take over before the old one stops. Default off.
    pub reuse_port: bool,
    /// Addresses of proxies whose `X-Forwarded-Proto` is believed. Default none.
    pub trusted_proxies: Vec<IpNet>,
    /// What stands before every path, such as `/realtime`; for servers that
    /// share a host name with others. Default empty.
    pub path_prefix: String,
    /// Whether metrics have the names of soketi too. Default false.
    pub soketi_metrics: bool,
    /// Certificate and key; absent: plain connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
}

/// PEM files; read again at SIGHUP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificate chain, the server's own first.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
    /// Port of its own for TLS; `server.port` is plain then. Absent:
    /// `server.port` speaks TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Further certificates, for clients that ask for another name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<CertificateConfig>,
}

/// A certificate for a name that the first one does not cover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// Certificate chain, the server's own first.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

impl TlsConfig {
    /// One certificate, on the server's port.
    #[must_use]
    pub fn new(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            cert: cert.into(),
            key: key.into(),
            port: None,
            also: Vec::new(),
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 6001,
            metrics_host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            metrics_port: 9601,
            max_connections: None,
            shutdown_grace: Duration::from_secs(10),
            reuse_port: false,
            trusted_proxies: Vec::new(),
            path_prefix: String::new(),
            soketi_metrics: false,
            tls: None,
        }
    }
}

impl ServerConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.max_connections == Some(0) {
            return Err(ConfigError::bad_value(
                "server.max_connections",
                "0",
                "a whole number above 0, or nothing for as many as possible",
                None,
            ));
        }
        if !self.path_prefix.is_empty() && !is_path(&self.path_prefix) {
            return Err(ConfigError::bad_value(
                "server.path_prefix",
                &self.path_prefix,
                "a path such as /realtime, without a slash at the end, or nothing",
                None,
            ));
        }
        let share_an_address = self.host == self.metrics_host
            || self.host.is_unspecified()
            || self.metrics_host.is_unspecified();
        if self.port != 0 && self.port == self.metrics_port && share_an_address {
            return Err(ConfigError::bad_value(
                "server.metrics_port",
                &self.metrics_port.to_string(),
                "another port than server.port",
                None,
            ));
        }
        let tls_port = self.tls.as_ref().and_then(|tls| tls.port);
        if let Some(port) = tls_port
            && port != 0
            && (port == self.port || (port == self.metrics_port && share_an_address))
        {
            return Err(ConfigError::bad_value(
                "server.tls.port",
                &port.to_string(),
                "another port than server.port and server.metrics_port",
                None,
            ));
        }
        Ok(())
    }

    /// Whether the files that are named here can be read.
    pub(super) fn check_files(&self) -> Result<(), ConfigError> {
        let Some(tls) = &self.tls else {
            return Ok(());
        };
        let also = tls.also.iter().flat_map(|more| {
            [
                ("server.tls.also.cert", &more.cert),
                ("server.tls.also.key", &more.key),
            ]
        });
        let first = [("server.tls.cert", &tls.cert), ("server.tls.key", &tls.key)];
        for (key, path) in first.into_iter().chain(also) {
            // Reading, because a directory can be opened.
            if let Err(error) = std::fs::read(path) {
                return Err(ConfigError::bad_value(
                    key,
                    &path.to_string_lossy(),
                    &format!("a PEM file that can be read ({error})"),
                    None,
                ));
            }
        }
        Ok(())
    }
}
