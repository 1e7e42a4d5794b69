//! The commands that ask a server: trigger, subscribe, channels, healthcheck.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::support::{ConfigFile, Server, fanfare, line_with, output, soon, subscriber, text};

#[tokio::test]
async fn a_triggered_event_reaches_a_subscriber_of_each_kind_of_channel() {
    let server = Server::start().await;
    let url = server.url();
    for channel in [
        "kitchen",
        "private-kitchen",
        "presence-kitchen",
        "cache-kitchen",
    ] {
        let mut subscriber = fanfare(&["subscribe", channel, "--url", &url, "--json"])
            .args(["--count", "1", "--timeout", "30"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut notes = BufReader::new(subscriber.stderr.take().unwrap()).lines();
        line_with(&mut notes, "subscribed to").await;

        let triggered = output(&mut fanfare(&[
            "trigger",
            channel,
            "order.created",
            r#"{"id":7}"#,
            "--url",
            &url,
        ]))
        .await;

        assert_eq!(
            triggered.status.code(),
            Some(0),
            "{}",
            text(&triggered.stderr)
        );
        let received = soon("the event", subscriber.wait_with_output())
            .await
            .unwrap();
        assert_eq!(received.status.code(), Some(0));
        let mut event: Value = serde_json::from_slice(&received.stdout).unwrap();
        let time = event.as_object_mut().unwrap().remove("time").unwrap();
        assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
        assert_eq!(
            event,
            json!({"channel": channel, "event": "order.created", "data": r#"{"id":7}"#})
        );
    }
}

#[tokio::test]
async fn a_subscriber_answers_pings() {
    let file = ConfigFile::new("[connection]\nping_after = 0.1\npong_wait = 0.3\n");
    let server = Server::with(&["--config", file.path()]).await;

    let mut subscribe = fanfare(&["subscribe", "a", "--count", "1", "--timeout", "2"]);
    let ended = output(subscribe.args(["--url", &server.url()])).await;

    assert_eq!(
        text(&ended.stderr),
        "subscribed to a\nfanfare: not all events came within 2 s\n"
    );
}

#[tokio::test]
async fn trigger_reads_the_data_from_its_input_and_sends_to_several_channels() {
    let server = Server::start().await;
    let url = server.url();
    let mut subscriber = fanfare(&["subscribe", "one", "two", "--url", &url])
        .args(["--count", "2", "--timeout", "30"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut notes = BufReader::new(subscriber.stderr.take().unwrap()).lines();
    line_with(&mut notes, "subscribed to").await;

    let mut trigger = fanfare(&[
        "trigger", "one", "greet", "-", "--also", "two", "--url", &url,
    ])
    .stdin(Stdio::piped())
    .stdout(Stdio::null())
    .spawn()
    .unwrap();
    let mut input = trigger.stdin.take().unwrap();
    input.write_all(b"hello").await.unwrap();
    drop(input);
    assert!(soon("the trigger", trigger.wait()).await.unwrap().success());

    let received = soon("both events", subscriber.wait_with_output())
        .await
        .unwrap();
    let lines: Vec<&str> = text(&received.stdout)
        .lines()
        .map(|line| line.split_once(' ').unwrap().1)
        .collect();
    assert_eq!(lines, ["one greet hello", "two greet hello"]);
}

#[tokio::test]
async fn what_others_sent_cannot_draw_on_the_terminal() {
    let server = Server::start().await;
    let url = server.url();
    let (subscriber, _notes) = subscriber(&url, "1").await;

    let event = ["trigger", "a", "e\u{1b}[2J", "one\ntwo\u{7}", "--url", &url];
    output(&mut fanfare(&event)).await;

    let received = soon("the event", subscriber.wait_with_output()).await;
    let printed = received.unwrap().stdout;
    assert!(
        text(&printed).ends_with(" a e\\u{1b}[2J one\\ntwo\\u{7}\n"),
        "{}",
        text(&printed)
    );
    assert_eq!(text(&printed).lines().count(), 1);
}

#[tokio::test]
async fn channels_lists_what_is_occupied() {
    let server = Server::start().await;
    let url = server.url();
    let mut subscriber = fanfare(&["subscribe", "presence-kitchen", "orders", "--url", &url])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut notes = BufReader::new(subscriber.stderr.take().unwrap()).lines();
    line_with(&mut notes, "subscribed to").await;

    let all = output(&mut fanfare(&["channels", "--url", &url])).await;
    let mut counted = fanfare(&["channels", "--prefix", "presence-", "--info", "user_count"]);
    let counted = output(counted.args(["--url", &url, "--json"])).await;

    assert_eq!(text(&all.stdout), "orders\npresence-kitchen\n");
    let counted: Value = serde_json::from_slice(&counted.stdout).unwrap();
    assert_eq!(
        counted["channels"],
        json!({"presence-kitchen": {"user_count": 1}})
    );
}

#[tokio::test]
async fn commands_say_why_they_failed_in_one_line_and_exit_with_1() {
    let server = Server::start().await;
    let url = server.url();
    for (arguments, expected) in [
        (
            &["trigger", "a", "b", "c", "--secret", "wrong", "--url", &url][..],
            "name it with --app-id, --key and --secret, or with --config: ",
        ),
        (
            &["channels", "--url", "http://127.0.0.1:1"],
            "start one with `fanfare serve`, or name it with --url: http://127.0.0.1:1/apps/app-id/channels cannot be reached: Connection refused",
        ),
        (
            &[
                "subscribe",
                "a",
                "--key",
                "unknown",
                "--secret",
                "s",
                "--url",
                &url,
            ],
            "(4001)",
        ),
        (
            &["subscribe", "private-a", "--secret", "wrong", "--url", &url],
            "the server refuses",
        ),
        (
            &[
                "subscribe",
                "a",
                "--count",
                "1",
                "--timeout",
                "1",
                "--url",
                &url,
            ],
            "not all events came within 1 s",
        ),
    ] {
        let failed = output(&mut fanfare(arguments)).await;

        let told = text(&failed.stderr).lines().last().unwrap_or_default();
        assert!(told.starts_with("fanfare: "), "{told}");
        assert!(told.contains(expected), "{told}");
        assert_eq!(failed.status.code(), Some(1), "{arguments:?}");
    }
}

#[tokio::test]
async fn healthcheck_tells_whether_the_server_is_ready() {
    let mut server = Server::start().await;
    let port = server.metrics_address.port().to_string();

    let ready = output(&mut fanfare(&["healthcheck", "--metrics-port", &port])).await;
    let mut by_environment = fanfare(&["healthcheck"]);
    by_environment.env("FANFARE_SERVER_METRICS_PORT", &port);
    let also_ready = output(&mut by_environment).await;
    server.signal("TERM").await;
    server.exit_code().await;
    let gone = output(&mut fanfare(&["healthcheck", "--metrics-port", &port])).await;

    assert_eq!(ready.status.code(), Some(0), "{}", text(&ready.stderr));
    assert_eq!(also_ready.status.code(), Some(0));
    assert_eq!(gone.status.code(), Some(1));
    assert!(text(&gone.stderr).contains("is the server running?"));
}

#[tokio::test]
async fn a_subscriber_comes_back_when_its_server_does() {
    let mut server = Server::start().await;
    let address = server.address;
    let url = server.url();
    let mut subscriber = fanfare(&["subscribe", "a", "--url", &url])
        .args(["--count", "1", "--timeout", "60"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut notes = BufReader::new(subscriber.stderr.take().unwrap()).lines();
    line_with(&mut notes, "subscribed to").await;

    server.signal("TERM").await;
    line_with(&mut notes, "connecting again").await;
    assert_eq!(server.exit_code().await, Some(0));
    let _again = Server::on_port(address.port(), &[]).await;
    line_with(&mut notes, "subscribed to").await;
    output(&mut fanfare(&["trigger", "a", "b", "c", "--url", &url])).await;

    let received = soon("the event", subscriber.wait_with_output())
        .await
        .unwrap();
    assert!(text(&received.stdout).ends_with(" a b c\n"));
}

#[tokio::test]
async fn the_commands_find_a_server_behind_a_prefix() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let file = ConfigFile::new(&format!(
        "[server]\nport = {port}\npath_prefix = \"/realtime\"\n"
    ));
    let _server = Server::on_port(port, &["--config", file.path()]).await;
    let mut subscribe = fanfare(&["subscribe", "orders", "--config", file.path()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut notes = BufReader::new(subscribe.stderr.take().unwrap()).lines();
    line_with(&mut notes, "subscribed to").await;

    let sent = output(&mut fanfare(&[
        "trigger",
        "orders",
        "order",
        "{\"id\":7}",
        "--config",
        file.path(),
    ]))
    .await;

    assert!(sent.status.success(), "{}", text(&sent.stderr));
    let mut events = BufReader::new(subscribe.stdout.take().unwrap()).lines();
    let event = soon("the event", events.next_line())
        .await
        .unwrap()
        .unwrap();
    assert!(event.contains("order"), "{event}");
}
