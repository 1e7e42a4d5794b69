//! What clients and back ends see when nodes die or freeze, and when Redis or the
//! network in front of it fails.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::deployment::Deployment;
use crate::proxy::{Fault, Proxy};
use crate::redis::Redis;
use crate::support::{Client, TestServer, eventually};

const ROOM: &str = "presence-room";
const USERS: &str = "/channels/presence-room/users";

/// A client in [`ROOM`] that has read its greeting.
async fn member(server: &TestServer, id: &str) -> Client {
    let mut client = server.connect().await;
    client.join(ROOM, &json!({"user_id": id}).to_string()).await;
    client
}

async fn members(server: &TestServer, prefix: &str, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 0..count {
        clients.push(member(server, &format!("{prefix}{number:03}")).await);
    }
    clients
}

/// Reads `count` messages, which must all be `event` of different users.
async fn each_once(client: &mut Client, event: &str, count: usize) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for _ in 0..count {
        let data = client.next_data(event, ROOM).await;
        let id = data["user_id"].as_str().unwrap().to_owned();
        assert!(ids.insert(id), "{data} came twice");
    }
    ids
}

const ADDED: &str = "pusher_internal:member_added";
const REMOVED: &str = "pusher_internal:member_removed";

fn users(ids: &[&str]) -> Value {
    let users: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
    json!({ "users": users })
}

#[tokio::test]
async fn a_killed_node_is_told_of_once_and_its_successor_inherits_nothing() {
    const COUNT: usize = 200;
    let mut deployment = Deployment::start().await;
    let (one, two) = (deployment.node().await, deployment.node().await);
    let mut dying = deployment.node().await;
    let mut here = member(&one, "here").await;
    let mut there = member(&two, "there").await;
    each_once(&mut here, ADDED, 1).await;
    let crowd = members(&dying, "m", COUNT).await;
    let _lonely = dying.subscriber("only-there").await;
    for witness in [&mut here, &mut there] {
        each_once(witness, ADDED, COUNT).await;
    }
    // The room, its first two members, the crowd, and the other channel.
    let told = deployment.told(1 + 2 + COUNT + 1).await;
    assert!(told.contains(&"occupied only-there".to_owned()), "{told:?}");

    let port = dying.address.port();
    dying.kill().await;
    let heir = deployment.node_on(port).await;
    let mut late = member(&heir, "late").await;

    for witness in [&mut here, &mut there] {
        each_once(witness, ADDED, 1).await;
        each_once(witness, REMOVED, COUNT).await;
    }
    each_once(&mut late, REMOVED, COUNT).await;
    for node in [&one, &two, &heir] {
        node.until(USERS, users(&["here", "late", "there"])).await;
        node.until("/channels/only-there", json!({"occupied": false}))
            .await;
        node.trigger(ROOM, "marker", "x").await;
    }
    // Nobody was removed twice.
    for client in [&mut here, &mut there, &mut late] {
        for _ in 0..3 {
            assert_eq!(client.next().await["event"], "marker");
        }
    }
    let mut told = deployment.told(1 + COUNT + 1).await;
    let _marker = one.subscriber("marker-1").await;
    told.extend(deployment.told_until("marker-1").await);
    let _marker = two.subscriber("marker-2").await;
    told.extend(deployment.told_until("marker-2").await);
    told.sort();
    let mut expected: Vec<String> = (0..COUNT)
        .map(|number| format!("removed {ROOM} m{number:03}"))
        .collect();
    expected.push(format!("added {ROOM} late"));
    expected.push("vacated only-there".to_owned());
    expected.sort();
    assert_eq!(told, expected);
    drop(crowd);
}

