//! A network between a node and its Redis or RabbitMQ that can fail.
//!
//! No byte is lost while the connection stands, as TCP would have it: a network
//! that swallows packets is one that keeps them back.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What is wrong with the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Every byte waits this long.
    Delay(Duration),
    /// Connections are ended, and new ones too.
    Cut,
    /// Nothing comes through in either direction, and nobody says so.
    Blackhole,
    /// What the server answers does not come back.
    HalfOpen,
}

impl Fault {
    fn holds(self, is_answer: bool) -> bool {
        self == Self::Blackhole || (self == Self::HalfOpen && is_answer)
    }
}

/// Listens on loopback until it is dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    fault: watch::Sender<Fault>,
}

impl Proxy {
    /// To a port on loopback.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (fault, faults) = watch::channel(Fault::None);
        tokio::spawn(async move {
            let mut end = faults.clone();
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    () = ended(&mut end) => return,
                };
                tokio::spawn(forward(stream, port, faults.clone()));
            }
        });
        Self { address, fault }
    }

    pub(crate) fn redis_url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

/// The proxy was dropped.
async fn ended(faults: &mut watch::Receiver<Fault>) {
    while faults.changed().await.is_ok() {}
}

async fn forward(client: TcpStream, port: u16, faults: watch::Receiver<Fault>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    let mut cut = faults.clone();
    tokio::select! {
        () = pump(client_reads, server_writes, false, faults.clone()) => {}
        () = pump(server_reads, client_writes, true, faults) => {}
        _ = cut.wait_for(|fault| *fault == Fault::Cut) => {}
    }
}

/// Until the end of the stream, or of the proxy.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    is_answer: bool,
    mut faults: watch::Receiver<Fault>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            return;
        }
        let fault = *faults.borrow();
        if let Fault::Delay(delay) = fault {
            tokio::time::sleep(delay).await;
        }
        let passes = faults
            .wait_for(|fault| !fault.holds(is_answer))
            .await
            .is_ok();
        if !passes || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
