//! An operator who asks one node sees all of them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::redis::Redis;
use crate::support::{Answer, Client, HttpClient, TestServer, eventually};

/// The token of operators, for servers that are asked here.
pub(crate) const TOKEN: &str = "the-token-of-an-operator";

async fn node(redis: &Redis, token: Option<&str>) -> TestServer {
    let server = TestServer::with(|config| {
        config.engine.url = Some(redis.url().as_str().into());
        config.engine.node_timeout = Duration::from_secs(3);
        config.admin.token = token.map(Into::into);
        config.admin.console = false;
    })
    .await;
    server.ready().await;
    server
}

async fn ask(server: &TestServer, method: &str, path: &str) -> Answer {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let credentials = format!("Bearer {TOKEN}");
    let headers = [("Host", "127.0.0.1"), ("Authorization", &*credentials)];
    HttpClient::new(stream)
        .await
        .send_with(method, &format!("/admin/v1{path}"), &headers, "")
        .await
}

/// What the admin API of `server` answers, whose token is [`TOKEN`].
pub(crate) async fn get(server: &TestServer, path: &str) -> Value {
    let answer = ask(server, "GET", path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.json()
}

/// Three nodes that know of each other. Operators come in on the first one only.
async fn three(redis: &Redis) -> [TestServer; 3] {
    let nodes = [
        node(redis, Some(TOKEN)).await,
        node(redis, None).await,
        node(redis, None).await,
    ];
    eventually("all know of all", async || {
        let listed = get(&nodes[0], "/nodes").await;
        listed["unanswered"] == 0 && listed["nodes"].as_array().unwrap().len() == 3
    })
    .await;
    nodes
}

fn texts(list: &Value, member: &str) -> Vec<String> {
    let list = list.as_array().unwrap();
    list.iter()
        .map(|one| one[member].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn all_nodes_are_listed_with_what_each_tells_of_itself() {
    let redis = Redis::start().await;
    let nodes = three(&redis).await;
    let _one = nodes[1].connect().await;
    let _two = nodes[1].connect().await;

    let listed = get(&nodes[0], "/nodes").await;

    let all = listed["nodes"].as_array().unwrap();
    let connections = |server: &TestServer| {
        let of = |node: &&Value| node["client_port"] == server.address.port();
        let node = all.iter().find(of).unwrap();
        let name = node["name"].as_str().unwrap();
        assert!(name.ends_with(&format!(":{}", server.address.port())));
        assert_eq!(node["is_clustered"], true);
        (node["is_this"] == true, node["connections"].clone())
    };
    assert_eq!(connections(&nodes[0]), (true, json!(0)));
    assert_eq!(connections(&nodes[1]), (false, json!(2)));
    assert_eq!(connections(&nodes[2]), (false, json!(0)));
}

#[tokio::test]
async fn a_connection_is_found_and_closed_on_whatever_node_it_is() {
    let redis = Redis::start().await;
    let nodes = three(&redis).await;
    let mut near = nodes[0].subscriber("news").await;
    let mut far = nodes[2].subscriber("news").await;
    let path = |client: &Client| format!("/connections/{}", client.socket_id());

    let shown = get(&nodes[0], &path(&far)).await;
    let port = nodes[2].address.port();
    assert_eq!(shown["channels"], json!(["news"]));
    assert!(
        shown["node"]
            .as_str()
            .unwrap()
            .ends_with(&format!(":{port}")),
        "{shown}"
    );
    let channel = get(&nodes[0], "/apps/app-id/channels/news").await;
    let ids: BTreeSet<&str> = channel["socket_ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap())
        .collect();
    assert_eq!(ids, BTreeSet::from([near.socket_id(), far.socket_id()]));
    assert_eq!(channel["unanswered"], 0);

    assert_eq!(ask(&nodes[0], "DELETE", &path(&far)).await.status, 204);
    assert_eq!(far.closed().await.0, 4009);
    let reconnect = format!("{}?reconnect=true", path(&near));
    assert_eq!(ask(&nodes[0], "DELETE", &reconnect).await.status, 204);
    assert_eq!(near.closed().await.0, 4200);
    eventually("nobody has it any more", async || {
        ask(&nodes[0], "GET", &path(&far)).await.status == 404
    })
    .await;
    let gone = ask(&nodes[0], "DELETE", &path(&far)).await;
    assert_eq!(gone.status, 404, "{}", gone.body);
    assert_eq!(
        gone.json()["error"]["message"],
        format!("there is no connection {}", far.socket_id())
    );
}

#[tokio::test]
async fn the_pages_of_a_list_go_through_all_nodes_in_one_order() {
    let redis = Redis::start().await;
    let nodes = three(&redis).await;
    let mut clients = Vec::new();
    for number in 0..12 {
        clients.push(nodes[number % 3].connect().await);
    }
    let expected: BTreeSet<String> = clients
        .iter()
        .map(|client| client.socket_id().to_owned())
        .collect();

    for limit in [1, 5, 100] {
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let path = format!("/apps/app-id/connections?limit={limit}{after}");
            let page = get(&nodes[0], &path).await;
            assert_eq!(page["unanswered"], 0);
            let ids = texts(&page["connections"], "socket_id");
            assert!(ids.len() <= limit);
            found.extend(ids);
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(found.len(), 12, "{limit}: {found:?}");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
    }
}

/// What cannot be known is told as such, and nobody waits for it for long.
#[tokio::test]
async fn nodes_that_cannot_be_asked_are_counted() {
    let mut redis = Redis::start().await;
    let nodes = three(&redis).await;
    let far = nodes[1].connect().await;

    redis.stop();

    let listed = get(&nodes[0], "/nodes").await;
    assert_eq!(listed["unanswered"], 2, "{listed}");
    assert_eq!(listed["nodes"].as_array().unwrap().len(), 1);
    let page = get(&nodes[0], "/apps/app-id/connections").await;
    assert_eq!(
        (&page["unanswered"], &page["connections"]),
        (&json!(2), &json!([]))
    );
    let path = format!("/connections/{}", far.socket_id());
    let unknown = ask(&nodes[0], "GET", &path).await;
    assert_eq!(unknown.status, 404);
    let text = unknown.json()["error"]["message"].clone();
    assert!(
        text.as_str().unwrap().ends_with("2 nodes did not answer"),
        "{text}"
    );

    redis.resume().await;
    eventually("all are there again", async || {
        get(&nodes[0], "/nodes").await["unanswered"] == 0
            && ask(&nodes[0], "GET", &path).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn what_anybody_writes_to_the_topics_of_nodes_harms_nothing() {
    let redis = Redis::start().await;
    let nodes = three(&redis).await;
    let mut witness = nodes[1].subscriber("news").await;
    let topics = redis.command(&["PUBSUB", "CHANNELS", "*{nodes}:t:*"]).await;
    let topics: Vec<String> = redis::from_redis_value(topics).unwrap();
    assert_eq!(topics.len(), 4, "{topics:?}");
    let deep = format!("Q1\nx\n{}", "[".repeat(100_000));
    let large = format!("Q1\nx\n{{\"ask\":\"{}\"}}", "x".repeat(1 << 20));
    for topic in &topics {
        for message in [
            "Q",
            "Q1\n",
            "Q1\nx\n",
            "Q1\nx\n{}",
            "Q1\nx\n{\"ask\":\"node\"}",
            "Q1\n*\n{\"ask\":\"connections\",\"app\":\"app-id\",\"after\":\"x\",\"limit\":1}",
            "Q1\nx\n{\"ask\":\"connections\",\"app\":\"app-id\",\"after\":null,\"limit\":18446744073709551615}",
            "Q1\nx\n{\"ask\":\"connections\",\"app\":\"nobody\",\"after\":null,\"limit\":1}",
            "Q1\nx\n{\"ask\":\"close\",\"socket_id\":\"a.b\",\"reconnect\":true}",
            "Q1\nx\n{\"ask\":\"subscribers\",\"app\":\"app-id\",\"channel\":\"a b\"}",
            "A1\n{}",
            "A1\n",
            deep.as_str(),
            large.as_str(),
        ] {
            redis.command(&["PUBLISH", topic, message]).await;
        }
    }

    for server in &nodes {
        server.still_serves(&mut witness, "news").await;
    }
    eventually("all answer", async || {
        get(&nodes[0], "/nodes").await["unanswered"] == 0
    })
    .await;
}
