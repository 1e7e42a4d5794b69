//! A queue of jobs in Redis, as npm's `bull` of version 4 keeps it.
//!
//! Producers and workers in Node, Bull Board and `job.finished()` work beside ours: the
//! keys, the fields and what is published are Bull's; docs/adapters/orders.md describes
//! them. The scripts are our own.
//!
//! [`JobQueue`] is what a worker needs of a queue, [`BullQueue`] the one that there is,
//! [`Worker`] the loop around a [`Handler`]. Nothing here knows what a job is about.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod job;
mod queue;
mod scripts;
mod worker;

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;

pub use self::job::{Backoff, Job, JobOptions, Keep};
pub(super) use self::queue::unix_ms;
pub use self::queue::{BullQueue, QueueTimes};
pub use self::worker::{Handler, JobContext, Worker, WorkerSettings};
use crate::engine::RedisUnavailable;

/// What a worker needs of a queue. Whoever has taken a job has its lock, for a time that
/// [`JobQueue::renew`] begins again.
pub trait JobQueue: Send + Sync + 'static {
    /// Waits for up to some seconds for an id, which is active then and locked by
    /// nobody: the next step is [`Self::take`].
    ///
    /// # Cancel safety
    /// None: an id that came in the meantime is lost until somebody recovers it.
    fn wait(&self) -> BoxFuture<'_, Result<Option<String>, QueueError>>;

    /// Locks the job of an id that was waited for, or the next one.
    fn take<'a>(&'a self, id: Option<&'a str>) -> BoxFuture<'a, Result<Option<Job>, QueueError>>;

    /// Time between two renewals of a lock.
    fn renew_interval(&self) -> Duration;

    /// Makes the lock last. False: the job is somebody else's by now.
    fn renew<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<bool, QueueError>>;

    /// Ends a job with a result.
    fn complete<'a>(
        &'a self,
        job: &'a Job,
        result: &'a Value,
    ) -> BoxFuture<'a, Result<(), QueueError>>;

    /// Ends a job with a failure.
    fn fail<'a>(
        &'a self,
        job: &'a Job,
        failed: &'a FailedAttempt,
    ) -> BoxFuture<'a, Result<(), QueueError>>;

    /// Gives a job back. `failed` is the attempt that this was, if it counts.
    fn put_back<'a>(
        &'a self,
        job: &'a Job,
        place: Place,
        failed: Option<&'a FailedAttempt>,
    ) -> BoxFuture<'a, Result<(), QueueError>>;

    /// Lets jobs wait whose time has come; returns how many.
    fn promote(&self) -> BoxFuture<'_, Result<usize, QueueError>>;

    /// Looks for jobs whose worker is gone, unless somebody else has just done so.
    fn recover(&self) -> BoxFuture<'_, Result<Recovered, QueueError>>;

    /// Tells that nothing waits any more.
    fn tell_drained(&self) -> BoxFuture<'_, Result<(), QueueError>>;

    /// Notes how far a job is.
    fn progress<'a>(
        &'a self,
        job: &'a str,
        progress: &'a Value,
    ) -> BoxFuture<'a, Result<(), QueueError>>;

    /// Adds a line to the log of a job.
    fn log<'a>(&'a self, job: &'a str, line: &'a str) -> BoxFuture<'a, Result<(), QueueError>>;

    /// Adds a job; returns its id.
    fn add<'a>(&'a self, job: &'a NewJob<'a>) -> BoxFuture<'a, Result<String, QueueError>>;

    /// Stops all workers of the queue from taking jobs.
    fn pause(&self) -> BoxFuture<'_, Result<(), QueueError>>;

    /// Lets them take jobs again.
    fn resume(&self) -> BoxFuture<'_, Result<(), QueueError>>;

    /// Lets a job wait again that has failed.
    fn retry<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Retried, QueueError>>;

    /// How many jobs there are in each state.
    fn counts(&self) -> BoxFuture<'_, Result<Counts, QueueError>>;
}

/// Where a job that is given back goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before all others: it was taken and not begun.
    First,
    /// Where a new job would go.
    Queue,
    /// It waits until this time, in Unix milliseconds.
    Until(u64),
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    /// Attempts made, this one included.
    pub made: u32,
    /// Why.
    pub reason: String,
    /// Traces of all attempts that are kept.
    pub traces: Vec<String>,
}

/// What became of the jobs of workers that are gone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    /// They wait again.
    pub returned: Vec<String>,
    /// They were lost too often.
    pub failed: Vec<Job>,
}

/// What became of a wish to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    /// It waits.
    Waits,
    /// There is no such job.
    Unknown,
    /// It has not failed.
    NotFailed,
}

/// A job to add.
#[derive(Clone, Debug)]
pub struct NewJob<'a> {
    /// An id; a second job with it is not added. Without one: the next number.
    pub id: Option<&'a str>,
    /// What is to be done.
    pub name: &'a str,
    /// With what.
    pub data: &'a Value,
    /// Time until it may begin.
    pub delay: Duration,
    /// How often it is tried.
    pub attempts: u32,
    /// The first pause between two attempts; it grows.
    pub backoff: Duration,
}

/// Jobs by their state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[expect(missing_docs, reason = "the names are those of the states")]
pub struct Counts {
    pub waiting: u64,
    pub active: u64,
    pub completed: u64,
    pub failed: u64,
    pub delayed: u64,
    pub paused: u64,
}

/// The queue did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Redis cannot be asked. Whether something was done is not known.
    #[error(transparent)]
    Unavailable(#[from] RedisUnavailable),
    /// The job is not ours any more.
    #[error("the job {id} is not this worker's any more: {why}")]
    Lost {
        /// The job.
        id: String,
        /// What was found.
        why: Loss,
    },
    /// Redis answered something that makes no sense.
    #[error("Redis answered something unexpected about {0}")]
    Nonsense(&'static str),
}

/// How a job can be lost. The numbers are Bull's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It was removed.
    Removed,
    /// Its lock has run out.
    Unlocked,
    /// It is not among the active ones.
    NotActive,
    /// Another worker has it.
    Taken,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Removed => "it was removed",
            Self::Unlocked => "its lock has run out",
            Self::NotActive => "it is not active",
            Self::Taken => "another worker has it",
        })
    }
}

/// Why an attempt failed, and what is to become of the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Its options say whether it is tried again.
    Retry(String),
    /// It is not tried again.
    Final(String),
    /// Not yet: again after a time, and no attempt was made.
    Later(Duration, String),
    /// Not here: this worker takes nothing for a time, others may try at once.
    NotHere(Duration, String),
}

impl Failure {
    /// Why.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Retry(reason)
            | Self::Final(reason)
            | Self::Later(_, reason)
            | Self::NotHere(_, reason) => reason,
        }
    }
}
