//! The realtime service of a call centre: its back ends, its people, its figures.

use std::time::Duration;

use fanfare::config::{Config, OnlineScope, StoreConfig};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::auth::{JWT_SECRET, ask, subscribe, token};
use crate::redis::Redis;
use crate::support::{Answer, Client, HttpClient, TestServer, eventually, soon};

const TOKEN: &str = "your-webhook-token";
const SARATOV: &str = "private-city;=0KHQsNGA0LDRgtC-0LI";

fn call_centre(config: &mut Config) {
    config.auth.jwt_secret = Some(JWT_SECRET.into());
    config.adapters.rooms.enabled = true;
    config.adapters.rooms.webhook_token = Some(TOKEN.into());
    config.adapters.vacate_grace_ms = 100;
}

async fn server() -> TestServer {
    TestServer::with(call_centre).await
}

/// A person who is subscribed to some channels.
async fn person(server: &TestServer, id: &str, role: &str, channels: &[&str]) -> Client {
    let token = token(json!({"sub": id, "role": role, "name": format!("N{id}")}));
    let mut client = server.connect().await;
    for channel in channels {
        subscribe(server, &mut client, &token, channel).await;
    }
    client
}

/// What the axios of the old callers sends, byte by byte.
async fn axios(server: &TestServer, path: &str, body: &str) -> Answer {
    let host = server.address.to_string();
    let headers = [
        ("Accept", "application/json, text/plain, */*"),
        ("Content-Type", "application/json"),
        ("User-Agent", "axios/1.6.2"),
        ("Accept-Encoding", "gzip, compress, deflate, br"),
        ("Host", host.as_str()),
        ("Connection", "close"),
    ];
    let stream = TcpStream::connect(server.address).await.unwrap();
    HttpClient::new(stream)
        .await
        .send_with("POST", path, &headers, body)
        .await
}

async fn broadcast(server: &TestServer, kind: &str, body: Value) -> Answer {
    let mut body = body;
    body["token"] = json!(TOKEN);
    axios(
        server,
        &format!("/api/v1/broadcast/{kind}"),
        &body.to_string(),
    )
    .await
}

/// The next event, with its data.
async fn next(client: &mut Client) -> (String, String, Value) {
    let message = client.next().await;
    let text = |member: &str| message[member].as_str().unwrap().to_owned();
    let data = serde_json::from_str(&text("data")).unwrap();
    (text("event"), text("channel"), data)
}

/// A role against the rooms of the call centre.
#[tokio::test]
async fn auth_rules_matrix() {
    let server = server().await;
    let penza = "private-city;=0J_QtdC90LfQsA";
    let rooms = [
        "private-operators",
        "private-directors",
        SARATOV,
        penza,
        "private-operator;7",
        "private-operator;8",
        "private-order;77",
        "private-master;7",
        "private-user;8",
        "private-role;operator",
        "private-role;master",
        "private-all",
        "presence-online",
        "private-elsewhere",
        "private-operators;x",
    ];
    for (claims, expected) in [
        (json!({"sub": "7", "role": "operator"}), "y-yyy-yy-y-yy--"),
        (
            json!({"sub": 7, "role": "callcentre_operator"}),
            "y-yyy-yy---yy--",
        ),
        (json!({"sub": "7", "role": "director"}), "yyyyyyyyy--yy--"),
        (json!({"sub": "7", "role": "master"}), "--yyy-yy--yyy--"),
        (
            json!({"sub": "7", "role": "master", "cities": ["Саратов"]}),
            "--y-y-yy--yyy--",
        ),
        (json!({"userId": "8", "phone": "+992"}), "-----y--y--yy--"),
    ] {
        let token = token(claims.clone());
        for (room, expected) in rooms.iter().zip(expected.chars()) {
            let answer = ask(&server, &token, "1.1", room).await;

            let status = if expected == 'y' { 200 } else { 403 };
            assert_eq!(answer.status, status, "{claims} {room}: {}", answer.body);
        }
    }
    for room in rooms {
        let anonymous = ask(&server, "", "1.1", room).await;
        assert_eq!(anonymous.status, 401);
    }
}

