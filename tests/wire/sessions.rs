//! Past events, and sessions that go on where they were: docs/sessions.md.

use std::time::Duration;

use fanfare::config::{AppConfig, HistoryRuleConfig};
use serde_json::{Value, json};

use super::support::{Client, ID, KEY, TestServer, auth_for, soon};

/// Every kind of channel keeps its past.
pub(crate) fn everything(app: &mut AppConfig) {
    app.history = vec![HistoryRuleConfig::new("*")];
}

async fn server() -> TestServer {
    TestServer::with_app(everything).await
}

/// The target of a pusher-js page with `wsPath: '/s/<session>'`.
pub(crate) fn target(session: &str) -> String {
    format!("/s/{session}/app/{KEY}?protocol=7&client=js&version=8.6.0&flash=false")
}

/// What a client heard of one channel after its subscription.
#[derive(Debug, PartialEq)]
pub(crate) struct Heard {
    pub(crate) gap: Option<String>,
    pub(crate) data: Vec<String>,
}

impl Heard {
    pub(crate) fn gap(reason: &str) -> Self {
        Self {
            gap: Some(reason.to_owned()),
            data: Vec::new(),
        }
    }

    pub(crate) fn events(data: &[&str]) -> Self {
        Self {
            gap: None,
            data: data.iter().map(|data| (*data).to_owned()).collect(),
        }
    }
}

/// Subscribes as an app's page may, and returns what comes before a marker that is
/// published afterwards; pings are answered if the page does so.
pub(crate) async fn subscribe(
    client: &mut Client,
    channel: &str,
    more: Value,
    answers_pings: bool,
) -> Heard {
    let mut data = json!({"channel": channel});
    if channel.starts_with("private") {
        data["auth"] = client.auth(channel, None).into();
    }
    if channel.starts_with("presence") {
        let member = r#"{"user_id":"ann"}"#;
        data["auth"] = client.auth(channel, Some(member)).into();
        data["channel_data"] = member.into();
    }
    for (name, value) in more.as_object().unwrap() {
        data[name] = value.clone();
    }
    client
        .send(&json!({"event": "pusher:subscribe", "data": data}))
        .await;
    let success = client.next().await;
    assert_eq!(
        success["event"], "pusher_internal:subscription_succeeded",
        "{success}"
    );
    // `send` is answered when everything that subscribing sends is on its way.
    client.send(&json!({"event": "pusher:ping"})).await;
    hear(client, answers_pings).await
}

/// What comes before the answer to a ping.
pub(crate) async fn hear(client: &mut Client, answers_pings: bool) -> Heard {
    let mut heard = Heard::events(&[]);
    loop {
        let message = client.next().await;
        match message["event"].as_str().unwrap() {
            "pusher:pong" => return heard,
            "pusher:ping" if answers_pings => pong(client).await,
            "pusher:ping" | "pusher:cache_miss" => {}
            "fanfare:gap" | "pusher:fanfare_gap" => {
                let data: Value = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
                assert_eq!(
                    heard.gap.replace(data["reason"].as_str().unwrap().into()),
                    None
                );
            }
            _ => {
                assert!(message["event_id"].is_string(), "{message}");
                heard
                    .data
                    .push(message["data"].as_str().unwrap().to_owned());
            }
        }
    }
}

pub(crate) async fn pong(client: &mut Client) {
    client
        .send(&json!({"event": "pusher:pong", "data": {}}))
        .await;
}

/// Reads up to the server's question; returns the data of the events before it.
pub(crate) async fn asked(client: &mut Client) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let message = client.next().await;
        if message["event"] == "pusher:ping" {
            return heard;
        }
        heard.push(message["data"].as_str().unwrap().to_owned());
    }
}

