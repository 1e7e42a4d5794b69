//! Who may call the API: programs with the token of the configuration, and people with
//! a session in the console.

use hyper::{Method, StatusCode};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Admin;
use super::error::AdminError;
use super::router::Operation;
use super::visitor::{Site, Visitor};
use crate::accounts::{Holder, Role};

/// Somebody who may be here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A program with `admin.token`.
    Token,
    /// Somebody in a browser.
    Person(Holder),
}

impl Caller {
    /// What stands in the audit log.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Token => "token",
            Self::Person(Holder::Account { name, .. }) => name,
            Self::Person(Holder::Loopback) => "loopback",
        }
    }

    pub(super) fn role(&self) -> Role {
        match self {
            Self::Token | Self::Person(Holder::Loopback) => Role::Admin,
            Self::Person(Holder::Account { role, .. }) => *role,
        }
    }
}

impl Admin {
    /// Who asks.
    ///
    /// # Errors
    /// Nobody who may be here: 401, 403 or 429.
    pub(super) async fn caller(
        &self,
        visitor: &Visitor,
        method: &Method,
    ) -> Result<Caller, AdminError> {
        self.must_not_be_blocked(visitor)?;
        if let Some(token) = &visitor.bearer {
            return self.program(visitor, token);
        }
        let session = visitor.session.as_ref().filter(|_| self.parts.has_console);
        let Some(session) = session else {
            return Err(unauthorized("the token is missing"));
        };
        // Looked at first: another page learns nothing, not even whether there is a
        // session.
        if visitor.site == Site::Other {
            return Err(other_page());
        }
        let holder = self.parts.accounts.holder(session).await?;
        let holder = holder.ok_or_else(|| unauthorized("the session is over"))?;
        if holder == Holder::Loopback && !visitor.is_local {
            return Err(unauthorized(
                "only this machine itself may come in without an account",
            ));
        }
        let is_change = !matches!(*method, Method::GET | Method::HEAD);
        if is_change && (visitor.site != Site::Own || !visitor.has_page_token()) {
            return Err(other_page());
        }
        Ok(Caller::Person(holder))
    }

    /// Whether `caller` may do it.
    pub(super) fn permit(caller: &Caller, operation: Operation) -> Result<(), AdminError> {
        if caller.role() == Role::Admin || operation.is_for_viewers() {
            return Ok(());
        }
        let message = "a viewer may look and change nothing";
        Err(AdminError::new(StatusCode::FORBIDDEN, "forbidden", message)
            .expected("the account of an administrator"))
    }

    /// Refuses addresses that guess.
    pub(super) fn must_not_be_blocked(&self, visitor: &Visitor) -> Result<(), AdminError> {
        if self.failures.may_authorize(visitor.peer.address) {
            return Ok(());
        }
        let message = "too many wrong tokens or passwords came from this address";
        Err(AdminError::new(StatusCode::TOO_MANY_REQUESTS, "blocked", message).retry_after(60))
    }

    /// Notes that somebody has guessed.
    pub(super) fn note_failure(&self, visitor: &Visitor, what: &str) {
        let address = visitor.peer.address;
        self.failures.note_failure(address);
        tracing::warn!(%address, "an admin request came with a wrong {what}");
    }

    fn program(&self, visitor: &Visitor, token: &[u8]) -> Result<Caller, AdminError> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let expected = self.token_digest.as_ref();
        if expected.is_some_and(|expected| bool::from(digest.ct_eq(expected))) {
            return Ok(Caller::Token);
        }
        self.note_failure(visitor, "token");
        Err(unauthorized("the token is wrong"))
    }
}

/// Refuses what a page of somebody else may have sent.
pub(super) fn other_page() -> AdminError {
    let message = "the request does not come from the console of this server";
    AdminError::new(StatusCode::FORBIDDEN, "other_page", message)
        .expected("the console's own page; behind a proxy its Host header as the browser sent it")
}

fn unauthorized(message: &str) -> AdminError {
    AdminError::new(StatusCode::UNAUTHORIZED, "unauthorized", message).expected(
        "Authorization: Bearer TOKEN, with the token of admin.token, or a session of the console",
    )
}
