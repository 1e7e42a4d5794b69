//! Two nodes with a real Redis between them.

use std::time::Duration;

use serde_json::json;

use super::redis::Redis;
use super::support::{ID, TestServer};

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

#[tokio::test]
async fn events_reach_the_other_node_in_order_and_once() {
    let redis = Redis::start().await;
    let (one, two) = (node(&redis).await, node(&redis).await);
    let mut here = one.subscriber("news").await;
    let mut there = two.subscriber("news").await;

    for number in 0..50 {
        one.trigger("news", "tick", &number.to_string()).await;
    }
    two.trigger("news", "back", "x").await;

    for number in 0..50 {
        let expected = json!({"event": "tick", "data": number.to_string(), "channel": "news"});
        assert_eq!(there.next().await, expected);
        assert_eq!(here.next().await, expected);
    }
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
    let (one, two) = (node(&redis).await, node(&redis).await);
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
    let (one, two) = (node(&redis).await, node(&redis).await);
    let mut here = one.connect().await;
    here.join(ROOM, r#"{"user_id":"1"}"#).await;
    let mut there = two.connect().await;

    let presence = there.join(ROOM, r#"{"user_id":"2"}"#).await;

    assert_eq!(presence["ids"], json!(["1", "2"]));
    let added = here.next_data("pusher_internal:member_added", ROOM).await;
    assert_eq!(added, json!({"user_id": "2"}));
    let users = format!("/channels/{ROOM}/users");
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
    let (one, two) = (node(&redis).await, node(&redis).await);
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
    let (one, two) = (node(&redis).await, node(&redis).await);
    let mut there = two.connect().await;
    there.sign_in(r#"{"id":"7"}"#).await;

    let path = format!("/apps/{ID}/users/7/terminate_connections");
    assert_eq!(one.api("POST", &path, &[], "").await.status, 200);

    assert_eq!(
        there.closed().await,
        (4009, "Connection terminated by the application".to_owned())
    );
}
