//! The load generator against the floor and against the server: small and
//! bounded. A server that delivers wrongly must be noticed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const LOADTEST: &str = env!("CARGO_BIN_EXE_fanfare-loadtest");

/// A server that ends with its test.
struct Server {
    process: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts a program that says where it listens, with `before` in front of it.
fn start(program: &Path, arguments: &[&str], before: &str) -> Server {
    start_with(program, arguments, &[], before)
}

fn start_with(
    program: &Path,
    arguments: &[&str],
    variables: &[(&str, &Path)],
    before: &str,
) -> Server {
    let mut process = Command::new(program)
        .args(arguments)
        // Nothing else of the environment configures the server.
        .env_clear()
        .envs(variables.iter().copied())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let errors = process.stderr.take().unwrap();
    let mut lines = BufReader::new(errors).lines();
    let mut said = Vec::new();
    let address = loop {
        let Some(line) = lines.next() else {
            panic!(
                "{} does not say where it listens: {said:?}",
                program.display()
            );
        };
        let line = line.unwrap();
        if let Some((_, rest)) = line.split_once(before) {
            break rest.split('"').next().unwrap().to_owned();
        }
        said.push(line);
    };
    // Whoever writes to a pipe that nobody reads is stopped by it.
    std::thread::spawn(move || lines.for_each(drop));
    Server { process, address }
}

fn floor(faulty: &[&str]) -> Server {
    let arguments = [&["floor", "--port", "0"], faulty].concat();
    start(Path::new(LOADTEST), &arguments, "listens on ")
}

/// The server, which the workspace builds beside this test.
fn fanfare() -> Server {
    fanfare_with(&[])
}

fn fanfare_with(variables: &[(&str, &Path)]) -> Server {
    configured("fanfare.toml", variables)
}

fn configured(file: &str, variables: &[(&str, &Path)]) -> Server {
    let config = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
    let arguments = [
        "serve",
        "--config",
        &config,
        "--port",
        "0",
        "--metrics-port",
        "0",
    ];
    start_with(&fanfare_program(), &arguments, variables, r#""address":""#)
}

fn fanfare_program() -> PathBuf {
    let program = Path::new(LOADTEST).with_file_name("fanfare");
    assert!(program.exists(), "run cargo build first");
    program
}

fn load(server: &Server, arguments: &[&str]) -> Output {
    let pid = server.process.id().to_string();
    Command::new(LOADTEST)
        .args(arguments)
        .args(["--address", &server.address, "--pid", &pid])
        .output()
        .unwrap()
}

fn every_scenario_passes(server: &Server) {
    for (arguments, figure) in [
        (
            "fanout --subscribers 100 --messages 50",
            "server CPU per delivery",
        ),
        (
            "fanout --subscribers 100 --messages 200 --under-way 64",
            "server CPU per delivery",
        ),
        (
            "channels --subscribers 40 --channels 10 --messages 200 --under-way 64",
            "server CPU per message",
        ),
        (
            "latency --subscribers 50 --idle 20 --messages 50 --rate 200",
            "latency p99",
        ),
        ("trigger --requests 200", "server CPU per request"),
        (
            "batch --subscribers 0 --requests 20 --events 10",
            "server CPU per event",
        ),
        (
            "batch --subscribers 20 --requests 20 --events 10",
            "server CPU per delivery",
        ),
        (
            "connect --connections 100 --at-once 100 --channels 3",
            "server CPU per subscription",
        ),
        ("presence --members 30", "server CPU per join event"),
        (
            "client-events --subscribers 60 --channels 20 --messages 200",
            "server CPU per delivery",
        ),
    ] {
        let arguments: Vec<&str> = arguments.split(' ').collect();

        let output = load(server, &arguments);

        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        assert!(text.contains(figure), "{arguments:?}: {text}");
        assert!(text.contains("this program's CPU"), "{arguments:?}: {text}");
        assert_eq!(errors, "", "a bar is for terminals");
    }
}

#[test]
fn the_floor_delivers_everything() {
    every_scenario_passes(&floor(&[]));
}

#[test]
fn fanfare_delivers_everything() {
    every_scenario_passes(&fanfare());
}

#[test]
fn sessions_get_all_that_they_have_missed() {
    let server = configured("history.toml", &[]);
    for missed in ["0", "250"] {
        let arguments = ["resume", "--connections", "30", "--missed", missed];

        let output = load(&server, &arguments);

        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        assert!(text.contains("server CPU per resume"), "{text}");
        assert_eq!(
            text.contains("server CPU per replayed event"),
            missed != "0"
        );
    }
    let without = load(&fanfare(), &["resume", "--connections", "1"]);
    assert_eq!(without.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&without.stderr);
    assert!(errors.contains("must keep the past"), "{errors}");
}

/// All attacks at the same time: whoever does nothing wrong gets every event, in order.
#[test]
fn no_attack_keeps_events_from_others() {
    let server = configured("hostile.toml", &[]);
    let attacks = [
        "slow-head",
        "slow-body",
        "slow-frame",
        "half-open",
        "one-byte-frames",
        "pings",
        "subscriptions",
        "names",
        "presence",
        "client-events",
        "never-read",
        "compression",
        "oversized",
    ];
    let run = |attack: &'static str| {
        let server = &server;
        move || {
            let arguments = ["hostile", "--attack", attack, "--attackers", "4"];
            load(server, &[&arguments[..], &["--seconds", "1"]].concat())
        }
    };
    std::thread::scope(|scope| {
        let runs: Vec<_> = attacks
            .into_iter()
            .map(|attack| (attack, scope.spawn(run(attack))))
            .collect();
        for (attack, run) in runs {
            let output = run.join().unwrap();

            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{attack}: {errors}");
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains("memory per attacker"), "{attack}: {text}");
        }
    });
}

