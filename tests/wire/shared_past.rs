//! Past events and sessions of many nodes, with a real Redis between them.

use std::time::Duration;

use fanfare::config::{Config, HistoryRuleConfig};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::deployment::Deployment;
use super::proxy::{Fault, Proxy};
use super::redis::Redis;
use super::sessions::{
    Heard, asked, everything, hear, is_slow_and_returns, leave, pong, small_queues, subscribe,
    target,
};
use super::support::{Client, TestServer, eventually};

const CHANNEL: &str = "private-kitchen";

async fn node_with(redis: &Redis, change: impl FnOnce(&mut Config)) -> TestServer {
    let server = TestServer::with(|config| {
        config.engine.url = Some(redis.url().as_str().into());
        config.engine.node_timeout = Duration::from_secs(3);
        everything(&mut config.apps[0]);
        change(config);
    })
    .await;
    server.ready().await;
    server
}

async fn node(redis: &Redis) -> TestServer {
    node_with(redis, |_| {}).await
}

/// A page that is subscribed.
async fn page(server: &TestServer, session: &str, channel: &str) -> (Client, Heard) {
    let mut client = server.connect_to(&target(session)).await;
    let heard = subscribe(&mut client, channel, json!({}), true).await;
    (client, heard)
}

/// Waits until Redis has been told how far a session is.
async fn saved(redis: &Redis, session: &str, channel: &str, at_least: &str) {
    eventually("a session in Redis", async || {
        let keys = redis.command(&["KEYS", &format!("*:w:{session}")]).await;
        let redis::Value::Array(keys) = keys else {
            panic!("{keys:?}");
        };
        for key in keys {
            let redis::Value::BulkString(key) = key else {
                panic!("{key:?}");
            };
            let key = String::from_utf8(key).unwrap();
            let field = format!("c{channel}");
            let position = redis.command(&["HGET", &key, &field]).await;
            if let redis::Value::BulkString(position) = position {
                return String::from_utf8(position).unwrap().as_str() >= at_least;
            }
        }
        false
    })
    .await;
}

