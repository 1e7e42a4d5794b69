//! Accepts connections and speaks HTTP/1.1 on them.
//!
//! What a request means is decided by the handler it is given; this module only
//! sees to it that a client that is slow, silent or gone costs next to nothing.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::tls::Certificates;
use crate::http::{Answer, AnswerBody, Cut, Handler, Peer, text_answer};

/// Connections that the kernel holds until they are accepted: a deploy brings
/// all clients back at once.
const BACKLOG: u16 = 4_096;

/// Head of a request, and what a body read takes at a time.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// Silence between two requests after which a connection is closed. Longer than
/// the time that load balancers and HTTP agents keep one.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Pause after an accept that failed because the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often the log tells that nothing can be accepted.
const ACCEPT_WARNING: Duration = Duration::from_secs(10);

/// How connections are accepted.
#[derive(Clone, Debug)]
pub struct ListenerSettings {
    /// Time for a TLS handshake and for the head of the first request.
    pub request_header_timeout: Duration,
    /// Time in which a connection must bring a further request. Idle ones are
    /// closed before; this is for clients that do not take their answers.
    pub answer_timeout: Duration,
    /// Proxies whose `X-Forwarded-Proto` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether other processes may listen on the same port.
    pub reuse_port: bool,
}

/// A port that is open already, but accepts nothing yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    /// Whether somebody else has opened the port, and keeps it open.
    is_lent: bool,
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
        if settings.reuse_port {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG.into())?;
        let mut listener = Self::on(socket.into(), certificates, settings)?;
        listener.is_lent = false;
        Ok(listener)
    }

    /// Takes over a port that somebody else has opened, such as systemd.
    ///
    /// # Errors
    /// It is no socket that listens.
    pub fn on(
        socket: std::net::TcpListener,
        certificates: Option<Arc<Certificates>>,
        settings: ListenerSettings,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: TcpListener::from_std(socket)?,
            is_lent: true,
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

    /// Accepts until `stop`, then closes the port. Connections that exist end with
    /// the next answer; those without a request end at `finish`. All are tasks of
    /// `tasks`.
    pub async fn run<H: Handler>(
        self,
        handler: Arc<H>,
        stop: CancellationToken,
        finish: CancellationToken,
        tasks: TaskTracker,
    ) {
        let begin = |stream: TcpStream, address: SocketAddr| {
            let connection = HttpConnection {
                handler: Arc::clone(&handler),
                settings: Arc::clone(&self.settings),
                address,
                leave: stop.clone(),
                finish: finish.clone(),
            };
            tasks.spawn(connection.accept(stream, self.certificates.clone()));
        };
        let mut warned: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => begin(stream, address),
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    if warned.is_none_or(|warned| warned.elapsed() >= ACCEPT_WARNING) {
                        warned = Some(Instant::now());
                        tracing::warn!(%error, "cannot accept connections for the moment; is the limit of open files too low?");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        if self.settings.reuse_port || !self.is_lent {
            // The kernel has given them to this process, and would reset them.
            for (stream, address) in waiting(self.socket).take(BACKLOG.into()) {
                begin(stream, address);
            }
        }
    }
}

/// The connections that wait to be accepted, before the port is closed.
fn waiting(socket: TcpListener) -> impl Iterator<Item = (TcpStream, SocketAddr)> {
    let socket = socket.into_std().ok();
    std::iter::from_fn(move || {
        let (stream, address) = socket.as_ref()?.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        Some((TcpStream::from_std(stream).ok()?, address))
    })
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
    leave: CancellationToken,
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
        let requests = AtomicU64::new(0);
        // An answer without end is cut by whoever makes it.
        let is_streaming = AtomicBool::new(false);
        let cut = Cut::default();
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(cut.clone());
            requests.fetch_add(1, Ordering::Relaxed);
            let peer = Peer {
                is_secure: is_tls || self.is_forwarded_secure(request.headers()),
                address: self.client_address(request.headers()),
            };
            let handler = Arc::clone(&self.handler);
            let (is_streaming, leave) = (&is_streaming, &self.leave);
            async move {
                let mut answer = match refusal(&request) {
                    Some(refusal) => refusal,
                    None => handler.handle(request, peer).await,
                };
                // A connection that is kept would be closed under a later request.
                if leave.is_cancelled() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                    let close = HeaderValue::from_static("close");
                    answer.headers_mut().insert(header::CONNECTION, close);
                }
                let is_stream = matches!(answer.body(), AnswerBody::Stream(_));
                is_streaming.store(is_stream, Ordering::Relaxed);
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(KEEP_ALIVE)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        // At first for the first head, then for further requests.
        let mut patience = std::pin::pin!(tokio::time::sleep(self.settings.request_header_timeout));
        let mut requests_before = 0;
        let mut is_finishing = false;
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
                () = patience.as_mut() => {
                    let requests = requests.load(Ordering::Relaxed);
                    if requests == requests_before && !is_streaming.load(Ordering::Relaxed) {
                        tracing::debug!(requests, "no further request came in time");
                        return;
                    }
                    requests_before = requests;
                    let next = tokio::time::Instant::now() + self.settings.answer_timeout;
                    patience.as_mut().reset(next);
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

/// Refuses a request that a proxy may have understood in another way than we
/// (RFC 9112, 3.2).
fn refusal(request: &Request<Incoming>) -> Option<Answer> {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    let is_older = request.version() < Version::HTTP_11;
    if hosts == 1 || hosts == 0 && is_older {
        return None;
    }
    let mut refusal = text_answer(StatusCode::BAD_REQUEST, "Expected one Host header\n");
    let close = HeaderValue::from_static("close");
    refusal.headers_mut().insert(header::CONNECTION, close);
    Some(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tokio::io::AsyncWriteExt;

    fn settings() -> ListenerSettings {
        ListenerSettings {
            request_header_timeout: Duration::from_millis(100),
            answer_timeout: Duration::from_millis(200),
            trusted_proxies: Vec::new(),
            reuse_port: false,
        }
    }

    fn bind(settings: ListenerSettings) -> Listener {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Listener::bind(any, None, settings).unwrap()
    }

    /// Answers with more than a socket's buffers hold.
    struct Large;

    impl Handler for Large {
        async fn handle(self: Arc<Self>, _request: Request<Incoming>, _peer: Peer) -> Answer {
            text_answer(StatusCode::OK, Bytes::from(vec![b'x'; 32 << 20]))
        }
    }

    #[tokio::test]
    async fn a_client_that_does_not_take_its_answer_is_dropped() {
        let listener = bind(settings());
        let address = listener.address().unwrap();
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let handler = Arc::new(Large);
        let running =
            tokio::spawn(listener.run(handler, stop.clone(), stop.clone(), tasks.clone()));

        let mut client = TcpStream::connect(address).await.unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        client.readable().await.unwrap();
        tasks.close();
        tokio::time::timeout(Duration::from_secs(20), tasks.wait())
            .await
            .expect("the connection is dropped although its client is there");

        drop(client);
        running.abort();
    }

    /// A deploy brings everybody back at once, before a single one is accepted.
    #[tokio::test]
    async fn connections_wait_in_the_kernel_until_they_are_accepted() {
        let listener = bind(settings());
        let address = listener.address().unwrap();
        let system = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let possible: usize = system.trim().parse().unwrap();
        // More than the 1,024 that the runtime asks for by itself.
        let files = rlimit::increase_nofile_limit(4_096).unwrap_or(1_024);
        let wanted = possible.min(usize::try_from(files).unwrap() / 2).min(2_000);

        let mut clients = Vec::new();
        for number in 0..wanted {
            let connecting = TcpStream::connect(address);
            let client = tokio::time::timeout(Duration::from_secs(20), connecting).await;
            clients.push(
                client
                    .unwrap_or_else(|_| panic!("client {number} has to wait"))
                    .unwrap(),
            );
        }

        assert_eq!(clients.len(), wanted);
    }
}
