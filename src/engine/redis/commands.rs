//! Redis for other parts of the server that keep something for all nodes.
//!
//! One connection, opened when it is needed and again after it was lost. While Redis
//! is out of reach callers are told at once, and it is tried once a second.

use std::fmt;
use std::time::Duration;

use ::redis::{FromRedisValue, Pipeline, RedisResult};
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
        let outcome: RedisResult<T> = commands.query_async(&mut connection).await;
        match outcome {
            Ok(answer) => Ok(answer),
            Err(error) => {
                // Cheap to open again, and what is broken stays broken.
                self.state.lock().await.connection = None;
                Err(RedisUnavailable(error.to_string()))
            }
        }
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
            Err(error) => Err(RedisUnavailable(error.to_string())),
        }
    }

    async fn connect(&self) -> RedisResult<Connection> {
        let mut connector = Connector::new(&self.settings)?;
        // Boxed: it is rarely made, and large.
        Ok(Box::pin(connector.connect(TIMEOUT)).await?.commands)
    }
}

impl fmt::Debug for RedisCommands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCommands").finish_non_exhaustive()
    }
}
