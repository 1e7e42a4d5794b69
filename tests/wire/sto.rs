//! The queue of a car service: displays, mechanics, customers, and what RabbitMQ
//! carries. The rows in the comments are those of docs/adapters/sto.md.

use std::time::Duration;

use fanfare::config::{Config, StoConfig};
use lapin::message::BasicGetMessage;
use lapin::options::{BasicGetOptions, BasicPublishOptions};
use lapin::types::AMQPValue;
use lapin::{BasicProperties, Confirmation};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::net::TcpStream;

use crate::auth::{JWT_SECRET, token};
use crate::postgres::Postgres;
use crate::rabbitmq::{Publisher, RabbitMq, Vhost};
use crate::support::{Answer, Client, HttpClient, KEY, TestServer, eventually, eventually_within};

/// What the order service sends.
const TOKEN: &str = "what the order service knows";

const HOOKS: &str = "/adapters/sto/v1";

/// Time for RabbitMQ to come and for its clients to notice, on a busy machine.
const RETURN: Duration = Duration::from_secs(90);

/// An hour: no tick comes while a test runs.
const NEVER: u64 = 3_600_000;

fn sto(config: &mut Config) -> &mut StoConfig {
    config.auth.jwt_secret = Some(JWT_SECRET.into());
    config.adapters.vacate_grace_ms = 100;
    let sto = &mut config.adapters.sto;
    sto.enabled = true;
    sto.webhook_token = Some(TOKEN.into());
    sto.broadcast_interval_ms = NEVER;
    sto
}

async fn server(change: impl FnOnce(&mut StoConfig)) -> TestServer {
    TestServer::with(|config| change(sto(config))).await
}

async fn request(
    server: &TestServer,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let host = server.address.to_string();
    let mut all = vec![("Host", host.as_str())];
    all.extend(headers);
    let stream = TcpStream::connect(server.address).await.unwrap();
    let mut client = HttpClient::new(stream).await;
    client.send_with(method, path, &all, body).await
}

/// A hook of the order service, whatever it brings.
async fn try_hook(server: &TestServer, path: &str, body: &Value) -> Answer {
    let headers = [("X-Webhook-Token", TOKEN)];
    let path = format!("{HOOKS}/{path}");
    request(server, "POST", &path, &headers, &body.to_string()).await
}

async fn hook(server: &TestServer, path: &str, body: Value) {
    let answer = try_hook(server, path, &body).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    assert_eq!(answer.json()["success"], true);
}

