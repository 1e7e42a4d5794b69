//! Keys of an app, and their rotation.

use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{AdminError, ErrorBody};
use super::{Admin, Call, nothing, reply};
use crate::config::KeyConfig;
use crate::http::Answer;

/// The keys of an app, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyList {
    keys: Vec<KeyView>,
}

/// A key without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyView {
    /// The public half.
    key: String,
    /// Whether webhooks are signed with it: the oldest is.
    signs_webhooks: bool,
}

/// A key pair that was just made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NewKey {
    key: String,
    /// Shown now and never again.
    secret: String,
}

/// List the keys of an app
#[utoipa::path(get, path = "/admin/v1/apps/{app}/keys", tag = "keys",
    params(("app" = String, Path, description = "The id of the app")),
    responses(
        (status = 200, description = "The keys, the oldest first", body = KeyList),
        (status = 404, description = "There is no such app", body = ErrorBody)))]
pub(super) async fn list(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let (config, ..) = admin.app_config(call.parameter(0)).await?;
    let keys = config.pairs().into_iter().enumerate();
    let keys = keys
        .map(|(position, pair)| KeyView {
            key: pair.key,
            signs_webhooks: position == 0,
        })
        .collect();
    Ok(reply(StatusCode::OK, &KeyList { keys }))
}

/// Add a key pair
///
/// The others go on to be valid: give the new one to back ends and pages, then
/// delete the old one. The answer has the secret, for the only time.
#[utoipa::path(post, path = "/admin/v1/apps/{app}/keys", tag = "keys",
    params(("app" = String, Path, description = "The id of the app")),
    responses(
        (status = 201, description = "The pair", body = NewKey),
        (status = 404, description = "There is no such app", body = ErrorBody),
        (status = 409, description = "It is not kept in a database", body = ErrorBody)))]
pub(super) async fn create(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let id = call.parameter(0);
    let database = admin.writable(id)?;
    let pair = KeyConfig::random();
    database.add_key(id, &pair).await?;
    admin.changed().await;
    Ok(reply(
        StatusCode::CREATED,
        &NewKey {
            key: pair.key,
            secret: pair.secret.reveal().to_owned(),
        },
    ))
}

/// Delete a key
///
/// Connections that it opened stay. The last key of an app cannot be deleted.
#[utoipa::path(delete, path = "/admin/v1/apps/{app}/keys/{key}", tag = "keys",
    params(("app" = String, Path, description = "The id of the app"),
        ("key" = String, Path, description = "The public half")),
    responses(
        (status = 204, description = "It is not valid any more"),
        (status = 404, description = "There is no such app or key", body = ErrorBody),
        (status = 409, description = "It is the last one, or not kept in a database", body = ErrorBody)))]
pub(super) async fn delete(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let (id, key) = (call.parameter(0), call.parameter(1));
    let database = admin.writable(id)?;
    let stored = database.get(id).await?;
    let keys: Vec<String> = stored
        .config
        .pairs()
        .into_iter()
        .map(|pair| pair.key)
        .collect();
    if keys.iter().any(|known| known == key) && keys.len() == 1 {
        return Err(AdminError::new(
            StatusCode::CONFLICT,
            "last_key",
            format!("{key:?} is the only key of the app"),
        )
        .expected("another key, made with POST on /keys, before this one is deleted"));
    }
    database.remove_key(id, key).await?;
    admin.changed().await;
    Ok(nothing())
}
