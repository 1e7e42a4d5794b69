//! Occupied channels, and who is on them.

use fanfare_protocol::{ChannelKind, ChannelName, EventId};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::error::{AdminError, ErrorBody};
use super::others::{self, Question};
use super::page::{self, PageQuery};
use super::{Admin, Call, reply};
use crate::apps::App;
use crate::http::Answer;
use crate::hub::engine::Occupancy;

/// Bytes of the data of an event that are shown.
const MAX_DATA: usize = 16 << 10;

/// Bytes of messages after which a page of the past ends.
const MAX_PAST_BYTES: usize = 1 << 20;

/// Which channels.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ChannelQuery {
    /// Elements at most, 1 to 1,000. Default 100.
    limit: Option<usize>,
    /// Where to go on: `next` of the page before.
    after: Option<String>,
    /// Only channels whose names begin so.
    prefix: Option<String>,
}

/// Occupied channels, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChannelPage {
    channels: Vec<ChannelView>,
    /// Where to go on; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// How a channel is occupied, on all nodes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChannelView {
    name: String,
    /// Connections.
    subscriptions: usize,
    /// Distinct users, on presence channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    users: Option<usize>,
}

/// A channel with those who are on it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChannelDetail {
    #[serde(flatten)]
    channel: ChannelView,
    /// Users of a presence channel, on all nodes; at most 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_ids: Option<Vec<String>>,
    /// Connections of all nodes, at most 1,000. Absent when events never pause on
    /// the channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_ids: Option<Vec<String>>,
    /// Nodes that could not tell their connections.
    unanswered: usize,
    /// The message that a cache channel keeps for later subscribers. Absent when it
    /// keeps none.
    #[serde(skip_serializing_if = "Option::is_none")]
    cached: Option<PastEvent>,
    /// Whether past events are kept: then `…/events` has them.
    has_history: bool,
}

/// An event of the past.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PastEvent {
    /// Orders the events of a channel with a history.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// When it was published, in milliseconds of Unix time; of a channel with a history.
    #[serde(skip_serializing_if = "Option::is_none")]
    at_ms: Option<u64>,
    name: String,
    /// The beginning of its data. Absent on private, presence and encrypted channels,
    /// unless `admin.feed_shows_private_data` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    /// Bytes of the whole data.
    data_bytes: usize,
}

/// The past of a channel, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PastPage {
    events: Vec<PastEvent>,
    /// Where to go on; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// What subscribers were sent.
#[derive(Deserialize)]
struct Message {
    event: String,
    data: Value,
}

impl Admin {
    /// What may be shown of a message that subscribers were sent; `None` for what is no
    /// event.
    fn past_event(
        &self,
        channel: &ChannelName,
        id: Option<EventId>,
        payload: &[u8],
    ) -> Option<PastEvent> {
        let message: Message = serde_json::from_slice(payload).ok()?;
        let data = match message.data {
            Value::String(text) => text,
            data => data.to_string(),
        };
        let is_shown = channel.kind() == ChannelKind::Public || self.parts.feed_shows_private_data;
        let end = data.floor_char_boundary(MAX_DATA);
        Some(PastEvent {
            id: id.map(|id| id.to_string()),
            at_ms: id.map(|id| id.ms),
            name: message.event,
            data_bytes: data.len(),
            data: is_shown.then(|| data[..end].to_owned()),
        })
    }
}

impl ChannelView {
    fn of(occupancy: &Occupancy) -> Self {
        let is_presence = occupancy.channel.kind() == ChannelKind::Presence;
        Self {
            name: occupancy.channel.to_string(),
            subscriptions: occupancy.subscriptions,
            users: is_presence.then_some(occupancy.users),
        }
    }
}

/// List the occupied channels of an app
#[utoipa::path(get, path = "/admin/v1/apps/{app}/channels", tag = "channels",
    params(("app" = String, Path, description = "The id of the app"), ChannelQuery),
    responses(
        (status = 200, description = "A page of channels, by name", body = ChannelPage),
        (status = 404, description = "There is no such app", body = ErrorBody)))]
pub(super) async fn list(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let query: ChannelQuery = call.query()?;
    let limit = page::limit(query.limit)?;
    let app = admin.app(call.parameter(0)).await?;
    let hub = &admin.parts.hub;
    let prefix = query.prefix.unwrap_or_default();
    let mut channels = hub.engine().channels(&hub.app(&app), &prefix).await?;
    if let Some(after) = &query.after {
        channels.retain(|occupancy| occupancy.channel.as_str() > after.as_str());
    }
    channels.sort_unstable_by(|one, other| one.channel.as_str().cmp(other.channel.as_str()));
    let (channels, next) = page::cut(channels, limit, |occupancy| occupancy.channel.to_string());
    let channels = channels.iter().map(ChannelView::of).collect();
    Ok(reply(StatusCode::OK, &ChannelPage { channels, next }))
}

