//! What a request shows of who sends it, and from which page.
//!
//! A browser sends its cookies along with whatever a page asks for, also a page of
//! somebody else. So a session counts only for requests of our own page: the browser
//! says itself where a request comes from (`Sec-Fetch-Site`, else `Origin`), and each
//! change brings a token that only a page which may read our answers can know.

use hyper::header::{self, HeaderMap};
use hyper::http::request::Parts;
use subtle::ConstantTimeEq;

use crate::accounts::SessionToken;
use crate::api::SignedPath;
use crate::http::Peer;

/// The cookie with the session.
const COOKIE: &str = "fanfare_console";

/// The header with [`SessionToken::page_token`].
const PAGE_TOKEN: &str = "x-fanfare-page";

/// Where the browser says that a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Site {
    /// From our own page.
    Own,
    /// From another one.
    Other,
    /// It says nothing: no browser, or somebody who typed the address.
    Unsaid,
}

/// Somebody who asks. Without `Debug`: it holds what others must not read.
pub(super) struct Visitor {
    pub(super) peer: Peer,
    /// The credentials of a program.
    pub(super) bearer: Option<Vec<u8>>,
    /// The session of a browser.
    pub(super) session: Option<SessionToken>,
    pub(super) site: Site,
    page_token: Option<String>,
    /// Whether the request came over loopback, from this machine itself.
    pub(super) is_local: bool,
    /// Whether the browser's own connection is encrypted.
    is_secure: bool,
    /// What stands before every path.
    prefix: String,
}

impl Visitor {
    pub(super) fn of(head: &Parts, peer: Peer) -> Self {
        let headers = &head.headers;
        let origin = text(headers, "origin");
        let signed = head.extensions.get::<SignedPath>();
        let prefix = signed.and_then(|signed| signed.0.strip_suffix(head.uri.path()));
        Self {
            peer,
            bearer: headers
                .get(header::AUTHORIZATION)
                .and_then(|credentials| bearer(credentials.as_bytes()))
                .map(<[u8]>::to_vec),
            session: cookie(headers, COOKIE).map(SessionToken::from_cookie),
            site: site(headers),
            page_token: text(headers, PAGE_TOKEN).map(str::to_owned),
            is_local: peer.is_this_machine(headers),
            is_secure: peer.is_secure || origin.is_some_and(|o| o.starts_with("https://")),
            prefix: prefix.unwrap_or_default().to_owned(),
        }
    }

    /// Whether the request shows that its page could read an answer of ours.
    pub(super) fn has_page_token(&self) -> bool {
        let (Some(session), Some(token)) = (&self.session, &self.page_token) else {
            return false;
        };
        session
            .page_token()
            .as_bytes()
            .ct_eq(token.as_bytes())
            .into()
    }

    /// The cookie that keeps `session` for so many seconds.
    pub(super) fn cookie_for(&self, session: &str, seconds: u64) -> String {
        let secure = if self.is_secure { "; Secure" } else { "" };
        format!(
            "{COOKIE}={session}; Path={}/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}",
            self.prefix
        )
    }
}

/// What stands behind `Bearer`; other schemes are the business of a proxy.
fn bearer(credentials: &[u8]) -> Option<&[u8]> {
    credentials
        .split_first_chunk::<7>()
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
        .map(|(_, token)| token)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).into_iter();
    let pairs = all
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'));
    pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
}

fn site(headers: &HeaderMap) -> Site {
    // Browsers send it over TLS and to loopback; no page can change it.
    match text(headers, "sec-fetch-site") {
        Some("same-origin") => return Site::Own,
        // Somebody typed the address.
        Some("none") => return Site::Unsaid,
        Some(_) => return Site::Other,
        None => {}
    }
    let Some(origin) = headers.get("origin") else {
        return Site::Unsaid;
    };
    let host = text(headers, "host");
    let authority = origin.to_str().ok().and_then(|origin| {
        let (_scheme, authority) = origin.split_once("://")?;
        Some(authority)
    });
    match (authority, host) {
        (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host) => Site::Own,
        _ => Site::Other,
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn visitor(headers: &[(&str, &str)]) -> Visitor {
        let mut request = Request::builder().uri("/admin/v1/apps");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let peer = Peer {
            is_secure: false,
            address: "127.0.0.1".parse().unwrap(),
        };
        Visitor::of(&head, peer)
    }

    #[test]
    fn the_browser_says_which_page_a_request_comes_from() {
        let host = ("host", "shop.example:6001");
        for (headers, expected) in [
            (vec![("sec-fetch-site", "same-origin")], Site::Own),
            // Another port of the same host is another page.
            (vec![("sec-fetch-site", "same-site")], Site::Other),
            (vec![("sec-fetch-site", "cross-site")], Site::Other),
            (vec![("sec-fetch-site", "none")], Site::Unsaid),
            (vec![host], Site::Unsaid),
            (
                vec![host, ("origin", "http://shop.example:6001")],
                Site::Own,
            ),
            (vec![host, ("origin", "http://shop.example")], Site::Other),
            (vec![host, ("origin", "null")], Site::Other),
            (vec![("origin", "http://shop.example")], Site::Other),
        ] {
            assert_eq!(visitor(&headers).site, expected, "{headers:?}");
        }
    }

    #[test]
    fn only_this_machine_itself_is_local() {
        for (headers, expected) in [
            (vec![("host", "127.0.0.1:6001")], true),
            (vec![("host", "localhost")], true),
            (vec![("host", "[::1]:6001")], true),
            // Anybody may give a name this address.
            (vec![("host", "rebound.example:6001")], false),
            (vec![], false),
            (
                vec![("host", "127.0.0.1:6001"), ("x-forwarded-for", "192.0.2.1")],
                false,
            ),
        ] {
            assert_eq!(visitor(&headers).is_local, expected, "{headers:?}");
        }
    }

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let visitor = visitor(&[("cookie", "a=1; fanfare_console=secret;b=2")]);

        let session = visitor.session.as_ref().unwrap();
        assert_eq!(session.reveal(), "secret");
        assert!(!visitor.has_page_token());
        assert_eq!(
            visitor.cookie_for("secret", 60),
            "fanfare_console=secret; Path=/; Max-Age=60; HttpOnly; SameSite=Strict"
        );
    }
}
