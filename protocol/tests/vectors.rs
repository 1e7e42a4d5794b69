//! The published test vectors (section 21), each confirmed by official SDKs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use fanfare_protocol::request::{SignedQuery, body_md5, sign_request};
use fanfare_protocol::{AppKey, AppSecret, SocketId, auth};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

fn secret() -> AppSecret {
    AppSecret::new(vectors()["secret"].as_str().unwrap())
}

/// Checklist 49, 56, 58, 74: A1 to A7.
#[test]
fn channel_signatures_match_the_published_vectors() {
    let all = vectors();
    let mut checked = 0;
    for (id, vector) in all["vectors"].as_object().unwrap() {
        let Some(channel_data) = vector.get("channel_data") else {
            continue;
        };
        let signed = vector["string_to_sign"].as_str().unwrap();
        let mut parts = signed.splitn(3, ':');
        let socket_id: SocketId = parts.next().unwrap().parse().unwrap();
        let channel = parts.next().unwrap();

        let signature = auth::sign_channel(&secret(), socket_id, channel, channel_data.as_str());

        let key = all["key"].as_str().unwrap();
        assert_eq!(vector["auth"], format!("{key}:{signature}"), "{id}");
        checked += 1;
    }
    assert_eq!(checked, 7);
}

/// Checklist 112 and 113: U1 to U3.
#[test]
fn user_signatures_match_the_published_vectors() {
    let all = vectors();
    for (id, socket_id) in [("U1_user", "1234.1234"), ("U2_user_full", "218840.5562713")] {
        let vector = &all["vectors"][id];
        let user_data = vector["user_data"].as_str().unwrap();

        let signature = auth::sign_user(&secret(), socket_id.parse().unwrap(), user_data);

        let key = all["key"].as_str().unwrap();
        assert_eq!(vector["auth"], format!("{key}:{signature}"), "{id}");
    }
    assert_eq!(
        auth::sign_user(
            &secret(),
            "1234.1234".parse().unwrap(),
            r#"{"id": "12345"}"#
        ),
        "d06dc389319077f890321aeac54e04868921e1601686928f61fc9bf702e92830"
    );
}

/// Checklist 130 to 132: H1 to H11.
#[test]
fn api_requests_of_the_published_vectors_verify() {
    let all = vectors();
    let now = all["timestamp"].as_u64().unwrap();
    let mut checked = 0;
    for (id, vector) in all["vectors"].as_object().unwrap() {
        let Some(signature) = vector.get("auth_signature").and_then(Value::as_str) else {
            continue;
        };
        let signed = vector["string_to_sign"].as_str().unwrap();
        let lines: Vec<&str> = signed.splitn(3, '\n').collect();
        let [method, path, query] = lines[..] else {
            panic!("{id}");
        };
        let query = match id.as_str() {
            "H9_upper_key" => query.replace("name=Something else", "Name=Something%20else"),
            _ => query.to_owned(),
        };
        let body = vector["body"].as_str().unwrap_or_default().as_bytes();

        // Checklist 134: the signature may stand anywhere.
        for query in [
            format!("{query}&auth_signature={signature}"),
            format!("auth_signature={signature}&{query}"),
            format!("{}&auth_signature={signature}", query.replace(',', "%2C")),
        ] {
            let verified =
                SignedQuery::parse(&query)
                    .unwrap()
                    .verify(method, path, body, &secret(), now);
            assert_eq!(verified, Ok(()), "{id}: {query}");
        }
        checked += 1;
    }
    assert_eq!(checked, 11);
}

#[test]
fn what_a_back_end_signs_matches_the_published_vector() {
    let all = vectors();
    let vector = &all["vectors"]["H1_doc_events"];
    let body = vector["body"].as_str().unwrap().as_bytes();
    let key = AppKey::new(all["key"].as_str().unwrap());
    let now = all["timestamp"].as_u64().unwrap();

    let query = sign_request("POST", "/apps/3/events", &[], body, &key, &secret(), now);

    assert_eq!(vector["body_md5"], body_md5(body));
    let signature = vector["auth_signature"].as_str().unwrap();
    assert!(
        query.ends_with(&format!("&auth_signature={signature}")),
        "{query}"
    );
}

/// Checklist 168: W1 and W2.
#[test]
fn webhook_signatures_match_the_published_vectors() {
    let all = vectors();
    for id in ["W1_webhook", "W2_webhook_client"] {
        let vector = &all["vectors"][id];
        let body = vector["body"].as_str().unwrap();

        assert_eq!(
            vector["signature"],
            auth::sign_webhook(&secret(), body.as_bytes()),
            "{id}"
        );
    }
}
