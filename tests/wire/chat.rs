//! Personal updates of a chat: from a real RabbitMQ to the pages of each user. The
//! rows in the comments are those of docs/adapters/chat.md.

use std::time::Duration;

use bytes::Bytes;
use fanfare::adapter::broker::{Letter, Link, Outbox};
use fanfare::config::{AppConfig, BrokerUrl, Config, HistoryRuleConfig, QueueMode, StoreConfig};
use fanfare::store::{Database, StoreError};
use lapin::BasicProperties;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::auth::{Elsewhere, JWT_SECRET, ask, subscribe, token};
use crate::proxy::{Fault, Proxy};
use crate::rabbitmq::{Publisher, RabbitMq, Vhost};
use crate::redis::Redis;
use crate::sessions::{self, Heard};
use crate::support::{
    Client, HttpClient, ID, KEY, SECRET, TestServer, app, eventually, eventually_within,
};

/// Time for RabbitMQ to come and for its clients to notice, on a busy machine.
const RETURN: Duration = Duration::from_secs(90);

fn chat(config: &mut Config, url: &str) {
    config.auth.jwt_secret = Some(JWT_SECRET.into());
    config.adapters.chat.enabled = true;
    config.adapters.chat.url = url.into();
    config.adapters.vacate_grace_ms = 100;
}

async fn server(vhost: &Vhost) -> TestServer {
    server_with(vhost, |_| {}).await
}

async fn server_with(vhost: &Vhost, change: impl FnOnce(&mut Config)) -> TestServer {
    TestServer::with(|config| {
        chat(config, &vhost.url());
        change(config);
    })
    .await
}

/// A virtual host in which the chat runs.
async fn broker() -> (Vhost, Publisher) {
    let vhost = Vhost::new().await;
    let publisher = Publisher::new(&vhost.url()).await;
    publisher.declare_exchange().await;
    (vhost, publisher)
}

fn channel(user: &str) -> String {
    format!("private-user;{user}")
}

/// An open page of a user, which may not be bound yet.
async fn opened(server: &TestServer, user: &str) -> Client {
    let token = token(json!({"userId": user, "phone": "+992"}));
    let mut client = server.connect().await;
    subscribe(server, &mut client, &token, &channel(user)).await;
    client
}

/// An open page of a user whose updates come.
async fn page(server: &TestServer, user: &str) -> Client {
    let client = opened(server, user).await;
    bound(server, user, true).await;
    client
}

async fn get(server: &TestServer, path: &str) -> Value {
    let path = format!("/adapters/chat3/v1/{path}");
    let answer = server.http("GET", &path, "").await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.json()
}

/// Waits until a user is bound, or is not.
async fn bound(server: &TestServer, user: &str, expected: bool) {
    let path = format!("users/{user}");
    eventually_within(RETURN, &format!("{user} bound: {expected}"), async || {
        get(server, &path).await["subscribed"] == expected
    })
    .await;
}

fn update(user: &str, number: u32) -> String {
    json!({"_id": format!("u{number}"), "userId": user, "eventType": "user.update", "data": number})
        .to_string()
}

/// The data of the next event, which must be `chat3:update` for this user.
async fn next_update(client: &mut Client, user: &str) -> String {
    let message = client.next().await;
    assert_eq!(message["event"], "chat3:update", "{message}");
    assert_eq!(message["channel"], channel(user).as_str());
    message["data"].as_str().unwrap().to_owned()
}

