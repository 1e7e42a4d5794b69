//! Apps: their switches and limits.

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use fanfare_protocol::Limits;

use super::error::{AdminError, ErrorBody};
use super::page::{self, PageQuery};
use super::{Admin, Call, reply};
use crate::apps::OverQuota;
use crate::config::{AppConfig, HistoryRuleConfig, KeyConfig, Plan};
use crate::http::Answer;
use crate::store::StoredApp;

/// Where an app is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Origin {
    /// In the configuration file; it cannot be changed here.
    File,
    /// In the database.
    Database,
    /// In the table of a control panel for soketi; it cannot be changed here.
    SoketiTable,
}

/// An app without its secrets.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AppView {
    /// The id in HTTP API paths.
    id: String,
    origin: Origin,
    /// When it was created, in milliseconds of Unix time.
    #[serde(skip_serializing_if = "Option::is_none")]
    created_ms: Option<i64>,
    /// The public keys, the oldest first. The oldest signs webhooks.
    keys: Vec<String>,
    /// How many webhooks it has.
    webhooks: usize,
    /// Connections on this node.
    connections: u64,
    settings: AppSettings,
}

/// Switches and limits of an app, under the names of the configuration file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AppSettings {
    /// Off: clients are refused with 4003, the API with 403.
    enabled: bool,
    /// On: plain connections are refused with 4000.
    tls_only: bool,
    /// Whether clients may send `client-…` events.
    client_events: bool,
    /// Whether subscribers are told how many they are.
    subscription_count: bool,
    /// Whether signed-in users hear of the users they watch.
    watchlist: bool,
    /// Whether a connection must sign in or subscribe to a private channel.
    authorized_connections: bool,
    /// Whether a refused subscription is told to its channel too.
    subscription_errors: bool,
    /// Whether answers of the HTTP API have the member `"ok":true`.
    soketi_answers: bool,
    /// What a connection above `limits.connections` is told.
    over_quota: OverQuota,
    /// Whether a session belongs to the first user who is known on it.
    bind_sessions: bool,
    /// Origins of pages that may connect. Empty: all.
    allowed_origins: Vec<String>,
    /// A preset for `limits.connections` and `limits.messages_per_day`, where
    /// those are not set.
    plan: Plan,
    /// Whether events that come shortly after one another share a webhook.
    webhook_batching: bool,
    /// Which channels keep their past events; a change takes the place of all.
    history: Vec<HistoryRuleConfig>,
    limits: Limits,
}

impl Default for AppSettings {
    fn default() -> Self {
        Self::of(&AppConfig::new("", "", ""))
    }
}

impl AppSettings {
    /// Whatever is added to an app is shown here, or named as what is not.
    fn of(app: &AppConfig) -> Self {
        let AppConfig {
            id: _,
            key: _,
            secret: _,
            keys: _,
            webhooks: _,
            enabled,
            tls_only,
            client_events,
            subscription_count,
            watchlist,
            authorized_connections,
            subscription_errors,
            soketi_answers,
            over_quota,
            bind_sessions,
            allowed_origins,
            plan,
            webhook_batching,
            history,
            limits,
        } = app.clone();
        Self {
            enabled,
            tls_only,
            client_events,
            subscription_count,
            watchlist,
            authorized_connections,
            subscription_errors,
            soketi_answers,
            over_quota,
            bind_sessions,
            allowed_origins,
            plan,
            webhook_batching,
            history,
            limits,
        }
    }

    fn apply(self, app: &mut AppConfig) {
        app.enabled = self.enabled;
        app.tls_only = self.tls_only;
        app.client_events = self.client_events;
        app.subscription_count = self.subscription_count;
        app.watchlist = self.watchlist;
        app.authorized_connections = self.authorized_connections;
        app.subscription_errors = self.subscription_errors;
        app.soketi_answers = self.soketi_answers;
        app.over_quota = self.over_quota;
        app.bind_sessions = self.bind_sessions;
        app.allowed_origins = self.allowed_origins;
        app.plan = self.plan;
        app.webhook_batching = self.webhook_batching;
        app.history = self.history;
        app.limits = self.limits;
    }

