//! Refusals and errors that a client can meet: close codes and error texts.
//!
//! The one catalogue of codes (section 4). The hundred of a close code tells a
//! client what to do: 40xx never reconnect, 41xx reconnect after a pause, 42xx
//! reconnect at once. Codes from 4300 on are only ever sent as events: as close
//! codes they would stop pusher-js for good.
//!
//! Texts that the hosted service is known to use are kept word for word, since
//! people search for them.

/// The longest reason that fits into a close frame.
const MAX_CLOSE_REASON: usize = 123;

/// Why the server ends a connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Close {
    /// Sent when the client broke RFC 6455.
    #[error("{0}")]
    ProtocolViolation(&'static str),
    /// Sent when a binary frame arrives.
    #[error("Binary frames are not supported")]
    BinaryFrame,
    /// Sent when a text message is not UTF-8.
    #[error("Text frame is not valid UTF-8")]
    InvalidUtf8,
    /// Sent when a client keeps sending what cannot be read.
    #[error("Too many invalid messages")]
    TooManyInvalidMessages,
    /// Sent when a message is larger than the server reads.
    #[error("Message is over the limit of {limit} bytes")]
    MessageTooLarge {
        /// Bytes of one message, fragments joined.
        limit: usize,
    },
    /// Answers the client's own close.
    #[error("")]
    Normal,
    /// Sent when a plain connection meets an app that is TLS only.
    #[error("Application only accepts SSL connections, reconnect using wss://")]
    TlsOnly,
    /// Sent when no app has the key.
    #[error("App key {key} not in this cluster. Did you forget to specify the cluster?")]
    UnknownApp {
        /// The key as it stood in the path.
        key: String,
    },
    /// Sent when the app is switched off.
    #[error("Application disabled")]
    AppDisabled,
    /// Sent when the app has all the connections it may have and is configured
    /// to turn further ones away for good.
    #[error("Account over quota")]
    OverQuota,
    /// Sent when a WebSocket asks for another path than `/app/{key}`.
    #[error("Path not found")]
    PathNotFound,
    /// Sent when the protocol version is not one of 4 to 7.
    #[error("Unsupported protocol version")]
    UnsupportedProtocol,
    /// Sent when the protocol version is missing.
    #[error("No protocol version supplied")]
    NoProtocol,
    /// Sent when authorised connections are on and the client did neither sign
    /// in nor subscribe to a private channel in time.
    #[error("Connection not authorized within timeout")]
    NotAuthorized,
    /// Sent when the app ends the connections of a user over the HTTP API.
    #[error("Connection terminated by the application")]
    Terminated,
    /// Sent when the token that the connection was authorised with has expired, if
    /// the server was told to end connections then.
    #[error("Token expired")]
    TokenExpired,
    /// Sent when the page's origin is not on the app's list.
    #[error("Origin not allowed")]
    OriginNotAllowed,
    /// Sent when the name of a session has other characters or another length.
    #[error("Invalid session: expected 1 to 128 letters, digits, hyphens and underscores")]
    InvalidSession,
    /// Sent when another connection has taken over the session of this one: two
    /// pages have the same name for theirs. They must not take it from each other
    /// for ever.
    #[error("Session taken over by a newer connection")]
    SessionTaken,
    /// Sent when the server or the app is full, and to a reader that is too
    /// slow: come back later.
    #[error("Over capacity")]
    OverCapacity,
    /// Sent when the server shuts down: come back at once, to another node.
    #[error("Please reconnect immediately")]
    Reconnect,
    /// Sent when neither a pong nor anything else came in time.
    #[error("Pong not received in time")]
    PongTimeout,
}

impl Close {
    /// The close code; 1000 to 1015 are RFC 6455's, 4000 and up are Pusher's.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::ProtocolViolation(_) => 1002,
            Self::BinaryFrame => 1003,
            Self::InvalidUtf8 => 1007,
            Self::TooManyInvalidMessages => 1008,
            Self::MessageTooLarge { .. } => 1009,
            Self::TlsOnly => 4000,
            Self::UnknownApp { .. } => 4001,
            Self::AppDisabled => 4003,
            Self::OverQuota => 4004,
            Self::PathNotFound | Self::InvalidSession => 4005,
            Self::UnsupportedProtocol => 4007,
            Self::NoProtocol => 4008,
            Self::NotAuthorized
            | Self::Terminated
            | Self::TokenExpired
            | Self::OriginNotAllowed => 4009,
            Self::SessionTaken => 4010,
            Self::OverCapacity => 4100,
            Self::Reconnect => 4200,
            Self::PongTimeout => 4201,
        }
    }

    /// The reason that a user gets to see, cut to what a close frame holds.
    #[must_use]
    pub fn reason(&self) -> String {
        let mut reason = self.to_string();
        let end = (0..=reason.len().min(MAX_CLOSE_REASON))
            .rev()
            .find(|end| reason.is_char_boundary(*end))
            .unwrap_or(0);
        reason.truncate(end);
        reason
    }
}

