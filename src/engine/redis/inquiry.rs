//! Questions that one node asks all others, for those who look: who has this socket?
//!
//! What is asked, and what an answer says, is not known here. A question goes to the
//! topic that every node hears, an answer to that of the process which has asked. Both
//! may get lost; whoever asks waits for so long only, and is told how many are missing.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::unfold;
use tokio::sync::{Mutex as AsyncMutex, mpsc};

use super::{Shared, message};
use crate::hub::engine::{Inquiry, Respondent};

/// Time for all answers.
const PATIENCE: Duration = Duration::from_secs(1);

/// Questions of this node that wait for answers; a further one gets none.
const MAX_OPEN: usize = 64;

/// Questions of other nodes that wait until this one has time for them; a further one
/// is dropped, and its node is told of one more that did not answer.
const MAX_WAITING: usize = 64;

/// Questions that are answered at the same time.
const AT_ONCE: usize = 4;

/// Bytes of an answer. A page of connections has a third of that.
const MAX_ANSWER: usize = 1 << 20;

/// A question of another node.
#[derive(Debug)]
struct Asked {
    number: u64,
    /// Who asks.
    process: Box<str>,
    question: Vec<u8>,
}

/// What is asked, by this node and by others.
#[derive(Debug)]
pub(super) struct Inquiries {
    open: Mutex<HashMap<u64, mpsc::Sender<Vec<u8>>>>,
    asked: mpsc::Sender<Asked>,
    /// For the one task that answers.
    to_answer: AsyncMutex<mpsc::Receiver<Asked>>,
}

impl Default for Inquiries {
    fn default() -> Self {
        let (asked, to_answer) = mpsc::channel(MAX_WAITING);
        Self {
            open: Mutex::default(),
            asked,
            to_answer: AsyncMutex::new(to_answer),
        }
    }
}

impl Inquiries {
    /// Notes a question of another node.
    pub(super) fn note_question(&self, number: u64, process: &str, question: &str) {
        let asked = Asked {
            number,
            process: process.into(),
            question: question.as_bytes().to_vec(),
        };
        // Full: the other one is told that a node did not answer.
        let _ = self.asked.try_send(asked);
    }

    /// Hands an answer to whoever has asked. A late one concerns nobody.
    pub(super) fn note_answer(&self, number: u64, answer: &str) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asker) = open.get(&number) {
            let _ = asker.try_send(answer.as_bytes().to_vec());
        }
    }

    /// Where answers to a new question come in; `None` when too many are open.
    fn begin(&self, number: u64, others: usize) -> Option<mpsc::Receiver<Vec<u8>>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, asker| !asker.is_closed());
        if open.len() >= MAX_OPEN {
            return None;
        }
        let (sender, receiver) = mpsc::channel(others.max(1));
        open.insert(number, sender);
        Some(receiver)
    }
}

/// Asks all others.
pub(super) async fn ask(shared: &Shared, question: &[u8]) -> Inquiry {
    let nodes = shared.counters.nodes.load(Ordering::Relaxed);
    let others = usize::try_from(nodes.saturating_sub(1)).unwrap_or(usize::MAX);
    if others == 0 {
        return Inquiry::nobody(0);
    }
    let number = rand::random();
    let Some(answers) = shared.inquiries.begin(number, others) else {
        return Inquiry::nobody(others);
    };
    let message = message::question(number, &shared.process, question);
    match publish(shared, &shared.keys.common_topic(), message).await {
        Ok(()) => Inquiry::new(answers, others, PATIENCE),
        Err(()) => Inquiry::nobody(others),
    }
}

/// Answers what others ask, for ever.
pub(super) async fn answer(shared: &Shared, respondent: &Arc<dyn Respondent>) {
    let mut to_answer = shared.inquiries.to_answer.lock().await;
    let questions = unfold(&mut *to_answer, |questions| async {
        let asked = questions.recv().await?;
        Some((asked, questions))
    });
    questions
        .for_each_concurrent(AT_ONCE, |asked| async move {
            let Some(answer) = respondent.answer(&asked.question).await else {
                return;
            };
            if answer.len() > MAX_ANSWER {
                tracing::warn!(
                    size_bytes = answer.len(),
                    "an answer to another node is too large"
                );
                return;
            }
            let topic = shared.keys.process_topic(&asked.process);
            // Whoever asked finds out that this node did not answer.
            let _ = publish(shared, &topic, message::answer(asked.number, &answer)).await;
        })
        .await;
}

async fn publish(shared: &Shared, topic: &str, message: Vec<u8>) -> Result<(), ()> {
    let (mut connection, publish_command) = shared.try_connection().ok_or(())?;
    let sent = ::redis::cmd(publish_command)
        .arg(topic)
        .arg(message)
        .exec_async(&mut connection)
        .await;
    sent.map_err(|error| {
        tracing::debug!(%error, "a question or an answer is not sent");
        shared.suspect();
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_reach_the_question_that_they_are_for_while_somebody_waits() {
        let inquiries = Inquiries::default();
        let mut one = inquiries.begin(1, 2).unwrap();
        let two = inquiries.begin(2, 1).unwrap();

        inquiries.note_answer(1, "a");
        inquiries.note_answer(2, "b");
        inquiries.note_answer(3, "nobody asked");
        assert_eq!(one.try_recv().unwrap(), b"a");
        assert!(one.try_recv().is_err());

        // Who does not wait any more takes no place, and gets nothing.
        drop(two);
        inquiries.note_answer(2, "late");
        let many: Vec<_> = (10..200)
            .filter_map(|number| inquiries.begin(number, 1))
            .collect();
        assert_eq!(many.len(), MAX_OPEN - 1);
    }

    #[test]
    fn more_answers_than_nodes_are_dropped() {
        let inquiries = Inquiries::default();
        let mut answers = inquiries.begin(1, 2).unwrap();

        for _ in 0..1_000 {
            inquiries.note_answer(1, "again");
        }

        let came = std::iter::from_fn(|| answers.try_recv().ok()).count();
        assert_eq!(came, 2);
    }

    #[tokio::test]
    async fn questions_beyond_the_bound_are_dropped() {
        let inquiries = Inquiries::default();

        for number in 0..1_000 {
            inquiries.note_question(number, "p", "?");
        }

        assert_eq!(inquiries.to_answer.lock().await.len(), MAX_WAITING);
    }
}
