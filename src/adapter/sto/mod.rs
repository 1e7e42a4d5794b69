//! The queue of a car service: displays, mechanics' terminals, customers' pages.
//!
//! ```text
//! order service -> POST /adapters/sto/v1/… -> endpoint -> change -> Publisher
//! orders (memory, PostgreSQL) -> displays (filters; every 3 s and at once) -> Publisher
//! pages -> POST /adapters/sto/v1/auth -> door (who may subscribe to what)
//! RabbitMQ <-> events
//! ```
//!
//! The order service keeps its data; it tells here what has changed.
//! docs/adapters/sto.md goes through everything that the old gateway did.

mod change;
mod displays;
mod door;
mod endpoint;
mod events;
mod filters;
mod moment;
mod orders;
mod page;
mod tracking;

use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::{ChannelName, Limits};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use self::displays::{Displays, Manner, Which};
use self::events::Events;
use self::filters::Filters;
use self::orders::{Memory, Orders, OrdersError, Postgres};
use super::auth::origins::Origins;
use super::auth::{Authority, room};
use super::count::Count;
use super::ground::{Adapter, Ground, Happening, Happenings};
use super::token::Token;
use crate::apps::App;
use crate::config::{AuthConfig, StoConfig};
use crate::hub::engine::Figure;
use crate::hub::{ChannelFull, ConsumedEvents, HubEventKind, Origin, Publish, Scope};
use crate::limits::{Addresses, Rates};

/// The channel of all orders, for mechanics without a zone.
const ORDERS: &str = "private-sto-orders";

/// The channel whose members are the mechanics.
const MECHANICS: &str = "presence-sto-mechanics";

/// Client events of displays, which are for the adapter alone.
const UPDATE_FILTERS: &str = "client-update_filters";
const REQUEST_UPDATE: &str = "client-request_queue_update";

/// Displays that one reading of the orders serves, of those that ask.
const ASKING_AT_ONCE: usize = 256;

/// Wrong tokens of one address within a minute, after which it is not listened to.
const FAILURES_PER_MINUTE: u32 = 100;

/// Requests of one address within a minute: pages of many customers may share one.
const REQUESTS_PER_MINUTE: u32 = 600;

/// Time for messages to the broker when the server stops.
const LAST_MESSAGES: Duration = Duration::from_millis(1_500);

/// The car service. One per server.
#[derive(Debug)]
pub struct Sto {
    ground: Ground,
    config: StoConfig,
    authority: Arc<Authority>,
    origins: Origins,
    orders: Orders,
    displays: Displays,
    mechanics: ChannelName,
    /// Absent: there is no broker.
    events: Option<Events>,
    /// Whether signatures end with the token.
    has_end: bool,
    /// What the order service sends.
    token: Option<Token>,
    failures: Addresses,
    requests: Rates,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    updates: Count,
    updates_microseconds: Count,
    failed_reads: Count,
    changes: Count,
    refused: Count,
}

impl Sto {
    /// On `ground`; people are who `authority`, made of `auth`, says they are. The
    /// broker shows this node as `node`.
    ///
    /// # Errors
    /// A URL is none, which the configuration has checked.
    pub fn new(
        ground: Ground,
        config: &StoConfig,
        auth: &AuthConfig,
        authority: Arc<Authority>,
        node: &str,
    ) -> anyhow::Result<Self> {
        let orders = match &config.orders_url {
            Some(url) => Orders::Postgres(Postgres::new(url.reveal(), config.utc_offset_minutes)?),
            None => Orders::Memory(Memory::new(config.utc_offset_minutes)),
        };
        Ok(Self {
            ground,
            authority,
            origins: Origins::new(&auth.allowed_origins),
            orders,
            displays: Displays::default(),
            mechanics: ChannelName::parse(MECHANICS, &Limits::default())
                .expect("the name of a channel is one"),
            events: Events::new(config, node),
            has_end: auth.disconnect_on_expiry,
            token: config.webhook_token.as_ref().map(Token::new),
            failures: Addresses::new(None, Some(FAILURES_PER_MINUTE)),
            requests: Rates::per_minute(REQUESTS_PER_MINUTE),
            counts: Counts::default(),
            config: config.clone(),
        })
    }

