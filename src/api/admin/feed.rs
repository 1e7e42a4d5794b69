//! The live feed: what happens, as it happens, by server-sent events.
//!
//! Who looks gets at most [`PER_SECOND`] events in a second; what is left out is
//! counted and told every second. While nobody looks, the hub makes nothing. A
//! reader that is slow loses events, and nobody waits for it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::{AppId, ChannelKind, ChannelName, SocketId};
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use regex::Regex;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};

use super::caller::Caller;
use super::connections::socket_id;
use super::error::{AdminError, ErrorBody};
use super::{Admin, Call};
use crate::accounts::{Accounts, SessionToken};
use crate::http::{Answer, AnswerBody};
use crate::hub::{HubEvent, HubEventKind, Sight, Watcher};

/// Those who may look at the same time.
pub(super) const MAX_VIEWERS: usize = 32;

/// Events that one of them gets in a second.
const PER_SECOND: u32 = 50;

/// Seconds of silence after which a comment keeps proxies from closing.
const KEEP_ALIVE_SECONDS: u32 = 15;

/// Time to look whether a session goes on; events wait for it.
const LOOK_UP: Duration = Duration::from_millis(200);

/// Bytes of the data of an event that are shown.
const MAX_DATA: usize = 1_024;

/// What is shown.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FeedQuery {
    /// Kinds with commas between them. Default: all.
    kinds: Option<String>,
    /// Only what concerns channels whose names begin so.
    channel_prefix: Option<String>,
    /// Only what concerns channels of this form; `*` stands for anything.
    channel_pattern: Option<String>,
    /// Only what concerns the event of this name.
    event: Option<String>,
    /// Only what concerns this connection.
    socket_id: Option<String>,
}

/// What happened. The name of the server-sent event is `kind` too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct FeedEvent {
    kind: FeedKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    /// The name of an event.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    /// The data of an event, the first 1,024 bytes. Absent on private, presence and
    /// encrypted channels, unless `admin.feed_shows_private_data` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    /// Bytes of the whole data.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_bytes: Option<usize>,
    /// Subscriptions that were told, or events that were left out, or messages of
    /// the day, by kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    /// The code of an error that a client got.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    /// The text of an error that a client got, or why a webhook failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// Where a client comes from that was not let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// Where a webhook went.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// What became of it: `delivered`, `retried`, `given_up` or `refused`.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    /// What it was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// How long that took.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<u64>,
}

/// The kinds of what is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum FeedKind {
    /// A client connected.
    Connected,
    /// A client is gone.
    Disconnected,
    /// A channel got its first subscription.
    Occupied,
    /// A channel lost its last one.
    Vacated,
    /// A connection subscribed.
    Subscribed,
    /// A connection unsubscribed.
    Unsubscribed,
    /// A user came to a presence channel.
    MemberAdded,
    /// A user left a presence channel.
    MemberRemoved,
    /// A back end published an event.
    ApiEvent,
    /// A client sent an event.
    ClientEvent,
    /// A client was told that it cannot have what it asked for.
    ClientError,
    /// A client was not let in. Without an app where its key is none.
    TurnedAway,
    /// A request of a webhook was tried.
    Webhook,
    /// A subscription met an empty cache channel.
    CacheMiss,
    /// Subscribers were told how many they are.
    SubscriptionCount,
    /// A user signed in.
    UserOnline,
    /// A user's last connection is gone.
    UserOffline,
    /// 80 % of the messages of a day are used up.
    QuotaWarning,
    /// More happened than is shown: `count` events were left out.
    Sampled,
}

impl FeedKind {
    fn parse(name: &str) -> Option<Self> {
        serde_json::from_value(name.into()).ok()
    }

    fn name(self) -> String {
        super::json(&self).trim_matches('"').to_owned()
    }
}

impl FeedEvent {
    fn new(kind: FeedKind) -> Self {
        Self {
            kind,
            app_id: None,
            channel: None,
            socket_id: None,
            user_id: None,
            event: None,
            data: None,
            data_bytes: None,
            count: None,
            code: None,
            message: None,
            address: None,
            url: None,
            outcome: None,
            status: None,
            latency_ms: None,
        }
    }
}

