//! The queues of one session with the broker: declared, bound and consumed as the
//! readers need it.
//!
//! A user's queue belongs to the connection (exclusive) and vanishes with it, so that
//! a node that dies leaves nothing behind and two nodes never split what a user gets.
//! Where updates wait for users who are away, their queue is nobody's and outlives
//! connections; of the nodes that consume from it, the broker lets one.
//!
//! A queue costs the broker memory, so where many users read on one node they share a
//! queue: those who come then, and those who were there are moved, one by one
//! ([`super::moves`]).

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, try_join_all};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::options::{
    BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Consumer};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::Chat;
use super::carrier::{Carrier, Ended, Newcomer, Whose};
use super::moves::Moves;
use super::readers::{Bound, Need, Reader, UserId};
use crate::adapter::broker::{Session, Trouble, within};
use crate::config::QueueMode;

/// Users whose queues are consumed over one channel.
const PER_CHANNEL: usize = 500;

/// Users whom the broker is told of at the same time.
const AT_ONCE: usize = 64;

/// Users who are moved at the same time, so that others are not kept waiting.
const MOVES_AT_ONCE: usize = AT_ONCE / 4;

/// Time between two looks whether a queue that gets no more is empty.
const DRAIN_EVERY: Duration = Duration::from_millis(20);

/// Time between two looks whether the exchange is still there: with it all bindings
/// would be gone, and nothing would say so.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Updates that wait for one user who is away; the oldest make room for more.
const MAX_WAITING: u32 = 1_000;

/// Consumers that a carrier has not taken over yet.
const NEWCOMERS: usize = 64;

/// The queues of one session.
#[derive(Debug)]
pub(super) struct Queues {
    chat: Arc<Chat>,
    session: Session,
    lanes: Vec<Lane>,
    places: HashMap<UserId, Place>,
    /// Channel and name of the queue that users share, once there is one.
    shared: Option<(Channel, String)>,
    /// Whether users share it, with [`QueueMode::Auto`].
    is_sharing: bool,
    moves: Arc<Moves>,
    carriers: JoinSet<Result<(), Trouble>>,
    ended: mpsc::Sender<Ended>,
    endings: mpsc::Receiver<Ended>,
    number: u64,
}

/// A channel, and the task that carries what comes over it to the pages.
#[derive(Debug)]
struct Lane {
    channel: Channel,
    users: usize,
    newcomers: mpsc::Sender<Newcomer>,
}

/// Where a queue of a user is consumed.
#[derive(Debug)]
struct Place {
    lane: usize,
    tag: Arc<str>,
}

/// What the broker has done for a user.
struct Done {
    id: UserId,
    bound: Option<Bound>,
}

/// Something that the broker is doing.
type Job = BoxFuture<'static, Result<Done, Trouble>>;

impl Queues {
    pub(super) fn new(chat: Arc<Chat>, session: Session) -> Self {
        let (ended, endings) = mpsc::channel(AT_ONCE);
        Self {
            chat,
            session,
            lanes: Vec::new(),
            places: HashMap::new(),
            shared: None,
            is_sharing: false,
            moves: Arc::default(),
            carriers: JoinSet::new(),
            ended,
            endings,
            number: 0,
        }
    }

    /// Keeps the broker informed until the session is over; returns why it is.
    pub(super) async fn keep(mut self) -> Trouble {
        match self.try_keep().await {
            Ok(never) => match never {},
            Err(trouble) => trouble,
        }
    }

    async fn try_keep(&mut self) -> Result<Infallible, Trouble> {
        let readers = Arc::clone(&self.chat.readers);
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut jobs: FuturesUnordered<Job> = FuturesUnordered::new();
        let mut busy = HashSet::new();
        loop {
            self.reconsider();
            while jobs.len() < AT_ONCE
                && let Some(need) = readers.next_need(|id| busy.contains(id))
            {
                let (id, job) = self.job(need).await?;
                busy.insert(id);
                jobs.push(job);
            }
            while jobs.len() < MOVES_AT_ONCE
                && let Some(id) = self.next_to_move(&busy)
            {
                let job = self.move_over(&id).await?;
                busy.insert(id);
                jobs.push(job);
            }
            tokio::select! {
                Some(done) = jobs.next() => {
                    let Done { id, bound } = done?;
                    busy.remove(&id);
                    match &bound {
                        Some(_) if readers.bound(&id).is_some() => {
                            self.chat.counts.moved.count();
                            tracing::debug!(target: "chat3", { user.id = %id }, "User {id} has moved to the shared queue");
                        }
                        Some(_) => tracing::info!(target: "chat3", { user.id = %id }, "User {id} subscribed to updates"),
                        None => tracing::info!(target: "chat3", { user.id = %id }, "User {id} unsubscribed from updates"),
                    }
                    readers.is_bound(&id, bound);
                }
                Some(ended) = self.endings.recv() => self.has_ended(ended)?,
                Some(carrier) = self.carriers.join_next() => {
                    return Err(match carrier {
                        Ok(Ok(())) => Trouble::Lost("a channel has ended".to_owned()),
                        Ok(Err(trouble)) => trouble,
                        Err(error) => Trouble::Lost(error.to_string()),
                    });
                }
                () = readers.changed(), if jobs.len() < AT_ONCE => {}
                _ = looks.tick() => self.look().await?,
            }
        }
    }

