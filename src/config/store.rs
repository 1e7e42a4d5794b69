//! `[store]`: the database of apps that come and go while the server runs.

use serde::{Deserialize, Serialize};

use super::{ConfigError, Secret};
use crate::apps::{InvalidMasterKey, Vault};

/// The database.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// `sqlite://FILE` or `postgres://USER:PASSWORD@HOST/NAME`; absent: the apps
    /// of the file are all there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Secret>,
    /// The key that secrets are sealed with in the database: 32 bytes in hex or
    /// base64. Absent: they are stored as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master_key: Option<Secret>,
    /// Master keys of before, which still open what was sealed with them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub old_master_keys: Vec<Secret>,
    /// The table that a control panel for soketi writes; absent: our own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soketi_table: Option<String>,
}

impl StoreConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let bad = |key: &str, value: &str, expected: &str| {
            ConfigError::bad_value(&format!("store.{key}"), value, expected, None)
        };
        if let Some(url) = &self.url {
            let url = url.reveal();
            let is_known = ["sqlite:", "postgres://", "postgresql://"]
                .iter()
                .any(|scheme| url.starts_with(scheme));
            if !is_known || url.contains(":memory:") {
                return Err(bad(
                    "url",
                    super::app::MASK,
                    "sqlite://FILE or postgres://USER:PASSWORD@HOST/NAME",
                ));
            }
        }
        if let Err(invalid) = self.vault() {
            return Err(bad("master_key", super::app::MASK, &invalid.to_string()));
        }
        match &self.soketi_table {
            Some(table) if !is_identifier(table) => Err(bad(
                "soketi_table",
                table,
                "the name of a table: letters, digits and _",
            )),
            _ => Ok(()),
        }
    }

    /// What seals and opens the secrets of the database.
    ///
    /// # Errors
    /// One of the master keys is none; a configuration that was checked has only
    /// valid ones.
    pub fn vault(&self) -> Result<Vault, InvalidMasterKey> {
        let keys = self.master_key.iter().chain(&self.old_master_keys);
        Vault::new(keys.map(Secret::reveal))
    }
}

/// Whether `name` can be a table's without quotes.
fn is_identifier(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
