//! Sizes and counts of the protocol (section 1). The defaults are Pusher's.

use serde::{Deserialize, Serialize};

/// What one app may do. Every parser and check takes its bounds from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections at the same time; a further one is refused. Absent: no limit.
    pub connections: Option<usize>,
    /// Messages of one day of UTC, counted as the hosted service does: API calls,
    /// deliveries and webhooks. Publishing is answered with 403 above it. Absent:
    /// no limit.
    pub messages_per_day: Option<u64>,
    /// Events per second over the HTTP API, also the size of a burst; more are
    /// answered with 429. Absent: no limit.
    pub backend_events_per_second: Option<u32>,
    /// Requests per second that read over the HTTP API, also the size of a burst;
    /// more are answered with 429. Absent: no limit.
    pub reads_per_second: Option<u32>,
    /// Client events per second of all connections of the app together, also the
    /// size of a burst; more are dropped with error 4301. Absent: no limit.
    pub app_client_events_per_second: Option<u32>,
    /// Messages per second and connection, pings aside, also the size of a burst;
    /// more are dropped with error 4301. Absent: no limit.
    pub messages_per_second: Option<u32>,
    /// Characters of a channel name with its prefix, 1 to 200. Default 164.
    pub channel_name_length: usize,
    /// Characters of an event name, 1 to 200. Default 200.
    pub event_name_length: usize,
    /// UTF-8 bytes of the `data` of one event; more is answered with 413, or
    /// with an error for a client event. Default 10,240.
    pub event_data_bytes: usize,
    /// Channels in one trigger. Default 100.
    pub channels_per_event: usize,
    /// Events in one batch. Default 10.
    pub events_per_batch: usize,
    /// Distinct users on one presence channel. Default 100.
    pub presence_members: usize,
    /// Characters of a presence `user_id`. Default 128.
    pub presence_user_id_length: usize,
    /// Bytes of a serialised presence `user_info`. Default 1,024.
    pub presence_user_info_bytes: usize,
    /// Client events per second and connection, also the size of a burst; more
    /// are dropped with error 4301. Default 10.
    pub client_events_per_second: u32,
    /// Ids in a watchlist; the rest is ignored with error 4302. Default 100.
    pub watchlist_ids: usize,
    /// Seconds that the last event of a cache channel is kept. Default 1,800.
    pub cache_seconds: u32,
    /// Channels that one connection may be subscribed to. Pusher has no such
    /// limit; ours bounds the memory of one connection. Default 10,000.
    pub channels_per_connection: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: None,
            messages_per_day: None,
            backend_events_per_second: None,
            reads_per_second: None,
            app_client_events_per_second: None,
            messages_per_second: None,
            channel_name_length: 164,
            event_name_length: 200,
            event_data_bytes: 10_240,
            channels_per_event: 100,
            events_per_batch: 10,
            presence_members: 100,
            presence_user_id_length: 128,
            presence_user_info_bytes: 1_024,
            client_events_per_second: 10,
            watchlist_ids: 100,
            cache_seconds: 1_800,
            channels_per_connection: 10_000,
        }
    }
}
