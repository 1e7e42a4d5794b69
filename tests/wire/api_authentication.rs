//! Who may call the HTTP API.

use fanfare::config::KeyConfig;
use fanfare_protocol::{AppKey, AppSecret, request};
use serde_json::json;

use super::support::{ID, KEY, SECRET, TestServer, app, now};

const PATH: &str = "/apps/app-id/events";
const BODY: &str = r#"{"name":"e","channel":"news","data":"1"}"#;

fn sign(method: &str, path: &str, body: &str, time: u64) -> String {
    let (key, secret) = (AppKey::new(KEY), AppSecret::new(SECRET));
    request::sign_request(method, path, &[], body.as_bytes(), &key, &secret, time)
}

/// The query without one of its parameters, or with another value for it.
fn change(query: &str, name: &str, value: Option<&str>) -> String {
    query
        .split('&')
        .filter_map(|pair| match pair.split_once('=') {
            Some((key, _)) if key == name => value.map(|value| format!("{key}={value}")),
            _ => Some(pair.to_owned()),
        })
        .collect::<Vec<_>>()
        .join("&")
}

/// 130 over a socket; the vectors themselves are tested in the protocol crate.
#[tokio::test]
async fn a_signed_request_is_accepted() {
    let server = TestServer::start().await;
    let query = sign("POST", PATH, BODY, now());

    let answer = server.http("POST", &format!("{PATH}?{query}"), BODY).await;

    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
}

/// 133, 134 and 143.
#[tokio::test]
async fn escaping_and_order_of_the_query_do_not_matter() {
    let server = TestServer::with_app(|app| app.subscription_count = true).await;
    let path = "/apps/app-id/channels/presence-a=b@c,d.e;f";
    let info = "user_count,subscription_count";
    let (key, secret) = (AppKey::new(KEY), AppSecret::new(SECRET));
    let query = request::sign_request("GET", path, &[("info", info)], b"", &key, &secret, now());
    assert!(query.contains("info=user_count%2Csubscription_count"));
    let raw = query.replace("%2C", ",");
    let mut pairs: Vec<&str> = query.split('&').collect();
    pairs.reverse();
    let reversed = pairs.join("&");
    for query in [&query, &raw, &reversed] {
        let answer = server.http("GET", &format!("{path}?{query}"), "").await;

        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(
            answer.json(),
            json!({"occupied": false, "user_count": 0, "subscription_count": 0})
        );
    }
}

