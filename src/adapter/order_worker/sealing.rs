//! Passwords of accounts at rest. They must be readable again, so they are sealed and
//! not hashed.
//!
//! `v1:KEY:BASE64` is what we write: XChaCha20-Poly1305 with the name of its key, bound to
//! the account, as [`Vault`] makes it. `BASE64:BASE64:BASE64` is what services in Node
//! write (IV, tag, ciphertext of AES-256-GCM) and what we write as well while they read.

use std::sync::OnceLock;

use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hkdf::{HKDF_SHA256, Salt};
use scrypt::Params;

use crate::apps::Vault;
use crate::config::{CryptoConfig, Secret};

/// What begins a password that we have sealed.
const V1: &str = "v1:";

/// What the vault begins with in its place.
const VAULT: &str = "x1:";

/// The salt that all services in Node use.
const LEGACY_SALT: &[u8] = b"salt";

/// Bytes of an initialisation vector there.
const LEGACY_IV: usize = 16;

/// Bytes of a tag.
const TAG: usize = 16;

/// Bytes of a secret that is random enough to be a key as it is.
const KEY_BYTES: usize = 32;

/// log2 of the work for a passphrase: 64 MiB, some tenths of a second. Once per process.
const PASSPHRASE_WORK: u8 = 16;

/// log2 of the work for a key of the services in Node.
const LEGACY_WORK: u8 = 14;

/// Seals passwords with the secret of now, and opens those of before.
#[derive(Debug)]
pub struct Sealer {
    vault: Vault,
    legacy: Vec<LegacyKey>,
    writes_v0: bool,
}

struct LegacyKey {
    secret: Secret,
    /// Made when it is needed: it takes a while.
    cipher: OnceLock<AesGcm<Aes256, U16>>,
}

/// A stored password cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It was sealed with another secret.
    #[error("the password was sealed with another ROSREESTR_CRYPTO_SECRET")]
    OtherSecret,
    /// It has none of the forms.
    #[error("the stored password has a form that this version does not know")]
    UnknownForm,
}

impl Sealer {
    /// `salt` is that of this installation. Takes some tenths of a second if the secret
    /// is a passphrase.
    ///
    /// # Errors
    /// There is no secret.
    pub fn new(config: &CryptoConfig, salt: &[u8]) -> Result<Self, crate::config::ConfigError> {
        let secrets: Vec<&Secret> = std::iter::once(config.secret()?)
            .chain(&config.previous)
            .collect();
        let keys: Vec<String> = secrets
            .iter()
            .map(|secret| STANDARD.encode(key(secret.reveal(), salt)))
            .collect();
        Ok(Self {
            vault: Vault::new(keys.iter().map(String::as_str))
                .expect("a derived key has the length of one"),
            legacy: secrets
                .into_iter()
                .map(|secret| LegacyKey {
                    secret: secret.clone(),
                    cipher: OnceLock::new(),
                })
                .collect(),
            writes_v0: config.writes_v0,
        })
    }

    /// The text to store for the account `username`.
    #[must_use]
    pub fn seal(&self, password: &str, username: &str) -> String {
        if self.writes_v0 {
            return self.legacy[0].seal(password);
        }
        let sealed = self.vault.seal(password, &owner(username));
        let rest = sealed.strip_prefix(VAULT).expect("the vault has a key");
        format!("{V1}{rest}")
    }

    /// The password in a stored text.
    ///
    /// # Errors
    /// It was sealed with another secret, or for another account.
    pub fn open(&self, stored: &str, username: &str) -> Result<Secret, SealError> {
        if let Some(rest) = stored.strip_prefix(V1) {
            let opened = self.vault.open(&format!("{VAULT}{rest}"), &owner(username));
            return opened
                .map(|password| password.as_str().into())
                .map_err(|_| SealError::OtherSecret);
        }
        let (iv, sealed) = legacy_parts(stored).ok_or(SealError::UnknownForm)?;
        self.legacy
            .iter()
            .find_map(|key| key.open(iv, &sealed))
            .ok_or(SealError::OtherSecret)
    }