/// With an authority that only this test knows.
#[test]
fn fanfare_delivers_everything_over_tls() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tls");
    let made = Command::new(fanfare_program())
        .args(["certs", "--name", "127.0.0.1", "--out"])
        .arg(&folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let server = fanfare_with(&[
        ("FANFARE_SERVER_TLS_CERT", &cert),
        ("FANFARE_SERVER_TLS_KEY", &key),
    ]);
    let ca = folder.join("ca.pem");
    let arguments = ["fanout", "--subscribers", "20", "--messages", "20", "--ca"];

    let output = load(&server, &[&arguments[..], &[ca.to_str().unwrap()]].concat());
    let without = load(&server, &["connect", "--connections", "1"]);

    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(without.status.code(), Some(1));
}

#[test]
fn broadcasts_are_posted_at_a_rate() {
    let server = fanfare_with(&[
        ("FANFARE_ADAPTERS_ROOMS_ENABLED", Path::new("true")),
        (
            "FANFARE_ADAPTERS_ROOMS_WEBHOOK_TOKEN",
            Path::new("loadtest-token"),
        ),
        (
            "FANFARE_AUTH_JWT_SECRET",
            Path::new("of no use here, but there must be one"),
        ),
    ]);
    let arguments = ["broadcasts", "--requests", "100"];

    let output = load(&server, &arguments);
    let refused = load(&server, &[&arguments[..], &["--token", "another"]].concat());

    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(text.contains("share of one processor"), "{text}");
    assert_eq!(refused.status.code(), Some(1));
}

/// All at the same time, in an order of their own.
#[test]
fn a_storm_of_joins_is_told_to_all_in_one_order() {
    for server in [floor(&[]), fanfare()] {
        let output = load(&server, &["presence", "--members", "60", "--at-once", "60"]);

        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
    }
}

/// Each scenario that checks deliveries has to find each fault.
#[test]
fn wrong_deliveries_are_noticed() {
    let wrong_content = "a message holds something else than what was sent";
    for (fault, arguments, message) in [
        (
            "duplicate",
            "fanout --subscribers 10 --messages 50 --under-way 50",
            "message 0 came where 1 was due",
        ),
        (
            "duplicate",
            "fanout --subscribers 10 --messages 1",
            "where nothing more was due",
        ),
        (
            "reorder",
            "fanout --subscribers 10 --messages 50 --under-way 50",
            "message 1 came where 0 was due",
        ),
        (
            "damage",
            "fanout --subscribers 10 --messages 50 --under-way 50",
            wrong_content,
        ),
        (
            "duplicate",
            "channels --subscribers 10 --channels 5 --messages 50",
            "message 0 came where 5 was due",
        ),
        (
            "reorder",
            "latency --subscribers 10 --messages 20 --rate 1000",
            "message 1 came where 0 was due",
        ),
        (
            "reorder",
            "batch --subscribers 10 --requests 2",
            "message 1 came where 0 was due",
        ),
        (
            "damage",
            "batch --subscribers 10 --requests 2",
            wrong_content,
        ),
        (
            "duplicate",
            "client-events --subscribers 6 --channels 2 --messages 10",
            "message 0 came where 2 was due",
        ),
        (
            "damage",
            "client-events --subscribers 6 --channels 2 --messages 10",
            wrong_content,
        ),
        ("reorder", "presence --members 3", "in another order"),
        (
            "duplicate",
            "presence --members 5",
            "where nothing more was due",
        ),
        (
            "duplicate",
            "presence --members 2",
            "where nothing more was due",
        ),
    ] {
        let server = floor(&["--faulty", fault]);
        let arguments: Vec<&str> = arguments.split(' ').collect();

        let output = load(&server, &arguments);

        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{fault} {arguments:?}");
        assert!(errors.contains(message), "{fault} {arguments:?}: {errors}");
    }
}

#[test]
fn missing_deliveries_are_noticed() {
    for (arguments, message) in [
        (
            "fanout --subscribers 10 --messages 5 --under-way 5 --stalled 1",
            "5 of 50 deliveries are missing",
        ),
        (
            "batch --subscribers 10 --requests 1 --events 5 --stalled 1",
            "5 of 50 deliveries are missing",
        ),
        (
            "client-events --subscribers 6 --channels 2 --messages 2 --stalled 1",
            "2 of 4 deliveries are missing",
        ),
        (
            "presence --members 5 --stalled 1",
            "4 of 10 deliveries are missing",
        ),
    ] {
        let server = floor(&["--faulty", "drop"]);
        let arguments: Vec<&str> = arguments.split(' ').collect();

        let output = load(&server, &arguments);

        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(errors.contains(message), "{arguments:?}: {errors}");
    }
}

#[test]
fn figures_come_as_json_and_as_a_page() {
    let server = floor(&[]);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let page = folder.join("report.html");
    let page = page.to_str().unwrap();

    let output = load(
        &server,
        &[
            "fanout",
            "--subscribers",
            "10",
            "--messages",
            "20",
            "--json",
            "--report",
            page,
        ],
    );

    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["scenario"], "fanout");
    assert_eq!(report["figures"][0]["value"], 200.0);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<td>deliveries, all checked<td class=\"number\">200.00"));
    assert!(page.contains("<polyline"), "{page}");
    assert!(!page.contains("http"), "nothing comes from elsewhere");
}