/// Reads one event and confirms it; returns its id.
async fn handle(client: &mut Client, data: &str) -> String {
    let mut event = client.next().await;
    while event["event"] == "pusher:ping" {
        // About what was before.
        pong(client).await;
        event = client.next().await;
    }
    assert_eq!(event["data"], data, "{event}");
    assert_eq!(asked(client).await, Vec::<String>::new());
    pong(client).await;
    event["event_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_session_goes_on_on_another_node_on_every_kind_of_channel() {
    let redis = Redis::start().await;
    let (one, two) = (node(&redis).await, node(&redis).await);
    for channel in [
        "kitchen",
        CHANNEL,
        "private-encrypted-kitchen",
        "presence-kitchen",
        "cache-kitchen",
        "private-cache-kitchen",
    ] {
        let session = format!("page-{channel}");
        let (mut client, first) = page(&one, &session, channel).await;
        assert_eq!(first, Heard::gap("new"), "{channel}");
        two.trigger(channel, "order", "seen").await;
        let id = handle(&mut client, "seen").await;
        saved(&redis, &session, channel, &id).await;
        leave(&one, client, channel).await;
        for (node, data) in [(&one, "a"), (&two, "b"), (&one, "c")] {
            node.trigger(channel, "order", data).await;
            let all = async || {
                let path = format!("/channels/{channel}/events");
                let page = two.get(&path, &[]).await;
                page["events"].as_array().unwrap().last().unwrap()["data"] == data
            };
            eventually("an event in the past", all).await;
        }

        let (mut client, again) = page(&two, &session, channel).await;

        assert_eq!(again, Heard::events(&["a", "b", "c"]), "{channel}");
        one.trigger(channel, "order", "live").await;
        assert_eq!(client.next().await["data"], "live");
    }
}

#[tokio::test]
async fn all_nodes_have_one_order() {
    const EACH: usize = 100;
    let redis = Redis::start().await;
    let nodes = [node(&redis).await, node(&redis).await, node(&redis).await];
    let mut clients = Vec::new();
    for node in &nodes {
        clients.push(node.subscriber("kitchen").await);
    }

    let publishers = nodes.iter().enumerate().map(|(number, node)| async move {
        for event in 0..EACH {
            let data = format!("{number}-{event}");
            node.trigger("kitchen", "order", &data).await;
        }
    });
    join_all(publishers).await;

    let mut all: Vec<Vec<(String, String)>> = Vec::new();
    for client in &mut clients {
        let mut heard = Vec::new();
        while heard.len() < EACH * nodes.len() {
            let event = client.next().await;
            let text = |name: &str| event[name].as_str().unwrap().to_owned();
            heard.push((text("event_id"), text("data")));
        }
        assert!(heard.is_sorted_by(|a, b| a.0 < b.0), "{heard:?}");
        client.receives_nothing_before_pong().await;
        all.push(heard);
    }
    assert_eq!(all[0], all[1]);
    assert_eq!(all[0], all[2]);
    let past = nodes[2]
        .get("/channels/kitchen/events", &[("limit", "1000")])
        .await;
    let ids: Vec<&Value> = past["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["id"])
        .collect();
    assert_eq!(ids, all[0].iter().map(|(id, _)| id).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_session_of_a_killed_node_goes_on_on_another() {
    let mut deployment = Deployment::start().await;
    deployment.app = r#"history = [{ channels = "*" }]"#.to_owned();
    let (one, mut dying) = (deployment.node().await, deployment.node().await);
    let (mut client, _) = page(&dying, "a-page", CHANNEL).await;
    one.trigger(CHANNEL, "order", "seen").await;
    let id = handle(&mut client, "seen").await;
    saved(&deployment.redis, "a-page", CHANNEL, &id).await;
    one.trigger(CHANNEL, "order", "not confirmed").await;
    assert_eq!(client.next().await["data"], "not confirmed");

    dying.kill().await;
    one.trigger(CHANNEL, "order", "missed").await;

    let (mut client, heard) = page(&one, "a-page", CHANNEL).await;
    assert_eq!(heard, Heard::events(&["not confirmed", "missed"]));
    one.trigger(CHANNEL, "order", "live").await;
    assert_eq!(client.next().await["data"], "live");
}

#[tokio::test]
async fn a_restart_of_the_server_loses_nothing() {
    let redis = Redis::start().await;
    let mut server = node_with(&redis, |config| {
        config.server.shutdown_grace = Duration::ZERO;
    })
    .await;
    let (mut client, _) = page(&server, "a-page", CHANNEL).await;
    server.trigger(CHANNEL, "order", "seen").await;
    handle(&mut client, "seen").await;
    // Answered, so that the server has taken it.
    client.receives_nothing_before_pong().await;
    // Nobody waits for these to come back, so that some are still on their way.
    let numbers: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    for number in &numbers {
        server.trigger(CHANNEL, "order", number).await;
    }
    server.stop();
    server.ended().await;

    let server = node(&redis).await;
    server.trigger(CHANNEL, "order", "missed").await;
    eventually("an event in the past", async || {
        let path = format!("/channels/{CHANNEL}/events");
        server.get(&path, &[]).await["events"]
            .as_array()
            .unwrap()
            .len()
            == 52
    })
    .await;
    let (_client, heard) = page(&server, "a-page", CHANNEL).await;

    let expected: Vec<&str> = numbers
        .iter()
        .map(String::as_str)
        .chain(["missed"])
        .collect();
    assert_eq!(heard, Heard::events(&expected));
}

/// What came while nobody could be told has no id, and gets one later; whoever has
/// it does not get it again.
#[tokio::test]
async fn clients_are_served_while_redis_is_away_and_the_others_hear_of_it_later() {
    let mut redis = Redis::start().await;
    let (one, two) = (node(&redis).await, node(&redis).await);
    let mut here = one.subscriber("kitchen").await;
    let mut there = two.subscriber("kitchen").await;
    one.trigger("kitchen", "order", "1").await;
    for client in [&mut here, &mut there] {
        assert_eq!(client.next().await["data"], "1");
    }

    redis.stop();
    eventually("Redis to be missed", async || {
        one.ops("/ready").await.body != "OK\n" && two.ops("/ready").await.body != "OK\n"
    })
    .await;
    one.trigger("kitchen", "order", "2").await;
    let alone = here.next().await;
    assert_eq!((&alone["data"], alone.get("event_id")), (&json!("2"), None));
    // Where it comes to a channel with subscribers there is what they got.
    let (mut page_here, heard) = page(&one, "a-page", "kitchen").await;
    assert_eq!(heard.gap.as_deref(), Some("new"));
    let (mut b_page, heard) = page(&one, "b-page", "elsewhere").await;
    assert_eq!(heard, Heard::gap("unavailable"));

    redis.resume().await;
    one.ready().await;
    two.ready().await;

    // It has begun anew, so that nothing can be said of what was before.
    let mut later = there.next().await;
    while later["event"] == "fanfare:gap" {
        later = there.next().await;
    }
    assert_eq!(later["data"], "2");
    assert!(later["event_id"].is_string());
    one.trigger("kitchen", "order", "3").await;
    for client in [&mut here, &mut there, &mut page_here] {
        let mut next = client.next().await;
        while next["event"] == "fanfare:gap" || next["event"] == "pusher:ping" {
            next = client.next().await;
        }
        assert_eq!(next["data"], "3");
    }

    // Who came meanwhile has a place from now on, whoever asks first.
    let (mut c_page, _) = page(&one, "c-page", "elsewhere").await;
    b_page
        .send(&json!({"event": "pusher:ping", "data": {}}))
        .await;
    assert_eq!(hear(&mut b_page, true).await, Heard::gap("unavailable"));
    two.trigger("elsewhere", "order", "4").await;
    for page in [&mut b_page, &mut c_page] {
        handle(page, "4").await;
    }
    drop(c_page);
    leave(&one, b_page, "elsewhere").await;
    two.trigger("elsewhere", "order", "5").await;
    let (_, heard) = page(&one, "b-page", "elsewhere").await;
    assert_eq!(heard, Heard::events(&["5"]));
}

/// Nobody is told of a gap when a kitchen begins in the morning.
#[tokio::test]
async fn a_silence_longer_than_the_past_is_no_gap() {
    let redis = Redis::start().await;
    let short = |config: &mut Config| {
        let mut rule = HistoryRuleConfig::new("*");
        rule.seconds = 1;
        config.apps[0].history = vec![rule];
    };
    let (one, two) = (
        node_with(&redis, short).await,
        node_with(&redis, short).await,
    );
    let mut client = two.subscriber("kitchen").await;
    one.trigger("kitchen", "order", "1").await;
    assert_eq!(client.next().await["data"], "1");
    eventually("the end of the past", async || {
        redis.command(&["KEYS", "*:b:*"]).await == redis::Value::Array(Vec::new())
    })
    .await;

    one.trigger("kitchen", "order", "2").await;

    let next = client.next().await;
    assert_eq!(
        (&next["event"], &next["data"]),
        (&json!("order"), &json!("2"))
    );
}

/// The newer connection keeps a session, also against one that could not tell Redis of
/// itself.
#[tokio::test]
async fn who_took_a_session_during_an_outage_does_not_take_it_from_a_newer_one() {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let through = |config: &mut Config| config.engine.url = Some(proxy.redis_url().as_str().into());
    let (one, two) = (node_with(&redis, through).await, node(&redis).await);
    proxy.set(Fault::Cut);
    eventually("Redis to be missed", async || {
        one.ops("/ready").await.body != "OK\n"
    })
    .await;
    let (older, _) = page(&one, "a-page", "kitchen").await;
    let (mut newer, _) = page(&two, "a-page", "kitchen").await;

    proxy.set(Fault::None);
    one.ready().await;
    // Whatever the older node has to say of its session, it has said.
    let (marker, _) = page(&one, "marker", "kitchen").await;
    saved(&redis, "marker", "kitchen", "").await;

    two.trigger("kitchen", "order", "1").await;
    let id = handle(&mut newer, "1").await;
    saved(&redis, "a-page", "kitchen", &id).await;
    drop((older, marker));
}

/// Redis has kept what it knew of the session.
#[tokio::test]
async fn a_session_that_was_taken_while_redis_was_out_of_reach_is_kept_again() {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let through = |config: &mut Config| config.engine.url = Some(proxy.redis_url().as_str().into());
    let one = node_with(&redis, through).await;
    let (mut client, _) = page(&one, "a-page", "kitchen").await;
    one.trigger("kitchen", "order", "1").await;
    let id = handle(&mut client, "1").await;
    saved(&redis, "a-page", "kitchen", &id).await;
    leave(&one, client, "kitchen").await;

    proxy.set(Fault::Cut);
    eventually("Redis to be missed", async || {
        one.ops("/ready").await.body != "OK\n"
    })
    .await;
    let (mut client, _) = page(&one, "a-page", "kitchen").await;
    proxy.set(Fault::None);
    one.ready().await;
    one.trigger("kitchen", "order", "2").await;

    let mut next = client.next().await;
    while next["event"] != "order" {
        next = client.next().await;
    }
    assert_eq!(asked(&mut client).await, Vec::<String>::new());
    pong(&mut client).await;
    saved(
        &redis,
        "a-page",
        "kitchen",
        next["event_id"].as_str().unwrap(),
    )
    .await;
}

/// Cuts what the nodes hear of each other, and nothing else.
#[tokio::test]
async fn what_a_node_did_not_hear_it_reads() {
    let redis = Redis::start().await;
    let (one, two) = (node(&redis).await, node(&redis).await);
    let mut there = two.subscriber("kitchen").await;
    let mut number = 0;
    let mut expected = 0;
    for _ in 0..5 {
        let cut = redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        let trigger = async {
            for _ in 0..20 {
                one.trigger("kitchen", "order", &number.to_string()).await;
                number += 1;
            }
        };
        tokio::join!(cut, trigger);
        while expected < number {
            let event = there.next().await;
            assert_eq!(event["data"], expected.to_string(), "{event}");
            expected += 1;
        }
        one.ready().await;
        two.ready().await;
    }
}

#[tokio::test]
async fn the_newer_connection_takes_the_session_from_another_node() {
    let redis = Redis::start().await;
    let (one, two) = (node(&redis).await, node(&redis).await);
    let (mut older, _) = page(&one, "a-page", CHANNEL).await;

    let (mut newer, heard) = page(&two, "a-page", CHANNEL).await;

    assert_eq!(older.closed().await.0, 4010);
    assert_eq!(heard.data, Vec::<String>::new());
    newer.receives_nothing_before_pong().await;
}

#[tokio::test]
async fn a_session_of_a_user_is_given_to_nobody_else_on_any_node() {
    let redis = Redis::start().await;
    let binding = |config: &mut Config| config.apps[0].bind_sessions = true;
    let (one, two) = (
        node_with(&redis, binding).await,
        node_with(&redis, binding).await,
    );
    let mut ann = one.connect_to(&target("a-page")).await;
    ann.sign_in(r#"{"id":"ann"}"#).await;
    subscribe(&mut ann, "kitchen", json!({}), true).await;

    let mut bob = two.connect_to(&target("a-page")).await;
    bob.sign_in(r#"{"id":"bob"}"#).await;
    let heard = subscribe(&mut bob, "kitchen", json!({}), true).await;

    assert_eq!(heard, Heard::gap("other_user"));
    ann.receives_nothing_before_pong().await;
}

#[tokio::test]
async fn who_names_its_last_event_gets_each_later_one_once_on_any_node() {
    let redis = Redis::start().await;
    let (one, two) = (node(&redis).await, node(&redis).await);
    let mut client = one.subscriber("kitchen").await;
    for data in ["1", "2", "3"] {
        two.trigger("kitchen", "order", data).await;
    }
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(client.next().await["event_id"].clone());
    }

    for (seen, expected) in [(0, &["2", "3"][..]), (2, &[])] {
        let mut client = two.connect().await;
        let since = json!({"last_event_id": ids[seen]});
        let heard = subscribe(&mut client, "kitchen", since, false).await;
        assert_eq!(heard, Heard::events(expected));
    }
    let mut client = one.connect().await;
    let since = json!({"last_event_id": "9999999999999-1"});
    let heard = subscribe(&mut client, "kitchen", since, false).await;
    assert_eq!(heard, Heard::gap("unknown_event"));
}

/// Nobody is subscribed on the node that they return to, so that it begins a copy of the
/// past while events come.
#[tokio::test]
async fn who_returns_while_events_flow_misses_none() {
    let redis = Redis::start().await;
    let long = |config: &mut Config| config.apps[0].history[0].events = 50_000;
    let one = node_with(&redis, long).await;
    let two = node_with(&redis, long).await;
    let mut client = one.subscriber("kitchen").await;
    one.trigger("kitchen", "order", "0").await;
    let since = json!({"last_event_id": client.next().await["event_id"]});
    leave(&one, client, "kitchen").await;
    let publishing = async {
        for number in 1_u64.. {
            one.trigger("kitchen", "order", &number.to_string()).await;
        }
    };
    let mut heard_of = 0;
    let returning = async {
        for _ in 0..40 {
            let mut client = two.connect().await;
            let heard = subscribe(&mut client, "kitchen", since.clone(), false).await;
            assert_eq!(heard.gap, None);
            let expected = (1..=heard.data.len()).map(|number| number.to_string());
            assert!(heard.data.iter().eq(expected.collect::<Vec<_>>().iter()));
            assert!(heard.data.len() >= heard_of);
            heard_of = heard.data.len();
            leave(&two, client, "kitchen").await;
        }
    };
    tokio::select! {
        () = publishing => {}
        () = returning => {}
    }
    assert!(heard_of > 0);
}

#[tokio::test]
async fn what_redis_does_not_have_any_more_is_a_gap() {
    let redis = Redis::start().await;
    let short = |config: &mut Config| {
        let mut rule = HistoryRuleConfig::new("*");
        rule.events = 2;
        config.apps[0].history = vec![rule];
    };
    let one = node_with(&redis, short).await;
    let (client, _) = page(&one, "a-page", "kitchen").await;
    saved(&redis, "a-page", "kitchen", "").await;
    leave(&one, client, "kitchen").await;
    for data in ["1", "2", "3"] {
        one.trigger("kitchen", "order", data).await;
    }
    eventually("the last event", async || {
        let page = one.get("/channels/kitchen/events", &[]).await;
        page["events"]
            .as_array()
            .unwrap()
            .last()
            .is_some_and(|event| event["data"] == "3")
    })
    .await;
    let (client, heard) = page(&one, "a-page", "kitchen").await;
    let cut = Heard {
        gap: Some("history".to_owned()),
        data: vec!["2".to_owned(), "3".to_owned()],
    };
    assert_eq!(heard, cut);
    leave(&one, client, "kitchen").await;

    redis.flush().await;
    one.trigger("kitchen", "order", "4").await;
    let two = node_with(&redis, short).await;
    eventually("the event", async || {
        let page = two.get("/channels/kitchen/events", &[]).await;
        page["events"].as_array().unwrap().len() == 1
    })
    .await;
    let (_, heard) = page(&one, "a-page", "kitchen").await;
    assert_eq!(heard.gap.as_deref(), Some("history"));
    let (_, heard) = page(&two, "another", "kitchen").await;
    assert_eq!(heard, Heard::gap("new"));
}

#[tokio::test]
async fn a_slow_page_gets_the_rest_from_redis() {
    let redis = Redis::start().await;
    let server = node_with(&redis, small_queues).await;
    is_slow_and_returns(&server).await;
}

/// Also those that end before Redis was told of them.
#[tokio::test]
async fn sessions_in_redis_are_bounded() {
    const SESSIONS: usize = 200;
    let redis = Redis::start().await;
    let one = node_with(&redis, |config| config.history.sessions = 16).await;
    for number in 0..SESSIONS {
        let (client, _) = page(&one, &format!("page-{number}"), "kitchen").await;
        drop(client);
    }

    eventually("few sessions", async || {
        let keys = redis.command(&["KEYS", "*:w:*"]).await;
        let redis::Value::Array(keys) = keys else {
            panic!("{keys:?}");
        };
        keys.len() <= 16
    })
    .await;
}

/// Client events of another node are not given back to whoever has sent them.
#[tokio::test]
async fn a_client_does_not_get_its_own_events_on_another_node() {
    let redis = Redis::start().await;
    let with_client_events = |config: &mut Config| {
        config.apps[0].history[0].client_events = true;
    };
    let one = node_with(&redis, with_client_events).await;
    let two = node_with(&redis, with_client_events).await;
    let (mut sender, _) = page(&one, "sender", CHANNEL).await;
    let (mut other, _) = page(&two, "other", CHANNEL).await;
    sender
        .send(&json!({"event": "client-x", "channel": CHANNEL, "data": "\"hello\""}))
        .await;
    assert_eq!(other.next().await["event"], "client-x");
    sender.send(&json!({"event": "pusher:ping"})).await;
    assert_eq!(hear(&mut sender, true).await, Heard::events(&[]));
    leave(&one, sender, "nothing").await;
    saved(&redis, "sender", CHANNEL, "").await;

    let (_, heard) = page(&two, "sender", CHANNEL).await;

    assert_eq!(heard, Heard::events(&[]));
}
