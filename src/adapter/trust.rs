//! Whose certificates our clients accept.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// The authorities that a client trusts.
#[derive(Clone, Debug)]
pub struct Trust(RootCertStore);

/// A file of authorities cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}; expected a PEM file with certificates of authorities")]
pub struct TrustError {
    path: PathBuf,
    reason: String,
}

impl Trust {
    /// The authorities that browsers trust, as of when this program was built.
    #[must_use]
    pub fn web() -> Self {
        Self(RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        })
    }

    /// Nobody but the authorities in a PEM file.
    ///
    /// # Errors
    /// The file cannot be read, or holds no authority.
    pub fn only(path: &Path) -> Result<Self, TrustError> {
        Self(RootCertStore::empty()).and_file(path)
    }

    /// Trusts those in a PEM file as well.
    ///
    /// # Errors
    /// The file cannot be read, or holds no authority.
    pub fn and_file(mut self, path: &Path) -> Result<Self, TrustError> {
        let unusable = |reason: String| TrustError {
            path: path.to_owned(),
            reason,
        };
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| unusable(error.to_string()))?;
        if certificates.is_empty() {
            return Err(unusable("no certificate in it".to_owned()));
        }
        for certificate in certificates {
            self.0
                .add(certificate)
                .map_err(|error| unusable(error.to_string()))?;
        }
        Ok(self)
    }

    /// The TLS configuration of a client.
    #[must_use]
    pub fn client_config(&self) -> ClientConfig {
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has what TLS 1.2 and 1.3 need")
            .with_root_certificates(self.0.clone())
            .with_no_client_auth()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_authorities_is_named_with_what_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for content in [None, Some(""), Some("no PEM"), Some(garbled)] {
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }

            let error = Trust::web().and_file(&path).unwrap_err().to_string();

            assert!(error.starts_with(path.to_str().unwrap()), "{error}");
            assert!(error.ends_with("expected a PEM file with certificates of authorities"));
        }
    }
}
