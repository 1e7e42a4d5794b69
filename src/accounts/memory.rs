//! Accounts without a database: until the process ends.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use super::{AuditEntry, Role, SessionRecord, StoredAccount};
use crate::store::{StoreError, account_exists, unknown_account};

/// Sessions that are kept; the one that ends first goes for a further one.
const MAX_SESSIONS: usize = 1_000;

/// Changes that are kept.
const MAX_AUDIT: usize = 1_000;

/// What the database has in tables.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    accounts: BTreeMap<String, StoredAccount>,
    sessions: HashMap<String, SessionRecord>,
    /// The newest last.
    audit: VecDeque<AuditEntry>,
}

impl Memory {
    pub(super) fn accounts(&self) -> Vec<StoredAccount> {
        self.lock().accounts.values().cloned().collect()
    }

    pub(super) fn account(&self, name: &str) -> Option<StoredAccount> {
        self.lock().accounts.get(name).cloned()
    }

    pub(super) fn add_account(
        &self,
        account: &StoredAccount,
        only_first: bool,
    ) -> Result<bool, StoreError> {
        let mut tables = self.lock();
        if only_first && !tables.accounts.is_empty() {
            return Ok(false);
        }
        if tables.accounts.contains_key(&account.name) {
            return Err(account_exists(&account.name));
        }
        let name = account.name.clone();
        tables.accounts.insert(name, account.clone());
        Ok(true)
    }

    pub(super) fn change_account(
        &self,
        name: &str,
        role: Option<Role>,
        password: Option<&str>,
        except: Option<&str>,
    ) -> Result<bool, StoreError> {
        let mut tables = self.lock();
        if role == Some(Role::Viewer) && tables.is_last_admin(name) {
            return Ok(false);
        }
        let account = tables
            .accounts
            .get_mut(name)
            .ok_or_else(|| unknown_account(name))?;
        account.role = role.unwrap_or(account.role);
        if let Some(password) = password {
            password.clone_into(&mut account.password);
        }
        tables.end_sessions(name, except);
        Ok(true)
    }

    pub(super) fn delete_account(&self, name: &str) -> Result<bool, StoreError> {
        let mut tables = self.lock();
        if tables.is_last_admin(name) {
            return Ok(false);
        }
        let removed = tables.accounts.remove(name);
        removed.ok_or_else(|| unknown_account(name))?;
        tables.end_sessions(name, None);
        Ok(true)
    }

    pub(super) fn add_session(&self, digest: &str, session: &SessionRecord, now_ms: i64) {
        let sessions = &mut self.lock().sessions;
        sessions.retain(|_, session| session.expires_ms > now_ms);
        if sessions.len() >= MAX_SESSIONS {
            let first = sessions
                .iter()
                .min_by_key(|(_, session)| session.expires_ms);
            if let Some(digest) = first.map(|(digest, _)| digest.clone()) {
                sessions.remove(&digest);
            }
        }
        sessions.insert(digest.to_owned(), session.clone());
    }

    pub(super) fn session(&self, digest: &str) -> Option<SessionRecord> {
        self.lock().sessions.get(digest).cloned()
    }

    pub(super) fn end_session(&self, digest: &str) {
        self.lock().sessions.remove(digest);
    }

    pub(super) fn add_audit(&self, entry: AuditEntry) {
        let audit = &mut self.lock().audit;
        if audit.len() >= MAX_AUDIT {
            audit.pop_front();
        }
        audit.push_back(entry);
    }

    pub(super) fn audit_page(&self, before: Option<&str>, limit: usize) -> Vec<AuditEntry> {
        let tables = self.lock();
        let newest_first = tables.audit.iter().rev();
        let Some(before) = before else {
            return newest_first.take(limit).cloned().collect();
        };
        newest_first
            .skip_while(|entry| entry.id != before)
            .skip(1)
            .take(limit)
            .cloned()
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0
            .lock()
            .expect("the accounts are never poisoned: no panic under their lock")
    }
}

impl Tables {
    fn is_last_admin(&self, name: &str) -> bool {
        let mut admins = self
            .accounts
            .values()
            .filter(|account| account.role == Role::Admin);
        admins.next().is_some_and(|admin| admin.name == name) && admins.next().is_none()
    }

    fn end_sessions(&mut self, name: &str, except: Option<&str>) {
        self.sessions.retain(|digest, session| {
            session.account.as_deref() != Some(name) || Some(digest.as_str()) == except
        });
    }
}
