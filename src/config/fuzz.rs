//! What must hold of whatever an operator writes, for `fuzz/` and the replay of its
//! corpus.

use std::collections::HashMap;
use std::path::Path;

use super::{BrokerUrl, Config, MASK, Migration, MigrationFrom, RedisUrl, Sources};

/// The file, and after a line of `---` variables, one a line.
///
/// # Panics
/// What was accepted cannot be shown, or shows a secret.
pub fn file(text: &str) {
    let (file, variables) = text.split_once("\n---\n").unwrap_or((text, ""));
    let Ok(table) = file.parse::<toml::Table>() else {
        return;
    };
    let variables: HashMap<String, String> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let sources = Sources {
        variables,
        ..Sources::default()
    };
    match Config::from_table(table, &sources) {
        Ok(loaded) => {
            let shown = loaded
                .config
                .to_toml()
                .expect("no path is anything but text");
            let shown: toml::Table = shown.parse().expect("it is a configuration");
            check_masked(&toml::Value::Table(shown));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Every secret is shown as the mask.
fn check_masked(value: &toml::Value) {
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                if ["secret", "jwt_secret", "token", "webhook_token"].contains(&name.as_str()) {
                    assert_eq!(value.as_str(), Some(MASK), "{name}");
                }
                check_masked(value);
            }
        }
        toml::Value::Array(values) => values.iter().for_each(check_masked),
        _ => {}
    }
}

/// The file of another server: soketi's JSON, or variables.
///
/// # Panics
/// Never: any file is read or refused.
pub fn migration(text: &str) {
    let path = Path::new("env");
    for from in [
        MigrationFrom::Soketi,
        MigrationFrom::Reverb,
        MigrationFrom::Pusher,
    ] {
        let _ = Migration::of_text(from, path, text);
    }
}

/// The URL of Redis or of a broker.
///
/// # Panics
/// A password is shown.
pub fn url(text: &str) {
    let redis = RedisUrl::from(text);
    let _ = redis.parse();
    let broker = BrokerUrl::from(text);
    let _ = broker.parse();
    // Its end, wherever the slashes stand.
    let password = text
        .rsplit_once('@')
        .and_then(|(before, _)| before.rsplit_once(':'))
        .map(|(_, password)| format!(":{password}@"))
        .filter(|password| !password.contains(MASK));
    if let Some(password) = password {
        for shown in [format!("{redis:?}"), format!("{broker:?}")] {
            assert!(!shown.contains(&password), "{shown}");
        }
    }
}
