//! Presence channels: who is there, and who hears of it.

use std::collections::{BTreeSet, HashSet};

use serde_json::{Value, json};

use super::support::{TestServer, soon};

const ROOM: &str = "presence-room";

/// 63 and 64.
#[tokio::test]
async fn the_first_member_finds_itself() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;

    let presence = client
        .join(ROOM, r#"{"user_id":"7","user_info":{"name":"me"}}"#)
        .await;

    assert_eq!(
        presence,
        json!({"count": 1, "ids": ["7"], "hash": {"7": {"name": "me"}}})
    );
}

/// 64.
#[tokio::test]
async fn a_member_without_info_is_null_in_the_hash_and_bare_in_the_news() {
    let server = TestServer::start().await;
    let mut first = server.connect().await;
    first.join(ROOM, r#"{"user_id":"7"}"#).await;
    let mut second = server.connect().await;

    let presence = second.join(ROOM, r#"{"user_id":"8"}"#).await;

    assert_eq!(presence["hash"], json!({"7": null, "8": null}));
    assert_eq!(presence["count"], 2);
    let added = first.next_data("pusher_internal:member_added", ROOM).await;
    assert_eq!(added, json!({"user_id": "8"}));
}

/// 65 and 66.
#[tokio::test]
async fn numeric_ids_become_strings_of_the_same_digits() {
    let server = TestServer::start().await;
    let mut first = server.connect().await;
    first.join(ROOM, r#"{"user_id":10}"#).await;
    let mut second = server.connect().await;

    let presence = second.join(ROOM, r#"{"user_id":9007199254740993}"#).await;

    let ids: BTreeSet<&str> = presence["ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap())
        .collect();
    assert_eq!(ids, BTreeSet::from(["10", "9007199254740993"]));
    assert_eq!(
        presence["hash"],
        json!({"10": null, "9007199254740993": null})
    );
    let added = first.next_data("pusher_internal:member_added", ROOM).await;
    assert_eq!(added, json!({"user_id": "9007199254740993"}));
    let users = server.get("/channels/presence-room/users", &[]).await;
    let ids: BTreeSet<&str> = users["users"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| user["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, BTreeSet::from(["10", "9007199254740993"]));
}

/// 57, 67 and 68.
#[tokio::test]
async fn channel_data_that_says_too_little_or_too_much_is_refused() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let long_id = format!(r#"{{"user_id":"{}"}}"#, "x".repeat(129));
    let long_info = format!(
        r#"{{"user_id":"1","user_info":{{"a":"{}"}}}}"#,
        "x".repeat(1_017)
    );
    for (channel_data, text) in [
        (
            "{}",
            "channel_data supplied to presence subscription must contain a user_id",
        ),
        (
            r#"{"user_id":""}"#,
            "channel_data supplied to presence subscription must contain a user_id",
        ),
        (
            r#"{"user_id":null}"#,
            "channel_data supplied to presence subscription must contain a user_id",
        ),
        (
            r#"{"user_id":{}}"#,
            "channel_data supplied to presence subscription must contain a user_id",
        ),
        (
            "7",
            "channel_data supplied to presence subscription is invalid - it must be a JSON object",
        ),
        (
            r#"{"user_id":"1","user_info":"x"}"#,
            "user_info supplied to presence subscription is invalid - if supplied it must be a type of hash",
        ),
        (
            &long_id,
            "user_id supplied to presence subscription is over the limit of 128 characters",
        ),
        (
            &long_info,
            "user_info supplied to presence subscription is over the limit of 1024 bytes",
        ),
    ] {
        client.ask_presence(ROOM, channel_data).await;

        assert_eq!(client.next_error_text().await, text);
        client.next_data("pusher:subscription_error", ROOM).await;
    }

    let auth = client.auth(ROOM, Some(r#"{"user_id":"1"}"#));
    client
        .send(&json!({
            "event": "pusher:subscribe",
            "data": {"channel": ROOM, "auth": auth, "channel_data": r#"{"user_id": "1"}"#}
        }))
        .await;
    assert!(
        client
            .next_error_text()
            .await
            .starts_with("Invalid signature")
    );
    client.next_data("pusher:subscription_error", ROOM).await;

    let auth = client.auth(ROOM, None);
    client
        .send(&json!({"event": "pusher:subscribe", "data": {"channel": ROOM, "auth": auth}}))
        .await;
    assert_eq!(
        client.next_error_text().await,
        "channel_data is required to subscribe to presence-room"
    );
    client.next_data("pusher:subscription_error", ROOM).await;

    let id = "x".repeat(128);
    let presence = client.join(ROOM, &format!(r#"{{"user_id":"{id}"}}"#)).await;
    assert_eq!(presence["ids"], json!([id]));
}

/// 69, 70 and 71.
#[tokio::test]
async fn news_are_of_users_and_not_of_connections() {
    let server = TestServer::start().await;
    let mut cook = server.connect().await;
    cook.join(ROOM, r#"{"user_id":"cook"}"#).await;
    let mut till = server.connect().await;
    till.join(ROOM, r#"{"user_id":"till","user_info":{"n":1}}"#)
        .await;
    assert_eq!(
        cook.next_data("pusher_internal:member_added", ROOM).await,
        json!({"user_id": "till", "user_info": {"n": 1}})
    );
    till.receives_nothing_before_pong().await;

    let mut tablet = server.connect().await;
    let presence = tablet
        .join(ROOM, r#"{"user_id":"till","user_info":{"n":2}}"#)
        .await;
    // The first connection's info stays until the user has left.
    assert_eq!(presence["count"], 2);
    assert_eq!(presence["hash"]["till"], json!({"n": 1}));
    cook.receives_nothing_before_pong().await;
    till.receives_nothing_before_pong().await;

    till.unsubscribe(ROOM).await;
    till.receives_nothing_before_pong().await;
    cook.receives_nothing_before_pong().await;
    tablet.unsubscribe(ROOM).await;
    assert_eq!(
        cook.next_data("pusher_internal:member_removed", ROOM).await,
        json!({"user_id": "till"})
    );
    cook.receives_nothing_before_pong().await;
}

/// 72.
#[tokio::test]
async fn a_member_leaves_by_word_by_closing_and_by_vanishing() {
    let server = TestServer::start().await;
    let mut cook = server.connect().await;
    cook.join(ROOM, r#"{"user_id":"cook"}"#).await;
    for way in ["unsubscribe", "close", "vanish"] {
        let mut guest = server.connect().await;
        guest.join(ROOM, &format!(r#"{{"user_id":"{way}"}}"#)).await;
        cook.next_data("pusher_internal:member_added", ROOM).await;

        match way {
            "unsubscribe" => guest.unsubscribe(ROOM).await,
            "close" => guest.send_frame(super::support::CLOSE, &[]).await,
            _ => {
                // What a lost connection looks like to a server: a reset.
                let socket = socket2::SockRef::from(&guest.stream);
                socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
                drop(guest);
            }
        }

        assert_eq!(
            cook.next_data("pusher_internal:member_removed", ROOM).await,
            json!({"user_id": way})
        );
    }
}

/// 73.
#[tokio::test]
async fn a_full_channel_takes_only_those_who_are_there_already() {
    let server = TestServer::with_app(|app| app.limits.presence_members = 3).await;
    let mut members = Vec::new();
    for number in 0..3 {
        let mut member = server.connect().await;
        member
            .join(ROOM, &format!(r#"{{"user_id":"{number}"}}"#))
            .await;
        members.push(member);
    }
    let mut late = server.connect().await;

    late.ask_presence(ROOM, r#"{"user_id":"late"}"#).await;

    assert_eq!(
        late.next_error_text().await,
        "Presence channel presence-room is over the limit of 3 members"
    );
    let data = late.next_data("pusher:subscription_error", ROOM).await;
    assert_eq!(
        (&data["type"], &data["status"]),
        (&json!("LimitReached"), &json!(403))
    );
    let presence = late.join(ROOM, r#"{"user_id":"1"}"#).await;
    assert_eq!(presence["count"], 3);
}

/// 73, with the default.
#[tokio::test]
async fn a_hundred_users_are_the_default() {
    let server = TestServer::start().await;
    let mut members = Vec::new();
    for number in 0..100 {
        let mut member = server.connect().await;
        member
            .join(ROOM, &format!(r#"{{"user_id":{number}}}"#))
            .await;
        members.push(member);
    }
    let mut late = server.connect().await;

    late.ask_presence(ROOM, r#"{"user_id":100}"#).await;

    assert_eq!(
        late.next_error_text().await,
        "Presence channel presence-room is over the limit of 100 members"
    );
}

/// 74 and 75.
#[tokio::test]
async fn a_signed_in_user_needs_no_channel_data() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    client
        .sign_in(r#"{"id":"u1","user_info":{"name":"Ann"}}"#)
        .await;
    let auth = client.auth(ROOM, None);

    client
        .send(&json!({"event": "pusher:subscribe", "data": {"channel": ROOM, "auth": auth}}))
        .await;

    let data = client
        .next_data("pusher_internal:subscription_succeeded", ROOM)
        .await;
    assert_eq!(data["presence"]["hash"], json!({"u1": {"name": "Ann"}}));
    let presence = client
        .join("presence-other", r#"{"user_id":"shown"}"#)
        .await;
    assert_eq!(presence["hash"], json!({"shown": null}));
}

/// 76 and 78.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_joins_and_leaves_are_seen_exactly_once() {
    let server = std::sync::Arc::new(TestServer::start().await);
    let joins = (0..50).map(|number| {
        let server = std::sync::Arc::clone(&server);
        tokio::spawn(async move {
            let mut client = server.connect().await;
            let presence = client
                .join(ROOM, &format!(r#"{{"user_id":"{number}"}}"#))
                .await;
            let mut seen: Vec<String> = presence["ids"]
                .as_array()
                .unwrap()
                .iter()
                .map(|id| id.as_str().unwrap().to_owned())
                .collect();
            while seen.len() < 50 {
                let added = client.next_data("pusher_internal:member_added", ROOM).await;
                seen.push(added["user_id"].as_str().unwrap().to_owned());
            }
            (client, seen)
        })
    });
    let joins: Vec<_> = joins.collect();
    let mut clients = Vec::new();
    for join in joins {
        let (client, seen) = soon("all members", join).await.unwrap();
        let distinct: HashSet<&String> = seen.iter().collect();
        assert_eq!((distinct.len(), seen.len()), (50, 50));
        clients.push(client);
    }

    let mut last = clients.pop().unwrap();
    last.receives_nothing_before_pong().await;
    drop(clients);

    let mut left = HashSet::new();
    for _ in 0..49 {
        let removed: Value = last.next_data("pusher_internal:member_removed", ROOM).await;
        assert!(left.insert(removed["user_id"].as_str().unwrap().to_owned()));
    }
    last.receives_nothing_before_pong().await;
}
