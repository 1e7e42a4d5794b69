//! What a SockJS client asks for before its session: information about the
//! server, and the page for its invisible frame (section 15.10).

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use percent_encoding::percent_decode_str;

use super::{ANY, NO_STORE, readable};
use crate::http::{Answer, answer, json_answer, text_answer};

/// Where pusher-js has its own copy of SockJS.
const PUSHER_SCRIPTS: &str = "://js.pusher.com/";

/// What the client wants to know before it chooses a transport. Without
/// `server_heartbeat_interval`: it would make the client answer in circles.
pub(super) fn info() -> Answer {
    let entropy: u32 = rand::random();
    let text = format!(
        r#"{{"websocket":false,"origins":["*:*"],"cookie_needed":false,"entropy":{entropy}}}"#
    );
    let mut answer = json_answer(text);
    answer.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    readable(answer, ANY)
}

/// Lets newer SockJS clients read an answer: they send cookies along, which
/// nobody here looks at, and browsers then want the origin by its name.
pub(super) fn with_credentials(mut answer: Answer, origin: HeaderValue) -> Answer {
    let headers = answer.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        HeaderValue::from_static("true"),
    );
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    answer
}

/// The page that loads SockJS from the address in `js_path`, if that is one that
/// is allowed: a page of this origin runs the script. Newer clients name none and
/// get the operator's first.
pub(super) fn iframe(query: Option<&str>, more_scripts: &[String]) -> Answer {
    let script = query
        .unwrap_or_default()
        .split('&')
        .find_map(|pair| pair.strip_prefix("js_path="))
        .map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned())
        .or_else(|| more_scripts.first().cloned());
    let Some(script) = script.filter(|script| {
        is_pusher_script(script) || more_scripts.iter().any(|allowed| allowed == script)
    }) else {
        let text = "This js_path is not allowed: expected SockJS of js.pusher.com, or an address of http_fallback.sockjs_scripts\n";
        return readable(text_answer(StatusCode::FORBIDDEN, text), ANY);
    };
    // Allowed addresses hold no character that means something in HTML.
    let page = format!(
        "<!DOCTYPE html>\n<html>\n<head>\n<meta charset=\"UTF-8\">\n<title>SockJS</title>\n<script>\n_sockjs_onload = function () {{ SockJS.bootstrap_iframe(); }};\n</script>\n<script src=\"{script}\"></script>\n</head>\n<body></body>\n</html>\n"
    );
    let mut answer = answer(
        StatusCode::OK,
        "text/html; charset=UTF-8",
        Bytes::from(page),
    );
    answer.headers_mut().insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=3600"),
    );
    answer
}

/// `http(s)://js.pusher.com/VERSION/sockjs(.min).js`, and nothing like it.
fn is_pusher_script(script: &str) -> bool {
    let Some((scheme, rest)) = script.split_once(PUSHER_SCRIPTS) else {
        return false;
    };
    let Some((version, file)) = rest.split_once('/') else {
        return false;
    };
    matches!(scheme, "http" | "https")
        && matches!(file, "sockjs.js" | "sockjs.min.js")
        && (1..=20).contains(&version.len())
        && version
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
        && !version.contains("..")
}

/// Whether an operator may name this script: an address without any character
/// that could end the attribute of the page that it stands in.
#[must_use]
pub fn is_script_address(address: &str) -> bool {
    let is_web = address.starts_with("https://") || address.starts_with("http://");
    is_web
        && address
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b":/.-_~%".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_scripts_of_pusher_are_loaded() {
        for script in [
            "http://js.pusher.com/8.6.0/sockjs.js",
            "https://js.pusher.com/8.6.0/sockjs.min.js",
        ] {
            assert!(is_pusher_script(script), "{script}");
        }
        for script in [
            "",
            "//js.pusher.com/8.6.0/sockjs.js",
            "javascript://js.pusher.com/8.6.0/sockjs.js",
            "https://js.pusher.com.evil/8.6.0/sockjs.js",
            "https://evil/://js.pusher.com/8.6.0/sockjs.js",
            "https://evil@js.pusher.com/8.6.0/sockjs.js",
            "https://js.pusher.com/8.6.0/../x/sockjs.js",
            "https://js.pusher.com/../sockjs.js",
            "https://js.pusher.com/8.6.0/sockjs.js?x",
            "https://js.pusher.com/8.6.0/pusher.js",
            "https://js.pusher.com/\"><script>/sockjs.js",
        ] {
            assert!(!is_pusher_script(script), "{script}");
        }
    }
}
