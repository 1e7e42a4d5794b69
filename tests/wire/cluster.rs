//! Two nodes with a real Redis between them.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::redis::Redis;
use super::support::{Client, ID, TestServer, eventually};

const ROOM: &str = "presence-room";

async fn node(redis: &Redis) -> TestServer {
    let server = TestServer::with(|config| {
        config.engine.url = Some(redis.url().as_str().into());
        config.engine.node_timeout = Duration::from_secs(3);
    })
    .await;
    server.ready().await;
    server
}

async fn nodes(redis: &Redis) -> (TestServer, TestServer) {
    (node(redis).await, node(redis).await)
}

#[tokio::test]
async fn events_reach_the_other_node_in_order_and_once() {
    let redis = Redis::start().await;
    let (one, two) = nodes(&redis).await;
    let mut here = one.subscriber("news").await;
    let mut there = two.subscriber("news").await;

    for number in 0..50 {
        one.trigger("news", "tick", &number.to_string()).await;
    }
    for number in 0..50 {
        let expected = json!({"event": "tick", "data": number.to_string(), "channel": "news"});
        assert_eq!(there.next().await, expected);
        assert_eq!(here.next().await, expected);
    }
    // There is one order for each publisher, not one for both.
    two.trigger("news", "back", "x").await;
    let back = json!({"event": "back", "data": "x", "channel": "news"});
    assert_eq!(here.next().await, back);
    assert_eq!(there.next().await, back);
    for server in [&one, &two] {
        server
            .until("/channels/news", json!({"occupied": true}))
            .await;
    }
    drop((here, there));
    for server in [&one, &two] {
        server
            .until("/channels/news", json!({"occupied": false}))
            .await;
    }
}

#[tokio::test]
async fn a_socket_is_left_out_on_another_node() {
    let redis = Redis::start().await;
    let (one, two) = nodes(&redis).await;
    let mut there = two.subscriber("news").await;
    let socket_id = there.socket_id().to_owned();

    let left_out = json!({"name": "a", "channel": "news", "data": "1", "socket_id": socket_id});
    assert_eq!(one.post_event(&left_out).await.status, 200);
    one.trigger("news", "b", "2").await;

    assert_eq!(there.next().await["event"], "b");
}

