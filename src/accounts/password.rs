//! Passwords at rest: argon2id, with the parameters of the crate's defaults (19 MiB,
//! two passes), which stand in the text that is stored.
//!
//! A hash takes some 30 ms of a processor and its memory, on threads that may block. So
//! few of them run at a time, and a bounded number waits.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;

/// Hashes at the same time.
const AT_A_TIME: usize = 2;

/// Hashes that run or wait; the next one is refused.
const MAX_WAITING: usize = 16;

/// Bytes of a salt.
const SALT_BYTES: usize = 16;

/// Too many passwords are looked at already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Busy;

/// Hashes and compares.
#[derive(Debug)]
pub(super) struct Passwords {
    running: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            running: Arc::new(Semaphore::new(AT_A_TIME)),
            waiting: Semaphore::new(MAX_WAITING),
        }
    }
}

impl Passwords {
    /// The text to store for a password.
    pub(super) async fn hash(&self, password: &str) -> Result<String, Busy> {
        let password = password.to_owned();
        self.work(move || {
            Argon2::default()
                .hash_password_with_salt(password.as_bytes(), &rand::random::<[u8; SALT_BYTES]>())
                .expect("salt and password have lengths that argon2 takes")
                .to_string()
        })
        .await
    }

    /// Whether `password` is the one that `stored` was made of. With nothing stored it
    /// takes as long and is never.
    pub(super) async fn fits(&self, password: &str, stored: Option<String>) -> Result<bool, Busy> {
        let Some(stored) = stored else {
            self.hash(password).await?;
            return Ok(false);
        };
        let password = password.to_owned();
        self.work(move || {
            PasswordHash::new(&stored).is_ok_and(|stored| {
                Argon2::default()
                    .verify_password(password.as_bytes(), &stored)
                    .is_ok()
            })
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let _place = self.waiting.try_acquire().map_err(|_| Busy)?;
        let running = Arc::clone(&self.running);
        let permit = running.acquire_owned().await.map_err(|_| Busy)?;
        let done = tokio::task::spawn_blocking(move || {
            // Held by the thread: a caller that goes away does not make room earlier.
            let _permit = permit;
            work()
        });
        done.await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_only() {
        let passwords = Passwords::default();

        let stored = passwords.hash("correct horse").await.unwrap();

        assert!(stored.starts_with("$argon2id$v=19$"), "{stored}");
        let fits = async |password, stored| passwords.fits(password, stored).await.unwrap();
        assert!(fits("correct horse", Some(stored.clone())).await);
        assert!(!fits("correct horsf", Some(stored)).await);
        assert!(!fits("correct horse", Some("nonsense".to_owned())).await);
        assert!(!fits("correct horse", None).await);
    }

    #[tokio::test]
    async fn more_than_may_wait_are_refused_at_once() {
        let passwords = Passwords::default();
        let _all = passwords.waiting.try_acquire_many(16).unwrap();

        assert_eq!(passwords.hash("correct horse").await, Err(Busy));
    }
}
