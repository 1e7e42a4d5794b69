//! The API of the operator. Every answer is held against the OpenAPI document that
//! the server itself gives.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use fanfare::config::StoreConfig;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Answer, Client, HttpClient, TestServer, app, soon};
use crate::webhooks::Receiver;

const TOKEN: &str = "a-token-that-nobody-guesses";

/// An operator, and the document of what the server says that it can.
struct Operator {
    address: SocketAddr,
    document: Value,
    /// Operations that were called, as `GET /path/{name}`.
    called: BTreeSet<String>,
}

impl Operator {
    async fn of(address: SocketAddr) -> Self {
        let mut operator = Self {
            address,
            document: json!({"paths": {"/admin/v1/openapi.json": {"get": {
                "responses": {"200": {"content": {"application/json": {"schema": {}}}}}}}}}),
            called: BTreeSet::new(),
        };
        operator.document = operator.get("/openapi.json").await;
        operator
    }

    /// Calls an operation. Status and body must be as documented.
    async fn call(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let path = format!("/admin/v1{path}");
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = request(self.address, method, &path, Some(TOKEN), &body).await;
        let (pattern, operation) = self.operation(method, &path);
        let documented = &operation["responses"][answer.status.to_string()];
        assert!(
            documented.is_object(),
            "{method} {pattern} answers {}, which is not documented: {}",
            answer.status,
            answer.body
        );
        match documented["content"]["application/json"].get("schema") {
            None => assert_eq!(answer.body, "", "{method} {pattern}"),
            Some(schema) => {
                assert_eq!(answer.headers["content-type"], "application/json");
                if let Err(problem) = fits(&self.document, schema, &answer.json()) {
                    panic!("{method} {pattern}: {problem}: {}", answer.body);
                }
            }
        }
        let called = format!("{method} {pattern}");
        self.called.insert(called);
        answer
    }

    async fn get(&mut self, path: &str) -> Value {
        let answer = self.call("GET", path, &Value::Null).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// The status and the code of a refusal.
    async fn refused(&mut self, method: &str, path: &str, body: &Value) -> (u16, String) {
        let answer = self.call(method, path, body).await;
        let code = &answer.json()["error"]["code"];
        (answer.status, code.as_str().unwrap().to_owned())
    }

    /// The documented operation of a request.
    fn operation(&self, method: &str, path: &str) -> (String, Value) {
        let path = path.split('?').next().unwrap();
        let fits = |pattern: &str| {
            let (wanted, given): (Vec<_>, Vec<_>) =
                (pattern.split('/').collect(), path.split('/').collect());
            wanted.len() == given.len()
                && wanted
                    .iter()
                    .zip(given)
                    .all(|(wanted, given)| wanted.starts_with('{') || *wanted == given)
        };
        let paths = self.document["paths"].as_object().unwrap();
        let (pattern, item) = paths
            .iter()
            .find(|(pattern, _)| fits(pattern))
            .unwrap_or_else(|| panic!("{path} is not documented"));
        let operation = &item[method.to_lowercase()];
        assert!(
            operation.is_object(),
            "{method} {pattern} is not documented"
        );
        (pattern.clone(), operation.clone())
    }

    /// All operations of the document.
    fn operations(&self) -> BTreeSet<String> {
        let paths = self.document["paths"].as_object().unwrap();
        paths
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().unwrap().keys();
                methods.map(move |method| format!("{} {path}", method.to_uppercase()))
            })
            .collect()
    }
}

/// Whether a value is what a JSON schema says, and has no member of which it says
/// nothing; knows as much of JSON Schema as the document has.
fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    fits_openly(document, schema, value)?;
    let mut known = BTreeSet::new();
    let has_others = members(document, schema, &mut known);
    let given = value.as_object().into_iter().flatten();
    match given
        .map(|(name, _)| name)
        .find(|name| !known.contains(*name))
    {
        Some(name) if !has_others => Err(format!("{name} is not documented")),
        _ => Ok(()),
    }
}

