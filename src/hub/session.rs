//! One client's conversation: what its messages mean.
//!
//! A transport opens a session for each client, hands it every text message in
//! order, and drops it when the client is gone; whatever the client held is
//! released then, also when its task panics. The session is the only one that
//! changes what its client is subscribed to and signed in as, so it needs no lock.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfare_protocol::client_message::{ClientEvent, SignIn, Subscribe};
use fanfare_protocol::error::{ClientError, echo};
use fanfare_protocol::{
    ChannelData, ChannelKind, ChannelName, ClientMessage, Close, ServerMessage, SocketId, UserData,
    UserId, auth,
};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use serde_json::value::RawValue;

use super::app::{AppHub, Place, wait_for};
use super::bookmarks::{Reader, SessionKey};
use super::connection::{Connection, Outbox};
use super::engine::Role;
use super::events::{HubEventKind, Scope};
use super::millis;
use super::presence::Member;
use super::publisher::{Origin, Publish, Publisher};
use super::recall::Recollection;
use super::users::SignedIn;

/// Messages that cannot be read, after which a client is closed ...
const MAX_INVALID_MESSAGES: u32 = 10;

/// ... when they come within this time, in milliseconds.
const INVALID_MESSAGES_WINDOW_MS: u64 = 60_000;

/// Bytes of subscriptions that may wait until a replay is through; a further one is
/// refused. A thousand as pusher-js sends them.
const MAX_WAITING_BYTES: usize = 256 << 10;

/// What a client says about itself when it connects.
#[derive(Clone, Copy, Debug)]
pub struct ClientInfo<'a> {
    /// The `client` of the URL, such as `js` or `pusher-dotnet-client`.
    pub client: &'a str,
    /// The `version` of the URL.
    pub version: &'a str,
    /// Where it comes from.
    pub address: IpAddr,
    /// The session that it names, to go on where it was.
    pub session: Option<&'a str>,
}

/// A client from its first to its last message.
#[derive(Debug)]
pub struct Session {
    app: Arc<AppHub>,
    place: Place,
    connection: Arc<Connection>,
    /// With the user, on presence channels.
    subscriptions: HashMap<ChannelName, Option<UserId>>,
    user: Option<Box<SessionUser>>,
    /// Made by the first client event, or by the first message where the app
    /// limits those.
    rates: Option<Box<Rates>>,
    /// Whether the message of before brought a wrong key or signature.
    has_failed: bool,
    invalid_messages: u32,
    first_invalid_ms: u64,
    /// For clients that have named a session, in apps with a history.
    resumed: Option<Box<Resumed>>,
    /// Subscriptions that wait until an earlier replay is through.
    waiting: VecDeque<Subscribe>,
    waiting_bytes: usize,
    /// Whether this client looks for `pusher_internal:subscription_error`.
    wants_internal_errors: bool,
}

/// What this client has left of its rates.
#[derive(Debug, Default)]
struct Rates {
    client_events: Option<DefaultDirectRateLimiter>,
    messages: Option<DefaultDirectRateLimiter>,
}

/// The session that a client has named.
#[derive(Debug)]
struct Resumed {
    key: SessionKey,
    reader: Arc<Reader>,
    /// `None` until the client shows by its first subscription that it is there: an
    /// attempt to connect that it has given up must not take anything over.
    role: Option<Role>,
    /// Whether the session belongs to the user who is known here.
    is_bound: bool,
}

#[derive(Debug)]
struct SessionUser {
    signed_in: SignedIn,
    user_info: Option<Box<RawValue>>,
}

