//! Which pages may ask (CORS).

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};

use crate::http::{Answer, text_answer};

/// Seconds that a browser remembers a pre-flight.
const PREFLIGHT_AGE: &str = "600";

/// The origins of an allow-list.
#[derive(Clone, Debug)]
pub(in crate::adapter) struct Origins(Vec<String>);

/// Whose page a request comes from.
#[derive(Clone, Debug)]
pub(in crate::adapter) enum Visitor {
    /// No page.
    Program,
    /// A page of this origin, which may ask.
    Page(HeaderValue),
    /// A page that may not.
    Stranger,
}

impl Origins {
    pub(in crate::adapter) fn new(allowed: &[String]) -> Self {
        Self(allowed.to_vec())
    }

    /// Whose page a request comes from: one of the list may ask, and our own.
    pub(in crate::adapter) fn visitor<B>(&self, request: &Request<B>) -> Visitor {
        let Some(origin) = request.headers().get(header::ORIGIN) else {
            return Visitor::Program;
        };
        let Ok(text) = origin.to_str() else {
            return Visitor::Stranger;
        };
        let is_listed = self
            .0
            .iter()
            .any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(text));
        let host = request.headers().get(header::HOST);
        let uri = text.parse::<Uri>().ok();
        let authority = uri.as_ref().and_then(Uri::authority);
        let is_own = authority
            .zip(host)
            .is_some_and(|(authority, host)| authority.as_str().as_bytes() == host.as_bytes());
        if is_listed || is_own {
            Visitor::Page(origin.clone())
        } else {
            Visitor::Stranger
        }
    }

    /// Lets the page read the answer.
    pub(in crate::adapter) fn share(&self, answer: &mut Answer, visitor: Visitor) {
        let Visitor::Page(origin) = visitor else {
            return;
        };
        let headers = answer.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        if self.0.iter().any(|allowed| allowed == "*") {
            let everyone = HeaderValue::from_static("*");
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, everyone);
            return;
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
    }
}

/// The answer to the question before a request. A page that may ask at all may send
/// what headers it likes.
pub(in crate::adapter) fn preflight(asked: &HeaderMap, method: &Method) -> Answer {
    let mut answer = text_answer(StatusCode::NO_CONTENT, "");
    let headers = answer.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static(PREFLIGHT_AGE),
    );
    if let Ok(method) = HeaderValue::from_str(method.as_str()) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method);
    }
    if let Some(wanted) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    answer
}
