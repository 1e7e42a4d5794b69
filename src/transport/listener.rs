//! Accepts connections and speaks HTTP/1.1 on them.
//!
//! What a request means is decided by the handler it is given; this module only
//! sees to it that a client that is slow, silent or gone costs next to nothing.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::tls::Certificates;
use crate::http::{Cut, Handler, Peer};

/// Connections that the kernel holds until they are accepted: a deploy brings
/// all clients back at once.
const BACKLOG: i32 = 4_096;

/// Head of a request, and what a body read takes at a time.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// Silence between two requests after which a connection is closed. Longer than
/// the time that load balancers and HTTP agents keep one.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Pause after an accept that failed because the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How connections are accepted.
#[derive(Clone, Debug)]
pub struct ListenerSettings {
    /// Time for a TLS handshake and for the head of the first request.
    pub request_header_timeout: Duration,
    /// Proxies whose `X-Forwarded-Proto` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// A port that is open already, but accepts nothing yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    certificates: Option<Arc<Certificates>>,
    settings: Arc<ListenerSettings>,
}

impl Listener {
    /// Opens the port; 0 lets the system choose one.
    ///
    /// # Errors
    /// The address is in use or not this machine's.
    pub fn bind(
        address: SocketAddr,
        certificates: Option<Arc<Certificates>>,
        settings: ListenerSettings,
    ) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        // A restart must not wait for the last connections to time out.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Self {
            socket: TcpListener::from_std(socket.into())?,
            certificates,
            settings: Arc::new(settings),
        })
    }

    /// Where the port is.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts until `stop`, then closes the port. Connections that exist finish
    /// their request after `finish`, in tasks of `tasks`.
    pub async fn run<H: Handler>(
        self,
        handler: Arc<H>,
        stop: CancellationToken,
        finish: CancellationToken,
        tasks: TaskTracker,
    ) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    let connection = HttpConnection {
                        handler: Arc::clone(&handler),
                        settings: Arc::clone(&self.settings),
                        address,
                        finish: finish.clone(),
                    };
                    tasks.spawn(connection.accept(stream, self.certificates.clone()));
                }
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections for the moment; is the limit of open files too low?");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Whether the connection failed, rather than the port.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// One connection while it speaks HTTP.
struct HttpConnection<H> {
    handler: Arc<H>,
    settings: Arc<ListenerSettings>,
    address: SocketAddr,
    finish: CancellationToken,
}

impl<H: Handler> HttpConnection<H> {
    async fn accept(self, stream: TcpStream, certificates: Option<Arc<Certificates>>) {
        // Frames are small and must not wait for company. A socket that refuses
        // the option is already gone.
        let _ = stream.set_nodelay(true);
        let Some(certificates) = certificates else {
            return self.serve(stream, false).await;
        };
        let handshake = certificates.acceptor().accept(stream);
        match tokio::time::timeout(self.settings.request_header_timeout, handshake).await {
            Ok(Ok(stream)) => self.serve(stream, true).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake took too long"),
        }
    }

    async fn serve<S>(self, stream: S, is_tls: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let has_request = Arc::new(AtomicBool::new(false));
        let cut = Cut::default();
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(cut.clone());
            has_request.store(true, Ordering::Relaxed);
            let peer = Peer {
                is_secure: is_tls || self.is_forwarded_secure(request.headers()),
                address: self.client_address(request.headers()),
            };
            let answer = Arc::clone(&self.handler).handle(request, peer);
            async { Ok::<_, Infallible>(answer.await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(KEEP_ALIVE)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let mut first_head =
            std::pin::pin!(tokio::time::sleep(self.settings.request_header_timeout));
        let mut is_finishing = false;
        let mut is_late = false;
        let outcome = loop {
            tokio::select! {
                outcome = connection.as_mut() => break outcome,
                () = cut.0.cancelled() => {
                    tracing::debug!("HTTP connection cut");
                    return;
                }
                () = self.finish.cancelled(), if !is_finishing => {
                    is_finishing = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = first_head.as_mut(), if !is_late => {
                    is_late = true;
                    if !has_request.load(Ordering::Relaxed) {
                        tracing::debug!("no request came in time");
                        return;
                    }
                }
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "HTTP connection ended");
        }
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let trusted = &self.settings.trusted_proxies;
        trusted.iter().any(|proxies| proxies.contains(&address))
    }

    /// The last address on the way here that is not a proxy of ours: what stands
    /// before it in `X-Forwarded-For` may be anybody's invention.
    fn client_address(&self, headers: &HeaderMap) -> IpAddr {
        let mut client = self.address.ip().to_canonical();
        let forwarded = headers.get_all("x-forwarded-for").into_iter();
        let hops: Vec<&str> = forwarded
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        for hop in hops.into_iter().rev() {
            if !self.is_trusted(client) {
                break;
            }
            let Ok(address) = hop.trim().parse::<IpAddr>() else {
                break;
            };
            client = address.to_canonical();
        }
        client
    }

    fn is_forwarded_secure(&self, headers: &HeaderMap) -> bool {
        if !self.is_trusted(self.address.ip()) {
            return false;
        }
        // The first of several is what the client itself used.
        headers
            .get("x-forwarded-proto")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(',').next())
            .is_some_and(|scheme| matches!(scheme.trim(), "https" | "wss"))
    }
}
