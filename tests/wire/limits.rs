//! Rates and daily messages of an app.

use fanfare::config::Plan;
use serde_json::json;

use crate::support::TestServer;

fn event() -> serde_json::Value {
    json!({"name": "tick", "channel": "news", "data": "1"})
}

#[tokio::test]
async fn a_back_end_that_is_too_fast_is_told_when_to_come_back() {
    let server = TestServer::with_app(|app| {
        app.limits.backend_events_per_second = Some(3);
        app.limits.reads_per_second = Some(1);
    })
    .await;
    let batch = json!({"batch": [event(), event(), event()]}).to_string();
    let path = "/apps/app-id/batch_events";

    // A bucket of three is refilled within a second, so the second batch is one
    // too many, or the third if the machine is slow.
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(server.api("POST", path, &[], &batch).await);
    }

    assert_eq!(answers[0].status, 200);
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!(refused.body, "Rate limit exceeded: 3 per second\n");
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.headers["x-ratelimit-limit"], "3");
    assert_eq!(refused.headers["x-ratelimit-remaining"], "0");
    // Reading has a rate of its own.
    let path = "/apps/app-id/channels";
    assert_eq!(server.api("GET", path, &[], "").await.status, 200);
}

/// 165. Deliveries count as well as calls: with one subscriber each event is two.
#[tokio::test]
async fn above_the_messages_of_the_day_nothing_is_published() {
    let server = TestServer::with_app(|app| app.limits.messages_per_day = Some(10)).await;
    let mut client = server.subscriber("news").await;

    for _ in 0..5 {
        server.trigger("news", "tick", "1").await;
        client.next().await;
    }
    let refused = server.post_event(&event()).await;

    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.body,
        "API call failed since (daily) message quota exceeded\n"
    );
    client.receives_nothing_before_pong().await;
    // Reading goes on, and so do connections.
    server.get("/channels", &[]).await;
    server.subscriber("news").await;
}

#[tokio::test]
async fn a_plan_sets_what_the_limits_leave_open() {
    let server = TestServer::with_app(|app| {
        app.plan = Plan::Sandbox;
        app.limits.messages_per_day = Some(1);
    })
    .await;

    server.trigger("news", "tick", "1").await;
    assert_eq!(server.post_event(&event()).await.status, 403);
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(server.connect().await);
    }
    let mut refused = server.open(&crate::support::target()).await;
    assert_eq!(refused.closed().await.0, 4100);
}

