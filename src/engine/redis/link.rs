//! Connections to Redis: one for commands, one for what the other nodes send.
//!
//! Knows the three ways in which Redis is deployed. Does not try again by
//! itself: a connection that is lost is reported, and somebody else decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::redis::aio::{ConnectionLike, MultiplexedConnection};
use ::redis::cluster::{ClusterClient, ClusterClientBuilder};
use ::redis::cluster_async::ClusterConnection;
use ::redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, Pipeline, ProtocolVersion, PushInfo,
    PushKind, RedisFuture, RedisResult, TlsMode, Value,
};
use futures_util::future::try_join_all;
use tokio::sync::mpsc;

use super::message;
use super::{Deployment, RedisSettings};

/// Messages that wait for this node to look at them. Above it the connection is
/// given up, and what was missed is fetched from the registry.
const WAITING_MESSAGES: usize = 65_536;

/// Topics subscribed to in one round trip.
const TOPICS_AT_ONCE: usize = 512;

/// A message as Redis hands it over.
#[derive(Debug)]
pub(super) struct Pushed {
    pub(super) topic: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

/// How Redis is reached.
pub(super) enum Connector {
    Single(Client),
    Sentinel(Box<SentinelClient>),
    Cluster(RedisSettings),
}

/// A connection for commands, or for subscriptions.
#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Everything that an engine needs while Redis is there.
pub(super) struct Connections {
    pub(super) commands: Connection,
    subscriber: Connection,
    /// Whether topics live on the Cluster node of their slot.
    is_sharded: bool,
    /// Events of other nodes.
    pub(super) events: Option<mpsc::Receiver<Pushed>>,
    /// All other messages.
    pub(super) control: mpsc::Receiver<Pushed>,
    /// Set when a message was dropped or the subscriber was cut off.
    pub(super) is_broken: Arc<AtomicBool>,
}

impl Connector {
    pub(super) fn new(settings: &RedisSettings) -> RedisResult<Self> {
        let first = settings.hosts.first().cloned().unwrap_or_default();
        match &settings.deployment {
            Deployment::Single => {
                let url = settings.url_of(&first);
                Client::open(url).map(Self::Single)
            }
            Deployment::Sentinel { master } => {
                let hosts = settings
                    .hosts
                    .iter()
                    .map(|(host, port)| ConnectionAddr::Tcp(host.clone(), *port));
                let mut builder = SentinelClientBuilder::new(
                    hosts.collect::<Vec<_>>(),
                    master.clone(),
                    SentinelServerType::Master,
                )?
                .set_client_to_redis_db(i64::from(settings.database))
                .set_client_to_redis_protocol(ProtocolVersion::RESP3);
                if let Some(username) = &settings.username {
                    builder = builder.set_client_to_redis_username(username.clone());
                }
                if let Some(password) = &settings.password {
                    builder = builder.set_client_to_redis_password(password.clone());
                }
                if settings.is_tls {
                    builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
                }
                builder
                    .build()
                    .map(|client| Self::Sentinel(Box::new(client)))
            }
            Deployment::Cluster => Ok(Self::Cluster(settings.clone())),
        }
    }

    /// Opens both connections.
    pub(super) async fn connect(&mut self, timeout: Duration) -> RedisResult<Connections> {
        let is_broken = Arc::new(AtomicBool::new(false));
        let (event_sender, events) = mpsc::channel(WAITING_MESSAGES);
        let (control_sender, control) = mpsc::channel(WAITING_MESSAGES);
        let receiver = {
            let is_broken = Arc::clone(&is_broken);
            move |push: PushInfo| {
                receive(push, &event_sender, &control_sender, &is_broken);
                Ok::<(), std::convert::Infallible>(())
            }
        };
        let plain = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout));
        let (commands, subscriber, is_sharded) = match self {
            Self::Single(client) => {
                let commands = client
                    .get_multiplexed_async_connection_with_config(&plain)
                    .await?;
                let subscriber = client
                    .get_multiplexed_async_connection_with_config(&plain.set_push_sender(receiver))
                    .await?;
                (
                    Connection::One(commands),
                    Connection::One(subscriber),
                    false,
                )
            }
            Self::Sentinel(client) => {
                let commands = client.get_async_connection_with_config(&plain).await?;
                let subscriber = client
                    .get_async_connection_with_config(&plain.set_push_sender(receiver))
                    .await?;
                (
                    Connection::One(commands),
                    Connection::One(subscriber),
                    false,
                )
            }
            Self::Cluster(settings) => {
                let commands = cluster_builder(settings, timeout).build()?;
                let commands = commands.get_async_connection().await?;
                let subscriber: ClusterClient = cluster_builder(settings, timeout)
                    .push_sender(receiver)
                    .build()?;
                let subscriber = subscriber.get_async_connection().await?;
                let mut commands = Connection::Cluster(commands);
                let is_sharded = commands.knows_sharded_topics().await?;
                (commands, Connection::Cluster(subscriber), is_sharded)
            }
        };
        Ok(Connections {
            commands,
            subscriber,
            is_sharded,
            events: Some(events),
            control,
            is_broken,
        })
    }
}

