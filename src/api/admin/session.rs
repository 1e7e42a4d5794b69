//! Signing in to the console, and out.

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::{Caller, other_page};
use super::error::{AdminError, ErrorBody};
use super::visitor::Site;
use super::{Admin, Call, nothing, reply};
use crate::accounts::{AccountError, Holder, Role, SESSION_TIME, SessionToken};
use crate::http::Answer;

/// How it stands with whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum SessionState {
    /// It may go on.
    SignedIn,
    /// It has to sign in.
    SignedOut,
    /// Nobody has an account; the first one is made with the link in the log.
    Begin,
    /// Nobody has to sign in on this machine: POST without name and password.
    Open,
}

/// Who asks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionView {
    state: SessionState,
    /// The account; `loopback` where nobody has to sign in.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    /// To be sent as `X-Fanfare-Page` with every change.
    #[serde(skip_serializing_if = "Option::is_none")]
    page_token: Option<String>,
    /// Whether apps and accounts can be kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    has_database: Option<bool>,
}

/// Name and password; without them where nobody has to sign in.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SignIn {
    name: Option<String>,
    password: Option<String>,
}

/// The first account, an administrator.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FirstAccount {
    /// What stands at the end of the link in the log.
    invitation: String,
    name: String,
    password: String,
}

/// A new password for oneself.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    old: String,
    new: String,
}

impl From<AccountError> for AdminError {
    fn from(error: AccountError) -> Self {
        let (message, expected) = (error.to_string(), error.expected());
        let refusal = match error {
            AccountError::Store(error) => return error.into(),
            AccountError::WrongPassword => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong_password", message)
            }
            AccountError::WrongInvitation => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "wrong_invitation",
                message,
            ),
            AccountError::Busy => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).retry_after(1)
            }
            AccountError::LastAdmin(_) => Self::new(StatusCode::CONFLICT, "last_admin", message),
            AccountError::NoAdmin => Self::new(StatusCode::CONFLICT, "no_admin", message),
            AccountError::TooMany => Self::new(StatusCode::CONFLICT, "too_many", message),
            AccountError::InvalidName(_) | AccountError::InvalidPassword => Self::invalid(message),
        };
        match expected {
            Some(expected) => refusal.expected(expected),
            None => refusal,
        }
    }
}

impl Admin {
    fn signed_in(&self, caller: &Caller, session: Option<&SessionToken>) -> SessionView {
        SessionView {
            state: SessionState::SignedIn,
            name: Some(caller.name().to_owned()),
            role: Some(caller.role()),
            page_token: session.map(SessionToken::page_token),
            has_database: Some(
                self.parts
                    .database
                    .as_ref()
                    .is_some_and(|database| !database.is_read_only()),
            ),
        }
    }

    /// The answer that gives a browser its session.
    async fn hand_over(
        &self,
        call: &Call<'_>,
        status: StatusCode,
        session: &SessionToken,
    ) -> Result<Answer, AdminError> {
        let holder = self.parts.accounts.holder(session).await?;
        let caller = Caller::Person(holder.ok_or_else(other_page)?);
        let mut answer = reply(status, &self.signed_in(&caller, Some(session)));
        set_cookie(&mut answer, call, session.reveal(), SESSION_TIME.as_secs());
        Ok(answer)
    }

    /// Only our own page may ask for a session: another one could sign somebody in to
    /// an account of its choice.
    fn must_be_own_page(&self, call: &Call<'_>) -> Result<(), AdminError> {
        if !self.parts.has_console {
            return Err(AdminError::not_found("unknown_path", "there is no console"));
        }
        if call.visitor.site == Site::Own {
            Ok(())
        } else {
            Err(other_page())
        }
    }
}

fn set_cookie(answer: &mut Answer, call: &Call<'_>, session: &str, seconds: u64) {
    let cookie = call.visitor.cookie_for(session, seconds);
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
}

/// Show who one is
///
/// For everybody: the console asks before it shows anything.
#[utoipa::path(get, path = "/admin/v1/session", tag = "accounts",
    responses((status = 200, description = "Who asks", body = SessionView)))]
