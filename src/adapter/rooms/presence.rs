//! Who is online: `user:online` and `user:offline`, once per user and deployment.
//!
//! A user is online as long as one of their connections is on `presence-online`.
//! Whoever is told of stands in the shared memory, so that it does not matter which
//! node sees a user come or go, or whether two of them do. What was missed, because a
//! node died or events came too fast, is made up for by a comparison from time to
//! time.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use fanfare_protocol::{ChannelName, UserId};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Rooms;
use super::memory::{NodeReport, Socket, unix_seconds};
use crate::adapter::auth::room;
use crate::adapter::ground::event_id;
use crate::adapter::ground::{Happening, Happenings};
use crate::apps::App;
use crate::config::OnlineScope;
use crate::hub::{HubEventKind, Member, Origin, Publish, Scope};

/// Time between two comparisons of who is told of and who is there.
const COMPARE_EVERY: Duration = Duration::from_secs(30);

/// Time between two reports of this node to the others.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Connections in the report of one node.
const MAX_SOCKETS: usize = 10_000;

/// Roles whose coming and going operators hear of.
const OPERATORS: [&str; 2] = ["operator", "callcentre_operator"];

impl Rooms {
    /// Follows who comes and goes until `stop`.
    pub(super) async fn follow(
        &self,
        mut happenings: Happenings,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let app = self.ground.app().await?;
        let mut missing = HashSet::new();
        let mut compare = tokio::time::interval(COMPARE_EVERY);
        let mut report = tokio::time::interval(REPORT_EVERY);
        compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = report.tick(), if self.memory.is_shared() => {
                    // Old figures of other nodes are a small loss; they say so themselves.
                    if let Err(error) = self.memory.report(&self.node, &self.node_report(&app)).await {
                        tracing::debug!(%error, "this node's figures cannot be told");
                    }
                }
                _ = compare.tick() => self.compare(&app, &mut missing).await,
                happening = happenings.next() => match happening {
                    Some(Happening::Event(kind)) => self.hear(&app, kind).await,
                    // Two of these may be milliseconds apart, which is no grace.
                    Some(Happening::Lost(_)) => self.compare(&app, &mut HashSet::new()).await,
                    None => break,
                },
            }
        }
        if let Err(error) = self.memory.forget(&self.node).await {
            tracing::debug!(%error, "this node's figures cannot be taken back");
        }
        Ok(())
    }

    async fn hear(&self, app: &Arc<App>, kind: HubEventKind) {
        match kind {
            HubEventKind::MemberAdded { channel, user_id } if self.is_online(&channel) => {
                self.came(app, &user_id).await;
            }
            HubEventKind::MemberRemoved { channel, user_id } if self.is_online(&channel) => {
                self.went(app, &user_id).await;
            }
            HubEventKind::Subscribed {
                channel,
                socket_id,
                user_id: Some(user_id),
            } if self.is_online(&channel) => {
                let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
                sockets.insert(socket_id, user_id);
            }
            HubEventKind::Unsubscribed {
                channel, socket_id, ..
            } if self.is_online(&channel) => {
                let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
                sockets.remove(&socket_id);
            }
            _ => {}
        }
    }

    fn is_online(&self, channel: &ChannelName) -> bool {
        *channel == self.online
    }

    /// A user is there who was not.
    async fn came(&self, app: &Arc<App>, user_id: &UserId) {
        // Another node has them, or they have left already.
        let Some(member) = self.ground.here(app).member(&self.online, user_id) else {
            return;
        };
        let info = info(&member);
        match self.memory.come_online(user_id.as_str(), &info).await {
            Ok(true) => self.tell(app, "user:online", &info),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "a user's coming cannot be noted"),
        }
    }

    /// A user has gone, and was not back in time on the node where they were.
    async fn went(&self, app: &Arc<App>, user_id: &UserId) {
        let here = self.ground.here(app);
        match self.ground.engine().users(&here, &self.online).await {
            // They came to another node instead.
            Ok(users) if users.contains(user_id) => return,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "a user's going waits: it is not known who is there");
                return;
            }
        }
        match self.memory.go_offline(user_id.as_str()).await {
            Ok(Some(info)) => self.tell(app, "user:offline", &info),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a user's going cannot be noted"),
        }
    }

    /// Makes up for what was missed. Whoever is `missing` twice has gone: once may be
    /// within the grace of another node.
    async fn compare(&self, app: &Arc<App>, missing: &mut HashSet<String>) {
        let here = self.ground.here(app);
        let (there, told) = tokio::join!(
            self.ground.engine().users(&here, &self.online),
            self.memory.online()
        );
        let (Ok(there), Ok(told)) = (there, told) else {
            return;
        };
        let told: HashSet<String> = told.into_iter().collect();
        let there: HashSet<String> = there.iter().map(|user| user.as_str().to_owned()).collect();
        for user in there.difference(&told) {
            self.came(app, &UserId::new(user)).await;
        }
        let gone: HashSet<String> = told.difference(&there).cloned().collect();
        for user in gone.intersection(missing) {
            self.went(app, &UserId::new(user)).await;
        }
        *missing = gone;
    }

    fn tell(&self, app: &Arc<App>, event: &str, info: &str) {
        let role = serde_json::from_str::<Value>(info)
            .ok()
            .and_then(|info| info["role"].as_str().map(str::to_owned));
        let is_operator = role.is_some_and(|role| OPERATORS.contains(&role.as_str()));
        let rooms: &[&str] = match self.config.online_scope {
            OnlineScope::All => &["all"],
            OnlineScope::Relevant if is_operator => &["directors", "operators"],
            OnlineScope::Relevant => &["directors"],
        };
        let channels: Vec<ChannelName> = rooms
            .iter()
            .filter_map(|room| {
                let channel = format!("private-{}", room::encode(room));
                ChannelName::parse(&channel, &app.limits).ok()
            })
            .collect();
        let mut data: Map<String, Value> = serde_json::from_str(info).unwrap_or_default();
        if channels.len() > 1 {
            data.insert("_eid".to_owned(), event_id().into());
        }
        let published = self.ground.publisher(app).publish(&Publish {
            channels: &channels,
            event,
            data: &Value::Object(data).to_string(),
            except: None,
            scope: Scope::Cluster,
            origin: Origin::Adapter,
        });
        match published {
            Ok(()) => self.counts.online.count(),
            Err(error) => tracing::warn!(%error, event, "not told"),
        }
    }

    /// What this node has at the moment.
    pub(super) fn node_report(&self, app: &Arc<App>) -> NodeReport {
        let here = self.ground.here(app);
        let lock = || self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let known: Vec<_> = lock()
            .iter()
            .map(|(socket_id, user_id)| (*socket_id, user_id.clone()))
            .collect();
        // The hub is asked without that lock.
        let (there, gone): (Vec<_>, Vec<_>) = known
            .into_iter()
            .partition(|(socket_id, _)| here.has_connection(*socket_id));
        // Their going has been missed.
        for (socket_id, _) in gone {
            lock().remove(&socket_id);
        }
        let mut roles: HashMap<&UserId, Option<String>> = HashMap::new();
        let sockets = there.iter().take(MAX_SOCKETS);
        let sockets = sockets.map(|(socket_id, user_id)| Socket {
            socket_id: socket_id.to_string(),
            user_id: user_id.to_string(),
            role: roles
                .entry(user_id)
                .or_insert_with(|| role(&here.member(&self.online, user_id)?))
                .clone(),
        });
        NodeReport {
            at: unix_seconds(),
            connections: here.connection_count(),
            sockets: sockets.collect(),
        }
    }
}

/// What is told of a user: id, name and role.
fn info(member: &Member) -> String {
    let said: Map<String, Value> = said(member).unwrap_or_default();
    let mut info = Map::new();
    info.insert("userId".to_owned(), member.user_id.as_str().into());
    for name in ["name", "role"] {
        if let Some(value) = said.get(name) {
            info.insert(name.to_owned(), value.clone());
        }
    }
    Value::Object(info).to_string()
}

fn role(member: &Member) -> Option<String> {
    said(member)?.get("role")?.as_str().map(str::to_owned)
}

fn said(member: &Member) -> Option<Map<String, Value>> {
    let text = member.user_info.as_deref().map(RawValue::get)?;
    serde_json::from_str(text).ok()
}