/// Collects the members that a schema names; returns whether there may be others.
fn members(document: &Value, schema: &Value, known: &mut BTreeSet<String>) -> bool {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#'));
        return members(document, target.unwrap(), known);
    }
    let parts: Vec<&Value> = ["allOf", "oneOf"]
        .iter()
        .filter_map(|name| schema[name].as_array())
        .flatten()
        .collect();
    let own = schema["properties"].as_object();
    known.extend(own.into_iter().flatten().map(|(name, _)| name.clone()));
    let mut has_others = schema
        .get("additionalProperties")
        .is_some_and(|more| more != false)
        || (parts.is_empty() && schema.get("type").is_none());
    for part in parts {
        has_others |= members(document, part, known);
    }
    has_others
}

/// As [`fits`], but for members that are not named.
fn fits_openly(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#'));
        let target = target.ok_or_else(|| format!("{reference} does not exist"))?;
        return fits_openly(document, target, value);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fitting = choices
            .iter()
            .filter(|choice| fits(document, choice, value).is_ok());
        return match fitting.count() {
            1 => Ok(()),
            count => Err(format!("{value} fits {count} of {schema}")),
        };
    }
    if let Some(all) = schema["allOf"].as_array() {
        let mut all = all.iter();
        return all.try_for_each(|part| fits_openly(document, part, value));
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => return Ok(()),
    };
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        name => panic!("unknown type {name}"),
    };
    if !types.iter().any(|name| is(name)) {
        return Err(format!("{value} is not {types:?}"));
    }
    if let Some(names) = schema["enum"].as_array()
        && !names.contains(value)
    {
        return Err(format!("{value} is not one of {names:?}"));
    }
    for element in value.as_array().into_iter().flatten() {
        fits(document, &schema["items"], element)?;
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if value.get(name.as_str().unwrap()).is_none() {
            return Err(format!("{name} is missing"));
        }
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        if let Some(schema) = schema["properties"].get(name) {
            fits(document, schema, member).map_err(|problem| format!("{name}: {problem}"))?;
        }
    }
    Ok(())
}

async fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    token: Option<&str>,
    body: &str,
) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut connection = HttpClient::new(stream).await;
    let credentials = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("Host", "127.0.0.1")];
    headers.extend(credentials.as_deref().map(|text| ("Authorization", text)));
    connection.send_with(method, target, &headers, body).await
}

/// With a database, and an app in the file.
async fn server() -> (TempDir, TestServer) {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/fanfare.db", directory.path().display());
    let server = TestServer::with(|config| {
        config.admin.token = Some(TOKEN.into());
        config.store = StoreConfig {
            url: Some(url.as_str().into()),
            ..StoreConfig::default()
        };
    })
    .await;
    (directory, server)
}

#[tokio::test]
async fn there_is_no_admin_api_without_a_token_and_without_a_console() {
    let server = TestServer::with(|config| config.admin.console = false).await;
    for address in [server.address, server.metrics_address] {
        let answer = request(address, "GET", "/admin/v1/apps", Some(TOKEN), "").await;
        assert_eq!(answer.status, 404);
    }

    let server = TestServer::with(|config| {
        config.admin.token = Some(TOKEN.into());
        config.admin.on_client_port = false;
    })
    .await;
    let on = async |address| {
        let answer = request(address, "GET", "/admin/v1/apps", Some(TOKEN), "").await;
        answer.status
    };
    assert_eq!(on(server.address).await, 404);
    assert_eq!(on(server.metrics_address).await, 200);
}

