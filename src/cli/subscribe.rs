//! `fanfare subscribe`: a client in the terminal.

use std::collections::HashSet;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::Args;
use fanfare_protocol::{SocketId, auth};
use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, WebSocketError};
use http_body_util::Empty;
use hyper::upgrade::Upgraded;
use hyper::{Request, Uri, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::api::{Api, Target};
use super::output;

/// Pauses between attempts: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The longest pause after a close that says to come back at once. Not zero: a
/// server that is leaving may take the connection and close it again.
const SHORT_PAUSE: Duration = Duration::from_millis(500);

/// Time for the server to answer at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// Silence beyond the server's activity time-out that means a dead connection:
/// the server pings before that.
const SILENCE: Duration = Duration::from_secs(30);

/// Bytes of one message.
const MAX_MESSAGE: usize = 1 << 20;

/// Print the events of channels as they come
#[derive(Debug, Args)]
#[command(
    after_help = "Private and presence channels are signed with the app's secret. Reconnects when the
connection is lost; ends with exit code 1 when the server refuses the app.

Examples:
  fanfare subscribe orders kitchen
  fanfare subscribe private-orders --json | jq .data
  fanfare subscribe orders --count 1 --timeout 10     wait for one event, for 10 s at most"
)]
pub(super) struct Subscribe {
    /// Channels
    #[arg(required = true)]
    channels: Vec<String>,
    /// End after this many events
    #[arg(long)]
    count: Option<u64>,
    /// Fail when not all of --count came within this many seconds
    #[arg(long, value_name = "SECONDS", requires = "count")]
    timeout: Option<u64>,
    /// One JSON object per line: time, channel, event, data
    #[arg(long)]
    json: bool,
    /// The user on presence channels
    #[arg(long, default_value = "fanfare-cli")]
    user_id: String,
    #[command(flatten)]
    api: Api,
}

#[derive(Deserialize)]
struct Message {
    event: String,
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    data: Value,
}

#[derive(Deserialize)]
struct Established {
    socket_id: String,
    #[serde(default)]
    activity_timeout: u32,
}

/// How a connection ended.
enum End {
    /// Everything that was asked for has come.
    Done,
    /// Come back after the pause, as the close code says.
    Lost { reason: String, at_once: bool },
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Subscribe {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let target = self.api.target().await?;
        let Some(seconds) = self.timeout else {
            return self.follow(&target).await;
        };
        match tokio::time::timeout(Duration::from_secs(seconds), self.follow(&target)).await {
            Ok(outcome) => outcome,
            Err(_) => bail!("not all events came within {seconds} s"),
        }
    }

