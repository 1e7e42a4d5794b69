//! The ways in which Redis may be deployed: a Cluster, behind Sentinels, with TLS,
//! users, prefixes and database numbers.

use std::time::Duration;

use futures_util::future::join_all;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use redis::Value;
use serde_json::json;

use crate::all_nodes::{TOKEN, get};
use crate::backing::{Backing, free_port};
use crate::deployment::Deployment;
use crate::redis::{Redis, program};
use crate::sessions::everything;
use crate::support::{TestServer, eventually};

/// Enough that each partition has some.
const CHANNELS: usize = 40;

async fn node(url: &str) -> TestServer {
    node_with(url, "fanfare").await
}

async fn node_with(url: &str, prefix: &str) -> TestServer {
    let server = TestServer::with(|config| {
        config.engine.url = Some(url.into());
        config.engine.prefix = prefix.to_owned();
        config.engine.node_timeout = Duration::from_secs(3);
        config.admin.token = Some(TOKEN.into());
        // So that events go through the scripts too.
        everything(&mut config.apps[0]);
    })
    .await;
    server.ready().await;
    server
}

/// Events and members cross, on channels all over the key space, and lists and
/// counts are those of both nodes. `round` names the channels.
async fn are_one(one: &TestServer, two: &TestServer, round: &str) {
    let rooms: Vec<String> = (0..CHANNELS)
        .map(|n| format!("presence-{round}-{n}"))
        .collect();
    let mut clients = Vec::new();
    for room in &rooms {
        let (mut here, mut there) = (one.connect().await, two.connect().await);
        here.join(room, r#"{"user_id":"1"}"#).await;
        let users = format!("/channels/{room}/users");
        two.until(&users, json!({"users": [{"id": "1"}]})).await;
        let presence = there.join(room, r#"{"user_id":"2"}"#).await;
        assert_eq!(presence["ids"], json!(["1", "2"]), "{room}");
        here.next_data("pusher_internal:member_added", room).await;
        clients.push((room, here, there));
    }
    join_all(rooms.iter().map(|room| one.trigger(room, "go", "x"))).await;
    for (_, _, there) in &mut clients {
        assert_eq!(there.next().await["event"], "go");
    }
    let prefix = format!("presence-{round}-");
    for server in [one, two] {
        eventually("both are listed", async || {
            let nodes = get(server, "/nodes").await;
            nodes["nodes"].as_array().unwrap().len() == 2 && nodes["unanswered"] == 0
        })
        .await;
        let parameters = [("filter_by_prefix", &*prefix), ("info", "user_count")];
        let channels = server.get("/channels", &parameters).await["channels"].clone();
        let channels = channels.as_object().unwrap();
        assert_eq!(channels.len(), CHANNELS);
        assert!(channels.values().all(|channel| channel["user_count"] == 2));
    }
    for (room, mut here, there) in clients {
        assert_eq!(here.next().await["event"], "go");
        drop(there);
        here.next_data("pusher_internal:member_removed", room).await;
    }
}

/// Three servers that share the slots.
pub(crate) async fn cluster() -> Vec<Redis> {
    let mut servers = Vec::new();
    let mut buses = Vec::new();
    for _ in 0..3 {
        let bus = free_port().to_string();
        let options = [
            ["--cluster-enabled", "yes"],
            ["--cluster-config-file", "nodes.conf"],
            ["--cluster-node-timeout", "1000"],
            ["--cluster-port", &bus],
        ];
        servers.push(Redis::with(options.as_flattened()).await);
        buses.push(bus);
    }
    for (server, (first, last)) in
        servers
            .iter()
            .zip([("0", "5460"), ("5461", "10922"), ("10923", "16383")])
    {
        server
            .command(&["CLUSTER", "ADDSLOTSRANGE", first, last])
            .await;
    }
    for (other, bus) in servers.iter().zip(&buses).skip(1) {
        let port = other.port().to_string();
        servers[0]
            .command(&["CLUSTER", "MEET", "127.0.0.1", &port, bus])
            .await;
    }
    whole(&servers).await;
    servers
}

/// Waits until all servers see all slots.
async fn whole(servers: &[Redis]) {
    for server in servers {
        eventually("the Redis Cluster", async || {
            let Value::BulkString(info) = server.command(&["CLUSTER", "INFO"]).await else {
                return false;
            };
            let info = String::from_utf8(info).unwrap();
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        })
        .await;
    }
}

#[tokio::test]
async fn a_cluster_connects_nodes_and_may_lose_a_server() {
    let mut servers = cluster().await;
    let url = format!(
        "redis+cluster://127.0.0.1:{},127.0.0.1:{}",
        servers[0].port(),
        servers[1].port()
    );
    let (one, two) = (node(&url).await, node(&url).await);
    are_one(&one, &two, "first").await;
    // Topics are in the node of their slot, and not in all of them.
    let mut here = one.subscriber("news").await;
    let mut spread = Vec::new();
    for server in &servers {
        let Value::Array(topics) = server.command(&["PUBSUB", "SHARDCHANNELS"]).await else {
            panic!("no list");
        };
        spread.push(topics.len());
    }
    // The channel's, one for each node, and one for all of them.
    assert_eq!(spread.iter().sum::<usize>(), 1 + 2 + 1, "{spread:?}");

    // It comes back without what it had.
    servers[2].stop();
    eventually("degraded", async || {
        one.ops("/ready").await.body.contains("degraded")
    })
    .await;
    one.trigger("news", "alone", "x").await;
    assert_eq!(here.next().await["event"], "alone");
    servers[2].resume().await;
    whole(&servers).await;
    one.ready().await;
    two.ready().await;

    are_one(&one, &two, "second").await;
}

#[tokio::test]
async fn sentinels_tell_which_server_it_is_now() {
    let mut master = Redis::start().await;
    let port = master.port().to_string();
    let replica = Redis::with(&[
        "--replicaof",
        &format!("127.0.0.1 {port}"),
        "--repl-diskless-sync-delay",
        "0",
    ])
    .await;
    let mut sentinel = Backing::new();
    let path = sentinel.directory().join("sentinel.conf");
    let sentinel_port = sentinel.port;
    let config = format!(
        "port {sentinel_port}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {port} 1\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n",
        sentinel.directory().display()
    );
    std::fs::write(&path, config).unwrap();
    sentinel.run(program().arg(&path).arg("--sentinel"));
    let client = redis::Client::open(format!("redis://127.0.0.1:{sentinel_port}")).unwrap();
    eventually("the Sentinel to find the replica", async || {
        let Ok(mut connection) = Box::pin(client.get_multiplexed_async_connection()).await else {
            return false;
        };
        let replicas: redis::RedisResult<Vec<Value>> = redis::cmd("SENTINEL")
            .arg(&["REPLICAS", "main"])
            .query_async(&mut connection)
            .await;
        replicas.is_ok_and(|replicas| !replicas.is_empty())
    })
    .await;
    let url = format!("redis+sentinel://127.0.0.1:{sentinel_port}/main");
    let (one, two) = (node(&url).await, node(&url).await);
    are_one(&one, &two, "first").await;

    master.stop();
    eventually("the replica to take over", async || {
        // Sentinels disconnect the clients of a server that they promote.
        let Ok(Value::Array(role)) = replica.try_command(&["ROLE"]).await else {
            return false;
        };
        role[0] == Value::BulkString(b"master".to_vec())
    })
    .await;
    one.ready().await;
    two.ready().await;

    are_one(&one, &two, "second").await;
}

/// A user who may do what docs/operations.md says, and no more; over TLS, in a
/// database of its own.
#[tokio::test]
async fn tls_a_user_and_a_database_number() {
    let mut deployment = Deployment::start().await;
    let directory = tempfile::tempdir().unwrap();
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert_path, key_path) = (
        directory.path().join("cert.pem"),
        directory.path().join("key.pem"),
    );
    std::fs::write(&cert_path, cert.pem()).unwrap();
    std::fs::write(&key_path, signing_key.serialize_pem()).unwrap();
    let tls_port = free_port().to_string();
    let (cert, key) = (cert_path.to_str().unwrap(), key_path.to_str().unwrap());
    let options = [
        ["--tls-port", &tls_port],
        ["--tls-cert-file", cert],
        ["--tls-key-file", key],
        ["--tls-auth-clients", "no"],
    ];
    deployment.redis = Redis::with(options.as_flattened()).await;
    deployment
        .redis
        .command(&[
            "ACL",
            "SETUSER",
            "fanfare",
            "on",
            ">p@ss",
            "~shop:*",
            "&shop@3:*",
            "-@all",
            "+@read",
            "+@write",
            "+@pubsub",
            "+@scripting",
            "+@connection",
            "+time",
        ])
        .await;
    deployment.url = Some(format!("rediss://fanfare:p%40ss@localhost:{tls_port}/3"));
    deployment.prefix = "shop".to_owned();
    deployment.app = r#"history = [{ channels = "*" }]"#.to_owned();
    deployment.environment = vec![("SSL_CERT_FILE".to_owned(), cert.to_owned())];

    let (one, two) = (deployment.node().await, deployment.node().await);

    are_one(&one, &two, "first").await;
    // All that is left are the notes about the nodes, in the right place.
    let client = redis::Client::open(format!("{}/3", deployment.redis.url())).unwrap();
    let mut connection = Box::pin(client.get_multiplexed_async_connection())
        .await
        .unwrap();
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert!(keys.contains(&"shop:{nodes}".to_owned()), "{keys:?}");
    assert!(keys.iter().all(|key| key.starts_with("shop:")), "{keys:?}");
}

#[tokio::test]
async fn deployments_in_one_redis_do_not_hear_one_another() {
    let redis = Redis::start().await;
    let first = node(&redis.url()).await;
    let others = [
        node(&format!("{}/2", redis.url())).await,
        node_with(&redis.url(), "other").await,
        // A prefix that begins as the first one's.
        node_with(&redis.url(), "fanfare:x").await,
    ];
    let mut here = first.connect().await;
    here.join("presence-x", r#"{"user_id":"1"}"#).await;

    for other in &others {
        let mut there = other.connect().await;
        let presence = there.join("presence-x", r#"{"user_id":"2"}"#).await;
        assert_eq!(presence["ids"], json!(["2"]));
        other.trigger("presence-x", "go", "x").await;
        assert_eq!(there.next().await["event"], "go");
        other
            .until(
                "/channels/presence-x/users",
                json!({"users": [{"id": "2"}]}),
            )
            .await;
    }

    first.trigger("presence-x", "own", "x").await;
    assert_eq!(here.next().await["event"], "own");
}
