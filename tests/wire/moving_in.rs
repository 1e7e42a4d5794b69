//! What people bring along from other servers: a prefix, answers, figures; and
//! the server for their tests.

use std::time::Duration;

use serde_json::json;

use super::support::{ID, KEY, TestServer, soon, target};

#[tokio::test]
async fn everything_can_stand_behind_a_prefix() {
    let server = TestServer::with(|config| {
        config.server.path_prefix = "/realtime".to_owned();
    })
    .await;
    let mut client = server.connect_to(&format!("/realtime{}", target())).await;
    client.subscribe("news").await;

    // SDKs that know of the prefix sign it.
    let body = json!({"name": "e", "channel": "news", "data": "1"}).to_string();
    let path = format!("/realtime/apps/{ID}/events");
    let answer = server.api("POST", &path, &[], &body).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
    assert_eq!(client.next().await["data"], "1");
    // Others sign what the proxy puts it in front of.
    let path = format!("/apps/{ID}/channels");
    let query = fanfare_protocol::request::sign_request(
        "GET",
        &path,
        &[],
        b"",
        &fanfare_protocol::AppKey::new(KEY),
        &fanfare_protocol::AppSecret::new(super::support::SECRET),
        super::support::now(),
    );
    let answer = server
        .http("GET", &format!("/realtime{path}?{query}"), "")
        .await;
    assert_eq!(answer.json(), json!({"channels": {"news": {}}}));
    let poll = format!("/realtime/pusher/app/{KEY}/1/session0/xhr?protocol=7");
    assert_eq!(server.http("POST", &poll, "").await.body, "o\n");
}

#[tokio::test]
async fn without_the_prefix_only_probes_are_answered() {
    let server = TestServer::with(|config| {
        config.server.path_prefix = "/realtime".to_owned();
    })
    .await;
    for path in ["/", "/ready", "/realtime", "/realtime/", "/realtime/ready"] {
        assert_eq!(server.http("GET", path, "").await.status, 200, "{path}");
    }
    for path in [
        &format!("/apps/{ID}/channels"),
        "/realtimes/ready",
        "/realtime//ready",
        "/elsewhere",
    ] {
        assert_eq!(server.http("GET", path, "").await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn an_app_can_answer_as_soketi_does() {
    let server = TestServer::with_app(|app| app.soketi_answers = true).await;
    let event = json!({"name": "e", "channel": "news", "data": "1"});

    let answer = server.post_event(&event).await;
    let channels = server.get("/channels", &[]).await;

    assert_eq!(answer.body, r#"{"ok":true}"#);
    assert_eq!(channels, json!({"ok": true, "channels": {}}));
}

#[tokio::test]
async fn figures_have_the_names_of_soketi_when_that_is_wanted() {
    let server = TestServer::with(|config| config.server.soketi_metrics = true).await;
    let _client = server.subscriber("news").await;
    let port = server.address.port();

    let metrics = server.ops("/metrics").await.body;

    for line in [
        format!("soketi_connected{{app_id=\"{ID}\",port=\"{port}\"}} 1\n"),
        format!("soketi_new_connections_total{{app_id=\"{ID}\",port=\"{port}\"}} 1\n"),
        format!("fanfare_connections{{app_id=\"{ID}\"}} 1\n"),
    ] {
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    let plain = TestServer::start().await;
    assert!(!plain.ops("/metrics").await.body.contains("soketi_"));
}

#[tokio::test]
async fn the_log_for_tests_can_be_read_and_awaited() {
    let server = TestServer::for_tests().await;
    let mut client = server.connect().await;
    let events = async |query: &str| {
        let answer = server
            .http("GET", &format!("/test/events?{query}"), "")
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    };
    assert_eq!(events("").await, json!({"events": [], "last": 0}));

    client.subscribe_private("private-orders").await;
    let subscribed = events("kind=subscribed&wait=20").await;
    assert_eq!(subscribed["events"][0]["channel"], "private-orders");
    assert_eq!(subscribed["events"][0]["socket_id"], client.socket_id());

    let (awaited, ()) = tokio::join!(
        events("channel=private-orders&name=order&wait=20"),
        server.trigger("private-orders", "order", "{\"id\":7}")
    );
    assert_eq!(awaited["events"].as_array().unwrap().len(), 1);
    assert_eq!(awaited["events"][0]["data"], "{\"id\":7}");
    assert_eq!(awaited["events"][0]["kind"], "event");
    client
        .send(&json!({"event": "client-bump", "channel": "private-orders", "data": {"id": 8}}))
        .await;
    let last = awaited["last"].as_u64().unwrap();
    let next = events(&format!("after={last}&kind=client_event&wait=20")).await;
    assert_eq!(next["events"][0]["name"], "client-bump");
    assert_eq!(next["events"][0]["data"], "{\"id\":8}");

    // A wait that nothing fulfils ends with what there is.
    let nothing = events("channel=elsewhere&wait=1").await;
    assert_eq!(nothing["events"], json!([]));
    assert_eq!(server.http("DELETE", "/test/events", "").await.status, 200);
    assert_eq!(events("").await["events"], json!([]));
    for (method, path, status) in [
        ("GET", "/test/events?wait=soon", 400),
        ("GET", "/test/events?chanel=x", 400),
        ("POST", "/test/events", 405),
        ("GET", "/test/other", 404),
    ] {
        assert_eq!(server.http(method, path, "").await.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_for_tests_keeps_no_log() {
    let server = TestServer::start().await;
    let answer = soon(
        "an answer",
        tokio::time::timeout(
            Duration::from_secs(10),
            server.http("GET", "/test/events", ""),
        ),
    );
    assert_eq!(answer.await.unwrap().status, 404);
}
