//! The pages of the car service: the display board, the terminal of a mechanic, and the
//! page on which a customer follows their order. They are the same for everybody; what
//! they show, the server gives to those whom the door lets through.

use hyper::StatusCode;
use serde_json::json;

use crate::adapter::page::{self, File};
use crate::http::{Answer, value_answer};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The page of a customer, whatever their order is.
const TRACK: &str = "/queue/status/";

/// Where what is told to the pages is.
const SETTINGS: &str = "/adapters/sto/page/settings.json";

/// A file beside the pages.
macro_rules! part {
    ($name:literal, $kind:expr) => {
        File {
            path: concat!("/adapters/sto/page/", $name),
            content_type: $kind,
            content: include_str!(concat!("page/", $name)),
        }
    };
}

const FILES: [File; 13] = [
    File {
        path: "/adapters/sto/board",
        content_type: HTML,
        content: include_str!("page/board.html"),
    },
    File {
        path: "/adapters/sto/mechanic",
        content_type: HTML,
        content: include_str!("page/mechanic.html"),
    },
    File {
        path: TRACK,
        content_type: HTML,
        content: include_str!("page/track.html"),
    },
    part!("page.css", CSS),
    part!("board.css", CSS),
    part!("mechanic.css", CSS),
    part!("track.css", CSS),
    part!("words.js", SCRIPT),
    part!("live.js", SCRIPT),
    part!("orders.js", SCRIPT),
    part!("board.js", SCRIPT),
    part!("mechanic.js", SCRIPT),
    part!("track.js", SCRIPT),
];

/// What the pages are told.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageSettings<'a> {
    /// The public key of the app.
    pub(super) key: &'a str,
    /// Where browsers have pusher-js from.
    pub(super) pusher_js: &'a str,
}

/// Whether a path is one of a page.
pub(super) fn owns(path: &str) -> bool {
    path == SETTINGS || FILES.iter().any(|file| file.path == file_of(path))
}

/// The answer to a path that the pages [`own`](owns).
pub(super) fn answer(path: &str, settings: PageSettings<'_>) -> Option<Answer> {
    if path == SETTINGS {
        let told = json!({"key": settings.key, "pusherJs": settings.pusher_js});
        return Some(value_answer(StatusCode::OK, &told));
    }
    page::file(&FILES, file_of(path), settings.pusher_js, &[])
}

/// The order is the page's to read from its address; its files lie relative to it.
fn file_of(path: &str) -> &str {
    let order = path.strip_prefix(TRACK);
    if order.is_some_and(|order| !order.contains('/')) {
        TRACK
    } else {
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS_OF_TEST: PageSettings<'_> = PageSettings {
        key: "app-key",
        pusher_js: "https://scripts.example:8443/pusher.min.js",
    };

    #[test]
    fn pages_may_load_pusher_js_and_their_own_files_and_nothing_else() {
        for path in [
            "/adapters/sto/board",
            "/adapters/sto/mechanic",
            "/queue/status/",
            "/queue/status/7b1d",
        ] {
            assert!(owns(path), "{path}");
            let page = answer(path, SETTINGS_OF_TEST).unwrap();
            let headers = page.headers();
            assert_eq!(headers["content-type"], HTML, "{path}");
            let policy = headers["content-security-policy"].to_str().unwrap();
            assert!(
                policy.contains("script-src 'self' https://scripts.example:8443;"),
                "{policy}"
            );
            assert!(!policy.contains("unsafe"), "{policy}");
        }
        for path in [
            "/queue/status/a/b",
            "/adapters/sto/v1/stats",
            "/adapters/sto/page/",
        ] {
            assert!(!owns(path), "{path}");
            assert!(answer(path, SETTINGS_OF_TEST).is_none(), "{path}");
        }
    }

    #[test]
    fn each_file_that_a_page_names_is_there() {
        for file in FILES {
            let names = file
                .content
                .split(['"', '\''])
                .filter_map(|text| text.rsplit_once('/'))
                .filter(|(folder, _)| ["page", "../../adapters/sto/page", "."].contains(folder));
            for (_, name) in names {
                let path = format!("/adapters/sto/page/{name}");
                assert!(owns(&path), "{} names {name}", file.path);
            }
        }
    }
}
