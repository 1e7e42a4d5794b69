//! Apps: the tenants of one server, their keys, switches and limits.
//!
//! Knows where apps are kept and how they are looked up. Does not know who is
//! connected to them; that is the hub's.

mod config_file;
mod history;
mod vault;
mod webhook;

use std::fmt::Debug;
use std::sync::Arc;

use fanfare_protocol::{AppId, AppKey, AppSecret, ChannelName, Limits, WebhookEventType};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use config_file::ConfigFileApps;
pub use history::HistoryRule;
pub use vault::{InvalidMasterKey, Vault, VaultError};
pub use webhook::{ChannelFilter, InvalidWebhook, Webhook, WebhookId};

/// One tenant. Immutable: a change makes a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// The id in HTTP API paths.
    pub id: AppId,
    /// Key pairs that are valid at the same time, the oldest first.
    pub keys: Vec<KeyPair>,
    /// Off: connections are refused with 4003, API requests with 403.
    pub enabled: bool,
    /// On: plain connections are refused with 4000.
    pub tls_only: bool,
    /// Whether clients may send `client-…` events.
    pub client_events: bool,
    /// Whether subscribers are told how many they are.
    pub subscription_count: bool,
    /// Whether signed-in users hear of the users in their watchlist.
    pub watchlist: bool,
    /// Whether a connection must sign in or subscribe to a private channel
    /// within the server's time-out.
    pub authorized_connections: bool,
    /// Whether a refused subscription is told to its channel too, beside
    /// `pusher:error`.
    pub subscription_errors: bool,
    /// Whether answers of the HTTP API have the member `"ok":true`, as those of
    /// soketi.
    pub soketi_answers: bool,
    /// The code that refuses a connection above `limits.connections`.
    pub over_quota: OverQuota,
    /// Whether a session belongs to the first user who is known on it.
    pub bind_sessions: bool,
    /// Origins of pages that may connect, such as `https://shop.example`.
    /// Empty: all. Clients without an `Origin`, such as mobile apps, may always.
    pub allowed_origins: Vec<String>,
    /// Whether events that come shortly after one another share a webhook.
    pub webhook_batching: bool,
    /// Where the back end is told what happens.
    pub webhooks: Vec<Arc<Webhook>>,
    /// Which channels keep their past events; the first rule that covers one
    /// holds.
    pub history: Vec<HistoryRule>,
    /// Sizes, counts and rates.
    pub limits: Limits,
}

/// A key and the secret that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The public half.
    pub key: AppKey,
    /// The half that signs.
    pub secret: AppSecret,
}

/// What a connection above the app's limit is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OverQuota {
    /// 4100: come back after a pause. A kitchen display must not stop for good
    /// because of one connection too many.
    #[default]
    RetryLater,
    /// 4004, as the hosted service: pusher-js never comes back by itself.
    Refuse,
}

impl App {
    /// An app with one key pair, everything at its default.
    #[must_use]
    pub fn new(id: &str, key: &str, secret: &str) -> Self {
        Self {
            id: AppId::new(id),
            keys: vec![KeyPair {
                key: AppKey::new(key),
                secret: AppSecret::new(secret),
            }],
            enabled: true,
            tls_only: false,
            client_events: false,
            subscription_count: false,
            watchlist: false,
            authorized_connections: false,
            subscription_errors: true,
            soketi_answers: false,
            over_quota: OverQuota::default(),
            bind_sessions: false,
            allowed_origins: Vec::new(),
            webhook_batching: true,
            webhooks: Vec::new(),
            history: Vec::new(),
            limits: Limits::default(),
        }
    }

    /// The secret of `key`, if it is one of this app's.
    ///
    /// A lower-cased key is accepted as well: the Swift client lower-cases it
    /// when it signs by itself.
    #[must_use]
    pub fn secret_of(&self, key: &str) -> Option<&AppSecret> {
        self.keys
            .iter()
            .find(|pair| pair.key.as_str() == key)
            .or_else(|| {
                self.keys
                    .iter()
                    .find(|pair| pair.key.as_str().to_lowercase() == key)
            })
            .map(|pair| &pair.secret)
    }

    /// Whether any webhook is told who comes and goes.
    #[must_use]
    pub fn tells_changes(&self) -> bool {
        let mut types = self.webhooks.iter().flat_map(|webhook| &webhook.events);
        types.any(|event_type| {
            matches!(
                event_type,
                WebhookEventType::ChannelOccupied
                    | WebhookEventType::ChannelVacated
                    | WebhookEventType::MemberAdded
                    | WebhookEventType::MemberRemoved
            )
        })
    }

    /// What `channel` keeps of its past events; `None`: nothing.
    #[must_use]
    pub fn history_of(&self, channel: &ChannelName) -> Option<&HistoryRule> {
        self.history.iter().find(|rule| rule.covers(channel))
    }

    /// Whether a page of this origin may connect.
    #[must_use]
    pub fn allows_origin(&self, origin: Option<&str>) -> bool {
        match origin {
            Some(origin) if !self.allowed_origins.is_empty() => self
                .allowed_origins
                .iter()
                .any(|allowed| allowed.eq_ignore_ascii_case(origin)),
            _ => true,
        }
    }
}

/// The store cannot tell whether the app exists.
#[derive(Debug, thiserror::Error)]
#[error("the app store is out of reach: {0}")]
pub struct AppStoreError(pub String);

/// Where apps are looked up: by key when a client connects, by id when a back
/// end calls the HTTP API.
///
/// Answers may be as old as the store's cache. Nothing is said about the order
/// in which two nodes see a change.
pub trait AppStore: Debug + Send + Sync {
    /// The app that has this key.
    fn by_key<'a>(
        &'a self,
        key: &'a AppKey,
    ) -> BoxFuture<'a, Result<Option<Arc<App>>, AppStoreError>>;

    /// The app with this id.
    fn by_id<'a>(&'a self, id: &'a AppId)
    -> BoxFuture<'a, Result<Option<Arc<App>>, AppStoreError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checklist 62 and 140.
    #[test]
    fn every_key_pair_of_an_app_signs() {
        let mut app = App::new("1", "Key-One", "one");
        app.keys.push(KeyPair {
            key: AppKey::new("key-two"),
            secret: AppSecret::new("two"),
        });

        assert_eq!(app.secret_of("Key-One").unwrap().reveal(), "one");
        assert_eq!(app.secret_of("key-one").unwrap().reveal(), "one");
        assert_eq!(app.secret_of("key-two").unwrap().reveal(), "two");
        assert_eq!(app.secret_of("KEY-TWO"), None);
    }

    #[test]
    fn an_origin_list_binds_only_clients_that_send_an_origin() {
        let mut app = App::new("1", "k", "s");
        assert!(app.allows_origin(Some("https://anywhere.example")));

        app.allowed_origins = vec!["https://shop.example".to_owned()];

        assert!(app.allows_origin(Some("https://Shop.example")));
        assert!(app.allows_origin(None));
        assert!(!app.allows_origin(Some("https://shop.example.evil")));
    }
}
