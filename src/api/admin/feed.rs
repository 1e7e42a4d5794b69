//! The live feed: what happens, as it happens, by server-sent events.
//!
//! Who looks gets at most [`PER_SECOND`] events in a second; what is left out is
//! counted and told every second. While nobody looks, the hub makes nothing. A
//! reader that is slow loses events, and nobody waits for it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::{AppId, ChannelKind, ChannelName};
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

use super::error::{AdminError, ErrorBody};
use super::{Admin, Call};
use crate::http::{Answer, AnswerBody};
use crate::hub::{HubEvent, HubEventKind, Published, Sight, Watcher};

/// Those who may look at the same time.
pub(super) const MAX_VIEWERS: usize = 32;

/// Events that one of them gets in a second.
const PER_SECOND: u32 = 50;

/// Seconds of silence after which a comment keeps proxies from closing.
const KEEP_ALIVE_SECONDS: u32 = 15;

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
        socket_id: query.socket_id,
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

/// What one viewer wants to see, and may.
#[derive(Debug)]
struct Filter {
    app: Option<AppId>,
    kinds: Option<Vec<FeedKind>>,
    channel_prefix: Option<String>,
    channel_pattern: Option<Regex>,
    event: Option<String>,
    socket_id: Option<String>,
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
    _place: OwnedSemaphorePermit,
}

