//! The way to the server: a TCP connection, with TLS when an authority is given.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::Server;

/// What both kinds of connection can do.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A connection of either kind.
pub(crate) type Stream = Box<dyn Wire>;

/// Connects to `server`.
pub(crate) async fn connect(server: &Server) -> anyhow::Result<Stream> {
    let stream = TcpStream::connect(server.address)
        .await
        .with_context(|| format!("{} cannot be reached", server.address))?;
    stream.set_nodelay(true)?;
    let Some(ca) = &server.ca else {
        return Ok(Box::new(stream));
    };
    let config = match server.tls.get() {
        Some(config) => Arc::clone(config),
        None => {
            let config = Arc::new(trusting(ca)?);
            Arc::clone(server.tls.get_or_init(|| config))
        }
    };
    let name = server.address.ip().into();
    let stream = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .with_context(|| format!("no TLS with {}", server.address))?;
    Ok(Box::new(stream))
}

/// A client that trusts the authorities in the PEM file `ca`.
fn trusting(ca: &Path) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(ca)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("--ca {}: expected a PEM file", ca.display()))?;
    ensure!(
        !certificates.is_empty(),
        "--ca {}: expected at least one certificate",
        ca.display()
    );
    for certificate in certificates {
        roots.add(certificate)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
