//! What adapters stand on: the server as they see it.
//!
//! An [`Adapter`] publishes through the same [`Publisher`] as everybody else, to all
//! nodes or to this one; it reads what happens as the hub tells it, without the
//! delay of webhooks; and it may have client events for itself instead of for the
//! other subscribers ([`ConsumedEvents`]). It knows nothing of connections, transports
//! and other adapters. [`super::supervisor`] runs it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfare_protocol::AppId;
use futures_util::future::BoxFuture;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use crate::apps::{App, AppStore};
use crate::hub::engine::{Engine, Figure};
use crate::hub::{
    AppHub, ConsumedEvents, Departure, Holds, Hub, HubEvent, HubEventKind, Publisher, Scope,
};

/// A part of the server that serves one foreign system.
pub trait Adapter: Debug + Send + Sync {
    /// What operators know it as, in metrics and logs.
    fn name(&self) -> &'static str;

    /// Client events that are for it alone; asked once, before it runs. Nobody
    /// gets them while it is down.
    fn consumes(&self) -> Vec<ConsumedEvents> {
        Vec::new()
    }

    /// Works until `stop`. May be called again after it has failed or panicked;
    /// what it must not forget is in `self`.
    ///
    /// # Errors
    /// It cannot go on. It is started again after a pause.
    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, anyhow::Result<()>>;

    /// What it misses at the moment although it runs, such as a broker that is out of
    /// reach. Anybody may read this: no names and no addresses.
    fn missing(&self) -> Option<String> {
        None
    }

    /// Whether it works until the last client has gone to another node, and not only
    /// until the server begins to stop.
    fn serves_the_last_client(&self) -> bool {
        false
    }

    /// What it counts.
    fn figures(&self) -> Vec<Figure> {
        Vec::new()
    }
}

/// One app of the server, for an adapter. Clones share it.
#[derive(Clone, Debug)]
pub struct Ground {
    hub: Arc<Hub>,
    apps: Arc<dyn AppStore>,
    app_id: AppId,
    vacate_grace: Duration,
}

/// What happens in the app, departures held back.
#[derive(Debug)]
pub struct Happenings {
    events: Receiver<HubEvent>,
    app_id: AppId,
    scope: Scope,
    holds: Holds,
}

/// Something that an adapter hears of.
#[derive(Clone, Debug)]
pub enum Happening {
    /// It happened.
    Event(HubEventKind),
    /// So many events came faster than they were read; what they said must be
    /// asked for.
    Lost(u64),
}

/// The app of an adapter is not there.
#[derive(Debug, thiserror::Error)]
#[error("the app {0:?} is not there, or disabled")]
pub struct NoApp(String);

impl Ground {
    /// The app with the id `app_id`. Departures wait `vacate_grace` for a return.
    #[must_use]
    pub fn new(
        hub: Arc<Hub>,
        apps: Arc<dyn AppStore>,
        app_id: AppId,
        vacate_grace: Duration,
    ) -> Self {
        Self {
            hub,
            apps,
            app_id,
            vacate_grace,
        }
    }

    /// Whose ground it is.
    #[must_use]
    pub fn app_id(&self) -> &AppId {
        &self.app_id
    }

    /// The app as it is at the moment.
    ///
    /// # Errors
    /// It is not there or disabled, or the store cannot tell.
    pub async fn app(&self) -> anyhow::Result<Arc<App>> {
        let found = self.apps.by_id(&self.app_id).await?;
        let app = found
            .filter(|app| app.enabled)
            .ok_or_else(|| NoApp(self.app_id.to_string()))?;
        Ok(app)
    }

    /// The one way in for events, of the whole deployment or of this node.
    #[must_use]
    pub fn publisher(&self, app: &Arc<App>) -> Publisher {
        self.hub.publisher(app)
    }

    /// The app's part of the hub, for questions about this node.
    #[must_use]
    pub fn here(&self, app: &Arc<App>) -> Arc<AppHub> {
        self.hub.app(app)
    }

    /// For questions about the deployment.
    #[must_use]
    pub fn engine(&self) -> &dyn Engine {
        self.hub.engine()
    }

    /// What happens from now on: with [`Scope::Cluster`] the firsts and lasts of the
    /// deployment, each on one node only; with [`Scope::Node`] those of this node as
    /// well. What happens to a single connection is told in both, on its node.
    ///
    /// `Vacated` and `MemberRemoved` are held back for the grace; a return within it,
    /// on the same node, cancels both.
    #[must_use]
    pub fn happenings(&self, scope: Scope) -> Happenings {
        Happenings {
            events: self.hub.events(),
            app_id: self.app_id.clone(),
            scope,
            holds: Holds::new(self.vacate_grace),
        }
    }
}

