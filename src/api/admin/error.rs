//! What the admin API answers when it cannot do what it was asked: always JSON,
//! with what is wrong and what was expected.

use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::error::ApiError;
use crate::apps::AppStoreError;
use crate::http::{Answer, answer};
use crate::hub::engine::EngineError;
use crate::store::StoreError;

/// A request that was refused.
#[derive(Debug)]
pub(super) struct AdminError {
    status: StatusCode,
    detail: ErrorDetail,
    retry_after: Option<u32>,
    allow: Option<String>,
}

/// The body of every refusal.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorBody {
    pub(super) error: ErrorDetail,
}

/// What is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorDetail {
    /// For programs; never changes.
    #[schema(example = "unknown_app")]
    code: &'static str,
    /// For people.
    message: String,
    /// What would have been right.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<String>,
}

impl AdminError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            detail: ErrorDetail {
                code,
                message: message.into(),
                expected: None,
            },
            retry_after: None,
            allow: None,
        }
    }

    pub(super) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.detail.expected = Some(expected.into());
        self
    }

    pub(super) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub(super) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(super) fn unknown_app(id: &str) -> Self {
        Self::not_found("unknown_app", format!("there is no app with the id {id:?}"))
            .expected("an id that GET /admin/v1/apps lists")
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_value", message)
    }

    pub(super) fn no_database() -> Self {
        let message = "the server has no database, so nothing can be changed or looked up there";
        Self::new(StatusCode::CONFLICT, "no_database", message)
            .expected("store.url in the configuration")
    }

    pub(super) fn wrong_method(allowed: &[Method]) -> Self {
        let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
        let allow = names.join(", ");
        let mut error = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "this path does not take the method",
        )
        .expected(&allow);
        error.allow = Some(allow);
        error
    }

    /// A request that the HTTP API calls bad is one that cannot be processed here.
    pub(super) fn or_unprocessable(mut self) -> Self {
        if self.status == StatusCode::BAD_REQUEST {
            self.status = StatusCode::UNPROCESSABLE_ENTITY;
        }
        self
    }

    pub(super) fn into_answer(self) -> Answer {
        tracing::debug!(status = self.status.as_u16(), message = ?self.detail.message, "admin request refused");
        let status = self.status;
        let body = ErrorBody { error: self.detail };
        let mut answer = answer(status, "application/json", super::json(&body).into());
        let headers = answer.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(allow) = self
            .allow
            .and_then(|allow| HeaderValue::from_str(&allow).ok())
        {
            headers.insert(header::ALLOW, allow);
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        answer
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Exists(_) => Self::new(StatusCode::CONFLICT, "exists", message),
            StoreError::NoApp(id) => Self::unknown_app(&id),
            StoreError::NotFound(_) => Self::not_found("not_found", message),
            StoreError::Invalid(_) => Self::invalid(message),
            StoreError::ReadOnly => Self::new(StatusCode::CONFLICT, "read_only", message),
            StoreError::Database(_) | StoreError::NoAnswer(_) => {
                tracing::warn!(error = message, "an admin request needs the database");
                let message = "the database does not answer";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message).retry_after(1)
            }
            StoreError::Migration(_)
            | StoreError::NotMigrated
            | StoreError::Vault(_)
            | StoreError::Unreadable { .. } => {
                tracing::error!(error = message, "an admin request failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", message)
            }
        }
    }
}

impl From<AppStoreError> for AdminError {
    fn from(error: AppStoreError) -> Self {
        let message = error.to_string();
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message).retry_after(1)
    }
}

impl From<EngineError> for AdminError {
    fn from(error: EngineError) -> Self {
        let message = error.to_string();
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message).retry_after(1)
    }
}

/// What the HTTP API finds wrong with a body or an event.
impl From<ApiError> for AdminError {
    fn from(error: ApiError) -> Self {
        let (status, message) = (error.status(), error.to_string());
        let code = match status {
            StatusCode::PAYLOAD_TOO_LARGE => "too_large",
            StatusCode::TOO_MANY_REQUESTS => "too_fast",
            StatusCode::REQUEST_TIMEOUT => "timeout",
            StatusCode::SERVICE_UNAVAILABLE => "unavailable",
            _ => "invalid_value",
        };
        let error = Self::new(status, code, message);
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => error.retry_after(1),
            _ => error,
        }
    }
}
