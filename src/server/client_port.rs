//! The port of clients and back ends: who answers which path.

use std::sync::Arc;

use fastwebsockets::upgrade::is_upgrade_request;
use hyper::body::Incoming;
use hyper::{Request, StatusCode};

use crate::adapter::auth::AuthEndpoint;
use crate::adapter::chat::Chat;
use crate::adapter::rooms::Rooms;
use crate::adapter::sto::Sto;
use crate::api::{Admin, Api, Health, SignedPath, TestLog, statistics};
use crate::console;
use crate::http::{Answer, Handler, Peer, text_answer};
use crate::transport::{HttpFallback, WebSockets};

/// The port of clients and back ends.
#[derive(Debug)]
pub(super) struct ClientPort {
    pub(super) api: Api,
    pub(super) test_log: Option<Arc<TestLog>>,
    pub(super) admin: Option<Arc<Admin>>,
    pub(super) health: Health,
    pub(super) sockets: Arc<WebSockets>,
    /// Absent: apps have endpoints of their own for it.
    pub(super) auth: Option<AuthEndpoint>,
    /// Absent: there is no call centre.
    pub(super) rooms: Option<Arc<Rooms>>,
    /// Absent: there is no chat.
    pub(super) chat: Option<Arc<Chat>>,
    /// Absent: there is no car service.
    pub(super) sto: Option<Arc<Sto>>,
    pub(super) http_fallback: Option<Arc<HttpFallback>>,
    pub(super) path_prefix: String,
}

impl ClientPort {
    /// Takes the prefix away, so that nobody further in has to know of it; the
    /// path that was signed is kept with the request. False when the request has
    /// another prefix.
    fn strip_prefix(&self, request: &mut Request<Incoming>) -> bool {
        if self.path_prefix.is_empty() {
            return true;
        }
        let uri = request.uri();
        let signed = SignedPath(uri.path().to_owned());
        let stripped = uri
            .path_and_query()
            .and_then(|target| target.as_str().strip_prefix(&self.path_prefix))
            .map(|rest| if rest.is_empty() { "/" } else { rest })
            .filter(|rest| rest.starts_with(['/', '?']))
            .and_then(|rest| rest.parse().ok());
        let Some(stripped) = stripped else {
            return false;
        };
        *request.uri_mut() = stripped;
        request.extensions_mut().insert(signed);
        true
    }
}

impl Handler for ClientPort {
    async fn handle(self: Arc<Self>, mut request: Request<Incoming>, peer: Peer) -> Answer {
        if !self.strip_prefix(&mut request) {
            // Probes know nothing of prefixes.
            let path = request.uri().path();
            return self.health.answer(path).unwrap_or_else(not_found);
        }
        if is_upgrade_request(&request) {
            return self.sockets.upgrade(request, peer);
        }
        let path = request.uri().path();
        if Api::owns(path) {
            return self.api.handle(request, peer).await;
        }
        if let Some(rooms) = self.rooms.as_ref().filter(|_| Rooms::owns(path)) {
            // Boxed, as the next one: most connections need no room for them.
            return Box::pin(rooms.handle(request, peer)).await;
        }
        if let Some(chat) = self.chat.as_ref().filter(|_| Chat::owns(path)) {
            return Box::pin(chat.handle(request, peer)).await;
        }
        if let Some(sto) = self.sto.as_ref().filter(|_| Sto::owns(path)) {
            return Box::pin(sto.handle(request, peer)).await;
        }
        // Before the fallback, whose paths begin alike.
        if let Some(auth) = self.auth.as_ref().filter(|_| AuthEndpoint::owns(path)) {
            return Box::pin(auth.handle(request, peer)).await;
        }
        if let Some(fallback) = &self.http_fallback
            && fallback.owns(path)
        {
            return fallback.handle(request, peer).await;
        }
        if let Some(admin) = self.admin.as_ref().filter(|_| Admin::owns(path)) {
            return Box::pin(admin.handle(request, peer)).await;
        }
        let has_console = self.admin.as_ref().is_some_and(|a| a.has_console());
        if has_console && console::owns(path) {
            return console::answer_to(&request);
        }
        if let Some(log) = self.test_log.as_ref().filter(|_| TestLog::owns(path)) {
            return log
                .answer(request.method(), path, request.uri().query())
                .await;
        }
        statistics::answer(request.method(), path)
            .or_else(|| self.health.answer(path))
            .unwrap_or_else(not_found)
    }
}

fn not_found() -> Answer {
    text_answer(
        StatusCode::NOT_FOUND,
        "Path not found: WebSockets connect to /app/KEY, the HTTP API is under /apps/ID\n",
    )
}