    /// Waits until the chat has declared its exchange.
    pub(super) async fn exchange_is_there(&self) -> Result<(), Trouble> {
        let exchange = &self.chat.config.exchange;
        let mut pause = Duration::from_millis(500);
        while let Err(missing) = self.look().await {
            if !matches!(missing, Trouble::Missing(_)) {
                return Err(missing);
            }
            tracing::warn!(
                target: "chat3",
                exchange,
                "RabbitMQ has no such exchange yet; waiting until the chat declares it"
            );
            self.chat.link.show(Some(missing));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(30));
        }
        self.chat.link.show(None);
        Ok(())
    }

    async fn look(&self) -> Result<(), Trouble> {
        let exchange = &self.chat.config.exchange;
        if self.session.has_exchange(exchange).await? {
            return Ok(());
        }
        Err(Trouble::Missing(format!("no exchange {exchange:?}")))
    }

    async fn job(&mut self, need: Need) -> Result<(UserId, Job), Trouble> {
        match need {
            Need::Bind(reader) if self.has_room() => self.bind_own(reader).await,
            Need::Bind(reader) => self.bind_shared(&reader).await,
            Need::Release(id, bound) => Ok(self.release(id, bound)),
        }
    }

    /// Decides whether users share a queue: above a number of them, and until there are
    /// half as many, so that coming and going around the number moves nobody.
    fn reconsider(&mut self) {
        let users = self.chat.readers.count();
        let most = usize::try_from(self.chat.config.per_node_above).unwrap_or(usize::MAX);
        if users > most {
            self.is_sharing = true;
        } else if users <= most / 2 {
            self.is_sharing = false;
        }
    }

    /// Whether users may have queues of their own.
    fn has_room(&self) -> bool {
        let config = &self.chat.config;
        match config.queue_mode {
            _ if config.offline_buffer_s > 0 => true,
            QueueMode::PerUser => true,
            QueueMode::PerNode => false,
            QueueMode::Auto => !self.is_sharing,
        }
    }

    /// A user who has a queue of their own and should not.
    fn next_to_move(&self, busy: &HashSet<UserId>) -> Option<UserId> {
        if self.has_room() {
            return None;
        }
        self.places.keys().find(|id| !busy.contains(*id)).cloned()
    }

    async fn bind_own(&mut self, reader: Arc<Reader>) -> Result<(UserId, Job), Trouble> {
        self.number += 1;
        let id = reader.id.clone();
        let tag: Arc<str> = format!("{id}.{}", self.number).into();
        let lane = self.lane().await?;
        let place = Place {
            lane,
            tag: Arc::clone(&tag),
        };
        let lane = &mut self.lanes[lane];
        lane.users += 1;
        let (channel, newcomers) = (lane.channel.clone(), lane.newcomers.clone());
        self.places.insert(id.clone(), place);
        let queue = self.own_queue(&id);
        let chat = Arc::clone(&self.chat);
        let user = id.clone();
        let job = async move {
            let consumer = chat
                .consume(&channel, &queue, &chat.bindings.keys(&user), &tag)
                .await?;
            let newcomer = Newcomer {
                whose: Whose::One(reader),
                tag,
                consumer,
            };
            // It is gone only together with the session.
            let _ = newcomers.send(newcomer).await;
            let bound = Some(Bound::Own { queue });
            Ok(Done { id: user, bound })
        };
        Ok((id, job.boxed()))
    }

    fn own_queue(&self, id: &UserId) -> String {
        match self.chat.config.offline_buffer_s {
            0 => format!("fanfare.{}.user.{id}.updates", self.session.id()),
            // With another time it must be another queue: the broker does not change one.
            seconds => format!("fanfare.user.{id}.updates.{seconds}s"),
        }
    }

    async fn bind_shared(&mut self, reader: &Reader) -> Result<(UserId, Job), Trouble> {
        let (channel, queue) = self.shared().await?;
        let keys = self.chat.bindings.keys(&reader.id);
        let exchange = self.chat.config.exchange.clone();
        let id = reader.id.clone();
        let user = id.clone();
        let job = async move {
            bind_all(&channel, &queue, &exchange, &keys).await?;
            let bound = Some(Bound::Shared { queue });
            Ok(Done { id: user, bound })
        };
        Ok((id, job.boxed()))
    }

    /// Takes a user from their own queue to the shared one.
    async fn move_over(&mut self, id: &UserId) -> Result<Job, Trouble> {
        let (shared, shared_queue) = self.shared().await?;
        let own_queue = self.own_queue(id);
        let place = self.leave_place(id);
        let keys = self.chat.bindings.keys(id);
        let exchange = self.chat.config.exchange.clone();
        let prefetch = u64::from(self.chat.config.prefetch);
        let (moves, session) = (Arc::clone(&self.moves), self.session.clone());
        let id = id.clone();
        let job = async move {
            moves.begin(&id);
            bind_all(&shared, &shared_queue, &exchange, &keys).await?;
            if let Some((own, tag)) = place {
                // Over the channel of its consumer: what that has given back is in the
                // queue by then.
                unbind_all(&own, &own_queue, &exchange, &keys).await?;
                while let Some(queue) = session.queue(&own_queue).await?
                    && queue.messages > 0
                {
                    tokio::time::sleep(DRAIN_EVERY).await;
                }
                cancel(&own, &tag).await?;
                moves.drained(&id).await;
            }
            let waiting = session.queue(&shared_queue).await?;
            let waiting = waiting.map_or(0, |queue| queue.messages);
            moves.settle(&id, u64::from(waiting) + prefetch);
            let queue = shared_queue;
            let bound = Some(Bound::Shared { queue });
            Ok(Done { id, bound })
        };
        Ok(job.boxed())
    }

    /// Channel and name of the queue that users share.
    async fn shared(&mut self) -> Result<(Channel, String), Trouble> {
        match &self.shared {
            Some(shared) => Ok(shared.clone()),
            None => self.share().await,
        }
    }

    /// Declares the queue that users share, and consumes from it.
    async fn share(&mut self) -> Result<(Channel, String), Trouble> {
        let queue = format!("fanfare.{}.updates", self.session.id());
        let tag: Arc<str> = "shared".into();
        let lane = self.new_lane(usize::MAX).await?;
        let (channel, newcomers) = {
            let lane = &self.lanes[lane];
            (lane.channel.clone(), lane.newcomers.clone())
        };
        let consumer = self.chat.consume(&channel, &queue, &[], &tag).await?;
        let newcomer = Newcomer {
            whose: Whose::Anybody,
            tag,
            consumer,
        };
        let _ = newcomers.send(newcomer).await;
        self.shared = Some((channel.clone(), queue.clone()));
        Ok((channel, queue))
    }

    fn release(&mut self, id: UserId, bound: Bound) -> (UserId, Job) {
        let user = id.clone();
        let job = match bound {
            Bound::Own { .. } => {
                let place = self.leave_place(&id);
                async move {
                    if let Some((channel, tag)) = place {
                        cancel(&channel, &tag).await?;
                    }
                    Ok(Done { id, bound: None })
                }
                .boxed()
            }
            Bound::Shared { queue } => {
                let channel = self.shared.as_ref().map(|(channel, _)| channel.clone());
                let keys = self.chat.bindings.keys(&id);
                let exchange = self.chat.config.exchange.clone();
                async move {
                    if let Some(channel) = channel {
                        unbind_all(&channel, &queue, &exchange, &keys).await?;
                    }
                    Ok(Done { id, bound: None })
                }
                .boxed()
            }
        };
        (user, job)
    }

    /// The consumer of a user's own queue, which is to end.
    fn leave_place(&mut self, id: &UserId) -> Option<(Channel, Arc<str>)> {
        let place = self.places.remove(id)?;
        let lane = &mut self.lanes[place.lane];
        lane.users -= 1;
        Some((lane.channel.clone(), place.tag))
    }

    /// A queue was deleted, or another ended its consumer.
    fn has_ended(&mut self, ended: Ended) -> Result<(), Trouble> {
        let Some(id) = ended.user else {
            return Err(Trouble::Closed("the queue of this node is gone".to_owned()));
        };
        // Otherwise it has ended because we wanted it.
        if self
            .places
            .get(&id)
            .is_some_and(|place| place.tag == ended.tag)
        {
            tracing::warn!(target: "chat3", { user.id = %id }, "the queue of a user is gone; they get another one");
            self.leave_place(&id);
            self.chat.readers.is_bound(&id, None);
        }
        Ok(())
    }

    /// A lane with room for one more.
    async fn lane(&mut self) -> Result<usize, Trouble> {
        match self.lanes.iter().position(|lane| lane.users < PER_CHANNEL) {
            Some(lane) => Ok(lane),
            None => self.new_lane(0).await,
        }
    }

    async fn new_lane(&mut self, users: usize) -> Result<usize, Trouble> {
        let channel = self.session.channel().await?;
        let options = BasicQosOptions::default();
        within(channel.basic_qos(self.chat.config.prefetch, options)).await?;
        let (newcomers, arriving) = mpsc::channel(NEWCOMERS);
        let carrier = Carrier::new(
            Arc::clone(&self.chat),
            Arc::clone(&self.moves),
            self.ended.clone(),
        );
        self.carriers.spawn(carrier.carry(arriving));
        self.lanes.push(Lane {
            channel,
            users,
            newcomers,
        });
        Ok(self.lanes.len() - 1)
    }
}