/// The feed of all apps
#[utoipa::path(get, path = "/admin/v1/feed", tag = "feed", params(FeedQuery),
    responses(
        (status = 200, description = "Server-sent events without end", body = FeedEvent, content_type = "text/event-stream"),
        (status = 422, description = "There is no such kind", body = ErrorBody),
        (status = 503, description = "Too many look already", body = ErrorBody)))]
pub(super) async fn total(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    feed(admin, call, None)
}

/// The feed of one app
#[utoipa::path(get, path = "/admin/v1/apps/{app}/feed", tag = "feed",
    params(("app" = String, Path, description = "The id of the app"), FeedQuery),
    responses(
        (status = 200, description = "Server-sent events without end", body = FeedEvent, content_type = "text/event-stream"),
        (status = 404, description = "There is no such app", body = ErrorBody),
        (status = 422, description = "There is no such kind", body = ErrorBody),
        (status = 503, description = "Too many look already", body = ErrorBody)))]
pub(super) async fn of_app(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let app = admin.app(call.parameter(0)).await?;
    feed(admin, call, Some(app.id.clone()))
}

fn feed(admin: &Admin, call: &Call<'_>, app: Option<AppId>) -> Result<Answer, AdminError> {
    let query: FeedQuery = call.query()?;
    let filter = Filter {
        app,
        kinds: query.kinds.as_deref().map(kinds).transpose()?,
        channel_prefix: query.channel_prefix,
        channel_pattern: query.channel_pattern.as_deref().map(pattern).transpose()?,
        event: query.event,
        socket_id: query.socket_id.as_deref().map(socket_id).transpose()?,
        shows_private_data: admin.parts.feed_shows_private_data,
    };
    let place = Arc::clone(&admin.viewers)
        .try_acquire_owned()
        .map_err(|_| {
            AdminError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many_viewers",
                format!("{MAX_VIEWERS} look at the feed already"),
            )
            .retry_after(5)
        })?;
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let feed = Feed {
        filter,
        events: admin.parts.hub.events(),
        watcher: admin.parts.hub.watch(),
        seconds,
        left: PER_SECOND,
        left_out: 0,
        silence: 0,
        closing: admin.closing.clone(),
        accounts: Arc::clone(&admin.parts.accounts),
        session: match &call.caller {
            Some(Caller::Person(_)) => call.visitor.session.clone(),
            _ => None,
        },
        _place: place,
    };
    let body = stream::unfold(feed, |mut feed| async move {
        let text = feed.next().await?;
        Some((Ok::<_, io::Error>(Frame::data(text)), feed))
    });
    let mut answer = Response::new(AnswerBody::Stream(Box::pin(StreamBody::new(body))));
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Else nginx would collect the events before it hands them on.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(answer)
}

fn kinds(text: &str) -> Result<Vec<FeedKind>, AdminError> {
    text.split(',')
        .map(|name| {
            FeedKind::parse(name).ok_or_else(|| {
                AdminError::invalid(format!("there is no kind {name:?}")).expected(
                    "the kinds of FeedKind in /admin/v1/openapi.json, with commas between them",
                )
            })
        })
        .collect()
}

/// Longer ones are no pattern of a channel's name.
const MAX_PATTERN: usize = 256;

/// The expression of a pattern in which `*` stands for anything.
fn pattern(text: &str) -> Result<Regex, AdminError> {
    let refused = || {
        AdminError::invalid("channel_pattern is not valid").expected(format!(
            "the form of a channel's name, {MAX_PATTERN} characters at most"
        ))
    };
    if text.len() > MAX_PATTERN {
        return Err(refused());
    }
    let parts: Vec<String> = text.split('*').map(regex::escape).collect();
    Regex::new(&format!("^{}$", parts.join(".*"))).map_err(|_| refused())
}

/// What a feed was told of. Most of it may be nothing for the viewer, so nothing is
/// made of it yet.
#[derive(Debug)]
enum Seen {
    Hub(HubEvent),
    Sight(Sight),
}