    /// Connects again and again, as pusher-js does.
    async fn follow(&self, target: &Target) -> anyhow::Result<()> {
        let mut remaining = self.count;
        let mut pause = FIRST_PAUSE;
        loop {
            match self
                .connect_once(target, &mut remaining, &mut pause)
                .await?
            {
                End::Done => return Ok(()),
                End::Lost { reason, at_once } => {
                    // Jitter: many subscribers may have lost the same server.
                    let longest = if at_once { SHORT_PAUSE } else { pause };
                    let wait = longest.mul_f64(rand::random_range(0.5..=1.0));
                    output::note(&format!(
                        "{reason}; connecting again in {:.1} s",
                        wait.as_secs_f64()
                    ));
                    tokio::time::sleep(wait).await;
                    if !at_once {
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
        }
    }

    async fn connect_once(
        &self,
        target: &Target,
        remaining: &mut Option<u64>,
        pause: &mut Duration,
    ) -> anyhow::Result<End> {
        let lost = |reason: String| {
            Ok(End::Lost {
                reason,
                at_once: false,
            })
        };
        let mut socket = match tokio::time::timeout(PATIENCE, open(target)).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return lost(format!("{error:#}")),
            Err(_) => return lost(format!("{} does not answer", target.url)),
        };
        let mut pending: HashSet<&str> = HashSet::new();
        let mut silence = PATIENCE;
        loop {
            // Whatever was half read when time runs out is dropped with the socket.
            let frame = match tokio::time::timeout(silence, socket.read_frame()).await {
                Ok(Ok(frame)) => frame,
                Ok(Err(error)) => return lost(format!("the connection is lost ({error})")),
                Err(_) => return lost(format!("nothing came for {} s", silence.as_secs())),
            };
            match frame.opcode {
                OpCode::Close => return closed(&frame.payload),
                OpCode::Text => {}
                _ => continue,
            }
            let Ok(message) = serde_json::from_slice::<Message>(&frame.payload) else {
                output::note("the server sent something that is no message");
                continue;
            };
            match message.event.as_str() {
                "pusher:connection_established" => {
                    *pause = FIRST_PAUSE;
                    let established: Established = parse_data(&message.data)?;
                    let socket_id = established.socket_id.parse()?;
                    silence = Duration::from_secs(established.activity_timeout.into()) + SILENCE;
                    for channel in &self.channels {
                        let subscribe = self.subscribe(target, socket_id, channel);
                        send(&mut socket, &subscribe).await?;
                        pending.insert(channel);
                    }
                }
                "pusher:ping" => {
                    send(&mut socket, &json!({"event": "pusher:pong", "data": {}})).await?;
                }
                "pusher:error" => {
                    let text = message.data["message"].as_str().unwrap_or_default();
                    ensure!(pending.is_empty(), "the server refuses: {text}");
                    output::note(&format!("the server says: {}", output::printable(text)));
                }
                "pusher_internal:subscription_succeeded" => {
                    pending.remove(message.channel.as_deref().unwrap_or_default());
                    if pending.is_empty() {
                        let channels = self.channels.join(", ");
                        output::note(&format!("subscribed to {channels}"));
                    }
                }
                _ => {}
            }
            let is_event = !message.event.starts_with("pusher");
            if is_event || message.event.starts_with("pusher_internal:member_") {
                self.print(&message)?;
            }
            if let (true, Some(remaining)) = (is_event, remaining.as_mut()) {
                *remaining = remaining.saturating_sub(1);
                if *remaining == 0 {
                    return Ok(End::Done);
                }
            }
        }
    }

    fn subscribe(&self, target: &Target, socket_id: SocketId, channel: &str) -> Value {
        let mut data = json!({"channel": channel});
        let channel_data = channel
            .starts_with("presence-")
            .then(|| json!({"user_id": self.user_id}).to_string());
        if channel_data.is_some() || channel.starts_with("private-") {
            let credentials = &target.credentials;
            let signature = auth::sign_channel(
                &credentials.secret,
                socket_id,
                channel,
                channel_data.as_deref(),
            );
            data["auth"] = format!("{}:{signature}", credentials.key).into();
        }
        if let Some(channel_data) = channel_data {
            data["channel_data"] = channel_data.into();
        }
        json!({"event": "pusher:subscribe", "data": data})
    }

    fn print(&self, message: &Message) -> anyhow::Result<()> {
        let channel = message.channel.as_deref().unwrap_or("-");
        let event = output::printable(&message.event);
        let data = match &message.data {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let now = OffsetDateTime::now_utc();
        // To the millisecond: what one compares with the log of a server.
        let time = format!(
            "{}T{:02}:{:02}:{:02}.{:03}Z",
            now.date(),
            now.hour(),
            now.minute(),
            now.second(),
            now.millisecond()
        );
        let line = if self.json {
            json!({"time": time, "channel": channel, "event": message.event, "data": data})
                .to_string()
        } else {
            let (channel, data) = (output::printable(channel), output::printable(&data));
            if std::io::stdout().is_terminal() {
                format!("\u{1b}[2m{time} {channel}\u{1b}[0m \u{1b}[1m{event}\u{1b}[0m {data}")
            } else {
                format!("{time} {channel} {event} {data}")
            }
        };
        output::line(&line)?;
        Ok(())
    }
}

/// What the hundreds of a close code tell a client to do.
fn closed(payload: &[u8]) -> anyhow::Result<End> {
    let (code, reason) = match payload {
        [high, low, reason @ ..] => (
            u16::from_be_bytes([*high, *low]),
            String::from_utf8_lossy(reason).into_owned(),
        ),
        _ => (1005, String::new()),
    };
    ensure!(
        !(4000..4100).contains(&code),
        "the server refuses the connection: {reason} ({code})"
    );
    Ok(End::Lost {
        reason: format!("the server closed the connection: {reason} ({code})"),
        at_once: (4200..4300).contains(&code),
    })
}

fn parse_data<T: serde::de::DeserializeOwned>(data: &Value) -> anyhow::Result<T> {
    let text = data.as_str().context("the server's data is not a string")?;
    serde_json::from_str(text).context("the server's data is not what was expected")
}

type Socket = FragmentCollector<TokioIo<Upgraded>>;

async fn send(socket: &mut Socket, message: &Value) -> Result<(), WebSocketError> {
    let payload = Payload::Owned(message.to_string().into_bytes());
    socket.write_frame(Frame::text(payload)).await
}

async fn open(target: &Target) -> anyhow::Result<Socket> {
    let uri: Uri = target.url.parse().context("the URL of the server")?;
    let host = uri.host().context("the URL of the server has no host")?;
    let is_tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let plain_host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((plain_host, port))
        .await
        .with_context(|| format!("{} cannot be reached", target.url))?;
    let stream: Box<dyn Stream> = if is_tls {
        let name = ServerName::try_from(plain_host.to_owned())?;
        let config = Arc::new(target.trust.client_config());
        Box::new(TlsConnector::from(config).connect(name, stream).await?)
    } else {
        Box::new(stream)
    };
    let request = Request::get(format!(
        "{}/app/{}?protocol=7&client=fanfare-cli&version={}",
        uri.path().trim_end_matches('/'),
        target.credentials.key,
        env!("CARGO_PKG_VERSION")
    ))
    .header(header::HOST, format!("{host}:{port}"))
    .header(header::UPGRADE, "websocket")
    .header(header::CONNECTION, "Upgrade")
    .header(header::SEC_WEBSOCKET_VERSION, "13")
    .header(
        header::SEC_WEBSOCKET_KEY,
        fastwebsockets::handshake::generate_key(),
    )
    .body(Empty::<Bytes>::new())?;
    let (mut socket, _response) =
        fastwebsockets::handshake::client(&TokioExecutor::new(), request, stream)
            .await
            .context("no WebSocket there; is it a Pusher-compatible server?")?;
    socket.set_max_message_size(MAX_MESSAGE);
    Ok(FragmentCollector::new(socket))
}
