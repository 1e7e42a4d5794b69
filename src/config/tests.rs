use std::path::Path;

use super::*;

fn load(file: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fanfare.toml");
    std::fs::write(&path, file).unwrap();
    Config::load(&Sources {
        file: Some(path),
        variables: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        flags: Vec::new(),
    })
}

fn error(file: &str, variables: &[(&str, &str)]) -> String {
    load(file, variables).unwrap_err().to_string()
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
fn names_that_people_already_have_define_the_app() {
    let loaded = load(
        "",
        &[
            ("PUSHER_APP_ID", "123"),
            ("PUSHER_APP_KEY", "456"),
            ("PUSHER_APP_SECRET", "789"),
            ("SOKETI_DEFAULT_APP_MAX_CONNS", "-1"),
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
    assert_eq!(loaded.config.server.shutdown_grace.as_secs(), 3);
    assert!(loaded.variables.contains(&Used {
        name: "SOKETI_QUEUE_DRIVER".to_owned(),
        key: None
    }));
}

#[test]
fn what_is_wrong_is_named_with_key_value_and_expectation() {
    let app = "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"s\"\n";
    for (file, variables, expected) in [
        (
            "[server]\nprot = 1",
            &[][..],
            "unknown key server.prot; expected one of: host, port,",
        ),
        (
            "[sever]\n",
            &[],
            "unknown key sever; expected one of: server, connection, log, apps",
        ),
        (
            "[server]\nport = 70000",
            &[],
            "server.port = 70000 is not valid: expected",
        ),
        (
            "[server]\nport = \"x\"",
            &[],
            "server.port = \"x\" is not valid: expected u16",
        ),
        (
            "[connection]\nping_after = 0",
            &[],
            "connection.ping_after = 0 is not valid: expected a number of seconds",
        ),
        (
            "[connection]\nping_after = nan",
            &[],
            "connection.ping_after = nan is not valid: expected a number of seconds",
        ),
        (
            "[connection]\nping_after = -1",
            &[],
            "connection.ping_after = -1 is not valid: expected a number of seconds",
        ),
        (
            "[connection]\noutbox_bytes = 1",
            &[],
            "connection.outbox_bytes = \"1\" is not valid: expected a number of bytes from 16384",
        ),
        (
            "[log]\nlevel = \"loud\"",
            &[],
            "log.level = \"loud\" is not valid: expected error, warn",
        ),
        (
            "[log]\nformat = \"xml\"",
            &[],
            "log.format = \"xml\" is not valid: expected one of: auto, text, json",
        ),
        ("[server", &[], "fanfare.toml is not TOML"),
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
            "unknown variable FANFARE_SERVER_PROT; did you mean FANFARE_SERVER_PORT?",
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
            "apps[0].secret is missing",
        ),
        ("[[apps]]\nid = \"1\"", &[], "apps[0].key is missing"),
        ("[[apps]]\nkey = \"k\"", &[], "apps[0].id is missing"),
        (
            "[[apps]]\nid = \"a/b\"\nkey = \"k\"\nsecret = \"s\"",
            &[],
            "apps[0].id = \"a/b\" is not valid",
        ),
        (
            &format!("{app}{app}"),
            &[],
            "apps[1].id = \"1\" is not valid: expected an id that no other app has",
        ),
        (
            &format!("{app}limits = {{ presence_members = 0 }}"),
            &[],
            "apps[0].limits.presence_members = \"0\" is not valid",
        ),
        (
            &format!("{app}limits = {{ members = 0 }}"),
            &[],
            "unknown key apps[0].limits.members; expected one of: connections",
        ),
        (
            &format!("{app}colour = 1"),
            &[],
            "unknown key apps[0].colour; expected one of: id, key",
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
    let error = error(
        "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = [\"precious\"]\n",
        &[],
    );
    assert!(!error.contains("precious"), "{error}");
}
