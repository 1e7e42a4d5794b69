//! Coming from other servers: migrate-check, their variables, certificates.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};

use super::support::{ConfigFile, Server, fanfare, line_about, output, text};

// Moving in.

#[tokio::test]
async fn migrate_check_prints_what_a_configuration_becomes() {
    let file = ConfigFile::new(
        "REVERB_APP_ID=12\nREVERB_APP_KEY=k1\nREVERB_APP_SECRET=hidden\nREVERB_SERVER_PORT=9000\nREVERB_MAX_REQUEST_SIZE=10\n",
    );

    let output = output(&mut fanfare(&[
        "migrate-check",
        "--from",
        "reverb",
        file.path(),
    ]))
    .await;

    let printed = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for wanted in [
        "port = 9000\n",
        "key = \"k1\"\n",
        "secret = \"..\"\n",
        "# Understood:\n#   REVERB_APP_ID sets app.id\n",
        "# Changes:\n#   server.host: ",
        "# Lost:\n#   REVERB_MAX_REQUEST_SIZE is not supported: ",
    ] {
        assert!(printed.contains(wanted), "{wanted} in {printed}");
    }
    assert!(!printed.contains("hidden"), "{printed}");
}

#[tokio::test]
async fn migrate_check_exits_with_2_for_what_cannot_be() {
    for (content, from, expected) in [
        (
            "SOKETI_PORT=many\n",
            "soketi",
            "server.port = \"many\" (set by SOKETI_PORT)",
        ),
        (
            "{\"port\": ",
            "soketi",
            "FILE is not JSON: EOF while parsing a value at line 1",
        ),
        (
            "PUSHER_URL=http://half@x/apps/1\n",
            "pusher",
            "expected http://KEY:SECRET@HOST/apps/ID",
        ),
    ] {
        let file = ConfigFile::new(content);

        let output = output(&mut fanfare(&[
            "migrate-check",
            "--from",
            from,
            file.path(),
        ]))
        .await;

        let printed = text(&output.stderr).replace(file.path(), "FILE");
        assert_eq!(output.status.code(), Some(2), "{printed}");
        assert!(printed.contains(expected), "{expected} in {printed}");
    }
}

#[tokio::test]
async fn names_that_are_not_supported_are_told_at_the_start() {
    let mut child = fanfare(&["serve", "--port", "0", "--metrics-port", "0"])
        .env("SOKETI_ADAPTER_DRIVER", "nats")
        .env("PUSHER_HOST", "localhost")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();

    let line = line_about(&mut log, "is not supported").await;

    assert_eq!(line["level"], "WARN");
    assert_eq!(line["variable"], "SOKETI_ADAPTER_DRIVER");
}

#[tokio::test]
async fn certs_refuses_names_that_are_none() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("tls");
    for arguments in [
        &["--cluster", "eu/../x"][..],
        &["--cluster", ""],
        &["--cluster", "EU"],
        &["--name", "no name"],
        &["--name", "https://realtime.example"],
        &[],
    ] {
        let output =
            output(fanfare(&["certs", "--out", out.to_str().unwrap()]).args(arguments)).await;

        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(!out.exists(), "{arguments:?}");
    }
}

/// docs/migrating.md, as it is written.
#[tokio::test]
async fn the_file_that_migrate_check_prints_can_be_served() {
    let json = ConfigFile::new(
        r#"{"port": 0, "metrics.port": 0, "eventLimits.maxPayloadInKb": 100, "appManager.array.apps": [{"id": "1", "key": "k1", "secret": "s1", "enableClientMessages": true}]}"#,
    );
    let printed = output(&mut fanfare(&[
        "migrate-check",
        "--from",
        "soketi",
        json.path(),
    ]))
    .await;
    let printed = text(&printed.stdout).replace("secret = \"..\"", "secret = \"s1\"");
    let file = ConfigFile::new(&printed);

    let server = Server::with(&["--config", file.path()]).await;

    let url = server.url();
    let listed = output(&mut fanfare(&[
        "channels", "--url", &url, "--app-id", "1", "--key", "k1", "--secret", "s1",
    ]))
    .await;
    assert!(listed.status.success(), "{}", text(&listed.stderr));
}

/// docs/migrating.md, as it is written.
#[tokio::test]
async fn the_variables_of_reverb_are_enough() {
    let mut child = fanfare(&["serve", "--metrics-port", "0"])
        .envs([
            ("REVERB_APP_ID", "12"),
            ("REVERB_APP_KEY", "key"),
            ("REVERB_APP_SECRET", "secret"),
            ("REVERB_SERVER_HOST", "0.0.0.0"),
            ("REVERB_SERVER_PORT", "0"),
        ])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();

    let listens = line_about(&mut log, "listens").await;

    let address: SocketAddr = listens["address"].as_str().unwrap().parse().unwrap();
    assert!(address.ip().is_unspecified());
}