#[tokio::test]
async fn members_are_those_of_both_nodes() {
    let redis = Redis::start().await;
    let (one, two) = nodes(&redis).await;
    let mut here = one.connect().await;
    here.join(ROOM, r#"{"user_id":"1"}"#).await;
    let mut there = two.connect().await;
    let users = format!("/channels/{ROOM}/users");
    two.until(&users, json!({"users": [{"id": "1"}]})).await;

    let presence = there.join(ROOM, r#"{"user_id":"2"}"#).await;

    assert_eq!(presence["ids"], json!(["1", "2"]));
    let added = here.next_data("pusher_internal:member_added", ROOM).await;
    assert_eq!(added, json!({"user_id": "2"}));
    for server in [&one, &two] {
        server
            .until(&users, json!({"users": [{"id": "1"}, {"id": "2"}]}))
            .await;
    }
    drop(there);
    let removed = here.next_data("pusher_internal:member_removed", ROOM).await;
    assert_eq!(removed, json!({"user_id": "2"}));
    two.until(&users, json!({"users": [{"id": "1"}]})).await;
}

#[tokio::test]
async fn local_clients_are_served_without_redis_and_all_heals() {
    let mut redis = Redis::start().await;
    let (one, two) = nodes(&redis).await;
    let mut here = one.connect().await;
    here.join(ROOM, r#"{"user_id":"1"}"#).await;
    let mut there = two.connect().await;
    there.join(ROOM, r#"{"user_id":"2"}"#).await;
    here.next_data("pusher_internal:member_added", ROOM).await;

    redis.stop();
    one.trigger(ROOM, "alone", "x").await;
    assert_eq!(here.next().await["event"], "alone");
    redis.resume().await;
    one.ready().await;
    two.ready().await;
    heals(&one, &two).await;

    redis.flush().await;
    heals(&one, &two).await;
}

async fn heals(one: &TestServer, two: &TestServer) {
    let users = format!("/channels/{ROOM}/users");
    for server in [one, two] {
        server
            .until(&users, json!({"users": [{"id": "1"}, {"id": "2"}]}))
            .await;
    }
}

#[tokio::test]
async fn a_user_is_thrown_out_of_both_nodes() {
    let redis = Redis::start().await;
    let (one, two) = nodes(&redis).await;
    let mut there = two.connect().await;
    there.sign_in(r#"{"id":"7"}"#).await;

    let path = format!("/apps/{ID}/users/7/terminate_connections");
    assert_eq!(one.api("POST", &path, &[], "").await.status, 200);

    assert_eq!(
        there.closed().await,
        (4009, "Connection terminated by the application".to_owned())
    );
}

/// 77: snapshot and stream of a member who joins fit together, whatever the others
/// do on either node at the same time.
#[tokio::test]
async fn everybody_who_joins_at_once_sees_everybody_once() {
    const COUNT: usize = 25;
    let redis = Redis::start().await;
    let nodes: [_; 2] = nodes(&redis).await.into();
    let everybody: BTreeSet<String> = (0..2 * COUNT).map(|n| n.to_string()).collect();

    let joins = (0..2 * COUNT).map(|number| {
        let node = &nodes[number % 2];
        async move {
            let mut client = node.connect().await;
            let data = json!({"user_id": number.to_string()}).to_string();
            let presence = client.join(ROOM, &data).await;
            (client, presence)
        }
    });
    let mut joined = join_all(joins).await;

    for (client, presence) in &mut joined {
        let ids = presence["ids"].as_array().unwrap();
        let mut seen = BTreeSet::new();
        for id in ids {
            assert!(seen.insert(id.as_str().unwrap().to_owned()), "{id} twice");
        }
        while seen.len() < 2 * COUNT {
            let added = client.next_data("pusher_internal:member_added", ROOM).await;
            let id = added["user_id"].as_str().unwrap().to_owned();
            assert!(seen.insert(id), "{added} was there");
        }
        assert_eq!(seen, everybody);
        client.receives_nothing_before_pong().await;
    }
}

/// 93.
#[tokio::test]
async fn client_events_reach_the_other_node_and_not_their_sender() {
    let redis = Redis::start().await;
    let (one, two) = nodes(&redis).await;
    let mut here = one.connect().await;
    here.join(ROOM, r#"{"user_id":"1"}"#).await;
    let mut there = two.connect().await;
    there.join(ROOM, r#"{"user_id":"2"}"#).await;
    here.next_data("pusher_internal:member_added", ROOM).await;

    here.send(&json!({"event": "client-typing", "channel": ROOM, "data": {"n": 1}}))
        .await;

    assert_eq!(
        there.next().await,
        json!({"event": "client-typing", "channel": ROOM, "data": "{\"n\":1}", "user_id": "1"})
    );
    there
        .send(&json!({"event": "client-back", "channel": ROOM, "data": {}}))
        .await;
    assert_eq!(here.next().await["event"], "client-back");
    here.receives_nothing_before_pong().await;
}

/// 106.
#[tokio::test]
async fn the_last_event_of_a_cache_channel_is_kept_for_all_nodes() {
    let redis = Redis::start().await;
    let (one, two) = nodes(&redis).await;
    let mut early = two.subscriber("cache-x").await;
    assert_eq!(early.next().await["event"], "pusher:cache_miss");

    one.trigger("cache-x", "first", "1").await;
    one.trigger("cache-x", "last", "2").await;

    assert_eq!(early.next().await["event"], "first");
    assert_eq!(early.next().await["event"], "last");
    let last = json!({"event": "last", "data": "2", "channel": "cache-x"});
    let three = node(&redis).await;
    for server in [&one, &two, &three] {
        let mut late = server.subscriber("cache-x").await;
        assert_eq!(late.next().await, last);
        late.receives_nothing_before_pong().await;
    }
    early.receives_nothing_before_pong().await;
}

/// 118, across nodes.
#[tokio::test]
async fn events_to_a_user_reach_its_connections_on_all_nodes() {
    let redis = Redis::start().await;
    let (one, two) = nodes(&redis).await;
    let mut phone = one.connect().await;
    let mut laptop = two.connect().await;
    for client in [&mut phone, &mut laptop] {
        client.sign_in(r#"{"id":"7"}"#).await;
        client.subscribe("#server-to-user-7").await;
    }

    one.trigger("#server-to-user-7", "hello", "x").await;

    let hello = json!({"event": "hello", "data": "x", "channel": "#server-to-user-7"});
    assert_eq!(phone.next().await, hello);
    assert_eq!(laptop.next().await, hello);
}

async fn watched(client: &mut Client) -> Value {
    let message = client.next().await;
    assert_eq!(
        message["event"], "pusher_internal:watchlist_events",
        "{message}"
    );
    let data: Value = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
    data["events"].clone()
}

/// 122 to 126, across nodes.
#[tokio::test]
async fn who_watches_hears_of_the_first_and_the_last_connection_of_all_nodes() {
    let redis = Redis::start().await;
    let (one, two) = nodes(&redis).await;
    let mut watcher = one.connect().await;
    watcher.sign_in(r#"{"id":"w","watchlist":["7"]}"#).await;
    let change = |name: &str| json!([{"name": name, "user_ids": ["7"]}]);
    assert_eq!(watched(&mut watcher).await, change("offline"));

    let mut phone = two.connect().await;
    phone.sign_in(r#"{"id":"7"}"#).await;
    assert_eq!(watched(&mut watcher).await, change("online"));
    let mut laptop = one.connect().await;
    laptop.sign_in(r#"{"id":"7"}"#).await;
    let mut late = two.connect().await;
    late.sign_in(r#"{"id":"l","watchlist":["7"]}"#).await;
    assert_eq!(watched(&mut late).await, change("online"));
    drop(phone);
    watcher.receives_nothing_before_pong().await;
    drop(laptop);

    assert_eq!(watched(&mut watcher).await, change("offline"));
    assert_eq!(watched(&mut late).await, change("offline"));
}

#[tokio::test]
async fn subscribers_are_counted_on_all_nodes() {
    let redis = Redis::start().await;
    let counting = async || {
        let server = TestServer::with(|config| {
            config.engine.url = Some(redis.url().as_str().into());
            config.apps[0].subscription_count = true;
        })
        .await;
        server.ready().await;
        server
    };
    let (one, two) = (counting().await, counting().await);
    let count = async |client: &mut Client| {
        let event = "pusher_internal:subscription_count";
        client.next_data(event, "news").await["subscription_count"].clone()
    };
    let mut here = one.subscriber("news").await;
    assert_eq!(count(&mut here).await, 1);
    let mut there = two.subscriber("news").await;
    assert_eq!(count(&mut there).await, 2);
    assert_eq!(count(&mut here).await, 2);
    drop(there);
    assert_eq!(count(&mut here).await, 1);
}

/// The messages of a day are those of all nodes, and of those that were before.
#[tokio::test]
async fn a_day_is_shared_by_all_nodes() {
    const LIMIT: usize = 60;
    let redis = Redis::start().await;
    let limited = async || {
        let server = TestServer::with(|config| {
            config.engine.url = Some(redis.url().as_str().into());
            config.apps[0].limits.messages_per_day = Some(LIMIT as u64);
        })
        .await;
        server.ready().await;
        server
    };
    let event = json!({"name": "a", "channel": "news", "data": "x"});
    let (one, two) = (limited().await, limited().await);
    for _ in 0..LIMIT {
        assert_eq!(one.post_event(&event).await.status, 200);
    }
    assert_eq!(one.post_event(&event).await.status, 403);

    for server in [two, limited().await] {
        let mut accepted = 0;
        eventually("the end of the day's messages", async || {
            let is_over = server.post_event(&event).await.status == 403;
            accepted += usize::from(!is_over);
            is_over
        })
        .await;
        // Not by what it took itself.
        assert!(accepted < LIMIT, "{accepted}");
    }
}

/// In pages, so that Redis can do other things in between.
#[tokio::test]
async fn a_hundred_thousand_channels_are_listed() {
    const PARTITIONS: usize = 16;
    const EACH: usize = 100_000 / PARTITIONS;
    let redis = Redis::start().await;
    let one = node(&redis).await;
    let _own = one.subscriber("own").await;
    // As other nodes would have told them.
    for partition in 0..PARTITIONS {
        let key = format!("fanfare:{{{ID}:{partition}}}:i");
        let mut words = vec!["HSET".to_owned(), key];
        for number in 0..EACH {
            words.push(format!("cload-{partition}-{number}"));
            words.push("1 0".to_owned());
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        redis.command(&words).await;
    }
    redis.command(&["CONFIG", "RESETSTAT"]).await;

    let channels = one.get("/channels", &[]).await;

    let names = channels["channels"].as_object().unwrap();
    assert_eq!(names.len(), PARTITIONS * EACH + 1);
    assert!(names.contains_key("own"));
    let some = one
        .get("/channels", &[("filter_by_prefix", "load-7-1")])
        .await;
    // 1, 10 to 19, 100 to 199, 1000 to 1999.
    assert_eq!(some["channels"].as_object().unwrap().len(), 1_111);
    let stats = redis.command(&["INFO", "commandstats"]).await;
    let redis::Value::BulkString(stats) = stats else {
        panic!("{stats:?}");
    };
    let stats = String::from_utf8(stats).unwrap();
    for command in ["keys", "hkeys"] {
        assert!(!stats.contains(&format!("cmdstat_{command}:")), "{stats}");
    }
    assert!(stats.contains("cmdstat_hscan:"), "{stats}");
}