impl Feed {
    /// The next piece of text; `None` when the server stops.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let event = tokio::select! {
                biased;
                () = self.closing.cancelled() => return None,
                _ = self.seconds.tick() => {
                    if let Some(text) = self.begin_second() {
                        return Some(text);
                    }
                    continue;
                }
                event = self.events.recv() => match event {
                    Ok(event) => self.filter.hub_event(event),
                    Err(RecvError::Lagged(lost)) => {
                        self.left_out += lost;
                        None
                    }
                    Err(RecvError::Closed) => return None,
                },
                sight = self.watcher.sights.recv() => match sight {
                    Ok(sight) => self.filter.sight(&sight),
                    Err(RecvError::Lagged(lost)) => {
                        self.left_out += lost;
                        None
                    }
                    Err(RecvError::Closed) => return None,
                },
            };
            let Some(event) = event.filter(|event| self.filter.wants(event)) else {
                // Others' events must not keep the task busy without end.
                tokio::task::coop::consume_budget().await;
                continue;
            };
            if self.left == 0 {
                self.left_out += 1;
                continue;
            }
            self.left -= 1;
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
    fn takes(&self, app: &AppId, kind: FeedKind, channel: Option<&ChannelName>) -> bool {
        self.app.as_ref().is_none_or(|wanted| wanted == app)
            && self
                .kinds
                .as_ref()
                .is_none_or(|kinds| kinds.contains(&kind))
            && self.channel_prefix.as_ref().is_none_or(|prefix| {
                channel.is_some_and(|channel| channel.as_str().starts_with(prefix))
            })
            && self.channel_pattern.as_ref().is_none_or(|pattern| {
                channel.is_some_and(|channel| pattern.is_match(channel.as_str()))
            })
    }

    /// What only the whole event tells.
    fn wants(&self, shown: &FeedEvent) -> bool {
        let fits =
            |wanted: &Option<String>, given: &Option<String>| wanted.is_none() || wanted == given;
        fits(&self.event, &shown.event) && fits(&self.socket_id, &shown.socket_id)
    }

    fn sight(&self, sight: &Sight) -> Option<FeedEvent> {
        let (app, shown) = match sight {
            Sight::Published(published) => return self.published(published),
            Sight::Refused {
                app,
                socket_id,
                code,
                message,
            } => {
                let shown = FeedEvent {
                    socket_id: Some(socket_id.to_string()),
                    code: *code,
                    message: Some(message.to_string()),
                    ..FeedEvent::new(FeedKind::ClientError)
                };
                (app, shown)
            }
            Sight::Webhook {
                app,
                url,
                outcome,
                status,
                latency,
                error,
            } => {
                let shown = FeedEvent {
                    url: Some(url.to_string()),
                    outcome: Some(outcome),
                    status: *status,
                    latency_ms: Some(super::millis(*latency)),
                    message: error.as_deref().map(str::to_owned),
                    ..FeedEvent::new(FeedKind::Webhook)
                };
                (app, shown)
            }
        };
        self.takes(app, shown.kind, None).then(|| FeedEvent {
            app_id: Some(app.to_string()),
            ..shown
        })
    }

    fn published(&self, published: &Published) -> Option<FeedEvent> {
        let Published {
            app,
            channel,
            event,
            data,
            size,
        } = published;
        let kind = FeedKind::ApiEvent;
        self.takes(app, kind, Some(channel)).then(|| FeedEvent {
            app_id: Some(app.to_string()),
            event: Some(event.to_string()),
            data: self.data(channel, data),
            data_bytes: Some(*size),
            channel: Some(channel.to_string()),
            ..FeedEvent::new(kind)
        })
    }

    fn hub_event(&self, event: HubEvent) -> Option<FeedEvent> {
        let app = event.app;
        let channel = match &event.kind {
            HubEventKind::Occupied { channel }
            | HubEventKind::Vacated { channel }
            | HubEventKind::MemberAdded { channel, .. }
            | HubEventKind::MemberRemoved { channel, .. }
            | HubEventKind::Subscribed { channel, .. }
            | HubEventKind::Unsubscribed { channel, .. }
            | HubEventKind::SubscriptionCount { channel, .. }
            | HubEventKind::ClientEvent { channel, .. }
            | HubEventKind::CacheMiss { channel } => Some(channel.clone()),
            HubEventKind::ConnectionOpened { .. }
            | HubEventKind::ConnectionClosed { .. }
            | HubEventKind::QuotaWarning { .. }
            | HubEventKind::Inherited(_)
            | HubEventKind::UserOnline { .. }
            | HubEventKind::UserOffline { .. } => None,
        };
        let mut shown = self.without_channel(event.kind)?;
        if !self.takes(&app, shown.kind, channel.as_ref()) {
            return None;
        }
        shown.app_id = Some(app.to_string());
        shown.channel = channel.map(|channel| channel.to_string());
        Some(shown)
    }

    /// `None` for what another node has shown already.
    fn without_channel(&self, event: HubEventKind) -> Option<FeedEvent> {
        let new = FeedEvent::new;
        let socket = |kind, socket_id: fanfare_protocol::SocketId| FeedEvent {
            socket_id: Some(socket_id.to_string()),
            ..new(kind)
        };
        let user = |kind, user_id: fanfare_protocol::UserId| FeedEvent {
            user_id: Some(user_id.to_string()),
            ..new(kind)
        };
        Some(match event {
            HubEventKind::Inherited(_) => return None,
            HubEventKind::ConnectionOpened { socket_id } => socket(FeedKind::Connected, socket_id),
            HubEventKind::ConnectionClosed { socket_id } => {
                socket(FeedKind::Disconnected, socket_id)
            }
            HubEventKind::Occupied { .. } => new(FeedKind::Occupied),
            HubEventKind::Vacated { .. } => new(FeedKind::Vacated),
            HubEventKind::MemberAdded { user_id, .. } => user(FeedKind::MemberAdded, user_id),
            HubEventKind::MemberRemoved { user_id, .. } => user(FeedKind::MemberRemoved, user_id),
            HubEventKind::Subscribed {
                socket_id, user_id, ..
            } => FeedEvent {
                user_id: user_id.map(|user_id| user_id.to_string()),
                ..socket(FeedKind::Subscribed, socket_id)
            },
            HubEventKind::Unsubscribed {
                socket_id, user_id, ..
            } => FeedEvent {
                user_id: user_id.map(|user_id| user_id.to_string()),
                ..socket(FeedKind::Unsubscribed, socket_id)
            },
            HubEventKind::SubscriptionCount { count, .. } => FeedEvent {
                count: Some(count as u64),
                ..new(FeedKind::SubscriptionCount)
            },
            HubEventKind::ClientEvent {
                channel,
                event,
                data,
                socket_id,
                user_id,
            } => FeedEvent {
                user_id: user_id.map(|user_id| user_id.to_string()),
                event: Some(event.to_string()),
                data: self.data(&channel, &data),
                data_bytes: Some(data.len()),
                ..socket(FeedKind::ClientEvent, socket_id)
            },
            HubEventKind::CacheMiss { .. } => new(FeedKind::CacheMiss),
            HubEventKind::QuotaWarning { limit } => FeedEvent {
                count: Some(limit),
                ..new(FeedKind::QuotaWarning)
            },
            HubEventKind::UserOnline { user_id } => user(FeedKind::UserOnline, user_id),
            HubEventKind::UserOffline { user_id } => user(FeedKind::UserOffline, user_id),
        })
    }

    /// The beginning of the data, where it may be seen.
    fn data(&self, channel: &ChannelName, data: &str) -> Option<String> {
        let is_public = channel.kind() == ChannelKind::Public;
        let end = data.floor_char_boundary(MAX_DATA);
        (is_public || self.shows_private_data).then(|| data[..end].to_owned())
    }
}