async fn figure(server: &TestServer, name: &str) -> u64 {
    let metrics = server.ops("/metrics").await.body;
    let line = metrics
        .lines()
        .find(|line| line.starts_with(&format!("{name} ")))
        .unwrap_or_else(|| panic!("no {name} in {metrics}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// C-15 to C-28, and C-29: what the chat wrote arrives as it was written.
#[tokio::test]
async fn c3_each_event_type() {
    let (vhost, publisher) = broker().await;
    let server = server(&vhost).await;
    let mut page = page(&server, "usr_1").await;
    for (event_type, further) in [
        ("message.create", Some("message:new")),
        ("message.update", Some("message:update")),
        ("message.delete", Some("message:update")),
        ("message.reaction.add", Some("message:update")),
        ("message.reaction.update", Some("message:update")),
        ("message.reaction.remove", Some("message:update")),
        ("message.status.create", Some("message:update")),
        ("message.status.update", Some("message:update")),
        ("dialog.create", Some("dialog:update")),
        ("dialog.update", Some("dialog:update")),
        ("dialog.delete", Some("dialog:update")),
        ("dialog.member.add", Some("dialog:update")),
        ("dialog.member.remove", Some("dialog:update")),
        ("user.update", None),
    ] {
        let data = r#"{ "content":"Привет","n":1.50}"#;
        let body = format!(
            r#"{{"_id":"u1","tenantId":"t","userId":"usr_1","dialogId":"d1","entityId":"m1","eventId":7,"eventType":"{event_type}","data":{data},"published":true}}"#
        );

        publisher
            .publish("user.usr_1.messageupdate", body.as_bytes())
            .await;

        assert_eq!(next_update(&mut page, "usr_1").await, body);
        if let Some(further) = further {
            let message = page.next().await;
            assert_eq!(
                (&message["event"], &message["channel"]),
                (&json!(further), &json!(channel("usr_1")))
            );
            let expected = if further == "message:new" {
                data
            } else {
                &body
            };
            assert_eq!(message["data"], expected);
        }
    }
    page.receives_nothing_before_pong().await;
    assert_eq!(figure(&server, "fanfare_chat3_updates_total").await, 14);
}

/// C-53: each page of a user gets each update once, on whatever node it is.
#[tokio::test]
async fn c3_two_nodes_no_split() {
    let (vhost, publisher) = broker().await;
    let redis = Redis::start().await;
    let node = async || {
        let node = server_with(&vhost, |config| {
            config.engine.url = Some(redis.url().as_str().into());
        })
        .await;
        node.ready().await;
        node
    };
    let (one, two) = (node().await, node().await);
    let mut pages = [
        page(&one, "usr_1").await,
        page(&one, "usr_1").await,
        page(&two, "usr_1").await,
    ];
    let mut other = page(&two, "usr_2").await;

    for number in 0..30 {
        let body = update("usr_1", number);
        publisher
            .publish("user.usr_1.userupdate", body.as_bytes())
            .await;
    }

    for page in &mut pages {
        for number in 0..30 {
            assert_eq!(next_update(page, "usr_1").await, update("usr_1", number));
        }
        page.receives_nothing_before_pong().await;
    }
    other.receives_nothing_before_pong().await;
    assert_eq!(vhost.queues().await.len(), 3);
}

/// C-05, C-06, C-11, C-14, C-49: a queue while there is a page, and a moment longer.
#[tokio::test]
async fn c3_bind_only_while_connected() {
    let (vhost, publisher) = broker().await;
    let server = server_with(&vhost, |config| {
        config.adapters.vacate_grace_ms = 1_500;
    })
    .await;
    assert!(vhost.queues().await.is_empty());

    let first = page(&server, "usr_a3f9k2p1").await;
    let second = page(&server, "usr_a3f9k2p1").await;

    let queues = vhost.queues().await;
    assert_eq!(queues.len(), 1, "{queues:?}");
    assert!(queues[0].ends_with(".user.usr_a3f9k2p1.updates"));
    assert_eq!(vhost.bindings().await, ["user.usr_a3f9k2p1.*"]);
    // Reloads: the queue stays, and what comes then is not lost to the new page.
    drop((first, second));
    let mut third = page(&server, "usr_a3f9k2p1").await;
    assert_eq!(vhost.queues().await, queues);
    let body = update("usr_a3f9k2p1", 1);
    publisher
        .publish("user.usr_a3f9k2p1.dialogupdate", body.as_bytes())
        .await;
    assert_eq!(next_update(&mut third, "usr_a3f9k2p1").await, body);

    drop(third);

    bound(&server, "usr_a3f9k2p1", false).await;
    eventually("no queue", async || vhost.queues().await.is_empty()).await;
    assert!(vhost.bindings().await.is_empty());
    assert_eq!(figure(&server, "fanfare_chat3_subscribers").await, 0);
}

/// C-47, C-54 to C-57: nobody binds the updates of others, and a server that stops
/// leaves nothing behind.
#[tokio::test]
async fn c3_evil_user_id() {
    let (vhost, publisher) = broker().await;
    let mut server = server_with(&vhost, |config| {
        config.server.shutdown_grace = Duration::from_millis(100);
    })
    .await;
    let mut good = page(&server, "usr_1").await;
    let mut evil = Vec::new();
    for (id, channel) in [
        ("*", "private-user;=Kg"),
        ("#", "private-user;=Iw"),
        ("usr_1.*", "private-user;=dXNyXzEuKg"),
        ("a.b", "private-user;a.b"),
    ] {
        let token = token(json!({"userId": id}));
        let mut client = server.connect().await;
        // Their own room, so the rules allow it.
        subscribe(&server, &mut client, &token, channel).await;
        evil.push(client);
        let stranger = ask(&server, &token, "1.1", "private-user;usr_1").await;
        assert_eq!(stranger.status, 403);
    }
    eventually("four refusals", async || {
        figure(&server, "fanfare_chat3_refused_users_total").await == 4
    })
    .await;

    let body = update("usr_1", 1);
    publisher
        .publish("user.usr_1.userupdate", body.as_bytes())
        .await;

    assert_eq!(next_update(&mut good, "usr_1").await, body);
    for client in &mut evil {
        client.receives_nothing_before_pong().await;
    }
    assert_eq!(vhost.bindings().await, ["user.usr_1.*"]);
    let anonymous = ask(&server, "", "1.1", "private-user;usr_1").await;
    assert_eq!(anonymous.status, 401);
    server.stop();
    server.ended().await;
    eventually("no queue", async || vhost.queues().await.is_empty()).await;
}

/// C-29, C-51: what is no update of the user is rejected once, and stops nothing.
#[tokio::test]
async fn c3_poison() {
    let (vhost, publisher) = broker().await;
    let server = server(&vhost).await;
    let mut page = page(&server, "usr_1").await;
    let large = json!({
        "_id": "u9", "userId": "usr_1", "eventType": "message.update", "entityId": "m9",
        "dialogId": "d9", "data": "x".repeat(20_000),
    });
    for body in [
        &b""[..],
        b"{",
        b"\xff\xfe",
        b"[1]",
        br#"{"userId":"usr_2","eventType":"message.create","data":{}}"#,
        br#"{"userId":"usr_1","userId":"usr_2"}"#,
        large.to_string().as_bytes(),
        update("usr_1", 1).as_bytes(),
    ] {
        publisher.publish("user.usr_1.messageupdate", body).await;
    }

    let shortened = next_update(&mut page, "usr_1").await;
    assert_eq!(
        shortened,
        r#"{"_id":"u9","eventType":"message.update","entityId":"m9","dialogId":"d9","truncated":true}"#
    );
    assert_eq!(next_update(&mut page, "usr_1").await, update("usr_1", 1));
    page.receives_nothing_before_pong().await;
    for (name, expected) in [
        ("malformed_updates", 5),
        ("foreign_updates", 1),
        ("shortened_updates", 1),
        ("dropped_updates", 0),
        ("updates", 2),
    ] {
        let name = format!("fanfare_chat3_{name}_total");
        assert_eq!(figure(&server, &name).await, expected, "{name}");
    }
    let diagnosis = get(&server, "diagnose/usr_1").await;
    assert_eq!(diagnosis["queue"]["messages"], 0, "{diagnosis}");
}

/// Where users share a queue each still gets what is theirs, once.
#[tokio::test]
async fn users_may_share_a_queue() {
    let (vhost, publisher) = broker().await;
    let server = server_with(&vhost, |config| {
        config.adapters.chat.queue_mode = QueueMode::PerNode;
        config.adapters.chat.bindings = vec![
            "user.{userId}.*".to_owned(),
            "user.{type}.{userId}.*".to_owned(),
        ];
    })
    .await;
    let mut first = page(&server, "usr_1").await;
    let mut second = page(&server, "usr_2").await;
    let third = page(&server, "cnt_3").await;
    let queues = vhost.queues().await;
    assert_eq!(queues.len(), 1, "{queues:?}");

    for number in 0..10 {
        for user in ["usr_1", "usr_2"] {
            let body = update(user, number);
            let key = if number % 2 == 0 {
                format!("user.{user}.userupdate")
            } else {
                format!("user.usr.{user}.userupdate")
            };
            publisher.publish(&key, body.as_bytes()).await;
        }
    }
    // The key says usr_2, the update says otherwise.
    publisher
        .publish("user.usr_2.userupdate", update("usr_1", 99).as_bytes())
        .await;

    for (client, user) in [(&mut first, "usr_1"), (&mut second, "usr_2")] {
        for number in 0..10 {
            assert_eq!(next_update(client, user).await, update(user, number));
        }
        client.receives_nothing_before_pong().await;
    }
    let stats = get(&server, "stats?users=true").await;
    assert_eq!(
        (&stats["subscribers"], &stats["users"]),
        (&json!(3), &json!(["cnt_3", "usr_1", "usr_2"]))
    );
    eventually("the foreign one", async || {
        figure(&server, "fanfare_chat3_foreign_updates_total").await == 1
    })
    .await;
    let diagnosis = get(&server, "diagnose/cnt_3").await;
    assert_eq!(diagnosis["queue"]["mode"], "per_node", "{diagnosis}");
    assert_eq!(
        diagnosis["bindings"],
        json!(["user.cnt_3.*", "user.cnt.cnt_3.*"])
    );
    drop(third);
    bound(&server, "cnt_3", false).await;
    assert!(
        !vhost
            .bindings()
            .await
            .iter()
            .any(|key| key.contains("cnt_3"))
    );
}

/// When users become many, those who have queues of their own are moved to the shared
/// one while updates flow: none is lost, none comes twice, and none overtakes another.
#[tokio::test]
async fn many_users_are_moved_to_a_shared_queue_without_loss_or_duplicates() {
    let (vhost, publisher) = broker().await;
    let server = server_with(&vhost, |config| {
        config.adapters.chat.per_node_above = 20;
        // Few on their way, so that some wait at the broker.
        config.adapters.chat.prefetch = 2;
    })
    .await;
    let name = |number: usize| format!("usr_{number}");
    let mut pages = Vec::new();
    for number in 0..20 {
        pages.push(page(&server, &name(number)).await);
    }
    assert_eq!(vhost.queues().await.len(), 20);
    let moved = async || figure(&server, "fanfare_chat3_moved_users_total").await;

    let is_over = CancellationToken::new();
    let publish = async {
        let mut rounds = 0;
        while !is_over.is_cancelled() || rounds < 20 {
            for number in 0..20 {
                let user = name(number);
                let key = format!("user.{user}.userupdate");
                publisher
                    .publish(&key, update(&user, rounds).as_bytes())
                    .await;
            }
            rounds += 1;
        }
        rounds
    };
    let arrive = async {
        let late = page(&server, "usr_20").await;
        eventually_within(RETURN, "twenty moves", async || moved().await == 20).await;
        is_over.cancel();
        late
    };
    let (rounds, late) = tokio::join!(publish, arrive);

    for (number, page) in pages.iter_mut().enumerate() {
        let user = name(number);
        for round in 0..rounds {
            assert_eq!(next_update(page, &user).await, update(&user, round));
        }
        page.receives_nothing_before_pong().await;
    }
    let queues = vhost.queues().await;
    assert_eq!(queues.len(), 1, "{queues:?}");
    assert_eq!(vhost.bindings().await.len(), 21);

    // When they have become few, who comes has a queue again.
    drop(late);
    pages.truncate(5);
    for number in 5..=20 {
        bound(&server, &name(number), false).await;
    }
    let _own = page(&server, "usr_30").await;
    assert_eq!(vhost.queues().await.len(), 2);
    assert_eq!(moved().await, 20);
}

/// C-66: updates wait for a user who is away, and come once, wherever the user is
/// then.
#[tokio::test]
async fn updates_wait_for_a_user_who_is_away() {
    let (vhost, publisher) = broker().await;
    let redis = Redis::start().await;
    let node = async || {
        let node = server_with(&vhost, |config| {
            config.engine.url = Some(redis.url().as_str().into());
            config.adapters.chat.offline_buffer_s = 600;
        })
        .await;
        node.ready().await;
        node
    };
    let (one, two) = (node().await, node().await);
    let mut here = page(&one, "usr_1").await;
    let mut there = page(&two, "usr_1").await;
    let publish = async |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let body = update("usr_1", number);
            publisher
                .publish("user.usr_1.userupdate", body.as_bytes())
                .await;
        }
    };
    publish(0..10).await;
    for client in [&mut here, &mut there] {
        for number in 0..10 {
            assert_eq!(next_update(client, "usr_1").await, update("usr_1", number));
        }
        client.receives_nothing_before_pong().await;
    }

    // One of the two goes: the other one gets what comes, whichever consumed before.
    drop(here);
    publish(10..20).await;
    // What is on its way between the nodes may be overtaken by what is not.
    let mut heard = Vec::new();
    for _ in 10..20 {
        heard.push(next_update(&mut there, "usr_1").await);
    }
    heard.sort();
    let expected: Vec<_> = (10..20).map(|number| update("usr_1", number)).collect();
    assert_eq!(heard, expected);
    drop(there);
    bound(&one, "usr_1", false).await;
    bound(&two, "usr_1", false).await;
    publish(20..30).await;

    let mut back = opened(&one, "usr_1").await;

    for number in 20..30 {
        assert_eq!(
            next_update(&mut back, "usr_1").await,
            update("usr_1", number)
        );
    }
    back.receives_nothing_before_pong().await;
    let queue = "fanfare.user.usr_1.updates.600s";
    assert_eq!(vhost.queues().await, [queue]);

    // Somebody deletes the queue, and the user gets another one.
    let path = format!("queues/{}/{queue}", vhost.name);
    vhost.manage("DELETE", &path, &Value::Null).await;
    eventually("another queue", async || {
        let diagnosis = get(&one, "diagnose/usr_1").await;
        diagnosis["queue"]["consumers"] == 1
    })
    .await;
    publish(30..31).await;
    assert_eq!(next_update(&mut back, "usr_1").await, update("usr_1", 30));
}

/// C-66 beside the server's own sessions: what a page had not heard when its connection
/// died comes from the history, what came while it was away from the queue, each once.
#[tokio::test]
async fn updates_that_wait_and_a_session_do_not_come_twice() {
    let (vhost, publisher) = broker().await;
    let server = server_with(&vhost, |config| {
        config.adapters.chat.offline_buffer_s = 600;
        config.apps[0].history = vec![HistoryRuleConfig::new("private-user;*")];
    })
    .await;
    let target = sessions::target("7b6c0000-0000-4000-8000-00000000c366");
    let room = channel("usr_1");
    let publish = async |numbers: std::ops::Range<u32>| {
        for number in numbers {
            publisher
                .publish("user.usr_1.userupdate", update("usr_1", number).as_bytes())
                .await;
        }
    };
    let expected = |numbers: std::ops::Range<u32>| -> Vec<String> {
        numbers.map(|number| update("usr_1", number)).collect()
    };
    let delivered = async |count: u64| {
        eventually("the updates", async || {
            figure(&server, "fanfare_chat3_updates_total").await == count
        })
        .await;
    };
    let mut first = server.connect_to(&target).await;
    sessions::subscribe(&mut first, &room, json!({}), true).await;
    bound(&server, "usr_1", true).await;
    publish(0..3).await;
    delivered(3).await;
    first.send(&json!({"event": "pusher:ping"})).await;
    assert_eq!(sessions::hear(&mut first, true).await.data, expected(0..3));

    // It does not hear these any more, and comes back before the server knows.
    publish(3..6).await;
    delivered(6).await;
    let mut second = server.connect_to(&target).await;
    let heard = sessions::subscribe(&mut second, &room, json!({}), true).await;
    assert_eq!(heard.gap, None);
    assert!(heard.data.ends_with(&expected(3..6)), "{heard:?}");
    assert!(expected(0..6).ends_with(&heard.data), "{heard:?}");
    second.send(&json!({"event": "pusher:ping"})).await;
    assert_eq!(sessions::hear(&mut second, true).await, Heard::events(&[]));

    // And these come while it is away.
    drop((first, second));
    bound(&server, "usr_1", false).await;
    publish(6..9).await;
    let mut third = server.connect_to(&target).await;
    let mut heard = sessions::subscribe(&mut third, &room, json!({}), true).await;
    delivered(9).await;
    third.send(&json!({"event": "pusher:ping"})).await;
    heard
        .data
        .extend(sessions::hear(&mut third, true).await.data);

    assert_eq!(heard.gap, None);
    assert_eq!(heard.data, expected(6..9));
}

/// C-51: what the server cannot take goes back to its queue once, and is dropped and
/// counted when it comes again.
#[tokio::test]
async fn an_update_that_cannot_be_taken_is_dropped_the_second_time() {
    let (vhost, publisher) = broker().await;
    let directory = tempfile::tempdir().unwrap();
    let store = StoreConfig {
        url: Some(
            format!("sqlite://{}/fanfare.db", directory.path().display())
                .as_str()
                .into(),
        ),
        ..StoreConfig::default()
    };
    let database = Database::connect(&store).await.unwrap().unwrap();
    database.migrate().await.unwrap();
    database.create(&app(ID, KEY, SECRET)).await.unwrap();
    let server = server_with(&vhost, |config| {
        config.store = store;
        config.apps.clear();
        config.auth.app = Some(ID.to_owned());
        config.adapters.chat.app = Some(ID.to_owned());
        // The user stays bound when the app is disabled and closes the page.
        config.adapters.vacate_grace_ms = 60_000;
    })
    .await;
    let mut page = page(&server, "usr_1").await;
    let disable = |app: &mut AppConfig| {
        app.enabled = false;
        Ok::<(), StoreError>(())
    };
    database.update(ID, disable).await.unwrap();
    assert_eq!(page.closed().await.0, 4003);

    publisher
        .publish("user.usr_1.userupdate", update("usr_1", 1).as_bytes())
        .await;

    eventually("one that is dropped", async || {
        figure(&server, "fanfare_chat3_dropped_updates_total").await == 1
    })
    .await;
    let diagnosis = get(&server, "diagnose/usr_1").await;
    assert_eq!(diagnosis["queue"]["messages"], 0, "{diagnosis}");
    assert_eq!(figure(&server, "fanfare_chat3_updates_total").await, 0);
}

/// A broker, or a network, that says nothing any more: it is given up, and everything
/// heals when it speaks again.
#[tokio::test]
async fn a_broker_that_hangs_is_given_up_and_found_again() {
    let (vhost, publisher) = broker().await;
    let proxy = Proxy::to(vhost.port).await;
    let url = format!(
        "amqp://guest:guest@{}/{}?heartbeat=1&connection_timeout=1000",
        proxy.address, vhost.name
    );
    let server = TestServer::with(|config| {
        chat(config, &url);
        config.connection.ping_after = Duration::from_secs(600);
    })
    .await;
    let mut witness = server.subscriber("news").await;
    let mut early = page(&server, "usr_1").await;

    proxy.set(Fault::Blackhole);

    eventually_within(RETURN, "the loss", async || {
        figure(&server, "fanfare_chat3_connected").await == 0
    })
    .await;
    eventually_within(RETURN, "a broker that does not answer", async || {
        let problem = &get(&server, "stats").await["problem"];
        *problem == "the broker does not answer within 1s"
    })
    .await;
    assert_eq!(
        server.ops("/ready").await.body,
        "degraded: adapter chat: RabbitMQ: no answer\n"
    );
    server.still_serves(&mut witness, "news").await;
    let mut late = opened(&server, "usr_2").await;

    proxy.set(Fault::None);

    for user in ["usr_1", "usr_2"] {
        bound(&server, user, true).await;
    }
    for (client, user) in [(&mut early, "usr_1"), (&mut late, "usr_2")] {
        let body = update(user, 1);
        publisher
            .publish(&format!("user.{user}.userupdate"), body.as_bytes())
            .await;
        assert_eq!(next_update(client, user).await, body);
        client.receives_nothing_before_pong().await;
    }
}

/// C-42 to C-44, C-58.
#[tokio::test]
async fn operators_see_who_is_bound_and_why_nothing_comes() {
    let vhost = Vhost::new().await;
    let server = server_with(&vhost, |config| {
        config.adapters.chat.token = Some("operator-token".into());
    })
    .await;
    eventually("no exchange", async || {
        let stats = get(&server, "stats").await;
        stats["isConnected"] == true && stats["problem"].is_string()
    })
    .await;
    assert_eq!(
        server.ops("/ready").await.body,
        "degraded: adapter chat: RabbitMQ: NOT_FOUND\n"
    );
    assert_eq!(
        get(&server, "stats").await["problem"],
        "NOT_FOUND: no exchange \"chat3_updates\""
    );
    let mut page = opened(&server, "usr_1").await;
    let verdict = async |user: &str| {
        let diagnosis = get(&server, &format!("diagnose/{user}")).await;
        diagnosis["verdict"].as_str().unwrap().to_owned()
    };
    assert!(verdict("usr_1").await.starts_with("the exchange does not"));
    assert!(verdict("usr.1").await.starts_with("this id must not"));

    // The chat comes.
    let publisher = Publisher::new(&vhost.url()).await;
    publisher.declare_exchange().await;
    bound(&server, "usr_1", true).await;
    assert!(verdict("usr_1").await.starts_with("all is ready"));
    assert!(verdict("usr_2").await.starts_with("no page of this user"));
    let body = update("usr_1", 1);
    publisher
        .publish("user.usr_1.userupdate", body.as_bytes())
        .await;
    assert_eq!(next_update(&mut page, "usr_1").await, body);
    assert_eq!(verdict("usr_1").await, "updates arrive");
    assert_eq!(
        get(&server, "users/usr_2").await,
        json!({"userId": "usr_2", "subscribed": false})
    );
    let stats = get(&server, "stats").await;
    assert_eq!(
        stats,
        json!({"subscribers": 1, "isConnected": true, "problem": null, "connects": 1, "updates": 1})
    );
    assert_eq!(server.ops("/ready").await.body, "OK\n");

    for (name, value, status) in [
        ("X-Forwarded-For", "203.0.113.9", 401),
        ("Authorization", "Bearer guessed", 401),
        ("Authorization", "Bearer operator-token", 200),
    ] {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let headers = [("Host", "127.0.0.1"), (name, value)];
        let answer = HttpClient::new(stream)
            .await
            .send_with("GET", "/adapters/chat3/v1/stats", &headers, "")
            .await;
        assert_eq!(answer.status, status, "{name}: {value}");
    }
    for (method, path, status) in [
        ("POST", "stats", 405),
        ("GET", "nothing", 404),
        ("GET", "users/a/b", 404),
    ] {
        let path = format!("/adapters/chat3/v1/{path}");
        assert_eq!(server.http(method, &path, "").await.status, status);
    }
}

/// C-59: the reasons are told apart, and everything else of the server works.
#[tokio::test]
async fn c3_a_broker_that_refuses_us_harms_nobody_else() {
    let vhost = Vhost::new().await;
    let nowhere = vhost.url().replace(&vhost.name, "nowhere");
    for (url, expected, in_short) in [
        (
            vhost.url_of("guest", "guessed"),
            "ACCESS_REFUSED: the broker does not know the user \"guest\" with this password",
            "degraded: adapter chat: RabbitMQ: ACCESS_REFUSED: credentials\n",
        ),
        (
            nowhere,
            "NOT_ALLOWED: the virtual host cannot be used",
            "degraded: adapter chat: RabbitMQ: NOT_ALLOWED: virtual host\n",
        ),
    ] {
        let server = TestServer::with(|config| chat(config, &url)).await;
        let mut witness = server.subscriber("news").await;
        let mut page = opened(&server, "usr_1").await;

        eventually(expected, async || {
            let problem = &get(&server, "stats").await["problem"];
            problem
                .as_str()
                .is_some_and(|problem| problem.starts_with(expected))
        })
        .await;

        assert_eq!(server.ops("/ready").await.body, in_short);
        page.receives_nothing_before_pong().await;
        server.still_serves(&mut witness, "news").await;
        assert_eq!(figure(&server, "fanfare_chat3_connected").await, 0);
        assert!(figure(&server, "fanfare_chat3_connection_failures_total").await >= 1);
    }
}

/// C-62 to C-64.
#[tokio::test]
async fn dialogs_are_for_their_members_and_everybody_sees_who_is_online() {
    let (vhost, _publisher) = broker().await;
    let back_end = Elsewhere::start().await;
    back_end.set("/member", 204, "");
    let server = server_with(&vhost, |config| {
        config.adapters.chat.membership_url = Some(back_end.url("/member"));
    })
    .await;
    let person = |id: &str| token(json!({"userId": id, "name": format!("N{id}")}));
    let (mut one, mut two) = (server.connect().await, server.connect().await);
    subscribe(&server, &mut one, &person("usr_1"), "presence-chat3-online").await;
    assert_eq!(
        one.next_data("user:online", "presence-chat3-online").await,
        json!({"userId": "usr_1", "userName": "Nusr_1"})
    );

    subscribe(&server, &mut two, &person("usr_2"), "presence-chat3-online").await;

    // The member of Pusher, and the event of the chat.
    assert_eq!(one.next().await["event"], "pusher_internal:member_added");
    for client in [&mut one, &mut two] {
        assert_eq!(
            client
                .next_data("user:online", "presence-chat3-online")
                .await,
            json!({"userId": "usr_2", "userName": "Nusr_2"})
        );
    }
    for (client, user) in [(&mut one, "usr_1"), (&mut two, "usr_2")] {
        subscribe(&server, client, &person(user), "presence-dialog;d1").await;
    }
    assert_eq!(one.next().await["event"], "pusher_internal:member_added");
    two.send(&json!({
        "event": "client-typing:start", "channel": "presence-dialog;d1",
        "data": {"userId": "usr_1", "dialogId": "d1"},
    }))
    .await;
    let typing = one.next().await;
    assert_eq!(
        (&typing["event"], &typing["user_id"]),
        (&json!("client-typing:start"), &json!("usr_2")),
        "who types is known, whatever the page says"
    );
    let (path, body) = &back_end.requests()[0];
    let asked: Value = serde_json::from_str(body).unwrap();
    assert_eq!(path, "/member");
    assert_eq!(
        (&asked["room"], &asked["user_id"]),
        (&json!("dialog:d1"), &json!("usr_1"))
    );
    back_end.set("/member", 403, "");
    let stranger = ask(&server, &person("usr_3"), "1.1", "private-dialog;d1").await;
    assert_eq!(stranger.status, 403);

    drop(two);
    assert_eq!(one.next().await["event"], "pusher_internal:member_removed");
    assert_eq!(one.next().await["event"], "pusher_internal:member_removed");
    assert_eq!(
        one.next_data("user:offline", "presence-chat3-online").await,
        json!({"userId": "usr_2"})
    );
}

/// C-07, C-45, C-46, C-48: the broker comes late, is killed and comes back. Beside it
/// the outbox, which forgets nothing meanwhile.
#[tokio::test]
async fn c3_broker_absent_at_start_and_c3_broker_kill() {
    let mut broker = RabbitMq::prepare();
    let server = TestServer::with(|config| {
        chat(config, &broker.url());
        // No pings among what the pages read, however long RabbitMQ takes.
        config.connection.ping_after = Duration::from_secs(600);
    })
    .await;
    let mut witness = server.subscriber("news").await;
    let mut early = opened(&server, "usr_1").await;
    eventually("a failure", async || {
        server
            .ops("/ready")
            .await
            .body
            .contains("adapter chat: RabbitMQ: out of reach")
    })
    .await;
    server.still_serves(&mut witness, "news").await;
    let outbox = Outbox::new(3);
    let letter = |number: u32| Letter {
        exchange: String::new(),
        routing_key: "letters".to_owned(),
        body: Bytes::from(number.to_string()),
        properties: BasicProperties::default().with_delivery_mode(2),
        is_mandatory: true,
    };
    for number in 0..3 {
        outbox.push(letter(number)).unwrap();
    }
    assert!(outbox.push(letter(3)).is_err());

    broker.resume().await;
    let publisher = Publisher::new(&broker.url()).await;
    publisher.declare_exchange().await;
    publisher.queue("letters", None).await;
    let link = Link::new(
        BrokerUrl::from(broker.url().as_str()).parse().unwrap(),
        "test".to_owned(),
        "Letters wait.",
    );
    let stop = CancellationToken::new();
    let send = async |session| match outbox.send(&session).await {
        Ok(never) => match never {},
        Err(trouble) => trouble,
    };
    let sending = link.keep(&stop, send);
    let script = async {
        tokio::time::timeout(RETURN, outbox.emptied())
            .await
            .unwrap();
        bound(&server, "usr_1", true).await;
        publisher
            .publish("user.usr_1.userupdate", update("usr_1", 1).as_bytes())
            .await;
        assert_eq!(next_update(&mut early, "usr_1").await, update("usr_1", 1));

        broker.kill();
        eventually("the loss", async || {
            figure(&server, "fanfare_chat3_connected").await == 0 && !link.state().is_connected
        })
        .await;
        bound(&server, "usr_1", false).await;
        // Who comes meanwhile is bound when the broker is back.
        let mut late = opened(&server, "usr_2").await;
        server.still_serves(&mut witness, "news").await;
        for number in 3..6 {
            outbox.push(letter(number)).unwrap();
        }
        broker.resume().await;
        for user in ["usr_1", "usr_2"] {
            bound(&server, user, true).await;
        }
        let publisher = Publisher::new(&broker.url()).await;
        for (client, user) in [(&mut early, "usr_1"), (&mut late, "usr_2")] {
            let body = update(user, 2);
            publisher
                .publish(&format!("user.{user}.userupdate"), body.as_bytes())
                .await;
            assert_eq!(next_update(client, user).await, body);
            client.receives_nothing_before_pong().await;
        }
        assert_eq!(figure(&server, "fanfare_chat3_connects_total").await, 2);
        tokio::time::timeout(RETURN, outbox.emptied())
            .await
            .unwrap();
        for number in 0..6 {
            assert_eq!(publisher.take("letters").await, number.to_string());
        }
        outbox
            .push(Letter {
                routing_key: "nobody".to_owned(),
                ..letter(6)
            })
            .unwrap();
        tokio::time::timeout(RETURN, outbox.emptied())
            .await
            .unwrap();
        let figures = outbox.figures();
        assert_eq!(
            (figures.confirmed, figures.unroutable, figures.refused),
            (7, 1, 1)
        );
        stop.cancel();
    };
    tokio::join!(sending, script);
}
