//! Secrets at rest: sealed with a master key that is not in the database.
//!
//! A stored secret is versioned text. `plain:TEXT` was stored without a master
//! key. `x1:KEY:BASE64` is XChaCha20-Poly1305: the name of the master key, then a
//! random nonce of 24 bytes and the ciphertext. What the secret belongs to is
//! authenticated with it, so that a row cannot be given the secret of another.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

/// Bytes of a master key.
const KEY_BYTES: usize = 32;

/// Bytes of a nonce. Long enough to be drawn at random for each secret.
const NONCE_BYTES: usize = 24;

/// What begins a secret that was stored as it is.
const PLAIN: &str = "plain:";

/// What begins a sealed one.
const SEALED: &str = "x1:";

/// Seals with the first master key, and opens with any.
#[derive(Clone, Default)]
pub struct Vault {
    keys: Vec<MasterKey>,
}

#[derive(Clone)]
struct MasterKey {
    /// The first 8 hex digits of its SHA-256.
    name: String,
    cipher: XChaCha20Poly1305,
}

/// The text is no master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a master key is 32 bytes in hex or base64, such as `openssl rand -hex 32` prints")]
pub struct InvalidMasterKey;

/// A stored secret cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// It was sealed with a key that is not here.
    #[error("a secret is sealed with the master key {name}, which is not configured")]
    UnknownKey {
        /// The name of the key.
        name: String,
    },
    /// It was changed, or belongs elsewhere.
    #[error("a secret in the database was changed, or belongs to another app")]
    Forged,
    /// It has none of the forms.
    #[error("a secret in the database has a form that this version does not know")]
    UnknownForm,
}

impl Vault {
    /// Seals with the first of `master_keys`; without any, nothing is sealed.
    ///
    /// # Errors
    /// One of them is no master key.
    pub fn new<'a>(
        master_keys: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, InvalidMasterKey> {
        let keys = master_keys.into_iter().map(MasterKey::parse);
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
        })
    }

    /// The text to store. `owner` is what the secret belongs to.
    #[must_use]
    pub fn seal(&self, secret: &str, owner: &str) -> String {
        let Some(key) = self.keys.first() else {
            return format!("{PLAIN}{secret}");
        };
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload {
            msg: secret.as_bytes(),
            aad: owner.as_bytes(),
        };
        let ciphertext = key
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("a secret is shorter than the cipher's limit of 256 GiB");
        let sealed = STANDARD.encode([&nonce[..], &ciphertext].concat());
        format!("{SEALED}{}:{sealed}", key.name)
    }

    /// The secret in a stored text.
    ///
    /// # Errors
    /// It was sealed with another key, for another owner, or by nobody.
    pub fn open(&self, stored: &str, owner: &str) -> Result<String, VaultError> {
        if let Some(secret) = stored.strip_prefix(PLAIN) {
            return Ok(secret.to_owned());
        }
        let (name, sealed) = stored
            .strip_prefix(SEALED)
            .and_then(|rest| rest.split_once(':'))
            .ok_or(VaultError::UnknownForm)?;
        let key = self.keys.iter().find(|key| key.name == name);
        let key = key.ok_or_else(|| VaultError::UnknownKey {
            name: name.to_owned(),
        })?;
        let bytes = STANDARD.decode(sealed).map_err(|_| VaultError::Forged)?;
        let (nonce, ciphertext) = bytes
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(VaultError::Forged)?;
        let payload = Payload {
            msg: ciphertext,
            aad: owner.as_bytes(),
        };
        let secret = key
            .cipher
            .decrypt(&XNonce::from(*nonce), payload)
            .map_err(|_| VaultError::Forged)?;
        String::from_utf8(secret).map_err(|_| VaultError::Forged)
    }

    /// Whether a stored text is sealed as a new one would be.
    #[must_use]
    pub fn is_current(&self, stored: &str) -> bool {
        match self.keys.first() {
            Some(key) => stored
                .strip_prefix(SEALED)
                .and_then(|rest| rest.split_once(':'))
                .is_some_and(|(name, _)| name == key.name),
            None => stored.starts_with(PLAIN),
        }
    }
}

impl MasterKey {
    fn parse(text: &str) -> Result<Self, InvalidMasterKey> {
        let text = text.trim();
        let bytes = if text.len() == 2 * KEY_BYTES {
            from_hex(text)
        } else {
            STANDARD.decode(text).ok()
        };
        let bytes: [u8; KEY_BYTES] = bytes
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(InvalidMasterKey)?;
        let name = Sha256::digest(bytes)[..4]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(Self {
            name,
            cipher: XChaCha20Poly1305::new(&bytes.into()),
        })
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        })
        .collect()
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.keys.iter().map(|key| key.name.as_str()).collect();
        f.debug_struct("Vault").field("keys", &names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const NEW: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    #[test]
    fn a_sealed_secret_opens_with_its_key_for_its_owner() {
        let vault = Vault::new([OLD]).unwrap();

        let stored = vault.seal("hunter2", "app 1");

        assert!(!stored.contains("hunter2"));
        assert_ne!(vault.seal("hunter2", "app 1"), stored);
        assert_eq!(vault.open(&stored, "app 1"), Ok("hunter2".to_owned()));
        assert_eq!(vault.open(&stored, "app 2"), Err(VaultError::Forged));
        let middle = stored.len() / 2;
        let other = if &stored[middle..=middle] == "A" {
            "B"
        } else {
            "A"
        };
        let changed = format!("{}{other}{}", &stored[..middle], &stored[middle + 1..]);
        assert_eq!(vault.open(&changed, "app 1"), Err(VaultError::Forged));
        assert!(matches!(
            Vault::default().open(&stored, "app 1"),
            Err(VaultError::UnknownKey { .. })
        ));
    }

    #[test]
    fn a_new_key_seals_and_the_old_one_still_opens() {
        let before = Vault::new([OLD]).unwrap();
        let after = Vault::new([NEW, OLD]).unwrap();
        let stored = before.seal("hunter2", "1");

        assert_eq!(after.open(&stored, "1").as_deref(), Ok("hunter2"));
        assert!(before.is_current(&stored));
        assert!(!after.is_current(&stored));
        assert!(after.is_current(&after.seal("hunter2", "1")));
    }

    #[test]
    fn without_a_key_secrets_are_stored_as_they_are() {
        let none = Vault::default();
        let stored = none.seal("hunter2", "1");

        assert_eq!(stored, "plain:hunter2");
        assert!(none.is_current(&stored));
        let vault = Vault::new([NEW]).unwrap();
        assert_eq!(vault.open(&stored, "1").as_deref(), Ok("hunter2"));
        assert!(!vault.is_current(&stored));
        assert_eq!(vault.open("x9:?", "1"), Err(VaultError::UnknownForm));
    }

    #[test]
    fn a_master_key_is_never_shown_and_has_32_bytes() {
        assert!(!format!("{:?}", Vault::new([OLD]).unwrap()).contains(OLD));
        for text in ["", "00", "zz", &"g".repeat(64), &"00".repeat(31)] {
            assert!(Vault::new([text]).is_err(), "{text}");
        }
    }
}
