//! What the HTTP API does.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Answer, HttpClient, ID, KEY, SECRET, TestServer, now, soon};

async fn post_batch(server: &TestServer, batch: &Value) -> Answer {
    let path = format!("/apps/{ID}/batch_events");
    server.api("POST", &path, &[], &batch.to_string()).await
}

fn event(name: &str) -> Value {
    json!({"name": name, "channel": "news", "data": "1"})
}

/// 144.
#[tokio::test]
async fn an_event_is_answered_with_an_empty_object() {
    let server = TestServer::start().await;

    let answer = server.post_event(&event("e")).await;

    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
    assert_eq!(answer.headers["content-type"], "application/json");
}

/// 145.
#[tokio::test]
async fn a_channel_may_be_a_string_or_in_a_list_and_counts_once() {
    let server = TestServer::start().await;
    let mut client = server.subscriber("news").await;
    for body in [
        json!({"name": "e", "data": "1", "channel": "news"}),
        json!({"name": "e", "data": "1", "channels": ["news"]}),
        json!({"name": "e", "data": "1", "channels": ["news", "other", "news"]}),
        json!({"name": "e", "data": "1", "channels": ["news"], "channel": "news"}),
    ] {
        assert_eq!(server.post_event(&body).await.status, 200);

        assert_eq!(client.next().await["event"], "e");
        client.receives_nothing_before_pong().await;
    }
}

/// 146.
#[tokio::test]
async fn an_event_goes_to_one_to_a_hundred_channels() {
    let server = TestServer::start().await;
    let mut last = server.subscriber("c99").await;
    for (count, status) in [(0, 400), (1, 200), (100, 200), (101, 400)] {
        let channels: Vec<String> = (0..count).map(|number| format!("c{number}")).collect();

        let answer = server
            .post_event(&json!({"name": "e", "data": "1", "channels": channels}))
            .await;

        assert_eq!(answer.status, status, "{count}: {}", answer.body);
    }
    assert_eq!(last.next().await["event"], "e");
    last.receives_nothing_before_pong().await;
}

/// 147 and 153.
#[tokio::test]
async fn data_has_a_limit_in_bytes_and_arrives_as_it_was() {
    let server = TestServer::start().await;
    let mut client = server.subscriber("news").await;
    let longest = "\u{e9}".repeat(5_120);
    for data in [
        "",
        "1",
        r#"{"q":"\"quoted\"","s":"a\/b"}"#,
        "caf\u{e9} \u{1f354} \u{2028}\u{0} \\ \t",
        "{\"a\": 1.0e3}",
        &longest,
    ] {
        server.trigger("news", "e", data).await;

        assert_eq!(client.next().await["data"], data);
    }

    let answer = server
        .post_event(&json!({"name": "e", "channel": "news", "data": format!("{longest}x")}))
        .await;

    assert_eq!(answer.status, 413);
    assert!(
        answer.body.starts_with(
            "The data content of this event exceeds the allowed maximum (10240 bytes)."
        ),
        "{}",
        answer.body
    );
}

