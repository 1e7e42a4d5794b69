//! The HTTP API for administrators: accounts, orders, the queue, and the page that shows
//! them. Every path but those of the page needs a JWT with the role `ADMIN`.
//!
//! Passwords go in and never come out: nothing here opens one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use percent_encoding::percent_decode_str;
use prometheus::Registry;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::accounts::{Account, Change, MIN_PASSWORD};
use super::bull::{BullQueue, JobQueue, NewJob, QueueError, Retried};
use super::database::{Database, DatabaseError};
use super::ops::metrics;
use super::processor::PROCESS;
use super::sealing::Sealer;
use crate::adapter::auth::{Authority, bearer};
use crate::adapter::page::{self, File};
use crate::http::{
    Answer, BodyFault, Handler, Peer, answer, text_answer, value_answer, whole_body,
};
use crate::limits::Addresses;

/// Bytes of a body.
const MAX_BODY: usize = 64 << 10;

/// Wrong tokens of one address in a minute, before it is not listened to.
const MAX_FAILURES: u32 = 100;

/// Who may do everything here.
const ADMIN: &str = "ADMIN";

/// Attempts of an order that is tried again, and the first pause between them.
const ATTEMPTS: u32 = 3;
const BACKOFF: Duration = Duration::from_secs(2);

/// The page, which is the same for everybody.
const PAGE: [File; 3] = [
    File {
        path: "/admin",
        content_type: "text/html; charset=utf-8",
        content: include_str!("page/index.html"),
    },
    File {
        path: "/admin/page.js",
        content_type: "text/javascript; charset=utf-8",
        content: include_str!("page/page.js"),
    },
    File {
        path: "/admin/page.css",
        content_type: "text/css; charset=utf-8",
        content: include_str!("page/page.css"),
    },
];

/// Answers administrators.
#[derive(Debug)]
pub struct OrdersApi {
    /// Accounts and orders.
    pub database: Database,
    /// The queue of the orders.
    pub queue: BullQueue,
    /// Seals passwords.
    pub sealer: Sealer,
    /// Says who somebody is.
    pub authority: Authority,
    /// Addresses that guess tokens.
    pub addresses: Addresses,
    /// What the page must know of Fanfare.
    pub page: PageConfig,
    /// What is counted.
    pub registry: Registry,
}

/// What the page must know of Fanfare.
#[derive(Clone, Debug)]
pub struct PageConfig {
    /// The key of the app; without it the page shows no news.
    pub key: Option<String>,
    /// Where browsers find Fanfare.
    pub url: String,
    /// Where they have pusher-js from.
    pub pusher_js: String,
}

