//! Webhooks: what an app's back end is told (section 14).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::channel::{ChannelKind, ChannelName};
use crate::socket_id::SocketId;
use crate::user::UserId;

/// The header with the key whose secret signed.
pub const KEY_HEADER: &str = "X-Pusher-Key";

/// The header with the signature over the exact body.
pub const SIGNATURE_HEADER: &str = "X-Pusher-Signature";

/// Events of one webhook that batches.
pub const MAX_EVENTS: usize = 100;

/// Bytes of the body of a webhook that batches; a single event may be larger.
pub const MAX_BODY_BYTES: usize = 256 << 10;

/// What a webhook may be asked to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum WebhookEventType {
    /// A channel got its first subscription.
    ChannelOccupied,
    /// A channel lost its last subscription.
    ChannelVacated,
    /// A user came to a presence channel.
    MemberAdded,
    /// A user left a presence channel.
    MemberRemoved,
    /// A client sent an event.
    ClientEvent,
    /// A subscription met an empty cache channel.
    CacheMiss,
    /// The number of subscriptions changed.
    SubscriptionCount,
}

impl WebhookEventType {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ChannelOccupied,
        Self::ChannelVacated,
        Self::MemberAdded,
        Self::MemberRemoved,
        Self::ClientEvent,
        Self::CacheMiss,
        Self::SubscriptionCount,
    ];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChannelOccupied => "channel_occupied",
            Self::ChannelVacated => "channel_vacated",
            Self::MemberAdded => "member_added",
            Self::MemberRemoved => "member_removed",
            Self::ClientEvent => "client_event",
            Self::CacheMiss => "cache_miss",
            Self::SubscriptionCount => "subscription_count",
        }
    }

    /// The type of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }
}

impl fmt::Display for WebhookEventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One event of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebhookEvent<'a> {
    /// Where it happened.
    pub channel: &'a ChannelName,
    /// What happened.
    pub kind: WebhookEventKind<'a>,
}

/// The kinds of [`WebhookEvent`], with what each tells beside the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookEventKind<'a> {
    /// `channel_occupied`.
    ChannelOccupied,
    /// `channel_vacated`.
    ChannelVacated,
    /// `member_added`, with the user.
    MemberAdded(&'a UserId),
    /// `member_removed`, with the user.
    MemberRemoved(&'a UserId),
    /// `client_event`.
    ClientEvent {
        /// Its name.
        event: &'a str,
        /// The text that the receivers got.
        data: &'a str,
        /// The sender.
        socket_id: SocketId,
        /// The sender's user, on presence channels.
        user_id: Option<&'a UserId>,
    },
    /// `cache_miss`.
    CacheMiss,
    /// `subscription_count`, with the number of connections.
    SubscriptionCount(usize),
}

/// The members as they are written. All values are strings but the count: SDKs
/// in Go and .NET lose the whole payload otherwise.
#[derive(Serialize)]
struct Members<'a> {
    name: &'static str,
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_count: Option<usize>,
}

impl WebhookEvent<'_> {
    /// What it is called.
    #[must_use]
    pub fn event_type(&self) -> WebhookEventType {
        match self.kind {
            WebhookEventKind::ChannelOccupied => WebhookEventType::ChannelOccupied,
            WebhookEventKind::ChannelVacated => WebhookEventType::ChannelVacated,
            WebhookEventKind::MemberAdded(_) => WebhookEventType::MemberAdded,
            WebhookEventKind::MemberRemoved(_) => WebhookEventType::MemberRemoved,
            WebhookEventKind::ClientEvent { .. } => WebhookEventType::ClientEvent,
            WebhookEventKind::CacheMiss => WebhookEventType::CacheMiss,
            WebhookEventKind::SubscriptionCount(_) => WebhookEventType::SubscriptionCount,
        }
    }

    /// Whether it must not share a request with events of other channels: SDKs
    /// that decrypt fail on the whole payload for one that they cannot.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.channel.kind() == ChannelKind::PrivateEncrypted
    }

    /// Its JSON text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut members = Members {
            name: self.event_type().as_str(),
            channel: self.channel.as_str(),
            event: None,
            data: None,
            socket_id: None,
            user_id: None,
            subscription_count: None,
        };
        match self.kind {
            WebhookEventKind::ChannelOccupied
            | WebhookEventKind::ChannelVacated
            | WebhookEventKind::CacheMiss => {}
            WebhookEventKind::MemberAdded(user_id) | WebhookEventKind::MemberRemoved(user_id) => {
                members.user_id = Some(user_id.as_str());
            }
            WebhookEventKind::ClientEvent {
                event,
                data,
                socket_id,
                user_id,
            } => {
                members.event = Some(event);
                members.data = Some(data);
                members.socket_id = Some(socket_id.to_string());
                members.user_id = user_id.map(UserId::as_str);
            }
            WebhookEventKind::SubscriptionCount(count) => {
                members.subscription_count = Some(count);
            }
        }
        serde_json::to_string(&members).expect("the members are texts and numbers")
    }
}

