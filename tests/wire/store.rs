//! Apps of a database, in SQLite and in PostgreSQL.

use std::time::Duration;

use fanfare::config::{AppConfig, Config, KeyConfig, StoreConfig};
use fanfare::engine::MemoryEngine;
use fanfare::hub::{Hub, Timeouts};
use fanfare::store::{Database, Entry, Journal, Progress, Span, StoreError, Sums, UsageRow};
use fanfare::usage::{Retention, Usage};
use fanfare_protocol::{AppKey, AppSecret, request};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use sqlx::AnyPool;
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use crate::postgres::Postgres;
use crate::redis::Redis;
use crate::support::{Answer, TestServer, app, eventually, now, soon};

type Change = Result<(), StoreError>;

const MASTER_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const NEW_MASTER_KEY: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

/// A database of one of the two kinds, for one test.
enum TestDatabase {
    Sqlite(TempDir),
    Postgres(Postgres),
}

impl TestDatabase {
    fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    async fn postgres() -> Self {
        Self::Postgres(Postgres::start().await)
    }

    fn url(&self) -> String {
        match self {
            Self::Sqlite(directory) => {
                format!("sqlite://{}/fanfare.db", directory.path().display())
            }
            Self::Postgres(postgres) => postgres.url(),
        }
    }

    fn config(&self) -> StoreConfig {
        StoreConfig {
            url: Some(self.url().as_str().into()),
            master_key: Some(MASTER_KEY.into()),
            ..StoreConfig::default()
        }
    }

    /// With its tables.
    async fn open(&self) -> Database {
        let database = Database::connect(&self.config()).await.unwrap().unwrap();
        database.migrate().await.unwrap();
        database
    }

    /// As somebody else would see it.
    async fn raw(&self) -> AnyPool {
        sqlx::any::install_default_drivers();
        AnyPool::connect(&self.url()).await.unwrap()
    }

    async fn server(&self) -> TestServer {
        let store = self.config();
        TestServer::with(|config: &mut Config| config.store = store).await
    }
}

fn pair(key: &str, secret: &str) -> KeyConfig {
    KeyConfig {
        key: key.to_owned(),
        secret: secret.into(),
    }
}

/// A change of an app that nobody refuses.
fn set(change: impl FnOnce(&mut AppConfig)) -> impl FnOnce(&mut AppConfig) -> Change {
    |app| {
        change(app);
        Ok(())
    }
}

fn target(key: &str) -> String {
    format!("/app/{key}?protocol=7")
}

async fn get_channels(server: &TestServer, id: &str, key: &str, secret: &str) -> Answer {
    let path = format!("/apps/{id}/channels");
    let (key, secret) = (AppKey::new(key), AppSecret::new(secret));
    let query = request::sign_request("GET", &path, &[], b"", &key, &secret, now());
    server.http("GET", &format!("{path}?{query}"), "").await
}

/// The close code of a connection that is refused, or of one that exists.
async fn refusal(server: &TestServer, key: &str) -> u16 {
    server.open(&target(key)).await.closed().await.0
}

#[tokio::test]
async fn apps_are_created_changed_and_deleted_in_sqlite() {
    apps_are_created_changed_and_deleted(&TestDatabase::sqlite()).await;
}

#[tokio::test]
async fn apps_are_created_changed_and_deleted_in_postgres() {
    apps_are_created_changed_and_deleted(&TestDatabase::postgres().await).await;
}