/// What is asked for.
enum Route<'a> {
    Accounts,
    Account(&'a str),
    AccountNamed(&'a str),
    Activate(&'a str),
    Session(&'a str),
    FailedOrders,
    RunningOrders,
    RetryOrder(&'a str),
    File(&'a str),
    Queue,
    Pause,
    Resume,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewAccount {
    username: String,
    password: String,
    gu_login: Option<String>,
    comment: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AccountChange {
    username: Option<String>,
    password: Option<String>,
    gu_login: Option<String>,
    comment: Option<String>,
    is_active: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Session {
    cookies: String,
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("Cannot find this path")]
    Path,
    #[error("Method not allowed")]
    Method,
    #[error("Unauthorized: expected the JWT of an administrator as Authorization: Bearer")]
    Unauthorized,
    #[error("Only administrators may do this")]
    Forbidden,
    #[error("Too many requests")]
    TooMany,
    #[error("{0}")]
    Bad(String),
    #[error("There is no such {0}")]
    Missing(&'static str),
    #[error("{0}")]
    Conflict(String),
    #[error("the body exceeds the allowed maximum ({MAX_BODY} bytes)")]
    TooLarge,
    #[error("The database does not answer")]
    Database(#[from] DatabaseError),
    #[error("The queue does not answer")]
    Queue(#[from] QueueError),
}

impl OrdersApi {
    /// Addresses as this API watches them.
    #[must_use]
    pub fn addresses() -> Addresses {
        Addresses::new(None, Some(MAX_FAILURES))
    }

    async fn try_handle(&self, request: Request<Incoming>, peer: Peer) -> Result<Answer, Refusal> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().trim_end_matches('/');
        let route = route(path).ok_or(Refusal::Path)?;
        self.check_administrator(&head, peer).await?;
        match (route, &head.method) {
            (Route::Accounts, &Method::GET) => {
                let accounts = self.database.accounts().await?;
                Ok(value_answer(StatusCode::OK, &json!(accounts)))
            }
            (Route::Accounts, &Method::POST) => self.add(&read(body).await?).await,
            (Route::Account(id), &Method::GET) => {
                let account = self.database.account(number(id)?).await?;
                shown(account)
            }
            (Route::Account(id), &Method::PUT | &Method::PATCH) => {
                self.change(number(id)?, &read(body).await?).await
            }
            (Route::Account(id), &Method::DELETE) => {
                self.switch(number(id)?, false).await?;
                Ok(value_answer(StatusCode::OK, &json!({ "success": true })))
            }
            (Route::AccountNamed(name), &Method::GET) => {
                let name = percent_decode_str(name).decode_utf8_lossy();
                shown(self.database.account_named(&name).await?)
            }
            (Route::Activate(id), &Method::POST) => {
                shown(Some(self.switch(number(id)?, true).await?))
            }
            (Route::Session(id), &Method::POST) => {
                self.import_session(number(id)?, &read(body).await?).await
            }
            (Route::FailedOrders, &Method::GET) => {
                let orders = self.database.failed_orders().await?;
                Ok(value_answer(StatusCode::OK, &json!(orders)))
            }
            (Route::RunningOrders, &Method::GET) => {
                let orders = self.database.running_orders().await?;
                Ok(value_answer(StatusCode::OK, &json!(orders)))
            }
            (Route::RetryOrder(id), &Method::POST) => self.retry(number(id)?).await,
            (Route::File(id), &Method::GET) => {
                let file = self.database.file(number(id)?).await?;
                let file = file.ok_or(Refusal::Missing("document"))?;
                Ok(answer(StatusCode::OK, "application/zip", Bytes::from(file)))
            }
            (Route::Queue, &Method::GET) => self.queue_state().await,
            (Route::Pause, &Method::POST) => {
                self.queue.pause().await?;
                self.queue_state().await
            }
            (Route::Resume, &Method::POST) => {
                self.queue.resume().await?;
                self.queue_state().await
            }
            _ => Err(Refusal::Method),
        }
    }

    async fn check_administrator(&self, head: &Parts, peer: Peer) -> Result<(), Refusal> {
        if !self.addresses.may_authorize(peer.address) {
            return Err(Refusal::TooMany);
        }
        let person = match bearer(&head.headers) {
            Some(token) => self.authority.person(&token).await.ok(),
            None => None,
        };
        let Some(person) = person else {
            self.addresses.note_failure(peer.address);
            return Err(Refusal::Unauthorized);
        };
        if person.roles.iter().any(|role| role == ADMIN) {
            Ok(())
        } else {
            Err(Refusal::Forbidden)
        }
    }

    async fn add(&self, new: &NewAccount) -> Result<Answer, Refusal> {
        check_text("username", &new.username, 1, 255)?;
        check_password(&new.password)?;
        check_optional("guLogin", new.gu_login.as_deref(), 255)?;
        check_optional("comment", new.comment.as_deref(), 500)?;
        let change = Change {
            username: Some(&new.username),
            password_sealed: Some(&self.sealer.seal(&new.password, &new.username)),
            gu_login: new.gu_login.as_deref(),
            comment: new.comment.as_deref(),
            ..Change::default()
        };
        match self.database.add_account(&change).await {
            Ok(account) => Ok(value_answer(StatusCode::CREATED, &json!(account))),
            Err(error) if error.is_duplicate() => Err(Refusal::Conflict(format!(
                "the account {:?} exists already",
                new.username
            ))),
            Err(error) => Err(error.into()),
        }
    }

    async fn change(&self, id: i32, wish: &AccountChange) -> Result<Answer, Refusal> {
        let account = self.database.account(id).await?;
        let account = account.ok_or(Refusal::Missing("account"))?;
        if wish
            .username
            .as_ref()
            .is_some_and(|name| *name != account.username)
        {
            let reason =
                "a username cannot be changed: the password is sealed for it; add another account";
            return Err(Refusal::Bad(reason.to_owned()));
        }
        check_optional("guLogin", wish.gu_login.as_deref(), 255)?;
        check_optional("comment", wish.comment.as_deref(), 500)?;
        let sealed = match &wish.password {
            Some(password) => {
                check_password(password)?;
                Some(self.sealer.seal(password, &account.username))
            }
            None => None,
        };
        let change = Change {
            password_sealed: sealed.as_deref(),
            gu_login: wish.gu_login.as_deref(),
            comment: wish.comment.as_deref(),
            is_active: wish.is_active,
            ..Change::default()
        };
        shown(self.database.change_account(id, &change).await?)
    }

    async fn import_session(&self, id: i32, session: &Session) -> Result<Answer, Refusal> {
        check_text("cookies", &session.cookies, 1, 16_384)?;
        let account = self.database.account(id).await?;
        let account = account.ok_or(Refusal::Missing("account"))?;
        let sealed = self
            .sealer
            .seal_session(&session.cookies, &account.username);
        let change = Change {
            session_sealed: Some(&sealed),
            ..Change::default()
        };
        shown(self.database.change_account(id, &change).await?)
    }

    async fn switch(&self, id: i32, is_active: bool) -> Result<Account, Refusal> {
        let change = Change {
            is_active: Some(is_active),
            ..Change::default()
        };
        let account = self.database.change_account(id, &change).await?;
        account.ok_or(Refusal::Missing("account"))
    }

    /// Lets the job of an order wait again that has failed; if it was not kept, a new one.
    async fn retry(&self, id: i32) -> Result<Answer, Refusal> {
        let order = self.database.order(id).await?;
        let order = order.ok_or(Refusal::Missing("order"))?;
        if order.is_complete {
            return Err(Refusal::Conflict("the order is complete".to_owned()));
        }
        let failed = self.queue.failed_job_with("orderId", id).await?;
        if let Some(job) = failed
            && self.queue.retry(&job).await? == Retried::Waits
        {
            return Ok(value_answer(StatusCode::ACCEPTED, &json!({ "jobId": job })));
        }
        if !order.has_failed() {
            return Err(Refusal::Conflict("the order has not failed".to_owned()));
        }
        let data = json!({
            "orderId": order.id,
            "cadNum": order.cad_num,
            "userId": order.user_id,
        });
        let job = NewJob {
            id: None,
            name: PROCESS,
            data: &data,
            delay: Duration::ZERO,
            attempts: ATTEMPTS,
            backoff: BACKOFF,
        };
        let job = self.queue.add(&job).await?;
        Ok(value_answer(StatusCode::ACCEPTED, &json!({ "jobId": job })))
    }

    async fn queue_state(&self) -> Result<Answer, Refusal> {
        let state = json!({
            "counts": self.queue.counts().await?,
            "isPaused": self.queue.is_paused().await?,
            // A Redis Cluster has no one list of its clients.
            "workers": self.queue.worker_count().await.ok(),
        });
        Ok(value_answer(StatusCode::OK, &state))
    }

    /// What needs no token, since it says nothing.
    fn public(&self, path: &str) -> Option<Answer> {
        let fanfare = page::origin(&self.page.url).to_owned();
        let sockets = fanfare.replacen("http", "ws", 1);
        let page = page::file(&PAGE, path, &self.page.pusher_js, &[fanfare, sockets]);
        if page.is_some() {
            return page;
        }
        match path {
            "/admin/config.json" => {
                let page = &self.page;
                let config =
                    json!({ "key": page.key, "url": page.url, "pusherJs": page.pusher_js });
                Some(value_answer(StatusCode::OK, &config))
            }
            "/metrics" => Some(metrics(&self.registry)),
            "/health" | "/up" | "/ready" => Some(text_answer(StatusCode::OK, "OK\n")),
            _ => None,
        }
    }
}

impl Handler for OrdersApi {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Answer {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        if let Some(answer) = is_read.then(|| self.public(request.uri().path())).flatten() {
            return answer;
        }
        match self.try_handle(request, peer).await {
            Ok(answer) => answer,
            Err(refusal) => refusal.into_answer(),
        }
    }
}

fn route(path: &str) -> Option<Route<'_>> {
    let mut parts = path.strip_prefix('/')?.split('/');
    let route = match (parts.next()?, parts.next(), parts.next()) {
        ("rosreestr-users", None, None) => Route::Accounts,
        ("rosreestr-users", Some("by-username"), Some(name)) => Route::AccountNamed(name),
        ("rosreestr-users", Some(id), None) => Route::Account(id),
        ("rosreestr-users", Some(id), Some("activate")) => Route::Activate(id),
        ("rosreestr-users", Some(id), Some("session")) => Route::Session(id),
        ("orders", Some("failed"), None) => Route::FailedOrders,
        ("orders", Some("running"), None) => Route::RunningOrders,
        ("orders", Some(id), Some("retry")) => Route::RetryOrder(id),
        ("orders", Some(id), Some("file")) => Route::File(id),
        ("queue", None, None) => Route::Queue,
        ("queue", Some("pause"), None) => Route::Pause,
        ("queue", Some("resume"), None) => Route::Resume,
        _ => return None,
    };
    parts.next().is_none().then_some(route)
}

fn number(text: &str) -> Result<i32, Refusal> {
    text.parse()
        .map_err(|_| Refusal::Bad("the id is not a number".to_owned()))
}

fn check_text(name: &str, text: &str, least: usize, most: usize) -> Result<(), Refusal> {
    let length = text.chars().count();
    if !(least..=most).contains(&length) || text.contains(char::is_control) {
        return Err(Refusal::Bad(format!(
            "{name} must have {least} to {most} characters, and no control characters"
        )));
    }
    Ok(())
}

fn check_optional(name: &str, text: Option<&str>, most: usize) -> Result<(), Refusal> {
    text.map_or(Ok(()), |text| check_text(name, text, 0, most))
}

fn check_password(password: &str) -> Result<(), Refusal> {
    check_text("password", password, MIN_PASSWORD, 1_024)
}

async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, Refusal> {
    let body = whole_body(body, MAX_BODY)
        .await
        .map_err(|fault| match fault {
            BodyFault::TooLarge => Refusal::TooLarge,
            BodyFault::Incomplete | BodyFault::TooSlow => {
                Refusal::Bad("the body did not arrive".to_owned())
            }
        })?;
    // What serde says may show a value; where it is says enough.
    serde_json::from_slice(&body).map_err(|error| {
        let reason = match error.classify() {
            serde_json::error::Category::Data => missing(&error),
            _ => format!("the body is not JSON, line {}", error.line()),
        };
        Refusal::Bad(reason)
    })
}

/// Names of fields may be shown, values not.
fn missing(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.starts_with("missing field") || text.starts_with("unknown field") {
        return text;
    }
    format!(
        "a value has the wrong type, line {}, column {}",
        error.line(),
        error.column()
    )
}

fn shown(account: Option<Account>) -> Result<Answer, Refusal> {
    let account = account.ok_or(Refusal::Missing("account"))?;
    Ok(value_answer(StatusCode::OK, &json!(account)))
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Path | Self::Missing(_) => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Bad(_) => StatusCode::BAD_REQUEST,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Database(_) | Self::Queue(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn into_answer(self) -> Answer {
        let status = self.status();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let error: &dyn std::error::Error = &self;
            tracing::warn!(error = error.source(), "a request cannot be answered");
        }
        let body = json!({
            "statusCode": status.as_u16(),
            "message": self.to_string(),
            "error": status.canonical_reason(),
        });
        value_answer(status, &body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_more_than_they_should_have_are_none() {
        assert!(matches!(
            route("/rosreestr-users/1/activate"),
            Some(Route::Activate("1"))
        ));
        for path in [
            "",
            "/",
            "/rosreestr-users/1/activate/x",
            "/rosreestr-users/1/x",
            "/orders",
            "/queue/x",
        ] {
            assert!(route(path).is_none(), "{path}");
        }
    }

    #[test]
    fn errors_of_a_body_show_no_value() {
        let wrong = r#"{"username": "u", "password": ["precious"]}"#;
        let error = serde_json::from_str::<NewAccount>(wrong).err().unwrap();

        assert!(!missing(&error).contains("precious"));
        assert!(
            check_password("short")
                .unwrap_err()
                .to_string()
                .contains("6 to")
        );
    }
}
