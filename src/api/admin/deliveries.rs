//! What became of webhook requests, and sending one again.

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{AdminError, ErrorBody};
use super::page;
use super::{Admin, Call, reply};
use crate::http::Answer;
use crate::store::{Database, Entry};

/// Which requests.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveryQuery {
    /// Elements at most, 1 to 1,000. Default 100.
    limit: Option<usize>,
    /// Where to go on: `next` of the page before.
    after: Option<String>,
    /// Only those in this state.
    state: Option<DeliveryState>,
}

/// How it stands with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DeliveryState {
    /// It is tried, or tried again.
    Waiting,
    /// It was taken.
    Delivered,
    /// It was not taken in all its time.
    GivenUp,
    /// It must not be sent, or nobody wants it any more.
    Refused,
    /// Too much waited for its URL.
    Dropped,
}

impl DeliveryState {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Waiting, "waiting"),
        (Self::Delivered, "delivered"),
        (Self::GivenUp, "given_up"),
        (Self::Refused, "refused"),
        (Self::Dropped, "dropped"),
    ];

    fn name(self) -> &'static str {
        let mut all = Self::ALL.into_iter();
        all.find(|(state, _)| *state == self)
            .map_or("waiting", |(_, name)| name)
    }

    fn parse(name: &str) -> Self {
        let mut all = Self::ALL.into_iter();
        all.find(|(_, known)| *known == name)
            .map_or(Self::Waiting, |(state, _)| state)
    }
}

/// Requests, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeliveryPage {
    deliveries: Vec<DeliveryView>,
    /// Where to go on; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A request to the URL of a webhook.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeliveryView {
    id: String,
    app_id: String,
    webhook_id: String,
    url: String,
    state: DeliveryState,
    /// When it was made, in milliseconds of Unix time.
    created_ms: i64,
    /// How often it was tried.
    attempts: i64,
    /// What the last attempt was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<i64>,
    /// How long that took.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<i64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The body, as it was signed.
    body: String,
}

/// A request that was made of an older one.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Redelivery {
    /// Its id.
    id: String,
}

fn view(entry: Entry) -> DeliveryView {
    let time_ms = u64::try_from(entry.created_ms).unwrap_or(0);
    DeliveryView {
        body: fanfare_protocol::webhook::body(time_ms, &entry.events),
        state: DeliveryState::parse(&entry.state),
        id: entry.id,
        app_id: entry.app_id,
        webhook_id: entry.webhook_id,
        url: entry.url,
        created_ms: entry.created_ms,
        attempts: entry.attempts,
        status: entry.status,
        latency_ms: entry.latency_ms,
        error: entry.error,
    }
}

fn log(admin: &Admin) -> Result<&Database, AdminError> {
    let database = admin.parts.database.as_ref();
    let database = database.ok_or_else(AdminError::no_database)?;
    if database.is_read_only() {
        // The log would be beside the table of somebody else.
        return Err(AdminError::new(
            StatusCode::CONFLICT,
            "read_only",
            "with the apps of store.soketi_table there is no log of webhooks",
        )
        .expected("apps in tables of our own: store.url without store.soketi_table"));
    }
    Ok(database)
}

async fn find(admin: &Admin, call: &Call<'_>) -> Result<Entry, AdminError> {
    let (app, id) = (call.parameter(0), call.parameter(1));
    let unknown = || {
        AdminError::not_found("unknown_delivery", format!("the app has no request {id:?}"))
            .expected("an id that GET on /deliveries lists")
    };
    match log(admin)?.webhook(id).await {
        Ok(entry) if entry.app_id == app => Ok(entry),
        Ok(_) | Err(crate::store::StoreError::NotFound(_)) => Err(unknown()),
        Err(error) => Err(error.into()),
    }
}

/// List the webhook requests of an app
///
/// The newest first; kept for three days, at most the last 1,000.
#[utoipa::path(get, path = "/admin/v1/apps/{app}/deliveries", tag = "webhooks",
    params(("app" = String, Path, description = "The id of the app"), DeliveryQuery),
    responses(
        (status = 200, description = "A page of requests", body = DeliveryPage),
        (status = 409, description = "There is no database, so no log", body = ErrorBody)))]
pub(super) async fn list(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let query: DeliveryQuery = call.query()?;
    let limit = page::limit(query.limit)?;
    let after = query.after.as_deref().map(position).transpose()?;
    let state = query.state.map(DeliveryState::name);
    let entries = log(admin)?
        .webhook_page(Some(call.parameter(0)), state, after, limit + 1)
        .await?;
    let (entries, next) = page::cut(entries, limit, |entry| {
        format!("{}-{}", entry.created_ms, entry.id)
    });
    let deliveries = entries.into_iter().map(view).collect();
    Ok(reply(StatusCode::OK, &DeliveryPage { deliveries, next }))
}

/// Time and id of the last request of a page.
fn position(text: &str) -> Result<(i64, &str), AdminError> {
    text.split_once('-')
        .and_then(|(time, id)| Some((time.parse().ok()?, id)))
        .ok_or_else(|| {
            AdminError::invalid(format!("after = {text:?} is not valid"))
                .expected("`next` of the page before")
        })
}

/// Show one webhook request
#[utoipa::path(get, path = "/admin/v1/apps/{app}/deliveries/{delivery}", tag = "webhooks",
    params(("app" = String, Path, description = "The id of the app"),
        ("delivery" = String, Path, description = "The id of the request")),
    responses(
        (status = 200, description = "The request", body = DeliveryView),
        (status = 404, description = "There is none", body = ErrorBody),
        (status = 409, description = "There is no database, so no log", body = ErrorBody)))]
pub(super) async fn show(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    Ok(reply(StatusCode::OK, &view(find(admin, call).await?)))
}

/// Send the events of a request once more
///
/// A new request with the time of now, sent within some seconds by one of the
/// servers.
#[utoipa::path(post, path = "/admin/v1/apps/{app}/deliveries/{delivery}/redeliver", tag = "webhooks",
    params(("app" = String, Path, description = "The id of the app"),
        ("delivery" = String, Path, description = "The id of the request")),
    responses(
        (status = 202, description = "The new request", body = Redelivery),
        (status = 404, description = "There is none", body = ErrorBody),
        (status = 409, description = "There is no database, so no log", body = ErrorBody)))]
pub(super) async fn redeliver(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let entry = find(admin, call).await?;
    let id = log(admin)?.redeliver(&entry.id).await?;
    Ok(reply(StatusCode::ACCEPTED, &Redelivery { id }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_the_name_that_the_database_knows() {
        for (state, name) in DeliveryState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), name);
            assert_eq!(DeliveryState::parse(state.name()), state);
        }
    }
}
