//! `POST /pusher/auth` and `/pusher/user-auth`: what pusher-js asks before it
//! subscribes to a private channel, and when it signs in.

use std::sync::Arc;

use fanfare_protocol::{AppId, ChannelKind, ChannelName, SocketId, auth};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde_json::{Map, Value, json};

use super::origins::{Origins, Visitor, preflight};
use super::token::{Person, TokenError, find, of_request};
use super::{Authority, Decision, Outcome, Question, room};
use crate::apps::{App, AppStore, AppStoreError, KeyPair};
use crate::config::AuthConfig;
use crate::http::{Answer, BodyFault, Peer, json_answer, text_answer, whole_body};
use crate::limits::Rates;

/// Bytes of a request's body: names, and what a page puts beside them.
const MAX_BODY: usize = 32 << 10;

/// Signs subscriptions and sign-ins for people with JWTs.
#[derive(Debug)]
pub struct AuthEndpoint {
    authority: Arc<Authority>,
    apps: Arc<dyn AppStore>,
    app: AppId,
    cookies: Vec<String>,
    info_claims: Vec<String>,
    /// Whether signatures end with the token.
    has_end: bool,
    origins: Origins,
    rates: Rates,
}

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Subscribe,
    SignIn,
}

/// Why a request is refused. The texts are for the developer of a front end.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("Method not allowed: expected POST")]
    Method,
    #[error("Too many requests from this address")]
    TooMany,
    #[error("Pages of this origin may not ask: auth.allowed_origins does not name it")]
    Origin,
    #[error("The body exceeds the allowed maximum ({MAX_BODY} bytes)")]
    TooLarge,
    #[error("The body did not arrive")]
    Body,
    #[error(
        "socket_id is missing or not the id of a connection: expected the form fields of pusher-js"
    )]
    SocketId,
    #[error("{0} is not a private or presence channel with the canonical name of a room")]
    Channel(String),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("No rule allows {0}")]
    Forbidden(String),
    #[error("A back end that had to be asked did not answer")]
    BackEnd,
    #[error("The app of auth.app is not there or disabled")]
    App,
    #[error(transparent)]
    Store(#[from] AppStoreError),
}

impl AuthEndpoint {
    /// For the app with the id `app`, as `config` says, of which `authority` is made.
    #[must_use]
    pub fn new(
        config: &AuthConfig,
        authority: Arc<Authority>,
        app: AppId,
        apps: Arc<dyn AppStore>,
    ) -> Self {
        Self {
            authority,
            apps,
            app,
            cookies: config.cookies.clone(),
            info_claims: config.info_claims.clone(),
            has_end: config.disconnect_on_expiry,
            origins: Origins::new(&config.allowed_origins),
            rates: Rates::per_minute(config.requests_per_minute),
        }
    }

    /// Whether a path is one of these.
    #[must_use]
    pub fn owns(path: &str) -> bool {
        wish(path).is_some()
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<Incoming>, peer: Peer) -> Answer {
        let visitor = self.origins.visitor(&request);
        let mut answer = if matches!(visitor, Visitor::Stranger) {
            Refusal::Origin.into_answer()
        } else if request.method() == Method::OPTIONS {
            preflight(request.headers(), &Method::POST)
        } else if !self.rates.take(peer.address) {
            Refusal::TooMany.into_answer()
        } else {
            self.try_handle(request)
                .await
                .map_or_else(Refusal::into_answer, json_answer)
        };
        self.origins.share(&mut answer, visitor);
        answer
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }

    async fn try_handle(&self, request: Request<Incoming>) -> Result<String, Refusal> {
        let (head, body) = request.into_parts();
        let Some(wish) = wish(head.uri.path()).filter(|_| head.method == Method::POST) else {
            return Err(Refusal::Method);
        };
        let body = whole_body(body, MAX_BODY)
            .await
            .map_err(|fault| match fault {
                BodyFault::TooLarge => Refusal::TooLarge,
                BodyFault::Incomplete | BodyFault::TooSlow => Refusal::Body,
            })?;
        let token = of_request(&head.headers, &self.cookies)?;
        let person = self.authority.person(&token).await?;
        let socket_id: SocketId = field(&body, "socket_id")
            .and_then(|text| text.parse().ok())
            .ok_or(Refusal::SocketId)?;
        let app = self.app().await?;
        match wish {
            Wish::Subscribe => self.subscribe(&app, &person, socket_id, &body).await,
            Wish::SignIn => Ok(self.sign_in(&app, &person, socket_id)),
        }
    }