#[tokio::test]
async fn a_frozen_node_is_removed_and_heals_when_it_wakes_up() {
    const COUNT: usize = 20;
    let mut deployment = Deployment::start().await;
    let (one, frozen) = (deployment.node().await, deployment.node().await);
    let mut here = member(&one, "here").await;
    let goes = member(&one, "goes").await;
    let mut inside = member(&frozen, "inside").await;
    let crowd = members(&frozen, "m", COUNT).await;
    each_once(&mut here, ADDED, 1 + 1 + COUNT).await;
    each_once(&mut inside, ADDED, COUNT).await;
    deployment.told(1 + 3 + COUNT).await;

    frozen.signal("STOP").await;
    drop(goes);
    let _comes = member(&one, "comes").await;
    let removed = each_once(&mut here, REMOVED, 1).await;
    assert_eq!(removed.first().map(String::as_str), Some("goes"));
    each_once(&mut here, ADDED, 1).await;
    each_once(&mut here, REMOVED, 1 + COUNT).await;
    one.until(USERS, users(&["comes", "here"])).await;
    // Who left, who came, and all of the frozen node.
    deployment.told(2 + 1 + COUNT).await;
    frozen.signal("CONT").await;

    let back = each_once(&mut here, ADDED, 1 + COUNT).await;
    assert!(back.contains("inside"));
    // Its own clients have missed nothing of the others, and never went.
    assert_eq!(
        inside.next_data(REMOVED, ROOM).await,
        json!({"user_id": "goes"})
    );
    assert_eq!(
        inside.next_data(ADDED, ROOM).await,
        json!({"user_id": "comes"})
    );
    let names: Vec<String> = (0..COUNT).map(|n| format!("m{n:03}")).collect();
    let mut all = vec!["comes", "here", "inside"];
    all.extend(names.iter().map(String::as_str));
    for node in [&one, &frozen] {
        node.until(USERS, users(&all)).await;
        node.trigger(ROOM, "marker", "x").await;
    }
    for client in [&mut here, &mut inside] {
        for _ in 0..2 {
            assert_eq!(client.next().await["event"], "marker");
        }
    }
    let mut told = deployment.told(1 + COUNT).await;
    let _marker = frozen.subscriber("marker").await;
    told.extend(deployment.told_until("marker").await);
    told.sort();
    let mut expected: Vec<String> = names.iter().map(|n| format!("added {ROOM} {n}")).collect();
    expected.insert(0, format!("added {ROOM} inside"));
    assert_eq!(told, expected);
    drop(crowd);
}

#[tokio::test]
async fn who_moves_to_another_node_in_time_was_never_gone() {
    let mut deployment = Deployment::holding(600.0).await;
    let (one, two) = (deployment.node().await, deployment.node().await);
    let mut told = Vec::new();

    for node in [&one, &two, &two, &one] {
        let moving = member(node, "moves").await;
        drop(moving);
        for node in [&one, &two] {
            node.until(USERS, users(&[])).await;
        }
    }

    let _marker = two.subscriber("marker").await;
    told.extend(deployment.told_until("marker").await);
    assert_eq!(
        told,
        [format!("occupied {ROOM}"), format!("added {ROOM} moves")]
    );
}

/// Whether it dies or says good-bye, a departure that it held back is told by
/// another node; and nobody is told of one who came back to another node.
#[tokio::test]
async fn a_departure_is_told_when_its_node_is_no_more() {
    for signal in ["KILL", "TERM"] {
        let mut deployment = Deployment::holding(2.0).await;
        let (mut going, stays) = (deployment.node().await, deployment.node().await);
        let leaves = member(&going, "leaves").await;
        let moves = member(&going, "moves").await;
        let lonely = going.subscriber("lonely").await;
        deployment.told(4).await;

        drop((leaves, moves, lonely));
        stays.until(USERS, users(&[])).await;
        stays
            .until("/channels/lonely", json!({"occupied": false}))
            .await;
        going.signal(signal).await;
        going.ended().await;
        let _moved = member(&stays, "moves").await;

        let mut told = deployment.told(2).await;
        let _marker = stays.subscriber("marker").await;
        told.extend(deployment.told_until("marker").await);
        told.sort();
        assert_eq!(
            told,
            [
                format!("removed {ROOM} leaves"),
                "vacated lonely".to_owned()
            ],
            "{signal}"
        );
    }
}

/// A node whose Redis is at `url`, in this process.
async fn node(url: &str) -> TestServer {
    let server = TestServer::with(|config| {
        config.engine.url = Some(url.into());
        config.engine.node_timeout = Duration::from_secs(3);
    })
    .await;
    server.ready().await;
    server
}