    /// Follows the displays and tells them of orders until `stop`.
    async fn follow(
        &self,
        mut happenings: Happenings,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let app = self.ground.app().await?;
        let mut asking = self.find_displays(&app);
        let mut tick = tokio::time::interval(self.config.broadcast_interval());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                _ = tick.tick() => {
                    self.tell_displays(&app, Which::Due).await;
                }
                happening = happenings.next(), if asking.len() < ASKING_AT_ONCE => match happening {
                    Some(Happening::Event(kind)) => asking.extend(self.hear(&app, kind)),
                    Some(Happening::Lost(_)) => asking.extend(self.find_displays(&app)),
                    None => return Ok(()),
                },
                // Nothing else is to be heard at the moment.
                () = std::future::ready(()), if !asking.is_empty() => {
                    self.tell_displays(&app, Which::These(&asking)).await;
                    asking.clear();
                }
            }
        }
    }

    /// Looks which displays are there; returns those that were not known.
    fn find_displays(&self, app: &Arc<App>) -> Vec<ChannelName> {
        let here = self.ground.here(app);
        let there: Vec<ChannelName> = here
            .channels(displays::PREFIX)
            .into_iter()
            .map(|occupancy| occupancy.channel)
            .collect();
        self.displays.retain(|channel| there.contains(channel));
        let unknown = there
            .into_iter()
            .filter(|channel| !self.displays.has(channel));
        unknown
            .filter(|channel| self.register(app, channel))
            .collect()
    }

    /// Puts a display down with the filters that its page has signed up with. False:
    /// it is gone already.
    fn register(&self, app: &Arc<App>, channel: &ChannelName) -> bool {
        let here = self.ground.here(app);
        let member = here
            .users(channel)
            .first()
            .and_then(|user_id| here.member(channel, user_id));
        let Some(member) = member else {
            return false;
        };
        let info = member
            .user_info
            .as_deref()
            .map(serde_json::value::RawValue::get);
        self.displays.register(channel, displays::filters_of(info));
        true
    }

    /// Takes note of what has happened; returns the display that is to be told.
    fn hear(&self, app: &Arc<App>, kind: HubEventKind) -> Option<ChannelName> {
        match kind {
            HubEventKind::Subscribed { channel, .. } => {
                displays::id_of(&channel)?;
                self.register(app, &channel).then_some(channel)
            }
            HubEventKind::Unsubscribed { channel, .. } => {
                let is_display = self.displays.has(&channel);
                if is_display && self.ground.here(app).occupancy(&channel).subscriptions == 0 {
                    self.displays.remove(&channel);
                }
                None
            }
            HubEventKind::ClientEvent {
                channel,
                event,
                data,
                ..
            } if self.displays.has(&channel) => match &*event {
                REQUEST_UPDATE => Some(channel),
                UPDATE_FILTERS => {
                    let filters = changed_filters(&data)?;
                    self.displays.change(&channel, filters).then_some(channel)
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Tells displays of this node what they are to show. An error is one of this
    /// round only.
    async fn tell_displays(&self, app: &Arc<App>, which: Which<'_>) {
        if let Err(error) = self.try_tell_displays(app, which).await {
            self.counts.failed_reads.count();
            tracing::warn!(%error, "the displays are not told of orders this time");
        }
    }

    async fn try_tell_displays(&self, app: &Arc<App>, which: Which<'_>) -> Result<(), OrdersError> {
        if self.displays.count() == 0 {
            return Ok(());
        }
        let begin = Instant::now();
        let orders = self.orders.today().await?;
        let updates = self.displays.updates(&orders, which, self.manner(), begin);
        for (channel, data) in updates {
            let channels = std::slice::from_ref(&channel);
            if self
                .tell(app, channels, "queue_update", &data, Scope::Node)
                .is_ok()
            {
                self.counts.updates.count();
            }
        }
        let spent = begin.elapsed().as_micros();
        let spent = u64::try_from(spent).unwrap_or(u64::MAX);
        self.counts.updates_microseconds.add(spent);
        Ok(())
    }

    fn manner(&self) -> Manner {
        Manner {
            sends_unchanged: self.config.send_unchanged,
            heartbeat: Duration::from_secs(self.config.heartbeat_s.into()),
            hides_contacts: self.config.public_displays,
        }
    }

    /// Publishes an event of the adapter. What a channel has no room for is told to
    /// the operator here.
    fn tell(
        &self,
        app: &Arc<App>,
        channels: &[ChannelName],
        event: &str,
        data: &str,
        scope: Scope,
    ) -> Result<(), ChannelFull> {
        if channels.is_empty() {
            return Ok(());
        }
        let told = self.ground.publisher(app).publish(&Publish {
            channels,
            event,
            data,
            except: None,
            scope,
            origin: Origin::Adapter,
        });
        if let Err(error) = &told {
            tracing::warn!(%error, event, "not told");
        }
        told
    }
}

/// The filters in the data of a client event: themselves, or in `filters`; as an
/// object, or as the text of one.
fn changed_filters(data: &str) -> Option<Filters> {
    let mut value: serde_json::Value = serde_json::from_str(data).ok()?;
    if let Some(text) = value.as_str() {
        value = serde_json::from_str(text).ok()?;
    }
    let filters = value.get("filters").unwrap_or(&value);
    Filters::parse(filters).ok()
}

/// The channel of a room.
fn channel_of_room(room: &str, limits: &Limits) -> Option<ChannelName> {
    let name = format!("private-{}", room::encode(room));
    ChannelName::parse(&name, limits).ok()
}

impl Adapter for Sto {
    fn name(&self) -> &'static str {
        "sto"
    }

    fn consumes(&self) -> Vec<ConsumedEvents> {
        let consumed = |event: &str| ConsumedEvents {
            app: self.ground.app_id().clone(),
            channel_prefix: displays::PREFIX.to_owned(),
            event: event.to_owned(),
        };
        vec![consumed(UPDATE_FILTERS), consumed(REQUEST_UPDATE)]
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, anyhow::Result<()>> {
        async move {
            let both = CancellationToken::new();
            let _end = both.clone().drop_guard();
            let happenings = self.ground.happenings(Scope::Node);
            let follow = async {
                let followed = self.follow(happenings, &stop).await;
                if let Some(events) = &self.events {
                    // What hooks were promised, as far as the broker is there.
                    let _ = tokio::time::timeout(LAST_MESSAGES, events.emptied()).await;
                }
                both.cancel();
                followed
            };
            let work = async {
                match &self.events {
                    Some(events) => events.keep(&self, &both).await,
                    None => both.cancelled().await,
                }
            };
            let (followed, ()) = tokio::join!(follow, work);
            followed
        }
        .boxed()
    }

    fn missing(&self) -> Option<String> {
        self.events.as_ref().and_then(Events::missing)
    }

    fn figures(&self) -> Vec<Figure> {
        let mut figures = vec![
            Figure::gauge(
                "fanfare_sto_displays",
                "Displays of this node.",
                self.displays.count() as u64,
            ),
            Figure::total(
                "fanfare_sto_queue_updates_total",
                "Updates that displays of this node were sent.",
                self.counts.updates.get(),
            ),
            Figure::total(
                "fanfare_sto_queue_update_microseconds_total",
                "Time that reading the orders and telling the displays took.",
                self.counts.updates_microseconds.get(),
            ),
            Figure::total(
                "fanfare_sto_failed_reads_total",
                "Times that the orders could not be read.",
                self.counts.failed_reads.get(),
            ),
            Figure::total(
                "fanfare_sto_changes_total",
                "Changes of orders that hooks have told of.",
                self.counts.changes.get(),
            ),
            Figure::total(
                "fanfare_sto_refused_requests_total",
                "Hooks with a wrong token or signature.",
                self.counts.refused.get(),
            ),
        ];
        figures.extend(self.events.iter().flat_map(Events::figures));
        figures
    }
}