/// What a client did wrong. Told with `pusher:error`; the connection goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The text is not a JSON object with an `event`.
    #[error("Invalid JSON")]
    InvalidJson,
    /// The event is neither one of the protocol nor a client event.
    #[error("Unsupported event received on socket: {event}")]
    UnsupportedEvent {
        /// The name as it was sent, cut for display.
        event: String,
    },
    /// The channel is missing, not a string, too long or has other characters.
    #[error("Invalid channel name '{channel}'")]
    InvalidChannelName {
        /// What was sent instead, cut for display.
        channel: String,
    },
    /// A second subscription to the same channel.
    #[error("Existing subscription to channel {channel}")]
    AlreadySubscribed {
        /// The channel.
        channel: String,
    },
    /// Unsubscribing from what is not subscribed.
    #[error("No current subscription to channel {channel}, or subscription in progress")]
    NotSubscribed {
        /// The channel.
        channel: String,
    },
    /// More channels on one connection than the app allows.
    #[error("Connection is over the limit of {limit} channels")]
    TooManyChannels {
        /// Channels per connection.
        limit: usize,
    },
    /// A private channel without `auth`.
    #[error("Auth info required to subscribe to {channel}")]
    AuthRequired {
        /// The channel.
        channel: String,
    },
    /// `auth` without a colon.
    #[error(
        "Auth value for subscription to {channel} is invalid: should be of format 'key:signature'"
    )]
    AuthFormat {
        /// The channel.
        channel: String,
    },
    /// The key in `auth` is none of the app's.
    #[error("Invalid key in subscription auth data: '{key}'")]
    AuthKey {
        /// The key as it was sent, cut for display.
        key: String,
    },
    /// The signature does not fit.
    #[error("Invalid signature: Expected HMAC SHA256 hex digest of {signed}, but got {signature}")]
    AuthSignature {
        /// The text that had to be signed.
        signed: String,
        /// The signature that came instead, cut for display.
        signature: String,
    },
    /// A presence subscription without `channel_data` and without sign-in.
    #[error("channel_data is required to subscribe to {channel}")]
    ChannelDataRequired {
        /// The channel.
        channel: String,
    },
    /// `channel_data` that is not a JSON object in a string.
    #[error("channel_data supplied to presence subscription is invalid - it must be a JSON object")]
    InvalidChannelData,
    /// `channel_data` without a usable `user_id`.
    #[error("channel_data supplied to presence subscription must contain a user_id")]
    MissingUserId,
    /// A presence user id that is too long.
    #[error("user_id supplied to presence subscription is over the limit of {limit} characters")]
    UserIdTooLong {
        /// Characters.
        limit: usize,
    },
    /// `user_info` that is not an object.
    #[error(
        "user_info supplied to presence subscription is invalid - if supplied it must be a type of hash"
    )]
    UserInfoNotAnObject,
    /// `user_info` that is too large.
    #[error("user_info supplied to presence subscription is over the limit of {limit} bytes")]
    UserInfoTooLarge {
        /// Bytes.
        limit: usize,
    },
    /// One user too many on a presence channel.
    #[error("Presence channel {channel} is over the limit of {limit} members")]
    PresenceFull {
        /// The channel.
        channel: String,
        /// Distinct users.
        limit: usize,
    },
    /// `#server-to-user-` of somebody else, or before signing in.
    #[error("Not signed in as the user of channel {channel}")]
    NotThisUser {
        /// The channel.
        channel: String,
    },
    /// The app does not take client events.
    #[error(
        "To send client events, you must enable this feature in the Settings page of your dashboard."
    )]
    ClientEventsDisabled,
    /// A client event without channel or data.
    #[error("Invalid client event (must contain channel and data)")]
    ClientEventIncomplete,
    /// A client event to a channel that the sender is not subscribed to.
    #[error("Cannot broadcast client event (connection not subscribed to channel {channel})")]
    ClientEventNotSubscribed {
        /// The channel.
        channel: String,
    },
    /// A client event to a channel that is neither private nor presence.
    #[error("Client events are only supported on private and presence channels")]
    ClientEventOnPublicChannel,
    /// A client event to an encrypted channel.
    #[error("Client events are not supported on encrypted channels")]
    ClientEventOnEncryptedChannel,
    /// A client event with too long a name.
    #[error("Client event name is over the limit of {limit} characters")]
    ClientEventNameTooLong {
        /// Characters.
        limit: usize,
    },
    /// A client event with too much data.
    #[error("The data content of this client event exceeds the allowed maximum ({limit} bytes)")]
    ClientEventTooLarge {
        /// Bytes.
        limit: usize,
    },
    /// Client events faster than the limit, or than the channel takes them.
    #[error("Client event rejected due to rate limit")]
    ClientEventRate,
    /// Messages of one connection faster than the limit of the app.
    #[error("Message rejected due to rate limit")]
    MessageRate,
    /// Sign-in without `auth`, or with one that has no colon.
    #[error("Invalid format: auth must have the format key:signature")]
    SignInAuthFormat,
    /// Sign-in without `user_data`.
    #[error("Missing parameter: data.user_data")]
    SignInWithoutUserData,
    /// `user_data` that is not a JSON object in a string.
    #[error("user_data supplied to sign-in is invalid - it must be a JSON object")]
    InvalidUserData,
    /// `user_data` without a usable id.
    #[error(
        "user_data supplied to sign-in must contain an id: a non-empty string of letters, digits and _-=@,.;"
    )]
    InvalidUserId,
    /// A second sign-in under another id.
    #[error("Connection is already signed in as another user")]
    SignedInAsAnother,
    /// More ids in the watchlist than allowed.
    #[error("Watchlist limit exceeded. Only the first {limit} user IDs are accepted.")]
    WatchlistTooLong {
        /// Ids.
        limit: usize,
    },
    /// The server cannot do it at the moment.
    #[error("Server is over capacity, try again later")]
    Unavailable,
}

