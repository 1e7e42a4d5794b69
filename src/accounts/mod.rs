//! Who may operate the server: accounts with roles, their sessions in the console, and
//! what they have changed.
//!
//! Kept in the database, where there is one, so that all nodes agree; else in memory,
//! until the process ends. Knows nothing of HTTP: what a request must bring, and from
//! where, is decided in `api/admin`.
//!
//! The first account is made by whoever has the invitation, which stands in the log
//! once. A server whose app has the credentials that everybody knows needs none: it is
//! reached over loopback only, and open there until somebody makes an account.

mod memory;
mod password;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use ulid::Ulid;

use self::memory::Memory;
use self::password::{Busy, Passwords};
pub use crate::store::{AuditEntry, Role, SessionRecord, StoredAccount};
use crate::store::{Database, StoreError};

/// How long a session lasts.
pub const SESSION_TIME: Duration = Duration::from_secs(24 * 3_600);

/// How long changes are remembered in the database.
const AUDIT_TIME: Duration = Duration::from_secs(365 * 86_400);

/// Accounts, at most.
const MAX_ACCOUNTS: usize = 1_000;

/// Characters of a password, at least.
const MIN_PASSWORD: usize = 10;

/// Bytes of a password, at most: longer ones cost time and add nothing.
const MAX_PASSWORD: usize = 256;

/// Characters of a name, at most.
const MAX_NAME: usize = 64;

/// Who holds a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// An account, as it is now.
    Account {
        /// Its name.
        name: String,
        /// What it may do.
        role: Role,
    },
    /// Somebody on this machine, who does not have to sign in.
    Loopback,
}

/// What a browser keeps of a session. Only its digest is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken(String);

/// Why something about accounts was not done.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The database refuses, or does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Name or password is wrong; which one is not told.
    #[error("name or password is wrong")]
    WrongPassword,
    /// The invitation is wrong or used up.
    #[error("the link is not valid any more")]
    WrongInvitation,
    /// Many sign in at the moment.
    #[error("too many people sign in at the moment")]
    Busy,
    /// Nobody could change anything any more.
    #[error("{0:?} is the last administrator")]
    LastAdmin(String),
    /// Nobody could change anything from then on.
    #[error("the first account must be an administrator's")]
    NoAdmin,
    /// It cannot be a name.
    #[error("{0:?} cannot be the name of an account")]
    InvalidName(String),
    /// It cannot be a password.
    #[error("this cannot be a password")]
    InvalidPassword,
    /// There are as many as there may be.
    #[error("there are {MAX_ACCOUNTS} accounts already")]
    TooMany,
}

impl AccountError {
    /// What would have been right, if that can be said.
    #[must_use]
    pub fn expected(&self) -> Option<String> {
        Some(match self {
            Self::InvalidName(_) => {
                format!("1 to {MAX_NAME} letters, digits and the signs . _ - @")
            }
            Self::InvalidPassword => {
                format!("{MIN_PASSWORD} characters or more, {MAX_PASSWORD} bytes at most")
            }
            Self::WrongInvitation => {
                "the link that the log of the server shows at its start".to_owned()
            }
            Self::LastAdmin(_) => "another administrator, who is made before".to_owned(),
            _ => return None,
        })
    }
}

impl From<Busy> for AccountError {
    fn from(_: Busy) -> Self {
        Self::Busy
    }
}

impl SessionToken {
    fn random() -> Self {
        Self(hex(&rand::random::<[u8; 32]>()))
    }

    /// What a cookie holds, which may be anything.
    #[must_use]
    pub fn from_cookie(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// For the cookie.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What stands in the database.
    fn digest(&self) -> String {
        hex(&Sha256::digest(self.0.as_bytes()))
    }

    /// What a page must send with each change, to show that it could read an answer:
    /// pages of other origins cannot.
    #[must_use]
    pub fn page_token(&self) -> String {
        hex(&Sha256::digest(format!("page:{}", self.0).as_bytes()))
    }
}

impl std::fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionToken(..)")
    }
}

/// The accounts of a server.
#[derive(Debug)]
pub struct Accounts {
    store: Store,
    passwords: Passwords,
    /// Until the first account is made.
    invitation: Mutex<Option<String>>,
    /// Whether nobody has to sign in over loopback while there are no accounts.
    opens_loopback: bool,
    /// Whether there was one: the last administrator stays, so there is from then on.
    has_any: AtomicBool,
}

#[derive(Debug)]
enum Store {
    Memory(Memory),
    Database(Database),
}