impl Happenings {
    /// The next one; `None` when the server is gone.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Happening> {
        loop {
            if let Some(departure) = self.holds.release(Instant::now()) {
                return Some(Happening::Event(left(departure)));
            }
            let due = self.holds.next_due();
            let received = tokio::select! {
                received = self.events.recv() => received,
                () = until(due) => continue,
            };
            match received {
                Ok(event) => {
                    if let Some(kind) = self.take(event) {
                        return Some(Happening::Event(kind));
                    }
                }
                Err(RecvError::Lagged(lost)) => return Some(Happening::Lost(lost)),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// What of `event` is to be told now.
    fn take(&mut self, event: HubEvent) -> Option<HubEventKind> {
        let is_ours = event.app == self.app_id
            && (self.scope == Scope::Node || event.scope == Scope::Cluster);
        if !is_ours {
            return None;
        }
        let departure = |channel: &_, user_id: Option<&_>| Departure {
            app: self.app_id.clone(),
            channel: Clone::clone(channel),
            user_id: user_id.cloned(),
        };
        let (departure, is_return) = match &event.kind {
            HubEventKind::Occupied { channel } => (departure(channel, None), true),
            HubEventKind::MemberAdded { channel, user_id } => {
                (departure(channel, Some(user_id)), true)
            }
            HubEventKind::Vacated { channel } => (departure(channel, None), false),
            HubEventKind::MemberRemoved { channel, user_id } => {
                (departure(channel, Some(user_id)), false)
            }
            _ => return Some(event.kind),
        };
        if is_return {
            return (!self.holds.cancel(&departure)).then_some(event.kind);
        }
        self.holds.hold(departure, Instant::now()).map(left)
    }
}

fn left(departure: Departure) -> HubEventKind {
    let channel = departure.channel;
    match departure.user_id {
        Some(user_id) => HubEventKind::MemberRemoved { channel, user_id },
        None => HubEventKind::Vacated { channel },
    }
}

/// The `_eid` of an event that goes to several channels, by which a page knows that it has
/// seen it. A ULID: sorts by time, and is made by one node only.
pub(super) fn event_id() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let milliseconds = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    Ulid::from_parts(milliseconds, rand::random()).to_string()
}

/// Waits until then; for ever when nothing is due.
pub(super) async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fanfare_protocol::{ChannelName, Limits, UserId};
    use tokio::sync::broadcast;

    use super::*;

    fn channel() -> ChannelName {
        ChannelName::parse("presence-online", &Limits::default()).unwrap()
    }

    fn event(scope: Scope, kind: HubEventKind) -> HubEvent {
        HubEvent {
            app: AppId::new("1"),
            scope,
            is_return: false,
            kind,
        }
    }

    fn added(user: &str) -> HubEventKind {
        HubEventKind::MemberAdded {
            channel: channel(),
            user_id: UserId::new(user),
        }
    }

    fn removed(user: &str) -> HubEventKind {
        HubEventKind::MemberRemoved {
            channel: channel(),
            user_id: UserId::new(user),
        }
    }

    fn happenings(events: Receiver<HubEvent>, scope: Scope) -> Happenings {
        Happenings {
            events,
            app_id: AppId::new("1"),
            scope,
            holds: Holds::new(Duration::from_millis(20)),
        }
    }

    /// The next `count` that are told.
    async fn told(happenings: &mut Happenings, count: usize) -> Vec<String> {
        let mut told = Vec::new();
        while told.len() < count {
            let next = tokio::time::timeout(Duration::from_secs(20), happenings.next());
            told.push(match next.await.unwrap().unwrap() {
                Happening::Event(HubEventKind::MemberAdded { user_id, .. }) => {
                    format!("+{user_id}")
                }
                Happening::Event(HubEventKind::MemberRemoved { user_id, .. }) => {
                    format!("-{user_id}")
                }
                other => format!("{other:?}"),
            });
        }
        told
    }

    #[tokio::test]
    async fn departures_wait_for_a_return() {
        let sender = broadcast::Sender::new(16);
        let mut happenings = happenings(sender.subscribe(), Scope::Cluster);
        for kind in [
            added("a"),
            removed("a"),
            removed("b"),
            added("a"),
            added("c"),
        ] {
            sender.send(event(Scope::Cluster, kind)).unwrap();
        }

        // Nothing of the user who was back in time.
        assert_eq!(told(&mut happenings, 3).await, ["+a", "+c", "-b"]);
        assert_eq!(happenings.holds.next_due(), None);
    }

    #[tokio::test]
    async fn each_reader_hears_of_its_scope_and_its_app() {
        let sender = broadcast::Sender::new(16);
        let mut cluster = happenings(sender.subscribe(), Scope::Cluster);
        let mut node = happenings(sender.subscribe(), Scope::Node);
        let other = HubEvent {
            app: AppId::new("2"),
            ..event(Scope::Cluster, added("c"))
        };
        sender.send(other).unwrap();
        sender.send(event(Scope::Node, added("a"))).unwrap();
        sender.send(event(Scope::Cluster, added("b"))).unwrap();

        assert_eq!(told(&mut cluster, 1).await, ["+b"]);
        assert_eq!(told(&mut node, 2).await, ["+a", "+b"]);
    }

    #[tokio::test]
    async fn a_reader_that_falls_behind_is_told() {
        let sender = broadcast::Sender::new(2);
        let mut happenings = happenings(sender.subscribe(), Scope::Cluster);
        for user in ["a", "b", "c"] {
            sender.send(event(Scope::Cluster, added(user))).unwrap();
        }

        assert!(matches!(happenings.next().await, Some(Happening::Lost(1))));
        assert!(matches!(happenings.next().await, Some(Happening::Event(_))));
    }
}
