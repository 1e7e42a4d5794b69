//! One webhook of an app: where it goes, and what it is told.

use std::collections::BTreeSet;
use std::sync::Arc;

use fanfare_protocol::{ChannelName, WebhookEventType};
use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use regex::{Regex, RegexBuilder};
use sha2::{Digest, Sha256};

/// Bytes that a compiled pattern may take.
const MAX_PATTERN_BYTES: usize = 256 << 10;

/// Characters of a URL.
const MAX_URL_LENGTH: usize = 2_048;

/// Headers that are ours to set, or that frame the request.
const RESERVED_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// One webhook. Equal when it tells the same to the same URL.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Names it in queues and logs. The same for as long as the URL, the types
    /// and the channels are.
    pub id: WebhookId,
    /// Where it goes.
    pub url: Uri,
    /// What it is told.
    pub events: BTreeSet<WebhookEventType>,
    /// Which channels it is told of.
    pub channels: ChannelFilter,
    /// Further headers of each request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// The name of a webhook: 16 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WebhookId(Arc<str>);

impl WebhookId {
    /// Takes a name that was stored.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Channels that a webhook is told of: those that all conditions hold for.
#[derive(Clone, Debug, Default)]
pub struct ChannelFilter {
    /// How their names begin.
    pub prefix: Option<String>,
    /// How their names end.
    pub suffix: Option<String>,
    /// What is found in their names. The expressions are those of the `regex`
    /// crate, whose time is bounded by the length of the name.
    pub pattern: Option<Regex>,
}

/// What of a webhook cannot be used: the key, and what is expected there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidWebhook {
    /// `url`, `events`, `channel_pattern` or `headers`.
    pub key: &'static str,
    /// What should be there.
    pub expected: String,
}

impl PartialEq for Webhook {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.headers == other.headers
    }
}

impl Eq for Webhook {}

impl Webhook {
    /// A webhook that is told `events` of all channels.
    ///
    /// # Errors
    /// The URL is not one that can be called.
    pub fn new(
        url: &str,
        events: impl IntoIterator<Item = WebhookEventType>,
        channels: ChannelFilter,
    ) -> Result<Self, InvalidWebhook> {
        let uri = parse_url(url).ok_or_else(|| InvalidWebhook {
            key: "url",
            expected: "a URL such as https://example.com/hook, without user, password and fragment"
                .to_owned(),
        })?;
        let events: BTreeSet<_> = events.into_iter().collect();
        Ok(Self {
            id: webhook_id(&uri, &events, &channels),
            url: uri,
            events,
            channels,
            headers: Vec::new(),
        })
    }

    /// Adds a header to each request.
    ///
    /// # Errors
    /// The name or the value cannot stand in a request, or is not free.
    pub fn add_header(&mut self, name: &str, value: &str) -> Result<(), InvalidWebhook> {
        let invalid = |expected: String| InvalidWebhook {
            key: "headers",
            expected,
        };
        let parsed: HeaderName = name
            .parse()
            .map_err(|_| invalid(format!("a header name instead of {name:?}")))?;
        if RESERVED_HEADERS.contains(&parsed.as_str()) || parsed.as_str().starts_with("x-pusher-") {
            return Err(invalid(format!(
                "headers of your own; {parsed} is set by the server"
            )));
        }
        let mut value: HeaderValue = value
            .parse()
            .map_err(|_| invalid(format!("a value for {parsed} without control characters")))?;
        // It may be a token.
        value.set_sensitive(true);
        self.headers.push((parsed, value));
        Ok(())
    }

    /// Whether it is told of such an event on this channel.
    #[must_use]
    pub fn wants(&self, event_type: WebhookEventType, channel: &ChannelName) -> bool {
        self.events.contains(&event_type) && self.channels.takes(channel)
    }
}