impl Accounts {
    /// Those of `database`, or of this process. With `opens_loopback` nobody has to
    /// sign in over loopback, as long as there are none.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn new(database: Option<Database>, opens_loopback: bool) -> Result<Self, StoreError> {
        let accounts = Self {
            store: database.map_or_else(|| Store::Memory(Memory::default()), Store::Database),
            passwords: Passwords::default(),
            invitation: Mutex::default(),
            opens_loopback,
            has_any: AtomicBool::default(),
        };
        if !accounts.has_any().await? {
            let invitation = hex(&rand::random::<[u8; 32]>());
            *accounts.invitation() = Some(invitation);
        }
        Ok(accounts)
    }

    /// What the first account is made with, for the log: `None` when there are
    /// accounts, or when nobody needs one.
    #[must_use]
    pub fn invitation_to_tell(&self) -> Option<String> {
        let invitation = self.invitation().clone();
        invitation.filter(|_| !self.opens_loopback)
    }

    /// Whether there are accounts. Asks the database only until there are, since
    /// everybody may ask this.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn has_any(&self) -> Result<bool, StoreError> {
        if !self.has_any.load(Ordering::Relaxed) && !self.list().await?.is_empty() {
            self.has_any.store(true, Ordering::Relaxed);
        }
        Ok(self.has_any.load(Ordering::Relaxed))
    }

    /// Whether nobody has to sign in over loopback.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn is_open(&self) -> Result<bool, StoreError> {
        Ok(self.opens_loopback && !self.has_any().await?)
    }

    /// All accounts, by name.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn list(&self) -> Result<Vec<StoredAccount>, StoreError> {
        match &self.store {
            Store::Memory(memory) => Ok(memory.accounts()),
            Store::Database(database) => database.accounts().await,
        }
    }

    /// Makes the first account, an administrator.
    ///
    /// # Errors
    /// The invitation is wrong, or somebody was faster; or name or password cannot be.
    pub async fn begin(
        &self,
        invitation: &str,
        name: &str,
        password: &str,
    ) -> Result<SessionToken, AccountError> {
        let expected = self.invitation().clone();
        let is_right = expected.is_some_and(|expected| {
            let (one, other) = (Sha256::digest(expected), Sha256::digest(invitation));
            bool::from(one.ct_eq(&other))
        });
        if !is_right {
            return Err(AccountError::WrongInvitation);
        }
        self.add(name, password, Role::Admin, true).await?;
        self.invitation().take();
        Ok(self.open_session(Some(name)).await?)
    }

    /// Makes an account.
    ///
    /// # Errors
    /// The name is taken; name or password cannot be; or it is the first account, and
    /// not an administrator's.
    pub async fn create(
        &self,
        name: &str,
        password: &str,
        role: Role,
    ) -> Result<StoredAccount, AccountError> {
        let others = self.list().await?.len();
        if others >= MAX_ACCOUNTS {
            return Err(AccountError::TooMany);
        }
        if others == 0 && role != Role::Admin {
            return Err(AccountError::NoAdmin);
        }
        self.add(name, password, role, false).await
    }

    async fn add(
        &self,
        name: &str,
        password: &str,
        role: Role,
        only_first: bool,
    ) -> Result<StoredAccount, AccountError> {
        check_name(name)?;
        check_password(password)?;
        let account = StoredAccount {
            name: name.to_owned(),
            role,
            password: self.passwords.hash(password).await?,
            created_ms: unix_ms(),
        };
        let is_added = match &self.store {
            Store::Memory(memory) => memory.add_account(&account, only_first)?,
            Store::Database(database) => database.add_account(&account, only_first).await?,
        };
        if is_added {
            Ok(account)
        } else {
            Err(AccountError::WrongInvitation)
        }
    }

    /// Changes role or password of an account, which ends its sessions but `except`.
    ///
    /// # Errors
    /// There is no such account, it is the last administrator, or the password cannot
    /// be one.
    pub async fn change(
        &self,
        name: &str,
        role: Option<Role>,
        password: Option<&str>,
        except: Option<&SessionToken>,
    ) -> Result<(), AccountError> {
        let password = match password {
            Some(password) => {
                check_password(password)?;
                Some(self.passwords.hash(password).await?)
            }
            None => None,
        };
        let password = password.as_deref();
        let except = except.map(SessionToken::digest);
        let except = except.as_deref();
        let is_done = match &self.store {
            Store::Memory(memory) => memory.change_account(name, role, password, except)?,
            Store::Database(database) => {
                let changed = database.change_account(name, role, password, except);
                changed.await?
            }
        };
        done_unless_last(is_done, name)
    }

    /// Removes an account and ends its sessions.
    ///
    /// # Errors
    /// There is no such account, or it is the last administrator.
    pub async fn delete(&self, name: &str) -> Result<(), AccountError> {
        let is_done = match &self.store {
            Store::Memory(memory) => memory.delete_account(name)?,
            Store::Database(database) => database.delete_account(name).await?,
        };
        done_unless_last(is_done, name)
    }

    /// Begins a session for whoever knows name and password.
    ///
    /// # Errors
    /// They are wrong, or many sign in at the moment.
    pub async fn sign_in(&self, name: &str, password: &str) -> Result<SessionToken, AccountError> {
        self.check(name, password).await?;
        Ok(self.open_session(Some(name)).await?)
    }

    /// Whether `password` is that of the account.
    ///
    /// # Errors
    /// It is not, there is no such account, or many sign in at the moment.
    pub async fn check(&self, name: &str, password: &str) -> Result<(), AccountError> {
        let account = match &self.store {
            Store::Memory(memory) => memory.account(name),
            Store::Database(database) => database.account(name).await?,
        };
        if password.len() > MAX_PASSWORD {
            return Err(AccountError::WrongPassword);
        }
        // Takes as long for a name that nobody has.
        let stored = account.map(|account| account.password);
        if self.passwords.fits(password, stored).await? {
            Ok(())
        } else {
            Err(AccountError::WrongPassword)
        }
    }

    /// Begins a session for somebody who does not have to sign in. Whether that is so
    /// is looked at again whenever the session is used.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn enter(&self) -> Result<SessionToken, StoreError> {
        self.open_session(None).await
    }

    async fn open_session(&self, account: Option<&str>) -> Result<SessionToken, StoreError> {
        let token = SessionToken::random();
        let now_ms = unix_ms();
        let session = SessionRecord {
            account: account.map(str::to_owned),
            expires_ms: now_ms + millis(SESSION_TIME),
        };
        match &self.store {
            Store::Memory(memory) => memory.add_session(&token.digest(), &session, now_ms),
            Store::Database(database) => {
                let digest = token.digest();
                let added = database.add_console_session(&digest, &session, now_ms);
                added.await?;
            }
        }
        Ok(token)
    }

    /// Who holds a session, if it goes on.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn holder(&self, token: &SessionToken) -> Result<Option<Holder>, StoreError> {
        let digest = token.digest();
        let session = match &self.store {
            Store::Memory(memory) => memory.session(&digest),
            Store::Database(database) => database.console_session(&digest).await?,
        };
        let Some(session) = session.filter(|session| session.expires_ms > unix_ms()) else {
            return Ok(None);
        };
        let Some(name) = session.account else {
            return Ok(self.is_open().await?.then_some(Holder::Loopback));
        };
        let account = match &self.store {
            Store::Memory(memory) => memory.account(&name),
            Store::Database(database) => database.account(&name).await?,
        };
        Ok(account.map(|account| Holder::Account {
            name: account.name,
            role: account.role,
        }))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn sign_out(&self, token: &SessionToken) -> Result<(), StoreError> {
        match &self.store {
            Store::Memory(memory) => memory.end_session(&token.digest()),
            Store::Database(database) => database.end_console_session(&token.digest()).await?,
        }
        Ok(())
    }

    /// Writes down what was changed: in the log of the process in any case.
    pub async fn note(&self, actor: &str, address: &str, action: &str, detail: Option<String>) {
        tracing::info!(actor, address, action, detail, "changed by an operator");
        let at_ms = unix_ms();
        let entry = AuditEntry {
            id: Ulid::from_parts(u64::try_from(at_ms).unwrap_or(0), rand::random()).to_string(),
            at_ms,
            actor: actor.to_owned(),
            address: address.to_owned(),
            action: action.to_owned(),
            detail,
        };
        match &self.store {
            Store::Memory(memory) => memory.add_audit(entry),
            Store::Database(database) => {
                let written = database.add_audit(&entry, at_ms - millis(AUDIT_TIME));
                if let Err(error) = written.await {
                    // The change itself is done.
                    tracing::error!(%error, "a change is missing from the audit log");
                }
            }
        }
    }

    /// What was changed before the entry `before`, the newest first.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn audit_page(
        &self,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        match &self.store {
            Store::Memory(memory) => Ok(memory.audit_page(before, limit)),
            Store::Database(database) => database.audit_page(before, limit).await,
        }
    }

    fn invitation(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.invitation
            .lock()
            .expect("the invitation is never poisoned: no panic under its lock")
    }
}