async fn stats(server: &TestServer) -> Value {
    let headers = [("X-Webhook-Token", TOKEN)];
    let answer = request(server, "GET", &format!("{HOOKS}/stats"), &headers, "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// What pusher-js asks before it subscribes.
async fn ask(
    server: &TestServer,
    client: &Client,
    channel: &str,
    token: Option<&str>,
    parameters: &[(&str, &str)],
) -> Answer {
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("socket_id", client.socket_id())
        .append_pair("channel_name", channel)
        .extend_pairs(parameters)
        .finish();
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("Content-Type", "application/x-www-form-urlencoded")];
    headers.extend(bearer.as_deref().map(|bearer| ("Authorization", bearer)));
    request(server, "POST", &format!("{HOOKS}/auth"), &headers, &form).await
}

/// Subscribes, and reads the success.
async fn enter(
    server: &TestServer,
    client: &mut Client,
    channel: &str,
    token: Option<&str>,
    parameters: &[(&str, &str)],
) {
    let answer = ask(server, client, channel, token, parameters).await;
    assert_eq!(answer.status, 200, "{channel}: {}", answer.body);
    let mut data = answer.json();
    data["channel"] = json!(channel);
    client
        .send(&json!({"event": "pusher:subscribe", "data": data}))
        .await;
    client
        .next_data("pusher_internal:subscription_succeeded", channel)
        .await;
}

fn display_channel(id: &str) -> String {
    format!("presence-sto-display;{id}")
}

/// A display that has shown its first update.
async fn display(server: &TestServer, id: &str, filters: Value) -> (Client, Value) {
    let token = token(json!({"sub": "hall", "role": "display"}));
    let mut client = server.connect().await;
    let filters = filters.to_string();
    let parameters = [("displayId", id), ("filters", filters.as_str())];
    let channel = display_channel(id);
    enter(server, &mut client, &channel, Some(&token), &parameters).await;
    let update = client.next_data("queue_update", &channel).await;
    assert_eq!(update["displayId"], id);
    (client, update)
}

async fn mechanic(server: &TestServer, channels: &[&str]) -> Client {
    let token = token(json!({"sub": "mech-1", "role": "mechanic"}));
    let mut client = server.connect().await;
    for channel in channels {
        let zone = [("zone", "workshop")];
        enter(server, &mut client, channel, Some(&token), &zone).await;
    }
    client
}

fn now() -> String {
    let at = time::OffsetDateTime::now_utc();
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.000Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

fn order(id: &str, zone: &str, status: &str) -> Value {
    json!({
        "id": id, "zone": zone, "status": status, "workType": "repair", "priority": "normal",
        "queueNumber": 100, "queueNumberInZone": 1, "vehicleMake": "Opel",
        "customerPhone": "+992 90 123-45-67", "customerName": "Рустам", "createdAt": now(),
    })
}

async fn create(server: &TestServer, id: &str, zone: &str, status: &str) {
    hook(
        server,
        "orders/created",
        json!({"order": order(id, zone, status)}),
    )
    .await;
}

fn ids(update: &Value) -> Vec<&str> {
    let orders = update["orders"].as_array().unwrap();
    let mut ids: Vec<&str> = orders
        .iter()
        .map(|order| order["id"].as_str().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(update["totalCount"], ids.len());
    ids
}

async fn figure(server: &TestServer, name: &str) -> u64 {
    let metrics = server.ops("/metrics").await.body;
    let line = metrics
        .lines()
        .find(|line| line.starts_with(&format!("{name} ")))
        .unwrap_or_else(|| panic!("no {name} in {metrics}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// A-04, A-08, A-24, A-27, A-30, A-80: a display sees what its filters let through,
/// whatever the case of the letters, and changes them while it runs.
#[tokio::test]
async fn sto_display_filters() {
    let server = server(|_| {}).await;
    for (id, zone, status) in [
        ("1", "reception", "waiting"),
        ("2", "WORKSHOP", "IN_PROGRESS"),
        ("3", "workshop", "blocked"),
        ("4", "bodywork", "waiting"),
        ("5", "reception", "completed"),
    ] {
        create(&server, id, zone, status).await;
    }
    let mut yesterday = order("6", "reception", "waiting");
    yesterday["createdAt"] = json!("2001-01-01T10:00:00.000Z");
    hook(&server, "orders/created", json!({"order": yesterday})).await;

    let seed = json!({"zones": ["RECEPTION", "WORKSHOP"], "showBlocked": false});
    let (mut page, update) = display(&server, "DISPLAY-001", seed).await;

    assert_eq!(ids(&update), ["1", "2"]);
    assert_eq!(update["orders"][0]["customerName"], "Рустам");
    let (mut other, update) = display(&server, "DISPLAY-002", json!({"showBlocked": true})).await;
    assert_eq!(ids(&update), ["1", "2", "3", "4"]);

    let channel = display_channel("DISPLAY-001");
    for filters in [
        json!({"filters": {"zones": ["bodywork"]}}),
        json!({"zones": ["BodyWork"], "showBlocked": false}),
    ] {
        page.send(&json!({"event": "client-update_filters", "channel": channel, "data": filters}))
            .await;
        let update = page.next_data("queue_update", &channel).await;
        assert_eq!(ids(&update), ["4"]);
    }
    page.send(&json!({"event": "client-request_queue_update", "channel": channel, "data": {}}))
        .await;
    assert_eq!(ids(&page.next_data("queue_update", &channel).await), ["4"]);
    // What means nothing changes nothing.
    page.send(&json!({"event": "client-update_filters", "channel": channel, "data": {"zones": 1}}))
        .await;
    page.send(&json!({"event": "client-request_queue_update", "channel": channel, "data": {}}))
        .await;
    assert_eq!(ids(&page.next_data("queue_update", &channel).await), ["4"]);
    page.receives_nothing_before_pong().await;
    other.receives_nothing_before_pong().await;
}

/// A-06: displays are told every so often, whether or not anything has changed; or
/// only when it has.
#[tokio::test]
async fn sto_tick_3s() {
    assert_eq!(StoConfig::default().broadcast_interval_ms, 3_000);
    let often = server(|sto| sto.broadcast_interval_ms = 100).await;
    assert_eq!(figure(&often, "fanfare_sto_queue_updates_total").await, 0);
    let (mut page, _) = display(&often, "A", json!({})).await;
    for _ in 0..3 {
        page.next_data("queue_update", &display_channel("A")).await;
    }

    let sparing = server(|sto| {
        sto.broadcast_interval_ms = 100;
        sto.send_unchanged = false;
    })
    .await;
    let (mut page, update) = display(&sparing, "A", json!({})).await;
    assert_eq!(ids(&update), [""; 0]);
    create(&sparing, "1", "reception", "waiting").await;
    let update = page.next_data("queue_update", &display_channel("A")).await;
    assert_eq!(ids(&update), ["1"]);
    page.next_data("new_order", &display_channel("A")).await;
    let spent = async || figure(&sparing, "fanfare_sto_queue_update_microseconds_total").await;
    for _ in 0..3 {
        let before = spent().await;
        eventually("a tick", async || spent().await > before).await;
    }
    page.receives_nothing_before_pong().await;
}

/// A-07, A-23, A-41, A-72: who may see an order hears what has become of it, with the
/// order as it is now; its customer too.
#[tokio::test]
async fn sto_status_change_fanout() {
    let server = server(|_| {}).await;
    create(&server, "7", "workshop", "waiting").await;
    create(&server, "8", "workshop", "waiting").await;
    let (mut shows, _) = display(&server, "A", json!({"zones": ["WORKSHOP"]})).await;
    let (mut other, _) = display(&server, "B", json!({"zones": ["bodywork"]})).await;
    let mut in_zone = mechanic(
        &server,
        &["presence-sto-mechanics", "private-sto-zone;workshop"],
    )
    .await;
    let mut everywhere = mechanic(&server, &["private-sto-orders"]).await;
    let mut customer = server.connect().await;
    let phone = [("phone", "992901234567")];
    enter(&server, &mut customer, "private-sto-order;8", None, &phone).await;

    // The order service calls before it has saved.
    let body = json!({
        "orderId": "7", "oldStatus": "waiting", "newStatus": "in_progress",
        "order": order("7", "workshop", "waiting"),
    });
    hook(&server, "orders/status-changed", body).await;

    let a = display_channel("A");
    let changed = shows.next_data("order_status_changed", &a).await;
    assert_eq!(changed["orderId"], "7");
    assert_eq!(changed["newStatus"], "in_progress");
    assert_eq!(changed["order"]["status"], "in_progress");
    assert!(changed["timestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(ids(&shows.next_data("queue_update", &a).await), ["7", "8"]);
    other.next_data("queue_update", &display_channel("B")).await;
    let zone = "private-sto-zone;workshop";
    let one = in_zone.next_data("order_status_changed", zone).await;
    let all = everywhere
        .next_data("order_status_changed", "private-sto-orders")
        .await;
    assert_eq!(one, all);
    assert_eq!(one["order"], changed["order"]);
    assert!(one["_eid"].is_string());
    let status = customer
        .next_data("tracking_update", "private-sto-order;8")
        .await;
    assert_eq!(status["currentPosition"], 1);
    assert_eq!(status["canCancel"], true);
    for page in [
        &mut shows,
        &mut other,
        &mut in_zone,
        &mut everywhere,
        &mut customer,
    ] {
        page.receives_nothing_before_pong().await;
    }
}

/// A-25, A-40, A-43: a new order is on the displays before it is announced.
#[tokio::test]
async fn sto_new_order_immediate() {
    let server = server(|_| {}).await;
    let (mut shows, update) = display(&server, "A", json!({"zones": ["reception"]})).await;
    assert_eq!(update["totalCount"], 0);
    let mut mechanic = mechanic(&server, &["private-sto-orders"]).await;

    create(&server, "1", "Reception", "waiting").await;

    let channel = display_channel("A");
    assert_eq!(ids(&shows.next_data("queue_update", &channel).await), ["1"]);
    let new = shows.next_data("new_order", &channel).await;
    assert_eq!(new["order"]["vehicleMake"], "Opel");
    let told = mechanic.next_data("new_order", "private-sto-orders").await;
    assert_eq!(told["order"], new["order"]);
    hook(&server, "displays/refresh", json!({})).await;
    assert_eq!(ids(&shows.next_data("queue_update", &channel).await), ["1"]);
}

/// A-05, A-28, A-29, A-44, A-62: who is there is known, until they leave.
#[tokio::test]
async fn sto_unregister() {
    let server = server(|_| {}).await;
    let filters = json!({"zones": ["reception"], "workTypes": [], "showBlocked": true});
    let (mut page, _) = display(&server, "A", filters.clone()).await;
    let _mechanic = mechanic(&server, &["presence-sto-mechanics"]).await;
    assert_eq!(
        stats(&server).await,
        json!({
            "displayCount": 1, "mechanicCount": 1,
            "displays": [{"displayId": "A", "filters": filters}],
            "mechanics": [{"mechanicId": "mech-1", "zone": "workshop"}],
        })
    );
    assert_eq!(figure(&server, "fanfare_sto_displays").await, 1);

    page.unsubscribe(&display_channel("A")).await;

    eventually("the display is gone", async || {
        figure(&server, "fanfare_sto_displays").await == 0
            && stats(&server).await["displayCount"] == 0
    })
    .await;
    create(&server, "1", "reception", "waiting").await;
    page.receives_nothing_before_pong().await;
}

/// A-04, A-40, A-72 and the rules of access: everybody gets in by their own door only.
#[tokio::test]
async fn sto_doors() {
    let server = server(|_| {}).await;
    create(&server, "1", "reception", "waiting").await;
    let client = server.connect().await;
    let display = token(json!({"sub": "d", "role": "display"}));
    let mechanic = token(json!({"sub": "m", "role": "mechanic"}));
    let admin = token(json!({"sub": "a", "role": "admin"}));
    let guest = token(json!({"sub": "g", "role": "customer"}));
    let a = "presence-sto-display;A";
    for (channel, token, parameters, expected) in [
        (a, None, &[][..], 401),
        (a, Some("no token"), &[], 401),
        (a, Some(&*guest), &[], 403),
        (a, Some(&*mechanic), &[], 403),
        (a, Some(&*display), &[], 200),
        (a, Some(&*admin), &[], 200),
        (a, Some(&*display), &[("displayId", "B")], 400),
        (a, Some(&*display), &[("filters", "{")], 400),
        ("presence-sto-display;=QQ", Some(&*display), &[], 400),
        ("presence-sto-display", Some(&*display), &[], 400),
        ("private-sto-orders", Some(&*display), &[], 403),
        ("private-sto-orders", Some(&*mechanic), &[], 200),
        ("private-sto-zone;workshop", Some(&*admin), &[], 200),
        ("private-sto-zone;WORKSHOP", Some(&*admin), &[], 400),
        ("private-sto-zone;", Some(&*admin), &[], 400),
        ("presence-sto-mechanics", Some(&*guest), &[], 403),
        ("presence-sto-mechanics", Some(&*mechanic), &[], 200),
        ("private-sto-order;1", None, &[], 404),
        (
            "private-sto-order;1",
            Some(&*admin),
            &[("phone", "992901234568")],
            404,
        ),
        (
            "private-sto-order;1",
            None,
            &[("phone", "+992901234567")],
            200,
        ),
        (
            "private-sto-order;2",
            None,
            &[("phone", "+992901234567")],
            404,
        ),
        ("private-other", Some(&*admin), &[], 400),
        ("news", Some(&*admin), &[], 400),
    ] {
        let answer = ask(&server, &client, channel, token, parameters).await;
        assert_eq!(
            answer.status, expected,
            "{channel} {parameters:?}: {}",
            answer.body
        );
    }
    // The common endpoint has no rule for them.
    let answer = crate::auth::ask(&server, &admin, client.socket_id(), a).await;
    assert_eq!(answer.status, 403);

    let status = "/public/queue/status/1?phone=%2B992901234567";
    let answer = request(&server, "GET", status, &[], "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["currentPosition"], 1);
    assert!(!answer.body.contains("Рустам"));
    let answer = request(&server, "GET", "/public/queue/status/1?phone=1", &[], "").await;
    assert_eq!(answer.status, 404);

    // The order service: a token or a signature, and nothing else.
    let created = format!("{HOOKS}/orders/created");
    let body = json!({"order": order("2", "reception", "waiting")}).to_string();
    let signed = server.api("POST", &created, &[], &body).await;
    assert_eq!(signed.status, 200, "{}", signed.body);
    for headers in [
        &[][..],
        &[("X-Webhook-Token", "guess")],
        &[("X-Webhook-Token", "")],
    ] {
        let answer = request(&server, "POST", &created, headers, &body).await;
        assert_eq!(answer.status, 401, "{}", answer.body);
    }
    for (path, body, expected) in [
        ("orders/created", json!({}), 400),
        ("orders/created", json!({"order": {"id": "1"}}), 400),
        ("orders/created", json!({"order": "1"}), 400),
        (
            "orders/status-changed",
            json!({"orderId": "9", "newStatus": "blocked", "order": order("1", "r", "waiting")}),
            400,
        ),
        ("orders/none", json!({}), 404),
        // There is no broker.
        (
            "notifications",
            json!({"orderId": "1", "channel": "SMS", "recipient": "+992", "message": "m"}),
            503,
        ),
    ] {
        let answer = try_hook(&server, path, &body).await;
        assert_eq!(answer.status, expected, "{path} {body}: {}", answer.body);
    }
    let answer = request(&server, "GET", &created, &[("X-Webhook-Token", TOKEN)], "").await;
    assert_eq!(
        (answer.status, answer.headers["allow"].to_str().unwrap()),
        (405, "POST")
    );
    assert_eq!(
        figure(&server, "fanfare_sto_refused_requests_total").await,
        3
    );
}

/// A display that needs no token shows no customers.
#[tokio::test]
async fn sto_public_displays_show_no_customers() {
    let server = server(|sto| sto.public_displays = true).await;
    create(&server, "1", "reception", "waiting").await;
    let mut page = server.connect().await;
    let channel = display_channel("A");
    enter(&server, &mut page, &channel, None, &[]).await;

    let update = page.next_data("queue_update", &channel).await;
    assert_eq!(update["orders"][0]["vehicleMake"], "Opel");
    create(&server, "2", "reception", "waiting").await;
    let update = [update, page.next_data("queue_update", &channel).await];
    let new = page.next_data("new_order", &channel).await;
    for told in update.iter().chain([&new]) {
        assert!(!told.to_string().contains("Рустам"), "{told}");
        assert!(!told.to_string().contains("123"), "{told}");
    }
}

/// A-74: the pages are served as they are, and told the key of the app.
#[tokio::test]
async fn sto_pages() {
    let server = server(|_| {}).await;
    for path in [
        "/adapters/sto/board",
        "/adapters/sto/mechanic",
        "/queue/status/7",
    ] {
        let answer = request(&server, "GET", path, &[], "").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert!(answer.body.starts_with("<!"), "{path}: {}", answer.body);
    }
    let settings = "/adapters/sto/page/settings.json";
    let settings = request(&server, "GET", settings, &[], "").await.json();
    assert_eq!(settings["key"], KEY);
    assert_eq!(settings["pusherJs"], StoConfig::default().pusher_js);
    let answer = request(&server, "GET", "/adapters/sto/page/none.js", &[], "").await;
    assert_eq!(answer.status, 404);
}

/// The table of the order service, as TypeORM makes it.
const TABLE: &str = r#"
CREATE TYPE zone AS ENUM ('reception', 'workshop', 'diagnostic', 'bodywork');
CREATE TYPE status AS ENUM ('waiting', 'in_progress', 'blocked', 'completed', 'cancelled');
CREATE TABLE sto_orders (
    id uuid PRIMARY KEY, "queueNumber" integer NOT NULL, zone zone NOT NULL,
    "vehicleMake" varchar NOT NULL, "customerPhone" varchar NOT NULL,
    "workType" varchar NOT NULL, priority varchar NOT NULL, status status NOT NULL,
    "requiredParts" jsonb, "createdAt" timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    "startedAt" timestamp, "completedAt" timestamptz, "updatedAt" timestamp NOT NULL DEFAULT now()
)"#;

/// The OrderSource of PostgreSQL, A-06: one that is gone costs an update and no more.
#[tokio::test]
async fn sto_orders_in_postgres() {
    let mut postgres = Postgres::start().await;
    let pool = Box::pin(PgPool::connect(&postgres.url())).await.unwrap();
    sqlx::raw_sql(TABLE).execute(&pool).await.unwrap();
    let insert = async |id: u8, zone: &str, status: &str, created: &str| {
        let row = format!(
            r#"INSERT INTO sto_orders (id, "queueNumber", zone, "vehicleMake", "customerPhone",
                "workType", priority, status, "createdAt")
            VALUES ('00000000-0000-0000-0000-00000000000{id}', {id}, '{zone}', 'Opel', '+992901234567',
                'repair', 'normal', '{status}', {created})"#
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(row))
            .execute(&pool)
            .await
            .unwrap();
    };
    let today = "now() AT TIME ZONE 'UTC'";
    insert(1, "reception", "waiting", today).await;
    insert(2, "reception", "completed", today).await;
    insert(3, "reception", "waiting", "'2001-01-01'").await;
    let url = postgres.url();
    let server = server(|sto| {
        sto.orders_url = Some(url.as_str().into());
        sto.broadcast_interval_ms = 100;
        sto.send_unchanged = false;
    })
    .await;

    let (mut page, update) = display(&server, "A", json!({"zones": ["RECEPTION"]})).await;

    let first = "00000000-0000-0000-0000-000000000001";
    assert_eq!(ids(&update), [first]);
    let shown = &update["orders"][0];
    assert_eq!(shown["queueNumber"], 1);
    assert_eq!(shown["vehicleMake"], "Opel");
    let created = shown["createdAt"].as_str().unwrap();
    assert!(created.len() == 24 && created.ends_with('Z'), "{created}");
    let status = format!("/public/queue/status/{first}?phone=992901234567");
    let answer = request(&server, "GET", &status, &[], "").await;
    assert_eq!(
        (answer.status, &answer.json()["zone"]),
        (200, &json!("reception"))
    );
    insert(4, "reception", "waiting", today).await;
    let channel = display_channel("A");
    assert_eq!(
        ids(&page.next_data("queue_update", &channel).await).len(),
        2
    );

    postgres.stop();
    eventually("a failed read", async || {
        figure(&server, "fanfare_sto_failed_reads_total").await > 0
    })
    .await;
    page.receives_nothing_before_pong().await;
    postgres.resume().await;
    let pool = Box::pin(PgPool::connect(&postgres.url())).await.unwrap();
    sqlx::raw_sql("UPDATE sto_orders SET status = 'in_progress'")
        .execute(&pool)
        .await
        .unwrap();
    let update = page.next_data("queue_update", &channel).await;
    assert_eq!(update["orders"][0]["status"], "in_progress");
}

/// The next message of a queue.
async fn take(publisher: &Publisher, queue: &str) -> BasicGetMessage {
    let mut message = None;
    eventually_within(RETURN, &format!("a message in {queue}"), async || {
        let options = BasicGetOptions { no_ack: true };
        let got = publisher.channel.basic_get(queue.into(), options).await;
        message = got.unwrap();
        message.is_some()
    })
    .await;
    message.unwrap()
}

fn body(message: &BasicGetMessage) -> &str {
    std::str::from_utf8(&message.delivery.data).unwrap()
}

/// What Node's amqplib sends with `persistent`.
async fn send(publisher: &Publisher, queue: &str, body: &str) {
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(2);
    let sent = publisher
        .channel
        .basic_publish(
            "".into(),
            queue.into(),
            BasicPublishOptions::default(),
            body.as_bytes(),
            properties,
        )
        .await
        .unwrap()
        .await
        .unwrap();
    assert!(!matches!(sent, Confirmation::Nack(_)));
}

/// A-11, A-12, A-13, A-42, A-73, A-81: the CRM gets three kinds of messages, byte for
/// byte; its own queues are as Node declares them.
#[tokio::test]
async fn sto_amqp_bytes() {
    let vhost = Vhost::new().await;
    let crm = Publisher::new(&vhost.url()).await;
    for queue in [
        "sto_order_created",
        "sto_order_completed",
        "crm_inventory_reserved",
    ] {
        crm.queue(queue, None).await;
    }
    let url = vhost.url();
    let server = server(|sto| sto.broker_url = Some(url.as_str().into())).await;
    let mut made = order("o1", "reception", "waiting");
    made["createdAt"] = json!("2026-11-25T08:00:00.000Z");
    hook(&server, "orders/created", json!({"order": made})).await;
    made["customerId"] = json!("c1");
    made["startedAt"] = json!("2026-11-25T08:10:00.000Z");
    made["completedAt"] = json!("2026-11-25T09:15:30.000Z");
    for status in ["in_progress", "COMPLETED"] {
        let body = json!({"orderId": "o1", "newStatus": status, "order": made});
        hook(&server, "orders/status-changed", body).await;
    }
    let text = "Ваш автомобиль Toyota Camry готов! Заказ #101";
    let notice = json!({
        "orderId": "o1", "channel": "SMS", "recipient": "+992901234567",
        "message": text, "priority": "HIGH",
    });
    hook(&server, "notifications", notice).await;

    let message = take(&crm, "sto_order_created").await;
    assert_eq!(
        body(&message),
        r#"{"orderId":"o1","phone":"+992 90 123-45-67","customerName":"Рустам","zone":"reception","workType":"repair","queueNumber":100,"status":"waiting","createdAt":"2026-11-25T08:00:00.000Z"}"#
    );
    let properties = &message.delivery.properties;
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert_eq!(
        properties.content_type().as_ref().unwrap().as_str(),
        "application/json"
    );
    assert!(properties.timestamp().is_some());
    let message = take(&crm, "sto_order_completed").await;
    assert_eq!(
        body(&message),
        r#"{"orderId":"o1","customerId":"c1","completedAt":"2026-11-25T09:15:30.000Z","totalDuration":65,"zone":"reception","workType":"repair"}"#
    );
    let message = take(&crm, "sto_notification_request").await;
    assert_eq!(
        body(&message),
        format!(
            r#"{{"orderId":"o1","channel":"SMS","recipient":"+992901234567","message":"{text}","priority":"HIGH"}}"#
        )
    );
    assert_eq!(figure(&server, "fanfare_sto_amqp_confirmed_total").await, 3);
    assert_eq!(
        figure(&server, "fanfare_sto_amqp_unroutable_total").await,
        0
    );
}

/// A-10: mechanics hear of reserved parts; what means nothing is put aside, once.
#[tokio::test]
async fn sto_poison_message() {
    let vhost = Vhost::new().await;
    let url = vhost.url();
    let server = server(|sto| sto.broker_url = Some(url.as_str().into())).await;
    eventually_within(RETURN, "the queues", async || {
        vhost.queues().await.len() == 5
    })
    .await;
    create(&server, "o1", "workshop", "waiting").await;
    let mut in_zone = mechanic(&server, &["private-sto-zone;workshop"]).await;
    let mut everywhere = mechanic(&server, &["private-sto-orders"]).await;
    let crm = Publisher::new(&url).await;

    let large = format!(r#"{{"orderId":"o1","items":["{}"]}}"#, "x".repeat(65_536));
    for poison in [
        "{",
        r#"{"orderId":{},"items":[]}"#,
        r#"{"orderId":"o1","items":5}"#,
        large.as_str(),
    ] {
        send(&crm, "crm_inventory_reserved", poison).await;
    }
    let items = r#"[{"partId":"p1","quantity":2,"price":10.50}]"#;
    let reserved =
        format!(r#"{{"orderId":"o1","customerId":"c1","items":{items},"totalAmount":21.00}}"#);
    send(&crm, "crm_inventory_reserved", &reserved).await;

    for (page, channel) in [
        (&mut in_zone, "private-sto-zone;workshop"),
        (&mut everywhere, "private-sto-orders"),
    ] {
        let told = page.next_data("inventory_reserved", channel).await;
        assert_eq!(told["orderId"], "o1");
        assert_eq!(told["items"][0]["partId"], "p1");
        assert_eq!(told["totalAmount"], 21.0);
    }
    let dead = take(&crm, "sto.dead").await;
    assert_eq!(body(&dead), "{");
    let headers = dead.delivery.properties.headers().as_ref().unwrap();
    let source = &headers.inner()["x-source-queue"];
    assert_eq!(
        *source,
        AMQPValue::LongString("crm_inventory_reserved".into())
    );
    assert!(headers.inner().contains_key("x-error"));
    for _ in 0..3 {
        take(&crm, "sto.dead").await;
    }
    eventually("all is acknowledged", async || {
        figure(&server, "fanfare_sto_dead_letters_total").await == 4
            && figure(&server, "fanfare_sto_reservations_total").await == 1
    })
    .await;
}

/// A-60: an order that is created while the broker is dead is announced when it is
/// back; one that finds too many waiting is refused as a whole.
#[tokio::test]
async fn sto_broker_restart() {
    let mut broker = RabbitMq::start().await;
    let url = broker.url();
    let server = server(|sto| {
        sto.broker_url = Some(url.as_str().into());
        sto.outbox = 2;
    })
    .await;
    let connected = async |expected: u64| {
        eventually_within(RETURN, &format!("connected: {expected}"), async || {
            figure(&server, "fanfare_sto_broker_connected").await == expected
        })
        .await;
    };
    connected(1).await;
    let mut everywhere = mechanic(&server, &["private-sto-orders"]).await;

    broker.kill();
    connected(0).await;
    for id in ["1", "2"] {
        create(&server, id, "reception", "waiting").await;
        everywhere
            .next_data("new_order", "private-sto-orders")
            .await;
    }
    let body = json!({"order": order("3", "reception", "waiting")});
    let answer = try_hook(&server, "orders/created", &body).await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    everywhere.receives_nothing_before_pong().await;
    assert_eq!(figure(&server, "fanfare_sto_amqp_waiting").await, 2);

    broker.resume().await;
    connected(1).await;
    let crm = Publisher::new(&url).await;
    for id in ["1", "2"] {
        let message = take(&crm, "sto_order_created").await;
        let told: Value = serde_json::from_slice(&message.delivery.data).unwrap();
        assert_eq!(told["orderId"], id);
    }
    // It hears again as well.
    send(
        &crm,
        "crm_inventory_reserved",
        r#"{"orderId":"1","items":[],"totalAmount":0}"#,
    )
    .await;
    let told = everywhere
        .next_data("inventory_reserved", "private-sto-orders")
        .await;
    assert_eq!(told["orderId"], "1");
}