impl Seen {
    /// `None` for what another node has shown already.
    fn kind(&self) -> Option<FeedKind> {
        let event = match self {
            Self::Hub(event) => event,
            Self::Sight(Sight::Published(_)) => return Some(FeedKind::ApiEvent),
            Self::Sight(Sight::Refused { .. }) => return Some(FeedKind::ClientError),
            Self::Sight(Sight::TurnedAway { .. }) => return Some(FeedKind::TurnedAway),
            Self::Sight(Sight::Webhook { .. }) => return Some(FeedKind::Webhook),
        };
        Some(match event.kind {
            HubEventKind::ConnectionOpened { .. } => FeedKind::Connected,
            HubEventKind::ConnectionClosed { .. } => FeedKind::Disconnected,
            HubEventKind::Occupied { .. } => FeedKind::Occupied,
            HubEventKind::Vacated { .. } => FeedKind::Vacated,
            HubEventKind::MemberAdded { .. } => FeedKind::MemberAdded,
            HubEventKind::MemberRemoved { .. } => FeedKind::MemberRemoved,
            HubEventKind::Subscribed { .. } => FeedKind::Subscribed,
            HubEventKind::Unsubscribed { .. } => FeedKind::Unsubscribed,
            HubEventKind::SubscriptionCount { .. } => FeedKind::SubscriptionCount,
            HubEventKind::ClientEvent { .. } => FeedKind::ClientEvent,
            HubEventKind::CacheMiss { .. } => FeedKind::CacheMiss,
            HubEventKind::QuotaWarning { .. } => FeedKind::QuotaWarning,
            HubEventKind::UserOnline { .. } => FeedKind::UserOnline,
            HubEventKind::UserOffline { .. } => FeedKind::UserOffline,
            HubEventKind::Inherited(_) => return None,
        })
    }

    /// `None` for a client that named no app.
    fn app(&self) -> Option<&AppId> {
        match self {
            Self::Hub(event) => Some(&event.app),
            Self::Sight(Sight::Published(event)) => Some(&event.app),
            Self::Sight(Sight::Refused { app, .. } | Sight::Webhook { app, .. }) => Some(app),
            Self::Sight(Sight::TurnedAway { app, .. }) => app.as_ref(),
        }
    }

    fn channel(&self) -> Option<&ChannelName> {
        match self {
            Self::Hub(event) => channel(&event.kind),
            Self::Sight(Sight::Published(event)) => Some(&event.channel),
            Self::Sight(
                Sight::Refused { .. } | Sight::TurnedAway { .. } | Sight::Webhook { .. },
            ) => None,
        }
    }

    /// The name of an event.
    fn event(&self) -> Option<&str> {
        match self {
            Self::Hub(HubEvent {
                kind: HubEventKind::ClientEvent { event, .. },
                ..
            }) => Some(event),
            Self::Sight(Sight::Published(published)) => Some(&published.event),
            Self::Hub(_) | Self::Sight(_) => None,
        }
    }

    /// The connection that it is about.
    fn socket_id(&self) -> Option<SocketId> {
        match self {
            Self::Hub(event) => match event.kind {
                HubEventKind::ConnectionOpened { socket_id }
                | HubEventKind::ConnectionClosed { socket_id }
                | HubEventKind::Subscribed { socket_id, .. }
                | HubEventKind::Unsubscribed { socket_id, .. }
                | HubEventKind::ClientEvent { socket_id, .. } => Some(socket_id),
                _ => None,
            },
            Self::Sight(Sight::Refused { socket_id, .. }) => Some(*socket_id),
            Self::Sight(_) => None,
        }
    }
}

/// The channel that something happened on.
fn channel(event: &HubEventKind) -> Option<&ChannelName> {
    match event {
        HubEventKind::Occupied { channel }
        | HubEventKind::Vacated { channel }
        | HubEventKind::MemberAdded { channel, .. }
        | HubEventKind::MemberRemoved { channel, .. }
        | HubEventKind::Subscribed { channel, .. }
        | HubEventKind::Unsubscribed { channel, .. }
        | HubEventKind::SubscriptionCount { channel, .. }
        | HubEventKind::ClientEvent { channel, .. }
        | HubEventKind::CacheMiss { channel } => Some(channel),
        HubEventKind::ConnectionOpened { .. }
        | HubEventKind::ConnectionClosed { .. }
        | HubEventKind::QuotaWarning { .. }
        | HubEventKind::Inherited(_)
        | HubEventKind::UserOnline { .. }
        | HubEventKind::UserOffline { .. } => None,
    }
}

