//! What pusher-js reports about itself when a page asks for it (section 16):
//! answered, so that its console stays clean, and dropped.

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};

use crate::http::{self, Answer, json_answer};

/// Digits of a receiver's number, which stands in the answer.
const MAX_DIGITS: usize = 10;

/// The answer to a report; `None` when the path is none.
#[must_use]
pub fn answer(method: &Method, path: &str) -> Option<Answer> {
    let rest = path.strip_prefix("/timeline/v2/")?;
    let mut answer = match rest.split_once('/')? {
        ("jsonp", number) if is_number(number) => http::answer(
            StatusCode::OK,
            "text/javascript; charset=utf-8",
            Bytes::from(format!("Pusher.ScriptReceivers[{number}](null, {{}});\n")),
        ),
        ("xhr", "2") if *method == Method::OPTIONS => {
            http::answer(StatusCode::NO_CONTENT, "text/plain", Bytes::new())
        }
        ("xhr", "2") => json_answer("{}"),
        _ => return None,
    };
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    Some(answer)
}

/// Anything else would be a script of the asker's making.
fn is_number(text: &str) -> bool {
    (1..=MAX_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}
