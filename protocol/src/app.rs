//! The identity of an app: its id, its keys and their secrets.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The id of an app as it stands in HTTP API paths. Pusher's are decimal
/// digits, and two SDKs insist on that for their own settings; any text works.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppId(Arc<str>);

/// The public half of a key pair, as front ends send it in the URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppKey(Arc<str>);

macro_rules! text_newtype {
    ($name:ident) => {
        impl $name {
            /// Wraps `text` as it is; look-ups decide whether it exists.
            #[must_use]
            pub fn new(text: &str) -> Self {
                Self(text.into())
            }

            /// The text as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_newtype!(AppId);
text_newtype!(AppKey);

/// The secret half of a key pair. Its `Debug` prints `..`.
///
/// Holds the HMAC state with the key already absorbed, which halves the cost of
/// a short signature.
#[derive(Clone)]
pub struct AppSecret {
    text: Arc<str>,
    keyed: Hmac<Sha256>,
}

impl AppSecret {
    /// Prepares `text` as a signing key.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let keyed = Hmac::<Sha256>::new_from_slice(text.as_bytes())
            .expect("HMAC takes a key of any length");
        Self {
            text: text.into(),
            keyed,
        }
    }

    /// The secret itself: for storing and for showing it once to its owner.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// HMAC-SHA256 over the concatenation of `parts`.
    pub(crate) fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.keyed.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl PartialEq for AppSecret {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for AppSecret {}

impl fmt::Debug for AppSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

#[cfg(test)]
mod tests {
    use super::AppSecret;

    #[test]
    fn a_secret_does_not_print_itself() {
        assert_eq!(format!("{:?}", AppSecret::new("hunter2")), "..");
    }
}
