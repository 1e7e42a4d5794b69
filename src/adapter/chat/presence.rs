//! Who reads here, and who is online: what the hub tells of the chat's channels.

use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::{ChannelName, UserId as MemberId};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::readers::{CHANNEL_PREFIX, UserId, user_of};
use super::{Chat, ONLINE};
use crate::adapter::ground::{Happening, Happenings, until};
use crate::apps::App;
use crate::hub::engine::Departure;
use crate::hub::{Holds, HubEventKind, Origin, Publish, Scope};

/// Time between two comparisons with what the hub has.
const COMPARE_EVERY: Duration = Duration::from_secs(30);

impl Chat {
    /// Follows who comes and goes until `stop`.
    ///
    /// Single subscriptions are followed, not firsts and lasts of channels: those the
    /// nodes find out together, and a user must be bound also while they are out of
    /// touch with one another.
    pub(super) async fn follow(
        &self,
        mut happenings: Happenings,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let app = self.ground.app().await?;
        let mut leaving = Holds::new(self.grace());
        let mut compare = tokio::time::interval(COMPARE_EVERY);
        compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while let Some(departure) = leaving.release(Instant::now()) {
                self.went(&app, &departure.channel);
            }
            let due = leaving.next_due();
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = compare.tick() => self.compare(&app, &leaving),
                () = until(due) => {}
                happening = happenings.next() => match happening {
                    Some(Happening::Event(kind)) => self.hear(&app, kind, &mut leaving).await,
                    Some(Happening::Lost(_)) => self.compare(&app, &leaving),
                    None => return Ok(()),
                },
            }
        }
    }

    /// Time that a user stays bound after their last page has gone. Updates that wait
    /// for them must not be taken out of their queue in that time.
    fn grace(&self) -> Duration {
        if self.config.offline_buffer_s > 0 {
            Duration::ZERO
        } else {
            self.grace
        }
    }

    async fn hear(&self, app: &Arc<App>, kind: HubEventKind, leaving: &mut Holds) {
        match kind {
            HubEventKind::Subscribed { channel, .. } => match user_of(&channel) {
                Some(Ok(id)) => {
                    leaving.cancel(&departure(app, channel));
                    self.readers.arrive(&id);
                }
                Some(Err(id)) => {
                    self.counts.refused.count();
                    tracing::warn!(target: "chat3", { user.id = ?id }, "this id must not stand in a binding: no updates for it");
                }
                None => {}
            },
            HubEventKind::Unsubscribed { channel, .. } => {
                let is_users = matches!(user_of(&channel), Some(Ok(_)));
                if is_users && !self.is_occupied(app, &channel) {
                    let early = leaving.hold(departure(app, channel), Instant::now());
                    if let Some(early) = early {
                        self.went(app, &early.channel);
                    }
                }
            }
            HubEventKind::MemberAdded { channel, user_id } if channel == self.online => {
                self.came_online(app, &user_id);
            }
            HubEventKind::MemberRemoved { channel, user_id } if channel == self.online => {
                self.went_offline(app, &user_id).await;
            }
            _ => {}
        }
    }

    /// The last page of a user has gone, and none has come instead.
    fn went(&self, app: &Arc<App>, channel: &ChannelName) {
        if let Some(Ok(id)) = user_of(channel)
            && !self.is_occupied(app, channel)
        {
            self.readers.leave(&id);
        }
    }

    /// Makes up for what was missed. Who is within the grace leaves at its end.
    fn compare(&self, app: &Arc<App>, leaving: &Holds) {
        let occupied = self.ground.here(app).channels(CHANNEL_PREFIX);
        let here: Vec<UserId> = occupied
            .iter()
            .filter_map(|known| user_of(&known.channel)?.ok())
            .collect();
        for id in &here {
            self.readers.arrive(id);
        }
        let here: std::collections::HashSet<&UserId> = here.iter().collect();
        for id in self.readers.ids() {
            let Some(reader) = self.readers.get(&id).filter(|_| !here.contains(&id)) else {
                continue;
            };
            if !leaving.contains(&departure(app, reader.channel.clone())) {
                self.went(app, &reader.channel);
            }
        }
    }

    fn is_occupied(&self, app: &Arc<App>, channel: &ChannelName) -> bool {
        self.ground.here(app).occupancy(channel).subscriptions > 0
    }

    fn came_online(&self, app: &Arc<App>, user_id: &MemberId) {
        let member = self.ground.here(app).member(&self.online, user_id);
        let said = member.and_then(|member| {
            let text = member.user_info.as_deref().map(RawValue::get)?;
            serde_json::from_str::<Map<String, Value>>(text).ok()
        });
        let name = said.and_then(|said| {
            let name = said.get("name").or_else(|| said.get("userName"))?;
            name.as_str().map(str::to_owned)
        });
        let mut data = Map::new();
        data.insert("userId".to_owned(), user_id.as_str().into());
        data.extend(name.map(|name| ("userName".to_owned(), name.into())));
        self.tell_online(app, "user:online", &Value::Object(data));
    }

    async fn went_offline(&self, app: &Arc<App>, user_id: &MemberId) {
        let here = self.ground.here(app);
        let users = self.ground.engine().users(&here, &self.online).await;
        // They are on another node by now.
        if users.is_ok_and(|users| users.contains(user_id)) {
            return;
        }
        let data = serde_json::json!({ "userId": user_id.as_str() });
        self.tell_online(app, "user:offline", &data);
    }

    fn tell_online(&self, app: &Arc<App>, event: &str, data: &Value) {
        let published = self.ground.publisher(app).publish(&Publish {
            channels: std::slice::from_ref(&self.online),
            event,
            data: &data.to_string(),
            except: None,
            scope: Scope::Cluster,
            origin: Origin::Adapter,
        });
        if let Err(error) = published {
            tracing::warn!(target: "chat3", %error, event, channel = ONLINE, "not told");
        }
    }
}

fn departure(app: &App, channel: ChannelName) -> Departure {
    Departure {
        app: app.id.clone(),
        channel,
        user_id: None,
    }
}
