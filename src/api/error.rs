//! What the HTTP API answers when it cannot do what it was asked.

use std::time::Duration;

use fanfare_protocol::request::RequestError;
use fanfare_protocol::trigger::BodyError;
use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};

use crate::apps::AppStoreError;
use crate::http::{Answer, BodyFault, text_answer};
use crate::hub::ChannelFull;
use crate::hub::engine::EngineError;
use crate::limits::Refusal;

/// Seconds after which a refused publisher may try again.
const RETRY_AFTER: &str = "1";

/// A request that was refused. The text is for the developer of a back end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("Path not found")]
    PathNotFound,
    #[error("Unknown app")]
    UnknownApp,
    #[error("Method not allowed: expected {expected}")]
    MethodNotAllowed { expected: Method },
    #[error("The body exceeds the allowed maximum ({limit} bytes)")]
    BodyTooLarge { limit: usize },
    #[error("The body ended before its announced length")]
    BodyIncomplete,
    #[error("The body did not arrive in time")]
    BodyTooSlow,
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("Application disabled")]
    AppDisabled,
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(
        "user_count may only be requested for presence channels - please supply filter_by_prefix begining with presence-"
    )]
    UserCountWithoutPrefix,
    #[error("Cannot retrieve the user count unless the channel is a presence channel")]
    UserCountElsewhere,
    #[error("Cannot retrieve the subscription count unless it is enabled for the app")]
    SubscriptionCountDisabled,
    #[error("Cannot retrieve the cache unless the channel is a cache channel")]
    CacheElsewhere,
    #[error("The cache can only be retrieved for a single channel")]
    CacheOfMany,
    #[error("Users can only be retrieved for presence channels")]
    UsersElsewhere,
    #[error("Past events can only be retrieved for channels with a history")]
    NoHistory,
    #[error("Expected after to be the id of an event")]
    PastAfter,
    #[error("Expected limit to be a whole number from 1 to {max}")]
    PastLimit { max: usize },
    #[error("Too many wrong keys and signatures from this address")]
    TooManyFailures,
    /// The text is that of the hosted service.
    #[error("API call failed since (daily) message quota exceeded")]
    DayUsedUp,
    #[error("Rate limit exceeded: {limit} per second")]
    TooFast { limit: u32, retry_after: Duration },
    #[error("{0}")]
    ChannelFull(#[from] ChannelFull),
    #[error("{0}")]
    Unavailable(String),
}

impl From<AppStoreError> for ApiError {
    fn from(error: AppStoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Rate { limit, retry_after } => Self::TooFast { limit, retry_after },
            Refusal::Day => Self::DayUsedUp,
        }
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl ApiError {
    /// The body of a request is not there; it may have `limit` bytes.
    pub(super) fn body(fault: BodyFault, limit: usize) -> Self {
        match fault {
            BodyFault::TooLarge => Self::BodyTooLarge { limit },
            BodyFault::Incomplete => Self::BodyIncomplete,
            BodyFault::TooSlow => Self::BodyTooSlow,
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::PathNotFound | Self::UnknownApp => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Request(error) if !error.is_malformed() => StatusCode::UNAUTHORIZED,
            Self::AppDisabled | Self::DayUsedUp => StatusCode::FORBIDDEN,
            Self::Body(error) if error.is_too_large() => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ChannelFull(_) | Self::TooFast { .. } | Self::TooManyFailures => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::BodyIncomplete
            | Self::Request(_)
            | Self::Body(_)
            | Self::UserCountWithoutPrefix
            | Self::UserCountElsewhere
            | Self::SubscriptionCountDisabled
            | Self::CacheElsewhere
            | Self::CacheOfMany
            | Self::UsersElsewhere
            | Self::NoHistory
            | Self::PastAfter
            | Self::PastLimit { .. } => StatusCode::BAD_REQUEST,
        }
    }

    /// Whether somebody may be guessing.
    pub(super) fn is_failed_authorization(&self) -> bool {
        self.status() == StatusCode::UNAUTHORIZED
    }

    pub(super) fn into_answer(self) -> Answer {
        let status = self.status();
        let text = self.to_string();
        // Quoted, since a client's own text may stand in it.
        if status == StatusCode::SERVICE_UNAVAILABLE {
            tracing::warn!(error = ?text, "API request refused");
        } else {
            tracing::debug!(error = ?text, status = status.as_u16(), "API request refused");
        }
        let mut answer = text_answer(status, text + "\n");
        let headers = answer.headers_mut();
        if let Self::MethodNotAllowed { expected } = &self
            && let Ok(allow) = HeaderValue::from_str(expected.as_str())
        {
            headers.insert(header::ALLOW, allow);
        }
        if matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        if matches!(self, Self::TooManyFailures) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
        }
        if let Self::TooFast { limit, retry_after } = self {
            // Whole seconds, and never before there is room.
            let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, seconds.max(1).into());
            headers.insert("x-ratelimit-limit", limit.into());
            headers.insert("x-ratelimit-remaining", HeaderValue::from_static("0"));
        }
        answer
    }
}
