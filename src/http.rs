//! What the ports have in common: who asks, and how an answer is made.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode};

/// The answer to a request.
pub type Answer = Response<Full<Bytes>>;

/// Where a request came from, as far as it can be believed.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Whether the client's own connection is encrypted.
    pub is_secure: bool,
    /// The client's own address.
    pub address: IpAddr,
}

/// Gives the answer to every request of a port.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. Whatever goes wrong is an answer too.
    fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Peer,
    ) -> impl Future<Output = Answer> + Send;
}

/// An answer for machines.
#[must_use]
pub fn json_answer(body: impl Into<Bytes>) -> Answer {
    // Exactly this: clients compare it as a string.
    answer(StatusCode::OK, "application/json", body.into())
}

/// An answer in words, a line of its own.
#[must_use]
pub fn text_answer(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    answer(status, "text/plain; charset=utf-8", text.into())
}

/// An answer of any type.
#[must_use]
pub fn answer(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