#[tokio::test]
async fn who_does_not_know_the_token_learns_nothing_and_is_slowed_down() {
    let (_directory, server) = server().await;
    let ask = async |path: &str, token| request(server.address, "GET", path, token, "").await;

    let missing = ask("/admin/v1/apps", None).await;
    assert_eq!(missing.status, 401);
    assert_eq!(missing.headers["www-authenticate"], "Bearer");
    assert_eq!(missing.json()["error"]["code"], "unauthorized");
    // Paths that exist and paths that do not are answered alike.
    for path in [
        "/admin/v1/apps",
        "/admin/v1/nothing",
        "/admin/v1/openapi.json",
    ] {
        let wrong = ask(path, Some(&TOKEN[1..])).await;
        assert_eq!(wrong.status, 401, "{path}");
        assert_eq!(wrong.headers["cache-control"], "no-store");
    }
    assert_eq!(ask("/admin/v1/apps", Some(TOKEN)).await.status, 200);

    let mut last = 401;
    for _ in 0..10 {
        last = ask("/admin/v1/apps", Some("guess")).await.status;
    }
    assert_eq!(last, 429);
    let blocked = ask("/admin/v1/apps", Some(TOKEN)).await;
    assert_eq!(blocked.status, 429);
    assert_eq!(blocked.headers["retry-after"], "60");
    // Clients and back ends of the same address are not concerned.
    server.connect().await;
}