/// The body of a webhook; `events` is encoded events with commas between them.
/// `time_ms` is when it was made, and stays so when it is sent again.
#[must_use]
pub fn body(time_ms: u64, events: &str) -> String {
    format!(r#"{{"time_ms":{time_ms},"events":[{events}]}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name, &Limits::default()).unwrap()
    }

    /// The bodies of the vectors W1 and W2.
    #[test]
    fn bodies_are_those_of_the_vectors() {
        let cook = UserId::new("cook-1");
        let (plain, kitchen) = (channel("my-channel"), channel("presence-kitchen-7"));
        let encode = |channel, kind| WebhookEvent { channel, kind }.encode();

        let first = [
            encode(&plain, WebhookEventKind::ChannelOccupied),
            encode(&kitchen, WebhookEventKind::MemberAdded(&cook)),
        ]
        .join(",");
        let second = encode(
            &kitchen,
            WebhookEventKind::ClientEvent {
                event: "client-bump",
                data: r#"{"order":7}"#,
                socket_id: "218840.5562713".parse().unwrap(),
                user_id: Some(&cook),
            },
        );

        assert_eq!(
            body(1_327_078_148_132, &first),
            r#"{"time_ms":1327078148132,"events":[{"name":"channel_occupied","channel":"my-channel"},{"name":"member_added","channel":"presence-kitchen-7","user_id":"cook-1"}]}"#
        );
        assert_eq!(
            body(1_327_078_148_132, &second),
            r#"{"time_ms":1327078148132,"events":[{"name":"client_event","channel":"presence-kitchen-7","event":"client-bump","data":"{\"order\":7}","socket_id":"218840.5562713","user_id":"cook-1"}]}"#
        );
    }

    /// Checklist 173 and 174.
    #[test]
    fn only_the_count_is_a_number() {
        let orders = channel("private-orders");
        let encode = |kind| {
            WebhookEvent {
                channel: &orders,
                kind,
            }
            .encode()
        };

        assert_eq!(
            encode(WebhookEventKind::SubscriptionCount(3)),
            r#"{"name":"subscription_count","channel":"private-orders","subscription_count":3}"#
        );
        assert_eq!(
            encode(WebhookEventKind::CacheMiss),
            r#"{"name":"cache_miss","channel":"private-orders"}"#
        );
        assert_eq!(
            encode(WebhookEventKind::ClientEvent {
                event: "client-x",
                data: "7",
                socket_id: "1.2".parse().unwrap(),
                user_id: None,
            }),
            r#"{"name":"client_event","channel":"private-orders","event":"client-x","data":"7","socket_id":"1.2"}"#
        );
    }

    #[test]
    fn names_are_read_back() {
        for event_type in WebhookEventType::ALL {
            assert_eq!(
                WebhookEventType::from_name(event_type.as_str()),
                Some(event_type)
            );
            assert_eq!(
                serde_json::to_string(&event_type).unwrap(),
                format!("{:?}", event_type.as_str())
            );
        }
        assert_eq!(WebhookEventType::from_name("order_created"), None);
    }
}