#[tokio::test]
async fn clients_of_one_address_come_only_so_often() {
    let server = TestServer::with(|config| {
        config.connection.attempts_per_minute = Some(2);
        config.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let target = crate::support::target();
    let from = async |addresses: &str| {
        let header = format!("X-Forwarded-For: {addresses}\r\n");
        server.upgrade(&target, &header).await.0
    };

    for _ in 0..2 {
        from("192.0.2.1").await.establish().await;
    }

    // What a client writes before its own address counts for nothing.
    assert_eq!(from("198.51.100.7, 192.0.2.1").await.closed().await.0, 4100);
    from("192.0.2.2").await.establish().await;
    from("192.0.2.1, 127.0.0.2").await.closed().await;
}

#[tokio::test]
async fn who_guesses_is_not_looked_at_for_a_minute() {
    let server = TestServer::with(|config| config.connection.failures_per_minute = Some(3)).await;
    let path = "/apps/app-id/channels";
    let mut client = server.connect().await;

    for _ in 0..4 {
        let guess =
            format!("{path}?auth_key=app-key&auth_timestamp=1&auth_version=1.0&auth_signature=0");
        assert_eq!(server.http("GET", &guess, "").await.status, 401);
    }

    let answer = server.api("GET", path, &[], "").await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.headers["retry-after"], "60");
    let mut refused = server.open(&crate::support::target()).await;
    assert_eq!(refused.closed().await.0, 4100);
    // Who is in stays in.
    client.receives_nothing_before_pong().await;
}

#[tokio::test]
async fn a_back_end_sees_what_its_rate_leaves_to_it() {
    let server = TestServer::with_app(|app| {
        app.limits.backend_events_per_second = Some(100_000);
        app.limits.reads_per_second = Some(1_000);
    })
    .await;

    let published = server.post_event(&event()).await;
    let read = server.api("GET", "/apps/app-id/channels", &[], "").await;

    assert_eq!((published.status, read.status), (200, 200));
    assert_eq!(published.headers["x-ratelimit-limit"], "100000");
    assert_eq!(published.headers["x-ratelimit-remaining"], "99999");
    assert_eq!(read.headers["x-ratelimit-limit"], "1000");
    assert_eq!(read.headers["x-ratelimit-remaining"], "999");
    // Where there is no rate, nothing is told of one.
    let unlimited = TestServer::start().await.post_event(&event()).await;
    assert!(!unlimited.headers.contains_key("x-ratelimit-limit"));
}

/// The connections of one app share its rate; each has one of its own beside it.
#[tokio::test]
async fn client_events_of_an_app_have_a_rate() {
    let server = TestServer::with_app(|app| {
        app.limits.client_events_per_second = 1_000;
        app.limits.app_client_events_per_second = Some(2);
    })
    .await;
    let mut senders = Vec::new();
    for _ in 0..2 {
        let mut client = server.connect().await;
        client.subscribe_private("private-x").await;
        senders.push(client);
    }

    // Two are in the bucket, and two more come in each second that this takes.
    let mut refused = None;
    for number in 0..100 {
        let sender = &mut senders[number % 2];
        sender
            .send(&json!({"event": "client-x", "channel": "private-x", "data": "1"}))
            .await;
        sender
            .send(&json!({"event": "pusher:ping", "data": {}}))
            .await;
        loop {
            let message = sender.next().await;
            match message["event"].as_str().unwrap() {
                "pusher:pong" => break,
                "pusher:error" => refused = Some(message["data"].clone()),
                _ => {}
            }
        }
    }

    let refused = refused.expect("a refusal");
    assert_eq!(refused["code"], 4301);
    assert_eq!(
        refused["message"],
        "Client event rejected due to rate limit"
    );
}

#[tokio::test]
async fn a_connection_may_send_only_so_many_messages() {
    let server = TestServer::with_app(|app| app.limits.messages_per_second = Some(2)).await;
    let mut client = server.connect().await;

    let mut refusals = 0;
    for number in 0..100 {
        let channel = format!("channel-{number}");
        client
            .send(&json!({"event": "pusher:subscribe", "data": {"channel": channel}}))
            .await;
        let message = client.next().await;
        if message["event"] == "pusher:error" {
            assert_eq!(
                message["data"],
                json!({"code": 4301, "message": "Message rejected due to rate limit"})
            );
            refusals += 1;
        }
    }

    assert!(refusals > 0);
    // Signs of life are never refused, and other connections are not concerned.
    for _ in 0..20 {
        client.receives_nothing_before_pong().await;
    }
    server.subscriber("news").await;
    let figures = server.ops("/metrics").await.body;
    let line = format!("fanfare_rate_refusals_total{{app_id=\"app-id\"}} {refusals}");
    assert!(figures.contains(&line), "{line}: {figures}");
}

#[tokio::test]
async fn who_guesses_signatures_over_a_websocket_is_closed_and_not_let_in() {
    let server = TestServer::with(|config| config.connection.failures_per_minute = Some(2)).await;
    let mut guesser = server.connect().await;
    let mut other = server.connect().await;

    for number in 0..3 {
        guesser
            .send(&json!({"event": "pusher:subscribe", "data": {
                "channel": format!("private-{number}"), "auth": "app-key:00"}}))
            .await;
    }

    let close = loop {
        let frame = guesser.next_frame().await.unwrap();
        if frame.opcode == crate::support::CLOSE {
            break frame;
        }
    };
    assert_eq!(close.payload[..2], 4100u16.to_be_bytes());
    let mut refused = server.open(&crate::support::target()).await;
    assert_eq!(refused.closed().await.0, 4100);
    other.receives_nothing_before_pong().await;
}