    /// The settings with those of `patch` instead, where it has any; `null` takes
    /// a limit away (RFC 7396).
    fn patched(&self, patch: &Value) -> Result<Self, AdminError> {
        if !patch.is_object() {
            return Err(AdminError::invalid("the body is not valid")
                .expected("a JSON object with the settings to change"));
        }
        let mut settings =
            serde_json::to_value(self).map_err(|error| AdminError::invalid(error.to_string()))?;
        merge(&mut settings, patch);
        serde_json::from_value(settings).map_err(|error| AdminError::invalid(error.to_string()))
    }
}

/// Applies a merge patch.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else {
        return;
    };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// A page of apps, by id.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AppPage {
    apps: Vec<AppView>,
    /// Where to go on; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// An app to be created. What is left out has its default.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NewApp {
    /// Digits alone suit every SDK. Default: random digits.
    id: Option<String>,
    settings: AppSettings,
}

/// An app that was just created, with its secret for the only time.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CreatedApp {
    app: AppView,
    key: String,
    /// Shown now and never again.
    secret: String,
}

impl Admin {
    pub(super) fn app_view(
        &self,
        app: &AppConfig,
        origin: Origin,
        created_ms: Option<i64>,
    ) -> AppView {
        let hub = self.parts.hub.find(&fanfare_protocol::AppId::new(&app.id));
        AppView {
            id: app.id.clone(),
            origin,
            created_ms,
            keys: app.pairs().into_iter().map(|pair| pair.key).collect(),
            webhooks: app.webhooks.len(),
            connections: hub.map_or(0, |hub| hub.counters.connections()),
            settings: AppSettings::of(app),
        }
    }

    fn stored_view(&self, app: &StoredApp) -> AppView {
        self.app_view(&app.config, Origin::Database, Some(app.created_ms))
    }

    /// All apps, by id; those of the file hide those of the database.
    async fn all_apps(&self) -> Result<Vec<AppView>, AdminError> {
        let file = self.parts.file_apps.iter();
        let mut all: Vec<AppView> = file
            .map(|app| self.app_view(app, Origin::File, None))
            .collect();
        if let Some(database) = &self.parts.database {
            let origin = if database.is_read_only() {
                Origin::SoketiTable
            } else {
                Origin::Database
            };
            for (app, created_ms) in database.all_apps().await? {
                if self.file_app(&app.id).is_none() {
                    all.push(self.app_view(&app, origin, created_ms));
                }
            }
        }
        all.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        Ok(all)
    }

    /// The settings of an app, wherever it is kept.
    pub(super) async fn app_config(
        &self,
        id: &str,
    ) -> Result<(AppConfig, Origin, Option<i64>), AdminError> {
        if let Some(app) = self.file_app(id) {
            return Ok((app.clone(), Origin::File, None));
        }
        match &self.parts.database {
            Some(database) if database.is_read_only() => {
                let app = self.app(id).await?;
                Ok((AppConfig::of(&app), Origin::SoketiTable, None))
            }
            Some(database) => {
                let app = database.get(id).await?;
                Ok((app.config, Origin::Database, Some(app.created_ms)))
            }
            None => Err(AdminError::unknown_app(id)),
        }
    }
}

/// List the apps
#[utoipa::path(get, path = "/admin/v1/apps", tag = "apps", params(PageQuery),
    responses((status = 200, description = "A page of apps, by id", body = AppPage)))]
pub(super) async fn list(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let query: PageQuery = call.query()?;
    let limit = page::limit(query.limit)?;
    let mut apps = admin.all_apps().await?;
    if let Some(after) = &query.after {
        apps.retain(|app| app.id > *after);
    }
    let (apps, next) = page::cut(apps, limit, |app| app.id.clone());
    Ok(reply(StatusCode::OK, &AppPage { apps, next }))
}