/// 148, 149 and "Bad input" of the issue.
#[tokio::test]
async fn bodies_that_are_wrong_are_answered_with_what_is_expected() {
    let server = TestServer::start().await;
    let mut witness = server.subscriber("witness").await;
    let name = "Expected name parameter to be a string\n";
    let data = "Expected data parameter to be a string\n";
    let channels =
        "Expected channels parameter to be an array of strings, or channel to be a string\n";
    let object = "Expected the body to be a JSON object\n";
    let nested = "[".repeat(100_000);
    for (body, text) in [
        ("", name),
        ("x", object),
        ("[]", object),
        ("null", object),
        (&nested, object),
        ("{}", name),
        (r#"{"name":7,"channel":"news","data":"1"}"#, name),
        (r#"{"name":null,"channel":"news","data":"1"}"#, name),
        (r#"{"name":"e","channel":"news"}"#, data),
        (r#"{"name":"e","channel":"news","data":{}}"#, data),
        (r#"{"name":"e","channel":"news","data":7}"#, data),
        (r#"{"name":"e","data":"1","channels":"news"}"#, channels),
        (r#"{"name":"e","data":"1","channels":{}}"#, channels),
        (r#"{"name":"e","data":"1","channels":[7]}"#, channels),
        (r#"{"name":"e","data":"1","channel":[]}"#, channels),
        (
            r#"{"name":"e","data":"1"}"#,
            "Missing parameter: channels\n",
        ),
        (
            r#"{"name":"e","data":"1","channel":"a b"}"#,
            "Invalid channel name 'a b'\n",
        ),
        (
            r##"{"name":"e","data":"1","channel":"#x"}"##,
            "Invalid channel name '#x'\n",
        ),
        (
            r#"{"name":"pusher:x","data":"1","channel":"news"}"#,
            "Invalid event name 'pusher:x': names starting with pusher: or pusher_internal: are reserved\n",
        ),
        (
            r#"{"name":"pusher_internal:x","data":"1","channel":"news"}"#,
            "Invalid event name 'pusher_internal:x': names starting with pusher: or pusher_internal: are reserved\n",
        ),
        (
            r#"{"name":"","data":"1","channel":"news"}"#,
            "Invalid event name: it must have 1 to 200 characters\n",
        ),
        (
            r#"{"name":"e","data":"1","channel":"news","socket_id":7}"#,
            "Expected socket_id parameter to be a string\n",
        ),
        (
            r#"{"name":"e","data":"1","channel":"news","info":"colour"}"#,
            "Unknown info attribute 'colour': expected user_count, subscription_count or cache\n",
        ),
    ] {
        let path = format!("/apps/{ID}/events");

        let answer = server.api("POST", &path, &[], body).await;

        assert_eq!(
            (answer.status, answer.body.as_str()),
            (400, text),
            "{body:.100}"
        );
        server.still_serves(&mut witness, "witness").await;
    }
}

/// 149.
#[tokio::test]
async fn event_names_are_free_up_to_their_length() {
    let server = TestServer::start().await;
    let mut client = server.subscriber("news").await;
    let longest = "\u{e9}".repeat(200);
    for name in [
        "App\\Events\\OrderShipped",
        "order:new",
        "\u{437}\u{430}\u{43a}\u{430}\u{437}",
        &longest,
        "client-x",
        "pusher",
    ] {
        server.trigger("news", name, "1").await;

        assert_eq!(client.next().await["event"], name);
    }

    let answer = server.post_event(&event(&"x".repeat(201))).await;

    assert_eq!(answer.status, 400);
}

/// 150, 151 and 152.
#[tokio::test]
async fn the_connection_that_is_named_is_left_out_on_all_channels() {
    let server = TestServer::start().await;
    let mut sender = server.subscriber("one").await;
    sender.subscribe("two").await;
    let mut other = server.subscriber("two").await;

    let answer = server
        .post_event(&json!({"name": "e", "data": "1", "channels": ["one", "two"], "socket_id": sender.socket_id()}))
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(other.next().await["event"], "e");
    sender.receives_nothing_before_pong().await;

    for socket_id in [json!("123123"), json!("1.1"), json!(""), json!(null)] {
        let body = json!({"name": "e", "data": "1", "channel": "two", "socket_id": socket_id, "info": null});
        let answer = server.post_event(&body).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "{}"),
            "{socket_id}"
        );
        assert_eq!(sender.next().await["event"], "e");
        assert_eq!(other.next().await["event"], "e");
    }
}

/// Section 17.2: parameters may stand in the query, and the body wins.
#[tokio::test]
async fn parameters_of_an_event_may_stand_in_the_query() {
    let server = TestServer::start().await;
    let mut client = server.subscriber("news").await;
    let path = format!("/apps/{ID}/events");

    let body = r#"{"channel":"news","data":"1"}"#;
    server
        .api("POST", &path, &[("name", "of-query")], body)
        .await;
    let body = r#"{"channel":"news","data":"1","name":"of-body"}"#;
    server
        .api("POST", &path, &[("name", "of-query")], body)
        .await;

    assert_eq!(client.next().await["event"], "of-query");
    assert_eq!(client.next().await["event"], "of-body");

    let all = [
        ("name", "e"),
        ("data", "2"),
        ("channels[]", "news"),
        ("channel", "news"),
    ];
    let answer = server.api("POST", &path, &all, "").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
    assert_eq!(
        client.next().await,
        json!({"event": "e", "data": "2", "channel": "news"})
    );
    let elsewhere = r#"{"channel":"other"}"#;
    assert_eq!(server.api("POST", &path, &all, elsewhere).await.status, 200);
    client.receives_nothing_before_pong().await;
}

/// 95.
#[tokio::test]
async fn an_encrypted_channel_must_be_alone() {
    let server = TestServer::start().await;
    let mut client = server.subscriber("news").await;

    let answer = server
        .post_event(&json!({"name": "e", "data": "1", "channels": ["news", "private-encrypted-x"]}))
        .await;

    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.body,
        "An event for an encrypted channel must go to that channel alone\n"
    );
    client.receives_nothing_before_pong().await;
}

/// 154.
#[tokio::test]
async fn an_answer_tells_of_the_channels_what_applies_to_them() {
    let server = TestServer::with_app(|app| app.subscription_count = true).await;
    let mut one = server.connect().await;
    one.join("presence-x", r#"{"user_id":"1"}"#).await;
    let mut same = server.connect().await;
    same.join("presence-x", r#"{"user_id":"1"}"#).await;

    let answer = server
        .post_event(&json!({
            "name": "e", "data": "1", "channels": ["presence-x", "empty"],
            "info": "user_count,subscription_count"
        }))
        .await;

    assert_eq!(
        answer.json(),
        json!({"channels": {
            "presence-x": {"user_count": 1, "subscription_count": 2},
            "empty": {"subscription_count": 0}
        }})
    );
}

/// 96, 155 and 156.
#[tokio::test]
async fn a_batch_is_sent_whole_and_in_order_or_not_at_all() {
    let server = TestServer::with_app(|app| app.subscription_count = true).await;
    let mut client = server.subscriber("news").await;
    client.next().await;
    let ten: Vec<Value> = (0..10).map(|number| event(&format!("e{number}"))).collect();

    let answer = post_batch(&server, &json!({"batch": ten})).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
    for number in 0..10 {
        assert_eq!(client.next().await["event"], format!("e{number}"));
    }

    let eleven: Vec<Value> = (0..11).map(|_| event("e")).collect();
    let length = "Expected batch parameter to be an array of 1 to 10 events\n";
    for (batch, status, text) in [
        (json!({"batch": eleven}), 400, length),
        (json!({}), 400, length),
        (json!({"batch": {}}), 400, length),
        (json!({"batch": []}), 400, length),
        (json!([]), 400, "Expected the body to be a JSON object\n"),
        (
            json!({"batch": [event("e"), {"name": "x", "data": "1"}]}),
            400,
            "Event 1 of the batch: Missing parameter: channels\n",
        ),
        (
            json!({"batch": [event("e"), 7]}),
            400,
            "Event 1 of the batch: Expected the body to be a JSON object\n",
        ),
    ] {
        let answer = post_batch(&server, &batch).await;

        assert_eq!(
            (answer.status, answer.body.as_str()),
            (status, text),
            "{batch}"
        );
    }
    let large = json!({"name": "x", "channel": "news", "data": "x".repeat(10_241)});
    let answer = post_batch(&server, &json!({"batch": [event("e"), large]})).await;
    assert_eq!(answer.status, 413);
    client.receives_nothing_before_pong().await;

    let answer = post_batch(
        &server,
        &json!({"batch": [
            {"name": "e", "channel": "news", "data": "1", "info": "subscription_count"},
            {"name": "e", "channel": "private-encrypted-x", "data": "1"},
        ]}),
    )
    .await;
    assert_eq!(
        answer.json(),
        json!({"batch": [{"subscription_count": 1}, {}]})
    );
    assert_eq!(client.next().await["event"], "e");
}

/// 157, 158 and 159.
#[tokio::test]
async fn occupied_channels_are_listed() {
    let server = TestServer::with_app(|app| app.subscription_count = true).await;
    assert_eq!(server.get("/channels", &[]).await, json!({"channels": {}}));
    let mut one = server.subscriber("news").await;
    one.next().await;
    one.join("presence-x", r#"{"user_id":"1"}"#).await;
    let mut two = server.connect().await;
    two.join("presence-x", r#"{"user_id":"1"}"#).await;

    assert_eq!(
        server.get("/channels", &[]).await,
        json!({"channels": {"news": {}, "presence-x": {}}})
    );
    let parameters = [
        ("filter_by_prefix", "presence-"),
        ("info", "user_count,subscription_count"),
    ];
    assert_eq!(
        server.get("/channels", &parameters).await,
        json!({"channels": {"presence-x": {"user_count": 1, "subscription_count": 2}}})
    );
    assert_eq!(
        server
            .get("/channels", &[("info", "subscription_count")])
            .await,
        json!({"channels": {"news": {"subscription_count": 1}, "presence-x": {"subscription_count": 2}}})
    );
    let path = format!("/apps/{ID}/channels");
    let answer = server
        .api("GET", &path, &[("info", "user_count")], "")
        .await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.body,
        "user_count may only be requested for presence channels - please supply filter_by_prefix begining with presence-\n"
    );
    drop((one, two));
    soon("the channels to be vacated", async {
        while server.get("/channels", &[]).await != json!({"channels": {}}) {}
    })
    .await;
}

/// 160 and 161.
#[tokio::test]
async fn one_channel_is_described_as_asked() {
    let server = TestServer::with_app(|app| app.subscription_count = true).await;
    let mut client = server.connect().await;
    client.join("presence-x", r#"{"user_id":"1"}"#).await;

    assert_eq!(
        server.get("/channels/presence-x", &[]).await,
        json!({"occupied": true})
    );
    let all = [("info", "user_count,subscription_count")];
    assert_eq!(
        server.get("/channels/presence-x", &all).await,
        json!({"occupied": true, "user_count": 1, "subscription_count": 1})
    );
    assert_eq!(
        server.get("/channels/presence-%79", &all).await,
        json!({"occupied": false, "user_count": 0, "subscription_count": 0})
    );
    for (channel, info, text) in [
        (
            "news",
            "user_count",
            "Cannot retrieve the user count unless the channel is a presence channel\n",
        ),
        (
            "news",
            "cache",
            "Cannot retrieve the cache unless the channel is a cache channel\n",
        ),
        (
            "news",
            "colour",
            "Unknown info attribute 'colour': expected user_count, subscription_count or cache\n",
        ),
        ("a%20b", "", "Invalid channel name 'a b'\n"),
    ] {
        let path = format!("/apps/{ID}/channels/{channel}");
        let answer = server.api("GET", &path, &[("info", info)], "").await;
        assert_eq!((answer.status, answer.body.as_str()), (400, text));
    }
    let server = TestServer::start().await;
    let path = format!("/apps/{ID}/channels/news");
    let answer = server
        .api("GET", &path, &[("info", "subscription_count")], "")
        .await;
    assert_eq!(answer.status, 400);
}

/// 163.
#[tokio::test]
async fn users_of_a_presence_channel_are_listed_once() {
    let server = TestServer::start().await;
    let mut one = server.connect().await;
    one.join("presence-x", r#"{"user_id":7,"user_info":{"a":1}}"#)
        .await;
    let mut two = server.connect().await;
    two.join("presence-x", r#"{"user_id":7}"#).await;

    assert_eq!(
        server
            .get("/channels/presence-x/users", &[("info", "ignored")])
            .await,
        json!({"users": [{"id": "7"}]})
    );
    assert_eq!(
        server.get("/channels/presence-y/users", &[]).await,
        json!({"users": []})
    );
    let path = format!("/apps/{ID}/channels/news/users");
    let answer = server.api("GET", &path, &[], "").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (400, "Users can only be retrieved for presence channels\n")
    );
}

/// 164.
#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let server = TestServer::start().await;
    for (method, path, status, text) in [
        ("GET", "/apps/nobody/channels", 404, "Unknown app\n"),
        ("GET", "/apps/app-id", 404, "Path not found\n"),
        ("GET", "/apps/app-id/colours", 404, "Path not found\n"),
        (
            "GET",
            "/apps/app-id/events",
            405,
            "Method not allowed: expected POST\n",
        ),
        (
            "POST",
            "/apps/app-id/channels",
            405,
            "Method not allowed: expected GET\n",
        ),
        (
            "DELETE",
            "/apps/app-id/users/1/terminate_connections",
            405,
            "Method not allowed: expected POST\n",
        ),
    ] {
        let answer = server.api(method, path, &[], "").await;

        assert_eq!(
            (answer.status, answer.body.as_str()),
            (status, text),
            "{method} {path}"
        );
        assert_eq!(answer.headers.contains_key("allow"), status == 405);
    }
}

/// 165.
#[tokio::test]
async fn a_disabled_app_may_not_publish() {
    let server = TestServer::with_app(|app| app.enabled = false).await;

    let answer = server.post_event(&event("e")).await;

    assert_eq!(
        (answer.status, answer.body.as_str()),
        (403, "Application disabled\n")
    );
}

/// 166.
#[tokio::test]
async fn a_connection_serves_many_requests() {
    let server = TestServer::start().await;
    let mut client = server.subscriber("news").await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let mut connection = HttpClient::new(stream).await;
    for number in 0..100 {
        let path = format!("/apps/{ID}/events");
        let body = event(&format!("e{number}")).to_string();
        let (key, secret) = (
            fanfare_protocol::AppKey::new(KEY),
            fanfare_protocol::AppSecret::new(SECRET),
        );
        let query = fanfare_protocol::request::sign_request(
            "POST",
            &path,
            &[],
            body.as_bytes(),
            &key,
            &secret,
            now(),
        );

        let answer = connection
            .send("POST", &format!("{path}?{query}"), &body)
            .await;

        assert_eq!(answer.status, 200);
        assert_eq!(client.next().await["event"], format!("e{number}"));
    }
}

/// Section 17.2, body limits.
#[tokio::test]
async fn bodies_that_are_too_large_are_refused_without_being_read() {
    let server = TestServer::start().await;
    for (path, length, limit) in [
        ("/apps/app-id/events", 262_145, "262144"),
        ("/apps/app-id/batch_events", 1_048_577, "1048576"),
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();

        let mut answer = vec![0; 4_096];
        let read = soon("the answer", stream.read(&mut answer)).await.unwrap();

        let answer = String::from_utf8(answer[..read].to_vec()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains(&format!("({limit} bytes)")), "{answer}");
    }
    // Only somebody who has signed gets as far as to be told that it is too much.
    let path = "/apps/app-id/events";
    let (key, secret) = (
        fanfare_protocol::AppKey::new(KEY),
        fanfare_protocol::AppSecret::new(SECRET),
    );
    let query =
        fanfare_protocol::request::sign_request("POST", path, &[], b"x", &key, &secret, now());
    let chunked =
        format!("POST {path}?{query} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(chunked.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for _ in 0..5 {
        // The server may hang up before all of it is sent.
        let _ = stream.write_all(chunk.as_bytes()).await;
    }
    let mut answer = vec![0; 4_096];
    let read = soon("the answer", stream.read(&mut answer)).await.unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 413 "));
}

/// Who has not signed is heard out, so that the answer is read, but not kept.
#[tokio::test]
async fn a_large_body_of_a_stranger_is_answered_with_what_is_wrong() {
    let server = TestServer::start().await;
    let body = "x".repeat(262_144);

    let answer = server.http("POST", "/apps/app-id/events", &body).await;

    assert_eq!(
        (answer.status, answer.body.as_str()),
        (401, "Missing parameter: auth_key\n")
    );
}
