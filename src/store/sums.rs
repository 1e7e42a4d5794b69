//! What is counted of one app in a span of time, and how two such counts add up.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The length of the time that one count is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Span {
    /// One minute.
    Minute,
    /// One hour.
    Hour,
}

impl Span {
    /// Its length.
    #[must_use]
    pub fn seconds(self) -> u64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
        }
    }

    /// When the span began that a time is in.
    #[must_use]
    pub fn start(self, unix_seconds: u64) -> u64 {
        unix_seconds - unix_seconds % self.seconds()
    }
}

/// What happened in one span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Point {
    /// When it began, in Unix seconds.
    pub start: u64,
    /// What was counted.
    #[serde(flatten)]
    pub sums: Sums,
}

/// What happened in one span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Sums {
    /// The most connections at the same time. Of several nodes: the sum of the
    /// most that each of them had.
    pub connections_peak: u64,
    /// Connections at the end.
    pub connections: u64,
    /// Occupied channels at the end. Of several nodes: a channel counts for each
    /// node that has subscribers.
    pub channels: u64,
    /// Messages that were handed to clients.
    pub messages_sent: u64,
    /// Messages that clients sent.
    pub messages_received: u64,
    /// Bytes of the messages that were handed to clients.
    pub sent_bytes: u64,
    /// Bytes of the messages that clients sent.
    pub received_bytes: u64,
    /// Requests of back ends, refused ones among them.
    pub api_requests: u64,
    /// Events that the HTTP API accepted, each channel counted.
    pub api_events: u64,
    /// Client events that were accepted.
    pub client_events: u64,
    /// Messages and API requests that came faster than a limit allows.
    pub rate_refusals: u64,
    /// Messages as a plan counts them: API calls, deliveries and webhooks.
    pub quota_messages: u64,
    /// Webhook requests that were taken.
    pub webhooks_delivered: u64,
    /// Attempts that failed and were followed by another one.
    pub webhooks_retried: u64,
    /// Webhook requests that were given up, refused or dropped.
    pub webhooks_failed: u64,
}

/// Numbers of columns in a fixed order, for tables.
pub(super) const COLUMNS: [&str; 15] = [
    "connections_peak",
    "connections",
    "channels",
    "messages_sent",
    "messages_received",
    "sent_bytes",
    "received_bytes",
    "api_requests",
    "api_events",
    "client_events",
    "rate_refusals",
    "quota_messages",
    "webhooks_delivered",
    "webhooks_retried",
    "webhooks_failed",
];

/// How a column of two counts of the same time becomes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// The larger one.
    Peak,
    /// The newer one.
    Last,
    /// Both together.
    Sum,
}

impl Rule {
    /// The rule of a column, by its place in [`COLUMNS`].
    #[must_use]
    pub(super) fn of(position: usize) -> Self {
        match position {
            0 => Self::Peak,
            1 | 2 => Self::Last,
            _ => Self::Sum,
        }
    }
}

impl Sums {
    /// The numbers in the order of the columns of the table.
    #[must_use]
    pub fn values(&self) -> [u64; COLUMNS.len()] {
        [
            self.connections_peak,
            self.connections,
            self.channels,
            self.messages_sent,
            self.messages_received,
            self.sent_bytes,
            self.received_bytes,
            self.api_requests,
            self.api_events,
            self.client_events,
            self.rate_refusals,
            self.quota_messages,
            self.webhooks_delivered,
            self.webhooks_retried,
            self.webhooks_failed,
        ]
    }

    /// The counts of numbers in the order of the columns of the table.
    #[must_use]
    pub fn from_values(values: [u64; COLUMNS.len()]) -> Self {
        let [
            connections_peak,
            connections,
            channels,
            messages_sent,
            messages_received,
            sent_bytes,
            received_bytes,
            api_requests,
            api_events,
            client_events,
            rate_refusals,
            quota_messages,
            webhooks_delivered,
            webhooks_retried,
            webhooks_failed,
        ] = values;
        Self {
            connections_peak,
            connections,
            channels,
            messages_sent,
            messages_received,
            sent_bytes,
            received_bytes,
            api_requests,
            api_events,
            client_events,
            rate_refusals,
            quota_messages,
            webhooks_delivered,
            webhooks_retried,
            webhooks_failed,
        }
    }

    /// Adds what came `later` in the same span.
    pub fn add(&mut self, later: &Self) {
        let (mut values, later) = (self.values(), later.values());
        for (position, (value, later)) in values.iter_mut().zip(later).enumerate() {
            *value = match Rule::of(position) {
                Rule::Peak => (*value).max(later),
                Rule::Last => later,
                Rule::Sum => value.saturating_add(later),
            };
        }
        *self = Self::from_values(values);
    }

    /// Adds what another app had at the same time.
    pub fn join(&mut self, other: &Self) {
        let (mut values, other) = (self.values(), other.values());
        for (value, other) in values.iter_mut().zip(other) {
            *value = value.saturating_add(other);
        }
        *self = Self::from_values(values);
    }

    /// What has come since `before`; what is no sum stays as it is.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let (mut values, before) = (self.values(), before.values());
        for (position, (value, before)) in values.iter_mut().zip(before).enumerate() {
            if Rule::of(position) == Rule::Sum {
                *value = value.saturating_sub(before);
            }
        }
        Self::from_values(values)
    }

    /// Whether there is anything to tell of.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_values_and_members_have_one_order() {
        let numbers: [u64; COLUMNS.len()] = std::array::from_fn(|position| position as u64 + 1);

        let sums = Sums::from_values(numbers);

        assert_eq!(sums.values(), numbers);
        let json = serde_json::to_value(sums).unwrap();
        for (column, number) in COLUMNS.iter().zip(numbers) {
            assert_eq!(json[column], number, "{column}");
        }
    }

    #[test]
    fn a_peak_stays_a_present_number_is_replaced_and_a_sum_grows() {
        let mut sums = Sums {
            connections_peak: 9,
            connections: 9,
            channels: 3,
            messages_sent: 100,
            ..Sums::default()
        };

        sums.add(&Sums {
            connections_peak: 5,
            connections: 4,
            channels: 5,
            messages_sent: 1,
            ..Sums::default()
        });

        assert_eq!((sums.connections_peak, sums.connections), (9, 4));
        assert_eq!((sums.channels, sums.messages_sent), (5, 101));
    }
}
