//! `fanfare app` and `fanfare migrate`.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::support::{Server, app, fanfare, line_with, output, text, with_database};

#[tokio::test]
async fn an_app_is_created_with_lines_for_both_ends_and_its_secret_is_shown_once() {
    let file = with_database();

    let lines = app(
        &file,
        &[
            "create",
            "--client-events",
            "--bind-sessions",
            "--max-connections",
            "5",
            "--history",
            r#"[{"channels": "kitchen*"}]"#,
        ],
    )
    .await;

    let value = |name: &str| {
        let start = format!("{name}=");
        let line = lines.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("no {name} in {lines}"))
            .to_owned()
    };
    let (id, key) = (value("PUSHER_APP_ID"), value("PUSHER_APP_KEY"));
    let secret = value("PUSHER_APP_SECRET");
    assert!(id.bytes().all(|byte| byte.is_ascii_digit()), "{id}");
    assert_eq!(value("VITE_PUSHER_APP_KEY"), key);
    let shown: Value = serde_json::from_str(&app(&file, &["show", &id, "--json"]).await).unwrap();
    assert_eq!(shown["keys"], json!([{"key": key, "secret": ".."}]));
    assert_eq!(shown["limits"]["connections"], 5);
    assert_eq!(shown["client_events"], true);
    assert_eq!(shown["bind_sessions"], true);
    assert_eq!(shown["history"][0]["channels"], "kitchen*");
    assert_eq!(shown["history"][0]["events"], 1_000);
    for command in [&["show", id.as_str()][..], &["list"], &["list", "--json"]] {
        let printed = app(&file, command).await;
        assert!(printed.contains(&id) && printed.contains(&key), "{printed}");
        assert!(!printed.contains(&secret), "{printed}");
    }
}

#[tokio::test]
async fn changes_of_the_command_line_reach_a_server_that_runs() {
    let file = with_database();
    app(&file, &["create", "--id", "1", "--key", "my-key"]).await;
    let server = Server::with(&["--config", file.path()]).await;
    let url = server.url();
    let subscribe = async |key: &str| {
        let mut command = fanfare(&["subscribe", "news", "--url", &url, "--key", key]);
        let mut child = command
            .args(["--app-id", "1", "--secret", "unused"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        (child, lines)
    };
    let (mut child, mut lines) = subscribe("my-key").await;
    line_with(&mut lines, "news").await;

    let pair: Value =
        serde_json::from_str(&app(&file, &["rotate-key", "1", "--json"]).await).unwrap();
    let (_second, mut second_lines) = subscribe(pair["key"].as_str().unwrap()).await;
    line_with(&mut second_lines, "news").await;
    app(&file, &["remove-key", "1", "my-key"]).await;
    app(
        &file,
        &[
            "update",
            "1",
            "--watchlist",
            "--client-events=false",
            "--plan=pro",
            "--messages-per-day=7",
            "--reads-per-second=-1",
        ],
    )
    .await;
    let shown: Value = serde_json::from_str(&app(&file, &["show", "1", "--json"]).await).unwrap();
    assert_eq!(
        (&shown["plan"], &shown["limits"]["messages_per_day"]),
        (&json!("pro"), &json!(7))
    );
    app(&file, &["disable", "1"]).await;

    line_with(&mut lines, "4003").await;
    child.kill().await.unwrap();
    let listed = app(&file, &["list"]).await;
    assert!(listed.contains("disabled"), "{listed}");
    app(&file, &["enable", "1"]).await;
    app(&file, &["delete", "1"]).await;
    assert_eq!(app(&file, &["list", "--json"]).await.trim(), "[]");
}

#[tokio::test]
async fn commands_find_the_credentials_of_apps_in_the_database() {
    let file = with_database();
    app(&file, &["create", "--id", "1"]).await;
    let server = Server::with(&["--config", file.path()]).await;
    let url = server.url();
    let run = async |command: &[&str]| {
        let place = ["--config", file.path(), "--url", &url];
        output(&mut fanfare(&[command, &place].concat())).await
    };

    // The only app need not be named.
    let sent = run(&["trigger", "news", "tick", "1"]).await;
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    let listed = run(&["channels", "--json"]).await;
    assert_eq!(text(&listed.stdout).trim(), r#"{"channels":{}}"#);

    let created = app(&file, &["create", "--id", "2", "--json"]).await;
    let created: Value = serde_json::from_str(&created).unwrap();
    let key = created["key"].as_str().unwrap();
    for name in [["--app-id", "2"], ["--key", key]] {
        let sent = run(&[&["trigger", "news", "tick"][..], &name].concat()).await;
        assert!(sent.status.success(), "{name:?}: {}", text(&sent.stderr));
    }
    let unclear = run(&["channels"]).await;
    assert_eq!(unclear.status.code(), Some(1));
    assert!(text(&unclear.stderr).contains("name one with --app-id"));
    let unknown = run(&["channels", "--app-id", "3"]).await;
    assert!(text(&unknown.stderr).contains("neither in the configuration nor in its database"));
}

#[tokio::test]
async fn commands_about_apps_say_what_is_wrong() {
    let file = with_database();
    app(&file, &["create", "--id", "1"]).await;
    for (arguments, expected) in [
        (
            &["create", "--id", "1"][..],
            "an app with the id 1 exists already",
        ),
        (&["create", "--id", "a/b"], "app.id = \"a/b\" is not valid"),
        (&["show", "2"], "there is no app with the id 2"),
        (&["disable", "2"], "there is no app with the id 2"),
        (&["remove-key", "1", "k"], "there is no key k of the app 1"),
        (
            &["update", "1", "--webhooks", "x"],
            "--webhooks is not a list of webhooks",
        ),
        (
            &[
                "update",
                "1",
                "--webhooks",
                r#"[{"url": "x", "events": ["cache_miss"]}]"#,
            ],
            "app.webhooks[0].url = \"x\" is not valid",
        ),
    ] {
        let arguments = [&["app", "--config", file.path()], arguments].concat();
        let output = output(&mut fanfare(&arguments)).await;
        let told = text(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(told.contains(expected), "{arguments:?}: {told}");
    }
    let without = output(&mut fanfare(&["app", "list"])).await;
    assert_eq!(without.status.code(), Some(1));
    assert!(text(&without.stderr).contains("set store.url"));
}

#[tokio::test]
async fn migrate_seals_what_was_stored_without_a_master_key() {
    let file = with_database();
    app(&file, &["create", "--id", "1"]).await;
    let key = "00".repeat(32);

    let mut command = fanfare(&["migrate", "--config", file.path()]);
    let migrated = output(command.env("FANFARE_STORE_MASTER_KEY", &key)).await;

    assert!(migrated.status.success());
    assert!(text(&migrated.stderr).contains("1 secrets were sealed anew"));
    let mut command = fanfare(&["app", "--config", file.path(), "show", "1"]);
    let without_key = output(&mut command).await;
    assert_eq!(without_key.status.code(), Some(1));
    assert!(text(&without_key.stderr).contains("is sealed with the master key"));
    let mut command = fanfare(&["app", "--config", file.path(), "show", "1"]);
    let with_key = output(command.env("FANFARE_STORE_MASTER_KEY", &key)).await;
    assert!(with_key.status.success());
}
