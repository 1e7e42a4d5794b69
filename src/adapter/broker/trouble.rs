//! What can be wrong with a broker, told apart as far as an operator would act
//! differently.

use std::time::Duration;

use lapin::ErrorKind;
use lapin::protocol::{AMQPError, AMQPErrorKind, AMQPHardError, AMQPSoftError};

/// Something is wrong with the broker, or between it and us.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// Nobody listens there, or the name is unknown.
    #[error("the broker cannot be reached: {0}")]
    Unreachable(String),
    /// Somebody listens, and says nothing.
    #[error("the broker does not answer within {0:?}")]
    Slow(Duration),
    /// User or password are wrong.
    #[error(
        "ACCESS_REFUSED: the broker does not know the user {user:?} with this password ({text})"
    )]
    Credentials {
        /// The user.
        user: String,
        /// What the broker says.
        text: String,
    },
    /// The user must not do this.
    #[error("ACCESS_REFUSED: the user lacks a permission ({0})")]
    Permission(String),
    /// There is no such virtual host, or it is not for this user.
    #[error("NOT_ALLOWED: the virtual host cannot be used ({0})")]
    Vhost(String),
    /// Something that others declare is not there.
    #[error("NOT_FOUND: {0}")]
    Missing(String),
    /// The broker ends it: it shuts down, or an operator wants it.
    #[error("the broker has closed the connection: {0}")]
    Closed(String),
    /// The connection stood and is gone.
    #[error("the connection to the broker was lost: {0}")]
    Lost(String),
    /// The broker refuses what we ask for.
    #[error("the broker refuses: {0}")]
    Refused(String),
}

impl Trouble {
    /// Whether only a person can change it, so that asking often is of no use.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        matches!(
            self,
            Self::Credentials { .. } | Self::Permission(_) | Self::Vhost(_)
        )
    }

    /// What it is, without names and addresses.
    #[must_use]
    pub fn in_short(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "out of reach",
            Self::Slow(_) => "no answer",
            Self::Credentials { .. } => "ACCESS_REFUSED: credentials",
            Self::Permission(_) => "ACCESS_REFUSED: permission",
            Self::Vhost(_) => "NOT_ALLOWED: virtual host",
            Self::Missing(_) => "NOT_FOUND",
            Self::Closed(_) | Self::Lost(_) => "connection lost",
            Self::Refused(_) => "refused",
        }
    }

    /// What an attempt to connect as `user` has brought.
    pub(super) fn of_connecting(error: &lapin::Error, user: &str) -> Self {
        match error.kind() {
            ErrorKind::IOError(error) => Self::Unreachable(error.to_string()),
            ErrorKind::ProtocolError(error) if is_access_refused(error) => Self::Credentials {
                user: user.to_owned(),
                text: text(error),
            },
            _ => Self::from(error),
        }
    }
}

impl From<&lapin::Error> for Trouble {
    fn from(error: &lapin::Error) -> Self {
        match error.kind() {
            ErrorKind::ProtocolError(error) => match error.kind() {
                _ if is_access_refused(error) => Self::Permission(text(error)),
                AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Self::Missing(text(error)),
                AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED | AMQPHardError::INVALIDPATH) => {
                    Self::Vhost(text(error))
                }
                AMQPErrorKind::Hard(AMQPHardError::CONNECTIONFORCED) => Self::Closed(text(error)),
                _ => Self::Refused(text(error)),
            },
            ErrorKind::MissingHeartbeatError => Self::Lost("no sign of life".to_owned()),
            _ => Self::Lost(error.to_string()),
        }
    }
}

impl From<lapin::Error> for Trouble {
    fn from(error: lapin::Error) -> Self {
        Self::from(&error)
    }
}

fn is_access_refused(error: &AMQPError) -> bool {
    matches!(
        error.kind(),
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED)
    )
}

/// What the broker says, without what could break a line of the log.
fn text(error: &AMQPError) -> String {
    let message = error.get_message();
    message
        .as_str()
        .chars()
        .filter(|character| !character.is_control())
        .take(300)
        .collect()
}
