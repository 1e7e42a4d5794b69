//! The load generator against the floor and against the server: small and
//! bounded. A server that delivers wrongly must be noticed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::path::Path;
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
    let mut process = Command::new(program)
        .args(arguments)
        // Nothing of the environment configures the server.
        .env_clear()
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
    let program = Path::new(LOADTEST).with_file_name("fanfare");
    assert!(program.exists(), "run cargo build first");
    let arguments = ["serve", "--port", "0", "--metrics-port", "0"];
    start(&program, &arguments, r#""address":""#)
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
            &["fanout", "--subscribers", "100", "--messages", "50"][..],
            "server CPU per delivery",
        ),
        (
            &[
                "fanout",
                "--subscribers",
                "100",
                "--messages",
                "200",
                "--under-way",
                "64",
            ],
            "server CPU per delivery",
        ),
        (
            &[
                "fanout",
                "--subscribers",
                "40",
                "--channels",
                "10",
                "--messages",
                "200",
                "--under-way",
                "64",
            ],
            "server CPU per message",
        ),
        (
            &[
                "fanout",
                "--subscribers",
                "50",
                "--messages",
                "50",
                "--rate",
                "200",
                "--under-way",
                "50",
            ],
            "latency p99",
        ),
        (&["trigger", "--requests", "200"], "server CPU per request"),
        (
            &["trigger", "--requests", "20", "--batch", "10"],
            "server CPU per event",
        ),
        (
            &["connect", "--connections", "100"],
            "server CPU per connection",
        ),
    ] {
        let output = load(server, arguments);

        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        assert!(text.contains(figure), "{arguments:?}: {text}");
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
fn wrong_deliveries_are_noticed() {
    for (fault, message) in [
        ("duplicate", "message 0 came where 1 was due"),
        ("reorder", "message 1 came where 0 was due"),
        (
            "damage",
            "a message holds something else than what was sent",
        ),
    ] {
        let server = floor(&["--faulty", fault]);

        let output = load(
            &server,
            &[
                "fanout",
                "--subscribers",
                "10",
                "--messages",
                "50",
                "--under-way",
                "50",
            ],
        );

        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{fault}");
        assert!(errors.contains(message), "{fault}: {errors}");
    }
}

#[test]
fn missing_deliveries_are_noticed() {
    let server = floor(&["--faulty", "drop"]);

    let output = load(
        &server,
        &[
            "fanout",
            "--subscribers",
            "10",
            "--messages",
            "5",
            "--under-way",
            "5",
            "--stalled",
            "1",
        ],
    );

    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors.contains("5 of 50 deliveries are missing"),
        "{errors}"
    );
}
