//! What happens to orders and workers, published to people who look on.
//!
//! No order waits for it: what cannot be published in time is dropped and counted. What
//! counts stands in the database.

use std::time::Duration;

use fanfare_protocol::{AppId, AppKey, AppSecret};
use prometheus::{IntCounter, Registry};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::bull::{Counts, unix_ms};
use super::orders::Order;
use crate::adapter::client::{ApiClient, ApiClientError, Credentials, Event};
use crate::config::PublishConfig;

/// For administrators: all orders.
pub const ORDERS: &str = "private-rosreestr-orders";

/// For administrators: workers and the queue.
pub const WORKERS: &str = "private-rosreestr-workers";

/// Events that wait to be published.
const WAITING: usize = 256;

/// Time for what is left when the worker stops.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Publishes without waiting. Clones share the queue.
#[derive(Clone, Debug)]
pub struct Live {
    sender: Option<mpsc::Sender<Told>>,
    client: Option<ApiClient>,
    dropped: IntCounter,
    account: String,
}

/// Publishes what waits.
#[derive(Debug)]
pub struct LiveTask {
    receiver: mpsc::Receiver<Told>,
    client: ApiClient,
    dropped: IntCounter,
}

#[derive(Debug)]
struct Told {
    event: &'static str,
    channels: Vec<String>,
    data: String,
}

/// Who has which attempt of which job.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names of the event")]
pub struct Attempt {
    pub attempt: u32,
    pub max_attempts: u32,
}

impl Live {
    /// Publishes for the worker of `account`; without `config` nobody hears anything.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(
        config: Option<&PublishConfig>,
        account: &str,
        registry: &Registry,
    ) -> anyhow::Result<(Self, Option<LiveTask>)> {
        let dropped = IntCounter::new(
            "rosreestr_events_dropped_total",
            "Events that were not published.",
        )?;
        registry.register(Box::new(dropped.clone()))?;
        let mut live = Self {
            sender: None,
            client: None,
            dropped: dropped.clone(),
            account: account.to_owned(),
        };
        let Some(config) = config else {
            return Ok((live, None));
        };
        let client = client(config)?;
        let (sender, receiver) = mpsc::channel(WAITING);
        live.sender = Some(sender);
        live.client = Some(client.clone());
        let task = LiveTask {
            receiver,
            client,
            dropped,
        };
        Ok((live, Some(task)))
    }

    /// An order has another status.
    pub fn order(&self, order: &Order, attempt: Attempt) {
        let data = json!({
            "orderId": order.id,
            "cadNum": order.cad_num,
            "status": order.status,
            "rosreestrUserId": order.rosreestr_user_id,
            "rosreestrOrderNum": order.rosreestr_order_num,
            "attempt": attempt.attempt,
            "maxAttempts": attempt.max_attempts,
            "isComplete": order.is_complete,
            "timestamp": now(),
            // Whoever is on both channels can tell the repeat.
            "_eid": ulid::Ulid::from_parts(unix_ms(), rand::random()).to_string(),
        });
        let channels = vec![
            ORDERS.to_owned(),
            format!("private-rosreestr-user;{}", order.user_id),
        ];
        self.publish("order.status_changed", channels, &data);
    }

    /// This worker is there, gone, busy or idle.
    pub fn worker(&self, event: &'static str, job: Option<&str>) {
        let data = json!({
            "rosreestrUserName": self.account,
            "jobId": job,
            "timestamp": now(),
        });
        self.publish(event, vec![WORKERS.to_owned()], &data);
    }

    /// How many jobs there are.
    pub fn counts(&self, counts: &Counts) {
        self.publish("queue.counts", vec![WORKERS.to_owned()], &json!(counts));
    }

    /// Many jobs have failed.
    pub fn alert(&self, failed: u64, minutes: u64) {
        let data = json!({
            "kind": "failed_jobs",
            "failed": failed,
            "minutes": minutes,
            "timestamp": now(),
        });
        self.publish("alert", vec![WORKERS.to_owned()], &data);
    }

    /// Whether somebody looks at the workers.
    ///
    /// # Errors
    /// Fanfare cannot be asked.
    pub async fn is_watched(&self) -> Result<bool, ApiClientError> {
        match &self.client {
            Some(client) => Ok(client.channel(WORKERS, "").await?["occupied"] == true),
            None => Ok(false),
        }
    }

    fn publish(&self, event: &'static str, channels: Vec<String>, data: &Value) {
        let Some(sender) = &self.sender else {
            return;
        };
        let told = Told {
            event,
            channels,
            data: data.to_string(),
        };
        if sender.try_send(told).is_err() {
            self.dropped.inc();
        }
    }
}

impl LiveTask {
    /// Publishes until `stop`, and then what is left.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut is_reachable = true;
        loop {
            tokio::select! {
                told = self.receiver.recv() => match told {
                    Some(told) => self.publish(told, &mut is_reachable).await,
                    None => return,
                },
                () = stop.cancelled() => break,
            }
        }
        self.receiver.close();
        let rest = async {
            while let Some(told) = self.receiver.recv().await {
                self.publish(told, &mut is_reachable).await;
            }
        };
        let _ = tokio::time::timeout(LAST_WORDS, rest).await;
    }

    async fn publish(&self, told: Told, is_reachable: &mut bool) {
        let outcome = self
            .client
            .trigger(&Event {
                name: told.event,
                data: &told.data,
                channels: &told.channels,
                socket_id: None,
            })
            .await;
        match outcome {
            Ok(()) => *is_reachable = true,
            Err(error) => {
                self.dropped.inc();
                if *is_reachable {
                    tracing::warn!(%error, event = told.event, "an event is not published");
                }
                *is_reachable = false;
            }
        }
    }
}

/// The signed client of the configuration.
///
/// # Errors
/// The address is none.
pub fn client(config: &PublishConfig) -> Result<ApiClient, ApiClientError> {
    let credentials = Credentials {
        app_id: AppId::new(&config.app_id),
        key: AppKey::new(&config.key),
        secret: AppSecret::new(config.secret.reveal()),
    };
    ApiClient::new(&config.url, credentials)
}

fn now() -> String {
    let now = OffsetDateTime::now_utc().truncate_to_second();
    now.format(&Rfc3339).unwrap_or_default()
}
