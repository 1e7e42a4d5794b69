//! Redis for other parts of the program that keep something for all nodes.
//!
//! One connection, opened when it is needed and again after it was lost. While Redis
//! is out of reach callers are told at once, and it is tried once a second. Commands
//! that wait for something are not for it, since all others would wait behind them:
//! they have a [`WaitingConnection`].

use std::fmt;
use std::time::Duration;

use ::redis::{Cmd, FromRedisValue, Pipeline, RedisResult, ScriptInvocation};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::RedisSettings;
use super::link::{Connection, Connector};

/// Time for a connection, and for an answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Time between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(1);

/// Commands for the Redis of a deployment.
pub struct RedisCommands {
    settings: RedisSettings,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    failed: Option<Instant>,
}

/// Redis did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("Redis: {0}")]
pub struct RedisUnavailable(String);

impl RedisCommands {
    /// Connects when it is first asked.
    #[must_use]
    pub fn new(settings: RedisSettings) -> Self {
        Self {
            settings,
            state: Mutex::default(),
        }
    }

    /// The beginning of all keys.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.settings.prefix
    }

    /// Sends the commands, of which all keys belong together.
    ///
    /// # Errors
    /// Redis is out of reach or refuses. Whether something was done is not known.
    pub async fn query<T: FromRedisValue>(
        &self,
        commands: &Pipeline,
    ) -> Result<T, RedisUnavailable> {
        let mut connection = self.connection().await?;
        let outcome = commands.query_async(&mut connection).await;
        self.checked(outcome).await
    }

    /// Runs a script, of which all keys belong together.
    ///
    /// # Errors
    /// Redis is out of reach or refuses. Whether something was done is not known.
    pub async fn invoke<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, RedisUnavailable> {
        let mut connection = self.connection().await?;
        let outcome = script.invoke_async(&mut connection).await;
        self.checked(outcome).await
    }

    /// Opens a connection for commands that wait up to `patience`.
    ///
    /// # Errors
    /// Redis is out of reach.
    pub async fn waiting(&self, patience: Duration) -> Result<WaitingConnection, RedisUnavailable> {
        let connect = async {
            let mut connector = Connector::new(&self.settings)?;
            // Boxed: it is rarely made, and large.
            Box::pin(connector.connect_one(TIMEOUT, patience + TIMEOUT)).await
        };
        let connection: RedisResult<Connection> = connect.await;
        connection.map(WaitingConnection).map_err(unavailable)
    }

    async fn checked<T>(&self, outcome: RedisResult<T>) -> Result<T, RedisUnavailable> {
        if outcome.is_err() {
            // Cheap to open again, and what is broken stays broken.
            self.state.lock().await.connection = None;
        }
        outcome.map_err(unavailable)
    }

    async fn connection(&self) -> Result<Connection, RedisUnavailable> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok(connection.clone());
        }
        if state.failed.is_some_and(|failed| failed.elapsed() < PAUSE) {
            return Err(RedisUnavailable("out of reach".to_owned()));
        }
        // Also when this caller gives up: the next one is not to wait as long.
        state.failed = Some(Instant::now());
        match self.connect().await {
            Ok(connection) => {
                state.failed = None;
                state.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn connect(&self) -> RedisResult<Connection> {
        let mut connector = Connector::new(&self.settings)?;
        // Boxed: it is rarely made, and large.
        Box::pin(connector.connect_one(TIMEOUT, TIMEOUT)).await
    }
}

/// A connection for commands that wait. After an error it is of no use.
pub struct WaitingConnection(Connection);

impl WaitingConnection {
    /// Sends one command, and waits for its answer.
    ///
    /// # Errors
    /// Redis is out of reach or refuses. Whether something was done is not known.
    ///
    /// # Cancel safety
    /// None: the command goes on in Redis, and what it takes is lost.
    pub async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisUnavailable> {
        command.query_async(&mut self.0).await.map_err(unavailable)
    }
}

fn unavailable(error: ::redis::RedisError) -> RedisUnavailable {
    RedisUnavailable(error.to_string())
}

impl fmt::Debug for WaitingConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WaitingConnection(..)")
    }
}

impl fmt::Debug for RedisCommands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCommands").finish_non_exhaustive()
    }
}