/// Ends a connection, and waits until the server has noticed.
pub(crate) async fn leave(server: &TestServer, client: Client, channel: &str) {
    drop(client);
    let gone = async {
        while server.get(&format!("/channels/{channel}"), &[]).await["occupied"] == true {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the end of a connection", gone).await;
}

#[tokio::test]
async fn a_session_gets_what_it_has_missed_on_every_kind_of_channel() {
    let server = server().await;
    for channel in [
        "kitchen",
        "private-kitchen",
        "private-encrypted-kitchen",
        "presence-kitchen",
        "cache-kitchen",
        "private-cache-kitchen",
    ] {
        let mut client = server.connect_to(&target("a-page")).await;
        let first = subscribe(&mut client, channel, json!({}), true).await;
        assert_eq!(first, Heard::gap("new"), "{channel}");
        server.trigger(channel, "order", "seen").await;
        assert_eq!(asked(&mut client).await, ["seen"]);
        pong(&mut client).await;
        // Not confirmed: it may not have been handled.
        server.trigger(channel, "order", "perhaps").await;
        leave(&server, client, channel).await;
        server.trigger(channel, "order", "missed").await;
        server.trigger(channel, "order", "last").await;

        let mut client = server.connect_to(&target("a-page")).await;
        let again = subscribe(&mut client, channel, json!({}), true).await;

        assert_eq!(
            again,
            Heard::events(&["perhaps", "missed", "last"]),
            "{channel}"
        );
        server.trigger(channel, "order", "live").await;
        assert_eq!(client.next().await["data"], "live");
        client
            .send(&json!({"event": "pusher:unsubscribe", "data": {"channel": channel}}))
            .await;
        drop(client);
    }
}

#[tokio::test]
async fn without_a_history_nothing_changes() {
    let server = TestServer::start().await;
    let mut client = server.connect_to(&target("a-page")).await;
    client.subscribe("kitchen").await;
    client.receives_nothing_before_pong().await;
    server.trigger("kitchen", "order", "1").await;
    assert_eq!(
        client.next().await,
        json!({"event": "order", "data": "1", "channel": "kitchen"})
    );
    leave(&server, client, "kitchen").await;
    server.trigger("kitchen", "order", "lost").await;

    let mut client = server.connect_to(&target("a-page")).await;
    client.subscribe("kitchen").await;

    client.receives_nothing_before_pong().await;
}

#[tokio::test]
async fn who_names_its_last_event_gets_each_later_one_exactly_once() {
    let server = server().await;
    let mut client = server.subscriber("cache-kitchen").await;
    assert_eq!(client.next().await["event"], "pusher:cache_miss");
    server.trigger("cache-kitchen", "order", "1").await;
    let id = client.next().await["event_id"].clone();
    leave(&server, client, "cache-kitchen").await;
    let since = |id: &Value| json!({"last_event_id": id});

    let mut client = server.connect().await;
    let nothing = subscribe(&mut client, "cache-kitchen", since(&id), false).await;
    assert_eq!(nothing, Heard::events(&[]));
    server.trigger("cache-kitchen", "order", "2").await;
    let mut client = server.connect().await;
    let missed = subscribe(&mut client, "cache-kitchen", since(&id), false).await;
    assert_eq!(missed, Heard::events(&["2"]));

    for id in [json!("x"), json!("9999999999999-1"), json!("")] {
        let mut client = server.connect().await;
        let heard = subscribe(&mut client, "kitchen", since(&id), false).await;
        assert_eq!(heard, Heard::gap("unknown_event"), "{id}");
    }
    let mut client = server.connect().await;
    let heard = subscribe(&mut client, "kitchen", since(&json!("7-1")), false).await;
    assert_eq!(heard, Heard::gap("history"));
}

#[tokio::test]
async fn a_history_that_is_too_short_says_so_and_gives_the_rest() {
    let server = TestServer::with_app(|app| {
        let mut rule = HistoryRuleConfig::new("kitchen*");
        rule.events = 2;
        app.history = vec![rule];
    })
    .await;
    let mut client = server.connect_to(&target("a-page")).await;
    subscribe(&mut client, "kitchen", json!({}), true).await;
    leave(&server, client, "kitchen").await;
    for data in ["1", "2", "3"] {
        server.trigger("kitchen", "order", data).await;
    }

    let mut client = server.connect_to(&target("a-page")).await;
    let heard = subscribe(&mut client, "kitchen", json!({}), true).await;

    assert_eq!(
        heard,
        Heard {
            gap: Some("history".to_owned()),
            data: vec!["2".to_owned(), "3".to_owned()]
        }
    );
    let metrics = server.ops("/metrics").await.body;
    for line in [
        "fanfare_history_replays_total 1",
        "fanfare_history_replayed_events_total 2",
        "fanfare_history_gaps_total 2",
        "fanfare_sessions_connected 1",
    ] {
        assert!(
            metrics.contains(&format!("\n{line}\n")),
            "{line}: {metrics}"
        );
    }
}

#[tokio::test]
async fn the_newer_connection_takes_the_session_and_the_older_is_told() {
    let server = server().await;
    let mut older = server.connect_to(&target("a-page")).await;
    subscribe(&mut older, "kitchen", json!({}), true).await;

    // An attempt that its client has given up says nothing any more.
    let _silent = server.connect_to(&target("a-page")).await;
    older.receives_nothing_before_pong().await;
    let mut newer = server
        .connect_to(&format!("/app/{KEY}?protocol=7&session=a-page"))
        .await;
    let heard = subscribe(&mut newer, "kitchen", json!({}), true).await;

    assert_eq!(heard, Heard::events(&[]));
    let (code, reason) = older.closed().await;
    assert_eq!(code, 4010, "{reason}");
}

/// Nothing is known of this session elsewhere, and nothing is given without the
/// channel's own authorisation.
#[tokio::test]
async fn nothing_leaks_to_another_app_channel_or_session() {
    let server = TestServer::with(|config| {
        everything(&mut config.apps[0]);
        let mut other = AppConfig::new("other", "other-key", "other-secret");
        everything(&mut other);
        config.apps.push(other);
    })
    .await;
    let channel = "private-kitchen";
    let mut client = server.connect_to(&target("a-page")).await;
    subscribe(&mut client, channel, json!({}), true).await;
    leave(&server, client, channel).await;
    server.trigger(channel, "order", "secret").await;

    let mut stranger = server.connect_to(&target("another-page")).await;
    assert_eq!(
        subscribe(&mut stranger, channel, json!({}), true).await,
        Heard::gap("new")
    );
    let mut guesser = server.connect_to(&target("a-page")).await;
    let auth = auth_for("1.1", channel, None);
    let wish = json!({"channel": channel, "auth": auth, "last_event_id": "1-1"});
    guesser
        .send(&json!({"event": "pusher:subscribe", "data": wish}))
        .await;
    guesser.next_error_text().await;
    assert_eq!(guesser.next().await["event"], "pusher:subscription_error");
    guesser.receives_nothing_before_pong().await;
    assert_eq!(
        subscribe(&mut guesser, "kitchen", json!({}), true).await,
        Heard::gap("new")
    );
    let mut elsewhere = server
        .connect_to("/s/a-page/app/other-key?protocol=7")
        .await;
    assert_eq!(
        subscribe(&mut elsewhere, "kitchen", json!({}), true).await,
        Heard::gap("new")
    );
}

#[tokio::test]
async fn a_session_of_a_user_is_given_to_nobody_else() {
    let server = TestServer::with_app(|app| {
        everything(app);
        app.bind_sessions = true;
    })
    .await;
    let mut ann = server.connect_to(&target("a-page")).await;
    ann.sign_in(r#"{"id":"ann"}"#).await;
    subscribe(&mut ann, "kitchen", json!({}), true).await;
    server.trigger("kitchen", "order", "1").await;
    assert_eq!(asked(&mut ann).await, ["1"]);

    let mut bob = server.connect_to(&target("a-page")).await;
    bob.sign_in(r#"{"id":"bob"}"#).await;
    assert_eq!(
        subscribe(&mut bob, "kitchen", json!({}), true).await,
        Heard::gap("other_user")
    );
    ann.receives_nothing_before_pong().await;
    // Before it has signed in, a page of ann's only reads how far she is.
    let mut again = server.connect_to(&target("a-page")).await;
    assert_eq!(
        subscribe(&mut again, "kitchen", json!({}), true).await,
        Heard::events(&["1"])
    );
    ann.receives_nothing_before_pong().await;
    again.sign_in(r#"{"id":"ann"}"#).await;
    assert_eq!(ann.closed().await.0, 4010);
}

#[tokio::test]
async fn names_of_sessions_are_checked() {
    let server = server().await;
    for name in ["", "a.b", "a%2Fb", "%00", &"x".repeat(129)] {
        let mut client = server.open(&target(name)).await;
        assert_eq!(client.closed().await.0, 4005, "{name}");
    }
    let mut client = server
        .open(&format!("/app/{KEY}?protocol=7&session=a/b"))
        .await;
    assert_eq!(client.closed().await.0, 4005);
    server.connect_to(&target(&"x".repeat(128))).await;
}

/// As the SDKs for Java, Swift and .NET: they answer no `pusher:ping`.
#[tokio::test]
async fn a_client_that_answers_no_ping_gets_what_it_has_seen_again() {
    let server = server().await;
    let mobile = format!("/s/a-phone/app/{KEY}?client=java-client&protocol=5&version=2.4.4");
    let mut client = server.connect_to(&mobile).await;
    subscribe(&mut client, "kitchen", json!({}), false).await;
    server.trigger("kitchen", "order", "1").await;
    assert_eq!(asked(&mut client).await, ["1"]);
    server.trigger("kitchen", "order", "2").await;
    assert_eq!(client.next().await["data"], "2");
    leave(&server, client, "kitchen").await;

    let mut client = server.connect_to(&mobile).await;
    let heard = subscribe(&mut client, "kitchen", json!({}), false).await;

    assert_eq!(heard, Heard::events(&["1", "2"]));
}

#[tokio::test]
async fn a_slow_page_gets_the_rest_after_its_return() {
    const EVENTS: usize = 1_500;
    let server = TestServer::with(|config| {
        let mut rule = HistoryRuleConfig::new("*");
        rule.events = 10_000;
        rule.bytes = 64 << 20;
        config.apps[0].history = vec![rule];
        config.connection.outbox_bytes = 64 << 10;
    })
    .await;
    let mut client = server.connect_to(&target("a-page")).await;
    for channel in ["kitchen", "bar"] {
        subscribe(&mut client, channel, json!({}), true).await;
    }
    let padding = "x".repeat(9_000);
    for number in 0..EVENTS {
        let channel = if number % 3 == 0 { "bar" } else { "kitchen" };
        server
            .trigger(channel, "order", &format!("{number} {padding}"))
            .await;
    }
    // It has read nothing so far, and much more than its queue holds was sent.
    let number_of = |message: &Value| -> usize {
        let data = message["data"].as_str().unwrap();
        data.split(' ').next().unwrap().parse().unwrap()
    };
    let mut handled = [Vec::new(), Vec::new()];
    let mut closed = 0;
    let mut note = |message: &Value| {
        let numbers = &mut handled[usize::from(message["channel"] == "bar")];
        let number = number_of(message);
        if numbers.last().is_none_or(|last| *last < number) {
            numbers.push(number);
        }
        handled[0].len() + handled[1].len()
    };
    loop {
        let frame = client.next_frame().await.unwrap();
        if frame.opcode == super::support::CLOSE {
            assert_eq!(frame.payload[..2], 4100u16.to_be_bytes());
            closed += 1;
            client = server.connect_to(&target("a-page")).await;
            for channel in ["kitchen", "bar"] {
                client
                    .send(&json!({"event": "pusher:subscribe", "data": {"channel": channel}}))
                    .await;
            }
            continue;
        }
        let message: Value = serde_json::from_slice(&frame.payload).unwrap();
        match message["event"].as_str().unwrap() {
            "pusher:ping" => pong(&mut client).await,
            "order" => {
                if note(&message) == EVENTS {
                    break;
                }
            }
            "pusher_internal:subscription_succeeded" => {}
            other => panic!("{other}"),
        }
    }

    assert_eq!(closed, 1);
    let expected = |is_bar: bool| (0..EVENTS).filter(move |number| (number % 3 == 0) == is_bar);
    assert!(handled[0].iter().copied().eq(expected(false)));
    assert!(handled[1].iter().copied().eq(expected(true)));
}

#[tokio::test]
async fn client_events_are_kept_where_the_app_says_so_but_not_for_their_sender() {
    let server = TestServer::with_app(|app| {
        let mut kept = HistoryRuleConfig::new("private-kept*");
        kept.client_events = true;
        app.history = vec![kept, HistoryRuleConfig::new("private-*")];
    })
    .await;
    for (channel, expected) in [
        ("private-kept", &["\"hello\""][..]),
        ("private-other", &[][..]),
    ] {
        let session = format!("listener-{channel}");
        let mut listener = server.connect_to(&target(&session)).await;
        subscribe(&mut listener, channel, json!({}), true).await;
        leave(&server, listener, channel).await;
        let mut sender = server.connect_to(&target(channel)).await;
        subscribe(&mut sender, channel, json!({}), true).await;
        sender
            .send(&json!({"event": "client-x", "channel": channel, "data": "\"hello\""}))
            .await;
        sender.send(&json!({"event": "pusher:ping"})).await;
        assert_eq!(hear(&mut sender, false).await, Heard::events(&[]));
        leave(&server, sender, channel).await;

        let mut listener = server.connect_to(&target(&session)).await;
        let heard = subscribe(&mut listener, channel, json!({}), true).await;
        assert_eq!(heard, Heard::events(expected), "{channel}");
        let mut sender = server.connect_to(&target(channel)).await;
        let heard = subscribe(&mut sender, channel, json!({}), true).await;
        assert_eq!(heard, Heard::events(&[]), "{channel}");
    }
}

#[tokio::test]
async fn a_back_end_reads_the_past() {
    let server = server().await;
    let path = "/channels/presence-kitchen/events";
    assert_eq!(
        server.get(path, &[]).await,
        json!({"events": [], "has_more": false, "is_complete": false})
    );
    for data in ["1", "{\"a\":\"\\\"\"}", "3"] {
        server.trigger("presence-kitchen", "order", data).await;
    }

    let all = server.get(path, &[]).await;
    let events = all["events"].as_array().unwrap();
    assert_eq!(events.len(), 3);
    assert_eq!(events[1]["name"], "order");
    assert_eq!(events[1]["data"], "{\"a\":\"\\\"\"}");
    let first = events[0]["id"].as_str().unwrap();
    assert!(first < events[1]["id"].as_str().unwrap());
    let page = server.get(path, &[("after", first), ("limit", "1")]).await;
    assert_eq!(
        page,
        json!({"events": [events[1]], "has_more": true, "is_complete": true})
    );

    for (parameter, value) in [
        ("after", "x"),
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "x"),
    ] {
        let answer = server
            .api(
                "GET",
                &format!("/apps/{ID}{path}"),
                &[(parameter, value)],
                "",
            )
            .await;
        assert_eq!(answer.status, 400, "{parameter}={value}");
    }
    let unsigned = server.http("GET", &format!("/apps/{ID}{path}"), "").await;
    assert_eq!(unsigned.status, 401);
    let without = TestServer::start().await;
    let answer = without
        .api(
            "GET",
            &format!("/apps/{ID}/channels/kitchen/events"),
            &[],
            "",
        )
        .await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn past_events_are_bounded_and_the_quietest_channels_lose_theirs() {
    let server = TestServer::with(|config| {
        everything(&mut config.apps[0]);
        config.history.bytes = 1 << 20;
    })
    .await;
    let data = "x".repeat(10_000);
    for number in 0..300 {
        server
            .trigger(&format!("kitchen-{number}"), "order", &data)
            .await;
    }

    let metrics = server.ops("/metrics").await.body;
    let figure = |name: &str| -> u64 {
        let line = metrics
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(figure("fanfare_history_bytes") <= 1 << 20);
    assert!(figure("fanfare_history_evicted_channels_total") >= 190);
    let read = async |channel: &str| {
        let page = server
            .get(&format!("/channels/{channel}/events"), &[])
            .await;
        page["events"].as_array().unwrap().len()
    };
    assert_eq!(read("kitchen-0").await, 0);
    assert_eq!(read("kitchen-299").await, 1);
}