    /// The text to store for the session of the account `username`. No service in Node
    /// knows sessions, so it has always our form.
    #[must_use]
    pub fn seal_session(&self, cookies: &str, username: &str) -> String {
        self.vault.seal(cookies, &session_owner(username))
    }

    /// The cookies in a stored text.
    ///
    /// # Errors
    /// They were sealed with another secret, or for another account.
    pub fn open_session(&self, stored: &str, username: &str) -> Result<Secret, SealError> {
        self.vault
            .open(stored, &session_owner(username))
            .map(|cookies| cookies.as_str().into())
            .map_err(|_| SealError::OtherSecret)
    }

    /// Whether a stored session is sealed as a new one would be.
    #[must_use]
    pub fn is_current_session(&self, stored: &str) -> bool {
        self.vault.is_current(stored)
    }

    /// Whether a stored text is what [`Self::seal`] would write.
    #[must_use]
    pub fn is_current(&self, stored: &str) -> bool {
        match stored.strip_prefix(V1) {
            Some(rest) => !self.writes_v0 && self.vault.is_current(&format!("{VAULT}{rest}")),
            None => {
                self.writes_v0
                    && legacy_parts(stored)
                        .is_some_and(|(iv, sealed)| self.legacy[0].open(iv, &sealed).is_some())
            }
        }
    }
}

impl LegacyKey {
    fn cipher(&self) -> &AesGcm<Aes256, U16> {
        self.cipher.get_or_init(|| {
            let key = stretch(self.secret.reveal(), LEGACY_SALT, LEGACY_WORK);
            AesGcm::new(&key.into())
        })
    }

    fn seal(&self, password: &str) -> String {
        let iv: [u8; LEGACY_IV] = rand::random();
        let sealed = self
            .cipher()
            .encrypt(&Nonce::from(iv), password.as_bytes())
            .expect("a password is shorter than the cipher's limit");
        let (ciphertext, tag) = sealed.split_at(sealed.len() - TAG);
        [&iv[..], tag, ciphertext]
            .map(|part| STANDARD.encode(part))
            .join(":")
    }

    fn open(&self, iv: [u8; LEGACY_IV], sealed: &[u8]) -> Option<Secret> {
        let password = self.cipher().decrypt(&Nonce::from(iv), sealed).ok()?;
        let password = String::from_utf8(password).ok()?;
        Some(password.as_str().into())
    }
}

/// The vector, and ciphertext and tag in our order, of what a service in Node has written.
fn legacy_parts(stored: &str) -> Option<([u8; LEGACY_IV], Vec<u8>)> {
    let parts: Vec<Vec<u8>> = stored
        .split(':')
        .map(|part| STANDARD.decode(part).ok())
        .collect::<Option<_>>()?;
    let [iv, tag, ciphertext] = parts.as_slice() else {
        return None;
    };
    let iv = iv.as_slice().try_into().ok()?;
    (tag.len() == TAG).then(|| (iv, [ciphertext.as_slice(), tag].concat()))
}

impl std::fmt::Debug for LegacyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LegacyKey(..)")
    }
}

/// What a password is bound to: no row can be given that of another.
fn owner(username: &str) -> String {
    format!("rosreestr_users|{username}")
}

fn session_owner(username: &str) -> String {
    format!("rosreestr_users.session|{username}")
}

/// A random secret needs no stretching, a passphrase does.
fn key(secret: &str, salt: &[u8]) -> [u8; KEY_BYTES] {
    match random_bytes(secret) {
        Some(bytes) => {
            let mut key = [0; KEY_BYTES];
            Salt::new(HKDF_SHA256, &[])
                .extract(&bytes)
                .expand(&[b"fanfare rosreestr_users"], HKDF_SHA256)
                .and_then(|expanded| expanded.fill(&mut key))
                .expect("one hash of key material can be had");
            key
        }
        None => stretch(secret, salt, PASSPHRASE_WORK),
    }
}

