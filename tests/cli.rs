//! The program as a user runs it: exit codes, what it prints, signals.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::mpsc;

/// How long a test waits for anything before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// The program with an empty environment.
fn fanfare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn output(command: &mut Command) -> Output {
    soon("the end of the command", command.output())
        .await
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A configuration file in a directory of its own.
struct ConfigFile {
    _directory: TempDir,
    path: PathBuf,
}

impl ConfigFile {
    fn new(content: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fanfare.toml");
        std::fs::write(&path, content).unwrap();
        Self {
            _directory: directory,
            path,
        }
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

/// `fanfare serve` on free ports, with the app of the default configuration.
struct Server {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    address: SocketAddr,
    metrics_address: SocketAddr,
}

impl Server {
    async fn start() -> Self {
        Self::with(&[]).await
    }

    async fn with(arguments: &[&str]) -> Self {
        Self::on_port(0, arguments).await
    }

    async fn on_port(port: u16, arguments: &[&str]) -> Self {
        let mut serve = fanfare(&["serve", "--metrics-port", "0", "--port"]);
        Self::started_by(serve.arg(port.to_string()).args(arguments)).await
    }

    /// Waits until the server that `command` starts has told where it listens.
    async fn started_by(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let (address, metrics_address) = addresses(&mut log).await;
        Self {
            address,
            metrics_address,
            child,
            log,
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn signal(&self, name: &str) {
        kill(name, &self.child.id().unwrap().to_string()).await;
    }

    async fn exit_code(&mut self) -> Option<i32> {
        let status = soon("the end of the server", self.child.wait()).await;
        status.unwrap().code()
    }
}

async fn kill(signal: &str, pid: &str) {
    // The shell's own `kill`: not every system has the program.
    let status = Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", signal, pid])
        .status()
        .await
        .unwrap();
    assert!(status.success());
}

/// Where the next server of this log listens, for clients and for metrics.
async fn addresses(log: &mut Lines<BufReader<ChildStderr>>) -> (SocketAddr, SocketAddr) {
    let listens = line_about(log, "listens").await;
    let address = |field: &str| listens[field].as_str().unwrap().parse().unwrap();
    (address("address"), address("metrics.address"))
}

/// The next line of the log whose message contains `wanted`.
async fn line_about(log: &mut Lines<BufReader<ChildStderr>>, wanted: &str) -> Value {
    let mut before = String::new();
    soon(wanted, async {
        while let Some(line) = log.next_line().await.unwrap() {
            let parsed: Value = serde_json::from_str(&line).unwrap_or_default();
            if parsed["message"]
                .as_str()
                .is_some_and(|message| message.contains(wanted))
            {
                return parsed;
            }
            before.push_str(&line);
            before.push('\n');
        }
        panic!("the log ended without {wanted:?}:\n{before}");
    })
    .await
}

/// The next line of `lines` that contains `wanted`.
async fn line_with(lines: &mut Lines<BufReader<ChildStderr>>, wanted: &str) -> String {
    soon(wanted, async {
        loop {
            let line = lines.next_line().await.unwrap().unwrap();
            if line.contains(wanted) {
                return line;
            }
        }
    })
    .await
}

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
async fn each_stop_signal_ends_the_server_with_0() {
    for name in ["TERM", "INT"] {
        let mut server = Server::start().await;

        server.signal(name).await;

        line_about(&mut server.log, "stopped").await;
        assert_eq!(server.exit_code().await, Some(0), "{name}");
    }
}

#[tokio::test]
async fn a_second_stop_signal_does_not_wait_for_clients() {
    let file = ConfigFile::new("[server]\nshutdown_grace = 600\n");
    let mut server = Server::with(&["--config", file.path()]).await;
    let url = server.url();
    let mut subscribers = Vec::new();
    // With several clients the last one is told at the end of the grace period.
    for _ in 0..4 {
        let mut subscriber = fanfare(&["subscribe", "a", "--url", &url])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut notes = BufReader::new(subscriber.stderr.take().unwrap()).lines();
        line_with(&mut notes, "subscribed to").await;
        subscribers.push((subscriber, notes));
    }

    server.signal("TERM").await;
    line_about(&mut server.log, "shutting down").await;
    server.signal("TERM").await;

    assert_eq!(server.exit_code().await, Some(1));
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

/// A subscriber to the channel `a` that prints `count` events.
async fn subscriber(url: &str, count: &str) -> (Child, Lines<BufReader<ChildStderr>>) {
    let mut subscriber = fanfare(&["subscribe", "a", "--url", url])
        .args(["--count", count, "--timeout", "60"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut notes = BufReader::new(subscriber.stderr.take().unwrap()).lines();
    line_with(&mut notes, "subscribed to").await;
    (subscriber, notes)
}

async fn trigger(url: &str) {
    let triggered = output(&mut fanfare(&["trigger", "a", "b", "c", "--url", url])).await;
    assert_eq!(
        triggered.status.code(),
        Some(0),
        "{}",
        text(&triggered.stderr)
    );
}

#[tokio::test]
async fn with_reuse_port_a_new_server_takes_over_before_the_old_one_goes() {
    let file = ConfigFile::new("[server]\nreuse_port = true\nshutdown_grace = 0.2\n");
    let arguments = ["--config", file.path()];
    let mut old = Server::with(&arguments).await;
    let url = old.url();
    let (subscriber, mut notes) = subscriber(&url, "1").await;

    let mut new = Server::on_port(old.address.port(), &arguments).await;
    old.signal("TERM").await;
    assert_eq!(old.exit_code().await, Some(0));

    // At the first attempt: somebody listened all the time.
    line_with(&mut notes, "connecting again").await;
    let next = soon("the next note", notes.next_line()).await.unwrap();
    assert_eq!(next.as_deref(), Some("subscribed to a"));
    trigger(&url).await;
    let received = soon("the event", subscriber.wait_with_output()).await;
    assert!(text(&received.unwrap().stdout).ends_with(" a b c\n"));
    new.signal("TERM").await;
    assert_eq!(new.exit_code().await, Some(0));
}

#[tokio::test]
async fn without_it_a_second_server_is_told_that_the_port_is_taken() {
    let first = Server::start().await;
    let port = first.address.port().to_string();

    let second = output(&mut fanfare(&["serve", "--port", &port])).await;

    assert_eq!(second.status.code(), Some(1));
    let told = text(&second.stderr);
    assert!(
        told.contains("is the port taken? Set server.port"),
        "{told}"
    );
}

/// What systemd does: opens the port, and starts one server after the other with
/// it. Prints the process id of each.
const ACTIVATION: &str = "
import os, socket, sys
port = socket.create_server(('127.0.0.1', 0))
for _ in range(2):
    child = os.fork()
    if child == 0:
        os.dup2(port.fileno(), 3)
        os.set_inheritable(3, True)
        os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))
        os.execv(sys.argv[1], sys.argv[1:])
    print(child, flush=True)
    os.waitpid(child, 0)
";

#[tokio::test]
async fn a_port_that_systemd_opened_survives_a_restart() {
    let mut systemd = Command::new("python3")
        .args(["-c", ACTIVATION, env!("CARGO_BIN_EXE_fanfare")])
        .args(["serve", "--port", "1", "--metrics-port", "0"])
        .env_clear()
        .env("FANFARE_SERVER_SHUTDOWN_GRACE", "0.2")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut pids = BufReader::new(systemd.stdout.take().unwrap()).lines();
    let mut log = BufReader::new(systemd.stderr.take().unwrap()).lines();
    let first = soon("a process", pids.next_line()).await.unwrap().unwrap();
    let (address, _) = addresses(&mut log).await;
    let url = format!("http://{address}");
    let (subscriber, mut notes) = subscriber(&url, "1").await;

    kill("TERM", &first).await;

    line_with(&mut notes, "connecting again").await;
    let next = soon("the next note", notes.next_line()).await.unwrap();
    assert_eq!(next.as_deref(), Some("subscribed to a"));
    let second = soon("a process", pids.next_line()).await.unwrap().unwrap();
    assert_eq!(addresses(&mut log).await.0, address);
    trigger(&url).await;
    let received = soon("the event", subscriber.wait_with_output()).await;
    assert!(text(&received.unwrap().stdout).ends_with(" a b c\n"));
    kill("TERM", &second).await;
    assert!(soon("the end", systemd.wait()).await.unwrap().success());
}

/// The address that counts is that of the port, whoever opened it.
#[tokio::test]
async fn default_credentials_are_refused_on_a_public_port_of_systemd_too() {
    let script = ACTIVATION
        .replace("127.0.0.1", "0.0.0.0")
        .replace("range(2)", "range(1)");
    let mut systemd = Command::new("python3");
    systemd
        .args(["-c", &script, env!("CARGO_BIN_EXE_fanfare")])
        .args(["serve", "--metrics-port", "0"])
        .env_clear();

    let refused = output(&mut systemd).await;

    let told = text(&refused.stderr);
    assert!(
        told.contains("server.host = 0.0.0.0 is reachable from other machines"),
        "{told}"
    );
}

#[tokio::test]
async fn hang_up_reads_the_certificate_again_and_ends_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let write = || {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    };
    write();
    let file = ConfigFile::new(&format!(
        "[server]\ntls = {{ cert = {:?}, key = {:?} }}\n",
        path("cert.pem"),
        path("key.pem")
    ));
    let mut server = Server::with(&["--config", file.path()]).await;

    write();
    server.signal("HUP").await;
    line_about(&mut server.log, "certificate read again").await;
    std::fs::write(path("key.pem"), "nonsense").unwrap();
    server.signal("HUP").await;
    line_about(&mut server.log, "going on with the one from before").await;

    let mut plain = Server::start().await;
    plain.signal("HUP").await;
    line_about(&mut plain.log, "nothing to reload").await;
    for server in [&mut server, &mut plain] {
        server.signal("TERM").await;
        assert_eq!(server.exit_code().await, Some(0));
    }
}

#[tokio::test]
async fn a_server_without_descriptors_says_so_and_recovers() {
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -n 300 && exec \"$0\" \"$@\""])
        .args([env!("CARGO_BIN_EXE_fanfare"), "serve", "--port", "0"])
        .args(["--metrics-port", "0"])
        .env_clear()
        .env("FANFARE_LOG_LEVEL", "warn,fanfare=info")
        .kill_on_drop(true);
    let mut child = limited.stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    line_about(&mut log, "the limit of open files allows few connections").await;
    let (address, _) = addresses(&mut log).await;

    let mut strangers = Vec::new();
    for _ in 0..400 {
        strangers.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    line_about(&mut log, "cannot accept connections for the moment").await;
    drop(strangers);

    let url = format!("http://{address}");
    let listed = output(&mut fanfare(&["channels", "--url", &url])).await;
    assert_eq!(listed.status.code(), Some(0), "{}", text(&listed.stderr));
}

/// At the level that tells the most.
#[tokio::test]
async fn the_log_holds_no_secret_no_signature_and_nothing_of_what_was_sent() {
    let file = ConfigFile::new(
        "[log]\nlevel = \"trace\"\n[auth]\njwt_secret = \"jwt-secret\"\n[adapters.rooms]\nenabled = true\nwebhook_token = \"hook-token\"\n[[apps]]\nid = \"1\"\nkey = \"front-key\"\nsecret = \"back-secret\"\n",
    );
    let arguments = ["--config", file.path()];
    let mut server = Server::with(&arguments).await;
    let url = server.url();
    let run = |arguments: &[&str]| {
        let mut command = fanfare(arguments);
        command.args(["--url", &url, "--config", file.path()]);
        command
    };
    let mut subscriber = run(&["subscribe", "presence-a", "--count", "1", "--timeout", "30"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut notes = BufReader::new(subscriber.stderr.take().unwrap()).lines();
    line_with(&mut notes, "subscribed to").await;
    output(&mut run(&[
        "trigger",
        "presence-a",
        "order",
        "precious-data",
    ]))
    .await;
    soon("the event", subscriber.wait()).await.unwrap();
    output(&mut run(&[
        "trigger",
        "a",
        "b",
        "c",
        "--secret",
        "wrong-secret",
    ]))
    .await;
    output(&mut run(&[
        "subscribe",
        "private-a",
        "--secret",
        "wrong-secret",
    ]))
    .await;
    let claims = json!({"sub": "1", "phone": "precious-claim", "exp": 4_102_444_800u64});
    let jwt = token(&claims, "jwt-secret");
    let call =
        |token: &str| json!({"token": token, "call": {"phone": "precious-data"}}).to_string();
    for (path, bearer, body, status) in [
        (
            "/pusher/auth",
            &jwt,
            "socket_id=1.1&channel_name=private-all",
            200,
        ),
        (
            "/pusher/auth",
            &jwt,
            "socket_id=1.1&channel_name=private-directors",
            403,
        ),
        ("/pusher/auth", &token(&claims, "wrong-secret"), "", 401),
        ("/api/v1/broadcast/call-new", &jwt, &call("hook-token"), 200),
        (
            "/api/v1/broadcast/call-new",
            &jwt,
            &call("wrong-token"),
            401,
        ),
    ] {
        let answer = post(server.address, path, bearer, body).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    server.signal("TERM").await;

    let mut told = String::new();
    while let Some(line) = soon("the log", server.log.next_line()).await.unwrap() {
        told.push_str(&line);
        told.push('\n');
    }
    assert!(told.contains("\"level\":\"TRACE\"") && told.contains("stopped"));
    for precious in [
        "back-secret",
        "wrong-secret",
        "precious-data",
        "auth_signature",
        "jwt-secret",
        "precious-claim",
        "hook-token",
        "wrong-token",
        jwt.rsplit('.').next().unwrap(),
    ] {
        assert!(!told.contains(precious), "{precious} in the log:\n{told}");
    }
}

#[tokio::test]
async fn a_client_cannot_write_lines_into_the_log() {
    let file = ConfigFile::new("[log]\nlevel = \"debug\"\nformat = \"text\"\n");
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut serve = fanfare(&["serve", "--config", file.path(), "--metrics-port", "0"]);
    let mut server = serve
        .args(["--port", &port.to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
    line_with(&mut log, "listens").await;

    for request in [
        "GET /app/a%0Aforged%1B[31m?protocol=7 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        "GET /apps/app-id/channels?a%0Aforged=1&a%0Aforged=2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ] {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();

        let line = line_with(&mut log, "forged").await;

        assert!(line.contains("refused"), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }
}

/// A configuration file with a database of its own beside it.
fn with_database() -> ConfigFile {
    let file = ConfigFile::new("");
    let database = file.path.with_file_name("fanfare.db");
    let content = format!("[store]\nurl = \"sqlite://{}\"\n", database.display());
    std::fs::write(&file.path, content).unwrap();
    file
}

/// `fanfare app …`, which must succeed; returns what it prints.
async fn app(file: &ConfigFile, arguments: &[&str]) -> String {
    let arguments = [&["app", "--config", file.path()], arguments].concat();
    let output = output(&mut fanfare(&arguments)).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

#[tokio::test]
async fn an_app_is_created_with_lines_for_both_ends_and_its_secret_is_shown_once() {
    let file = with_database();

    let lines = app(
        &file,
        &["create", "--client-events", "--max-connections", "5"],
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

/// A back end that tells the bodies it is sent, and answers them with `status`;
/// with none it says nothing.
async fn back_end(listener: Arc<TcpListener>, status: Option<u16>, bodies: mpsc::Sender<String>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let bodies = bodies.clone();
        tokio::spawn(async move {
            let mut received = Vec::new();
            while stream.read_buf(&mut received).await.unwrap_or(0) > 0 {
                let request = String::from_utf8_lossy(&received).into_owned();
                let Some((head, body)) = request.split_once("\r\n\r\n") else {
                    continue;
                };
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("Content-Length: "));
                if length.is_none_or(|length| body.len() < length.parse().unwrap()) {
                    continue;
                }
                bodies.send(body.to_owned()).await.unwrap();
                received.clear();
                if let Some(status) = status {
                    let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
    }
}

#[tokio::test]
async fn a_killed_server_loses_no_webhook_that_it_had_accepted() {
    let file = with_database();
    // One port all the time: another test might take it in between.
    let port = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = port.local_addr().unwrap();
    let (sender, mut bodies) = mpsc::channel(16);
    let silent = tokio::spawn(back_end(Arc::clone(&port), None, sender.clone()));
    let hook = json!([{"url": format!("http://{address}/"), "events": ["channel_occupied"]}]);
    let create = [
        "create",
        "--id",
        "1",
        "--key",
        "k",
        "--webhooks",
        &hook.to_string(),
    ];
    app(&file, &create).await;
    let mut server = Server::with(&["--config", file.path()]).await;
    let url = server.url();
    let mut subscriber = fanfare(&["subscribe", "news", "--url", &url, "--app-id", "1"])
        .args(["--key", "k", "--secret", "unused"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let sent = soon("the webhook", bodies.recv()).await.unwrap();

    server.child.kill().await.unwrap();
    subscriber.kill().await.unwrap();
    silent.abort();
    assert!(silent.await.unwrap_err().is_cancelled());
    tokio::spawn(back_end(port, Some(200), sender));
    let _server = Server::with(&["--config", file.path()]).await;

    assert_eq!(
        soon("the webhook again", bodies.recv()).await.unwrap(),
        sent
    );
    let webhooks = async |arguments: &[&str]| {
        let arguments = [&["webhooks", "--config", file.path()], arguments].concat();
        let output = output(&mut fanfare(&arguments)).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    };
    let delivered = soon(
        "the log",
        Box::pin(async {
            loop {
                let log = webhooks(&["list", "--app", "1", "--state", "delivered", "--json"]).await;
                let log: Value = serde_json::from_str(&log).unwrap();
                if log[0].is_object() {
                    return log[0].clone();
                }
            }
        }),
    )
    .await;
    assert_eq!(delivered["body"], sent.as_str());
    assert_eq!(delivered["status"], 200);
    assert_eq!(delivered["attempts"], 1);

    // By hand it goes out once more, with a time that SDKs accept.
    let id = delivered["id"].as_str().unwrap();
    assert_eq!(webhooks(&["show", id]).await, sent);
    webhooks(&["redeliver", id]).await;
    let again = soon("the redelivery", bodies.recv()).await.unwrap();
    let (again, sent): (Value, Value) = (
        serde_json::from_str(&again).unwrap(),
        serde_json::from_str(&sent).unwrap(),
    );
    assert_eq!(again["events"], sent["events"]);
    assert!(again["time_ms"].as_u64() > sent["time_ms"].as_u64());
}

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

/// The program that starts a test server reads one line and ends; the server
/// must not stay.
#[tokio::test]
async fn a_test_server_says_where_it_is_and_ends_with_its_parent() {
    let mut parent = Command::new("sh")
        .args([
            "-c",
            "\"$0\" serve --test & wait",
            env!("CARGO_BIN_EXE_fanfare"),
        ])
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(parent.stdout.take().unwrap()).lines();
    let mut log = BufReader::new(parent.stderr.take().unwrap()).lines();
    let line = soon("the line for the parent", stdout.next_line()).await;
    let told: Value = serde_json::from_str(&line.unwrap().unwrap()).unwrap();
    assert_eq!(told["host"], "127.0.0.1");
    assert_eq!(told["app_id"], "app-id");
    assert_eq!(
        (&told["key"], &told["secret"]),
        (&json!("app-key"), &json!("app-secret"))
    );
    let address = format!("127.0.0.1:{}", told["port"]);
    tokio::net::TcpStream::connect(&address).await.unwrap();

    parent.kill().await.unwrap();

    line_about(&mut log, "stopped").await;
    assert!(tokio::net::TcpStream::connect(&address).await.is_err());
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

/// The answer to a request with a JWT.
async fn post(address: SocketAddr, path: &str, bearer: &str, body: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {bearer}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer))
        .await
        .unwrap();
    answer
}

/// A token whose signature HMAC-SHA256 makes of `secret`.
fn token(claims: &Value, secret: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&json!({"alg": "HS256"})), part(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, text.as_bytes()));
    format!("{text}.{signature}")
}

const RULES: &str = "[auth]\nenabled = true\n[[auth.rules]]\nroom = \"operators\"\nallow = [{ roles = [\"operator\"] }]\n[[auth.rules]]\nroom = \"operator:*\"\nallow = [{ roles = [\"director\"] }, { own_segment = 1 }]\n";

#[tokio::test]
async fn no_secret_no_start() {
    let file = ConfigFile::new(RULES);
    for secret in [None, Some(("JWT_SECRET", ""))] {
        let mut serve = fanfare(&["serve", "--port", "0", "--metrics-port", "0"]);
        serve.args(["--config", file.path()]).envs(secret);

        let refused = output(&mut serve).await;

        assert_eq!(refused.status.code(), Some(2));
        assert_eq!(
            text(&refused.stderr),
            "fanfare: auth.jwt_secret is missing: expected the secret that your tokens are signed with; set JWT_SECRET, or auth.algorithms and auth.jwks_url for RS256 and ES256\n"
        );
    }
    let mut check = fanfare(&["check-config", "--config", file.path()]);
    let checked = output(check.env("JWT_SECRET", "precious")).await;
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    assert!(!text(&checked.stdout).contains("precious"));
    assert!(text(&checked.stdout).contains("jwt_secret = \"..\""));
}

/// The names are so common that they belong to somebody else otherwise.
#[tokio::test]
async fn names_of_the_old_call_centre_count_where_it_is_served() {
    let names = [
        ("PORT", "5009"),
        ("WEBHOOK_TOKEN", "precious-token"),
        ("JWT_SECRET", "precious-secret"),
        ("CORS_ORIGIN", "http://localhost:3000,https://desk.example"),
        ("REDIS_HOST", "redis"),
        ("REDIS_PORT", "6380"),
        ("REDIS_PASSWORD", "precious@word"),
    ];
    let without = output(fanfare(&["check-config"]).envs(names)).await;
    let file = ConfigFile::new("[adapters.rooms]\nenabled = true\n");
    let with_file = output(fanfare(&["check-config", "--config", file.path()]).envs(names)).await;
    let mut check = fanfare(&["check-config"]);
    check
        .envs(names)
        .env("FANFARE_ADAPTERS_ROOMS_ENABLED", "true");
    let with_variable = output(&mut check).await;

    let config: toml::Table = text(&without.stdout).parse().unwrap();
    assert!(config["adapters"]["rooms"].get("port").is_none());
    assert!(config["engine"].get("url").is_none());
    for checked in [with_file, with_variable] {
        let printed = text(&checked.stdout);
        assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
        let config: toml::Table = printed.parse().unwrap();
        let rooms = &config["adapters"]["rooms"];
        assert_eq!(rooms["port"].as_integer(), Some(5009));
        assert_eq!(rooms["webhook_token"].as_str(), Some(".."));
        let url = config["engine"]["url"].as_str().unwrap();
        assert!(url.ends_with("@redis:6380"), "{url}");
        let origins = &config["apps"][0]["allowed_origins"];
        assert_eq!(origins.as_array().unwrap().len(), 2);
        assert!(
            printed.contains("#   REDIS_HOST sets engine.url\n"),
            "{printed}"
        );
        assert!(!printed.contains("precious"), "{printed}");
    }
}

#[tokio::test]
async fn auth_check_explains_a_decision_rule_by_rule() {
    let file = ConfigFile::new(RULES);
    let claims = json!({"sub": 7, "role": "operator", "exp": 4_102_444_800u64});
    let valid = token(&claims, "precious");
    let forged = token(&claims, "guessed");
    for (token, arguments, code, expected) in [
        (
            &valid,
            ["--room", "operator:7"],
            0,
            "channel private-operator;7 is the room operator:7\n\
             the token is valid: user \"7\", roles [\"operator\"]\n\
             rule 2 (operator:*) fits and decides\n\
             \x20 alternative 1: roles [\"operator\"] against [\"director\"]: no\n\
             \x20 alternative 2: user id \"7\" against segment \"7\": yes\n\
             allowed\n",
        ),
        (
            &valid,
            ["--channel", "private-operator;8"],
            1,
            "fanfare: refused (403)",
        ),
        (
            &valid,
            ["--channel", "private-anything"],
            1,
            "none of 2 rules fits: refused",
        ),
        (
            &valid,
            ["--channel", "private-=b3BlcmF0b3I;7"],
            1,
            "not the canonical name of a room",
        ),
        (
            &forged,
            ["--channel", "private-operators"],
            1,
            "fanfare: refused (401): the token's signature is wrong",
        ),
    ] {
        let mut check = fanfare(&["auth-check", "--config", file.path(), "--token", "-"]);
        check.args(arguments).env("JWT_SECRET", "precious");
        let mut child = check
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        // One that refuses before it reads has ended by now.
        let _ = input.write_all(token.as_bytes()).await;
        drop(input);
        let done = soon("the end of the command", child.wait_with_output())
            .await
            .unwrap();

        let told = format!("{}{}", text(&done.stdout), text(&done.stderr));
        assert!(told.contains(expected), "{told}");
        assert_eq!(done.status.code(), Some(code), "{told}");
        assert!(!told.contains(token.as_str()));
    }
}