async fn apps_are_created_changed_and_deleted(on: &TestDatabase) {
    let database = on.open().await;
    // Several servers may bring the tables up to date.
    database.migrate().await.unwrap();
    let mut created = AppConfig::new("1", "key-1", "secret-1");
    created.client_events = true;
    created.limits.connections = Some(5);

    database.create(&created).await.unwrap();
    let stored = database.get("1").await.unwrap().config;
    assert_eq!(stored.pairs(), created.pairs());
    assert!(stored.client_events);
    assert_eq!(stored.limits, created.limits);
    for taken in [
        AppConfig::new("1", "key-2", "s"),
        AppConfig::new("2", "key-1", "s"),
    ] {
        let error = database.create(&taken).await.unwrap_err();
        assert!(matches!(error, StoreError::Exists(_)), "{error}");
    }
    let bad = AppConfig::new("a/b", "key-2", "s");
    assert!(matches!(
        database.create(&bad).await,
        Err(StoreError::Invalid(_))
    ));
    assert_eq!(database.list().await.unwrap().len(), 1);

    database
        .update("1", set(|app| app.watchlist = true))
        .await
        .unwrap();
    database.add_key("1", &pair("key-3", "s3")).await.unwrap();
    let stored = database.get("1").await.unwrap().config;
    assert!(stored.watchlist && stored.client_events);
    assert_eq!(stored.keys.len(), 2);
    database.remove_key("1", "key-1").await.unwrap();
    // The last one stays.
    assert!(database.remove_key("1", "key-3").await.is_err());
    assert_eq!(
        database.get("1").await.unwrap().config.keys,
        [pair("key-3", "s3")]
    );

    // A change that is refused is none.
    let before = database.changes_since(-1).await.unwrap().revision;
    let refused = database.update("1", |app| {
        app.watchlist = false;
        Err(StoreError::Exists("it".to_owned()))
    });
    assert!(matches!(refused.await, Err(StoreError::Exists(_))));
    assert!(database.get("1").await.unwrap().config.watchlist);
    let after = database.changes_since(-1).await.unwrap().revision;
    assert_eq!(after, before);
    // More at once than there are connections.
    let add = |app: &mut AppConfig| app.limits.connections = app.limits.connections.map(|n| n + 1);
    let changes = (0..16).map(|_| database.update("1", set(add)));
    try_join_all(changes).await.unwrap();
    let stored = database.get("1").await.unwrap().config;
    assert_eq!(stored.limits.connections, Some(5 + 16));

    database.delete("1").await.unwrap();
    assert!(matches!(database.get("1").await, Err(StoreError::NoApp(_))));
    assert!(database.delete("1").await.is_err());
    database.create(&created).await.unwrap();
}

#[tokio::test]
async fn secrets_are_sealed_in_sqlite() {
    secrets_are_sealed(&TestDatabase::sqlite()).await;
}

#[tokio::test]
async fn secrets_are_sealed_in_postgres() {
    secrets_are_sealed(&TestDatabase::postgres().await).await;
}

async fn secrets_are_sealed(on: &TestDatabase) {
    let mut created = AppConfig::new("1", "key-1", "precious");
    let webhook = json!({"url": "https://example.com/", "events": ["cache_miss"],
        "headers": {"Authorization": "Bearer precious"}});
    created.webhooks = vec![serde_json::from_value(webhook).unwrap()];
    on.open().await.create(&created).await.unwrap();
    let raw = on.raw().await;
    let everything = async || {
        let settings: String = sqlx::query_scalar("SELECT settings FROM fanfare_apps")
            .fetch_one(&raw)
            .await
            .unwrap();
        let secret: String = sqlx::query_scalar("SELECT secret FROM fanfare_app_keys")
            .fetch_one(&raw)
            .await
            .unwrap();
        settings + &secret
    };
    let before = everything().await;
    assert!(!before.contains("precious"), "{before}");

    // The new key seals what the old one has sealed.
    let rotated = StoreConfig {
        master_key: Some(NEW_MASTER_KEY.into()),
        old_master_keys: vec![MASTER_KEY.into()],
        ..on.config()
    };
    let database = Database::connect(&rotated).await.unwrap().unwrap();
    assert_eq!(database.reseal().await.unwrap(), 2);
    assert_eq!(database.reseal().await.unwrap(), 0);
    let after = everything().await;
    assert!(!after.contains("precious") && after != before);
    let stored = database.get("1").await.unwrap().config;
    assert_eq!(stored.pairs(), created.pairs());
    assert_eq!(stored.webhooks, created.webhooks);

    // Without the new key nothing can be read, and nothing is broken.
    let outdated = Database::connect(&on.config()).await.unwrap().unwrap();
    assert!(matches!(outdated.get("1").await, Err(StoreError::Vault(_))));
}

#[tokio::test]
async fn a_running_server_follows_sqlite() {
    a_running_server_follows(&TestDatabase::sqlite()).await;
}

#[tokio::test]
async fn a_running_server_follows_postgres() {
    a_running_server_follows(&TestDatabase::postgres().await).await;
}

