//! What must hold of whatever the owner of an app wants to be told, for `fuzz/` and the
//! replay of its corpus.

use std::net::{IpAddr, Ipv6Addr};

use fanfare_protocol::{ChannelName, Limits, WebhookEventType};

use super::target::is_allowed;
use crate::apps::{ChannelFilter, Webhook};

/// URL, prefix, suffix, pattern, and names and values of headers, one a line.
///
/// # Panics
/// Something was accepted that cannot be called.
pub fn webhook(text: &str) {
    let mut lines = text.lines();
    let mut next = || lines.next().filter(|line| !line.is_empty());
    let url = next().unwrap_or_default();
    let Ok(filter) = ChannelFilter::new(next(), next(), next()) else {
        return;
    };
    let Ok(mut webhook) = Webhook::new(url, [WebhookEventType::ChannelOccupied], filter) else {
        return;
    };
    assert!(matches!(webhook.url.scheme_str(), Some("http" | "https")));
    assert!(webhook.url.host().is_some_and(|host| !host.is_empty()));
    for channel in ["news", "private-orders.7;x"] {
        let channel = ChannelName::parse(channel, &Limits::default()).expect("it is a name");
        let _ = webhook.wants(WebhookEventType::ChannelOccupied, &channel);
    }
    while let Some(name) = next() {
        let _ = webhook.add_header(name, next().unwrap_or_default());
    }
    let is_framing = |name: &str| matches!(name, "host" | "content-length" | "transfer-encoding");
    assert!(
        !webhook
            .headers
            .iter()
            .any(|(name, _)| is_framing(name.as_str()))
    );
}

/// An address that a name leads to.
///
/// # Panics
/// The same address is allowed in one spelling and not in another.
pub fn target(bytes: &[u8]) {
    let Some(octets) = bytes.first_chunk::<16>() else {
        return;
    };
    let address = Ipv6Addr::from(*octets);
    let is_open = is_allowed(address.into(), false);
    let is_open_to_all = is_allowed(address.into(), true);
    assert!(is_open || !is_open_to_all);
    if let Some(inner) = address.to_ipv4_mapped() {
        for deny_private in [false, true] {
            assert_eq!(
                is_allowed(IpAddr::V4(inner), deny_private),
                is_allowed(address.into(), deny_private),
                "{address}"
            );
        }
    }
}
