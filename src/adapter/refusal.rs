//! How adapters say no over HTTP that stand in for services written with Nest: their
//! callers read `statusCode`, `message` and `error`.

use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};
use serde_json::json;

use crate::http::{Answer, value_answer};

/// The answer to a request that is refused because of `message`. `allowed` is the method
/// that it should have had, `retry_after` the seconds after which it may work.
pub(super) fn refusal(
    status: StatusCode,
    message: &str,
    allowed: Option<&Method>,
    retry_after: Option<u32>,
) -> Answer {
    tracing::debug!(status = status.as_u16(), reason = ?message, "request refused");
    let body = json!({
        "statusCode": status.as_u16(),
        "message": message,
        "error": status.canonical_reason(),
    });
    let mut answer = value_answer(status, &body);
    let headers = answer.headers_mut();
    if let Some(allow) = allowed.and_then(|method| HeaderValue::from_str(method.as_str()).ok()) {
        headers.insert(header::ALLOW, allow);
    }
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    answer
}