impl Connector {
    /// Opens one connection for commands, each of which may take up to `answer`.
    pub(super) async fn connect_one(
        &mut self,
        timeout: Duration,
        answer: Duration,
    ) -> RedisResult<Connection> {
        let plain = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(answer));
        Ok(match self {
            Self::Single(client) => Connection::One(
                client
                    .get_multiplexed_async_connection_with_config(&plain)
                    .await?,
            ),
            Self::Sentinel(client) => {
                Connection::One(client.get_async_connection_with_config(&plain).await?)
            }
            Self::Cluster(settings) => {
                let client = cluster_builder(settings, timeout).response_timeout(answer);
                Connection::Cluster(client.build()?.get_async_connection().await?)
            }
        })
    }
}

fn cluster_builder(settings: &RedisSettings, timeout: Duration) -> ClusterClientBuilder {
    let urls: Vec<String> = settings
        .hosts
        .iter()
        .map(|host| settings.url_of(host))
        .collect();
    ClusterClientBuilder::new(urls)
        .use_protocol(ProtocolVersion::RESP3)
        .connection_timeout(timeout)
        .response_timeout(timeout)
        // Whether to try again is decided where the whole state is known.
        .retries(2)
}

/// Runs in the connection's own task, so it must neither wait nor fail.
fn receive(
    push: PushInfo,
    events: &mpsc::Sender<Pushed>,
    control: &mpsc::Sender<Pushed>,
    is_broken: &AtomicBool,
) {
    match push.kind {
        PushKind::Message | PushKind::SMessage => {
            let mut parts = push.data.into_iter();
            let (Some(Value::BulkString(topic)), Some(Value::BulkString(payload))) =
                (parts.next(), parts.next())
            else {
                return;
            };
            let queue = if message::is_event(&payload) {
                events
            } else {
                control
            };
            if queue.try_send(Pushed { topic, payload }).is_err() {
                is_broken.store(true, Ordering::Relaxed);
            }
        }
        PushKind::Disconnection => is_broken.store(true, Ordering::Relaxed),
        _ => {}
    }
}

impl Connections {
    /// The command that publishes to a topic.
    pub(super) fn publish_command(&self) -> &'static str {
        if self.is_sharded {
            "SPUBLISH"
        } else {
            "PUBLISH"
        }
    }

    pub(super) async fn subscribe(&mut self, topics: &[String]) -> RedisResult<()> {
        let command = if self.is_sharded {
            "SSUBSCRIBE"
        } else {
            "SUBSCRIBE"
        };
        self.each(command, topics).await
    }

    pub(super) async fn unsubscribe(&mut self, topics: &[String]) -> RedisResult<()> {
        let command = if self.is_sharded {
            "SUNSUBSCRIBE"
        } else {
            "UNSUBSCRIBE"
        };
        self.each(command, topics).await
    }

    /// One command for each topic: then each has exactly one answer, whatever the
    /// protocol makes of a list.
    async fn each(&mut self, command: &str, topics: &[String]) -> RedisResult<()> {
        for chunk in topics.chunks(TOPICS_AT_ONCE) {
            let commands = chunk.iter().map(|topic| {
                let mut subscriber = self.subscriber.clone();
                async move {
                    ::redis::cmd(command)
                        .arg(topic)
                        .exec_async(&mut subscriber)
                        .await
                }
            });
            try_join_all(commands).await?;
        }
        Ok(())
    }

    /// Whether the subscriber's connection is still answered: a cut network says
    /// nothing by itself.
    pub(super) async fn probe(&mut self) -> RedisResult<()> {
        ::redis::cmd("PING").exec_async(&mut self.subscriber).await
    }
}

impl Connection {
    async fn knows_sharded_topics(&mut self) -> RedisResult<bool> {
        let Self::Cluster(connection) = self else {
            return Ok(false);
        };
        let answer: Value = ::redis::cmd("COMMAND")
            .arg("INFO")
            .arg("SPUBLISH")
            .query_async(connection)
            .await?;
        Ok(match answer {
            Value::Array(list) => !matches!(list.first(), None | Some(Value::Nil)),
            _ => false,
        })
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(connection) => connection.req_packed_commands(cmd, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
