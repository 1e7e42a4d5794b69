//! Users: signing in, being written to, being watched, being closed.

use std::time::Duration;

use fanfare_protocol::{AppSecret, auth};
use serde_json::{Value, json};

use super::support::{Client, ID, KEY, SECRET, TestServer};

/// The message about watched users that comes next.
async fn watched(client: &mut Client) -> Value {
    let message = client.next().await;
    assert_eq!(
        message["event"], "pusher_internal:watchlist_events",
        "{message}"
    );
    assert_eq!(message.get("channel"), None);
    let data: Value = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
    data["events"].clone()
}

/// 112 and 113: the data is signed and returned as it stands.
#[tokio::test]
async fn signing_in_returns_the_data_as_it_was_sent() {
    let server = TestServer::start().await;
    for user_data in [
        r#"{"id":"u1"}"#,
        r#"{"id": "u1", "user_info": {"name": "J\u00fcrgen"}}"#,
        "{\"id\":\"u1\",\"user_info\":{\"name\":\"J\u{fc}rgen\"}}",
    ] {
        let mut client = server.connect().await;

        client.sign_in(user_data).await;
    }
}

/// 114 to 116.
#[tokio::test]
async fn what_is_no_user_is_not_signed_in() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let id = "user_data supplied to sign-in must contain an id: a non-empty string of letters, digits and _-=@,.;";
    for (user_data, text) in [
        (r#"{"id":7}"#, id),
        (r#"{"id":""}"#, id),
        (r#"{"id":"a b"}"#, id),
        ("{}", id),
        (
            "[]",
            "user_data supplied to sign-in is invalid - it must be a JSON object",
        ),
        (
            "x",
            "user_data supplied to sign-in is invalid - it must be a JSON object",
        ),
    ] {
        client.ask_sign_in(user_data).await;

        assert_eq!(client.next_error_text().await, text, "{user_data}");
    }
    let socket_id = client.socket_id().to_owned();
    for (auth, text) in [
        (
            json!("nonsense"),
            "Invalid format: auth must have the format key:signature".to_owned(),
        ),
        (
            json!(null),
            "Invalid format: auth must have the format key:signature".to_owned(),
        ),
        (
            json!("other:00"),
            "Invalid key in subscription auth data: 'other'".to_owned(),
        ),
        (
            json!(format!("{KEY}:00")),
            format!(
                "Invalid signature: Expected HMAC SHA256 hex digest of {socket_id}::user::{{\"id\":\"u1\"}}, but got 00"
            ),
        ),
    ] {
        client
            .send(&json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": "{\"id\":\"u1\"}"}}))
            .await;

        assert_eq!(client.next_error_text().await, text);
    }
    client
        .send(&json!({"event": "pusher:signin", "data": {"auth": format!("{KEY}:00")}}))
        .await;
    assert_eq!(
        client.next_error_text().await,
        "Missing parameter: data.user_data"
    );
    client.sign_in(r#"{"id":"u1"}"#).await;
}

/// 117.
#[tokio::test]
async fn a_connection_is_one_user_for_life() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    client.sign_in(r#"{"id":"u1"}"#).await;

    client.ask_sign_in(r#"{"id":"u2"}"#).await;

    assert_eq!(
        client.next_error_text().await,
        "Connection is already signed in as another user"
    );
    client.sign_in(r#"{"id":"u1","user_info":{}}"#).await;
}

/// 118 to 121.
#[tokio::test]
async fn events_to_a_user_reach_all_its_connections_and_nobody_else() {
    let server = TestServer::start().await;
    let mut phone = server.connect().await;
    let mut laptop = server.connect().await;
    let mut other = server.connect().await;
    phone.sign_in(r#"{"id":"u1"}"#).await;
    laptop.sign_in(r#"{"id":"u1"}"#).await;
    other.sign_in(r#"{"id":"u2"}"#).await;
    phone.subscribe("#server-to-user-u1").await;
    laptop.subscribe("#server-to-user-u1").await;

    other
        .send(&json!({"event": "pusher:subscribe", "data": {"channel": "#server-to-user-u1", "auth": ""}}))
        .await;
    assert_eq!(
        other.next_error_text().await,
        "Not signed in as the user of channel #server-to-user-u1"
    );
    other
        .next_data("pusher:subscription_error", "#server-to-user-u1")
        .await;

    server.trigger("#server-to-user-u1", "hello", "1").await;
    for client in [&mut phone, &mut laptop] {
        assert_eq!(
            client.next().await,
            json!({"event": "hello", "data": "1", "channel": "#server-to-user-u1"})
        );
    }
    other.receives_nothing_before_pong().await;

    drop(laptop);
    server.trigger("#server-to-user-u1", "again", "2").await;
    assert_eq!(phone.next().await["event"], "again");
    let listed = server.get("/channels", &[]).await;
    assert_eq!(listed, json!({"channels": {}}));
}

/// 122 and 123.
#[tokio::test]
async fn watchers_hear_of_the_first_and_the_last_connection() {
    let server = TestServer::start().await;
    let mut online = server.connect().await;
    online.sign_in(r#"{"id":"u2"}"#).await;
    let mut watcher = server.connect().await;

    watcher
        .sign_in(r#"{"id":"u1","watchlist":["u2","u3",7]}"#)
        .await;

    assert_eq!(
        watched(&mut watcher).await,
        json!([{"name": "online", "user_ids": ["u2"]}, {"name": "offline", "user_ids": ["u3"]}])
    );
    let mut first = server.connect().await;
    first.sign_in(r#"{"id":"u3"}"#).await;
    assert_eq!(
        watched(&mut watcher).await,
        json!([{"name": "online", "user_ids": ["u3"]}])
    );
    let mut second = server.connect().await;
    second.sign_in(r#"{"id":"u3"}"#).await;
    drop(first);
    watcher.receives_nothing_before_pong().await;
    drop(second);
    assert_eq!(
        watched(&mut watcher).await,
        json!([{"name": "offline", "user_ids": ["u3"]}])
    );
}

/// 124.
#[tokio::test]
async fn a_watchlist_has_a_limit() {
    let server = TestServer::start().await;
    let mut watcher = server.connect().await;
    let ids: Vec<String> = (0..101).map(|number| format!("w{number}")).collect();

    watcher
        .sign_in(&json!({"id": "u1", "watchlist": ids}).to_string())
        .await;

    let (code, text) = watcher.next_error().await;
    assert_eq!(code, json!(4302));
    assert_eq!(
        text,
        "Watchlist limit exceeded. Only the first 100 user IDs are accepted."
    );
    let events = watched(&mut watcher).await;
    assert_eq!(events[0]["user_ids"].as_array().unwrap().len(), 100);
    let mut unwatched = server.connect().await;
    unwatched.sign_in(r#"{"id":"w100"}"#).await;
    watcher.receives_nothing_before_pong().await;
    let mut last = server.connect().await;
    last.sign_in(r#"{"id":"w99"}"#).await;
    assert_eq!(
        watched(&mut watcher).await,
        json!([{"name": "online", "user_ids": ["w99"]}])
    );
}

/// 125.
#[tokio::test]
async fn without_the_switch_nobody_is_watched() {
    let server = TestServer::with_app(|app| app.watchlist = false).await;
    let mut watcher = server.connect().await;

    watcher.sign_in(r#"{"id":"u1","watchlist":["u2"]}"#).await;

    watcher.receives_nothing_before_pong().await;
}

/// 126 to 128 and 141.
#[tokio::test]
async fn a_user_can_be_sent_away() {
    let server = TestServer::start().await;
    for path in [
        format!("/apps/{ID}/users/u1/terminate_connections"),
        // As the Python SDK calls it.
        "/users/u1/terminate_connections".to_owned(),
    ] {
        let mut phone = server.connect().await;
        let mut laptop = server.connect().await;
        let mut guest = server.connect().await;
        phone.sign_in(r#"{"id":"u1"}"#).await;
        laptop.sign_in(r#"{"id":"u1"}"#).await;
        guest.join("presence-x", r#"{"user_id":"u1"}"#).await;

        let answer = server.api("POST", &path, &[], "{}").await;

        assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
        for client in [&mut phone, &mut laptop] {
            assert_eq!(
                client.closed().await,
                (4009, "Connection terminated by the application".to_owned())
            );
        }
        guest.receives_nothing_before_pong().await;
        let again = server.api("POST", &path, &[], "").await;
        assert_eq!((again.status, again.body.as_str()), (200, "{}"));
    }
}

/// 129.
#[tokio::test]
async fn where_the_app_asks_for_it_a_connection_must_prove_itself() {
    let server = TestServer::with(|config| {
        config.connection.authorization_timeout = Duration::from_millis(300);
        config.apps[0].authorized_connections = true;
    })
    .await;
    let mut user = server.connect().await;
    user.sign_in(r#"{"id":"u1"}"#).await;
    let mut member = server.connect().await;
    member.subscribe_private("private-x").await;
    let mut idle = server.subscriber("news").await;

    assert_eq!(
        idle.closed().await,
        (4009, "Connection not authorized within timeout".to_owned())
    );
    user.receives_nothing_before_pong().await;
    member.receives_nothing_before_pong().await;
}

/// 129: those who have not proved it do not count.
#[tokio::test]
async fn only_authorised_connections_count_towards_the_quota() {
    let server = TestServer::with_app(|app| {
        app.authorized_connections = true;
        app.limits.connections = Some(1);
    })
    .await;
    let _idle = [server.connect().await, server.connect().await];
    let mut first = server.connect().await;
    first.subscribe_private("private-x").await;
    let mut second = server.connect().await;
    let socket_id = second.socket_id().parse().unwrap();
    let signature = auth::sign_channel(&AppSecret::new(SECRET), socket_id, "private-x", None);

    second
        .send(&json!({"event": "pusher:subscribe", "data": {"channel": "private-x", "auth": format!("{KEY}:{signature}")}}))
        .await;

    assert_eq!(
        second.next().await["event"],
        "pusher_internal:subscription_succeeded"
    );
    assert_eq!(second.closed().await, (4100, "Over capacity".to_owned()));
}