impl Session {
    /// Takes in a client that was admitted and sends it
    /// `pusher:connection_established`.
    pub fn open<O: Outbox + 'static>(
        place: Place,
        socket_id: SocketId,
        outbox: O,
        activity_timeout: u32,
        client: ClientInfo<'_>,
    ) -> (Self, Arc<Connection<O>>) {
        let app = Arc::clone(&place.app);
        let core = app.core();
        let connection = Connection::new(socket_id, client.address, outbox, core.now_ms());
        let name = core.clients.number(client.client, client.version);
        let connection = Arc::new(connection.calls_itself(name));
        let established = ServerMessage::ConnectionEstablished {
            socket_id,
            activity_timeout,
        };
        connection.outbox().push(&[established.encode()]);
        app.enter(Arc::clone(&connection) as Arc<Connection>);
        let resumed = client.session.filter(|_| app.has_history()).map(|name| {
            Box::new(Resumed {
                key: SessionKey {
                    app: app.id().clone(),
                    name: name.into(),
                },
                reader: Reader::new(Arc::clone(&connection) as Arc<Connection>),
                role: None,
                is_bound: false,
            })
        });
        let session = Self {
            app,
            place,
            connection: Arc::clone(&connection) as Arc<Connection>,
            subscriptions: HashMap::new(),
            user: None,
            rates: None,
            has_failed: false,
            invalid_messages: 0,
            first_invalid_ms: 0,
            resumed,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            wants_internal_errors: client.client == "pusher-dotnet-client",
        };
        (session, connection)
    }

    /// Notes that the client has signed in or subscribed to a private channel.
    fn authorized(&mut self) {
        let is_news = self.app.app().authorized_connections && self.connection.authorize();
        if let (true, Err(close)) = (is_news, self.place.count()) {
            self.connection.outbox().close(&close);
        }
    }

    /// Does what one text message asks for. When this returns, everything that
    /// the client must see before the answer to its next message is on its way.
    ///
    /// # Errors
    /// The client has to be closed.
    pub async fn handle(&mut self, text: &str) -> Result<(), Close> {
        self.app
            .counters
            .messages_received
            .fetch_add(1, Ordering::Relaxed);
        self.app
            .counters
            .received_bytes
            .fetch_add(text.len() as u64, Ordering::Relaxed);
        // The rare and large steps are boxed, so that an idle connection does
        // not carry room for them.
        let outcome = match ClientMessage::parse(text) {
            Ok(ClientMessage::Ping) => {
                self.push(&ServerMessage::Pong);
                Ok(())
            }
            Ok(ClientMessage::Pong) => {
                if let Some(resumed) = &self.resumed {
                    self.app.answered(&resumed.key, &resumed.reader);
                }
                Ok(())
            }
            _ if !self.may_send() => Err(ClientError::MessageRate),
            Ok(ClientMessage::ClientEvent(event)) => self.client_event(&event),
            Ok(ClientMessage::Subscribe(wish)) => Box::pin(self.subscribe(wish)).await,
            Ok(ClientMessage::Unsubscribe { channel }) => {
                Box::pin(self.unsubscribe(&channel)).await
            }
            Ok(ClientMessage::SignIn(wish)) => Box::pin(self.sign_in(wish)).await,
            Err(error) => Err(error),
        };
        let Err(error) = outcome else {
            return Ok(());
        };
        self.push(&ServerMessage::Error(&error));
        self.note(&error);
        if error == ClientError::InvalidJson {
            self.count_invalid_message()?;
        }
        Ok(())
    }

    /// Where the client comes from.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.connection.address
    }

    /// Whether the last message brought a wrong key or signature; asked once.
    pub fn take_failure(&mut self) -> bool {
        std::mem::take(&mut self.has_failed)
    }

    /// Notes what a refusal means to those who count.
    fn note(&mut self, error: &ClientError) {
        self.has_failed |= error.is_failed_authorization();
        if error.is_rate() {
            let refusals = &self.app.counters.rate_refusals;
            refusals.fetch_add(1, Ordering::Relaxed);
        }
        let watch = &self.app.core().watch;
        watch.refused(self.app.id(), self.connection.socket_id, error);
    }

    /// Whether the app lets this connection send one more message now.
    fn may_send(&mut self) -> bool {
        let Some(per_second) = self.app.messages_per_second() else {
            return true;
        };
        let messages = &mut self.rates.get_or_insert_default().messages;
        messages
            .get_or_insert_with(|| RateLimiter::direct(Quota::per_second(per_second)))
            .check()
            .is_ok()
    }

    fn push(&self, message: &ServerMessage<'_>) {
        self.connection.outbox().push(&[message.encode()]);
    }

    fn count_invalid_message(&mut self) -> Result<(), Close> {
        let now_ms = self.app.core().now_ms();
        if now_ms.saturating_sub(self.first_invalid_ms) >= INVALID_MESSAGES_WINDOW_MS {
            self.invalid_messages = 0;
            self.first_invalid_ms = now_ms;
        }
        self.invalid_messages += 1;
        if self.invalid_messages >= MAX_INVALID_MESSAGES {
            return Err(Close::TooManyInvalidMessages);
        }
        Ok(())
    }

    // Subscriptions.

    /// Whether [`Self::go_on`] has something to do when the client has taken what
    /// waits for it.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Goes on with subscriptions that had to wait for a replay.
    pub async fn go_on(&mut self) {
        while !self.connection.outbox().is_replaying() {
            let Some(wish) = self.waiting.pop_front() else {
                self.waiting = VecDeque::new();
                return;
            };
            self.waiting_bytes -= cost(&wish);
            // Thousands may wait; other connections of the worker are to get on.
            tokio::task::coop::consume_budget().await;
            // Its outcome has been told to the client.
            let _ = Box::pin(self.subscribe(wish)).await;
        }
    }

    async fn subscribe(&mut self, wish: Subscribe) -> Result<(), ClientError> {
        // One replay at a time: what waits for a client stays bounded by that, and a
        // slow one gets on.
        let outcome = if self.connection.outbox().is_replaying() {
            if self.waiting_bytes + cost(&wish) <= MAX_WAITING_BYTES {
                self.waiting_bytes += cost(&wish);
                self.waiting.push_back(wish);
                return Ok(());
            }
            let limit = self.subscriptions.len() + self.waiting.len();
            Err(ClientError::TooManyChannels { limit })
        } else {
            self.try_subscribe(&wish).await
        };
        let Err(error) = outcome else {
            return Ok(());
        };
        self.note(&error);
        // The channel that exists already is fine; only the message was wrong.
        let concerns_channel = !matches!(error, ClientError::AlreadySubscribed { .. });
        self.push(&ServerMessage::Error(&error));
        if concerns_channel && self.app.app().subscription_errors {
            self.push_subscription_error(&wish.channel, &error);
        }
        Ok(())
    }

    fn push_subscription_error(&self, channel: &str, error: &ClientError) {
        let text = error.to_string();
        let channel = echo(channel);
        for internal in [false, true] {
            if internal && !self.wants_internal_errors {
                continue;
            }
            self.push(&ServerMessage::SubscriptionError {
                channel: &channel,
                failure: error.subscription_failure(),
                error: &text,
                internal,
            });
        }
    }

    async fn try_subscribe(&mut self, wish: &Subscribe) -> Result<(), ClientError> {
        let channels_per_connection = self.app.app().limits.channels_per_connection;
        let channel = parse_channel(&wish.channel, &self.app)?;
        if self.subscriptions.contains_key(&channel) {
            return Err(ClientError::AlreadySubscribed {
                channel: channel.to_string(),
            });
        }
        if self.subscriptions.len() >= channels_per_connection {
            return Err(ClientError::TooManyChannels {
                limit: channels_per_connection,
            });
        }
        let member = self.authorize(&channel, wish)?;
        let recollection = self.recollection(&channel, wish, member.as_ref()).await;
        self.app
            .subscribe(
                &self.connection,
                &channel,
                member.as_ref(),
                recollection.as_ref(),
            )
            .await?;
        if channel.needs_signature() {
            self.authorized();
        }
        let user_id = member.map(|member| member.user_id);
        self.subscriptions.insert(channel, user_id);
        Ok(())
    }

    /// What is known of what this client has seen of a channel; `None` where
    /// nothing is kept, or nobody asks.
    async fn recollection(
        &mut self,
        channel: &ChannelName,
        wish: &Subscribe,
        member: Option<&Member>,
    ) -> Option<Recollection> {
        if !self.app.has_history() || self.app.app().history_of(channel).is_none() {
            return None;
        }
        self.claim(member.map(|member| &member.user_id)).await;
        let session = self
            .resumed
            .as_ref()
            .and_then(|resumed| Some((Arc::clone(&resumed.reader), resumed.role?)));
        if session.is_none() && wish.last_event_id.is_none() {
            return None;
        }
        Some(Recollection {
            last_event_id: wish.last_event_id.clone(),
            session,
        })
    }

    /// Takes the session that the client has named, if it may have it. `user` is
    /// who it is on a presence channel.
    async fn claim(&mut self, user: Option<&UserId>) {
        let Some(resumed) = &mut self.resumed else {
            return;
        };
        let binds = self.app.app().bind_sessions;
        let user = user.or(self.user.as_ref().map(|user| &user.signed_in.user_id));
        let is_settled = match resumed.role {
            Some(Role::Holder) => !binds || resumed.is_bound || user.is_none(),
            Some(Role::Guest) => user.is_none(),
            Some(Role::Stranger) => true,
            None => false,
        };
        if is_settled {
            return;
        }
        let role = self
            .app
            .claim_session(&resumed.key, &resumed.reader, user, binds)
            .await;
        resumed.role = Some(role);
        resumed.is_bound = role == Role::Holder && user.is_some();
    }

    fn reader(&self) -> Option<&Reader> {
        self.resumed.as_ref().map(|resumed| &*resumed.reader)
    }

    /// Decides whether this connection may subscribe, and as whom.
    fn authorize(
        &self,
        channel: &ChannelName,
        wish: &Subscribe,
    ) -> Result<Option<Member>, ClientError> {
        if let Some(user_id) = channel.server_to_user_id() {
            let is_this_user = self
                .user
                .as_ref()
                .is_some_and(|user| user.signed_in.user_id.as_str() == user_id);
            return if is_this_user {
                Ok(None)
            } else {
                Err(ClientError::NotThisUser {
                    channel: channel.to_string(),
                })
            };
        }
        if !channel.needs_signature() {
            return Ok(None);
        }
        self.check_signature(channel, wish)?;
        if channel.kind() != ChannelKind::Presence {
            return Ok(None);
        }
        self.member(channel, wish).map(Some)
    }

    fn check_signature(&self, channel: &ChannelName, wish: &Subscribe) -> Result<(), ClientError> {
        let auth = wish
            .auth
            .as_deref()
            .filter(|auth| !auth.is_empty())
            .ok_or_else(|| ClientError::AuthRequired {
                channel: channel.to_string(),
            })?;
        let (key, signature) = auth
            .split_once(':')
            .ok_or_else(|| ClientError::AuthFormat {
                channel: channel.to_string(),
            })?;
        self.verify(
            key,
            signature,
            auth::channel_text(
                self.connection.socket_id,
                channel.as_str(),
                wish.channel_data.as_deref(),
            ),
        )
    }

    /// Whether `signature` is what the secret of `key` makes of `signed`. If it has an
    /// end, so has the connection.
    fn verify(&self, key: &str, signature: &str, signed: String) -> Result<(), ClientError> {
        let (signature, signed, until) = match auth::split_until(signature) {
            Some((signature, until)) => (signature, auth::ending_text(&signed, until), Some(until)),
            None => (signature, signed, None),
        };
        let app = self.app.app();
        let secret = app
            .secret_of(key)
            .ok_or_else(|| ClientError::AuthKey { key: echo(key) })?;
        if !auth::is_signed(secret, &signed, signature) {
            return Err(ClientError::AuthSignature {
                signed,
                signature: echo(signature),
            });
        }
        if let Some(until) = until {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            // A back end may say any number.
            let left = Duration::from_secs(until).saturating_sub(now);
            let now_ms = self.app.core().now_ms();
            self.connection.end_at(now_ms.saturating_add(millis(left)));
        }
        Ok(())
    }

    /// The user of a presence subscription: from its own data, else from the
    /// sign-in.
    fn member(&self, channel: &ChannelName, wish: &Subscribe) -> Result<Member, ClientError> {
        if let Some(channel_data) = &wish.channel_data {
            let data = ChannelData::parse(channel_data, &self.app.app().limits)?;
            return Ok(Member {
                user_id: data.user_id,
                user_info: data.user_info,
            });
        }
        let user = self
            .user
            .as_ref()
            .ok_or_else(|| ClientError::ChannelDataRequired {
                channel: channel.to_string(),
            })?;
        Ok(Member {
            user_id: user.signed_in.user_id.clone(),
            user_info: user.user_info.clone(),
        })
    }

    async fn unsubscribe(&mut self, channel: &str) -> Result<(), ClientError> {
        let channel = parse_channel(channel, &self.app)?;
        let wishes = self.waiting.len();
        self.waiting.retain(|wish| wish.channel != channel.as_str());
        if self.waiting.len() < wishes {
            self.waiting_bytes = self.waiting.iter().map(cost).sum();
            return Ok(());
        }
        let Some(user_id) = self.subscriptions.remove(&channel) else {
            return Err(ClientError::NotSubscribed {
                channel: channel.to_string(),
            });
        };
        let done = self.app.unsubscribe(
            self.connection.socket_id,
            &channel,
            user_id.as_ref(),
            self.reader(),
        );
        wait_for(done).await;
        if let Some(reader) = self.reader() {
            reader.forget(&channel);
        }
        Ok(())
    }

    // Client events.

    fn client_event(&mut self, event: &ClientEvent<'_>) -> Result<(), ClientError> {
        let app = self.app.app();
        if !app.client_events {
            return Err(ClientError::ClientEventsDisabled);
        }
        if event.event.chars().count() > app.limits.event_name_length {
            return Err(ClientError::ClientEventNameTooLong {
                limit: app.limits.event_name_length,
            });
        }
        let channel = parse_channel(&event.channel, &self.app)?;
        match channel.kind() {
            ChannelKind::Private | ChannelKind::Presence => {}
            ChannelKind::PrivateEncrypted => {
                return Err(ClientError::ClientEventOnEncryptedChannel);
            }
            ChannelKind::Public | ChannelKind::ServerToUser => {
                return Err(ClientError::ClientEventOnPublicChannel);
            }
        }
        let Some(user_id) = self.subscriptions.get(&channel) else {
            return Err(ClientError::ClientEventNotSubscribed {
                channel: channel.to_string(),
            });
        };
        if event.data.len() > app.limits.event_data_bytes {
            return Err(ClientError::ClientEventTooLarge {
                limit: app.limits.event_data_bytes,
            });
        }
        let user_id = user_id.clone();
        self.check_rate()?;
        self.publish(event, channel, user_id)
    }

    fn check_rate(&mut self) -> Result<(), ClientError> {
        let per_second = self.app.app().limits.client_events_per_second;
        let per_second = NonZeroU32::new(per_second).ok_or(ClientError::ClientEventRate)?;
        let client_events = &mut self.rates.get_or_insert_default().client_events;
        client_events
            .get_or_insert_with(|| RateLimiter::direct(Quota::per_second(per_second)))
            .check()
            .map_err(|_| ClientError::ClientEventRate)?;
        if self.app.takes_client_event() {
            Ok(())
        } else {
            Err(ClientError::ClientEventRate)
        }
    }

    fn publish(
        &self,
        event: &ClientEvent<'_>,
        channel: ChannelName,
        user_id: Option<UserId>,
    ) -> Result<(), ClientError> {
        let socket_id = self.connection.socket_id;
        if !self.app.consumes(&channel, &event.event) {
            Publisher::new(Arc::clone(&self.app))
                .publish(&Publish {
                    channels: std::slice::from_ref(&channel),
                    event: &event.event,
                    data: &event.data,
                    except: Some(socket_id),
                    scope: Scope::Cluster,
                    origin: Origin::Client {
                        user_id: user_id.as_ref(),
                    },
                })
                .map_err(|_| ClientError::ClientEventRate)?;
        }
        self.app
            .counters
            .client_events
            .fetch_add(1, Ordering::Relaxed);
        self.app
            .core()
            .events
            .emit(self.app.id(), || HubEventKind::ClientEvent {
                channel,
                event: event.event.as_ref().into(),
                data: event.data.as_ref().into(),
                socket_id,
                user_id,
            });
        Ok(())
    }

    // Sign-in.

    async fn sign_in(&mut self, wish: SignIn) -> Result<(), ClientError> {
        let user_data = wish
            .user_data
            .as_deref()
            .ok_or(ClientError::SignInWithoutUserData)?;
        self.check_user_signature(wish.auth.as_deref(), user_data)?;
        let data = UserData::parse(user_data, &self.app.app().limits)?;
        let previous = self.user.as_ref().map(|user| &user.signed_in);
        if previous.is_some_and(|previous| previous.user_id != data.id) {
            return Err(ClientError::SignedInAsAnother);
        }

        let mut greeting = vec![ServerMessage::SignInSucceeded { user_data }.encode()];
        let has_watchlist = self.app.app().watchlist;
        if has_watchlist && data.watchlist_was_cut {
            let error = ClientError::WatchlistTooLong {
                limit: self.app.app().limits.watchlist_ids,
            };
            greeting.push(ServerMessage::Error(&error).encode());
        }
        let signed_in = SignedIn {
            user_id: data.id,
            watchlist: if has_watchlist {
                data.watchlist
            } else {
                Vec::new()
            },
        };
        if self.app.core().is_clustered {
            self.app.attach_users(&signed_in).await;
        }
        let changed = self
            .app
            .users
            .sign_in(&self.connection, &signed_in, previous, greeting);
        self.app.changed(&signed_in.user_id, &changed, true);
        if let Some(previous) = previous {
            self.app.watches_changed(&previous.watchlist);
        }
        self.app.watches_changed(&signed_in.watchlist);
        self.authorized();
        self.user = Some(Box::new(SessionUser {
            signed_in,
            user_info: data.user_info,
        }));
        if self
            .resumed
            .as_ref()
            .is_some_and(|resumed| resumed.role.is_some())
        {
            self.claim(None).await;
        }
        wait_for(Some(changed.told)).await;
        Ok(())
    }

    fn check_user_signature(&self, auth: Option<&str>, user_data: &str) -> Result<(), ClientError> {
        let (key, signature) = auth
            .and_then(|auth| auth.split_once(':'))
            .ok_or(ClientError::SignInAuthFormat)?;
        let signed = auth::user_text(self.connection.socket_id, user_data);
        self.verify(key, signature, signed)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let socket_id = self.connection.socket_id;
        for (channel, user_id) in std::mem::take(&mut self.subscriptions) {
            // Nothing is sent to this client any more, so nobody has to wait.
            let reader = self.reader();
            let _ = self
                .app
                .unsubscribe(socket_id, &channel, user_id.as_ref(), reader);
        }
        if let Some(resumed) = self.resumed.take() {
            let end_ms = self.app.session_end_ms();
            let bookmarks = self.app.core().bookmarks();
            bookmarks.release(&resumed.key, &resumed.reader, end_ms);
            if self.app.core().is_clustered {
                bookmarks.left(&resumed.key);
            }
        }
        if let Some(user) = self.user.take() {
            let changed = self.app.users.sign_out(socket_id, &user.signed_in);
            self.app.changed(&user.signed_in.user_id, &changed, false);
            self.app.watches_changed(&user.signed_in.watchlist);
        }
        self.app.dismiss(socket_id);
    }
}

/// What a subscription takes while it waits.
fn cost(wish: &Subscribe) -> usize {
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let texts = [&wish.auth, &wish.channel_data, &wish.last_event_id].map(length);
    size_of::<Subscribe>() + wish.channel.len() + texts.iter().sum::<usize>()
}

fn parse_channel(name: &str, app: &AppHub) -> Result<ChannelName, ClientError> {
    ChannelName::parse(name, &app.app().limits).map_err(|_| ClientError::InvalidChannelName {
        channel: echo(name),
    })
}