impl ChannelFilter {
    /// Reads a filter.
    ///
    /// # Errors
    /// The pattern is no regular expression, or too large.
    pub fn new(
        prefix: Option<&str>,
        suffix: Option<&str>,
        pattern: Option<&str>,
    ) -> Result<Self, InvalidWebhook> {
        let pattern = pattern.map(|text| {
            RegexBuilder::new(text)
                .size_limit(MAX_PATTERN_BYTES)
                .dfa_size_limit(MAX_PATTERN_BYTES)
                .build()
                .map_err(|error| InvalidWebhook {
                    key: "channel_pattern",
                    expected: format!("a regular expression ({})", last_line(&error.to_string())),
                })
        });
        Ok(Self {
            prefix: prefix.map(str::to_owned),
            suffix: suffix.map(str::to_owned),
            pattern: pattern.transpose()?,
        })
    }

    fn takes(&self, channel: &ChannelName) -> bool {
        let name = channel.as_str();
        self.prefix
            .as_deref()
            .is_none_or(|prefix| name.starts_with(prefix))
            && self
                .suffix
                .as_deref()
                .is_none_or(|suffix| name.ends_with(suffix))
            && self
                .pattern
                .as_ref()
                .is_none_or(|pattern| pattern.is_match(name))
    }
}

/// The parser of expressions draws where the mistake is, and names it at last.
fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or(text).trim()
}

fn parse_url(text: &str) -> Option<Uri> {
    if text.len() > MAX_URL_LENGTH || text.contains('#') {
        return None;
    }
    let uri: Uri = text.parse().ok()?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let authority = uri.authority()?;
    let is_plain = !authority.as_str().contains('@') && !authority.host().is_empty();
    (is_web && is_plain).then_some(uri)
}

fn webhook_id(
    url: &Uri,
    events: &BTreeSet<WebhookEventType>,
    channels: &ChannelFilter,
) -> WebhookId {
    let mut hash = Sha256::new();
    let mut part = |text: &str| {
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    };
    part(&url.to_string());
    for event_type in events {
        part(event_type.as_str());
    }
    for text in [
        channels.prefix.as_deref(),
        channels.suffix.as_deref(),
        channels.pattern.as_ref().map(Regex::as_str),
    ] {
        part(if text.is_some() { "1" } else { "0" });
        part(text.unwrap_or_default());
    }
    let digest = hash.finalize();
    let hex: String = digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    WebhookId(hex.into())
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::Limits;

    use super::*;

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name, &Limits::default()).unwrap()
    }

    /// Checklist 175.
    #[test]
    fn a_filter_is_a_prefix_a_suffix_and_a_pattern() {
        let filter =
            ChannelFilter::new(Some("private-"), Some("-eu"), Some("orders?-[0-9]+")).unwrap();

        assert!(filter.takes(&channel("private-order-7-eu")));
        for name in [
            "order-7-eu",
            "private-order-7-us",
            "private-menu-7-eu",
            "private-order-x-eu",
        ] {
            assert!(!filter.takes(&channel(name)), "{name}");
        }
        assert!(ChannelFilter::default().takes(&channel("x")));
    }

    #[test]
    fn what_cannot_be_called_is_refused() {
        for url in [
            "",
            "/hook",
            "example.com/hook",
            "ftp://example.com/",
            "https://",
            "https://user:password@example.com/",
            "https://example.com/#part",
            "https://exa mple.com/",
        ] {
            let error = Webhook::new(url, [], ChannelFilter::default()).unwrap_err();
            assert_eq!(error.key, "url", "{url}");
        }
        for pattern in ["(", "(a{1000}){1000}"] {
            let error = ChannelFilter::new(None, None, Some(pattern)).unwrap_err();
            assert_eq!(error.key, "channel_pattern", "{pattern}");
        }
    }

    #[test]
    fn headers_of_the_server_cannot_be_replaced() {
        let mut webhook =
            Webhook::new("https://example.com/", [], ChannelFilter::default()).unwrap();

        assert!(webhook.add_header("Authorization", "Bearer x").is_ok());
        for (name, value) in [
            ("Content-Type", "text/plain"),
            ("X-Pusher-Key", "k"),
            ("Host", "x"),
            ("a b", "x"),
            ("X-A", "a\r\nX-B: b"),
        ] {
            assert!(webhook.add_header(name, value).is_err(), "{name}");
        }
    }
}
