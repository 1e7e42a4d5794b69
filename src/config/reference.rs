//! Compares `docs/configuration.md` with the structs, the defaults and the names
//! of the environment, so that it cannot go stale.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::*;

const DOCUMENT: &str = include_str!("../../docs/configuration.md");

/// What a cell says when there is nothing.
const NONE: &str = "-";

/// The rows of the table under a heading, each cell without its backticks.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let heading = format!("## {heading}");
    DOCUMENT
        .lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells = line.trim_matches('|').split(" | ");
            cells
                .map(|cell| cell.trim().trim_matches('`').to_owned())
                .collect()
        })
        .collect()
}

/// A configuration in which every key is set.
fn with_every_key() -> Config {
    let mut config = Config::default();
    config.server.max_connections = Some(1);
    config.connection.attempts_per_minute = Some(1);
    config.connection.failures_per_minute = Some(1);
    config.server.tls = Some(TlsConfig {
        port: Some(443),
        also: vec![CertificateConfig {
            cert: "cert.pem".into(),
            key: "key.pem".into(),
        }],
        ..TlsConfig::new("cert.pem", "key.pem")
    });
    config.engine.url = Some("redis://127.0.0.1".into());
    config.http_fallback.hostname = Some("node-1".to_owned());
    config.raw_ws.key = Some("key".to_owned());
    config.store = StoreConfig {
        url: Some("sqlite://fanfare.db".into()),
        master_key: Some("key".into()),
        old_master_keys: vec!["key".into()],
        soketi_table: Some("apps".to_owned()),
    };
    config.admin.token = Some("token".into());
    config.adapters.rooms = RoomsConfig {
        app: Some("id".to_owned()),
        webhook_token: Some("token".into()),
        port: Some(5009),
        ..RoomsConfig::default()
    };
    config.adapters.chat = ChatConfig {
        app: Some("id".to_owned()),
        token: Some("token".into()),
        membership_url: Some("https://example.com/".to_owned()),
        ..ChatConfig::default()
    };
    config.adapters.sto = StoConfig {
        app: Some("id".to_owned()),
        webhook_token: Some("token".into()),
        port: Some(3002),
        orders_url: Some("postgres://127.0.0.1/sto".into()),
        broker_url: Some("amqp://127.0.0.1:5672/".into()),
        ..StoConfig::default()
    };
    config.auth = AuthConfig {
        app: Some("id".to_owned()),
        jwt_secret: Some("secret".into()),
        jwks_url: Some("https://example.com/".to_owned()),
        issuer: Some(String::new()),
        audience: Some(String::new()),
        rules: vec![RuleConfig {
            kind: Some(RuleKind::Private),
            ..RuleConfig::new(
                "room",
                vec![AllowConfig {
                    own_segment: Some(0),
                    claim: Some(String::new()),
                    claim_segment: Some(0),
                    url: Some(String::new()),
                    ..AllowConfig::default()
                }],
            )
        }],
        ..AuthConfig::default()
    };
    let mut app = AppConfig::new("id", "key", "secret");
    app.keys = app.pairs();
    app.limits.connections = Some(1);
    app.limits.messages_per_day = Some(1);
    app.limits.backend_events_per_second = Some(1);
    app.limits.reads_per_second = Some(1);
    app.limits.app_client_events_per_second = Some(1);
    app.limits.messages_per_second = Some(1);
    let mut webhook = WebhookConfig::new("https://example.com/", &[]);
    webhook.channel_prefix = Some(String::new());
    webhook.channel_suffix = Some(String::new());
    webhook.channel_pattern = Some(String::new());
    webhook.headers.insert("name".to_owned(), "value".into());
    app.webhooks.push(webhook);
    app.history.push(HistoryRuleConfig::new("kitchen*"));
    config.apps.push(app);
    config
}

