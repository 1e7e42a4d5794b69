//! The console in the browser, at `/console/`: gives out the files of its front end.
//!
//! Everything that the console shows and does goes through the admin API
//! (`api/admin`), so there is nothing to protect here: these files are the same for
//! everybody. Their sources are in `browser/`, beside this file; `build` makes of them
//! what `build.rs` of the repository embeds.

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode};

use crate::http::{Answer, answer, text_answer};

/// What begins every path of the console.
const ROOT: &str = "/console";

/// The built front end: names relative to its folder.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/console_assets.rs"));

/// What the name of a packed file ends with; it stands beside the file itself.
const PACKED: &str = ".gz";

/// Shown where the front end was not built.
const NOT_BUILT: &str = include_str!("assets/not_built.html");

/// What the page may do: load its own files, and speak with this server. The `data:` is
/// its icon.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Whether a path belongs to the console.
#[must_use]
pub fn owns(path: &str) -> bool {
    path.strip_prefix(ROOT)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether the front end was there when the program was built.
#[must_use]
pub fn is_built() -> bool {
    !FILES.is_empty()
}

/// Gives out a file. `request` is for a path that the console [`owns`].
#[must_use]
pub fn answer_to<B>(request: &Request<B>) -> Answer {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text_answer(
            StatusCode::METHOD_NOT_ALLOWED,
            "Method not allowed: expected GET\n",
        );
    }
    let path = request.uri().path();
    let mut answer = match path.strip_prefix(ROOT).unwrap_or_default() {
        // Names in the page are relative to the folder.
        "" => redirect(),
        "/" if !is_built() => page(NOT_BUILT.as_bytes()),
        "/" => file("index.html", takes_gzip(request.headers())),
        rest => file(rest.trim_start_matches('/'), takes_gzip(request.headers())),
    };
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn redirect() -> Answer {
    let mut answer = text_answer(StatusCode::PERMANENT_REDIRECT, "See console/\n");
    // Relative, since a prefix may stand before the path.
    let folder = HeaderValue::from_static("console/");
    answer.headers_mut().insert(header::LOCATION, folder);
    answer
}

fn page(content: &'static [u8]) -> Answer {
    let mut page = answer(
        StatusCode::OK,
        "text/html; charset=utf-8",
        Bytes::from_static(content),
    );
    let fresh = HeaderValue::from_static("no-cache");
    page.headers_mut().insert(header::CACHE_CONTROL, fresh);
    page
}

fn find(name: &str) -> Option<&'static [u8]> {
    let found = FILES.iter().find(|(known, _)| *known == name);
    found.map(|(_, content)| *content)
}

/// `name`, packed where there is such a one and the browser takes it.
fn file(name: &str, takes_gzip: bool) -> Answer {
    // Packed ones are not files of their own.
    let plain = find(name).filter(|_| !name.ends_with(PACKED));
    let Some(plain) = plain else {
        return text_answer(StatusCode::NOT_FOUND, "There is no such file\n");
    };
    let packed = find(&format!("{name}{PACKED}"));
    let sent = packed.filter(|_| takes_gzip);
    let content = sent.unwrap_or(plain);
    let mut file = match content_type(name) {
        None => page(content),
        Some(content_type) => {
            let mut file = answer(StatusCode::OK, content_type, Bytes::from_static(content));
            // Their names change with their content.
            let kept = HeaderValue::from_static("public, max-age=31536000, immutable");
            file.headers_mut().insert(header::CACHE_CONTROL, kept);
            file
        }
    };
    let headers = file.headers_mut();
    if packed.is_some() {
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    if sent.is_some() {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    file
}

/// Whether the sender of a request takes gzip: it is named, and not with a weight of
/// nothing.
fn takes_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
            name.trim().eq_ignore_ascii_case("gzip")
                && weight.parse().is_ok_and(|weight: f32| weight > 0.0)
        })
}

/// `None` for pages.
fn content_type(name: &str) -> Option<&'static str> {
    Some(match name.rsplit_once('.')?.1 {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "html" => return None,
        _ => "application/octet-stream",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Answer {
        answer_to(&Request::get(path).body(()).unwrap())
    }

    #[test]
    fn the_console_has_its_paths_only() {
        for path in ["/console", "/console/", "/console/assets/index.js"] {
            assert!(owns(path), "{path}");
        }
        for path in ["/", "/consoles", "/apps/console"] {
            assert!(!owns(path), "{path}");
        }
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it_only() {
        for (accepted, expected) in [
            ("gzip, deflate, br, zstd", true),
            ("br;q=1.0, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("deflate, x-gzip", false),
            ("identity", false),
            ("gzip;q=much", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("accept-encoding", accepted.parse().unwrap());
            assert_eq!(takes_gzip(&headers), expected, "{accepted}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    /// Whether the front end was built or not.
    #[test]
    fn there_is_a_page_which_nobody_may_frame_or_add_a_script_to() {
        let page = get("/console/");
        assert_eq!(page.status(), StatusCode::OK);
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
        let policy = page.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(page.headers()["x-frame-options"], "DENY");

        assert_eq!(get("/console").headers()["location"], "console/");
        for path in ["/console/nothing", "/console/../Cargo.toml"] {
            assert_eq!(get(path).status(), StatusCode::NOT_FOUND, "{path}");
        }
    }
}
