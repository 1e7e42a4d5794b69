//! What must hold of tokens and of the keys of an issuer, for `fuzz/` and the replay of
//! its corpus.

use std::sync::LazyLock;

use futures_util::FutureExt as _;
use hyper::header::{self, HeaderMap, HeaderValue};

use super::keys;
use super::token::{Tokens, of_request};
use crate::config::AuthConfig;

static TOKENS: LazyLock<Tokens> = LazyLock::new(|| {
    Tokens::new(&AuthConfig {
        jwt_secret: Some("a secret that the input does not know".into()),
        ..AuthConfig::default()
    })
});

/// `Authorization` on the first line, `Cookie` on the second, a token on the third.
///
/// # Panics
/// Somebody is believed whose token nobody signed.
pub fn token(text: &str) {
    let mut lines = text.lines();
    let mut headers = HeaderMap::new();
    for name in [header::AUTHORIZATION, header::COOKIE] {
        if let Ok(value) = HeaderValue::from_str(lines.next().unwrap_or_default()) {
            headers.append(name, value);
        }
    }
    let found = of_request(&headers, &["token".to_owned()]).ok();
    for token in found.as_deref().into_iter().chain(lines) {
        let person = TOKENS.person(token).now_or_never();
        let person = person.expect("without a URL of keys nobody is waited for");
        assert!(person.is_err(), "{token}");
    }
}

/// The answer of an issuer.
///
/// # Panics
/// Never: any answer is read or refused.
pub fn issuer(bytes: &[u8]) {
    let _ = keys::read(bytes);
}
