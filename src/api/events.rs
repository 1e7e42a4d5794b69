//! `POST /apps/APP/events` and `/batch_events` (sections 17.3 and 17.4).

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use fanfare_protocol::trigger::{InfoAttributes, QueryParameters, Trigger};
use fanfare_protocol::{ChannelKind, ChannelName};
use serde::Serialize;

use super::authentication::Authenticated;
use super::channels::json;
use super::error::ApiError;
use super::{Api, Reply};
use crate::hub::{Origin, Publish, Scope};
use crate::limits::{Allowance, Wish};

/// What an answer tells about a channel; what does not apply is left out.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct ChannelInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subscription_count: Option<usize>,
}

#[derive(Serialize)]
struct TriggerAnswer<'a> {
    channels: BTreeMap<&'a str, ChannelInfo>,
}

#[derive(Serialize)]
struct BatchAnswer {
    batch: Vec<ChannelInfo>,
}

impl Api {
    pub(super) async fn trigger(
        &self,
        request: &Authenticated<'_>,
        body: &[u8],
    ) -> Result<Reply, ApiError> {
        let query = QueryParameters {
            name: request.query.get("name"),
            data: request.query.get("data"),
            channels: request
                .query
                .get_all("channels[]")
                .chain(request.query.get("channel"))
                .collect(),
            socket_id: request.query.get("socket_id"),
            info: request.query.get("info"),
        };
        let trigger = Trigger::parse(body, query, &request.app.limits)?;
        let allowance = self.take(request, std::slice::from_ref(&trigger))?;
        self.publish(request, std::slice::from_ref(&trigger))?;
        let Some(attributes) = trigger.info else {
            return Ok(Reply {
                body: "{}".to_owned(),
                allowance,
            });
        };
        let mut channels = BTreeMap::new();
        for channel in &trigger.channels {
            let info = self.info(request, channel, attributes).await?;
            channels.insert(channel.as_str(), info);
        }
        Ok(Reply {
            body: json(&TriggerAnswer { channels }),
            allowance,
        })
    }

    pub(super) async fn trigger_batch(
        &self,
        request: &Authenticated<'_>,
        body: &[u8],
    ) -> Result<Reply, ApiError> {
        let triggers = Trigger::parse_batch(body, &request.app.limits)?;
        let allowance = self.take(request, &triggers)?;
        self.publish(request, &triggers)?;
        if triggers.iter().all(|trigger| trigger.info.is_none()) {
            return Ok(Reply {
                body: "{}".to_owned(),
                allowance,
            });
        }
        let mut batch = Vec::with_capacity(triggers.len());
        for trigger in &triggers {
            let mut info = ChannelInfo::default();
            // An event of a batch goes to exactly one channel.
            if let (Some(attributes), [channel]) = (trigger.info, &trigger.channels[..]) {
                info = self.info(request, channel, attributes).await?;
            }
            batch.push(info);
        }
        Ok(Reply {
            body: json(&BatchAnswer { batch }),
            allowance,
        })
    }

    /// Takes what a request costs out of the app's meters.
    fn take(
        &self,
        request: &Authenticated<'_>,
        triggers: &[Trigger<'_>],
    ) -> Result<Option<Allowance>, ApiError> {
        let hub = self.hub.app(&request.app);
        let allowance = self
            .limits
            .meters
            .take(&hub, Wish::Events(triggers.len()))?;
        let asks = triggers.iter().any(|trigger| trigger.info.is_some());
        hub.counters
            .api_calls
            .fetch_add(1 + u64::from(asks), Ordering::Relaxed);
        Ok(allowance)
    }

    /// Publishes all of them, or none; notes it where a test wants to know.
    fn publish(
        &self,
        request: &Authenticated<'_>,
        triggers: &[Trigger<'_>],
    ) -> Result<(), ApiError> {
        let publisher = self.hub.publisher(&request.app);
        if let [trigger] = triggers {
            publisher.publish(&publish(trigger))?;
        } else {
            let events: Vec<_> = triggers.iter().map(publish).collect();
            publisher.publish_burst(&events)?;
        }
        if let Some(log) = &self.test_log {
            for event in triggers.iter().map(publish) {
                log.published(event.channels, event.event, event.data, event.except);
            }
        }
        Ok(())
    }

    /// The attributes that apply to `channel`.
    async fn info(
        &self,
        request: &Authenticated<'_>,
        channel: &ChannelName,
        attributes: InfoAttributes,
    ) -> Result<ChannelInfo, ApiError> {
        let wants_users = attributes.user_count && channel.kind() == ChannelKind::Presence;
        let wants_subscriptions = attributes.subscription_count && request.app.subscription_count;
        if !wants_users && !wants_subscriptions {
            return Ok(ChannelInfo::default());
        }
        let local = self.hub.app(&request.app);
        let occupancy = self.hub.engine().occupancy(&local, channel).await?;
        Ok(ChannelInfo {
            user_count: wants_users.then_some(occupancy.users),
            subscription_count: wants_subscriptions.then_some(occupancy.subscriptions),
        })
    }
}

/// What a back end's wish means to the hub.
fn publish<'a>(trigger: &'a Trigger<'_>) -> Publish<'a> {
    Publish {
        channels: &trigger.channels,
        event: &trigger.name,
        data: &trigger.data,
        except: trigger.socket_id,
        scope: Scope::Cluster,
        origin: Origin::Api,
    }
}
