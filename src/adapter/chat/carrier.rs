//! Carries updates from the queues of one channel to the pages of their users.
//!
//! An update is acknowledged when the hub has it. What is no update is rejected, once;
//! what the hub has no room for at the moment goes back to its queue, also once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream, SelectAll};
use lapin::Consumer;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use tokio::sync::mpsc;

use super::Chat;
use super::moves::Moves;
use super::readers::{Reader, UserId};
use super::update::{self, Unreadable};
use crate::adapter::broker::Trouble;
use crate::hub::{Origin, Publish, Scope};

/// Time between two looks whether the readers of updates that are held are back.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A consumer that a carrier is to take over.
#[derive(Debug)]
pub(super) struct Newcomer {
    pub(super) whose: Whose,
    pub(super) tag: Arc<str>,
    pub(super) consumer: Consumer,
}

/// Whose updates come from a queue.
#[derive(Clone, Debug)]
pub(super) enum Whose {
    /// Those of one user.
    One(Arc<Reader>),
    /// Those of many; the routing key says whose.
    Anybody,
}

/// A consumer has ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Nobody: it was the one of all.
    pub(super) user: Option<UserId>,
    pub(super) tag: Arc<str>,
}

/// The work of one channel.
#[derive(Debug)]
pub(super) struct Carrier {
    chat: Arc<Chat>,
    moves: Arc<Moves>,
    ended: mpsc::Sender<Ended>,
    /// What came from the shared queue for users who are still on their way to it: as
    /// much as may be on its way to us.
    waiting: HashMap<UserId, VecDeque<Delivery>>,
    /// Updates of users who have just left, where those must not be lost: as many as
    /// may be on their way. They go back when the consumer has ended, and to the pages
    /// when the user is here again before that.
    held: HashMap<UserId, (Arc<Reader>, VecDeque<Delivery>)>,
}

/// Something of a consumer: a delivery, or its end.
struct Arrival {
    whose: Whose,
    tag: Arc<str>,
    what: Option<lapin::Result<Delivery>>,
}

/// What has become of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The hub has it.
    Taken,
    /// Nobody will ever take it.
    Rejected,
    /// The hub has no room for it now.
    Later,
}

impl Carrier {
    pub(super) fn new(chat: Arc<Chat>, moves: Arc<Moves>, ended: mpsc::Sender<Ended>) -> Self {
        Self {
            chat,
            moves,
            ended,
            waiting: HashMap::new(),
            held: HashMap::new(),
        }
    }

    /// Works until the session is over.
    pub(super) async fn carry(
        mut self,
        mut newcomers: mpsc::Receiver<Newcomer>,
    ) -> Result<(), Trouble> {
        let mut consumers: SelectAll<BoxStream<'static, Arrival>> = SelectAll::new();
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let moves = Arc::clone(&self.moves);
        loop {
            tokio::select! {
                // What waited is older than what comes.
                biased;
                () = moves.settled(), if !self.waiting.is_empty() => self.go_on().await?,
                newcomer = newcomers.recv() => match newcomer {
                    Some(newcomer) => consumers.push(arrivals(newcomer)),
                    None => return Ok(()),
                },
                _ = looks.tick(), if !self.held.is_empty() => self.look_again().await?,
                Some(arrival) = consumers.next(), if !consumers.is_empty() => {
                    self.take(arrival).await?;
                }
            }
        }
    }

    async fn take(&mut self, arrival: Arrival) -> Result<(), Trouble> {
        let Arrival { whose, tag, what } = arrival;
        let Some(delivery) = what else {
            return self.end(&whose, tag).await;
        };
        let delivery = delivery?;
        match &whose {
            Whose::One(reader) => self.moves.note(&reader.id, &delivery),
            Whose::Anybody => self.moves.heard(),
        }
        match whose {
            Whose::One(reader) if self.must_wait(&reader).await => {
                let (_, held) = self
                    .held
                    .entry(reader.id.clone())
                    .or_insert_with(|| (reader, VecDeque::new()));
                held.push_back(delivery);
                Ok(())
            }
            Whose::One(reader) => self.deliver(&[reader], &delivery).await,
            Whose::Anybody => {
                let users = self.chat.bindings.users(delivery.routing_key.as_str());
                let waits =
                    |id: &&UserId| self.waiting.contains_key(*id) || self.moves.is_moving(id);
                match users.iter().find(waits) {
                    Some(id) => {
                        let waiting = self.waiting.entry(id.clone()).or_default();
                        waiting.push_back(delivery);
                        Ok(())
                    }
                    None => self.deliver_to(&users, &delivery).await,
                }
            }
        }
    }

    /// Delivers what came from the shared queue.
    async fn deliver_to(&self, users: &[UserId], delivery: &Delivery) -> Result<(), Trouble> {
        // Those who have left since it was on its way miss nothing.
        let readers: Vec<_> = users
            .iter()
            .filter(|id| !self.moves.is_copy(id, delivery))
            .filter_map(|id| self.chat.readers.get(id))
            .collect();
        self.deliver(&readers, delivery).await
    }

    /// Delivers what waited for users who have moved.
    async fn go_on(&mut self) -> Result<(), Trouble> {
        let ids = self.waiting.keys();
        let moved: Vec<UserId> = ids
            .filter(|id| !self.moves.is_moving(id))
            .cloned()
            .collect();
        for id in moved {
            for delivery in self.waiting.remove(&id).unwrap_or_default() {
                let users = self.chat.bindings.users(delivery.routing_key.as_str());
                self.deliver_to(&users, &delivery).await?;
            }
        }
        Ok(())
    }