/// The whole life of an app, and every operation of the document.
#[tokio::test]
async fn every_operation_answers_as_the_document_says() {
    let (_directory, server) = server().await;
    let mut operator = Operator::of(server.address).await;
    let nothing = Value::Null;

    // Apps.
    let created = operator
        .call(
            "POST",
            "/apps",
            &json!({"id": "7", "settings": {"client_events": true,
            "limits": {"connections": 2, "messages_per_day": 1_000}}}),
        )
        .await;
    assert_eq!(created.status, 201);
    let created = created.json();
    let key = created["key"].as_str().unwrap().to_owned();
    assert_eq!(created["secret"].as_str().unwrap().len(), 40);
    let target = format!("/app/{key}?protocol=7");
    let mut client = server.connect_to(&target).await;
    let again = operator.refused("POST", "/apps", &json!({"id": "7"})).await;
    assert_eq!(again, (409, "exists".to_owned()));
    let typo = operator
        .call("POST", "/apps", &json!({"sittings": {}}))
        .await;
    assert_eq!(typo.status, 422);
    let message = typo.json()["error"]["message"].to_string();
    assert!(
        message.contains("sittings") && message.contains("settings"),
        "{message}"
    );
    let page = operator.get("/apps?limit=1").await;
    assert_eq!(page["apps"][0]["id"], "7");
    let next = page["next"].as_str().unwrap();
    let rest = operator.get(&format!("/apps?limit=1&after={next}")).await;
    assert_eq!(
        (&rest["apps"][0]["id"], &rest["apps"][0]["origin"]),
        (&json!("app-id"), &json!("file"))
    );
    assert_eq!(rest.get("next"), None);
    for query in ["limit=0", "limit=many", "page=1"] {
        let path = format!("/apps?{query}");
        assert_eq!(operator.refused("GET", &path, &nothing).await.0, 422);
    }
    let shown = operator.get("/apps/7").await;
    assert_eq!(shown["settings"]["limits"]["connections"], 2);
    assert_eq!(shown["connections"], 1);
    assert!(
        !shown
            .to_string()
            .contains(created["secret"].as_str().unwrap())
    );
    let patch = json!({"limits": {"connections": null}, "watchlist": true,
        "bind_sessions": true, "history": [{"channels": "kitchen*"}]});
    let patched = operator.call("PATCH", "/apps/7", &patch).await.json();
    assert_eq!(patched["settings"]["limits"]["connections"], Value::Null);
    assert_eq!(patched["settings"]["client_events"], true);
    assert_eq!(patched["settings"]["bind_sessions"], true);
    assert_eq!(patched["settings"]["history"][0]["seconds"], 3_600);
    for bad in [
        json!({"limits": {"presence_members": 0}}),
        json!({"limits": {"presence": 1}}),
        json!({"history": [{"channels": "kit chen"}]}),
        json!([]),
    ] {
        let refused = operator.refused("PATCH", "/apps/7", &bad).await;
        assert_eq!(refused, (422, "invalid_value".to_owned()), "{bad}");
    }
    let unknown = operator.refused("GET", "/apps/8", &nothing).await;
    assert_eq!(unknown, (404, "unknown_app".to_owned()));

    // Keys.
    let second = operator.call("POST", "/apps/7/keys", &nothing).await.json();
    let second_key = second["key"].as_str().unwrap();
    server
        .connect_to(&format!("/app/{second_key}?protocol=7"))
        .await;
    let keys = operator.get("/apps/7/keys").await;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    let path = format!("/apps/7/keys/{second_key}");
    assert_eq!(operator.call("DELETE", &path, &nothing).await.status, 204);
    assert_eq!(operator.refused("DELETE", &path, &nothing).await.0, 404);
    let last = operator
        .refused("DELETE", &format!("/apps/7/keys/{key}"), &nothing)
        .await;
    assert_eq!(last, (409, "last_key".to_owned()));

    // Webhooks.
    let mut receiver = Receiver::start().await;
    let webhook = json!({"url": receiver.url(), "events": ["channel_occupied"],
        "headers": {"X-Token": "precious"}});
    let added = operator.call("POST", "/apps/7/webhooks", &webhook).await;
    assert_eq!(added.status, 201, "{}", added.body);
    assert!(!added.body.contains("precious"));
    let bad = json!({"url": "ftp://example.com", "events": ["channel_occupied"]});
    let refused = operator.refused("POST", "/apps/7/webhooks", &bad).await;
    assert_eq!(refused, (422, "invalid_value".to_owned()));
    let id = added.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/apps/7/webhooks/{id}");
    let tested = operator
        .call("POST", &format!("{path}/test"), &nothing)
        .await
        .json();
    assert_eq!(
        (&tested["delivered"], &tested["status"]),
        (&json!(true), &json!(200))
    );
    let sent = receiver.next().await;
    assert_eq!(sent.header("X-Token"), "precious");
    assert_eq!(sent.header("X-Pusher-Key"), key);
    assert_eq!(tested["body"], sent.body);
    assert_eq!(
        sent.events(),
        [json!({"name": "channel_occupied", "channel": "fanfare-test"})]
    );

    // Clients on channels.
    client.subscribe("news").await;
    let occupied = receiver.events(1).await;
    assert_eq!(
        occupied,
        [json!({"name": "channel_occupied", "channel": "news"})]
    );
    let deliveries = soon("the delivery in the log", async {
        loop {
            let log = operator.get("/apps/7/deliveries?state=delivered").await;
            if !log["deliveries"].as_array().unwrap().is_empty() {
                return log["deliveries"].clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(deliveries.as_array().unwrap().len(), 1);
    let delivery = deliveries[0]["id"].as_str().unwrap();
    let shown = operator
        .get(&format!("/apps/7/deliveries/{delivery}"))
        .await;
    assert_eq!(
        (&shown["status"], &shown["attempts"]),
        (&json!(200), &json!(1))
    );
    let path_again = format!("/apps/7/deliveries/{delivery}/redeliver");
    assert_eq!(
        operator.call("POST", &path_again, &nothing).await.status,
        202
    );
    assert_eq!(receiver.events(1).await, occupied);
    let page = operator.get("/apps/7/deliveries?limit=1").await;
    let next = page["next"].as_str().unwrap();
    let rest = operator
        .get(&format!("/apps/7/deliveries?after={next}"))
        .await;
    assert_eq!(rest["deliveries"][0]["id"], delivery);
    let elsewhere = format!("/apps/app-id/deliveries/{delivery}");
    assert_eq!(operator.refused("GET", &elsewhere, &nothing).await.0, 404);
    let kept = json!({"url": receiver.url(), "events": ["cache_miss"],
        "headers": {"X-Token": ".."}});
    // Nobody is to read it at another URL.
    let moved = json!({"url": "http://127.0.0.1:9/", "events": ["cache_miss"],
        "headers": {"X-Token": ".."}});
    let refused = operator.refused("PUT", &path, &moved).await;
    assert_eq!(refused, (422, "invalid_value".to_owned()));
    let replaced = operator.call("PUT", &path, &kept).await.json();
    let path = format!("/apps/7/webhooks/{}", replaced["id"].as_str().unwrap());
    operator
        .call("POST", &format!("{path}/test"), &nothing)
        .await;
    assert_eq!(receiver.next().await.header("X-Token"), "precious");
    assert_eq!(operator.call("DELETE", &path, &nothing).await.status, 204);
    assert_eq!(operator.refused("DELETE", &path, &nothing).await.0, 404);
    let left = operator.get("/apps/7/webhooks").await;
    assert_eq!(left, json!({"webhooks": []}));

    // Events, channels and connections.
    let event = json!({"name": "tick", "channels": ["news"], "data": "{\"id\":7}"});
    assert_eq!(
        operator.call("POST", "/apps/7/events", &event).await.status,
        202
    );
    assert_eq!(
        client.next().await,
        json!({"event": "tick", "channel": "news", "data": "{\"id\":7}"})
    );
    let bad = json!({"name": "tick", "channels": ["a b"], "data": "1"});
    assert_eq!(
        operator.refused("POST", "/apps/7/events", &bad).await.0,
        422
    );
    let channels = operator.get("/apps/7/channels?prefix=ne").await;
    assert_eq!(
        channels,
        json!({"channels": [{"name": "news", "subscriptions": 1}]})
    );
    let channel = operator.get("/apps/7/channels/news").await;
    assert_eq!(channel["socket_ids"], json!([client.socket_id()]));
    let connections = operator.get("/apps/7/connections").await;
    let listed: Vec<&str> = connections["connections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|connection| connection["socket_id"].as_str().unwrap())
        .collect();
    assert!(listed.contains(&client.socket_id()), "{listed:?}");
    let path = format!("/connections/{}", client.socket_id());
    let connection = operator.get(&path).await;
    assert_eq!(
        (
            &connection["app_id"],
            &connection["address"],
            &connection["channels"]
        ),
        (&json!("7"), &json!("127.0.0.1"), &json!(["news"]))
    );
    assert_eq!(
        (&connection["transport"], &connection["waiting_bytes"]),
        (&json!("websocket"), &json!(0))
    );
    assert_eq!(
        operator
            .refused("GET", "/connections/1.1", &nothing)
            .await
            .0,
        404
    );
    assert_eq!(
        operator.refused("GET", "/connections/x", &nothing).await.0,
        422
    );

    // Statistics and nodes.
    let statistics = operator.get("/apps/7/statistics").await;
    assert_eq!(statistics["now"]["api_events"], 1);
    // Though the webhook is no more.
    assert_eq!(statistics["now"]["webhooks_delivered"], 2);
    assert_eq!(statistics["day"]["limit"], 1_000);
    let total = operator.get("/statistics?span=hour").await;
    assert!(total["now"]["connections"].as_u64().unwrap() >= 1);
    let nodes = operator.get("/nodes").await;
    let name = nodes["nodes"][0]["name"].as_str().unwrap();
    let port = server.address.port();
    assert!(name.ends_with(&format!(":{port}")), "{name}");
    assert_eq!(
        (
            &nodes["nodes"][0]["is_this"],
            &nodes["nodes"][0]["database_is_up"]
        ),
        (&json!(true), &json!(true))
    );
    let history = &nodes["nodes"][0]["history"];
    assert_eq!(history["sessions_connected"], 0);
    assert!(history["max_bytes"].as_u64().unwrap() > 0, "{nodes}");

    // Accounts. The console signs in, programs have no session.
    let session = operator.get("/session").await;
    assert_eq!(
        (&session["name"], &session["role"]),
        (&json!("token"), &json!("admin"))
    );
    let account = json!({"name": "bob", "password": "correct horse", "role": "admin"});
    let made = operator.call("POST", "/accounts", &account).await;
    assert_eq!(made.status, 201);
    let taken = operator.refused("POST", "/accounts", &account).await;
    assert_eq!(taken, (409, "exists".to_owned()));
    let accounts = operator.get("/accounts").await;
    assert_eq!(accounts["accounts"][0]["name"], "bob");
    let change = json!({"role": "admin"});
    let changed = operator.call("PATCH", "/accounts/bob", &change).await;
    assert_eq!(changed.status, 204);
    let last = operator.refused("DELETE", "/accounts/bob", &nothing).await;
    assert_eq!(last, (409, "last_admin".to_owned()));
    let unknown = operator.refused("PATCH", "/accounts/eve", &change).await;
    assert_eq!(unknown, (404, "not_found".to_owned()));
    let first = json!({"invitation": "x", "name": "ann", "password": "correct horse"});
    for (path, body) in [("/session", &account), ("/session/first", &first)] {
        let refused = operator.refused("POST", path, body).await;
        assert_eq!(refused, (403, "other_page".to_owned()));
    }
    let password = json!({"old": "x", "new": "correct horse"});
    let refused = operator
        .refused("PUT", "/session/password", &password)
        .await;
    assert_eq!(refused, (409, "no_account".to_owned()));
    assert_eq!(
        operator.call("DELETE", "/session", &nothing).await.status,
        204
    );
    let audit = operator.get("/audit?limit=2").await;
    assert_eq!(audit["entries"][1]["action"], "PATCH /accounts/bob");
    let past = operator
        .refused("GET", "/apps/7/channels/news/events", &nothing)
        .await;
    assert_eq!(past, (409, "no_history".to_owned()));

    // Ends.
    let again = format!("{path}?reconnect=true");
    assert_eq!(operator.call("DELETE", &again, &nothing).await.status, 204);
    assert_eq!(client.closed().await.0, 4200);
    let mut client = server.connect_to(&target).await;
    let path = format!("/connections/{}", client.socket_id());
    assert_eq!(operator.call("DELETE", &path, &nothing).await.status, 204);
    assert_eq!(client.closed().await.0, 4009);
    let terminate = "/apps/7/users/nobody/connections";
    assert_eq!(
        operator.call("DELETE", terminate, &nothing).await.status,
        204
    );
    for feed in ["/feed?kinds=nothing", "/apps/8/feed"] {
        operator.refused("GET", feed, &nothing).await;
    }
    let mut client = server.connect_to(&target).await;
    let off = operator
        .call("PATCH", "/apps/7", &json!({"enabled": false}))
        .await;
    assert_eq!(off.json()["settings"]["enabled"], false);
    assert_eq!(client.closed().await.0, 4003);
    assert_eq!(
        operator.call("DELETE", "/apps/7", &nothing).await.status,
        204
    );
    assert_eq!(operator.refused("DELETE", "/apps/7", &nothing).await.0, 404);
    let wrong = request(server.address, "PUT", "/admin/v1/apps", Some(TOKEN), "").await;
    assert_eq!(
        (wrong.status, &wrong.headers["allow"]),
        (405, &"GET, POST".parse().unwrap())
    );

    assert_eq!(operator.called, operator.operations());
}

#[tokio::test]
async fn without_a_database_apps_of_the_file_are_shown_and_not_changed() {
    let server = TestServer::with(|config| {
        config.admin.token = Some(TOKEN.into());
        config.apps.push(app("2", "key-2", "precious"));
    })
    .await;
    let mut operator = Operator::of(server.metrics_address).await;

    let apps = operator.get("/apps").await;
    assert_eq!(apps["apps"].as_array().unwrap().len(), 2);
    assert!(!apps.to_string().contains("precious"));
    assert_eq!(
        operator.get("/apps/2/keys").await["keys"][0]["key"],
        "key-2"
    );
    let event = json!({"name": "tick", "channels": ["news"], "data": "1"});
    assert_eq!(
        operator.call("POST", "/apps/2/events", &event).await.status,
        202
    );
    for (method, path, body, code) in [
        ("PATCH", "/apps/2", json!({"watchlist": true}), "read_only"),
        ("DELETE", "/apps/2", Value::Null, "read_only"),
        ("POST", "/apps/2/keys", Value::Null, "read_only"),
        ("POST", "/apps", Value::Null, "no_database"),
        ("GET", "/apps/2/deliveries", Value::Null, "no_database"),
    ] {
        let answer = operator.call(method, path, &body).await;
        let error = &answer.json()["error"];
        assert_eq!(
            (answer.status, &error["code"]),
            (409, &json!(code)),
            "{method} {path}"
        );
        assert!(error["expected"].is_string());
    }
}

/// The text of a feed from here on, until `end` has come.
pub(crate) async fn read_until(stream: &mut TcpStream, read: &mut String, end: &str) {
    soon(end, async {
        let mut buffer = vec![0; 4_096];
        while !read.contains(end) {
            let length = stream.read(&mut buffer).await.unwrap();
            assert!(length > 0, "the feed has ended: {read}");
            read.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    })
    .await;
}

async fn feed(server: &TestServer, path: &str) -> TcpStream {
    feed_for(server, path, &format!("Authorization: Bearer {TOKEN}")).await
}

/// The live feed of whoever the header `credentials` is of.
pub(crate) async fn feed_for(server: &TestServer, path: &str, credentials: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET /admin/v1{path} HTTP/1.1\r\nHost: x\r\n{credentials}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = String::new();
    read_until(&mut stream, &mut head, ": here").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    stream
}

async fn private_event(client: &mut Client, data: &str) {
    client
        .send(&json!({"event": "client-x", "channel": "private-x", "data": data}))
        .await;
}

#[tokio::test]
async fn the_live_feed_shows_what_happens_and_hides_what_is_private() {
    let (_directory, server) = server().await;
    let mut all = feed(&server, "/feed").await;
    let mut some = feed(
        &server,
        "/apps/app-id/feed?kinds=api_event,sampled&channel_prefix=pu",
    )
    .await;

    let mut client = server.subscriber("public").await;
    client.subscribe_private("private-x").await;
    private_event(&mut client, "whispered").await;
    let error = json!({"event": "client-x", "channel": "public", "data": "x"});
    client.send(&error).await;
    server.trigger("private-x", "told", "whispered").await;
    server.trigger("public", "shouted", "{\"id\":7}").await;

    let mut text = String::new();
    read_until(&mut all, &mut text, "shouted").await;
    read_until(&mut all, &mut text, "\"client_event\"").await;
    read_until(&mut all, &mut text, "\"client_error\"").await;
    for part in [
        "event: connected\ndata: {\"kind\":\"connected\",\"app_id\":\"app-id\",\"socket_id\":",
        "event: occupied\ndata: {\"kind\":\"occupied\",\"app_id\":\"app-id\",\"channel\":\"public\"}",
        "\"event\":\"client-x\",\"data_bytes\":",
        "{\"kind\":\"api_event\",\"app_id\":\"app-id\",\"channel\":\"public\",\"event\":\"shouted\",\"data\":\"{\\\"id\\\":7}\",\"data_bytes\":8}",
        "\"event\":\"told\",\"data_bytes\":9}",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("whispered"), "{text}");
    let mut text = String::new();
    read_until(&mut some, &mut text, "shouted").await;
    assert!(
        !text.contains("told") && !text.contains("connected"),
        "{text}"
    );
}

/// What the setting is for, and what it does not open: who may not see the feed.
#[tokio::test]
async fn the_live_feed_shows_what_is_private_where_the_operator_allows_it() {
    let server = TestServer::with(|config| {
        config.admin.token = Some(TOKEN.into());
        config.admin.feed_shows_private_data = true;
    })
    .await;
    let mut all = feed(&server, "/feed").await;

    let mut client = server.connect().await;
    client.subscribe_private("private-x").await;
    private_event(&mut client, "whispered by a client").await;
    server
        .trigger("private-x", "told", "whispered by a back end")
        .await;
    server.trigger("public", "end", "1").await;

    let mut text = String::new();
    read_until(&mut all, &mut text, "\"end\"").await;
    read_until(&mut all, &mut text, "\"client_event\"").await;
    for whispered in ["whispered by a client", "whispered by a back end"] {
        assert!(
            text.contains(&format!("\"data\":\"{whispered}\"")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn the_live_feed_shows_who_is_not_let_in() {
    let server = TestServer::with(|config| {
        config.admin.token = Some(TOKEN.into());
        config.apps[0].limits.connections = Some(1);
    })
    .await;
    let mut all = feed(&server, "/feed?kinds=turned_away").await;
    let mut own = feed(&server, "/apps/app-id/feed").await;

    let _first = server.connect().await;
    assert_eq!(
        server
            .open(&crate::support::target())
            .await
            .closed()
            .await
            .0,
        4100
    );
    assert_eq!(
        server
            .open("/app/nobody-knows?protocol=7")
            .await
            .closed()
            .await
            .0,
        4001
    );
    assert_eq!(
        server.open("/elsewhere?protocol=7").await.closed().await.0,
        4005
    );

    let mut text = String::new();
    read_until(&mut all, &mut text, "\"code\":4005").await;
    for part in [
        "event: turned_away\ndata: {\"kind\":\"turned_away\",\"app_id\":\"app-id\",\"code\":4100,\"message\":\"Over capacity\",\"address\":\"127.0.0.1\"}",
        "{\"kind\":\"turned_away\",\"code\":4001,\"message\":\"App key nobody-knows not in this cluster.",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // The feed of an app has its own only.
    server.trigger("public", "end", "1").await;
    let mut text = String::new();
    read_until(&mut own, &mut text, "\"end\"").await;
    assert!(
        text.contains("\"code\":4100") && !text.contains("4001"),
        "{text}"
    );
}

#[tokio::test]
async fn the_live_feed_is_filtered_by_pattern_event_and_connection() {
    let (_directory, server) = server().await;
    let mut pattern = feed(&server, "/feed?channel_pattern=o*-7&event=wanted").await;
    let mut client = server.connect().await;
    let path = format!("/feed?socket_id={}", client.socket_id());
    let mut own = feed(&server, &path).await;

    client.subscribe("orders-7").await;
    server.subscriber("orders-8").await;
    for (channel, event) in [
        ("orders-7", "other"),
        ("xorders-7", "wanted"),
        ("orders-7", "wanted"),
    ] {
        server.trigger(channel, event, "1").await;
    }
    client
        .send(&json!({"event": "client-x", "channel": "orders-7", "data": "x"}))
        .await;

    let mut text = String::new();
    read_until(&mut pattern, &mut text, "\"wanted\"").await;
    assert_eq!(text.matches("data: ").count(), 1, "{text}");
    let mut text = String::new();
    read_until(&mut own, &mut text, "\"client_error\"").await;
    assert!(text.contains("\"message\":"), "{text}");
    assert!(
        text.contains("orders-7") && !text.contains("orders-8"),
        "{text}"
    );
    let long = format!("/feed?channel_pattern={}", "x".repeat(257));
    let mut operator = Operator::of(server.address).await;
    assert_eq!(operator.refused("GET", &long, &Value::Null).await.0, 422);
}

#[tokio::test]
async fn under_load_the_feed_is_a_sample_and_says_so() {
    let (_directory, server) = server().await;
    let mut all = feed(&server, "/feed?kinds=api_event,sampled").await;
    let event = json!({"name": "tick", "channel": "news", "data": "1"});
    let batch = json!({"batch": vec![event; 10]}).to_string();

    for _ in 0..30 {
        let path = "/apps/app-id/batch_events";
        assert_eq!(server.api("POST", path, &[], &batch).await.status, 200);
    }

    let mut text = String::new();
    read_until(&mut all, &mut text, "\"kind\":\"sampled\",\"count\":").await;
    let shown = text.matches("event: api_event").count();
    assert!((50..300).contains(&shown), "{shown}");
}

/// A feed goes on without end, but not beyond that of the server.
#[tokio::test]
async fn a_server_that_stops_ends_its_feeds() {
    let (_directory, mut server) = server().await;
    let mut all = feed(&server, "/feed").await;

    server.stop();

    let mut rest = Vec::new();
    soon("the end of the feed", all.read_to_end(&mut rest))
        .await
        .unwrap();
    server.ended().await;
}
