//! Starting, stopping and replacing the server's process.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::support::{
    ConfigFile, Server, addresses, fanfare, kill, line_about, line_with, output, soon, subscriber,
    text, trigger,
};

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
