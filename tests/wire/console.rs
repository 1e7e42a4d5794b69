//! The console: who may come in, from which page, and what each may do.

use std::net::SocketAddr;

use fanfare::config::{StoreConfig, TlsConfig};
use fanfare::server::Server;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::admin::{feed_for, read_until};
use crate::postgres::Postgres;
use crate::support::{Answer, HttpClient, TestServer, app};
use crate::tls::{connect, write_certificate};

const PASSWORD: &str = "correct horse";

/// A browser with the console open: keeps its cookie, and says where it is.
struct Browser {
    address: SocketAddr,
    host: String,
    cookie: Option<String>,
    page_token: String,
}

impl Browser {
    fn at(address: SocketAddr) -> Self {
        Self {
            address,
            host: address.to_string(),
            cookie: None,
            page_token: String::new(),
        }
    }

    /// As the page of the console asks.
    async fn ask(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let origin = format!("http://{}", self.host);
        let token = self.page_token.clone();
        let headers = [("Origin", origin.as_str()), ("X-Fanfare-Page", &token)];
        let answer = self.ask_with(method, path, &headers, body).await;
        if let Some(cookie) = answer.headers.get("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            assert!(
                cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Strict"),
                "{cookie}"
            );
            self.cookie = cookie.split(';').next().map(str::to_owned);
        }
        if answer.status < 300 && path.starts_with("/session") && !answer.body.is_empty() {
            let token = &answer.json()["page_token"];
            self.page_token = token.as_str().unwrap_or_default().to_owned();
        }
        answer
    }

    /// As any page may ask: the cookie goes along, whoever wrote it.
    async fn ask_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let mut connection = HttpClient::new(stream).await;
        let mut all = vec![("Host", self.host.as_str())];
        all.extend(self.cookie.as_deref().map(|cookie| ("Cookie", cookie)));
        all.extend_from_slice(headers);
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let target = format!("/admin/v1{path}");
        connection.send_with(method, &target, &all, &body).await
    }

    async fn get(&mut self, path: &str) -> Value {
        let answer = self.ask("GET", path, &Value::Null).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    async fn sign_in(&mut self, name: &str, password: &str) -> Answer {
        let body = json!({"name": name, "password": password});
        self.ask("POST", "/session", &body).await
    }
}

fn code(answer: &Answer) -> (u16, String) {
    let code = &answer.json()["error"]["code"];
    (answer.status, code.as_str().unwrap().to_owned())
}