/// 131.
#[tokio::test]
async fn the_md5_of_nothing_is_fine_on_a_get() {
    let server = TestServer::start().await;
    let md5 = "d41d8cd98f00b204e9800998ecf8427e";

    let answer = server
        .api("GET", "/apps/app-id/channels", &[("body_md5", md5)], "")
        .await;

    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// 135 and 207.
#[tokio::test]
async fn clocks_may_differ_by_less_than_ten_minutes() {
    let server = TestServer::start().await;
    for time in [now() - 595, now() + 595] {
        let query = sign("POST", PATH, BODY, time);
        let answer = server.http("POST", &format!("{PATH}?{query}"), BODY).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    for time in [now() - 600, now() + 610, 0, u64::MAX] {
        let query = sign("POST", PATH, BODY, time);
        let answer = server.http("POST", &format!("{PATH}?{query}"), BODY).await;
        assert_eq!(answer.status, 401);
        assert!(
            answer
                .body
                .starts_with("Timestamp expired: Given timestamp ("),
            "{}",
            answer.body
        );
        assert!(answer.body.ends_with("Z)\n"), "{}", answer.body);
    }
}

/// 136 to 139 and 142.
#[tokio::test]
async fn what_is_wrong_is_said_but_never_what_would_be_right() {
    let server = TestServer::with(|config| {
        config
            .apps
            .push(app("other-id", "other-key", "other-secret"));
    })
    .await;
    let query = sign("POST", PATH, BODY, now());
    let right = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("auth_signature="))
        .unwrap()
        .to_owned();
    for (query, text) in [
        (String::new(), "Missing parameter: auth_key\n"),
        (
            change(&query, "auth_key", None),
            "Missing parameter: auth_key\n",
        ),
        (
            change(&query, "auth_key", Some("nobody")),
            "Unknown auth_key\n",
        ),
        (
            change(&query, "auth_key", Some("other-key")),
            "Unknown auth_key\n",
        ),
        (change(&query, "auth_version", None), "Version required\n"),
        (
            change(&query, "auth_version", Some("2.0")),
            "Version not supported\n",
        ),
        (
            change(&query, "auth_timestamp", None),
            "Timestamp required\n",
        ),
        (
            change(&query, "auth_timestamp", Some("x")),
            "Timestamp required\n",
        ),
        (
            change(&query, "auth_signature", None),
            "Missing parameter: auth_signature\n",
        ),
        (
            change(&query, "auth_signature", Some("00")),
            "Invalid signature: you should have sent HmacSHA256Hex(\"POST\\n/apps/app-id/events\\nauth_key=app-key&",
        ),
        // Key before version, version before timestamp, timestamp before signature.
        (
            change(
                &change(&query, "auth_version", None),
                "auth_timestamp",
                None,
            ),
            "Version required\n",
        ),
        (
            change(
                &change(&query, "auth_timestamp", None),
                "auth_signature",
                Some("00"),
            ),
            "Timestamp required\n",
        ),
    ] {
        let answer = server.http("POST", &format!("{PATH}?{query}"), BODY).await;

        assert_eq!(answer.status, 401, "{query}");
        assert!(answer.body.starts_with(text), "{query}: {}", answer.body);
        assert!(answer.body.ends_with('\n'));
        assert!(!answer.body.contains(&right) && !answer.body.contains(SECRET));
        let content_type = answer.headers["content-type"].to_str().unwrap();
        assert!(content_type.starts_with("text/plain"), "{content_type}");
    }

    let target = format!("{PATH}?{query}");
    let changed = BODY.replace('1', "2");
    let answer = server.http("POST", &target, &changed).await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (401, "Invalid body_md5\n")
    );

    let unsigned = sign("POST", PATH, "", now());
    let answer = server
        .http("POST", &format!("{PATH}?{unsigned}"), BODY)
        .await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (401, "Invalid body_md5\n")
    );

    let twice = format!("{PATH}?{query}&auth_version=1.0");
    let answer = server.http("POST", &twice, BODY).await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (400, "Duplicate parameter: auth_version\n")
    );
}

/// 140.
#[tokio::test]
async fn every_key_pair_of_the_app_may_sign() {
    let server = TestServer::with_app(|app| {
        app.keys = vec![KeyConfig {
            key: "second".to_owned(),
            secret: "second-secret".into(),
        }];
    })
    .await;
    let (key, secret) = (AppKey::new("second"), AppSecret::new("second-secret"));
    let query = request::sign_request("POST", PATH, &[], BODY.as_bytes(), &key, &secret, now());

    let answer = server.http("POST", &format!("{PATH}?{query}"), BODY).await;

    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// 205, the API.
#[tokio::test]
async fn one_app_cannot_ask_about_another() {
    let server = TestServer::with(|config| {
        config
            .apps
            .push(app("other-id", "other-key", "other-secret"));
    })
    .await;
    let _mine = server.subscriber("news").await;
    let path = "/apps/other-id/channels";

    let with_my_key = server.api("GET", path, &[], "").await;
    let (key, secret) = (AppKey::new("other-key"), AppSecret::new("other-secret"));
    let query = request::sign_request("GET", path, &[], b"", &key, &secret, now());
    let theirs = server.http("GET", &format!("{path}?{query}"), "").await;

    assert_eq!(
        (with_my_key.status, with_my_key.body.as_str()),
        (401, "Unknown auth_key\n")
    );
    assert_eq!(theirs.json(), json!({"channels": {}}));
    let mine = server.get("/channels", &[]).await;
    assert_eq!(mine, json!({"channels": {"news": {}}}));
    assert_eq!(ID, "app-id");
}