/// What one viewer wants to see, and may.
#[derive(Debug)]
struct Filter {
    app: Option<AppId>,
    kinds: Option<Vec<FeedKind>>,
    channel_prefix: Option<String>,
    channel_pattern: Option<Regex>,
    event: Option<String>,
    socket_id: Option<SocketId>,
    shows_private_data: bool,
}

/// One viewer.
#[derive(Debug)]
struct Feed {
    filter: Filter,
    events: Receiver<HubEvent>,
    watcher: Watcher,
    seconds: Interval,
    /// Events that may still be shown in this second.
    left: u32,
    /// Events that were not shown since that was last told.
    left_out: u64,
    /// Seconds without a word.
    silence: u32,
    closing: CancellationToken,
    accounts: Arc<Accounts>,
    /// Whose session may end while they look; programs have none.
    session: Option<SessionToken>,
    _place: OwnedSemaphorePermit,
}

impl Feed {
    /// Whether the session has ended. A database that does not answer ends none.
    async fn is_over(&self) -> bool {
        let Some(session) = &self.session else {
            return false;
        };
        let holder = tokio::time::timeout(LOOK_UP, self.accounts.holder(session));
        matches!(holder.await, Ok(Ok(None)))
    }

    /// The next piece of text; `None` when the server stops, or the viewer may not look
    /// any more.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let seen = tokio::select! {
                biased;
                () = self.closing.cancelled() => return None,
                _ = self.seconds.tick() => {
                    if self.is_over().await {
                        return None;
                    }
                    if let Some(text) = self.begin_second() {
                        return Some(text);
                    }
                    continue;
                }
                event = self.events.recv() => event.map(Seen::Hub),
                sight = self.watcher.sights.recv() => sight.map(Seen::Sight),
            };
            let seen = match seen {
                Ok(seen) => self.filter.wanted(&seen).map(|kind| (kind, seen)),
                Err(RecvError::Lagged(lost)) => {
                    self.left_out += lost;
                    None
                }
                Err(RecvError::Closed) => return None,
            };
            let Some((kind, seen)) = seen else {
                // Others' events must not keep the task busy without end.
                tokio::task::coop::consume_budget().await;
                continue;
            };
            if self.left == 0 {
                self.left_out += 1;
                continue;
            }
            self.left -= 1;
            let event = self.filter.show(kind, seen);
            return Some(self.write(&event));
        }
    }

    fn begin_second(&mut self) -> Option<Bytes> {
        self.left = PER_SECOND;
        self.left_out += self.watcher.take_skipped();
        self.silence += 1;
        if self.left_out > 0 {
            let mut sampled = FeedEvent::new(FeedKind::Sampled);
            sampled.count = Some(std::mem::take(&mut self.left_out));
            return Some(self.write(&sampled));
        }
        // The first tick comes at once, and tells the viewer that it is connected.
        if self.silence == 1 || self.silence >= KEEP_ALIVE_SECONDS {
            self.silence = 1;
            return Some(Bytes::from_static(b": here\n\n"));
        }
        None
    }

    fn write(&mut self, event: &FeedEvent) -> Bytes {
        self.silence = 1;
        let (kind, data) = (event.kind.name(), super::json(event));
        Bytes::from(format!("event: {kind}\ndata: {data}\n\n"))
    }
}

