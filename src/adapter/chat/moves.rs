//! Users on their way from a queue of their own to the one that all share.
//!
//! The broker cannot move a binding: for a moment a user is bound to both queues, and
//! what is published then comes from both. A move has these steps, which
//! [`super::queues`] takes and the two [`super::carrier`]s report to:
//!
//! 1. From now on what comes from the own queue is delivered and noted, and what comes
//!    from the shared one waits.
//! 2. The user is bound to the shared queue, then unbound from their own.
//! 3. When that is empty its consumer ends. The broker says so behind everything that
//!    it has sent, so all of it is noted by then.
//! 4. What waited is delivered, but for what is noted: that came already.
//!
//! What is noted is kept until so many messages have come from the shared queue that
//! none of the time of the move can be among those to come.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lapin::message::Delivery;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use super::readers::UserId;

/// Updates that are noted of one user, the newest. They come between two answers of
/// the broker; of a flood in that time, some might come twice.
const MAX_NOTES: usize = 10_000;

/// What tells one update from all others: its bytes, and when and as what it was sent.
type Print = [u8; 32];

/// The moves of one session.
#[derive(Debug, Default)]
pub(super) struct Moves {
    state: Mutex<State>,
    drained: Notify,
    settled: Notify,
}

#[derive(Debug, Default)]
struct State {
    users: HashMap<UserId, Move>,
    /// Messages that have come from the shared queue.
    heard: u64,
    /// Who has moved and has notes, and until when they count: the oldest in front.
    settled: VecDeque<(u64, UserId)>,
}

#[derive(Debug)]
struct Move {
    notes: VecDeque<Print>,
    phase: Phase,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// Updates may still come from the own queue.
    Draining,
    /// All have come.
    Drained,
    /// The user has moved; the notes count until so many messages have been heard.
    Settled { until: u64 },
}

impl Moves {
    /// Begins to note what comes from the own queue of a user, and to hold back what
    /// comes for them from the shared one.
    pub(super) fn begin(&self, id: &UserId) {
        let mut state = self.state();
        let user = state.users.entry(id.clone()).or_insert_with(|| Move {
            notes: VecDeque::new(),
            phase: Phase::Draining,
        });
        user.phase = Phase::Draining;
    }

    /// Whether updates for the user from the shared queue have to wait.
    pub(super) fn is_moving(&self, id: &UserId) -> bool {
        let state = self.state();
        let user = state.users.get(id);
        user.is_some_and(|user| !matches!(user.phase, Phase::Settled { .. }))
    }

    /// An update has come from the user's own queue.
    pub(super) fn note(&self, id: &UserId, delivery: &Delivery) {
        let mut state = self.state();
        let Some(user) = state.users.get_mut(id) else {
            return;
        };
        // One that comes again was noted when it came first, or is older than the move.
        if user.phase == Phase::Draining && !delivery.redelivered {
            if user.notes.len() == MAX_NOTES {
                user.notes.pop_front();
            }
            user.notes.push_back(print(delivery));
        }
    }

    /// The consumer of the user's own queue has ended.
    pub(super) fn own_has_ended(&self, id: &UserId) {
        if let Some(user) = self.state().users.get_mut(id)
            && user.phase == Phase::Draining
        {
            user.phase = Phase::Drained;
            self.drained.notify_waiters();
        }
    }

    /// Waits until it has.
    pub(super) async fn drained(&self, id: &UserId) {
        loop {
            let drained = self.drained.notified();
            let is_drained = |user: &Move| user.phase == Phase::Drained;
            if self.state().users.get(id).is_none_or(is_drained) {
                return;
            }
            drained.await;
        }
    }

    /// The user has moved. At most `ahead` messages that were published while they were
    /// bound to both queues may still come from the shared one.
    pub(super) fn settle(&self, id: &UserId, ahead: u64) {
        let mut state = self.state();
        let until = state.heard + ahead;
        let Some(user) = state.users.get_mut(id) else {
            return;
        };
        if user.notes.is_empty() {
            state.users.remove(id);
        } else {
            user.phase = Phase::Settled { until };
            state.settled.push_back((until, id.clone()));
        }
        drop(state);
        self.settled.notify_one();
    }

