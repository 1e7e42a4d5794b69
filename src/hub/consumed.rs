//! Client events that an adapter has for itself.
//!
//! Whether one is relayed to the other subscribers or consumed is data, not a call:
//! no code of an adapter runs where a client's message is handled.

use fanfare_protocol::{AppId, ChannelName};

/// Client events that are reported as [`super::HubEventKind::ClientEvent`] and
/// relayed to nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumedEvents {
    /// The app.
    pub app: AppId,
    /// What the names of their channels begin with.
    pub channel_prefix: String,
    /// Their name, such as `client-update_filters`.
    pub event: String,
}

impl ConsumedEvents {
    pub(super) fn has(&self, app: &AppId, channel: &ChannelName, event: &str) -> bool {
        self.event == event
            && self.app == *app
            && channel.as_str().starts_with(&self.channel_prefix)
    }
}
