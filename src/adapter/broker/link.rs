//! Keeps one connection to the broker up.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use super::backoff::Backoff;
use super::{Session, Trouble};
use crate::config::BrokerAddress;

/// A session that lasted this long shows that the broker works.
const STEADY: Duration = Duration::from_secs(10);

/// Time for an orderly end.
const GOODBYE: Duration = Duration::from_secs(1);

/// One connection to the broker, made again whenever it is lost.
pub struct Link {
    address: BrokerAddress,
    name: String,
    consequence: &'static str,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    session: Option<Session>,
    trouble: Option<Trouble>,
    connects: u64,
    failures: u64,
}

/// How a link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Whether the connection stands.
    pub is_connected: bool,
    /// Why it does not, or what the adapter waits for.
    pub trouble: Option<Trouble>,
    /// How often it was made.
    pub connects: u64,
    /// How often it could not be made, or was lost.
    pub failures: u64,
}

impl Link {
    /// To the broker at `address`, which shows the connection as `name`.
    /// `consequence` tells in the log what does not work while it is out of reach.
    #[must_use]
    pub fn new(address: BrokerAddress, name: String, consequence: &'static str) -> Self {
        Self {
            address,
            name,
            consequence,
            now: Mutex::default(),
        }
    }

    /// How it is at the moment.
    #[must_use]
    pub fn state(&self) -> LinkState {
        let now = self.now();
        LinkState {
            is_connected: now.session.is_some(),
            trouble: now.trouble.clone(),
            connects: now.connects,
            failures: now.failures,
        }
    }

    /// What is wrong with it, for anybody; `None` while it is there.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        let state = self.state();
        match state.trouble {
            Some(trouble) => Some(format!("RabbitMQ: {}", trouble.in_short())),
            None if state.is_connected => None,
            None => Some("RabbitMQ: not connected yet".to_owned()),
        }
    }

    /// The session that there is, if any.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        self.now().session.clone()
    }

    /// Shows what the work waits for, although the connection stands.
    pub fn show(&self, trouble: Option<Trouble>) {
        self.now().trouble = trouble;
    }

    /// Connects and works over each session until that ends or the work fails, then
    /// connects again after a pause; until `stop`, when the work is dropped and the
    /// connection closed. The work returns why it cannot go on.
    pub async fn keep<F>(&self, stop: &CancellationToken, work: impl Fn(Session) -> F)
    where
        F: Future<Output = Trouble>,
    {
        let mut backoff = Backoff::new();
        while !stop.is_cancelled() {
            let Some(connected) = stop.run_until_cancelled(self.connect()).await else {
                break;
            };
            let trouble = match connected {
                Ok((session, lost)) => {
                    let begin = Instant::now();
                    self.connected(&session);
                    let trouble = tokio::select! {
                        // What is gone says why; what fails with it does not.
                        biased;
                        trouble = lost => Some(trouble),
                        trouble = work(session.clone()) => Some(trouble),
                        () = stop.cancelled() => None,
                    };
                    self.now().session = None;
                    session.close(GOODBYE).await;
                    let Some(trouble) = trouble else {
                        break;
                    };
                    if begin.elapsed() >= STEADY {
                        backoff.reset();
                    }
                    tracing::warn!(
                        broker = %self.host(),
                        reason = %trouble,
                        "RabbitMQ connection lost; connecting again"
                    );
                    trouble
                }
                Err(trouble) => {
                    tracing::warn!(
                        broker = %self.host(),
                        reason = %trouble,
                        "Failed to connect to RabbitMQ. {}",
                        self.consequence
                    );
                    trouble
                }
            };
            let pause = if trouble.needs_a_person() {
                backoff.long_pause(rand::random())
            } else {
                backoff.pause(rand::random())
            };
            self.failed(trouble);
            let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    async fn connect(&self) -> Result<(Session, BoxFuture<'static, Trouble>), Trouble> {
        let id = Ulid::from_parts(unix_ms(), rand::random()).to_string();
        Session::open(&self.address, &self.name, id).await
    }

    fn connected(&self, session: &Session) {
        tracing::info!(broker = %self.host(), session = session.id(), "RabbitMQ connected");
        let mut now = self.now();
        now.session = Some(session.clone());
        now.trouble = None;
        now.connects += 1;
    }

    fn failed(&self, trouble: Trouble) {
        let mut now = self.now();
        now.session = None;
        now.trouble = Some(trouble);
        now.failures += 1;
    }

    fn host(&self) -> String {
        format!("{}:{}", self.address.host, self.address.port)
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("address", &self.address)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