/// The keys of `table` by the header of their section.
fn collect(header: &str, table: &Table, keys: &mut BTreeMap<String, Vec<String>>) {
    let join = |name: &str| match header.trim_matches(['[', ']']) {
        "" => name.to_owned(),
        section => format!("{section}.{name}"),
    };
    for (name, value) in table {
        match value {
            // Its keys are the operator's.
            Value::Table(_) if name == "headers" => {
                keys.entry(header.to_owned())
                    .or_default()
                    .push(name.clone());
            }
            Value::Table(inner) => collect(&format!("[{}]", join(name)), inner, keys),
            Value::Array(list) if list.first().is_some_and(Value::is_table) => {
                for element in list.iter().filter_map(Value::as_table) {
                    collect(&format!("[[{}]]", join(name)), element, keys);
                }
            }
            _ => keys
                .entry(header.to_owned())
                .or_default()
                .push(name.clone()),
        }
    }
}

/// `[server.tls]` with `cert` is `server.tls.cert`.
fn path(header: &str, name: &str) -> String {
    format!("{}.{name}", header.trim_matches(['[', ']']))
}

/// The value at `path`, in the first element of a list.
fn find<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let value = table.get(first)?;
    let value = match value {
        Value::Array(list) if !rest.is_empty() => list.first()?,
        value => value,
    };
    match (rest, value) {
        ("", value) => Some(value),
        (rest, Value::Table(inner)) => find(inner, rest),
        _ => None,
    }
}

#[test]
fn the_example_can_be_loaded() {
    let example = DOCUMENT.split("```").nth(1).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("fanfare.toml");
    std::fs::write(&file, example.strip_prefix("toml").unwrap()).unwrap();

    let config = Config::load(&Sources {
        file: Some(file),
        ..Sources::default()
    })
    .unwrap()
    .config;

    assert_eq!(config.apps[0].limits.connections, Some(500));
}

#[test]
fn every_key_is_documented_with_its_default_and_its_variable() {
    let mut keys = BTreeMap::new();
    let every = Table::try_from(with_every_key()).unwrap();
    collect("", &every, &mut keys);
    let mut defaults = Config::default();
    let mut app = AppConfig::new("", "", "");
    app.history.push(HistoryRuleConfig::new(""));
    defaults.apps.push(app);
    defaults
        .auth
        .rules
        .push(RuleConfig::new("", vec![AllowConfig::default()]));
    let defaults = Table::try_from(defaults).unwrap();

    for (header, mut names) in keys {
        let rows = rows(&header);
        let mut documented: Vec<String> = rows.iter().map(|row| row[0].clone()).collect();
        documented.sort();
        names.sort();
        assert_eq!(documented, names, "keys of {header}");

        for row in rows {
            let [name, _form, default, variable, _meaning] = row.as_slice() else {
                panic!("not five cells: {row:?}");
            };
            let path = path(&header, name);
            let is_required = matches!(
                path.as_str(),
                "apps.id"
                    | "apps.key"
                    | "apps.secret"
                    | "apps.history.channels"
                    | "auth.rules.room"
            );
            let expected = find(&defaults, &path)
                .filter(|_| !is_required)
                .map_or_else(|| NONE.to_owned(), Value::to_string);
            assert_eq!(*default, expected, "default of {path}");
            let own = OWN_NAMES.iter().find(|(_, key, _)| *key == path);
            let expected = own.map_or(NONE, |(variable, ..)| *variable);
            assert_eq!(variable, expected, "variable of {path}");
        }
    }
}

#[test]
fn every_foreign_name_is_documented() {
    let documented: Vec<(String, String, String)> = rows("Names of other servers")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone(), row[2].clone()))
        .collect();
    let mut expected: Vec<(String, String, String)> = FOREIGN_NAMES
        .iter()
        .map(|known| {
            let form = match known.form {
                Form::Text => "text",
                Form::Number => "a number",
                Form::Flag => "`true` or `false`",
                Form::List => "texts with commas between them",
                Form::Milliseconds => "milliseconds",
                Form::Kilobytes => "kilobytes of 1,024 bytes",
                Form::Limit => "a number; -1: no limit",
                Form::Rate => "a number; -1: as many as possible",
                Form::Senders => "`members`, `all` or `none`",
                Form::Path => "path",
                Form::PusherUrl => "http://KEY:SECRET@HOST/apps/ID`; sets key and secret too",
                Form::Debug => "`true`: `debug`",
            };
            let form = form.trim_matches('`').to_owned();
            (known.name.to_owned(), known.key.to_owned(), form)
        })
        .collect();
    // The later of two names wins; people read from the strongest down.
    expected.reverse();

    assert_eq!(documented, expected);
}
