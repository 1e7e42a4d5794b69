//! Webhooks of an app.

use std::collections::BTreeMap;

use fanfare_protocol::WebhookEventType;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{AdminError, ErrorBody};
use super::{Admin, Call, nothing, reply};
use crate::config::{AppConfig, MASK, Secret, WebhookConfig};
use crate::http::Answer;

/// The webhooks of an app.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhookList {
    webhooks: Vec<WebhookView>,
}

/// A webhook.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhookView {
    /// Names it, for as long as URL, types and channels stay as they are.
    id: String,
    #[serde(flatten)]
    webhook: WebhookSettings,
}

/// What a webhook is told, and where.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookSettings {
    /// `http` or `https`, without user, password and fragment.
    #[schema(example = "https://example.com/hook")]
    url: String,
    /// The types of events that it is told.
    events: Vec<WebhookEventType>,
    /// Only channels whose names begin so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel_prefix: Option<String>,
    /// Only channels whose names end so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel_suffix: Option<String>,
    /// Only channels in whose names this regular expression is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel_pattern: Option<String>,
    /// Further headers of each request. Their values are answered as `..`; a value
    /// of `..` in a change stands for the one that is there, while the URL is the same.
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// What came of a request that was sent to try a webhook out.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TestResult {
    /// Whether it was taken.
    delivered: bool,
    /// What the other side answered, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    latency_ms: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The body that was sent.
    body: String,
}

impl WebhookSettings {
    fn of(config: &WebhookConfig) -> Self {
        Self {
            url: config.url.clone(),
            events: config.events.clone(),
            channel_prefix: config.channel_prefix.clone(),
            channel_suffix: config.channel_suffix.clone(),
            channel_pattern: config.channel_pattern.clone(),
            headers: config
                .headers
                .keys()
                .map(|name| (name.clone(), MASK.to_owned()))
                .collect(),
        }
    }

    /// The webhook of the configuration; masked values are taken from `before`, but
    /// not sent to another URL: nobody is to read them there.
    fn to_config(&self, before: Option<&WebhookConfig>) -> Result<WebhookConfig, AdminError> {
        let mut config = WebhookConfig::new(&self.url, &self.events);
        config.channel_prefix.clone_from(&self.channel_prefix);
        config.channel_suffix.clone_from(&self.channel_suffix);
        config.channel_pattern.clone_from(&self.channel_pattern);
        for (name, value) in &self.headers {
            let value = if value == MASK {
                let before = before.filter(|before| before.url == self.url);
                let kept = before.and_then(|before| before.headers.get(name)).cloned();
                kept.ok_or_else(|| {
                    AdminError::invalid(format!("headers.{name} is masked"))
                        .expected("its value: there is none to keep, or it was for another URL")
                })?
            } else {
                Secret::from(value.as_str())
            };
            config.headers.insert(name.clone(), value);
        }
        Ok(config)
    }
}

/// The name of a webhook that was checked.
fn id_of(config: &WebhookConfig) -> String {
    config
        .to_webhook()
        .map(|webhook| webhook.id.as_str().to_owned())
        .unwrap_or_default()
}

fn view(config: &WebhookConfig) -> WebhookView {
    WebhookView {
        id: id_of(config),
        webhook: WebhookSettings::of(config),
    }
}

fn unknown_webhook(id: &str) -> AdminError {
    AdminError::not_found("unknown_webhook", format!("the app has no webhook {id:?}"))
        .expected("an id that GET on /webhooks lists")
}

/// List the webhooks of an app
#[utoipa::path(get, path = "/admin/v1/apps/{app}/webhooks", tag = "webhooks",
    params(("app" = String, Path, description = "The id of the app")),
    responses(
        (status = 200, description = "The webhooks", body = WebhookList),
        (status = 404, description = "There is no such app", body = ErrorBody)))]
pub(super) async fn list(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let (config, ..) = admin.app_config(call.parameter(0)).await?;
    let webhooks = config.webhooks.iter().map(view).collect();
    Ok(reply(StatusCode::OK, &WebhookList { webhooks }))
}

/// Add a webhook
#[utoipa::path(post, path = "/admin/v1/apps/{app}/webhooks", tag = "webhooks",
    params(("app" = String, Path, description = "The id of the app")),
    request_body = WebhookSettings,
    responses(
        (status = 201, description = "The webhook", body = WebhookView),
        (status = 404, description = "There is no such app", body = ErrorBody),
        (status = 409, description = "The app is not kept in a database", body = ErrorBody),
        (status = 422, description = "A value that a webhook cannot have", body = ErrorBody)))]
