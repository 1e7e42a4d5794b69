//! Configuration and help: what is wrong is named, what counts is printed.

use super::support::{ConfigFile, fanfare, output, text};

#[tokio::test]
async fn a_bad_configuration_exits_with_2_and_names_what_is_wrong() {
    let app = "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"s\"\n";
    for (file, variable, arguments, expected) in [
        (
            "[server]\nprot = 1",
            None,
            &[][..],
            "fanfare: unknown key server.prot (set by FILE); expected one of: host, port,",
        ),
        (
            "[server]\nport = \"abc\"",
            None,
            &[],
            "fanfare: server.port = \"abc\" (set by FILE) is not valid: expected a whole number from 0 to 65535",
        ),
        (
            "",
            Some(("FANFARE_SERVER_PROT", "1")),
            &[],
            "fanfare: unknown variable FANFARE_SERVER_PROT; did you mean FANFARE_SERVER_PORT or FANFARE_SERVER_PATH_PREFIX?",
        ),
        (
            "",
            Some(("FANFARE_SERVER_PORT", "70000")),
            &[],
            "fanfare: server.port = 70000 (set by FANFARE_SERVER_PORT) is not valid: expected a whole number",
        ),
        (
            "",
            None,
            &["--host", "0.0.0.0"],
            "fanfare: server.host = 0.0.0.0 is reachable from other machines, and the app has the default credentials that everybody knows; set PUSHER_APP_ID,",
        ),
        (
            &format!("{app}{app}"),
            None,
            &[],
            "fanfare: apps[1].id = \"1\" (set by FILE) is not valid: expected an id that no other app has",
        ),
        (
            "[server.tls]\ncert = \"/nowhere/cert.pem\"\nkey = \"/nowhere/key.pem\"",
            None,
            &[],
            "fanfare: server.tls.cert = \"/nowhere/cert.pem\" (set by FILE) is not valid: expected a PEM file that can be read",
        ),
        (
            "[server.tls]\ncert = \"/etc/passwd\"\nkey = \"/etc/passwd\"",
            None,
            &[],
            "fanfare: server.tls.cert = \"/etc/passwd\" is not valid: expected a PEM file with one or more certificates (it holds no certificate)",
        ),
    ] {
        let file = ConfigFile::new(file);

        let mut serve = fanfare(&["serve", "--config", file.path()]);
        serve.args(arguments).envs(variable);
        let refused = output(&mut serve).await;

        let told = text(&refused.stderr).replace(file.path(), "FILE");
        assert!(told.starts_with(expected), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        assert_eq!(refused.status.code(), Some(2), "{told}");
        if arguments.is_empty() {
            let mut check = fanfare(&["check-config", "--config", file.path()]);
            let checked = output(check.envs(variable)).await;
            assert_eq!(checked.stderr, refused.stderr);
            assert_eq!(checked.status.code(), Some(2));
        }
    }
}

#[tokio::test]
async fn a_file_that_does_not_exist_and_an_unknown_flag_exit_with_2() {
    let no_file = output(&mut fanfare(&[
        "serve",
        "--config",
        "/nowhere/fanfare.toml",
    ]))
    .await;
    let no_flag = output(&mut fanfare(&["serve", "--prot", "1"])).await;

    assert!(text(&no_file.stderr).contains("/nowhere/fanfare.toml"));
    assert_eq!(no_file.status.code(), Some(2));
    assert!(text(&no_flag.stderr).contains("--port"));
    assert_eq!(no_flag.status.code(), Some(2));
}

#[tokio::test]
async fn a_url_that_is_none_exits_with_2() {
    let refused = output(&mut fanfare(&["channels", "--url", "ftp://127.0.0.1"])).await;

    assert_eq!(
        text(&refused.stderr),
        "fanfare: ftp://127.0.0.1 is not a URL of a server: expected http://HOST:PORT or https://HOST:PORT\n"
    );
    assert_eq!(refused.status.code(), Some(2));
}

#[tokio::test]
async fn every_command_shows_examples_in_its_help() {
    for command in [
        "serve",
        "check-config",
        "trigger",
        "subscribe",
        "channels",
        "healthcheck",
        "app",
        "migrate",
        "webhooks",
        "auth-check",
    ] {
        let help = output(&mut fanfare(&[command, "--help"])).await;

        assert!(
            text(&help.stdout).contains(&format!("fanfare {command}")) || command == "healthcheck"
        );
        assert!(text(&help.stdout).contains("Examples:"), "{command}");
        assert_eq!(help.status.code(), Some(0));
    }
}

#[tokio::test]
async fn check_config_prints_what_counts_and_masks_secrets() {
    let file = ConfigFile::new("[server]\nport = 7001\nmetrics_port = 7002\n");

    let mut check = fanfare(&["check-config", "--config", file.path()]);
    check.envs([
        ("FANFARE_SERVER_PORT", "8001"),
        ("PUSHER_APP_ID", "42"),
        ("PUSHER_APP_KEY", "front"),
        ("PUSHER_APP_SECRET", "precious"),
        ("SOKETI_PORT", "9001"),
        ("SOKETI_QUEUE_DRIVER", "redis"),
    ]);
    let checked = output(&mut check).await;

    let printed = text(&checked.stdout);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    let config: toml::Table = printed.parse().unwrap();
    assert_eq!(config["server"]["port"].as_integer(), Some(8001));
    assert_eq!(config["server"]["metrics_port"].as_integer(), Some(7002));
    assert_eq!(config["apps"][0]["id"].as_str(), Some("42"));
    assert_eq!(config["apps"][0]["secret"].as_str(), Some(".."));
    for line in [
        "#   SOKETI_PORT is ignored: FANFARE_SERVER_PORT sets server.port\n",
        "#   SOKETI_QUEUE_DRIVER is ignored: nothing has to be set: this is done in the server's memory\n",
        "#   PUSHER_APP_SECRET sets app.secret\n",
    ] {
        assert!(printed.contains(line), "{printed}");
    }
    assert!(!printed.contains("precious"));
}