impl ClientError {
    /// Whether somebody may be guessing a key or a signature.
    #[must_use]
    pub fn is_failed_authorization(&self) -> bool {
        matches!(self, Self::AuthKey { .. } | Self::AuthSignature { .. })
    }

    /// Whether the client was too fast.
    #[must_use]
    pub fn is_rate(&self) -> bool {
        self.code() == Some(4301)
    }

    /// The code of the `pusher:error` event; most errors have none.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::ClientEventRate | Self::MessageRate => Some(4301),
            Self::WatchlistTooLong { .. } => Some(4302),
            _ => None,
        }
    }

    /// What a failed subscription tells the channel, beside the error.
    #[must_use]
    pub fn subscription_failure(&self) -> SubscriptionFailure {
        match self {
            Self::InvalidChannelName { .. } => SubscriptionFailure::InvalidChannel,
            Self::PresenceFull { .. } | Self::TooManyChannels { .. } | Self::Unavailable => {
                SubscriptionFailure::LimitReached
            }
            _ => SubscriptionFailure::AuthError,
        }
    }
}

/// `type` and `status` of `pusher:subscription_error` (section 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionFailure {
    /// The signature or what it signs is missing or wrong.
    AuthError,
    /// The channel, or the connection, is full.
    LimitReached,
    /// There is no such channel.
    InvalidChannel,
}

impl SubscriptionFailure {
    /// The `type` member.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AuthError => "AuthError",
            Self::LimitReached => "LimitReached",
            Self::InvalidChannel => "InvalidChannel",
        }
    }

    /// The `status` member, an HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::AuthError => 401,
            Self::LimitReached => 403,
            Self::InvalidChannel => 400,
        }
    }
}

/// The most characters of a client's own text that an error repeats.
const MAX_ECHO: usize = 200;

/// Cuts what a client sent to what an error may repeat of it.
#[must_use]
pub fn echo(text: &str) -> String {
    match text.char_indices().nth(MAX_ECHO) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checklist 18.
    #[test]
    fn a_close_reason_never_exceeds_a_close_frame() {
        let close = Close::UnknownApp {
            key: "ключ".repeat(100),
        };

        assert!(close.reason().len() <= 123);
        assert!(close.reason().starts_with("App key ключ"));
    }

    #[test]
    fn no_close_code_makes_pusher_js_give_up_by_accident() {
        for close in [
            Close::Normal,
            Close::OverCapacity,
            Close::Reconnect,
            Close::PongTimeout,
        ] {
            assert!(close.code() < 4300);
        }
    }
}