pub(super) async fn create(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let settings: WebhookSettings = call.body()?;
    let config = settings.to_config(None)?;
    let added = config.clone();
    change(admin, call, |app| {
        app.webhooks.push(added);
        Ok(())
    })
    .await?;
    Ok(reply(StatusCode::CREATED, &view(&config)))
}

/// Replace a webhook
///
/// The id changes with URL, types and channels; requests that wait for the old one
/// are given up.
#[utoipa::path(put, path = "/admin/v1/apps/{app}/webhooks/{webhook}", tag = "webhooks",
    params(("app" = String, Path, description = "The id of the app"),
        ("webhook" = String, Path, description = "The id of the webhook")),
    request_body = WebhookSettings,
    responses(
        (status = 200, description = "The webhook as it is now", body = WebhookView),
        (status = 404, description = "There is no such app or webhook", body = ErrorBody),
        (status = 409, description = "The app is not kept in a database", body = ErrorBody),
        (status = 422, description = "A value that a webhook cannot have", body = ErrorBody)))]
pub(super) async fn replace(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let settings: WebhookSettings = call.body()?;
    let mut replaced = None;
    change(admin, call, |app| {
        let id = call.parameter(1);
        let found = app.webhooks.iter_mut().find(|known| id_of(known) == id);
        let found = found.ok_or_else(|| unknown_webhook(id))?;
        let config = settings.to_config(Some(found))?;
        replaced = Some(view(&config));
        *found = config;
        Ok(())
    })
    .await?;
    Ok(reply(StatusCode::OK, &replaced))
}

/// Delete a webhook
#[utoipa::path(delete, path = "/admin/v1/apps/{app}/webhooks/{webhook}", tag = "webhooks",
    params(("app" = String, Path, description = "The id of the app"),
        ("webhook" = String, Path, description = "The id of the webhook")),
    responses(
        (status = 204, description = "It is no more"),
        (status = 404, description = "There is no such app or webhook", body = ErrorBody),
        (status = 409, description = "The app is not kept in a database", body = ErrorBody)))]
pub(super) async fn delete(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    change(admin, call, |app| {
        let id = call.parameter(1);
        let before = app.webhooks.len();
        app.webhooks.retain(|known| id_of(known) != id);
        if app.webhooks.len() == before {
            return Err(unknown_webhook(id));
        }
        Ok(())
    })
    .await?;
    Ok(nothing())
}

/// Try a webhook out
///
/// Sends one `channel_occupied` of the channel `fanfare-test`, signed as any other,
/// and waits for the answer. It is neither tried again nor logged.
#[utoipa::path(post, path = "/admin/v1/apps/{app}/webhooks/{webhook}/test", tag = "webhooks",
    params(("app" = String, Path, description = "The id of the app"),
        ("webhook" = String, Path, description = "The id of the webhook")),
    responses(
        (status = 200, description = "What came of it, also when it was not taken", body = TestResult),
        (status = 404, description = "There is no such app or webhook", body = ErrorBody)))]
pub(super) async fn test(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let (app, id) = (admin.app(call.parameter(0)).await?, call.parameter(1));
    let webhook = app.webhooks.iter().find(|known| known.id.as_str() == id);
    let webhook = webhook.ok_or_else(|| unknown_webhook(id))?;
    let tester = admin.parts.tester.as_ref();
    let outcome = tester
        .ok_or_else(|| unknown_webhook(id))?
        .test(&app, webhook)
        .await;
    Ok(reply(
        StatusCode::OK,
        &TestResult {
            delivered: outcome.error.is_none(),
            status: outcome.status,
            latency_ms: super::millis(outcome.latency),
            error: outcome.error,
            body: outcome.body,
        },
    ))
}

/// Changes the webhooks of an app, or nothing when `change` refuses.
async fn change(
    admin: &Admin,
    call: &Call<'_>,
    change: impl FnOnce(&mut AppConfig) -> Result<(), AdminError>,
) -> Result<(), AdminError> {
    let id = call.parameter(0);
    let database = admin.writable(id)?;
    database.update(id, change).await?;
    admin.changed().await;
    Ok(())
}
