//! The OpenAPI document, made from the handlers and the types that they answer
//! with.

use hyper::StatusCode;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use super::error::{AdminError, ErrorBody};
use super::{Admin, Call, accounts, apps, channels, connections, deliveries, events, feed};
use super::{keys, nodes, reply, session, statistics, webhooks};
use crate::http::Answer;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Fanfare admin API",
        description = "For the operator of a server. Every refusal is JSON with a code for programs, what is wrong, and what was expected.",
        license(name = "MIT")
    ),
    paths(
        apps::list, apps::create, apps::show, apps::update, apps::delete,
        keys::list, keys::create, keys::delete,
        webhooks::list, webhooks::create, webhooks::replace, webhooks::delete, webhooks::test,
        deliveries::list, deliveries::show, deliveries::redeliver,
        statistics::total, statistics::of_app,
        connections::list, connections::show, connections::close, connections::close_user,
        channels::list, channels::show, channels::past, events::publish,
        feed::total, feed::of_app,
        nodes::list,
        session::show, session::sign_in, session::sign_out, session::begin,
        session::change_password,
        accounts::list, accounts::create, accounts::change, accounts::delete, accounts::audit,
        document,
    ),
    components(schemas(ErrorBody)),
    modifiers(&Common)
)]
pub(super) struct Document;

/// What holds of every operation.
struct Common;

impl Modify for Common {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("admin.token of the configuration"))
            .build();
        if let Some(components) = &mut openapi.components {
            components.add_security_scheme("token", SecurityScheme::Http(bearer));
        }
        openapi.security = Some(vec![SecurityRequirement::new("token", [""; 0])]);
        for (path, item) in &mut openapi.paths.paths {
            for (method, operation) in [
                ("get", &mut item.get),
                ("put", &mut item.put),
                ("post", &mut item.post),
                ("delete", &mut item.delete),
                ("patch", &mut item.patch),
            ] {
                if let Some(operation) = operation {
                    operation.operation_id = Some(operation_id(method, path));
                    add_refusals(operation);
                }
            }
        }
    }
}

/// `get_apps_app_keys` for GET of `/admin/v1/apps/{app}/keys`: several modules have
/// a handler of the same name.
fn operation_id(method: &str, path: &str) -> String {
    let path = path.trim_start_matches("/admin/v1");
    let name: String = path
        .chars()
        .filter(|letter| !matches!(letter, '{' | '}'))
        .map(|letter| {
            if letter.is_alphanumeric() {
                letter
            } else {
                '_'
            }
        })
        .collect();
    format!("{method}{name}")
}

fn add_refusals(operation: &mut Operation) {
    for (status, description) in [
        (
            "401",
            "The token is missing or wrong, or the session is over",
        ),
        (
            "403",
            "A viewer must not change anything, or another page asks",
        ),
        ("422", "A parameter that is not valid"),
        (
            "429",
            "Too many wrong tokens or passwords from this address",
        ),
        ("503", "The database or the other nodes do not answer"),
    ] {
        let refusal = ResponseBuilder::new()
            .description(description)
            .content(
                "application/json",
                Content::new(Some(Ref::from_schema_name("ErrorBody"))),
            )
            .build();
        let responses = &mut operation.responses.responses;
        responses
            .entry(status.to_owned())
            .or_insert_with(|| refusal.into());
    }
}

/// This document
#[utoipa::path(get, path = "/admin/v1/openapi.json", tag = "nodes",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
pub(super) async fn document(_admin: &Admin, _call: &Call<'_>) -> Result<Answer, AdminError> {
    Ok(reply(StatusCode::OK, &Document::openapi()))
}
