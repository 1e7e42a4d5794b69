//! Occupied channels, and who is on them.

use fanfare_protocol::{ChannelKind, ChannelName};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{AdminError, ErrorBody};
use super::page;
use super::{Admin, Call, reply};
use crate::http::Answer;
use crate::hub::engine::Occupancy;

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
    /// Connections of this node, at most 1,000. Absent when events never pause on
    /// the channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_ids: Option<Vec<String>>,
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
    let name = call.parameter(1);
    let channel = ChannelName::parse(name, &app.limits).map_err(|_| {
        AdminError::invalid(format!("{name:?} is no name of a channel"))
            .expected("letters, digits and _-=@,.; after a known prefix")
    })?;
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
    let socket_ids = hub.subscribers(&channel, page::MAX_LIMIT).await;
    Ok(reply(
        StatusCode::OK,
        &ChannelDetail {
            channel: ChannelView::of(&occupancy),
            user_ids,
            socket_ids: socket_ids.map(|ids| ids.iter().map(ToString::to_string).collect()),
        },
    ))
}
