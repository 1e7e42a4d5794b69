//! Connections of all nodes: finding one, and closing it.

use std::sync::Arc;

use fanfare_protocol::{Close, SocketId, UserId};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{AdminError, ErrorBody};
use super::others::{self, Answers, Question, but_for};
use super::page::{self, PageQuery};
use super::{Admin, AdminParts, Call, nothing, reply};
use crate::http::Answer;
use crate::hub::{AppHub, ConnectionState};

/// Connections, by socket id.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConnectionPage {
    connections: Vec<ConnectionView>,
    /// Where to go on; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Nodes that did not answer within a second: theirs are missing.
    unanswered: usize,
}

/// A connection.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct ConnectionView {
    #[schema(example = "1234.5678")]
    socket_id: String,
    /// Host and port of the node that has it.
    node: String,
    app_id: String,
    /// Where it comes from; the client's own address behind trusted proxies.
    address: String,
    /// How long it has been here.
    connected_seconds: u64,
    /// Since when nothing has come from it.
    silent_seconds: u64,
    /// The user that it is signed in as.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    /// What carries it: `websocket`, `raw_websocket` or `http`.
    transport: String,
    /// The library and its version, as the client names them.
    #[schema(example = "js 8.6.0")]
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    /// Bytes that wait for it.
    waiting_bytes: usize,
}

/// A connection with its channels.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct ConnectionDetail {
    #[serde(flatten)]
    connection: ConnectionView,
    /// What it is subscribed to. A channel on which events never pause may be
    /// missing.
    channels: Vec<String>,
}

/// How a connection is closed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CloseQuery {
    /// Whether the client is to come back at once (4200). Default false: it stays
    /// away (4009).
    reconnect: Option<bool>,
}

impl ConnectionView {
    fn of(parts: &AdminParts, app: &AppHub, connection: &ConnectionState) -> Self {
        Self {
            node: parts.usage.node().to_owned(),
            socket_id: connection.socket_id.to_string(),
            app_id: app.id().to_string(),
            address: connection.address.to_string(),
            connected_seconds: connection.age.as_secs(),
            silent_seconds: connection.silence.as_secs(),
            user_id: connection.user_id.as_ref().map(ToString::to_string),
            transport: connection.transport.to_owned(),
            client: connection.client.as_deref().map(str::to_owned),
            waiting_bytes: connection.waiting_bytes,
        }
    }
}

/// List the connections of an app
///
/// Those of all nodes.
#[utoipa::path(get, path = "/admin/v1/apps/{app}/connections", tag = "connections",
    params(("app" = String, Path, description = "The id of the app"), PageQuery),
    responses(
        (status = 200, description = "A page of connections, by socket id", body = ConnectionPage),
        (status = 404, description = "There is no such app", body = ErrorBody)))]
pub(super) async fn list(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let query: PageQuery = call.query()?;
    let limit = page::limit(query.limit)?;
    let after = query.after.as_deref().map(socket_id).transpose()?;
    let app = admin.app(call.parameter(0)).await?;
    let parts = &admin.parts;
    let question = Question::Connections {
        app: app.id.to_string(),
        after: query.after,
        limit: limit + 1,
    };
    let Answers {
        answers,
        unanswered,
    } = others::ask(parts.hub.engine(), &question, |_: &Vec<ConnectionView>| {
        false
    })
    .await;
    let mut connections = here(parts, &parts.hub.app(&app), after, limit + 1);
    connections.extend(answers.into_iter().flatten());
    // As each node has sorted its own: by number.
    connections.sort_by_key(|connection| connection.socket_id.parse::<SocketId>().ok());
    let (connections, next) = page::cut(connections, limit, |connection| {
        connection.socket_id.clone()
    });
    Ok(reply(
        StatusCode::OK,
        &ConnectionPage {
            connections,
            next,
            unanswered,
        },
    ))
}

/// Those of this node after `after`, by socket id.
pub(super) fn here(
    parts: &AdminParts,
    app: &AppHub,
    after: Option<SocketId>,
    limit: usize,
) -> Vec<ConnectionView> {
    let connections = app.connection_page(after, limit);
    let views = connections
        .iter()
        .map(|connection| ConnectionView::of(parts, app, connection));
    views.collect()
}

