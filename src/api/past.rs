//! `GET /channels/CHANNEL/events`: what was published on a channel with a history.
//! An extension of this server.

use fanfare_protocol::EventId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Api;
use super::authentication::Authenticated;
use super::channels::{channel_name, json};
use super::error::ApiError;

/// Events of one answer, unless the request says otherwise.
const DEFAULT_LIMIT: usize = 100;

/// The most that it may say.
const MAX_LIMIT: usize = 1_000;

/// Bytes of messages after which an answer leaves the rest to the next one.
const MAX_BYTES: usize = 4 << 20;

#[derive(Serialize)]
struct PastAnswer<'a> {
    events: Vec<PastEvent<'a>>,
    /// Whether there are more; the next request asks for those after the last id.
    has_more: bool,
    /// Whether everything after `after` is here, or will be in the next answers.
    is_complete: bool,
}

#[derive(Serialize)]
struct PastEvent<'a> {
    id: String,
    name: &'a RawValue,
    data: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a RawValue>,
    time_ms: u64,
}

/// The message that subscribers got.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    event: &'a RawValue,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow)]
    user_id: Option<&'a RawValue>,
}

impl Api {
    pub(super) async fn past(
        &self,
        request: &Authenticated<'_>,
        channel: &str,
    ) -> Result<String, ApiError> {
        let channel = channel_name(channel, request)?;
        let after = match request.query.get("after").filter(|after| !after.is_empty()) {
            Some(after) => Some(after.parse::<EventId>().map_err(|_| ApiError::PastAfter)?),
            None => None,
        };
        let limit = match request.query.get("limit") {
            Some(limit) => limit
                .parse()
                .ok()
                .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                .ok_or(ApiError::PastLimit { max: MAX_LIMIT })?,
            None => DEFAULT_LIMIT,
        };
        let page = self
            .hub
            .app(&request.app)
            .past(&channel, after, limit, MAX_BYTES)
            .await
            .ok_or(ApiError::NoHistory)?;
        let events = page
            .events
            .iter()
            .filter_map(|(id, frame)| {
                let message: Message<'_> = serde_json::from_slice(frame.payload()).ok()?;
                Some(PastEvent {
                    id: id.to_string(),
                    name: message.event,
                    data: message.data,
                    user_id: message.user_id,
                    time_ms: id.ms,
                })
            })
            .collect();
        Ok(json(&PastAnswer {
            events,
            has_more: page.has_more,
            is_complete: page.is_complete,
        }))
    }
}
