//! `[[apps.webhooks]]`: what the back end of an app is told, and where.

use std::collections::BTreeMap;

use fanfare_protocol::WebhookEventType;
use hyper::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::Secret;
use crate::apps::{ChannelFilter, InvalidWebhook, Webhook};

/// One URL, and what it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where it goes.
    pub url: String,
    /// The types of events that it is told.
    pub events: Vec<WebhookEventType>,
    /// Only channels whose names begin so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_prefix: Option<String>,
    /// Only channels whose names end so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_suffix: Option<String>,
    /// Only channels in whose names this regular expression is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_pattern: Option<String>,
    /// Further headers of each request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret>,
}

impl WebhookConfig {
    /// Tells `events` of all channels to `url`.
    #[must_use]
    pub fn new(url: &str, events: &[WebhookEventType]) -> Self {
        Self {
            url: url.to_owned(),
            events: events.to_vec(),
            channel_prefix: None,
            channel_suffix: None,
            channel_pattern: None,
            headers: BTreeMap::new(),
        }
    }

    /// The settings of a webhook that stands in no file of ours.
    #[must_use]
    pub fn of(webhook: &Webhook) -> Self {
        let header = |(name, value): &(HeaderName, HeaderValue)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            (name.to_string(), Secret::from(value.as_ref()))
        };
        let channels = &webhook.channels;
        Self {
            url: webhook.url.to_string(),
            events: webhook.events.iter().copied().collect(),
            channel_prefix: channels.prefix.clone(),
            channel_suffix: channels.suffix.clone(),
            channel_pattern: channels.pattern.as_ref().map(|pattern| pattern.to_string()),
            headers: webhook.headers.iter().map(header).collect(),
        }
    }

    /// The webhook as the server knows it.
    ///
    /// # Errors
    /// A value that cannot be used.
    pub fn to_webhook(&self) -> Result<Webhook, InvalidWebhook> {
        let channels = ChannelFilter::new(
            self.channel_prefix.as_deref(),
            self.channel_suffix.as_deref(),
            self.channel_pattern.as_deref(),
        )?;
        if self.events.is_empty() {
            let names = WebhookEventType::ALL.map(WebhookEventType::as_str);
            return Err(InvalidWebhook {
                key: "events",
                expected: format!("at least one of: {}", names.join(", ")),
            });
        }
        let mut webhook = Webhook::new(&self.url, self.events.iter().copied(), channels)?;
        for (name, value) in &self.headers {
            webhook.add_header(name, value.reveal())?;
        }
        Ok(webhook)
    }

    /// The value at a key, as an error may show it.
    pub(super) fn shown(&self, key: &str) -> &str {
        match key {
            // A password may stand in it.
            "url" if self.url.contains('@') => super::app::MASK,
            "url" => &self.url,
            "channel_pattern" => self.channel_pattern.as_deref().unwrap_or_default(),
            "headers" => super::app::MASK,
            _ => "",
        }
    }
}
