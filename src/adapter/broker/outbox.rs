//! Messages for the broker, which wait while it is out of reach.
//!
//! At least once and in order: a message leaves the queue when the broker has
//! confirmed that it has it. One that was on its way when the connection was lost is
//! sent again. The queue has a bound; a message that finds it full is refused, and
//! what becomes of it is for its sender to decide. Nothing of it survives the process.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Confirmation};
use tokio::sync::Notify;

use super::session::within;
use super::{Session, Trouble};

/// Messages that wait for their confirmation at the same time. Each waits a round
/// trip and, when it is persistent, for the broker's disk.
const AT_ONCE: usize = 64;

/// Time for a confirmation.
const PATIENCE: Duration = Duration::from_secs(30);

/// A message to the broker.
#[derive(Clone)]
pub struct Letter {
    /// The exchange; empty is the one that leads to the queue `routing_key`.
    pub exchange: String,
    /// Where it goes.
    pub routing_key: String,
    /// Its body.
    pub body: Bytes,
    /// Its properties.
    pub properties: BasicProperties,
    /// Whether the broker says so when no queue gets it.
    pub is_mandatory: bool,
}

/// As many messages wait as may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} messages wait for the broker already")]
pub struct Full(pub usize);

/// What an outbox counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxFigures {
    /// Messages that wait.
    pub waiting: usize,
    /// Those that the broker has confirmed.
    pub confirmed: u64,
    /// Those among them that reached no queue although they should.
    pub unroutable: u64,
    /// Those that found the outbox full.
    pub refused: u64,
}

/// The queue to the broker.
#[derive(Debug)]
pub struct Outbox {
    capacity: usize,
    letters: Mutex<VecDeque<Arc<Letter>>>,
    arrived: Notify,
    emptied: Notify,
    confirmed: AtomicU64,
    unroutable: AtomicU64,
    refused: AtomicU64,
}

impl Outbox {
    /// For at most `capacity` messages.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            letters: Mutex::default(),
            arrived: Notify::new(),
            emptied: Notify::new(),
            confirmed: AtomicU64::new(0),
            unroutable: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Puts a message behind those that wait.
    ///
    /// # Errors
    /// There is no room.
    pub fn push(&self, letter: Letter) -> Result<(), Full> {
        let mut letters = self.letters();
        if letters.len() >= self.capacity {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Full(self.capacity));
        }
        letters.push_back(Arc::new(letter));
        drop(letters);
        self.arrived.notify_one();
        Ok(())
    }

    /// What it counts.
    #[must_use]
    pub fn figures(&self) -> OutboxFigures {
        OutboxFigures {
            waiting: self.letters().len(),
            confirmed: self.confirmed.load(Ordering::Relaxed),
            unroutable: self.unroutable.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// Waits until nothing waits any more.
    pub async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.letters().is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// Sends what waits and what comes, over one session and until that is over. To be
    /// called by one task only.
    ///
    /// # Errors
    /// The session is over, or the broker could not take a message. What is not
    /// confirmed still waits.
    pub async fn send(&self, session: &Session) -> Result<Infallible, Trouble> {
        let channel = session.channel().await?;
        within(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        // The first ones of the queue, in its order.
        let mut flying = FuturesOrdered::new();
        loop {
            while flying.len() < AT_ONCE
                && let Some(letter) = self.letter(flying.len())
            {
                let options = BasicPublishOptions {
                    mandatory: letter.is_mandatory,
                    ..BasicPublishOptions::default()
                };
                let confirmation = within(channel.basic_publish(
                    letter.exchange.as_str().into(),
                    letter.routing_key.as_str().into(),
                    options,
                    &letter.body,
                    letter.properties.clone(),
                ))
                .await?;
                flying.push_back(confirmation);
            }
            tokio::select! {
                Some(confirmation) = flying.next() => self.settle(&confirmation?)?,
                () = self.arrived.notified(), if flying.len() < AT_ONCE => {}
                () = tokio::time::sleep(PATIENCE), if !flying.is_empty() => {
                    return Err(Trouble::Slow(PATIENCE));
                }
            }
        }
    }

    /// What the broker says of the first one.
    fn settle(&self, confirmation: &Confirmation) -> Result<(), Trouble> {
        if !matches!(confirmation, Confirmation::Ack(_)) {
            return Err(Trouble::Refused(
                "a message, which is sent again".to_owned(),
            ));
        }
        let mut letters = self.letters();
        let settled = letters.pop_front();
        if letters.is_empty() {
            self.emptied.notify_waiters();
        }
        drop(letters);
        self.confirmed.fetch_add(1, Ordering::Relaxed);
        if let (Confirmation::Ack(Some(_)), Some(letter)) = (confirmation, settled) {
            self.unroutable.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                exchange = letter.exchange,
                routing_key = letter.routing_key,
                "no queue of the broker takes this message"
            );
        }
        Ok(())
    }

    fn letter(&self, position: usize) -> Option<Arc<Letter>> {
        self.letters().get(position).cloned()
    }

    fn letters(&self) -> MutexGuard<'_, VecDeque<Arc<Letter>>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letter")
            .field("exchange", &self.exchange)
            .field("routing_key", &self.routing_key)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(key: &str) -> Letter {
        Letter {
            exchange: String::new(),
            routing_key: key.to_owned(),
            body: Bytes::new(),
            properties: BasicProperties::default(),
            is_mandatory: true,
        }
    }

    #[tokio::test]
    async fn a_full_outbox_refuses_and_forgets_nothing() {
        let outbox = Outbox::new(2);

        for key in ["a", "b"] {
            outbox.push(letter(key)).unwrap();
        }

        assert_eq!(outbox.push(letter("c")), Err(Full(2)));
        assert_eq!(outbox.letter(0).unwrap().routing_key, "a");
        outbox.settle(&Confirmation::Ack(None)).unwrap();
        assert_eq!(outbox.letter(0).unwrap().routing_key, "b");
        assert!(outbox.settle(&Confirmation::NotRequested).is_err());
        outbox.settle(&Confirmation::Ack(None)).unwrap();
        outbox.emptied().await;
        let figures = outbox.figures();
        assert_eq!(
            (figures.waiting, figures.confirmed, figures.refused),
            (0, 2, 1)
        );
    }
}