    /// Waits until somebody has moved. For one task only.
    pub(super) async fn settled(&self) {
        self.settled.notified().await;
    }

    /// A message has come from the shared queue.
    pub(super) fn heard(&self) {
        let mut state = self.state();
        state.heard += 1;
        while let Some((until, id)) = state.settled.front().cloned()
            && until < state.heard
        {
            state.settled.pop_front();
            // Unless they move again.
            if state.users.get(&id).map(|user| &user.phase) == Some(&Phase::Settled { until }) {
                state.users.remove(&id);
            }
        }
    }

    /// Whether the user has had this update from their own queue already. Asked once of
    /// each message, and not while the user is moving.
    pub(super) fn is_copy(&self, id: &UserId, delivery: &Delivery) -> bool {
        let mut state = self.state();
        let Some(user) = state.users.get_mut(id) else {
            return false;
        };
        let print = print(delivery);
        let place = user.notes.iter().position(|note| *note == print);
        place.and_then(|place| user.notes.remove(place)).is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn print(delivery: &Delivery) -> Print {
    let properties = &delivery.properties;
    let mut digest = Sha256::new();
    let id = properties.message_id().as_ref().map(|id| id.as_str());
    for part in [delivery.routing_key.as_str(), id.unwrap_or_default()] {
        digest.update(part);
        digest.update([0]);
    }
    digest.update(properties.timestamp().unwrap_or_default().to_le_bytes());
    digest.update(&delivery.data);
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> UserId {
        UserId::parse("a").unwrap()
    }

    fn update(text: &str) -> Delivery {
        let data = text.as_bytes().to_vec();
        Delivery::mock(1, "e".into(), "user.a.x".into(), false, data)
    }

    #[test]
    fn what_came_from_the_own_queue_is_a_copy_once() {
        let moves = Moves::default();
        let user = user();
        moves.note(&user, &update("before"));
        moves.begin(&user);
        assert!(moves.is_moving(&user));
        for text in ["one", "two", "two"] {
            moves.note(&user, &update(text));
        }
        moves.own_has_ended(&user);
        assert!(moves.is_moving(&user));

        moves.settle(&user, 50);

        assert!(!moves.is_moving(&user));
        let copies: Vec<bool> = ["before", "two", "one", "one", "two", "two"]
            .map(|text| moves.is_copy(&user, &update(text)))
            .into();
        assert_eq!(copies, [false, true, true, false, true, false]);
    }

    #[test]
    fn notes_are_forgotten_when_nothing_older_can_come() {
        let moves = Moves::default();
        let user = user();
        let settle = |ahead| {
            moves.begin(&user);
            moves.note(&user, &update("x"));
            moves.own_has_ended(&user);
            moves.settle(&user, ahead);
        };
        settle(2);
        moves.heard();
        moves.heard();
        assert!(moves.is_copy(&user, &update("x")));
        settle(2);

        for _ in 0..3 {
            moves.heard();
        }

        assert!(!moves.is_copy(&user, &update("x")));
    }

    #[test]
    fn the_end_of_a_later_queue_is_no_move() {
        let moves = Moves::default();
        let user = user();
        moves.begin(&user);
        moves.note(&user, &update("x"));
        moves.own_has_ended(&user);
        moves.settle(&user, 2);

        moves.own_has_ended(&user);

        assert!(!moves.is_moving(&user));
    }

    #[test]
    fn of_a_flood_the_newest_are_noted() {
        let moves = Moves::default();
        let user = user();
        moves.begin(&user);
        for number in 0..=MAX_NOTES {
            moves.note(&user, &update(&number.to_string()));
        }
        moves.own_has_ended(&user);
        moves.settle(&user, 1);

        assert!(!moves.is_copy(&user, &update("0")));
        assert!(moves.is_copy(&user, &update(&MAX_NOTES.to_string())));
    }
}