async fn a_running_server_follows(on: &TestDatabase) {
    let database = on.open().await;
    let server = on.server().await;
    assert_eq!(refusal(&server, "key-1").await, 4001);
    assert_eq!(get_channels(&server, "1", "key-1", "s").await.status, 404);

    // Who comes right after the creation is not told that there is no such app.
    database.create(&app("1", "key-1", "s")).await.unwrap();
    let mut client = server.connect_to(&target("key-1")).await;
    assert_eq!(get_channels(&server, "1", "key-1", "s").await.status, 200);

    // Two keys are valid at the same time.
    database.add_key("1", &pair("key-2", "s2")).await.unwrap();
    server.connect_to(&target("key-2")).await;
    server.connect_to(&target("key-1")).await;

    // A switch reaches connections that exist.
    client.subscribe("news").await;
    database
        .update("1", set(|app| app.subscription_count = true))
        .await
        .unwrap();
    soon("the count", async {
        loop {
            client.unsubscribe("other").await;
            client
                .send(&json!({"event": "pusher:subscribe", "data": {"channel": "other"}}))
                .await;
            client
                .send(&json!({"event": "pusher:ping", "data": {}}))
                .await;
            let mut has_count = false;
            loop {
                let message: Value = client.next().await;
                match message["event"].as_str().unwrap() {
                    "pusher:pong" => break,
                    "pusher_internal:subscription_count" => has_count = true,
                    _ => {}
                }
            }
            if has_count {
                return;
            }
        }
    })
    .await;

    // Disabling closes what there is and refuses what comes.
    database
        .update("1", set(|app| app.enabled = false))
        .await
        .unwrap();
    assert_eq!(client.closed().await.0, 4003);
    assert_eq!(refusal(&server, "key-2").await, 4003);
    assert_eq!(get_channels(&server, "1", "key-1", "s").await.status, 403);
    database
        .update("1", set(|app| app.enabled = true))
        .await
        .unwrap();
    let mut client = soon("the app", async {
        loop {
            let mut client = server.open(&target("key-1")).await;
            let message = client.next_frame().await.unwrap();
            if message.opcode == crate::support::TEXT {
                return client;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;

    database.delete("1").await.unwrap();
    assert_eq!(client.closed().await.0, 4001);
    assert_eq!(refusal(&server, "key-1").await, 4001);
}

/// The apps of the configuration are served beside those of the database.
#[tokio::test]
async fn a_server_without_its_database_goes_on_with_what_it_knows() {
    let mut on = TestDatabase::postgres().await;
    let database = on.open().await;
    database.create(&app("1", "key-1", "s")).await.unwrap();
    let server = on.server().await;
    let up = async |value: &str| {
        let line = format!("fanfare_store_up {value}");
        soon(&line, async {
            while !server.ops("/metrics").await.body.contains(&line) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    };
    let mut before = server.connect_to(&target("key-1")).await;
    up("1").await;
    let TestDatabase::Postgres(postgres) = &mut on else {
        unreachable!("it was started as PostgreSQL");
    };

    postgres.stop();

    up("0").await;
    server.connect_to(&target("key-1")).await;
    server.connect().await;
    assert_eq!(get_channels(&server, "1", "key-1", "s").await.status, 200);
    assert_eq!(refusal(&server, "unknown").await, 4100);
    assert_eq!(get_channels(&server, "2", "key-2", "s").await.status, 503);
    before.receives_nothing_before_pong().await;

    postgres.resume().await;

    up("1").await;
    assert_eq!(refusal(&server, "unknown").await, 4001);
    before.receives_nothing_before_pong().await;
}

#[tokio::test]
async fn the_table_of_soketi_is_read_in_sqlite() {
    let on = TestDatabase::sqlite();
    drop(Database::connect(&on.config()).await.unwrap());
    the_table_of_soketi_is_read(&on, "BOOLEAN", "TEXT").await;
}

#[tokio::test]
async fn the_table_of_soketi_is_read_in_postgres() {
    let on = TestDatabase::postgres().await;
    the_table_of_soketi_is_read(&on, "SMALLINT", "JSON").await;
}

async fn the_table_of_soketi_is_read(on: &TestDatabase, flag: &str, json: &str) {
    let raw = on.raw().await;
    let execute = async |text: String| {
        sqlx::query(sqlx::AssertSqlSafe(text))
            .execute(&raw)
            .await
            .unwrap();
    };
    execute(format!(
        "CREATE TABLE apps (id VARCHAR(255) PRIMARY KEY, \"key\" VARCHAR(255) NOT NULL, secret VARCHAR(255) NOT NULL, max_connections INTEGER NOT NULL, enable_client_messages {flag} NOT NULL, enabled {flag} NOT NULL, webhooks {json})"
    ))
    .await;
    let insert = async |id: &str, enabled: u8| {
        execute(format!(
            "INSERT INTO apps VALUES ('{id}', 'key-{id}', 's', -1, 1, {enabled}, NULL)"
        ))
        .await;
    };
    insert("1", 1).await;
    let mut store = on.config();
    store.soketi_table = Some("apps".to_owned());

    let server = TestServer::with(|config| config.store = store.clone()).await;

    let mut client = server.connect_to(&target("key-1")).await;
    assert_eq!(refusal(&server, "key-2").await, 4001);
    insert("2", 1).await;
    server.connect_to(&target("key-2")).await;
    execute("UPDATE apps SET enabled = 0 WHERE id = '1'".to_owned()).await;
    assert_eq!(client.closed().await.0, 4003);
    let database = Database::connect(&store).await.unwrap().unwrap();
    assert!(matches!(
        database.create(&app("3", "key-3", "s")).await,
        Err(StoreError::ReadOnly)
    ));
}

#[tokio::test]
async fn a_webhook_request_belongs_to_one_server_in_sqlite() {
    a_webhook_request_belongs_to_one_server(&TestDatabase::sqlite()).await;
}

#[tokio::test]
async fn a_webhook_request_belongs_to_one_server_in_postgres() {
    a_webhook_request_belongs_to_one_server(&TestDatabase::postgres().await).await;
}

async fn a_webhook_request_belongs_to_one_server(on: &TestDatabase) {
    let database = on.open().await;
    let (first, second) = (
        Journal::new(database.clone()),
        Journal::new(database.clone()),
    );
    let entry = Entry {
        id: "00000000000000aa".to_owned(),
        app_id: "1".to_owned(),
        webhook_id: "w".to_owned(),
        url: "https://example.com/".to_owned(),
        events: r#"{"name":"cache_miss","channel":"cache-ü"}"#.to_owned(),
        created_ms: 1_327_078_148_132,
        state: "waiting".to_owned(),
        attempts: 0,
        status: None,
        latency_ms: None,
        error: None,
    };

    first.accept(&entry).await.unwrap();
    assert_eq!(first.keep(true).await.unwrap(), []);
    assert_eq!(second.keep(true).await.unwrap(), []);
    first.give_back().await.unwrap();
    assert_eq!(second.keep(false).await.unwrap(), []);
    assert_eq!(
        second.keep(true).await.unwrap(),
        std::slice::from_ref(&entry)
    );
    assert_eq!(first.keep(true).await.unwrap(), []);

    let progress = Progress {
        state: "given_up",
        attempts: 9,
        status: Some(500),
        latency: Duration::from_millis(7),
        error: Some("answered 500"),
    };
    second.note(&entry.id, &progress).await.unwrap();
    second.give_back().await.unwrap();
    assert_eq!(first.keep(true).await.unwrap(), []);
    first.prune().await.unwrap();
    let page = async |app, state, after, limit| {
        let page = database.webhook_page(app, state, after, limit).await;
        page.unwrap()
    };
    let given_up = Entry {
        state: "given_up".to_owned(),
        attempts: 9,
        status: Some(500),
        latency_ms: Some(7),
        error: Some("answered 500".to_owned()),
        ..entry.clone()
    };
    let log = page(Some("1"), None, None, 10).await;
    assert_eq!(log, std::slice::from_ref(&given_up));
    assert_eq!(page(Some("2"), None, None, 10).await, []);

    let again = database.redeliver(&entry.id).await.unwrap();
    let claimed = first.keep(true).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!(
        (&claimed[0].id, &claimed[0].events),
        (&again, &entry.events)
    );
    assert!(claimed[0].created_ms > entry.created_ms);

    // The newest first, page by page, of one state and of all apps.
    let other = Entry {
        id: "00000000000000ab".to_owned(),
        app_id: "2".to_owned(),
        ..entry.clone()
    };
    second.accept(&other).await.unwrap();
    let ids =
        |page: Vec<Entry>| -> Vec<String> { page.into_iter().map(|entry| entry.id).collect() };
    let all = ids(page(None, None, None, 10).await);
    assert_eq!(all, [again.as_str(), &entry.id, &other.id]);
    let first_two = page(None, None, None, 2).await;
    let last = &first_two[1];
    let rest = page(None, None, Some((last.created_ms, &last.id)), 2).await;
    assert_eq!(ids(rest), [other.id.as_str()]);
    assert_eq!(page(Some("1"), Some("given_up"), None, 1).await, [given_up]);
    let waiting = ids(page(None, Some("waiting"), None, 10).await);
    assert_eq!(waiting, [again.as_str(), &other.id]);
}

#[tokio::test]
async fn an_app_of_the_configuration_hides_one_of_the_database() {
    let on = TestDatabase::sqlite();
    let database = on.open().await;
    let mut hidden = app(crate::support::ID, "hidden-key", "s");
    hidden.enabled = false;
    let server = on.server().await;
    let mut client = server.connect().await;

    database.create(&hidden).await.unwrap();
    database.create(&app("2", "marker", "s")).await.unwrap();
    let mut marker = server.connect_to(&target("marker")).await;

    assert_eq!(refusal(&server, "hidden-key").await, 4001);
    client.receives_nothing_before_pong().await;
    server.connect().await;
    database.delete(crate::support::ID).await.unwrap();
    database.delete("2").await.unwrap();
    assert_eq!(marker.closed().await.0, 4001);
    client.receives_nothing_before_pong().await;
}

#[tokio::test]
async fn the_messages_of_a_day_survive_a_restart_in_sqlite() {
    Box::pin(the_messages_of_a_day_survive_a_restart(
        &TestDatabase::sqlite(),
    ))
    .await;
}

#[tokio::test]
async fn the_messages_of_a_day_survive_a_restart_in_postgres() {
    Box::pin(the_messages_of_a_day_survive_a_restart(
        &TestDatabase::postgres().await,
    ))
    .await;
}

async fn the_messages_of_a_day_survive_a_restart(on: &TestDatabase) {
    let mut limited = app("1", "key-1", "s");
    limited.limits.messages_per_day = Some(5);
    on.open().await.create(&limited).await.unwrap();
    let publish = async |server: &TestServer| {
        let path = "/apps/1/events";
        let body = json!({"name": "tick", "channel": "news", "data": "1"}).to_string();
        let (key, secret) = (AppKey::new("key-1"), AppSecret::new("s"));
        let query = request::sign_request("POST", path, &[], body.as_bytes(), &key, &secret, now());
        let target = format!("{path}?{query}");
        server.http("POST", &target, &body).await.status
    };
    let mut first = on.server().await;
    for _ in 0..4 {
        assert_eq!(publish(&first).await, 200);
    }
    first.stop();
    first.ended().await;

    let second = on.server().await;

    assert_eq!(publish(&second).await, 200);
    assert_eq!(publish(&second).await, 403);
    let figures = second.ops("/metrics").await.body;
    for line in [
        "fanfare_quota_used_messages{app_id=\"1\"} 5",
        "fanfare_quota_limit_messages{app_id=\"1\"} 5",
    ] {
        assert!(figures.lines().any(|found| found == line), "{figures}");
    }
}

#[tokio::test]
async fn counts_of_nodes_add_up_in_sqlite() {
    Box::pin(counts_of_nodes_add_up(&TestDatabase::sqlite())).await;
}

#[tokio::test]
async fn counts_of_nodes_add_up_in_postgres() {
    Box::pin(counts_of_nodes_add_up(&TestDatabase::postgres().await)).await;
}

async fn counts_of_nodes_add_up(on: &TestDatabase) {
    let database = on.open().await;
    let row = |span: Span, start, app: &str, peak, sent| UsageRow {
        span,
        start,
        app: app.to_owned(),
        sums: Sums {
            connections_peak: peak,
            connections: peak,
            messages_sent: sent,
            ..Sums::default()
        },
    };
    let minute = Span::Minute;

    database
        .add_usage(
            "one",
            &[row(minute, 60, "1", 9, 5), row(minute, 120, "1", 1, 1)],
        )
        .await
        .unwrap();
    database
        .add_usage(
            "one",
            &[row(minute, 60, "1", 4, 2), row(Span::Hour, 0, "1", 9, 8)],
        )
        .await
        .unwrap();
    database
        .add_usage(
            "two",
            &[row(minute, 60, "1", 3, 100), row(minute, 60, "2", 7, 7)],
        )
        .await
        .unwrap();

    let points = database.usage(minute, "1", 0, 180).await.unwrap();
    let found: Vec<_> = points
        .iter()
        .map(|point| {
            let sums = &point.sums;
            (
                point.start,
                sums.connections_peak,
                sums.connections,
                sums.messages_sent,
            )
        })
        .collect();
    assert_eq!(found, [(60, 12, 7, 107), (120, 1, 1, 1)]);
    assert_eq!(database.usage(minute, "1", 0, 60).await.unwrap(), []);
    // Nodes that write the same day do not wait for one another.
    let one: Vec<_> = (0..100).map(|id: u32| (id.to_string(), 1)).collect();
    let two: Vec<_> = one.iter().cloned().rev().collect();
    let write = async |messages: &Vec<(String, u64)>| {
        for _ in 0..5 {
            database.add_messages(7, messages.clone()).await.unwrap();
        }
    };
    tokio::join!(write(&one), write(&two));
    let all = database.messages_of(7).await.unwrap();
    assert_eq!(all.len(), 100);
    assert!(all.iter().all(|(_, messages)| *messages == 10), "{all:?}");
    assert_eq!(database.messages_of(8).await.unwrap(), []);
    database.prune_usage(minute, 120).await.unwrap();
    assert_eq!(database.usage(minute, "1", 0, 180).await.unwrap().len(), 1);
    assert_eq!(
        database.usage(Span::Hour, "1", 0, 1).await.unwrap().len(),
        1
    );
}

fn quiet_hub() -> std::sync::Arc<Hub> {
    let patience = Duration::from_secs(60);
    std::sync::Arc::new(Hub::new(
        std::sync::Arc::new(MemoryEngine::new()),
        Timeouts {
            ping_after: patience,
            pong_wait: patience,
            authorization: patience,
            stalled_write: patience,
        },
        10,
        TaskTracker::new(),
    ))
}

const RETENTION: Retention = Retention {
    minutes: Duration::from_secs(3_600),
    hours: Duration::from_secs(86_400),
};

fn at(seconds: u64) -> std::time::SystemTime {
    std::time::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// What an outage has heaped up may be more than a database takes at once.
#[tokio::test]
async fn statistics_that_wait_are_written_down_bit_by_bit() {
    let on = TestDatabase::sqlite();
    let database = on.open().await;
    let hub = quiet_hub();
    for id in 0..600 {
        let app = fanfare::apps::App::new(&format!("{id:03}"), &format!("key-{id}"), "s");
        let hub = hub.app(&std::sync::Arc::new(app));
        let counter = &hub.counters.messages_sent;
        counter.fetch_add(5, std::sync::atomic::Ordering::Relaxed);
    }
    let usage = Usage::new(
        hub,
        None,
        Some(database.clone()),
        RETENTION,
        "node".to_owned(),
    );
    let sent = async |app: &str| {
        let points = usage
            .read(Some(app), Span::Minute, 0, 10_000)
            .await
            .unwrap();
        points
            .iter()
            .map(|point| point.sums.messages_sent)
            .sum::<u64>()
    };
    let raw = on.raw().await;
    let run = async |statement: &'static str| {
        sqlx::query(statement).execute(&raw).await.unwrap();
    };
    run("CREATE TRIGGER full BEFORE INSERT ON fanfare_usage WHEN NEW.app_id = '599' BEGIN SELECT RAISE(ABORT, 'full'); END").await;

    usage.round(at(7_210)).await;
    assert_eq!([sent("000").await, sent("599").await], [5, 0]);

    run("DROP TRIGGER full").await;
    usage.round(at(7_220)).await;
    for app in ["000", "498", "499", "500", "599"] {
        assert_eq!(sent(app).await, 5, "{app}");
    }
}

/// With the clock as a parameter: what happens in one minute and the next.
#[tokio::test]
async fn a_node_writes_down_what_its_apps_did() {
    let on = TestDatabase::sqlite();
    let database = on.open().await;
    for store in [Some(database), None] {
        let hub = quiet_hub();
        let app = std::sync::Arc::new(fanfare::apps::App::new("1", "key", "secret"));
        let usage = Usage::new(
            std::sync::Arc::clone(&hub),
            None,
            store,
            RETENTION,
            "node".to_owned(),
        );
        let counters = &hub.app(&app).counters;
        let add = |count| {
            counters
                .messages_sent
                .fetch_add(count, std::sync::atomic::Ordering::Relaxed)
        };

        add(5);
        usage.round(at(7_210)).await;
        add(2);
        usage.round(at(7_220)).await;
        add(1);
        usage.round(at(7_260)).await;

        for (who, span, expected) in [
            (Some("1"), Span::Minute, vec![(7_200, 7), (7_260, 1)]),
            (None, Span::Minute, vec![(7_200, 7), (7_260, 1)]),
            (Some("1"), Span::Hour, vec![(7_200, 8)]),
            (Some("2"), Span::Hour, vec![]),
        ] {
            let points = usage.read(who, span, 0, 10_000).await.unwrap();
            let found: Vec<_> = points
                .iter()
                .map(|point| (point.start, point.sums.messages_sent))
                .collect();
            assert_eq!(found, expected, "{who:?} {span:?}");
        }
        // Minutes are kept for an hour here, hours for a day.
        usage.round(at(7_260 + 3_660)).await;
        let left = usage.read(Some("1"), Span::Minute, 0, 10_000).await;
        assert_eq!(left.unwrap(), []);
        let left = usage.read(Some("1"), Span::Hour, 0, 10_000).await;
        assert_eq!(left.unwrap().len(), 1);
    }
}

/// What happened is written down by a server that stops, for the app and in total.
#[tokio::test]
async fn a_server_that_stops_writes_its_last_counts_down() {
    let on = TestDatabase::sqlite();
    let database = on.open().await;
    let mut server = on.server().await;
    let mut first = server.subscriber("news").await;
    let second = server.connect().await;
    server.trigger("news", "tick", "1").await;
    first.next().await;
    drop(second);
    let body = json!({"name": "tick", "channel": "a b", "data": "1"});
    assert_eq!(server.post_event(&body).await.status, 400);

    server.stop();
    server.ended().await;

    for who in [crate::support::ID, "*"] {
        let points = database
            .usage(Span::Hour, who, 0, u64::from(u32::MAX))
            .await;
        // Two, if an hour has ended meanwhile.
        let mut sums = Sums::default();
        for point in points.unwrap() {
            sums.add(&point.sums);
        }
        assert_eq!((sums.connections_peak, sums.connections), (2, 0), "{who}");
        assert_eq!((sums.api_requests, sums.api_events), (2, 1), "{who}");
        // The greeting and the event; the subscription.
        assert_eq!(
            (sums.messages_sent, sums.messages_received),
            (2, 1),
            "{who}"
        );
        assert_eq!(sums.quota_messages, 2, "{who}");
        assert!(
            sums.sent_bytes > 100 && sums.received_bytes > 50,
            "{sums:?}"
        );
    }
}

/// Keys and switches reach every node of a deployment, and whoever is connected
/// there.
#[tokio::test]
async fn changes_of_an_app_reach_all_nodes() {
    let on = TestDatabase::sqlite();
    let database = on.open().await;
    database.create(&app("1", "key-1", "s")).await.unwrap();
    let redis = Redis::start().await;
    let node = async || {
        let store = on.config();
        let url = redis.url();
        let server = TestServer::with(|config: &mut Config| {
            config.store = store;
            config.engine.url = Some(url.as_str().into());
        })
        .await;
        server.ready().await;
        server
    };
    let nodes = [node().await, node().await];
    let mut clients = Vec::new();
    for node in &nodes {
        let mut client = node.connect_to(&target("key-1")).await;
        client.subscribe("news").await;
        clients.push(client);
    }

    database.add_key("1", &pair("key-2", "s2")).await.unwrap();
    for node in &nodes {
        node.connect_to(&target("key-2")).await;
    }
    database.remove_key("1", "key-1").await.unwrap();
    for node in &nodes {
        eventually("the end of a key", async || {
            let first = node.open(&target("key-1")).await.next_frame().await;
            first.is_some_and(|frame| frame.payload.starts_with(&4001_u16.to_be_bytes()))
        })
        .await;
    }
    database
        .update("1", set(|app| app.enabled = false))
        .await
        .unwrap();

    for client in &mut clients {
        assert_eq!(client.closed().await.0, 4003);
    }
}