    /// Whether the user has no page here, and the update would be lost; or others are
    /// before it.
    async fn must_wait(&self, reader: &Reader) -> bool {
        self.chat.config.offline_buffer_s > 0
            && (self.held.contains_key(&reader.id) || !self.chat.is_read(reader).await)
    }

    /// Delivers what was held for users who are here again.
    async fn look_again(&mut self) -> Result<(), Trouble> {
        let mut back = Vec::new();
        for (reader, _) in self.held.values() {
            if self.chat.is_read(reader).await {
                back.push(reader.id.clone());
            }
        }
        for id in back {
            let Some((reader, held)) = self.held.remove(&id) else {
                continue;
            };
            for delivery in held {
                self.deliver(&[Arc::clone(&reader)], &delivery).await?;
            }
        }
        Ok(())
    }

    /// A consumer has ended; what was held goes back to its queue.
    async fn end(&mut self, whose: &Whose, tag: Arc<str>) -> Result<(), Trouble> {
        let user = match whose {
            Whose::One(reader) => Some(reader.id.clone()),
            Whose::Anybody => None,
        };
        if let Some(id) = &user {
            self.moves.own_has_ended(id);
        }
        if let Some((_, held)) = user.as_ref().and_then(|id| self.held.remove(id)) {
            for delivery in held {
                give_back(&delivery).await?;
            }
        }
        let _ = self.ended.send(Ended { user, tag }).await;
        Ok(())
    }

    async fn deliver(&self, readers: &[Arc<Reader>], delivery: &Delivery) -> Result<(), Trouble> {
        let mut outcome = self.hand_over(readers, delivery).await;
        // The queue of who is moving may be gone before the update could come again.
        let comes_again = !delivery.redelivered
            && !readers
                .iter()
                .any(|reader| self.moves.is_moving(&reader.id));
        if outcome == Outcome::Later && !comes_again && !delivery.redelivered {
            tokio::time::sleep(LOOK_EVERY).await;
            outcome = self.hand_over(readers, delivery).await;
        }
        match outcome {
            Outcome::Taken => {
                delivery.acker.ack(BasicAckOptions::default()).await?;
                Ok(())
            }
            Outcome::Later if comes_again => give_back(delivery).await,
            Outcome::Later => {
                self.chat.counts.dropped.count();
                reject(delivery).await
            }
            Outcome::Rejected => reject(delivery).await,
        }
    }

    /// Hands an update over to all readers; returns what is worst.
    async fn hand_over(&self, readers: &[Arc<Reader>], delivery: &Delivery) -> Outcome {
        let mut outcome = Outcome::Taken;
        for reader in readers {
            match self.chat.hand_over(reader, &delivery.data).await {
                Outcome::Taken => {}
                other => outcome = other,
            }
        }
        outcome
    }
}

async fn reject(delivery: &Delivery) -> Result<(), Trouble> {
    let options = BasicNackOptions {
        requeue: false,
        ..BasicNackOptions::default()
    };
    delivery.acker.nack(options).await?;
    Ok(())
}

async fn give_back(delivery: &Delivery) -> Result<(), Trouble> {
    let options = BasicNackOptions {
        requeue: true,
        ..BasicNackOptions::default()
    };
    delivery.acker.nack(options).await?;
    Ok(())
}

fn arrivals(newcomer: Newcomer) -> BoxStream<'static, Arrival> {
    let Newcomer {
        whose,
        tag,
        consumer,
    } = newcomer;
    consumer
        .map(Some)
        .chain(stream::once(async { None }))
        .map(move |what| Arrival {
            whose: whose.clone(),
            tag: Arc::clone(&tag),
            what,
        })
        .boxed()
}

impl Chat {
    /// Gives an update to the hub, as the events that it means.
    async fn hand_over(&self, reader: &Reader, body: &[u8]) -> Outcome {
        tracing::debug!(
            target: "chat3",
            { user.id = %reader.id, size_bytes = body.len() },
            "Update received for {}",
            reader.id
        );
        let app = match self.ground.app().await {
            Ok(app) => app,
            Err(error) => {
                tracing::warn!(target: "chat3", %error, "an update waits");
                return Outcome::Later;
            }
        };
        let reading = match update::read(body, &reader.id, app.limits.event_data_bytes) {
            Ok(reading) => reading,
            Err(why) => {
                let count = match why {
                    Unreadable::Malformed { .. } => &self.counts.malformed,
                    Unreadable::Foreign => &self.counts.foreign,
                };
                count.count();
                tracing::warn!(target: "chat3", { user.id = %reader.id, %why }, "an update is dropped");
                return Outcome::Rejected;
            }
        };
        let scope = if self.config.offline_buffer_s > 0 {
            // One node gets it for all.
            Scope::Cluster
        } else {
            Scope::Node
        };
        let events: Vec<_> = reading
            .events
            .iter()
            .map(|event| Publish {
                channels: std::slice::from_ref(&reader.channel),
                event: event.name,
                data: &event.data,
                except: None,
                scope,
                origin: Origin::Adapter,
            })
            .collect();
        if let Err(error) = self.ground.publisher(&app).publish_burst(&events) {
            tracing::debug!(target: "chat3", { user.id = %reader.id, %error }, "an update waits");
            return Outcome::Later;
        }
        if reading.is_shortened {
            self.counts.shortened.count();
        }
        self.counts.updates.count();
        reader.note_update();
        Outcome::Taken
    }

    /// Whether a page of the user is on this node: as the hub knows it, which is the
    /// first to know.
    async fn is_read(&self, reader: &Reader) -> bool {
        let Ok(app) = self.ground.app().await else {
            return false;
        };
        self.ground
            .here(&app)
            .occupancy(&reader.channel)
            .subscriptions
            > 0
    }
}
