//! Accounts for the console, and what was changed by whom.

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{AdminError, ErrorBody};
use super::page::{self, PageQuery};
use super::{Admin, Call, nothing, reply};
use crate::accounts::{AuditEntry, Role, StoredAccount};
use crate::http::Answer;
use crate::store::StoreError;

/// The accounts, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AccountList {
    accounts: Vec<AccountView>,
}

/// An account.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AccountView {
    name: String,
    role: Role,
    /// When it was made, in milliseconds of Unix time.
    created_ms: i64,
}

/// An account to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAccount {
    /// Up to 64 letters, digits and the signs `. _ - @`.
    name: String,
    /// 10 characters or more.
    password: String,
    role: Role,
}

/// What is to change of an account.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AccountChange {
    role: Option<Role>,
    password: Option<String>,
}

/// What was changed, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditPage {
    entries: Vec<AuditEntry>,
    /// Where to go on; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl From<StoredAccount> for AccountView {
    fn from(account: StoredAccount) -> Self {
        Self {
            name: account.name,
            role: account.role,
            created_ms: account.created_ms,
        }
    }
}

/// List the accounts
#[utoipa::path(get, path = "/admin/v1/accounts", tag = "accounts",
    responses((status = 200, description = "The accounts, by name", body = AccountList)))]
pub(super) async fn list(admin: &Admin, _call: &Call<'_>) -> Result<Answer, AdminError> {
    let accounts = admin.parts.accounts.list().await?;
    let accounts = accounts.into_iter().map(AccountView::from).collect();
    Ok(reply(StatusCode::OK, &AccountList { accounts }))
}

/// Make an account
#[utoipa::path(post, path = "/admin/v1/accounts", tag = "accounts", request_body = NewAccount,
    responses(
        (status = 201, description = "The account", body = AccountView),
        (status = 409, description = "The name is taken", body = ErrorBody),
        (status = 422, description = "A name or password that cannot be", body = ErrorBody)))]
pub(super) async fn create(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let new: NewAccount = call.body()?;
    let accounts = &admin.parts.accounts;
    let made = accounts.create(&new.name, &new.password, new.role).await?;
    Ok(reply(StatusCode::CREATED, &AccountView::from(made)))
}

/// Change role or password
///
/// Ends the sessions of the account.
#[utoipa::path(patch, path = "/admin/v1/accounts/{account}", tag = "accounts",
    params(("account" = String, Path, description = "The name")),
    request_body = AccountChange,
    responses(
        (status = 204, description = "It is changed"),
        (status = 404, description = "There is none with this name", body = ErrorBody),
        (status = 409, description = "It is the last administrator", body = ErrorBody),
        (status = 422, description = "A password that cannot be", body = ErrorBody)))]
pub(super) async fn change(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let change: AccountChange = call.body()?;
    let changed = admin.parts.accounts.change(
        call.parameter(0),
        change.role,
        change.password.as_deref(),
        None,
    );
    changed.await?;
    Ok(nothing())
}

/// Delete an account
///
/// Ends its sessions.
#[utoipa::path(delete, path = "/admin/v1/accounts/{account}", tag = "accounts",
    params(("account" = String, Path, description = "The name")),
    responses(
        (status = 204, description = "It is no more"),
        (status = 404, description = "There is none with this name", body = ErrorBody),
        (status = 409, description = "It is the last administrator", body = ErrorBody)))]
pub(super) async fn delete(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    admin.parts.accounts.delete(call.parameter(0)).await?;
    Ok(nothing())
}

/// List what was changed
///
/// By whom, from where and when, the newest first. Kept for a year in the database,
/// else the last 1,000 changes of this process.
#[utoipa::path(get, path = "/admin/v1/audit", tag = "accounts", params(PageQuery),
    responses((status = 200, description = "A page of changes", body = AuditPage)))]
pub(super) async fn audit(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminError> {
    let query: PageQuery = call.query()?;
    let limit = page::limit(query.limit)?;
    let entries: Result<Vec<AuditEntry>, StoreError> = admin
        .parts
        .accounts
        .audit_page(query.after.as_deref(), limit + 1)
        .await;
    let (entries, next) = page::cut(entries?, limit, |entry| entry.id.clone());
    Ok(reply(StatusCode::OK, &AuditPage { entries, next }))
}