impl Filter {
    /// The kind of it, if the viewer wants to see it.
    fn wanted(&self, seen: &Seen) -> Option<FeedKind> {
        let channel = seen.channel();
        let is_of_app = self
            .app
            .as_ref()
            .is_none_or(|wanted| Some(wanted) == seen.app());
        let has_prefix = self.channel_prefix.as_ref().is_none_or(|prefix| {
            channel.is_some_and(|channel| channel.as_str().starts_with(prefix))
        });
        let has_form = self.channel_pattern.as_ref().is_none_or(|pattern| {
            channel.is_some_and(|channel| pattern.is_match(channel.as_str()))
        });
        let has_name = self
            .event
            .as_ref()
            .is_none_or(|wanted| seen.event() == Some(wanted));
        let is_of_socket = self
            .socket_id
            .is_none_or(|wanted| seen.socket_id() == Some(wanted));
        let is_kind =
            |kind: &FeedKind| self.kinds.as_ref().is_none_or(|kinds| kinds.contains(kind));
        seen.kind()
            .filter(|kind| is_of_app && has_prefix && has_form && is_kind(kind))
            .filter(|_| has_name && is_of_socket)
    }

    fn show(&self, kind: FeedKind, seen: Seen) -> FeedEvent {
        let mut shown = FeedEvent::new(kind);
        shown.app_id = seen.app().map(ToString::to_string);
        shown.channel = seen.channel().map(ToString::to_string);
        match seen {
            Seen::Sight(Sight::Published(event)) => {
                shown.data = self.data(&event.channel, &event.data);
                shown.data_bytes = Some(event.size);
                shown.event = Some(event.event.to_string());
            }
            Seen::Sight(Sight::Refused {
                socket_id,
                code,
                message,
                ..
            }) => {
                shown.socket_id = Some(socket_id.to_string());
                shown.code = code;
                shown.message = Some(message.to_string());
            }
            Seen::Sight(Sight::TurnedAway {
                address,
                code,
                reason,
                ..
            }) => {
                shown.address = Some(address.to_string());
                shown.code = Some(code);
                shown.message = Some(reason.to_string());
            }
            Seen::Sight(Sight::Webhook {
                url,
                outcome,
                status,
                latency,
                error,
                ..
            }) => {
                shown.url = Some(url.to_string());
                shown.outcome = Some(outcome);
                shown.status = status;
                shown.latency_ms = Some(super::millis(latency));
                shown.message = error.as_deref().map(str::to_owned);
            }
            Seen::Hub(event) => self.add(&mut shown, event.kind),
        }
        shown
    }

    /// Adds what an event has beside app and channel.
    fn add(&self, shown: &mut FeedEvent, event: HubEventKind) {
        match event {
            HubEventKind::ConnectionOpened { socket_id }
            | HubEventKind::ConnectionClosed { socket_id } => {
                shown.socket_id = Some(socket_id.to_string());
            }
            HubEventKind::MemberAdded { user_id, .. }
            | HubEventKind::MemberRemoved { user_id, .. }
            | HubEventKind::UserOnline { user_id }
            | HubEventKind::UserOffline { user_id } => {
                shown.user_id = Some(user_id.to_string());
            }
            HubEventKind::Subscribed {
                socket_id, user_id, ..
            }
            | HubEventKind::Unsubscribed {
                socket_id, user_id, ..
            } => {
                shown.socket_id = Some(socket_id.to_string());
                shown.user_id = user_id.map(|user_id| user_id.to_string());
            }
            HubEventKind::ClientEvent {
                channel,
                event,
                data,
                socket_id,
                user_id,
            } => {
                shown.socket_id = Some(socket_id.to_string());
                shown.user_id = user_id.map(|user_id| user_id.to_string());
                shown.event = Some(event.to_string());
                shown.data = self.data(&channel, &data);
                shown.data_bytes = Some(data.len());
            }
            HubEventKind::SubscriptionCount { count, .. } => shown.count = Some(count as u64),
            HubEventKind::QuotaWarning { limit } => shown.count = Some(limit),
            HubEventKind::Occupied { .. }
            | HubEventKind::Vacated { .. }
            | HubEventKind::CacheMiss { .. }
            | HubEventKind::Inherited(_) => {}
        }
    }

    /// The beginning of the data, where it may be seen.
    fn data(&self, channel: &ChannelName, data: &str) -> Option<String> {
        let is_public = channel.kind() == ChannelKind::Public;
        let end = data.floor_char_boundary(MAX_DATA);
        (is_public || self.shows_private_data).then(|| data[..end].to_owned())
    }
}