/// Find a connection by its socket id
///
/// On all nodes, among all apps.
#[utoipa::path(get, path = "/admin/v1/connections/{socket}", tag = "connections",
    params(("socket" = String, Path, description = "The socket id")),
    responses(
        (status = 200, description = "The connection", body = ConnectionDetail),
        (status = 404, description = "It is on no node that has answered", body = ErrorBody)))]
pub(super) async fn show(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let id = socket_id(call.parameter(0))?;
    if let Some(detail) = detail(&admin.parts, id).await {
        return Ok(reply(StatusCode::OK, &detail));
    }
    let question = Question::Connection {
        socket_id: id.to_string(),
    };
    let engine = admin.parts.hub.engine();
    let Answers {
        answers,
        unanswered,
    } = others::ask(engine, &question, Option::<ConnectionDetail>::is_some).await;
    match answers.into_iter().flatten().next() {
        Some(detail) => Ok(reply(StatusCode::OK, &detail)),
        None => Err(unknown(id, unanswered)),
    }
}

/// A connection of this node.
pub(super) async fn detail(parts: &AdminParts, id: SocketId) -> Option<ConnectionDetail> {
    let (app, connection) = find(parts, id)?;
    let channels = app.channels_of(id).await;
    Some(ConnectionDetail {
        connection: ConnectionView::of(parts, &app, &connection),
        channels: channels.iter().map(ToString::to_string).collect(),
    })
}

/// Close a connection
///
/// On whatever node it is.
#[utoipa::path(delete, path = "/admin/v1/connections/{socket}", tag = "connections",
    params(("socket" = String, Path, description = "The socket id"), CloseQuery),
    responses(
        (status = 204, description = "It is closed"),
        (status = 404, description = "It is on no node that has answered", body = ErrorBody)))]
pub(super) async fn close(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let query: CloseQuery = call.query()?;
    let id = socket_id(call.parameter(0))?;
    let reconnect = query.reconnect.unwrap_or(false);
    if close_here(&admin.parts, id, reconnect) {
        return Ok(nothing());
    }
    let question = Question::Close {
        socket_id: id.to_string(),
        reconnect,
    };
    let engine = admin.parts.hub.engine();
    let Answers {
        answers,
        unanswered,
    } = others::ask(engine, &question, |is_closed: &bool| *is_closed).await;
    if answers.contains(&true) {
        Ok(nothing())
    } else {
        Err(unknown(id, unanswered))
    }
}

/// Closes a connection of this node. Returns whether there is such a one.
pub(super) fn close_here(parts: &AdminParts, id: SocketId, reconnect: bool) -> bool {
    let close = if reconnect {
        Close::Reconnect
    } else {
        Close::Terminated
    };
    find(parts, id).is_some_and(|(app, _)| app.disconnect(id, &close))
}

/// Close the connections of a user
///
/// On all nodes, with 4009.
#[utoipa::path(delete, path = "/admin/v1/apps/{app}/users/{user}/connections", tag = "connections",
    params(("app" = String, Path, description = "The id of the app"),
        ("user" = String, Path, description = "The id of the signed-in user")),
    responses(
        (status = 204, description = "They are closed, if there were any"),
        (status = 404, description = "There is no such app", body = ErrorBody)))]
pub(super) async fn close_user(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let app = admin.app(call.parameter(0)).await?;
    let user = UserId::new(call.parameter(1));
    admin.parts.hub.terminate(&app, &user);
    Ok(nothing())
}

fn find(parts: &AdminParts, id: SocketId) -> Option<(Arc<AppHub>, ConnectionState)> {
    let mut apps = parts.hub.apps().into_iter();
    apps.find_map(|app| {
        let connection = app.connection_state(id)?;
        Some((app, connection))
    })
}

fn unknown(id: SocketId, unanswered: usize) -> AdminError {
    AdminError::not_found(
        "unknown_connection",
        format!("there is no connection {id}{}", but_for(unanswered)),
    )
    .expected("the socket id of a client that is connected now")
}

pub(super) fn socket_id(text: &str) -> Result<SocketId, AdminError> {
    text.parse().map_err(|_| {
        AdminError::invalid(format!("{text:?} is no socket id"))
            .expected("two numbers with a dot between them, such as 1234.5678")
    })
}
