//! Publishing by hand, to see whether an event arrives.

use fanfare_protocol::trigger::{QueryParameters, Trigger};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{AdminError, ErrorBody};
use super::{Admin, Call, reply};
use crate::api::error::ApiError;
use crate::http::Answer;
use crate::hub::{Origin, Publish, Scope};

/// An event to publish.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewEvent {
    #[schema(example = "order.created")]
    name: String,
    channels: Vec<String>,
    /// The text that reaches the clients, mostly JSON.
    #[schema(example = "{\"id\":7}")]
    data: String,
    /// A connection that does not get it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    socket_id: Option<String>,
}

/// An event that was published.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PublishedEvent {
    /// How many channels it went to.
    channels: usize,
}

/// Publish an event
///
/// As the app's back end does over the HTTP API; rates and quotas of the app are
/// not asked.
#[utoipa::path(post, path = "/admin/v1/apps/{app}/events", tag = "channels",
    params(("app" = String, Path, description = "The id of the app")),
    request_body = NewEvent,
    responses(
        (status = 202, description = "It is on its way", body = PublishedEvent),
        (status = 404, description = "There is no such app", body = ErrorBody),
        (status = 413, description = "The data is too large", body = ErrorBody),
        (status = 422, description = "An event that the app cannot have", body = ErrorBody)))]
pub(super) async fn publish(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let app = admin.app(call.parameter(0)).await?;
    let event: NewEvent = call.body()?;
    let body = super::json(&event);
    let refused = |error: ApiError| {
        let error = AdminError::from(error);
        error.or_unprocessable()
    };
    let trigger = Trigger::parse(body.as_bytes(), QueryParameters::default(), &app.limits)
        .map_err(|error| refused(error.into()))?;
    admin
        .parts
        .hub
        .publisher(&app)
        .publish(&Publish {
            channels: &trigger.channels,
            event: &trigger.name,
            data: &trigger.data,
            except: trigger.socket_id,
            scope: Scope::Cluster,
            origin: Origin::Api,
        })
        .map_err(|full| refused(full.into()))?;
    Ok(reply(
        StatusCode::ACCEPTED,
        &PublishedEvent {
            channels: trigger.channels.len(),
        },
    ))
}