#[tokio::test]
async fn a_node_alone_behind_a_broken_network_goes_on_and_heals() {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let (cut, other) = (node(&proxy.redis_url()).await, node(&redis.url()).await);
    let mut here = member(&cut, "here").await;
    let mut there = member(&other, "there").await;
    each_once(&mut here, ADDED, 1).await;

    for (round, fault) in [Fault::Cut, Fault::Blackhole, Fault::HalfOpen]
        .into_iter()
        .enumerate()
    {
        proxy.set(fault);
        eventually("degraded", async || {
            let ready = cut.ops("/ready").await;
            ready.status == 200 && ready.body.contains("degraded")
        })
        .await;
        assert_eq!(other.ops("/ready").await.body, "OK\n", "{fault:?}");
        // Local traffic and the API go on; nobody waits for Redis.
        let guest = format!("guest{round}");
        let visitor = member(&cut, &guest).await;
        assert_eq!(each_once(&mut here, ADDED, 1).await.len(), 1);
        cut.trigger(ROOM, "alone", "x").await;
        assert_eq!(here.next().await["event"], "alone");
        // The others see that it is gone.
        assert_eq!(
            there.next_data(REMOVED, ROOM).await,
            json!({"user_id": "here"}),
            "{fault:?}"
        );

        proxy.set(Fault::None);
        cut.ready().await;

        // What was published in the meantime comes late, and once.
        let mut back = Vec::new();
        for _ in 0..3 {
            let message = there.next().await;
            back.push(match message["data"].as_str().unwrap() {
                "x" => "alone".to_owned(),
                data => serde_json::from_str::<Value>(data).unwrap()["user_id"].to_string(),
            });
        }
        back.sort();
        assert_eq!(
            back,
            [
                format!("{guest:?}"),
                r#""here""#.to_owned(),
                "alone".to_owned()
            ]
        );
        let all = [guest.as_str(), "here", "there"];
        for node in [&cut, &other] {
            node.until(USERS, users(&all)).await;
        }
        drop(visitor);
        for client in [&mut here, &mut there] {
            each_once(client, REMOVED, 1).await;
        }
        other.trigger(ROOM, "marker", "x").await;
        for client in [&mut here, &mut there] {
            assert_eq!(client.next().await["event"], "marker", "{fault:?}");
        }
    }
}

#[tokio::test]
async fn a_slow_network_keeps_the_order() {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let (slow, other) = (node(&proxy.redis_url()).await, node(&redis.url()).await);
    proxy.set(Fault::Delay(Duration::from_millis(40)));
    let mut here = slow.subscriber("news").await;
    let mut there = other.subscriber("news").await;

    for number in 0..30 {
        slow.trigger("news", "out", &number.to_string()).await;
        other.trigger("news", "in", &number.to_string()).await;
    }

    for client in [&mut here, &mut there] {
        let mut next = [0, 0];
        for _ in 0..60 {
            let message = client.next().await;
            let which = usize::from(message["event"] == "in");
            assert_eq!(message["data"], next[which].to_string());
            next[which] += 1;
        }
    }
}

/// Redis restarts empty, is flushed, and is paused: nobody is told anything that
/// did not happen, neither clients nor back ends.
#[tokio::test]
async fn trouble_with_redis_is_not_told_as_comings_and_goings() {
    let mut deployment = Deployment::start().await;
    let (one, two) = (deployment.node().await, deployment.node().await);
    let mut here = member(&one, "here").await;
    let mut there = member(&two, "there").await;
    each_once(&mut here, ADDED, 1).await;
    deployment.told(3).await;
    let all = users(&["here", "there"]);

    for trouble in ["restart", "flush", "pause"] {
        match trouble {
            "restart" => {
                deployment.redis.stop();
                for node in [&one, &two] {
                    eventually("degraded", async || {
                        node.ops("/ready").await.body.contains("degraded")
                    })
                    .await;
                }
                deployment.redis.resume().await;
            }
            "flush" => deployment.redis.flush().await,
            _ => {
                deployment
                    .redis
                    .command(&["CLIENT", "PAUSE", "1800", "ALL"])
                    .await;
                eventually("degraded", async || {
                    one.ops("/ready").await.body.contains("degraded")
                })
                .await;
            }
        }
        for node in [&one, &two] {
            node.ready().await;
            node.until(USERS, all.clone()).await;
        }
        let channel = format!("after-{trouble}");
        for node in [&one, &two] {
            eventually("events of the other node", async || {
                let channel = format!("{channel}-{}", node.address.port());
                let mut listens = node.subscriber(&channel).await;
                let from = if node.address == one.address {
                    &two
                } else {
                    &one
                };
                from.trigger(&channel, "hello", "x").await;
                let heard = tokio::time::timeout(Duration::from_millis(500), listens.next());
                heard.await.is_ok()
            })
            .await;
        }
        let _marker = one.subscriber(&channel).await;
        let told = deployment.told_until(&channel).await;
        let of_the_room: Vec<&String> = told.iter().filter(|told| told.contains(ROOM)).collect();
        assert!(of_the_room.is_empty(), "{trouble}: {of_the_room:?}");
    }
    one.trigger(ROOM, "marker", "x").await;
    for client in [&mut here, &mut there] {
        assert_eq!(client.next().await["event"], "marker");
    }
}