#[tokio::test]
async fn rt_seed_requests() {
    let server = server().await;
    let mut operator = person(
        &server,
        "5",
        "operator",
        &["private-operators", "private-operator;5"],
    )
    .await;

    let call = r#"{"token":"your-webhook-token","call":{"id":123,"phoneClient":"+79001234567","phoneAts":"+78452000000","operatorId":5,"status":"incoming","duration":1.50},"rooms":["operators","operator:5"]}"#;
    let answer = axios(&server, "/api/v1/broadcast/call-new", call).await;

    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(
        answer.json(),
        json!({"success": true, "message": "New call broadcasted", "rooms": ["operators", "operator:5"]})
    );
    let first = operator.next().await;
    let second = operator.next().await;
    assert_eq!(
        (&first["event"], &first["channel"], &second["channel"]),
        (
            &json!("call:new"),
            &json!("private-operators"),
            &json!("private-operator;5")
        )
    );
    let data = first["data"].as_str().unwrap();
    let event_id = &data[r#"{"_eid":""#.len()..][..26];
    assert_eq!(
        data,
        format!(
            r#"{{"_eid":"{event_id}","id":123,"phoneClient":"+79001234567","phoneAts":"+78452000000","operatorId":5,"status":"incoming","duration":1.50}}"#
        )
    );
    assert_eq!(
        first["data"], second["data"],
        "one event, whose repeat a client can tell"
    );

    for (kind, body, message, event) in [
        (
            "call-updated",
            json!({"call": {"id": 1, "status": "answered"}}),
            "Call update broadcasted",
            "call:updated",
        ),
        (
            "call-ended",
            json!({"call": {"id": 1, "status": "ended", "duration": 62}}),
            "Call end broadcasted",
            "call:ended",
        ),
        (
            "order-master-assigned",
            json!({"order": {"orderId": 1, "masterId": 3, "masterName": "Пётр"}}),
            "Order master assignment broadcasted",
            "order:master-assigned",
        ),
        (
            "order-status-changed",
            json!({"order": {"orderId": 1, "oldStatus": "a", "newStatus": "b"}}),
            "Order status change broadcasted",
            "order:status-changed",
        ),
    ] {
        let answer = broadcast(&server, kind, body).await;
        assert_eq!(
            (answer.status, &answer.json()["message"]),
            (200, &json!(message))
        );
        assert_eq!(next(&mut operator).await.0, event);
    }
}

#[tokio::test]
async fn rt_city_cyrillic() {
    let server = server().await;
    let mut master = person(&server, "9", "master", &[SARATOV, "private-master;9"]).await;
    let mut operator = person(
        &server,
        "5",
        "operator",
        &["private-operators", "private-order;77"],
    )
    .await;

    let order = r#"{"token":"your-webhook-token","order":{"id":77,"clientName":"Иван","city":"Саратов","statusOrder":"Новый","masterId":null},"rooms":["operators","directors","city:Саратов"]}"#;
    let answer = axios(&server, "/api/v1/broadcast/order-new", order).await;

    assert_eq!(
        answer.json()["rooms"],
        json!(["operators", "directors", "city:Саратов"])
    );
    let (event, channel, data) = next(&mut master).await;
    assert_eq!((event.as_str(), channel.as_str()), ("order:new", SARATOV));
    assert_eq!(data["clientName"], "Иван");
    assert_eq!(next(&mut operator).await.0, "order:new");

    // Without rooms: where it belongs. Twice the same says nothing new.
    let order = json!({"id": 77, "city": "Саратов", "statusOrder": "В работе", "masterId": 9, "masterName": "Пётр"});
    for _ in 0..2 {
        let answer = broadcast(&server, "order-updated", json!({"order": order})).await;
        assert_eq!(
            answer.json()["rooms"],
            json!([
                "operators",
                "directors",
                "city:Саратов",
                "master:9",
                "order:77"
            ])
        );
    }
    let mut heard = Vec::new();
    for _ in 0..6 {
        let (event, channel, data) = next(&mut master).await;
        heard.push((event, channel.clone()));
        match heard.last().unwrap().0.as_str() {
            "order:master-assigned" => {
                assert_eq!(
                    (&data["orderId"], &data["masterId"], &data["masterName"]),
                    (&json!(77), &json!(9), &json!("Пётр"))
                );
            }
            "order:status-changed" => {
                assert_eq!(
                    (&data["oldStatus"], &data["newStatus"]),
                    (&json!("Новый"), &json!("В работе"))
                );
            }
            _ => {}
        }
    }
    let count = |event: &str| heard.iter().filter(|(name, _)| name == event).count();
    assert_eq!(
        (
            count("order:updated"),
            count("order:master-assigned"),
            count("order:status-changed")
        ),
        (4, 1, 1),
        "{heard:?}"
    );
    master.receives_nothing_before_pong().await;
}

#[tokio::test]
async fn rt_wrong_token_401() {
    let server = server().await;
    let mut operator = person(&server, "5", "operator", &["private-operators"]).await;
    for body in [
        json!({"token": "guessed", "call": {"id": 1}}),
        json!({"call": {"id": 1}}),
        json!({"token": 7, "call": {"id": 1}}),
        json!({"token": null, "call": {"id": 1}}),
    ] {
        let answer = axios(&server, "/api/v1/broadcast/call-new", &body.to_string()).await;

        assert_eq!(answer.status, 401, "{body}");
        assert_eq!(
            answer.json(),
            json!({"statusCode": 401, "message": "Invalid webhook token", "error": "Unauthorized"})
        );
    }
    operator.receives_nothing_before_pong().await;
    for _ in 0..100 {
        axios(
            &server,
            "/api/v1/broadcast/call-new",
            r#"{"token":"guessed"}"#,
        )
        .await;
    }
    let right = broadcast(&server, "call-new", json!({"call": {"id": 1}})).await;
    assert_eq!(
        right.status, 429,
        "who guesses is not listened to for a while"
    );

    let open = TestServer::with(|config| {
        call_centre(config);
        config.adapters.rooms.webhook_token = None;
    })
    .await;
    let answer = broadcast(&open, "call-new", json!({"call": {"id": 1}})).await;
    assert_eq!(
        (answer.status, &answer.json()["message"]),
        (401, &json!("Webhook authentication not configured"))
    );
}

#[tokio::test]
async fn bodies_that_are_none_are_refused_and_rooms_of_nobody_ignored() {
    let server = server().await;
    for (kind, body, status) in [
        ("call-new", json!({}), 400),
        ("call-new", json!({"call": "x"}), 400),
        ("call-new", json!({"order": {"id": 1}}), 400),
        ("call-new", json!({"call": {"operatorId": {"$ne": 1}}}), 400),
        ("call-new", json!({"call": {}, "rooms": "operators"}), 400),
        ("call-new", json!({"call": {}, "rooms": [1]}), 400),
        (
            "call-new",
            json!({"call": {}, "rooms": vec!["x"; 101]}),
            400,
        ),
        (
            "call-new",
            json!({"call": {}, "rooms": ["x".repeat(200)]}),
            400,
        ),
        ("call-new", json!({"call": {"x": "y".repeat(11_000)}}), 413),
        ("call-new", json!({"call": {"x": "y".repeat(300_000)}}), 413),
        ("notification", json!({"notification": {"type": "x"}}), 400),
        (
            "notification",
            json!({"notification": {"type": "x", "message": "y", "severity": "loud"}}),
            400,
        ),
        (
            "notification",
            json!({"notification": {"type": "x", "message": "y"}, "userId": "a b"}),
            400,
        ),
        ("nothing", json!({}), 404),
    ] {
        let answer = broadcast(&server, kind, body).await;
        assert_eq!(answer.status, status, "{kind}: {}", answer.body);
        assert_eq!(answer.json()["statusCode"], status);
    }
    let garbage = axios(&server, "/api/v1/broadcast/call-new", "{").await;
    assert_eq!(garbage.status, 400);
    let get = server.http("GET", "/api/v1/broadcast/call-new", "").await;
    assert_eq!(get.status, 405);

    let rooms = json!([
        "operators",
        "operator:undefined",
        "operator:null",
        "operator:",
        "city::x",
        "operators",
        ""
    ]);
    let call = json!({"call": {"operatorId": null}, "rooms": rooms});
    let answer = broadcast(&server, "call-new", call).await;
    assert_eq!(answer.json()["rooms"], json!(["operators"]));
    let metrics = server.ops("/metrics").await.body;
    assert!(
        metrics.contains("fanfare_rooms_ignored_rooms_total 5\n"),
        "{metrics}"
    );
    assert!(metrics.contains("fanfare_adapter_up{adapter=\"rooms\"} 1\n"));
}

#[tokio::test]
async fn a_notification_goes_to_one_or_to_all() {
    let server = server().await;
    let mut one = person(&server, "5", "operator", &["private-all"]).await;
    let mut other = person(&server, "6", "operator", &["private-all"]).await;
    one.sign_in(r#"{"id":"5"}"#).await;
    one.subscribe("#server-to-user-5").await;

    let personal = json!({"notification": {"type": "system", "message": "Перерыв"}, "userId": 5});
    broadcast(&server, "notification", personal).await;
    let general = json!({"notification": {"type": "system", "message": "!", "severity": "warning", "timestamp": "2026-01-01"}});
    broadcast(&server, "notification", general).await;

    let (event, channel, data) = next(&mut one).await;
    assert_eq!(
        (event.as_str(), channel.as_str()),
        ("notification", "#server-to-user-5")
    );
    assert_eq!(
        (&data["message"], &data["severity"]),
        (&json!("Перерыв"), &json!("info"))
    );
    assert_eq!(
        data["timestamp"].as_str().unwrap().len(),
        "2026-01-01T00:00:00.000Z".len()
    );
    for client in [&mut one, &mut other] {
        let (_, channel, data) = next(client).await;
        assert_eq!(channel, "private-all");
        assert_eq!(
            data,
            json!({"type": "system", "message": "!", "severity": "warning", "timestamp": "2026-01-01"})
        );
    }
}

#[tokio::test]
async fn rt_online_offline_once() {
    let server = server().await;
    let mut director = person(&server, "1", "director", &["private-all"]).await;
    let operator = person(&server, "5", "operator", &["presence-online"]).await;

    let (event, _, data) = next(&mut director).await;
    assert_eq!(event, "user:online");
    assert_eq!(
        data,
        json!({"userId": "5", "name": "N5", "role": "operator"})
    );

    // A second window, and the first one reloaded.
    let second = person(&server, "5", "operator", &["presence-online"]).await;
    drop(operator);
    drop(second);
    let third = person(&server, "5", "operator", &["presence-online"]).await;
    let other = person(&server, "6", "master", &["presence-online"]).await;
    assert_eq!(next(&mut director).await.2["userId"], "6");

    drop((third, other));
    let mut gone = Vec::new();
    for _ in 0..2 {
        let (event, _, data) = next(&mut director).await;
        assert_eq!(event, "user:offline");
        gone.push(data);
    }
    gone.sort_by_key(|data| data["userId"].as_str().unwrap().to_owned());
    assert_eq!(
        gone,
        [
            json!({"userId": "5", "name": "N5", "role": "operator"}),
            json!({"userId": "6", "name": "N6", "role": "master"})
        ]
    );
    director.receives_nothing_before_pong().await;
}

#[tokio::test]
async fn rt_online_scope_relevant() {
    let server = TestServer::with(|config| {
        call_centre(config);
        config.adapters.rooms.online_scope = OnlineScope::Relevant;
    })
    .await;
    let mut bystander = person(&server, "9", "master", &["private-all"]).await;
    let mut director = person(&server, "1", "director", &["private-directors"]).await;
    let mut operator = person(&server, "2", "operator", &["private-operators"]).await;

    let new_operator = person(&server, "5", "operator", &["presence-online"]).await;
    let (event, channel, data) = next(&mut director).await;
    assert_eq!(
        (event.as_str(), channel.as_str()),
        ("user:online", "private-directors")
    );
    assert_eq!(data["userId"], "5");
    let (_, channel, same) = next(&mut operator).await;
    assert_eq!(channel, "private-operators");
    // Who is in both rooms can tell that it is one event.
    assert_eq!(same["_eid"], data["_eid"]);
    assert!(data["_eid"].is_string());

    let master = person(&server, "6", "master", &["presence-online"]).await;
    assert_eq!(next(&mut director).await.2["userId"], "6");
    drop(master);
    let (event, _, data) = next(&mut director).await;
    assert_eq!(
        (event.as_str(), &data["userId"]),
        ("user:offline", &json!("6"))
    );
    drop(new_operator);
    assert_eq!(next(&mut director).await.2["userId"], "5");
    assert_eq!(next(&mut operator).await.0, "user:offline");
    operator.receives_nothing_before_pong().await;
    bystander.receives_nothing_before_pong().await;
}

#[tokio::test]
async fn cities_are_checked_unless_they_are_not_to_be() {
    let penza = "private-city;=0J_QtdC90LfQsA";
    for (check_cities, expected) in [(true, 403), (false, 200)] {
        let server = TestServer::with(|config| {
            call_centre(config);
            config.adapters.rooms.check_cities = check_cities;
        })
        .await;
        let master = token(json!({"sub": "7", "role": "master", "cities": ["Саратов"]}));
        let visitor = token(json!({"sub": "8", "role": "customer"}));

        assert_eq!(ask(&server, &master, "1.1", SARATOV).await.status, 200);
        assert_eq!(ask(&server, &master, "1.1", penza).await.status, expected);
        assert_eq!(ask(&server, &visitor, "1.1", penza).await.status, 403);
    }
}

/// Without its app the service cannot run: the server says so, serves everybody else,
/// and brings it back when the app is there.
#[tokio::test]
async fn a_failed_adapter_is_told_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/fanfare.db", directory.path().display());
    let server = TestServer::with(|config| {
        call_centre(config);
        config.adapters.rooms.app = Some("late".to_owned());
        config.admin.token = Some("admin".into());
        config.store = StoreConfig {
            url: Some(url.as_str().into()),
            ..StoreConfig::default()
        };
    })
    .await;
    eventually("the adapter fails", async || {
        let ready = server.ops("/ready").await;
        ready.status == 200 && ready.body == "degraded: adapter rooms is down\n"
    })
    .await;
    let metrics = server.ops("/metrics").await.body;
    assert!(
        metrics.contains("fanfare_adapter_up{adapter=\"rooms\"} 0"),
        "{metrics}"
    );
    let mut client = server.subscriber("news").await;
    server.trigger("news", "tick", "1").await;
    assert_eq!(client.next().await["event"], "tick");
    let adapter =
        admin(&server, "GET", "/nodes", "").await.json()["nodes"][0]["adapters"][0].clone();
    assert_eq!(
        (&adapter["name"], &adapter["is_up"]),
        (&json!("rooms"), &json!(false))
    );
    assert!(
        adapter["problem"].as_str().unwrap().contains("late"),
        "{adapter}"
    );

    let app = r#"{"id": "late"}"#;
    let made = admin(&server, "POST", "/apps", app).await;
    assert_eq!(made.status, 201, "{}", made.body);
    eventually("the adapter runs again", async || {
        server.ops("/ready").await.body == "OK\n"
    })
    .await;
    let adapter =
        admin(&server, "GET", "/nodes", "").await.json()["nodes"][0]["adapters"][0].clone();
    assert_eq!(adapter["is_up"], true, "{adapter}");
    assert!(adapter["restarts"].as_u64().unwrap() >= 1);
}

async fn admin(server: &TestServer, method: &str, path: &str, body: &str) -> Answer {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let headers = [("Host", "127.0.0.1"), ("Authorization", "Bearer admin")];
    HttpClient::new(stream)
        .await
        .send_with(method, &format!("/admin/v1{path}"), &headers, body)
        .await
}

#[tokio::test]
async fn rt_stats_shapes() {
    let server = TestServer::with(|config| {
        call_centre(config);
        config.auth.allowed_origins = vec!["https://desk.example".to_owned()];
        config.adapters.rooms.port = Some(0);
    })
    .await;
    let operator = person(
        &server,
        "5",
        "operator",
        &["presence-online", "private-operators", SARATOV],
    )
    .await;
    let master = person(&server, "9", "master", &["presence-online"]).await;
    let get = async |headers: &[(&str, &str)], path: &str| {
        let stream = TcpStream::connect(server.rooms_address.unwrap())
            .await
            .unwrap();
        let mut all = vec![("Host", "localhost:5009")];
        all.extend(headers);
        HttpClient::new(stream)
            .await
            .send_with("GET", path, &all, "")
            .await
    };

    let path = "/api/v1/stats/connections";
    soon("both to be counted", async {
        while get(&[], path).await.json()["data"]["users"]
            .as_array()
            .unwrap()
            .len()
            < 2
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let connections = get(&[], path).await.json();
    assert_eq!(connections["success"], true);
    assert_eq!(connections["data"]["total"], 2);
    assert_eq!(
        connections["data"]["byRole"],
        json!({"operator": 1, "master": 1})
    );
    let users = connections["data"]["users"].as_array().unwrap();
    for (client, user, role) in [(&operator, "5", "operator"), (&master, "9", "master")] {
        let expected = json!({"socketId": client.socket_id(), "userId": user, "role": role});
        assert!(users.contains(&expected), "{users:?}");
    }
    assert_eq!(
        get(&[], "/api/v1/stats/rooms").await.json(),
        json!({"success": true, "data": {"total": 3, "rooms": ["city:Саратов", "online", "operators"]}})
    );
    for path in ["/health", "/api/v1/stats/health"] {
        let health = get(&[], path).await.json();
        assert_eq!(
            (&health["success"], &health["status"]),
            (&json!(true), &json!("healthy"))
        );
        assert_eq!(
            health["data"]["websocket"],
            json!({"status": "active", "connectedClients": 2})
        );
        assert_eq!(
            health["data"]["redis"],
            json!({"status": "disabled", "scaling": "disabled"})
        );
        assert!(health["data"]["uptime"].is_number() && health["data"]["timestamp"].is_string());
    }

    let bearer = |token: String| format!("Bearer {token}");
    let director = bearer(token(json!({"sub": "1", "role": "director"})));
    let guest = bearer(token(json!({"sub": "1", "role": "operator"})));
    for (headers, status) in [
        (("X-Forwarded-For", "203.0.113.7"), 401),
        (("Origin", "https://elsewhere.example"), 403),
        (("Authorization", director.as_str()), 200),
        (("Authorization", &bearer(TOKEN.to_owned())), 200),
        (("Authorization", &guest), 403),
        (("Authorization", "Bearer nonsense"), 401),
    ] {
        assert_eq!(get(&[headers], path).await.status, status, "{headers:?}");
    }
    let desk = ("Origin", "https://desk.example");
    let shared = get(&[("Authorization", director.as_str()), desk], path).await;
    assert_eq!(
        (
            shared.status,
            &shared.headers["access-control-allow-origin"]
        ),
        (200, &"https://desk.example".parse().unwrap())
    );
}

#[tokio::test]
async fn rt_3_nodes_once() {
    let redis = Redis::start().await;
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let node = TestServer::with(|config| {
            call_centre(config);
            config.adapters.vacate_grace_ms = 500;
            config.engine.url = Some(redis.url().as_str().into());
        })
        .await;
        soon("the engine", async {
            while node.ops("/ready").await.body != "OK\n" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        nodes.push(node);
    }
    let [one, two, three] = &nodes[..] else {
        panic!("three nodes");
    };
    let rooms = ["private-all", "private-operators"];
    let mut on_two = person(two, "1", "director", &rooms).await;
    let mut on_three = person(three, "2", "director", &rooms).await;

    broadcast(one, "call-new", json!({"call": {"id": 1}})).await;
    for client in [&mut on_two, &mut on_three] {
        assert_eq!(next(client).await.0, "call:new");
        client.receives_nothing_before_pong().await;
    }

    // One user with a connection on two nodes.
    let first = person(one, "5", "operator", &["presence-online"]).await;
    let second = person(three, "5", "operator", &["presence-online"]).await;
    for client in [&mut on_two, &mut on_three] {
        let (event, _, data) = next(client).await;
        assert_eq!(
            (event.as_str(), &data["userId"]),
            ("user:online", &json!("5"))
        );
    }
    drop(first);
    // Leaves one node and is back on another within the grace.
    drop(second);
    let third = person(two, "5", "operator", &["presence-online"]).await;
    let other = person(one, "6", "operator", &["presence-online"]).await;
    for client in [&mut on_two, &mut on_three] {
        let (event, _, data) = next(client).await;
        assert_eq!(
            (event.as_str(), &data["userId"]),
            ("user:online", &json!("6"))
        );
    }
    soon("the figures of all nodes", async {
        loop {
            let told = one
                .http("GET", "/api/v1/stats/connections", "")
                .await
                .json();
            if told["data"]["total"] == 4 && told["data"]["users"].as_array().unwrap().len() == 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    drop((third, other));
    for client in [&mut on_two, &mut on_three] {
        let mut gone = Vec::new();
        for _ in 0..2 {
            let (event, _, data) = next(client).await;
            assert_eq!(event, "user:offline");
            gone.push(data["userId"].as_str().unwrap().to_owned());
        }
        gone.sort();
        assert_eq!(gone, ["5", "6"]);
        client.receives_nothing_before_pong().await;
    }

    // What an order was is known on all nodes.
    for (node, master) in [(one, Value::Null), (two, json!(9)), (three, json!(9))] {
        let kind = if master.is_null() {
            "order-new"
        } else {
            "order-updated"
        };
        let order = json!({"id": 7, "masterId": master});
        broadcast(node, kind, json!({"order": order, "rooms": ["operators"]})).await;
    }
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.push(next(&mut on_two).await.0);
    }
    heard.sort();
    assert_eq!(
        heard,
        [
            "order:master-assigned",
            "order:new",
            "order:updated",
            "order:updated"
        ]
    );
    on_two.receives_nothing_before_pong().await;
}
