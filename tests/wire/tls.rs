//! TLS in the process: certificates from files, replaced without a restart.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use fanfare::config::{CertificateConfig, TlsConfig};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::support::{Client, TestServer, soon, target};

/// Writes a new certificate for `localhost` and returns it.
pub(crate) fn write_certificate(directory: &Path) -> CertificateDer<'static> {
    write_certificate_for(
        "localhost",
        &directory.join("cert.pem"),
        &directory.join("key.pem"),
    )
}

fn write_certificate_for(name: &str, cert_file: &Path, key_file: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    std::fs::write(cert_file, cert.pem()).unwrap();
    std::fs::write(key_file, signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

fn trusting(trusted: &CertificateDer<'static>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

pub(crate) async fn connect(
    server: &TestServer,
    trusted: &CertificateDer<'static>,
) -> std::io::Result<Box<TlsStream<TcpStream>>> {
    let config = trusting(trusted);
    connect_as(
        server.tls_address.unwrap_or(server.address),
        "localhost",
        config,
    )
    .await
}

async fn connect_as(
    address: SocketAddr,
    name: &'static str,
    config: ClientConfig,
) -> std::io::Result<Box<TlsStream<TcpStream>>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name).unwrap();
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    Box::pin(connecting).await.map(Box::new)
}

async fn client(
    server: &TestServer,
    trusted: &CertificateDer<'static>,
) -> Client<Box<TlsStream<TcpStream>>> {
    let stream = connect(server, trusted).await.unwrap();
    let (mut client, _head) = Client::upgrade(stream, &target(), "").await;
    client.establish().await;
    client
}

async fn server(directory: &Path) -> TestServer {
    let files = TlsConfig::new(directory.join("cert.pem"), directory.join("key.pem"));
    TestServer::with(|config| {
        config.server.tls = Some(files);
        config.apps[0].tls_only = true;
        config.apps[0].limits.client_events_per_second = 1_000;
    })
    .await
}

/// 13, with TLS in the process.
#[tokio::test]
async fn events_go_over_tls_in_both_directions() {
    let directory = tempfile::tempdir().unwrap();
    let trusted = write_certificate(directory.path());
    let server = server(directory.path()).await;
    let mut one = client(&server, &trusted).await;
    let mut two = client(&server, &trusted).await;
    one.subscribe_private("private-x").await;
    two.subscribe_private("private-x").await;
    for length in [1, 1_000, 10_000] {
        let data = "x".repeat(length);

        one.send(&json!({"event": "client-x", "channel": "private-x", "data": data}))
            .await;

        assert_eq!(two.next().await["data"], data);
    }
    two.send_frame(super::support::CLOSE, &[]).await;
    assert_eq!(two.closed().await, (1000, String::new()));
    assert_eq!(two.next_frame().await, None);
}

#[tokio::test]
async fn a_slow_reader_over_tls_gets_everything_that_fits() {
    let directory = tempfile::tempdir().unwrap();
    let trusted = write_certificate(directory.path());
    let server = server(directory.path()).await;
    let mut slow = client(&server, &trusted).await;
    let mut sender = client(&server, &trusted).await;
    slow.subscribe_private("private-x").await;
    sender.subscribe_private("private-x").await;
    let data = "x".repeat(10_000);

    // 600 kB: more than a socket takes at once, less than the outbox.
    for number in 0..60 {
        sender
            .send(
                &json!({"event": format!("client-{number}"), "channel": "private-x", "data": data}),
            )
            .await;
    }

    for number in 0..60 {
        assert_eq!(slow.next().await["event"], format!("client-{number}"));
    }
}

#[tokio::test]
async fn a_new_certificate_is_used_without_dropping_anybody() {
    let directory = tempfile::tempdir().unwrap();
    let old = write_certificate(directory.path());
    let server = server(directory.path()).await;
    let mut before = client(&server, &old).await;

    let new = write_certificate(directory.path());
    server.certificates().unwrap().reload().unwrap();

    let mut after = client(&server, &new).await;
    after.receives_nothing_before_pong().await;
    before.receives_nothing_before_pong().await;
    assert!(connect(&server, &old).await.is_err());

    std::fs::write(directory.path().join("key.pem"), "nonsense").unwrap();
    let error = server.certificates().unwrap().reload().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("expected a PEM file with a private key"),
        "{error}"
    );
    client(&server, &new).await;
}

#[tokio::test]
async fn a_plain_client_on_a_tls_port_is_turned_away() {
    let directory = tempfile::tempdir().unwrap();
    write_certificate(directory.path());
    let server = server(directory.path()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();

    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();

    let mut answer = Vec::new();
    // An alert, then the end; possibly a reset.
    let _ = soon(
        "the end",
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer),
    )
    .await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn a_client_gets_the_certificate_for_the_name_that_it_asks_for() {
    let directory = tempfile::tempdir().unwrap();
    let own = write_certificate(directory.path());
    let (cert, key) = (
        directory.path().join("cert2.pem"),
        directory.path().join("key2.pem"),
    );
    let pusher = write_certificate_for("ws-eu.pusher.com", &cert, &key);
    let mut tls = TlsConfig::new(
        directory.path().join("cert.pem"),
        directory.path().join("key.pem"),
    );
    tls.also = vec![CertificateConfig { cert, key }];
    let server = TestServer::with(|config| config.server.tls = Some(tls)).await;

    for (name, trusted, is_trusted) in [
        ("localhost", &own, true),
        ("ws-eu.pusher.com", &pusher, true),
        ("ws-eu.pusher.com", &own, false),
        // A name that nothing covers gets the first, and no client believes it.
        ("elsewhere.example", &own, false),
        ("elsewhere.example", &pusher, false),
    ] {
        let connected = connect_as(server.address, name, trusting(trusted)).await;

        assert_eq!(connected.is_ok(), is_trusted, "{name}");
    }
}

#[tokio::test]
async fn tls_can_have_a_port_of_its_own_beside_the_plain_one() {
    let directory = tempfile::tempdir().unwrap();
    let trusted = write_certificate(directory.path());
    let mut tls = TlsConfig::new(
        directory.path().join("cert.pem"),
        directory.path().join("key.pem"),
    );
    tls.port = Some(0);
    let server = TestServer::with(|config| config.server.tls = Some(tls)).await;
    let mut secure = client(&server, &trusted).await;
    secure.subscribe("news").await;
    let mut plain = server.subscriber("news").await;

    server.trigger("news", "e", "1").await;

    assert_eq!(secure.next().await["data"], "1");
    assert_eq!(plain.next().await["data"], "1");
}
