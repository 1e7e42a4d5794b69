//! Pages that adapters bring along: they need no build step, have pusher-js from where
//! the operator says, and may do nothing else.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};

use crate::http::{Answer, answer};

/// A file of a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct File {
    /// Where it is.
    pub(super) path: &'static str,
    pub(super) content_type: &'static str,
    pub(super) content: &'static str,
}

/// The file of `files` at `path`, for a page that has pusher-js from `pusher_js` and
/// speaks with its own server and with `others`.
pub(super) fn file(
    files: &[File],
    path: &str,
    pusher_js: &str,
    others: &[String],
) -> Option<Answer> {
    let file = files.iter().find(|file| file.path == path)?;
    let body = Bytes::from_static(file.content.as_bytes());
    let mut answer = answer(StatusCode::OK, file.content_type, body);
    let script = origin(pusher_js);
    let mut connect = String::from("'self'");
    for other in others {
        connect.push(' ');
        connect.push_str(other);
    }
    // The `data:` is the icon.
    let policy = format!(
        "default-src 'none'; script-src 'self' {script}; style-src 'self'; img-src data:; connect-src {connect}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    );
    let headers = answer.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The address of a page may hold a telephone number.
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Some(answer)
}

/// The scheme and authority of a URL.
pub(super) fn origin(url: &str) -> &str {
    let end = url
        .find("://")
        .and_then(|scheme| url[scheme + 3..].find('/').map(|path| scheme + 3 + path));
    &url[..end.unwrap_or(url.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_ends_before_the_path() {
        for (url, expected) in [
            ("https://a.example/x/y", "https://a.example"),
            ("http://127.0.0.1:6001", "http://127.0.0.1:6001"),
        ] {
            assert_eq!(origin(url), expected);
        }
    }
}
