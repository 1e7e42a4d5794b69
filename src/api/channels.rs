//! What is occupied, by how many and by whom (sections 17.5 to 17.7).

use std::collections::BTreeMap;
use std::time::Instant;

use fanfare_protocol::trigger::{BodyError, InfoAttributes};
use fanfare_protocol::{ChannelKind, ChannelName};
use percent_encoding::percent_decode_str;
use serde::Serialize;

use super::Api;
use super::authentication::Authenticated;
use super::error::ApiError;
use super::events::ChannelInfo;

#[derive(Serialize)]
struct ChannelsAnswer {
    channels: BTreeMap<String, ChannelInfo>,
}

#[derive(Serialize)]
struct ChannelAnswer {
    occupied: bool,
    #[serde(flatten)]
    info: ChannelInfo,
    /// Present if it was asked for; `null` if there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<Option<CacheAnswer>>,
}

#[derive(Serialize)]
struct CacheAnswer {
    data: String,
    /// Seconds.
    ttl: u64,
}

#[derive(Serialize)]
struct UsersAnswer<'a> {
    users: Vec<UserAnswer<'a>>,
}

#[derive(Serialize)]
struct UserAnswer<'a> {
    id: &'a str,
}

impl Api {
    pub(super) async fn channels(&self, request: &Authenticated<'_>) -> Result<String, ApiError> {
        let prefix = request.query.get("filter_by_prefix").unwrap_or_default();
        let attributes = attributes(request)?;
        if attributes.user_count && !prefix.starts_with("presence-") {
            return Err(ApiError::UserCountWithoutPrefix);
        }
        if attributes.cache {
            return Err(ApiError::CacheOfMany);
        }
        if attributes.subscription_count && !request.app.subscription_count {
            return Err(ApiError::SubscriptionCountDisabled);
        }
        let local = self.hub.app(&request.app);
        let occupied = self.hub.engine().channels(&local, prefix).await?;
        let channels = occupied
            .into_iter()
            // Users' own channels are listed only for those who ask for them.
            .filter(|occupancy| {
                prefix.starts_with('#') || occupancy.channel.kind() != ChannelKind::ServerToUser
            })
            .map(|occupancy| {
                let info = ChannelInfo {
                    user_count: attributes.user_count.then_some(occupancy.users),
                    subscription_count: attributes
                        .subscription_count
                        .then_some(occupancy.subscriptions),
                };
                (occupancy.channel.to_string(), info)
            })
            .collect();
        Ok(json(&ChannelsAnswer { channels }))
    }

    pub(super) async fn channel(
        &self,
        request: &Authenticated<'_>,
        channel: &str,
    ) -> Result<String, ApiError> {
        let channel = channel_name(channel, request)?;
        let attributes = attributes(request)?;
        if attributes.user_count && channel.kind() != ChannelKind::Presence {
            return Err(ApiError::UserCountElsewhere);
        }
        if attributes.subscription_count && !request.app.subscription_count {
            return Err(ApiError::SubscriptionCountDisabled);
        }
        if attributes.cache && !channel.is_cache() {
            return Err(ApiError::CacheElsewhere);
        }
        let local = self.hub.app(&request.app);
        let engine = self.hub.engine();
        let occupancy = engine.occupancy(&local, &channel).await?;
        let cache = if attributes.cache {
            let cached = engine.cached(&request.app.id, &channel).await?;
            let now = Instant::now();
            Some(cached.and_then(|event| {
                Some(CacheAnswer {
                    ttl: event.seconds_left(now)?,
                    data: event.data.to_string(),
                })
            }))
        } else {
            None
        };
        Ok(json(&ChannelAnswer {
            occupied: occupancy.subscriptions > 0,
            info: ChannelInfo {
                user_count: attributes.user_count.then_some(occupancy.users),
                subscription_count: attributes
                    .subscription_count
                    .then_some(occupancy.subscriptions),
            },
            cache,
        }))
    }

    pub(super) async fn users(
        &self,
        request: &Authenticated<'_>,
        channel: &str,
    ) -> Result<String, ApiError> {
        let channel = channel_name(channel, request)?;
        if channel.kind() != ChannelKind::Presence {
            return Err(ApiError::UsersElsewhere);
        }
        let local = self.hub.app(&request.app);
        let users = self.hub.engine().users(&local, &channel).await?;
        Ok(json(&UsersAnswer {
            users: users
                .iter()
                .map(|user| UserAnswer { id: user.as_str() })
                .collect(),
        }))
    }
}

fn attributes(request: &Authenticated<'_>) -> Result<InfoAttributes, ApiError> {
    let info = request.query.get("info").unwrap_or_default();
    Ok(InfoAttributes::parse(info)?)
}

/// The channel of a path. SDKs differ in whether they escape it.
pub(super) fn channel_name(
    segment: &str,
    request: &Authenticated<'_>,
) -> Result<ChannelName, ApiError> {
    let decoded = percent_decode_str(segment).decode_utf8_lossy();
    ChannelName::parse(&decoded, &request.app.limits).map_err(|_| {
        let name = fanfare_protocol::error::echo(&decoded);
        BodyError::InvalidChannelName(name).into()
    })
}

/// The text of an answer.
pub(super) fn json(answer: &impl Serialize) -> String {
    serde_json::to_string(answer).expect("an answer has string keys only")
}