fn refusal(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// A server whose app has a secret of its own, and the invitation that its log shows.
async fn invited() -> (TestServer, Browser, String) {
    let (server, invitation) = TestServer::with_server(
        |config| config.apps = vec![app("1", "key", "a secret of its own")],
        Server::invitation,
    )
    .await;
    let browser = Browser::at(server.address);
    (server, browser, invitation.unwrap())
}

/// One with an administrator, who is signed in.
async fn with_admin() -> (TestServer, Browser) {
    let (server, mut browser, invitation) = invited().await;
    let first = json!({"invitation": invitation, "name": "ann", "password": PASSWORD});
    let made = browser.ask("POST", "/session/first", &first).await;
    assert_eq!(made.status, 201, "{}", made.body);
    (server, browser)
}

#[tokio::test]
async fn the_first_account_is_made_with_the_link_of_the_log_and_only_once() {
    let (server, mut browser, invitation) = invited().await;
    assert_eq!(browser.get("/session").await, json!({"state": "begin"}));
    let nothing = browser.ask("POST", "/session", &json!({})).await;
    assert_eq!(code(&nothing), refusal(422, "wrong_password"));

    let mut first = json!({"invitation": "guess", "name": "ann", "password": PASSWORD});
    let guessed = browser.ask("POST", "/session/first", &first).await;
    assert_eq!(code(&guessed), refusal(422, "wrong_invitation"));
    first["invitation"] = invitation.into();
    let made = browser.ask("POST", "/session/first", &first).await;
    assert_eq!((made.status, &made.json()["role"]), (201, &json!("admin")));
    assert_eq!(browser.get("/apps").await["apps"][0]["id"], "1");

    let again = browser.ask("POST", "/session/first", &first).await;
    assert_eq!(code(&again), refusal(422, "wrong_invitation"));
    let stranger = Browser::at(server.address).get("/session").await;
    assert_eq!(stranger, json!({"state": "signed_out"}));
}

/// The head of what a server with TLS answers to the first account.
async fn first_over_tls() -> String {
    let directory = tempfile::tempdir().unwrap();
    let trusted = write_certificate(directory.path());
    let files = TlsConfig::new(
        directory.path().join("cert.pem"),
        directory.path().join("key.pem"),
    );
    let (server, invitation) = TestServer::with_server(
        |config| {
            config.apps = vec![app("1", "key", "a secret of its own")];
            config.server.tls = Some(files);
        },
        Server::invitation,
    )
    .await;
    let mut stream = connect(&server, &trusted).await.unwrap();
    let port = server.address.port();
    let body = json!({"invitation": invitation, "name": "ann", "password": PASSWORD}).to_string();
    let request = format!(
        "POST /admin/v1/session/first HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: https://localhost:{port}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // The end of a closed connection may come without the good-bye of TLS.
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

#[tokio::test]
async fn the_cookie_goes_over_tls_only_where_the_page_came_over_tls() {
    let answer = first_over_tls().await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    let cookie = answer
        .lines()
        .find(|line| line.starts_with("set-cookie: "))
        .unwrap();
    assert!(
        cookie.ends_with("; HttpOnly; SameSite=Strict; Secure"),
        "{cookie}"
    );

    // Behind a proxy that takes TLS off, if it is one that may say so.
    for (is_trusted, proto, is_secure) in [
        (true, "https", true),
        (true, "http", false),
        (false, "https", false),
    ] {
        let (server, invitation) = TestServer::with_server(
            |config| {
                config.apps = vec![app("1", "key", "a secret of its own")];
                if is_trusted {
                    config.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
                }
            },
            Server::invitation,
        )
        .await;
        let first = json!({"invitation": invitation, "name": "ann", "password": PASSWORD});
        let headers = [
            ("Sec-Fetch-Site", "same-origin"),
            ("X-Forwarded-Proto", proto),
            ("X-Forwarded-For", "192.0.2.1"),
        ];
        let browser = Browser::at(server.address);
        let made = browser
            .ask_with("POST", "/session/first", &headers, &first)
            .await;
        assert_eq!(made.status, 201, "{}", made.body);
        let cookie = made.headers["set-cookie"].to_str().unwrap();
        assert_eq!(cookie.contains("; Secure"), is_secure, "{proto}: {cookie}");
    }
}

#[tokio::test]
async fn who_signs_out_is_out() {
    let (server, mut browser) = with_admin().await;
    let mut other = Browser::at(server.address);
    assert_eq!(
        code(&other.sign_in("ann", "battery staple").await),
        refusal(422, "wrong_password")
    );
    assert_eq!(
        code(&other.sign_in("nobody", PASSWORD).await),
        refusal(422, "wrong_password")
    );
    assert_eq!(other.sign_in("ann", PASSWORD).await.status, 200);

    let kept = browser.cookie.clone();
    let out = browser.ask("DELETE", "/session", &Value::Null).await;
    assert_eq!(out.status, 204);
    assert_eq!(browser.cookie.as_deref(), Some("fanfare_console="));

    // Also for somebody who has kept the cookie.
    browser.cookie = kept;
    let refused = browser.ask("GET", "/apps", &Value::Null).await;
    assert_eq!(code(&refused), refusal(401, "unauthorized"));
    other.get("/apps").await;
}

#[tokio::test]
async fn a_viewer_may_look_and_change_nothing() {
    let (server, mut admin) = with_admin().await;
    let new = json!({"name": "bob", "password": PASSWORD, "role": "viewer"});
    assert_eq!(admin.ask("POST", "/accounts", &new).await.status, 201);
    let mut viewer = Browser::at(server.address);
    assert_eq!(viewer.sign_in("bob", PASSWORD).await.status, 200);
    let document = viewer.get("/openapi.json").await;

    let about_oneself = ["/session", "/session/first", "/session/password"];
    let mut refused = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let path = path.trim_start_matches("/admin/v1");
        for method in item.as_object().unwrap().keys() {
            if method == "get" || about_oneself.contains(&path) {
                continue;
            }
            let method = method.to_uppercase();
            let answer = viewer.ask(&method, path, &json!({})).await;
            assert_eq!(code(&answer), refusal(403, "forbidden"), "{method} {path}");
            refused += 1;
        }
    }

    assert!(refused >= 15, "{refused}");
    for path in [
        "/apps",
        "/apps/1",
        "/accounts",
        "/audit",
        "/nodes",
        "/statistics",
    ] {
        viewer.get(path).await;
    }
    let new = json!({"old": PASSWORD, "new": "battery staple"});
    let changed = viewer.ask("PUT", "/session/password", &new).await;
    assert_eq!(changed.status, 204, "{}", changed.body);
    assert_eq!(viewer.sign_in("bob", "battery staple").await.status, 200);

    // What an administrator takes away is gone at once, also what is looked at.
    let cookie = format!("Cookie: {}", viewer.cookie.as_deref().unwrap());
    let mut looked_at = feed_for(&server, "/feed", &cookie).await;
    let removed = admin.ask("DELETE", "/accounts/bob", &Value::Null).await;
    assert_eq!(removed.status, 204);
    let gone = viewer.ask("GET", "/apps", &Value::Null).await;
    assert_eq!(code(&gone), refusal(401, "unauthorized"));
    // The last chunk has no bytes.
    read_until(&mut looked_at, &mut String::new(), "0\r\n\r\n").await;
}

/// Another port or name of the same host is another page, and gets the cookie too.
#[tokio::test]
async fn a_page_of_another_origin_cannot_act_with_the_cookie() {
    let (server, mut browser) = with_admin().await;
    let event = json!({"name": "x", "channels": ["news"], "data": "1"});
    let token = browser.page_token.clone();
    let own = format!("http://{}", server.address);
    let (with_token, without) = (("X-Fanfare-Page", token.as_str()), ("X-Other", "1"));

    for headers in [
        vec![with_token, ("Origin", "http://127.0.0.1:3000")],
        vec![with_token, ("Origin", "null")],
        vec![
            with_token,
            ("Origin", own.as_str()),
            ("Sec-Fetch-Site", "same-site"),
        ],
        vec![with_token, ("Sec-Fetch-Site", "cross-site")],
        // No browser sends this, and whoever has stolen the cookie has no token.
        vec![with_token],
        vec![without, ("Origin", own.as_str())],
        vec![without, ("Sec-Fetch-Site", "same-origin")],
        vec![("X-Fanfare-Page", "guess"), ("Origin", own.as_str())],
    ] {
        let path = "/apps/1/events";
        let answer = browser.ask_with("POST", path, &headers, &event).await;
        assert_eq!(code(&answer), refusal(403, "other_page"), "{headers:?}");
    }
    // Nor may it look, or sign somebody in.
    let foreign = [("Origin", "http://127.0.0.1:3000")];
    for path in ["/apps", "/feed"] {
        let look = browser.ask_with("GET", path, &foreign, &Value::Null).await;
        assert_eq!(code(&look), refusal(403, "other_page"));
    }
    let body = json!({"name": "ann", "password": PASSWORD});
    let sign_in = browser.ask_with("POST", "/session", &foreign, &body).await;
    assert_eq!(code(&sign_in), refusal(403, "other_page"));
    assert_eq!(sign_in.headers.get("set-cookie"), None);

    let own_page = browser.ask("POST", "/apps/1/events", &event).await;
    assert_eq!(own_page.status, 202, "{}", own_page.body);
}

#[tokio::test]
async fn who_guesses_passwords_is_slowed_down() {
    let (server, _admin) = with_admin().await;
    let mut guesser = Browser::at(server.address);

    let mut last = 422;
    for number in 0..11 {
        last = guesser
            .sign_in("ann", &format!("guess {number:05}"))
            .await
            .status;
    }

    assert_eq!(last, 422);
    let blocked = guesser.sign_in("ann", PASSWORD).await;
    assert_eq!(code(&blocked), refusal(429, "blocked"));
    assert_eq!(blocked.headers["retry-after"], "60");
}

#[tokio::test]
async fn with_default_credentials_the_console_is_open_to_this_machine_only() {
    let server = TestServer::start().await;
    let mut browser = Browser::at(server.address);
    assert_eq!(browser.get("/session").await, json!({"state": "open"}));
    let apps = browser.ask("GET", "/apps", &Value::Null).await;
    assert_eq!(apps.status, 401);
    let entered = browser.ask("POST", "/session", &json!({})).await;
    assert_eq!(entered.json()["name"], "loopback");
    let event = json!({"name": "x", "channels": ["news"], "data": "1"});
    let published = browser.ask("POST", "/apps/app-id/events", &event).await;
    assert_eq!(published.status, 202, "{}", published.body);

    // A name that leads here, and a proxy on this machine.
    let mut rebound = Browser::at(server.address);
    rebound.host = "rebound.example:6001".to_owned();
    assert_eq!(rebound.get("/session").await, json!({"state": "begin"}));
    let refused = rebound.ask("POST", "/session", &json!({})).await;
    assert_eq!(code(&refused), refusal(422, "wrong_password"));
    rebound.cookie.clone_from(&browser.cookie);
    let refused = rebound.ask("GET", "/apps", &Value::Null).await;
    assert_eq!(refused.status, 401);
    let origin = format!("http://{}", server.address);
    let proxied = [
        ("Origin", origin.as_str()),
        ("X-Forwarded-For", "192.0.2.1"),
    ];
    let stranger = Browser::at(server.address);
    let refused = stranger
        .ask_with("POST", "/session", &proxied, &json!({}))
        .await;
    assert_eq!(code(&refused), refusal(422, "wrong_password"));

    // Until somebody makes an account.
    let new = json!({"name": "ann", "password": PASSWORD, "role": "admin"});
    assert_eq!(browser.ask("POST", "/accounts", &new).await.status, 201);
    assert_eq!(
        browser.get("/session").await,
        json!({"state": "signed_out"})
    );
}

#[tokio::test]
async fn changes_are_written_down_without_secrets() {
    let (_server, mut browser) = with_admin().await;
    let new = json!({"name": "bob", "password": "a secret password", "role": "viewer"});
    assert_eq!(browser.ask("POST", "/accounts", &new).await.status, 201);
    let again = browser.ask("POST", "/accounts", &new).await;
    assert_eq!(code(&again), refusal(409, "exists"));
    let change = json!({"role": "admin"});
    let changed = browser.ask("PATCH", "/accounts/bob", &change).await;
    assert_eq!(changed.status, 204);

    let audit = browser.get("/audit").await;

    let entries = audit["entries"].as_array().unwrap();
    let told: Vec<(&str, &str, &str)> = entries
        .iter()
        .map(|entry| {
            let text = |name: &str| entry[name].as_str().unwrap_or_default();
            (text("actor"), text("action"), text("detail"))
        })
        .collect();
    assert_eq!(
        told,
        [
            ("ann", "PATCH /accounts/bob", r#"{"role":"admin"}"#),
            ("ann", "POST /accounts", r#"{"name":"bob","role":"viewer"}"#),
            ("ann", "POST /session/first", r#"{"name":"ann"}"#),
        ]
    );
    assert_eq!(entries[0]["address"], "127.0.0.1");
    let page = browser.get("/audit?limit=1").await;
    let next = page["next"].as_str().unwrap();
    let rest = browser.get(&format!("/audit?after={next}")).await;
    assert_eq!(rest["entries"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn accounts_and_sessions_outlive_the_server_in_a_database() {
    let directory = tempfile::tempdir().unwrap();
    outlive(&format!(
        "sqlite://{}/fanfare.db",
        directory.path().display()
    ))
    .await;
    let postgres = Postgres::start().await;
    outlive(&postgres.url()).await;
}

/// Makes accounts in the database, and goes on with another server.
async fn outlive(url: &str) {
    let start = async || {
        TestServer::with_server(
            |config| {
                config.apps = vec![app("1", "key", "a secret of its own")];
                config.store = StoreConfig {
                    url: Some(url.into()),
                    ..StoreConfig::default()
                };
            },
            Server::invitation,
        )
        .await
    };
    let (mut server, invitation) = start().await;
    let mut browser = Browser::at(server.address);
    let mut first = json!({"invitation": invitation, "name": "ann", "password": PASSWORD});
    let made = browser.ask("POST", "/session/first", &first).await;
    assert_eq!(made.json()["has_database"], true);
    let new = json!({"name": "bob", "password": PASSWORD, "role": "viewer"});
    assert_eq!(browser.ask("POST", "/accounts", &new).await.status, 201);
    server.stop();
    server.ended().await;

    let (server, invitation) = start().await;

    assert_eq!(invitation, None);
    browser.address = server.address;
    browser.host = server.address.to_string();
    let audit = browser.get("/audit").await;
    assert_eq!(audit["entries"].as_array().unwrap().len(), 2);
    let change = json!({"role": "viewer"});
    let last = browser.ask("PATCH", "/accounts/ann", &change).await;
    assert_eq!(code(&last), refusal(409, "last_admin"));
    let last = browser.ask("DELETE", "/accounts/ann", &Value::Null).await;
    assert_eq!(code(&last), refusal(409, "last_admin"));
    let change = json!({"password": "battery staple"});
    let changed = browser.ask("PATCH", "/accounts/bob", &change).await;
    assert_eq!(changed.status, 204, "{}", changed.body);
    let mut viewer = Browser::at(server.address);
    assert_eq!(viewer.sign_in("bob", PASSWORD).await.status, 422);
    assert_eq!(viewer.sign_in("bob", "battery staple").await.status, 200);
    let removed = browser.ask("DELETE", "/accounts/bob", &Value::Null).await;
    assert_eq!(removed.status, 204);
    assert_eq!(viewer.ask("GET", "/apps", &Value::Null).await.status, 401);
    first["invitation"] = "".into();
    let again = browser.ask("POST", "/session/first", &first).await;
    assert_eq!(code(&again), refusal(422, "wrong_invitation"));
}

#[tokio::test]
async fn the_page_is_where_the_api_is() {
    let server = TestServer::start().await;
    for address in [server.address, server.metrics_address] {
        let browser = Browser::at(address);
        let stream = TcpStream::connect(address).await.unwrap();
        let mut connection = HttpClient::new(stream).await;
        let page = connection
            .send_with("GET", "/console/", &[("Host", &browser.host)], "")
            .await;
        assert_eq!(page.status, 200);
        assert!(page.body.starts_with("<!doctype html>"), "{}", page.body);
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    }

    let server = TestServer::with(|config| config.admin.on_client_port = false).await;
    assert_eq!(server.http("GET", "/console/", "").await.status, 404);
    assert_eq!(server.ops("/console/").await.status, 200);
    let server = TestServer::with(|config| config.admin.console = false).await;
    assert_eq!(server.http("GET", "/console/", "").await.status, 404);
    assert_eq!(server.ops("/console/").await.status, 404);
    assert_eq!(server.ops("/admin/v1/session").await.status, 404);
}
