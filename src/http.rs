//! What the ports have in common: who asks, and how an answer is made.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Request, Response, StatusCode};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// Time for the body of a request to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The answer to a request.
pub type Answer = Response<AnswerBody>;

/// The body of an answer.
pub enum AnswerBody {
    /// Known as a whole.
    Whole(Full<Bytes>),
    /// Made while it is sent. An error ends the connection in the middle of the
    /// body, so that the client cannot take it for the whole.
    Stream(Pin<Box<dyn Body<Data = Bytes, Error = io::Error> + Send>>),
}

impl Default for AnswerBody {
    fn default() -> Self {
        Self::Whole(Full::default())
    }
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(whole) => whole.fmt(f),
            Self::Stream(_) => f.write_str("Stream(..)"),
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole)
                .poll_frame(context)
                .map_err(|never| match never {}),
            Self::Stream(stream) => stream.as_mut().poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}

/// Where a request came from, as far as it can be believed.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Whether the client's own connection is encrypted.
    pub is_secure: bool,
    /// The client's own address.
    pub address: IpAddr,
}

impl Peer {
    /// Whether the request comes from this machine itself: no proxy has brought it, and
    /// no page whose name was made to lead here.
    #[must_use]
    pub fn is_this_machine(&self, headers: &HeaderMap) -> bool {
        let is_forwarded = ["forwarded", "via", "x-forwarded-for", "x-real-ip"]
            .iter()
            .any(|name| headers.contains_key(*name));
        self.address.to_canonical().is_loopback() && !is_forwarded && names_loopback(headers)
    }
}

/// Whether the request was made to this machine under a name of its own. A page of
/// another site that had its name point here sends that name.
fn names_loopback(headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let Some(authority) = host.and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let name = authority.host().trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Ends the connection that a request came on, at once and whatever waits to be
/// written. Stands in the extensions of the request: for answers without end
/// whose reader does not read.
#[derive(Clone, Debug, Default)]
pub struct Cut(pub CancellationToken);

/// Why the body of a request is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// It has more bytes than may be.
    TooLarge,
    /// The connection ended before it did.
    Incomplete,
    /// It took longer than [`BODY_TIMEOUT`].
    TooSlow,
}

/// Waits for the whole body of a request.
///
/// # Errors
///
/// When it has more than `limit` bytes, or does not arrive.
pub async fn whole_body(body: Incoming, limit: usize) -> Result<Bytes, BodyFault> {
    let whole = Limited::new(body, limit).collect();
    match tokio::time::timeout(BODY_TIMEOUT, whole).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyFault::TooLarge),
        Ok(Err(_)) => Err(BodyFault::Incomplete),
        Err(_) => Err(BodyFault::TooSlow),
    }
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

/// An answer whose content changes from one moment to the next.
#[must_use]
pub fn value_answer(status: StatusCode, body: &Value) -> Answer {
    let body = Bytes::from(body.to_string());
    let mut answer = answer(status, "application/json; charset=utf-8", body);
    answer
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// An answer in words, a line of its own.
#[must_use]
pub fn text_answer(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    answer(status, "text/plain; charset=utf-8", text.into())
}

/// An answer of any type.
#[must_use]
pub fn answer(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(AnswerBody::Whole(Full::new(body)));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
