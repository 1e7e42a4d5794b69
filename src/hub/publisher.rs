//! The one way in for events: HTTP API, client events and adapters.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fanfare_protocol::server_message::EventText;
use fanfare_protocol::{ChannelName, SocketId, UserId};

use super::app::{AppHub, Audience, INLINE_WRITES};
use super::engine::{CachedEvent, Publication};
use super::events::Scope;
use super::recall::Recording;

/// Events that share a write at most; those behind them may not wait for room that
/// only these would give.
const MAX_BURST: usize = 16;

/// An event to publish; every check of names and sizes is behind it.
#[derive(Debug)]
pub struct Publish<'a> {
    /// Where it goes; more than one channel only from the HTTP API and adapters.
    pub channels: &'a [ChannelName],
    /// Its name.
    pub event: &'a str,
    /// The text that reaches the clients.
    pub data: &'a str,
    /// The connection that does not get it.
    pub except: Option<SocketId>,
    /// To the subscribers on all nodes, or only to those on this one: for what
    /// every node produces by itself.
    pub scope: Scope,
    /// Where it comes from.
    pub origin: Origin<'a>,
}

/// Where a publication comes from.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// A back end; cache channels keep it.
    Api,
    /// A client, with its user on presence channels.
    Client {
        /// Taken from verified data, never from the message.
        user_id: Option<&'a UserId>,
    },
    /// A part of this server; not cached.
    Adapter,
}

impl Origin<'_> {
    fn user_id(&self) -> Option<&UserId> {
        match self {
            Self::Client { user_id } => *user_id,
            Self::Api | Self::Adapter => None,
        }
    }
}

/// Too much waits in one of the channels already; nothing was published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("channel {channel} is over capacity: its subscribers do not keep up")]
pub struct ChannelFull {
    /// The channel.
    pub channel: ChannelName,
}

/// Publishes into one app. Cloning shares the app.
#[derive(Clone, Debug)]
pub struct Publisher {
    app: Arc<AppHub>,
}

impl Publisher {
    pub(super) fn new(app: Arc<AppHub>) -> Self {
        Self { app }
    }

    /// Publishes to all channels or, when one of them is full, to none. When it
    /// returns, the event has its place in the order of each channel; it may
    /// still be on its way to the subscribers.
    ///
    /// # Errors
    /// A channel is full; the caller may try again later.
    pub fn publish(&self, publish: &Publish<'_>) -> Result<(), ChannelFull> {
        let audiences = self.audiences(publish.channels)?;
        self.send(publish, &audiences, false);
        Ok(())
    }

    /// Publishes all events in order or, when a channel of any of them is full,
    /// none. Events that follow each other on one channel reach each subscriber in
    /// one write.
    ///
    /// # Errors
    /// As for [`Self::publish`].
    pub fn publish_burst(&self, events: &[Publish<'_>]) -> Result<(), ChannelFull> {
        let audiences: Vec<_> = events
            .iter()
            .map(|event| self.audiences(event.channels))
            .collect::<Result<_, _>>()?;
        for (burst, audiences) in events.chunks(MAX_BURST).zip(audiences.chunks(MAX_BURST)) {
            for (position, event) in burst.iter().enumerate() {
                let next = position + 1;
                // The next one must go where this one goes, or this one would wait.
                let is_followed = burst.get(next).is_some_and(|following| {
                    following.channels == event.channels && audiences[next] == audiences[position]
                });
                self.send(event, &audiences[position], is_followed);
            }
        }
        Ok(())
    }

    /// Publishes to all channels. With `is_followed` the event only takes its
    /// place: the next one, on the same channels, takes it along.
    fn send(&self, publish: &Publish<'_>, audiences: &[Audience], is_followed: bool) {
        let mut text = None;
        let mut budget = INLINE_WRITES;
        for (channel, audience) in publish.channels.iter().zip(audiences) {
            let is_kept = matches!(publish.origin, Origin::Api) && channel.is_cache();
            let is_shared = self.app.core().is_clustered;
            // What every node produces by itself has no place that is common to all.
            let keeps = !is_shared || publish.scope == Scope::Cluster;
            if let Some(bounds) = keeps
                .then(|| self.app.keeps(channel, publish.origin))
                .flatten()
            {
                let text = text.get_or_insert_with(|| EventText::new(publish.event, publish.data));
                let cached = is_kept.then(|| (publish.data.into(), self.cache_end()));
                let user_id = publish.origin.user_id();
                if is_shared {
                    let frame = text.encode(channel, user_id);
                    let publication = Publication {
                        app: self.app.id().clone(),
                        channel: channel.clone(),
                        cached: cached.map(|(data, expires)| CachedEvent {
                            frame: frame.clone(),
                            data,
                            expires,
                        }),
                        frame,
                        except: publish.except,
                    };
                    let budget = (!is_followed).then_some(&mut budget);
                    self.app.hand_over(publication, budget);
                    continue;
                }
                let recording = Recording {
                    channel,
                    bounds,
                    draft: text.draft(channel, user_id),
                    except: publish.except,
                    cached,
                };
                let budget = (!is_followed).then_some(&mut budget);
                self.app.deliver_recorded(recording, budget);
                continue;
            }
            let goes_out = publish.scope == Scope::Cluster && self.app.core().is_clustered;
            if *audience == Audience::Nobody && !is_kept && !goes_out {
                continue;
            }
            let text = text.get_or_insert_with(|| EventText::new(publish.event, publish.data));
            let frame = text.encode(channel, publish.origin.user_id());
            let publication = Publication {
                app: self.app.id().clone(),
                channel: channel.clone(),
                cached: is_kept.then(|| CachedEvent {
                    frame: frame.clone(),
                    data: publish.data.into(),
                    expires: self.cache_end(),
                }),
                frame,
                except: publish.except,
            };
            if publish.scope == Scope::Cluster {
                self.app.core().engine.publish(&publication);
            }
            self.app.deliver(
                channel,
                publication.frame,
                publication.except,
                publication.cached,
                (!is_followed).then_some(&mut budget),
            );
        }
        if matches!(publish.origin, Origin::Api) {
            self.app
                .counters
                .api_events
                .fetch_add(publish.channels.len() as u64, Ordering::Relaxed);
            let watch = &self.app.core().watch;
            if watch.is_watched() {
                watch.show(self.app.id(), publish.channels, publish.event, publish.data);
            }
        }
    }

    /// Looks whether every channel can take the event, before any gets it.
    fn audiences(&self, channels: &[ChannelName]) -> Result<Vec<Audience>, ChannelFull> {
        channels
            .iter()
            .map(|channel| match self.app.audience(channel) {
                Audience::Full => Err(ChannelFull {
                    channel: channel.clone(),
                }),
                audience => Ok(audience),
            })
            .collect()
    }

    fn cache_end(&self) -> Instant {
        Instant::now() + Duration::from_secs(self.app.app().limits.cache_seconds.into())
    }
}