    async fn app(&self) -> Result<Arc<App>, Refusal> {
        self.apps
            .by_id(&self.app)
            .await?
            .filter(|app| app.enabled && !app.keys.is_empty())
            .ok_or(Refusal::App)
    }

    async fn subscribe(
        &self,
        app: &App,
        person: &Person,
        socket_id: SocketId,
        body: &[u8],
    ) -> Result<String, Refusal> {
        let name = field(body, "channel_name").unwrap_or_default();
        let channel =
            ChannelName::parse(&name, &app.limits).map_err(|_| Refusal::Channel(echo(&name)))?;
        let is_ours = matches!(channel.kind(), ChannelKind::Private | ChannelKind::Presence);
        let room = room::of_channel(channel.as_str())
            .ok()
            .filter(|_| is_ours)
            .ok_or_else(|| Refusal::Channel(name.clone()))?;
        let question = Question {
            person,
            channel: channel.as_str(),
            room: &room,
            kind: channel.kind(),
            socket_id: &socket_id.to_string(),
        };
        let Decision { outcome, .. } = self.authority.decide(&question).await;
        match outcome {
            Outcome::Allowed => {}
            Outcome::Refused => return Err(Refusal::Forbidden(name)),
            Outcome::Unknown => return Err(Refusal::BackEnd),
        }
        let pair = newest(app);
        if channel.kind() == ChannelKind::Private {
            let text = auth::channel_text(socket_id, channel.as_str(), None);
            return Ok(json!({"auth": self.sign(pair, person, &text)}).to_string());
        }
        let data = json!({"user_id": person.id, "user_info": self.info(person)}).to_string();
        let text = auth::channel_text(socket_id, channel.as_str(), Some(&data));
        let auth = self.sign(pair, person, &text);
        Ok(json!({"auth": auth, "channel_data": data}).to_string())
    }

    fn sign_in(&self, app: &App, person: &Person, socket_id: SocketId) -> String {
        let pair = newest(app);
        let data = json!({"id": person.id, "user_info": self.info(person)}).to_string();
        let auth = self.sign(pair, person, &auth::user_text(socket_id, &data));
        json!({"auth": auth, "user_data": data}).to_string()
    }

    /// The `auth` for `text`. Where it ends with the token, the end stands within what
    /// is signed: the node that has the connection needs to be told by nobody else.
    fn sign(&self, pair: &KeyPair, person: &Person, text: &str) -> String {
        let signature = if self.has_end {
            auth::sign_until(&pair.secret, text, person.valid_until)
        } else {
            auth::sign(&pair.secret, text)
        };
        format!("{}:{signature}", pair.key)
    }

    /// What other members see of somebody: their id, and the claims for it.
    fn info(&self, person: &Person) -> Value {
        let mut info = Map::new();
        info.insert("userId".to_owned(), person.id.clone().into());
        for claim in &self.info_claims {
            if let Some(value) = find(&person.claims, claim) {
                info.insert(claim.clone(), value.clone());
            }
        }
        info.into()
    }
}

fn wish(path: &str) -> Option<Wish> {
    match path {
        "/pusher/auth" => Some(Wish::Subscribe),
        "/pusher/user-auth" => Some(Wish::SignIn),
        _ => None,
    }
}

/// The pair that signs: the newest, since the oldest are on their way out.
fn newest(app: &App) -> &KeyPair {
    app.keys.last().expect("an app without a pair is refused")
}

/// A field of a form.
fn field(body: &[u8], wanted: &str) -> Option<String> {
    form_urlencoded::parse(body)
        .find(|(name, _)| name == wanted)
        .map(|(_, value)| value.into_owned())
}

/// As much of a name as an answer repeats.
fn echo(name: &str) -> String {
    name.chars().take(100).collect()
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Origin | Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body | Self::SocketId | Self::Channel(_) => StatusCode::BAD_REQUEST,
            Self::Token(_) => StatusCode::UNAUTHORIZED,
            Self::BackEnd | Self::App | Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn into_answer(self) -> Answer {
        let status = self.status();
        // A name that a client sent may stand in the text, and nothing of a token.
        tracing::debug!(status = status.as_u16(), reason = ?self.to_string(), "not authorised");
        let mut answer = text_answer(status, format!("{self}\n"));
        let headers = answer.headers_mut();
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(header::ALLOW, HeaderValue::from_static("POST, OPTIONS"));
            }
            StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        answer
    }
}
