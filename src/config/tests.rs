use std::path::Path;

use super::*;

fn load(file: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    load_from(&directory.path().join("fanfare.toml"), file, variables)
}

fn load_from(path: &Path, file: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    std::fs::write(path, file).unwrap();
    Config::load(&Sources {
        file: Some(path.to_owned()),
        variables: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        flags: Vec::new(),
        needs_certificates: true,
    })
}

/// The error's text, in which the file is called FILE.
fn error(file: &str, variables: &[(&str, &str)]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fanfare.toml");
    let error = load_from(&path, file, variables).unwrap_err();
    error
        .to_string()
        .replace(&path.display().to_string(), "FILE")
}

#[test]
fn nothing_at_all_is_a_server_on_loopback_with_the_well_known_app() {
    let loaded = Config::load(&Sources::default()).unwrap();

    assert!(loaded.has_default_app);
    assert_eq!(loaded.config.apps, [AppConfig::default_app()]);
    assert!(loaded.config.apps[0].client_events);
    assert_eq!(loaded.config.server, ServerConfig::default());
}

#[test]
fn flags_come_before_the_environment_and_that_before_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fanfare.toml");
    std::fs::write(
        &path,
        "[server]\nport = 1\nmetrics_port = 1\nshutdown_grace = 1",
    )
    .unwrap();
    let loaded = Config::load(&Sources {
        file: Some(path),
        variables: [
            ("FANFARE_SERVER_PORT", "2"),
            ("FANFARE_SERVER_METRICS_PORT", "2"),
            ("SOKETI_PORT", "9"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        flags: vec![("server.port", "3".to_owned())],
        ..Sources::default()
    })
    .unwrap();

    let server = loaded.config.server;
    assert_eq!((server.port, server.metrics_port), (3, 2));
    assert_eq!(server.shutdown_grace.as_secs(), 1);
}

#[test]
fn an_app_may_have_one_pair_or_several() {
    let file = r#"
        [[apps]]
        id = "1"
        key = "one"
        secret = "a"
        [[apps]]
        id = "2"
        keys = [{ key = "two", secret = "b" }, { key = "three", secret = "c" }]
        over_quota = "refuse"
        limits = { connections = 5, cache_seconds = 60 }
    "#;

    let config = load(file, &[]).unwrap().config;

    let app = config.apps[1].to_app();
    assert_eq!(app.secret_of("three").unwrap().reveal(), "c");
    assert_eq!(app.limits.connections, Some(5));
    assert_eq!(app.over_quota, crate::apps::OverQuota::Refuse);
    assert_eq!(
        config.apps[0].to_app().secret_of("one").unwrap().reveal(),
        "a"
    );
}

#[test]
fn a_history_is_off_unless_asked_for_and_its_bounds_have_bounds() {
    let app = |history: &str| {
        format!("[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"s\"\nhistory = [{history}]\n")
    };
    let config = load(&app(r#"{ channels = "kitchen*", events = 7 }"#), &[])
        .unwrap()
        .config;
    let rules = config.apps[0].to_app().history;
    assert_eq!((rules[0].events, rules[0].age.as_secs()), (7, 3_600));
    assert!(
        load(&app(""), &[]).unwrap().config.apps[0]
            .to_app()
            .history
            .is_empty()
    );

    for (rule, expected) in [
        (
            r#"{ channels = "kit chen" }"#,
            r#"apps[0].history[0].channels = "kit chen" (set by FILE) is not valid: expected the name of a channel, in which * stands for any characters"#,
        ),
        (
            r#"{ channels = "x", events = 0 }"#,
            r#"apps[0].history[0].events = "0" (set by FILE) is not valid: expected a whole number from 1 to 100000"#,
        ),
        (
            r#"{ channels = "x", seconds = 604801 }"#,
            r#"apps[0].history[0].seconds = "604801" (set by FILE) is not valid: expected a whole number from 1 to 604800"#,
        ),
        (
            r#"{ channels = "x", bytes = 1 }"#,
            r#"apps[0].history[0].bytes = "1" (set by FILE) is not valid: expected a whole number from 1024 to 67108864"#,
        ),
    ] {
        assert_eq!(error(&app(rule), &[]), expected);
    }
    let with_redis = format!(
        "[engine]\nurl = \"redis://127.0.0.1\"\n{}",
        app(r#"{ channels = "x" }"#)
    );
    assert_eq!(
        load(&with_redis, &[]).unwrap().config.apps[0].history.len(),
        1
    );
    assert!(error("[history]\nbytes = 1", &[]).contains("history.bytes"));
}

#[test]
fn names_that_people_already_have_define_the_app() {
    let loaded = load(
        "",
        &[
            ("PUSHER_APP_ID", "123"),
            ("PUSHER_APP_KEY", "456"),
            ("PUSHER_APP_SECRET", "789"),
            ("SOKETI_DEFAULT_APP_MAX_CONNS", "-1"),
            ("SOKETI_DEFAULT_APP_MAX_CLIENT_EVENTS_PER_SEC", "-1"),
            ("SOKETI_EVENT_MAX_SIZE_IN_KB", "20"),
            ("SOKETI_SHUTDOWN_GRACE_PERIOD", "3000"),
            ("SOKETI_HOST", "0.0.0.0"),
            ("SOKETI_QUEUE_DRIVER", "sync"),
        ],
    )
    .unwrap();

    assert!(!loaded.has_default_app);
    let app = &loaded.config.apps[0];
    assert_eq!((app.id.as_str(), app.key.as_deref()), ("123", Some("456")));
    assert_eq!(app.limits.event_data_bytes, 20_480);
    assert_eq!(app.limits.connections, None);
    assert_eq!(app.limits.client_events_per_second, 1_000_000);
    assert_eq!(loaded.config.server.shutdown_grace.as_secs(), 3);
}

#[test]
fn what_became_of_each_variable_is_told() {
    let loaded = load(
        "",
        &[
            ("PUSHER_APP_KEY", "k"),
            ("PUSHER_APP_SECRET", "s"),
            ("PUSHER_KEY", "other"),
            ("REVERB_APP_KEY", ""),
            ("SOKETI_PORT", "6002"),
            ("FANFARE_SERVER_PORT", "6003"),
            ("SOKETI_QUEUE_DRIVER", "sync"),
            ("SOKETI_METRICS_HOST", "127.0.0.1"),
            ("HOME", "/root"),
        ],
    )
    .unwrap();

    let mut told: Vec<String> = loaded
        .variables
        .iter()
        .map(|used| format!("{} {}", used.name, used.effect))
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            "FANFARE_SERVER_PORT sets server.port",
            "PUSHER_APP_KEY sets app.key",
            "PUSHER_APP_SECRET sets app.secret",
            "PUSHER_KEY is ignored: PUSHER_APP_KEY sets app.key",
            "REVERB_APP_KEY is ignored: it is empty",
            "SOKETI_METRICS_HOST sets server.metrics_host",
            "SOKETI_PORT is ignored: FANFARE_SERVER_PORT sets server.port",
            "SOKETI_QUEUE_DRIVER is ignored: nothing has to be set: this is done in the server's memory",
        ]
    );
}

/// A pod beside a service called `fanfare` has them.
#[test]
fn variables_that_describe_a_service_are_no_settings() {
    let loaded = load(
        "",
        &[
            ("FANFARE_SERVICE_HOST", "10.0.0.1"),
            ("FANFARE_SERVICE_PORT_WS", "6001"),
            ("FANFARE_PORT", "tcp://10.0.0.1:6001"),
            ("FANFARE_PORT_6001_TCP", "tcp://10.0.0.1:6001"),
            ("FANFARE_PORT_6001_TCP_ADDR", "10.0.0.1"),
            ("FANFARE_SERVER_PORT", "tcp://10.0.0.1:6001"),
            ("SOKETI_PORT", "tcp://10.0.0.1:6001"),
        ],
    )
    .unwrap();

    assert_eq!(loaded.config.server.port, 6001);
}

#[test]
fn what_is_wrong_is_named_with_key_value_and_expectation() {
    let app = "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"s\"\n";
    for (file, variables, expected) in [
        (
            "[server]\nprot = 1",
            &[][..],
            "unknown key server.prot (set by FILE); expected one of: host, port,",
        ),
        (
            "[sever]\n",
            &[],
            "unknown key sever (set by FILE); expected one of: server, connection, engine, history, http_fallback, log, raw_ws, webhooks, auth, adapters, store, usage, admin, apps",
        ),
        (
            "[server]\nport = 70000",
            &[],
            "server.port = 70000 (set by FILE) is not valid: expected a whole number from 0 to 65535",
        ),
        (
            "[http_fallback]\nhostname = \"node-1:6001\"",
            &[],
            "http_fallback.hostname = \"node-1:6001\" (set by FILE) is not valid: expected a host name such as",
        ),
        (
            "[http_fallback]\nhostname = \"a\\\"}b\"",
            &[],
            "http_fallback.hostname = ",
        ),
        (
            "[server]\nport = \"x\"",
            &[],
            "server.port = \"x\" (set by FILE) is not valid: expected a whole number from 0 to 65535",
        ),
        (
            "[server]\nhost = \"localhost\"",
            &[],
            "server.host = \"localhost\" (set by FILE) is not valid: expected an IP address such as",
        ),
        (
            "[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"x\"]",
            &[],
            "server.trusted_proxies[1] = \"x\" (set by FILE) is not valid: expected a network such as",
        ),
        (
            "[server]\nhost = \"::\"\nmetrics_port = 6001",
            &[],
            "server.metrics_port = \"6001\" (set by FILE) is not valid: expected another port",
        ),
        (
            "[server]\ntls = { cert = \"/nowhere/a.pem\", key = \"/nowhere/b.pem\" }",
            &[],
            "server.tls.cert = \"/nowhere/a.pem\" (set by FILE) is not valid: expected a PEM file that can be read (No such file",
        ),
        (
            "",
            &[("PUSHER_APP_ID", "a/b")],
            "apps[0].id = \"a/b\" (set by PUSHER_APP_ID) is not valid: expected letters",
        ),
        (
            "[connection]\nping_after = 0",
            &[],
            "connection.ping_after = 0 (set by FILE) is not valid: expected a number of seconds",
        ),
        (
            "[connection]\nping_after = nan",
            &[],
            "connection.ping_after = nan (set by FILE) is not valid: expected a number of seconds",
        ),
        (
            "[connection]\nping_after = -1",
            &[],
            "connection.ping_after = -1 (set by FILE) is not valid: expected a number of seconds",
        ),
        (
            "[connection]\noutbox_bytes = 1",
            &[],
            "connection.outbox_bytes = \"1\" (set by FILE) is not valid: expected a number of bytes from 16384",
        ),
        (
            "[log]\nlevel = \"loud\"",
            &[],
            "log.level = \"loud\" (set by FILE) is not valid: expected error, warn",
        ),
        (
            "[log]\nformat = \"xml\"",
            &[],
            "log.format = \"xml\" (set by FILE) is not valid: expected one of: auto, text, json",
        ),
        (
            "[raw_ws]\nkey = \"nobody's\"",
            &[],
            "raw_ws.key = \"nobody's\" (set by FILE) is not valid: expected the key of an app",
        ),
        ("\n[server", &[], "FILE is not TOML: line 2, column "),
        (
            "",
            &[("FANFARE_SERVER_PORT", "abc")],
            "server.port = \"abc\" (set by FANFARE_SERVER_PORT) is not valid: expected a number",
        ),
        (
            "",
            &[("FANFARE_SERVER_PORT", "70000")],
            "server.port = 70000 (set by FANFARE_SERVER_PORT) is not valid",
        ),
        (
            "",
            &[("FANFARE_SERVER_PROT", "1")],
            "unknown variable FANFARE_SERVER_PROT; did you mean FANFARE_SERVER_PORT or FANFARE_SERVER_PATH_PREFIX?",
        ),
        (
            "",
            &[("SOKETI_PRESENCE_MAX_MEMBERS", "-1")],
            "app.limits.presence_members = \"-1\" (set by SOKETI_PRESENCE_MAX_MEMBERS) is not valid: expected a whole number",
        ),
        (
            "",
            &[("PUSHER_APP_KEY", "k")],
            "app.secret is missing: expected PUSHER_APP_SECRET",
        ),
        (
            "[server]\nhost = \"0.0.0.0\"",
            &[],
            "default credentials that everybody knows; set PUSHER_APP_ID",
        ),
        (
            "[[apps]]\nid = \"1\"\nkey = \"k\"",
            &[],
            "apps[0].secret is missing in FILE: expected key and secret",
        ),
        (
            "[[apps]]\nid = \"1\"",
            &[],
            "apps[0].key is missing in FILE",
        ),
        (
            "[[apps]]\nkey = \"k\"",
            &[],
            "apps[0].id is missing in FILE",
        ),
        (
            "[[apps]]\nid = \"a/b\"\nkey = \"k\"\nsecret = \"s\"",
            &[],
            "apps[0].id = \"a/b\" (set by FILE) is not valid",
        ),
        (
            "[[apps]]\nid = \"..\"\nkey = \"k\"\nsecret = \"s\"",
            &[],
            "apps[0].id = \"..\" (set by FILE) is not valid",
        ),
        (
            &format!("{app}allowed_origins = [\"https://shop.example/\"]"),
            &[],
            "apps[0].allowed_origins = \"https://shop.example/\" (set by FILE) is not valid: expected an origin",
        ),
        (
            &format!("{app}limits = {{ client_events_per_second = 0 }}"),
            &[],
            "apps[0].limits.client_events_per_second = \"0\" (set by FILE) is not valid",
        ),
        (
            &format!("{app}{app}"),
            &[],
            "apps[1].id = \"1\" (set by FILE) is not valid: expected an id that no other app has",
        ),
        (
            &format!("{app}limits = {{ presence_members = 0 }}"),
            &[],
            "apps[0].limits.presence_members = \"0\" (set by FILE) is not valid",
        ),
        (
            &format!("{app}limits = {{ members = 0 }}"),
            &[],
            "unknown key apps[0].limits.members (set by FILE); expected one of: connections",
        ),
        (
            &format!("{app}[[apps.webhooks]]\nurl = \"example.com\"\nevents = [\"cache_miss\"]"),
            &[],
            "apps[0].webhooks[0].url = \"example.com\" (set by FILE) is not valid: expected a URL such as",
        ),
        (
            &format!("{app}[[apps.webhooks]]\nurl = \"http://u:p@a/\"\nevents = [\"cache_miss\"]"),
            &[],
            "apps[0].webhooks[0].url = \"..\" (set by FILE) is not valid: expected a URL such as",
        ),
        (
            &format!("{app}[[apps.webhooks]]\nurl = \"http://a/\"\nevents = []"),
            &[],
            "apps[0].webhooks[0].events = \"\" (set by FILE) is not valid: expected at least one of: channel_occupied",
        ),
        (
            &format!("{app}[[apps.webhooks]]\nurl = \"http://a/\"\nevents = [\"order\"]"),
            &[],
            "apps[0].webhooks[0].events[0] = \"order\" (set by FILE) is not valid: expected one of: channel_occupied",
        ),
        (
            &format!(
                "{app}[[apps.webhooks]]\nurl = \"http://a/\"\nevents = [\"cache_miss\"]\nchannel_pattern = \"(\""
            ),
            &[],
            "apps[0].webhooks[0].channel_pattern = \"(\" (set by FILE) is not valid: expected a regular expression",
        ),
        (
            &format!(
                "{app}[[apps.webhooks]]\nurl = \"http://a/\"\nevents = [\"cache_miss\"]\nheaders = {{ Host = \"precious\" }}"
            ),
            &[],
            "apps[0].webhooks[0].headers = \"..\" (set by FILE) is not valid: expected headers of your own",
        ),
        (
            &format!(
                "{app}webhooks = [{{ url = \"http://a/\", events = [\"cache_miss\"] }}, {{ url = \"http://a/\", events = [\"cache_miss\"] }}]"
            ),
            &[],
            "apps[0].webhooks[1].url = \"http://a/\" (set by FILE) is not valid: expected a webhook that differs",
        ),
        (
            &format!("{app}colour = 1"),
            &[],
            "unknown key apps[0].colour (set by FILE); expected one of: id, key",
        ),
    ] {
        let error = error(file, variables);

        assert!(error.contains(expected), "{file:?}: {error}");
    }
}

#[test]
fn a_file_that_was_named_must_exist() {
    let sources = Sources {
        file: Some(Path::new("/nowhere/fanfare.toml").to_owned()),
        ..Sources::default()
    };

    let error = Config::load(&sources).unwrap_err().to_string();

    assert!(error.starts_with("cannot read the configuration file /nowhere/fanfare.toml"));
}

#[test]
fn secrets_are_never_shown() {
    let file = "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"precious\"\n";
    let config = load(file, &[]).unwrap().config;

    assert!(!config.to_toml().unwrap().contains("precious"));
    assert!(!format!("{config:?}").contains("precious"));
    for app in [
        "key = \"k\"\nsecret = [\"precious\"]",
        "key = \"k\"\nsecret = \"precious",
        "keys = \"k:precious\"",
        "keys = [\"k:precious\"]",
        "keys = [{ key = \"k\", secret = [\"precious\"] }]",
        "key = { secret = \"precious\" }",
    ] {
        let error = error(&format!("[[apps]]\nid = \"1\"\n{app}\n"), &[]);

        assert!(!error.contains("precious"), "{error}");
    }
}

#[test]
fn what_tells_nobody_is_refused_where_people_with_tokens_come() {
    let auth = "[auth]\nenabled = true\njwt_secret = \"x\"\n";
    let rooms = "[adapters.rooms]\nenabled = true\n[auth]\njwt_secret = \"x\"\n";
    for file in [auth, rooms] {
        let slash =
            format!("{file}allowed_origins = [\"https://a.example\", \"https://b.example/\"]");
        assert_eq!(
            error(&slash, &[]),
            "auth.allowed_origins = \"https://b.example/\" (set by FILE) is not valid: expected `*`, or an origin as browsers send it, such as https://shop.example"
        );
        let app = format!("{file}app = \"nobody's\"");
        assert!(error(&app, &[]).starts_with("auth.app = \"nobody's\" "));
        let good = format!("{file}allowed_origins = [\"*\", \"https://a.example:8443\"]");
        assert!(load(&good, &[]).is_ok());
    }
    let variable = [("CORS_ORIGIN", "https://a.example/")];
    assert!(error(auth, &variable).contains("(set by CORS_ORIGIN)"));
    let off = "[auth]\nallowed_origins = [\"https://a.example/\"]";
    assert!(load(off, &[]).is_ok());
}
