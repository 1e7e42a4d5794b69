//! The chat without its broker.

use tokio::net::TcpListener;

use super::support::{ConfigFile, Server, fanfare, line_about, output, text};

/// C-48: the words that operators look for, and no password among them.
#[tokio::test]
async fn c3_broker_absent_at_start() {
    // A port on which nobody listens any more.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let file = ConfigFile::new(&format!(
        "[log]\nlevel = \"trace\"\n[auth]\njwt_secret = \"s\"\n[adapters.chat]\nenabled = true\nurl = \"amqp://me:precious@{address}/\"\n"
    ));
    let mut server = Server::with(&["--config", file.path()]).await;

    let line = line_about(&mut server.log, "RabbitMQ").await;

    assert_eq!(
        line["message"],
        "Failed to connect to RabbitMQ. Updates will not be available."
    );
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["broker"], address.to_string());
    assert!(!line.to_string().contains("precious"), "{line}");
    let reason = line["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("the broker cannot be reached:"),
        "{reason}"
    );
    server.signal("TERM").await;
    line_about(&mut server.log, "stopped").await;
    assert_eq!(server.exit_code().await, Some(0));
}

/// C-36 and C-37, by the names that the chat's back end has.
#[tokio::test]
async fn names_of_the_old_back_end_count_where_the_chat_is_on() {
    let url = "amqp://rmuser:rmpassword@localhost:5672/";
    let checked = async |is_on: &str| {
        let mut command = fanfare(&["check-config"]);
        command
            .env("FANFARE_ADAPTERS_CHAT_ENABLED", is_on)
            .env("JWT_SECRET", "s")
            .env("RABBITMQ_URL", url)
            .env("RABBITMQ_UPDATES_EXCHANGE", "chat_updates")
            .env("CHAT3_BINDINGS", "user.{userId}.*,user.{type}.{userId}.*");
        text(&output(&mut command).await.stdout).to_owned()
    };

    let on = checked("true").await;
    let off = checked("false").await;

    for expected in [
        "url = \"amqp://rmuser:..@localhost:5672/\"",
        "exchange = \"chat_updates\"",
        "\"user.{type}.{userId}.*\"",
    ] {
        assert!(on.contains(expected), "{on}");
        assert!(!off.contains(expected), "{off}");
    }
    assert!(!on.contains("rmpassword"), "{on}");
}
