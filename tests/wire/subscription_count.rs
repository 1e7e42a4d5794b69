//! How many are subscribed, told to them.

use serde_json::json;

use super::support::{Client, TestServer};

async fn count(client: &mut Client, channel: &str) -> serde_json::Value {
    client
        .next_data("pusher_internal:subscription_count", channel)
        .await["subscription_count"]
        .clone()
}

/// 107.
#[tokio::test]
async fn nobody_is_told_unless_it_is_switched_on() {
    let server = TestServer::start().await;
    let mut client = server.subscriber("news").await;
    let _other = server.subscriber("news").await;

    client.receives_nothing_before_pong().await;
}

/// 108 and 109.
#[tokio::test]
async fn everybody_is_told_of_every_change() {
    let server = TestServer::with_app(|app| app.subscription_count = true).await;
    let mut one = server.subscriber("news").await;
    assert_eq!(count(&mut one, "news").await, json!(1));
    let mut two = server.subscriber("news").await;
    assert_eq!(count(&mut two, "news").await, json!(2));
    assert_eq!(count(&mut one, "news").await, json!(2));
    let mut three = server.subscriber("news").await;
    assert_eq!(count(&mut three, "news").await, json!(3));
    assert_eq!(count(&mut one, "news").await, json!(3));

    two.unsubscribe("news").await;
    assert_eq!(count(&mut one, "news").await, json!(2));
    drop(three);
    assert_eq!(count(&mut one, "news").await, json!(1));
}

/// 110.
#[tokio::test]
async fn presence_channels_and_those_of_users_have_none() {
    let server = TestServer::with_app(|app| app.subscription_count = true).await;
    let mut client = server.connect().await;

    client.join("presence-x", r#"{"user_id":"1"}"#).await;
    client.sign_in(r#"{"id":"u1"}"#).await;
    client.subscribe("#server-to-user-u1").await;

    client.receives_nothing_before_pong().await;
}

/// 111.
#[tokio::test]
async fn a_large_channel_is_told_seldom_but_the_last_value_is_right() {
    let server = TestServer::with_app(|app| app.subscription_count = true).await;
    let mut first = server.subscriber("news").await;
    let mut others = Vec::new();
    for _ in 0..104 {
        others.push(server.subscriber("news").await);
    }

    let mut told = Vec::new();
    while told.last() != Some(&json!(105)) {
        told.push(count(&mut first, "news").await);
    }

    // 1 to 100 at once, then one that is late; the channel grew while it waited.
    assert!(told.len() <= 102, "{told:?}");
    assert_eq!(
        told[..100],
        (1..=100).map(|count| json!(count)).collect::<Vec<_>>()
    );
}