impl Drop for Queues {
    /// However the session has ended, nothing is bound any more.
    fn drop(&mut self) {
        self.chat.readers.forget_bindings();
    }
}

impl Chat {
    /// Declares a queue, binds it and consumes from it, in one exchange: the broker
    /// takes the steps of a channel in their order.
    async fn consume(
        &self,
        channel: &Channel,
        queue: &str,
        keys: &[String],
        tag: &str,
    ) -> Result<Consumer, Trouble> {
        let (options, arguments) = self.kind_of_queue();
        let declare = within(channel.queue_declare(queue.into(), options, arguments));
        let exchange = &self.config.exchange;
        let binds = bind_all(channel, queue, exchange, keys);
        let consume = within(channel.basic_consume(
            queue.into(),
            tag.into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        ));
        let (_, _, consumer) = tokio::try_join!(declare, binds, consume)?;
        Ok(consumer)
    }

    fn kind_of_queue(&self) -> (QueueDeclareOptions, FieldTable) {
        let mut arguments = FieldTable::default();
        let seconds = self.config.offline_buffer_s;
        if seconds == 0 {
            let options = QueueDeclareOptions {
                exclusive: true,
                auto_delete: true,
                ..QueueDeclareOptions::default()
            };
            return (options, arguments);
        }
        let milliseconds = AMQPValue::LongLongInt(i64::from(seconds) * 1_000);
        arguments.insert("x-expires".into(), milliseconds.clone());
        arguments.insert("x-message-ttl".into(), milliseconds);
        arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
        let most = AMQPValue::LongLongInt(i64::from(MAX_WAITING));
        arguments.insert("x-max-length".into(), most);
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        (options, arguments)
    }
}

async fn bind_all(
    channel: &Channel,
    queue: &str,
    exchange: &str,
    keys: &[String],
) -> Result<(), Trouble> {
    let binds = keys.iter().map(|key| {
        within(channel.queue_bind(
            queue.into(),
            exchange.into(),
            key.as_str().into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        ))
    });
    try_join_all(binds).await?;
    Ok(())
}

async fn unbind_all(
    channel: &Channel,
    queue: &str,
    exchange: &str,
    keys: &[String],
) -> Result<(), Trouble> {
    let unbinds = keys.iter().map(|key| {
        within(channel.queue_unbind(
            queue.into(),
            exchange.into(),
            key.as_str().into(),
            FieldTable::default(),
        ))
    });
    try_join_all(unbinds).await?;
    Ok(())
}

/// Ends a consumer; a queue that is deleted with its last one goes as well.
async fn cancel(channel: &Channel, tag: &str) -> Result<(), Trouble> {
    within(channel.basic_cancel(tag.into(), BasicCancelOptions::default())).await
}
