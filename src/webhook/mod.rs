//! Webhooks: tells the back ends of apps what happens (section 14).
//!
//! ```text
//! HubEvents -> collector -> one queue per app and webhook -> sender -> URL
//!              holds back     batches, keeps order, retries    signs
//!              departures
//! ```
//!
//! A webhook reaches its URL at least once or is given up after five minutes,
//! which is counted and logged. Nothing here makes the hub wait.

mod book;
mod collector;
mod delivery;
mod endpoint;
mod figures;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod sender;
mod target;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::book::Book;
use self::collector::Collector;
use self::delivery::Schedule;
use self::endpoint::{Endpoints, Shared};
pub use self::figures::{Figures, Outcomes};
use self::sender::Sender;
use self::target::Connector;
use crate::apps::{App, AppStore, Webhook};
use crate::hub::{Holds, Hub, HubEvent};
use crate::store::Journal;

/// How webhooks are sent.
#[derive(Clone, Copy, Debug)]
pub struct WebhookSettings {
    /// Whether private and loopback addresses are refused.
    pub deny_private_targets: bool,
    /// Time that a departure waits for a return.
    pub hold_back: Duration,
    /// Time that an event waits for others to share its request.
    pub batch_window: Duration,
    /// Time to find and reach a host.
    pub connect_timeout: Duration,
    /// Time for one attempt.
    pub timeout: Duration,
    /// Time before the second attempt.
    pub first_retry: Duration,
    /// Age at which a webhook is given up.
    pub retry_for: Duration,
}

/// The webhooks of all apps. One per server.
#[derive(Debug)]
pub struct Webhooks {
    collector: Collector,
    events: Receiver<HubEvent>,
    endpoints: Arc<Endpoints>,
    figures: Figures,
}

/// Webhooks that are being sent.
#[derive(Debug)]
pub struct Running {
    stop: CancellationToken,
    /// The collector, and who keeps the promises of the journal.
    tasks: TaskTracker,
    endpoints: Arc<Endpoints>,
}

/// Tries webhooks out. Clones share the sender of the queues.
#[derive(Clone, Debug)]
pub struct Tester {
    endpoints: Arc<Endpoints>,
}

/// What came of a request that was sent to try a webhook out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestOutcome {
    /// The body that was sent.
    pub body: String,
    /// What the other side answered, if it did.
    pub status: Option<u16>,
    /// How long that took.
    pub latency: Duration,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

impl Tester {
    /// Sends one event that no client has caused, signed like any other. It is
    /// neither tried again nor logged nor counted.
    pub async fn test(&self, app: &App, webhook: &Webhook) -> TestOutcome {
        self.endpoints.test(app, webhook).await
    }
}

impl Webhooks {
    /// Listens to `hub` from now on, and sends nothing yet. With a journal,
    /// requests survive the end of the process.
    ///
    /// # Errors
    /// The figures cannot be made.
    pub fn new(
        hub: &Arc<Hub>,
        apps: Arc<dyn AppStore>,
        journal: Option<Journal>,
        settings: WebhookSettings,
    ) -> prometheus::Result<Self> {
        let figures = Figures::new()?;
        let connector = Connector {
            deny_private: settings.deny_private_targets,
            timeout: settings.connect_timeout,
        };
        let endpoints = Arc::new(Endpoints::new(Shared {
            hub: Arc::clone(hub),
            apps,
            sender: Sender::new(connector, settings.timeout),
            schedule: Schedule {
                first_retry: settings.first_retry,
                retry_for: settings.retry_for,
            },
            batch_window: settings.batch_window,
            figures: figures.clone(),
            book: Book::new(journal),
            total_bytes: AtomicUsize::new(0),
            finish: CancellationToken::new(),
        }));
        Ok(Self {
            events: hub.events(),
            collector: Collector::new(
                Arc::clone(hub),
                Arc::clone(&endpoints),
                figures.clone(),
                Holds::new(settings.hold_back),
            ),
            endpoints,
            figures,
        })
    }

    /// What becomes of them, in numbers.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.figures.clone()
    }

    /// Sends single requests past the queues.
    #[must_use]
    pub fn tester(&self) -> Tester {
        Tester {
            endpoints: Arc::clone(&self.endpoints),
        }
    }

    /// Begins to send.
    #[must_use]
    pub fn start(self) -> Running {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(self.collector.run(self.events, stop.clone()));
        let (endpoints, end) = (Arc::clone(&self.endpoints), stop.clone());
        tasks.spawn(async move { endpoints.keep(end).await });
        tasks.close();
        Running {
            stop,
            tasks,
            endpoints: self.endpoints,
        }
    }
}

impl Running {
    /// Tells what is held back, and tries once what was not tried yet. May take
    /// as long as an attempt and is to be bounded by the caller.
    pub async fn finish(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
        self.endpoints.finish().await;
    }
}
