//! What must hold of what clients without WebSockets send, for `fuzz/` and the replay of
//! its corpus.

use super::session::FirstMessage;
use super::sockjs::{iframe, is_script_address};
use crate::transport::websocket::{app_key, query_value, split_session};

/// The body of a send request.
///
/// # Panics
/// What was read is more than what was sent.
pub fn messages(body: &[u8]) {
    let Ok(messages) = super::messages(body) else {
        return;
    };
    let size: usize = messages.iter().map(String::len).sum();
    assert!(size <= body.len());
    for message in messages {
        let Ok(first) = serde_json::from_str::<FirstMessage>(&message) else {
            continue;
        };
        path(&first.path);
    }
}

/// A path with a query, as requests and first messages have them.
///
/// # Panics
/// A part of it is none, or a page would run a foreign script.
pub fn path(text: &str) {
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let (session, rest) = split_session(path);
    assert!(path.ends_with(rest));
    assert!(session.is_none_or(|session| !session.contains('/')));
    let _ = app_key(rest);
    for name in ["protocol", "client", "version", "session"] {
        let _ = query_value(query, name);
    }
    let own = "https://pages.example/sockjs.js".to_owned();
    let answer = iframe(Some(query), std::slice::from_ref(&own));
    if answer.status().is_success()
        && let Some(script) = query_value(query, "js_path")
    {
        assert!(
            script.contains("://js.pusher.com/") || script == own,
            "{script}"
        );
    }
    if is_script_address(text) {
        assert!(!text.contains(['"', '<', '>', '&', ' ']), "{text}");
    }
}
