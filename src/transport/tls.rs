//! The server's certificates: read from PEM files, replaced without a restart.
//!
//! There may be several; a client gets the first that covers the name it asks
//! for, and the first of all otherwise.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

/// Where the certificate and its key are.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// Certificate chain, the server's own first.
    pub cert: PathBuf,
    /// Private key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// The certificate files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read as PEM.
    #[error("cannot read {path}: {reason}; expected a PEM file with {expected}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What should be in it.
        expected: &'static str,
    },
    /// The two files do not fit together, or the key is of an unknown kind.
    #[error("cannot use {cert} with {key}: {reason}")]
    Unusable {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What is wrong with them.
        reason: rustls::Error,
    },
}

/// Accepts TLS connections with the certificate that was read last.
#[derive(Debug)]
pub struct Certificates {
    files: Vec<CertificateFiles>,
    current: RwLock<Arc<ServerConfig>>,
}

impl Certificates {
    /// Reads the files; the first certificate is for clients that ask for a name
    /// which none of them covers.
    ///
    /// # Errors
    /// A file is missing, is not PEM, or the key does not fit the certificate.
    pub fn load(files: Vec<CertificateFiles>) -> Result<Self, CertificateError> {
        let current = RwLock::new(read(&files)?);
        Ok(Self { files, current })
    }

    /// Reads the files again. Connections that exist keep what they have; after
    /// an error new ones go on with the certificate from before.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub fn reload(&self) -> Result<(), CertificateError> {
        let fresh = read(&self.files)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current))
    }
}

/// Chooses a certificate by the name that the client asks for.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let covers = |certified: &&Arc<CertifiedKey>| {
            let name = hello.server_name()?;
            let name = ServerName::try_from(name).ok()?;
            let end_entity = certified.end_entity_cert().ok()?;
            let parsed = ParsedCertificate::try_from(end_entity).ok()?;
            verify_server_name(&parsed, &name).ok()
        };
        self.0
            .iter()
            .find(|certified| covers(certified).is_some())
            .or(self.0.first())
            .cloned()
    }
}

fn read(files: &[CertificateFiles]) -> Result<Arc<ServerConfig>, CertificateError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut certified = Vec::with_capacity(files.len());
    for files in files {
        certified.push(Arc::new(read_one(files, &provider)?));
    }
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has ciphers for the default versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName(certified)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read_one(
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CertificateError> {
    let unreadable = |path: &Path, reason: String, expected| CertificateError::Unreadable {
        path: path.to_owned(),
        reason,
        expected,
    };
    let expected = "one or more certificates";
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(&files.cert, error.to_string(), expected))?;
    if chain.is_empty() {
        let reason = "it holds no certificate".to_owned();
        return Err(unreadable(&files.cert, reason, expected));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| unreadable(&files.key, error.to_string(), "a private key"))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|reason| CertificateError::Unusable {
        cert: files.cert.clone(),
        key: files.key.clone(),
        reason,
    })
}
