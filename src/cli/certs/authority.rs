//! A private certificate authority for a few names, and certificates from it.
//!
//! The authority can sign for these names only: whoever trusts it need not fear
//! that its key is used for any other site. Knows nothing of Pusher.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use time::{Duration, OffsetDateTime};

/// How long the authority is valid.
const AUTHORITY_DAYS: i64 = 3_650;

/// How long a certificate is valid. Apple accepts no more than 825 days.
const CERTIFICATE_DAYS: i64 = 800;

/// Clocks of clients are not exact.
const BACKDATED: Duration = Duration::days(1);

/// Where the files of an authority are.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) authority: PathBuf,
    pub(super) authority_key: PathBuf,
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// What was made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// Authority and certificate.
    Everything,
    /// The authority was there.
    Certificate,
}

impl Files {
    pub(super) fn of(directory: &Path) -> Self {
        Self {
            authority: directory.join("ca.pem"),
            authority_key: directory.join("ca-key.pem"),
            cert: directory.join("cert.pem"),
            key: directory.join("key.pem"),
        }
    }

    /// Makes a certificate for `names`, and the authority if there is none. The
    /// certificate is verified as a client does it before anything is written.
    ///
    /// # Errors
    /// A file cannot be read or written, or the authority may not sign for one of
    /// the names.
    pub(super) fn make(&self, names: &[ServerName<'static>]) -> anyhow::Result<Made> {
        let existing = self.read_authority()?;
        let made = match &existing {
            Some(_) => Made::Certificate,
            None => Made::Everything,
        };
        let (authority_pem, authority_key) = match existing {
            Some(existing) => existing,
            None => {
                let key = KeyPair::generate()?;
                (authority(names)?.self_signed(&key)?.pem(), key)
            }
        };
        let key = KeyPair::generate()?;
        // Only subject and key of the issuer go into the certificate, so that
        // the authority's own names do not matter here.
        let issuer = Issuer::new(authority(names)?, &authority_key);
        let cert = leaf(names)?.signed_by(&key, &issuer)?;
        verify(&authority_pem, cert.der(), names).with_context(|| {
            format!(
                "the authority in {} cannot vouch for this; make another one with --out",
                self.authority.display()
            )
        })?;
        if made == Made::Everything {
            write(&self.authority_key, &authority_key.serialize_pem(), 0o600)?;
            write(&self.authority, &authority_pem, 0o644)?;
        }
        write(&self.key, &key.serialize_pem(), 0o600)?;
        write(&self.cert, &cert.pem(), 0o644)?;
        Ok(made)
    }

    fn read_authority(&self) -> anyhow::Result<Option<(String, KeyPair)>> {
        let (Some(pem), Some(key)) = (read(&self.authority)?, read(&self.authority_key)?) else {
            for path in [&self.authority, &self.authority_key] {
                if path.exists() {
                    bail!(
                        "{} is half of an authority; move it away or bring the other half back",
                        path.display()
                    );
                }
            }
            return Ok(None);
        };
        let key = KeyPair::from_pem(&key)
            .with_context(|| format!("cannot use {}", self.authority_key.display()))?;
        Ok(Some((pem, key)))
    }
}

fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Replaces a file in one step, so that a server that reads it meanwhile gets the
/// one or the other.
fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let fresh = path.with_extension("new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&fresh)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&fresh, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}

fn base(common_name: &str, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATED;
    params.not_after = now + Duration::days(days) - BACKDATED;
    params
}

fn authority(names: &[ServerName<'static>]) -> anyhow::Result<CertificateParams> {
    let mut params = base("Fanfare private authority", AUTHORITY_DAYS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let mut permitted_subtrees = Vec::new();
    for name in names {
        permitted_subtrees.push(match name {
            ServerName::DnsName(name) => GeneralSubtree::DnsName(name.as_ref().to_owned()),
            ServerName::IpAddress(ip) => GeneralSubtree::IpAddress(one(IpAddr::from(*ip))),
            other => bail!("{other:?} is neither a name nor an address"),
        });
    }
    // A kind of name of which none is permitted would be free otherwise.
    let mut excluded_subtrees = Vec::new();
    if !names
        .iter()
        .any(|name| matches!(name, ServerName::IpAddress(_)))
    {
        excluded_subtrees.push(GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])));
        excluded_subtrees.push(GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])));
    }
    if !names
        .iter()
        .any(|name| matches!(name, ServerName::DnsName(_)))
    {
        excluded_subtrees.push(GeneralSubtree::DnsName(String::new()));
    }
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees,
        excluded_subtrees,
    });
    Ok(params)
}

/// The network that holds only this address.
fn one(ip: IpAddr) -> CidrSubnet {
    match ip {
        IpAddr::V4(ip) => CidrSubnet::V4(ip.octets(), [0xff; 4]),
        IpAddr::V6(ip) => CidrSubnet::V6(ip.octets(), [0xff; 16]),
    }
}

fn leaf(names: &[ServerName<'static>]) -> anyhow::Result<CertificateParams> {
    let texts: Vec<String> = names
        .iter()
        .map(|name| name.to_str().into_owned())
        .collect();
    let mut params = base("Fanfare", CERTIFICATE_DAYS);
    params.subject_alt_names = CertificateParams::new(texts)?.subject_alt_names;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

/// Verifies `cert` as a client that trusts the authority does.
fn verify(
    authority_pem: &str,
    cert: &CertificateDer<'_>,
    names: &[ServerName<'static>],
) -> anyhow::Result<()> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority_pem.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
    for name in names {
        verifier
            .verify_server_cert(cert, &[], name, &[], UnixTime::now())
            .with_context(|| format!("{} is not covered", name.to_str()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<ServerName<'static>> {
        names
            .iter()
            .map(|name| ServerName::try_from((*name).to_owned()).unwrap())
            .collect()
    }

    #[test]
    fn a_second_certificate_comes_from_the_same_authority() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::of(directory.path());
        let wanted = names(&["ws-eu.pusher.com", "192.168.1.10", "::1"]);

        assert_eq!(files.make(&wanted).unwrap(), Made::Everything);
        let authority = std::fs::read(&files.authority).unwrap();
        let first = std::fs::read(&files.cert).unwrap();
        assert_eq!(files.make(&wanted[..1]).unwrap(), Made::Certificate);

        assert_eq!(std::fs::read(&files.authority).unwrap(), authority);
        assert_ne!(std::fs::read(&files.cert).unwrap(), first);
    }

    #[test]
    fn an_authority_signs_for_no_name_that_it_was_not_made_for() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::of(directory.path());
        files.make(&names(&["ws-eu.pusher.com"])).unwrap();
        let before = std::fs::read(&files.cert).unwrap();

        for foreign in ["ws-us2.pusher.com", "bank.example", "10.0.0.1"] {
            let error = files.make(&names(&[foreign])).unwrap_err();
            assert!(format!("{error:#}").contains("cannot vouch"), "{error:#}");
        }

        assert_eq!(std::fs::read(&files.cert).unwrap(), before);
    }

    #[test]
    fn keys_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let files = Files::of(directory.path());
        files.make(&names(&["localhost"])).unwrap();

        for path in [&files.key, &files.authority_key] {
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        }
    }

    #[test]
    fn half_an_authority_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::of(directory.path());
        std::fs::write(&files.authority, "precious").unwrap();

        assert!(files.make(&names(&["localhost"])).is_err());

        assert_eq!(std::fs::read(&files.authority).unwrap(), b"precious");
    }
}