/// Create an app
///
/// The answer has the secret, for the only time.
#[utoipa::path(post, path = "/admin/v1/apps", tag = "apps", request_body = NewApp,
    responses(
        (status = 201, description = "The app, with its secret", body = CreatedApp),
        (status = 409, description = "The id is taken, or there is no database", body = ErrorBody),
        (status = 422, description = "A value that an app cannot have", body = ErrorBody)))]
pub(super) async fn create(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let new: NewApp = if call.body.is_empty() {
        NewApp::default()
    } else {
        call.body()?
    };
    let id = new.id.unwrap_or_else(AppConfig::random_id);
    let database = admin.writable(&id)?;
    let pair = KeyConfig::random();
    let mut app = AppConfig::new(&id, &pair.key, pair.secret.reveal());
    new.settings.apply(&mut app);
    // Nothing is asked from here on that could fail: the secret is not told again.
    let created = database.create(&app).await?;
    admin.changed().await;
    Ok(reply(
        StatusCode::CREATED,
        &CreatedApp {
            app: admin.stored_view(&created),
            key: pair.key,
            secret: pair.secret.reveal().to_owned(),
        },
    ))
}

/// Show one app
#[utoipa::path(get, path = "/admin/v1/apps/{app}", tag = "apps",
    params(("app" = String, Path, description = "The id of the app")),
    responses(
        (status = 200, description = "The app", body = AppView),
        (status = 404, description = "There is none", body = ErrorBody)))]
pub(super) async fn show(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let (config, origin, created_ms) = admin.app_config(call.parameter(0)).await?;
    Ok(reply(
        StatusCode::OK,
        &admin.app_view(&config, origin, created_ms),
    ))
}

/// Change switches and limits
///
/// The body is a merge patch: what is not in it stays as it is, and `null` takes a
/// limit away. Connections feel it within a second; those of an app that is
/// switched off are closed with 4003.
#[utoipa::path(patch, path = "/admin/v1/apps/{app}", tag = "apps",
    params(("app" = String, Path, description = "The id of the app")),
    request_body(content = AppSettings, description = "The settings to change"),
    responses(
        (status = 200, description = "The app as it is now", body = AppView),
        (status = 404, description = "There is none", body = ErrorBody),
        (status = 409, description = "It is not kept in a database", body = ErrorBody),
        (status = 422, description = "A value that it cannot have", body = ErrorBody)))]
pub(super) async fn update(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let id = call.parameter(0);
    let database = admin.writable(id)?;
    let patch: Value = call.body()?;
    let change = |app: &mut AppConfig| {
        AppSettings::of(app).patched(&patch)?.apply(app);
        Ok::<_, AdminError>(())
    };
    let changed = database.update(id, change).await?;
    admin.changed().await;
    Ok(reply(StatusCode::OK, &admin.stored_view(&changed)))
}

/// Delete an app
///
/// Its connections are closed with 4001.
#[utoipa::path(delete, path = "/admin/v1/apps/{app}", tag = "apps",
    params(("app" = String, Path, description = "The id of the app")),
    responses(
        (status = 204, description = "It is no more"),
        (status = 404, description = "There is none", body = ErrorBody),
        (status = 409, description = "It is not kept in a database", body = ErrorBody)))]
pub(super) async fn delete(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let id = call.parameter(0);
    let database = admin.writable(id)?;
    database.delete(id).await?;
    admin.changed().await;
    Ok(super::nothing())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_changes_what_it_names() {
        let mut before = AppSettings {
            client_events: true,
            ..AppSettings::default()
        };
        before.limits.connections = Some(5);
        before.limits.presence_members = 7;

        let patch = json!({"watchlist": true, "limits": {"connections": null}});
        let after = before.patched(&patch).unwrap();

        assert!(after.client_events && after.watchlist);
        assert_eq!(after.limits.connections, None);
        assert_eq!(after.limits.presence_members, 7);
        for patch in [
            json!([]),
            json!({"watchlists": true}),
            json!({"plan": "gold"}),
        ] {
            assert!(before.patched(&patch).is_err(), "{patch}");
        }
    }
}