/// The bytes of a secret that was made by a generator.
fn random_bytes(secret: &str) -> Option<Vec<u8>> {
    let is_hex = secret.len() >= 2 * KEY_BYTES
        && secret.len().is_multiple_of(2)
        && secret.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex {
        return Some(secret.to_ascii_lowercase().into_bytes());
    }
    let is_base64 = secret.len() >= 43 && !secret.contains(' ');
    let bytes = STANDARD
        .decode(secret)
        .or_else(|_| URL_SAFE_NO_PAD.decode(secret.trim_end_matches('=')));
    bytes
        .ok()
        .filter(|bytes| is_base64 && bytes.len() >= KEY_BYTES)
}

fn stretch(secret: &str, salt: &[u8], work: u8) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    let params = Params::new(work, 8, 1).expect("the parameters are in their ranges");
    scrypt::scrypt(secret.as_bytes(), salt, &params, &mut key).expect("32 bytes can be had");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANDOM: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn sealer(secret: &str, previous: Option<&str>, writes_v0: bool) -> Sealer {
        let config = CryptoConfig {
            secret: Some(secret.into()),
            previous: previous.map(Into::into),
            writes_v0,
        };
        Sealer::new(&config, b"a salt of this installation").unwrap()
    }

    #[test]
    fn a_password_opens_for_its_account_only() {
        let sealer = sealer(RANDOM, None, false);

        let stored = sealer.seal("пароль-1", "user-1");

        assert!(stored.starts_with("v1:") && !stored.contains("пароль"));
        assert_eq!(sealer.open(&stored, "user-1").unwrap().reveal(), "пароль-1");
        assert_eq!(
            sealer.open(&stored, "user-2").map(|_| ()),
            Err(SealError::OtherSecret)
        );
        assert!(sealer.is_current(&stored));
    }

    /// Made by Node 20: `crypto.scryptSync('correct horse battery staple', 'salt', 32)`,
    /// `createCipheriv('aes-256-gcm', key, Buffer.alloc(16, 7))`.
    #[test]
    fn rr_decrypt_node_value() {
        let stored = "BwcHBwcHBwcHBwcHBwcHBw==:DaXSR1a+Ko3Xzet2moJdRw==:cb3S8AXZG+wzV1BcOVt0";
        let sealer = sealer("correct horse battery staple", None, false);

        assert_eq!(
            sealer.open(stored, "anybody").unwrap().reveal(),
            "пароль-42"
        );
        assert!(!sealer.is_current(stored));
    }

    #[test]
    fn what_is_written_for_node_is_read_again() {
        let sealer = sealer("correct horse battery staple", None, true);

        let stored = sealer.seal("hunter2", "user-1");

        assert_eq!(stored.split(':').count(), 3);
        assert_eq!(sealer.open(&stored, "user-1").unwrap().reveal(), "hunter2");
        assert!(sealer.is_current(&stored));
    }

    #[test]
    fn a_new_secret_opens_what_the_old_one_has_sealed() {
        let old = sealer(RANDOM, None, false);
        let stored = old.seal("hunter2", "u");
        let new = sealer("a passphrase of some length", Some(RANDOM), false);

        assert_eq!(new.open(&stored, "u").unwrap().reveal(), "hunter2");
        assert!(!new.is_current(&stored));
        assert!(new.is_current(&new.seal("hunter2", "u")));
        assert_eq!(
            old.open(&new.seal("x", "u"), "u").map(|_| ()),
            Err(SealError::OtherSecret)
        );
    }

    #[test]
    fn garbage_is_no_password() {
        let sealer = sealer(RANDOM, None, false);
        for garbage in [
            "",
            "a",
            "::",
            "AAAA:AAAA:AAAA",
            "v1:",
            "v1:x:y",
            "$2b$10$abc",
        ] {
            assert!(sealer.open(garbage, "u").is_err(), "{garbage}");
        }
    }
}