fn done_unless_last(is_done: bool, name: &str) -> Result<(), AccountError> {
    if is_done {
        Ok(())
    } else {
        Err(AccountError::LastAdmin(name.to_owned()))
    }
}

fn check_name(name: &str) -> Result<(), AccountError> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "._-@".contains(letter);
    // Those that stand for somebody without an account.
    let is_taken = matches!(name, "token" | "loopback");
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(fits) || is_taken {
        return Err(AccountError::InvalidName(
            name.chars().take(MAX_NAME).collect(),
        ));
    }
    Ok(())
}

fn check_password(password: &str) -> Result<(), AccountError> {
    if password.chars().count() < MIN_PASSWORD || password.len() > MAX_PASSWORD {
        return Err(AccountError::InvalidPassword);
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "correct horse";

    async fn accounts() -> Accounts {
        Accounts::new(None, false).await.unwrap()
    }

    async fn with_admin() -> (Accounts, SessionToken) {
        let accounts = accounts().await;
        let invitation = accounts.invitation_to_tell().unwrap();
        let session = accounts.begin(&invitation, "ann", PASSWORD).await.unwrap();
        (accounts, session)
    }

    #[tokio::test]
    async fn an_invitation_is_good_for_one_account() {
        let accounts = accounts().await;
        let invitation = accounts.invitation_to_tell().unwrap();

        let guessed = accounts.begin("guess", "eve", PASSWORD).await;
        assert!(matches!(guessed, Err(AccountError::WrongInvitation)));
        // What was wrong with the account does not use it up.
        let weak = accounts.begin(&invitation, "ann", "short").await;
        assert!(matches!(weak, Err(AccountError::InvalidPassword)));
        let session = accounts.begin(&invitation, "ann", PASSWORD).await.unwrap();

        let again = accounts.begin(&invitation, "eve", PASSWORD).await;
        assert!(matches!(again, Err(AccountError::WrongInvitation)));
        assert_eq!(accounts.invitation_to_tell(), None);
        assert_eq!(
            accounts.holder(&session).await.unwrap(),
            Some(Holder::Account {
                name: "ann".to_owned(),
                role: Role::Admin
            })
        );
    }

    #[tokio::test]
    async fn the_last_administrator_stays() {
        let (accounts, _) = with_admin().await;
        accounts
            .create("bob", PASSWORD, Role::Viewer)
            .await
            .unwrap();

        let deleted = accounts.delete("ann").await;
        let demoted = accounts.change("ann", Some(Role::Viewer), None, None).await;

        assert!(matches!(deleted, Err(AccountError::LastAdmin(_))));
        assert!(matches!(demoted, Err(AccountError::LastAdmin(_))));
        let promoted = accounts.change("bob", Some(Role::Admin), None, None).await;
        assert!(promoted.is_ok());
        assert!(accounts.delete("ann").await.is_ok());
    }

    #[tokio::test]
    async fn the_first_account_is_an_administrators() {
        let accounts = Accounts::new(None, true).await.unwrap();

        let viewer = accounts.create("bob", PASSWORD, Role::Viewer).await;

        assert!(matches!(viewer, Err(AccountError::NoAdmin)));
        assert!(accounts.is_open().await.unwrap());
    }

    #[tokio::test]
    async fn a_new_password_ends_the_sessions_of_before() {
        let (accounts, first) = with_admin().await;
        let second = accounts.sign_in("ann", PASSWORD).await.unwrap();

        let new = "battery staple";
        let changed = accounts.change("ann", None, Some(new), Some(&first));
        changed.await.unwrap();

        assert_eq!(accounts.holder(&second).await.unwrap(), None);
        assert!(accounts.holder(&first).await.unwrap().is_some());
        let old = accounts.sign_in("ann", PASSWORD).await;
        assert!(matches!(old, Err(AccountError::WrongPassword)));
        assert!(accounts.sign_in("ann", new).await.is_ok());
    }

    #[tokio::test]
    async fn what_is_open_to_all_ends_with_the_first_account() {
        let accounts = Accounts::new(None, true).await.unwrap();
        assert_eq!(accounts.invitation_to_tell(), None);
        let session = accounts.enter().await.unwrap();
        let holder = accounts.holder(&session).await.unwrap();
        assert_eq!(holder, Some(Holder::Loopback));

        accounts.create("ann", PASSWORD, Role::Admin).await.unwrap();

        assert_eq!(accounts.holder(&session).await.unwrap(), None);
        assert!(!accounts.is_open().await.unwrap());
    }

    #[tokio::test]
    async fn changes_are_told_from_the_newest_on() {
        let accounts = accounts().await;
        for number in 0..1_100 {
            let action = format!("DELETE /apps/{number}");
            accounts.note("ann", "192.0.2.1", &action, None).await;
        }

        let page = accounts.audit_page(None, 2_000).await.unwrap();
        assert_eq!(page.len(), 1_000);
        assert_eq!(page[0].action, "DELETE /apps/1099");
    }

    #[test]
    fn names_are_short_and_have_no_surprises() {
        for name in ["ann", "a.b_c-d@example.com"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "a b", "Zoë", "<b>", "token", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