/// Show one channel, and who is on it
#[utoipa::path(get, path = "/admin/v1/apps/{app}/channels/{channel}", tag = "channels",
    params(("app" = String, Path, description = "The id of the app"),
        ("channel" = String, Path, description = "Its name, `#` and other signs escaped")),
    responses(
        (status = 200, description = "The channel; with zeros when nobody is there", body = ChannelDetail),
        (status = 404, description = "There is no such app", body = ErrorBody),
        (status = 422, description = "No channel can have this name", body = ErrorBody)))]
pub(super) async fn show(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let app = admin.app(call.parameter(0)).await?;
    let channel = channel_name(call.parameter(1), &app)?;
    let hub = admin.parts.hub.app(&app);
    let engine = admin.parts.hub.engine();
    let occupancy = engine.occupancy(&hub, &channel).await?;
    let user_ids = if channel.kind() == ChannelKind::Presence {
        let users = engine.users(&hub, &channel).await?;
        let mut ids: Vec<String> = users.iter().map(ToString::to_string).collect();
        ids.sort_unstable();
        ids.truncate(page::MAX_LIMIT);
        Some(ids)
    } else {
        None
    };
    let question = Question::Subscribers {
        app: app.id.to_string(),
        channel: channel.to_string(),
    };
    let (socket_ids, others) = tokio::join!(
        hub.subscribers(&channel, page::MAX_LIMIT),
        others::ask(engine, &question, |_: &Option<Vec<String>>| false),
    );
    let busy = others.answers.iter().filter(|ids| ids.is_none()).count();
    let unanswered = others.unanswered + busy;
    let elsewhere = others.answers.into_iter().flatten().flatten();
    let socket_ids = socket_ids.map(|ids| {
        let mut ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        ids.extend(elsewhere);
        ids.truncate(page::MAX_LIMIT);
        ids
    });
    let cached = if channel.is_cache() {
        engine.cached(&app.id, &channel).await?
    } else {
        None
    };
    let cached = cached.and_then(|cached| {
        let payload = cached.frame.payload();
        admin.past_event(&channel, None, payload)
    });
    Ok(reply(
        StatusCode::OK,
        &ChannelDetail {
            channel: ChannelView::of(&occupancy),
            user_ids,
            socket_ids,
            unanswered,
            cached,
            has_history: app.history_of(&channel).is_some(),
        },
    ))
}

/// List the past events of a channel
///
/// Of a channel with a history, the oldest first.
#[utoipa::path(get, path = "/admin/v1/apps/{app}/channels/{channel}/events", tag = "channels",
    params(("app" = String, Path, description = "The id of the app"),
        ("channel" = String, Path, description = "Its name, `#` and other signs escaped"), PageQuery),
    responses(
        (status = 200, description = "A page of events", body = PastPage),
        (status = 404, description = "There is no such app", body = ErrorBody),
        (status = 409, description = "The channel has no history", body = ErrorBody),
        (status = 422, description = "No channel can have this name", body = ErrorBody)))]
pub(super) async fn past(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let query: PageQuery = call.query()?;
    let limit = page::limit(query.limit)?;
    let after = query.after.as_deref().map(str::parse::<EventId>);
    let after = after.transpose().map_err(|_| {
        AdminError::invalid("after is not the id of an event").expected("`next` of the page before")
    })?;
    let app = admin.app(call.parameter(0)).await?;
    let channel = channel_name(call.parameter(1), &app)?;
    let hub = admin.parts.hub.app(&app);
    let past = hub.past(&channel, after, limit, MAX_PAST_BYTES).await;
    let past = past.ok_or_else(|| {
        let message = format!("no past events are kept of {:?}", channel.as_str());
        AdminError::new(StatusCode::CONFLICT, "no_history", message)
            .expected("a channel that a rule of the app's history covers")
    })?;
    let next = past.has_more.then(|| past.events.last()).flatten();
    let next = next.map(|(id, _)| id.to_string());
    let events = past
        .events
        .iter()
        .filter_map(|(id, frame)| admin.past_event(&channel, Some(*id), frame.payload()));
    Ok(reply(
        StatusCode::OK,
        &PastPage {
            events: events.collect(),
            next,
        },
    ))
}

fn channel_name(name: &str, app: &App) -> Result<ChannelName, AdminError> {
    ChannelName::parse(name, &app.limits).map_err(|_| {
        AdminError::invalid(format!("{name:?} is no name of a channel"))
            .expected("letters, digits and _-=@,.; after a known prefix")
    })
}
