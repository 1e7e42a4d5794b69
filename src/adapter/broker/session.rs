//! One connection to the broker, as long as it stands.

use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{
    AsyncTcpStream, Channel, Connection, ConnectionProperties, Event, ExchangeKind, runtime,
};
use socket2::{SockRef, Socket};

use super::Trouble;
use crate::config::BrokerAddress;

/// Time for the broker to answer one question.
const PATIENCE: Duration = Duration::from_secs(30);

/// Time between two looks whether the connection stands, beside what is told of it.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A connection that stands, or stood. Clones share it.
#[derive(Clone)]
pub struct Session {
    id: Arc<str>,
    connection: Arc<Connection>,
    wire: Wire,
}

/// The socket under the connection, to be cut when nothing else helps: a thread of the
/// client library would wait for it for ever.
#[derive(Clone, Debug, Default)]
struct Wire(Arc<Mutex<Option<Socket>>>);

/// A queue as the broker has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueState {
    /// Messages that wait in it.
    pub messages: u32,
    /// Consumers that it has.
    pub consumers: u32,
}

impl Session {
    /// Connects to the broker at `address`, which shows the connection as `name`.
    /// Returns what completes when the connection is gone as well.
    pub(super) async fn open(
        address: &BrokerAddress,
        name: &str,
        id: String,
    ) -> Result<(Self, BoxFuture<'static, Trouble>), Trouble> {
        let wire = Wire::default();
        let patience = address.connect_timeout;
        let connecting = Box::pin(connect(address, name, wire.clone()));
        let connected = tokio::time::timeout(patience, connecting);
        let connection = match connected.await {
            Ok(Ok(connection)) => Arc::new(connection),
            Ok(Err(error)) => {
                wire.cut();
                return Err(Trouble::of_connecting(&error, &address.username));
            }
            Err(_) => {
                wire.cut();
                return Err(Trouble::Slow(patience));
            }
        };
        let lost = lost(Arc::clone(&connection)).boxed();
        let session = Self {
            id: id.into(),
            connection,
            wire,
        };
        Ok((session, lost))
    }

    /// Another one for each connection, on whatever node: for names of queues that
    /// belong to the connection, since the broker may not have noticed yet that an
    /// earlier one is gone.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A further channel.
    ///
    /// # Errors
    /// The session is over.
    pub async fn channel(&self) -> Result<Channel, Trouble> {
        within(self.connection.create_channel()).await
    }

    /// Whether an exchange is there.
    ///
    /// # Errors
    /// The broker does not tell.
    pub async fn has_exchange(&self, name: &str) -> Result<bool, Trouble> {
        // A "no" closes the channel, so it is one for this question.
        let channel = self.channel().await?;
        let options = ExchangeDeclareOptions {
            passive: true,
            ..ExchangeDeclareOptions::default()
        };
        let declared = within(channel.exchange_declare(
            name.into(),
            ExchangeKind::Topic,
            options,
            FieldTable::default(),
        ))
        .await;
        match declared {
            Ok(()) => {
                within(channel.close(200, "done".into())).await?;
                Ok(true)
            }
            Err(Trouble::Missing(_)) => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    /// How a queue is, or that there is none.
    ///
    /// # Errors
    /// The broker does not tell.
    pub async fn queue(&self, name: &str) -> Result<Option<QueueState>, Trouble> {
        let channel = self.channel().await?;
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let declared =
            within(channel.queue_declare(name.into(), options, FieldTable::default())).await;
        match declared {
            Ok(queue) => {
                within(channel.close(200, "done".into())).await?;
                Ok(Some(QueueState {
                    messages: queue.message_count(),
                    consumers: queue.consumer_count(),
                }))
            }
            Err(Trouble::Missing(_)) => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// Ends the connection, in an orderly way if that is possible within `patience`.
    pub(super) async fn close(&self, patience: Duration) {
        let goodbye = self.connection.close(200, "goodbye".into());
        let said = tokio::time::timeout(patience, goodbye).await;
        if !matches!(said, Ok(Ok(()))) {
            tracing::debug!("the connection to the broker ends without a goodbye");
        }
        self.wire.cut();
    }
}

impl Wire {
    fn keep(&self, socket: Socket) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
    }

    fn cut(&self) {
        let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(socket) = socket {
            // That it is not connected any more is all that is wanted.
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    }
}

async fn connect(address: &BrokerAddress, name: &str, wire: Wire) -> lapin::Result<Connection> {
    let uri = AMQPUri {
        scheme: AMQPScheme::AMQP,
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo {
                username: address.username.clone(),
                password: address.password.clone(),
            },
            host: address.host.clone(),
            port: address.port,
        },
        vhost: address.vhost.clone(),
        query: AMQPQueryString {
            heartbeat: Some(address.heartbeat_s),
            ..AMQPQueryString::default()
        },
    };
    let patience = address.connect_timeout;
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    Connection::connector(
        uri,
        runtime::default_runtime()?,
        // In the call, so that the types of its arguments are known.
        async move |uri, runtime| {
            let target = runtime.to_socket_addrs((uri.authority.host, uri.authority.port));
            let connecting = AsyncTcpStream::connect(&runtime, target);
            let stream = tokio::time::timeout(patience, connecting)
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            if let AsyncTcpStream::Plain(plain) = &stream {
                let socket = plain.get_ref();
                socket.set_nodelay(true)?;
                wire.keep(SockRef::from(socket).try_clone()?);
            }
            Ok(stream)
        },
        properties,
    )
    .await
}

/// Completes when the connection is gone.
async fn lost(connection: Arc<Connection>) -> Trouble {
    let mut events = pin!(connection.events_listener());
    loop {
        let event = tokio::time::timeout(LOOK_EVERY, events.next()).await;
        let is_there = connection.status().connected();
        match event {
            // The end of a channel is told as well.
            Ok(Some(Event::Error(error))) if !is_there => return Trouble::from(error),
            Ok(Some(Event::ConnectionBlocked(reason))) => {
                tracing::warn!(reason, "RabbitMQ takes no messages for the moment");
            }
            Ok(None) => return Trouble::Lost("it has ended".to_owned()),
            Err(_) if !is_there => return Trouble::Lost("it has ended".to_owned()),
            _ => {}
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Waits for an answer of the broker, not for ever.
///
/// # Errors
/// The broker refuses, is gone, or does not answer.
pub async fn within<T>(answer: impl Future<Output = lapin::Result<T>>) -> Result<T, Trouble> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(Trouble::from),
        Err(_) => Err(Trouble::Slow(PATIENCE)),
    }
}
