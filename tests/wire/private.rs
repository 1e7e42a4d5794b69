//! Private channels of all forms: who may subscribe.

use fanfare::config::KeyConfig;
use fanfare_protocol::{AppSecret, auth};
use serde_json::{Value, json};

use super::support::{Client, KEY, TestServer, auth_for};

async fn ask(client: &mut Client, channel: &str, auth: Value) {
    client
        .send(&json!({"event": "pusher:subscribe", "data": {"channel": channel, "auth": auth}}))
        .await;
}

/// Reads the two messages of a refused subscription and returns the text.
async fn refusal(client: &mut Client, channel: &str) -> String {
    let text = client.next_error_text().await;
    let data = client.next_data("pusher:subscription_error", channel).await;
    assert_eq!(
        data,
        json!({"type": "AuthError", "error": text, "status": 401})
    );
    text
}

/// 58, with the signature that the app's back end makes.
#[tokio::test]
async fn all_forms_of_private_channels_take_a_right_signature() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    for channel in ["private-x", "private-encrypted-x", "private-"] {
        client.subscribe_private(channel).await;
        server.trigger(channel, "e", "1").await;

        assert_eq!(
            client.next().await,
            json!({"event": "e", "data": "1", "channel": channel})
        );
    }
    for channel in ["private-cache-x", "private-encrypted-cache-x"] {
        client.subscribe_private(channel).await;

        assert_eq!(client.next().await["event"], "pusher:cache_miss");
    }
}

/// 50 to 55, 59 and 60.
#[tokio::test]
async fn wrong_auth_is_explained_and_may_be_mended() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let socket_id = client.socket_id().to_owned();
    let signed = format!("{socket_id}:private-x");
    let elsewhere = auth_for("1.1", "private-x", None);
    let other_channel = auth_for(&socket_id, "private-y", None);
    for (auth, text) in [
        (json!(null), "Auth info required to subscribe to private-x".to_owned()),
        (json!(""), "Auth info required to subscribe to private-x".to_owned()),
        (
            json!("nonsense"),
            "Auth value for subscription to private-x is invalid: should be of format 'key:signature'".to_owned(),
        ),
        (
            json!("other-key:00"),
            "Invalid key in subscription auth data: 'other-key'".to_owned(),
        ),
        (
            json!(format!("{KEY}:00")),
            format!("Invalid signature: Expected HMAC SHA256 hex digest of {signed}, but got 00"),
        ),
        (
            json!(elsewhere),
            format!(
                "Invalid signature: Expected HMAC SHA256 hex digest of {signed}, but got {}",
                elsewhere.split_once(':').unwrap().1
            ),
        ),
        (
            json!(other_channel),
            format!(
                "Invalid signature: Expected HMAC SHA256 hex digest of {signed}, but got {}",
                other_channel.split_once(':').unwrap().1
            ),
        ),
    ] {
        ask(&mut client, "private-x", auth).await;

        assert_eq!(refusal(&mut client, "private-x").await, text);
    }
    server.trigger("private-x", "secret", "{}").await;
    client.receives_nothing_before_pong().await;

    client.subscribe_private("private-x").await;
}

/// 60, switched off.
#[tokio::test]
async fn the_message_to_the_channel_can_be_switched_off() {
    let server = TestServer::with_app(|app| app.subscription_errors = false).await;
    let mut client = server.connect().await;

    ask(&mut client, "private-x", json!("")).await;

    assert_eq!(
        client.next_error_text().await,
        "Auth info required to subscribe to private-x"
    );
    client.receives_nothing_before_pong().await;
}

/// 61.
#[tokio::test]
async fn the_dotnet_client_gets_the_message_under_its_own_name_too() {
    let server = TestServer::start().await;
    let target = format!("/app/{KEY}?protocol=5&client=pusher-dotnet-client&version=2.3.1");
    let mut client = server.connect_to(&target).await;

    ask(&mut client, "private-x", json!("")).await;

    let text = refusal(&mut client, "private-x").await;
    let data = client
        .next_data("pusher_internal:subscription_error", "private-x")
        .await;
    assert_eq!(
        data,
        json!({"type": "AuthError", "error": text, "status": 401})
    );
}

/// 62.
#[tokio::test]
async fn every_key_pair_of_the_app_signs() {
    let server = TestServer::with_app(|app| {
        app.keys = vec![KeyConfig {
            key: "Second-Key".to_owned(),
            secret: "second-secret".into(),
        }];
    })
    .await;
    let secret = AppSecret::new("second-secret");
    // The Swift client lower-cases the key.
    for key in ["Second-Key", "second-key"] {
        let mut client = server
            .connect_to("/app/Second-Key?protocol=7&client=js")
            .await;
        let socket_id = client.socket_id().parse().unwrap();
        let signature = auth::sign_channel(&secret, socket_id, "private-x", None);

        ask(
            &mut client,
            "private-x",
            json!(format!("{key}:{signature}")),
        )
        .await;

        assert_eq!(
            client.next().await["event"],
            "pusher_internal:subscription_succeeded"
        );
    }
}

/// The signature covers channel_data on every kind of channel.
#[tokio::test]
async fn channel_data_of_a_private_channel_must_be_signed() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let auth = client.auth("private-x", None);

    client
        .send(&json!({
            "event": "pusher:subscribe",
            "data": {"channel": "private-x", "auth": auth, "channel_data": "{}"}
        }))
        .await;

    assert!(
        refusal(&mut client, "private-x")
            .await
            .starts_with("Invalid signature")
    );
}