pub(super) async fn show(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    if let Some(caller) = &call.caller {
        let session = match caller {
            Caller::Token => None,
            Caller::Person(_) => call.visitor.session.as_ref(),
        };
        return Ok(reply(StatusCode::OK, &admin.signed_in(caller, session)));
    }
    let accounts = &admin.parts.accounts;
    let state = if call.visitor.is_local && accounts.is_open().await? {
        SessionState::Open
    } else if accounts.has_any().await? {
        SessionState::SignedOut
    } else {
        SessionState::Begin
    };
    Ok(reply(
        StatusCode::OK,
        &SessionView {
            state,
            name: None,
            role: None,
            page_token: None,
            has_database: None,
        },
    ))
}

/// Sign in
///
/// From the page of the console only. The answer sets a cookie that lasts a day.
#[utoipa::path(post, path = "/admin/v1/session", tag = "accounts", request_body = SignIn,
    responses(
        (status = 200, description = "The session", body = SessionView),
        (status = 403, description = "It does not come from the console", body = ErrorBody),
        (status = 422, description = "Name or password is wrong", body = ErrorBody)))]
pub(super) async fn sign_in(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    admin.must_be_own_page(call)?;
    let wish: SignIn = call.body()?;
    let accounts = &admin.parts.accounts;
    let session = match (wish.name, wish.password) {
        (Some(name), Some(password)) => match accounts.sign_in(&name, &password).await {
            Ok(session) => session,
            Err(error) => {
                if matches!(error, AccountError::WrongPassword) {
                    admin.note_failure(&call.visitor, "password");
                }
                return Err(error.into());
            }
        },
        _ if call.visitor.is_local && accounts.is_open().await? => accounts.enter().await?,
        _ => return Err(AccountError::WrongPassword.into()),
    };
    admin.hand_over(call, StatusCode::OK, &session).await
}

/// Make the first account
///
/// From the page of the console only, once, with the link that stands in the log.
#[utoipa::path(post, path = "/admin/v1/session/first", tag = "accounts", request_body = FirstAccount,
    responses(
        (status = 201, description = "The session of the new administrator", body = SessionView),
        (status = 403, description = "It does not come from the console", body = ErrorBody),
        (status = 422, description = "The link is not valid, or the account cannot be", body = ErrorBody)))]
pub(super) async fn begin(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    admin.must_be_own_page(call)?;
    let first: FirstAccount = call.body()?;
    let accounts = &admin.parts.accounts;
    let begun = accounts.begin(&first.invitation, &first.name, &first.password);
    let session = begun.await.inspect_err(|error| {
        if matches!(error, AccountError::WrongInvitation) {
            admin.note_failure(&call.visitor, "link to the first account");
        }
    })?;
    admin.hand_over(call, StatusCode::CREATED, &session).await
}

/// Sign out
#[utoipa::path(delete, path = "/admin/v1/session", tag = "accounts",
    responses((status = 204, description = "The session is over")))]
pub(super) async fn sign_out(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    if let Some(session) = &call.visitor.session {
        admin.parts.accounts.sign_out(session).await?;
    }
    let mut answer = nothing();
    set_cookie(&mut answer, call, "", 0);
    Ok(answer)
}

/// Change one's own password
///
/// Ends all other sessions of the account.
#[utoipa::path(put, path = "/admin/v1/session/password", tag = "accounts", request_body = NewPassword,
    responses(
        (status = 204, description = "The new one holds"),
        (status = 409, description = "Whoever asks has no account", body = ErrorBody),
        (status = 422, description = "The old one is wrong, or the new one cannot be", body = ErrorBody)))]
pub(super) async fn change_password(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let wish: NewPassword = call.body()?;
    let Some(Caller::Person(Holder::Account { name, .. })) = &call.caller else {
        let message = "whoever asks has no account";
        return Err(AdminError::new(StatusCode::CONFLICT, "no_account", message));
    };
    let accounts = &admin.parts.accounts;
    accounts.check(name, &wish.old).await.inspect_err(|error| {
        if matches!(error, AccountError::WrongPassword) {
            admin.note_failure(&call.visitor, "password");
        }
    })?;
    let session = call.visitor.session.as_ref();
    let changed = accounts.change(name, None, Some(&wish.new), session);
    changed.await?;
    Ok(nothing())
}
