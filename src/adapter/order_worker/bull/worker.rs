//! The loop that takes jobs one by one, and what must go on beside it: locks are
//! renewed, delayed jobs promoted, lost ones recovered.
//!
//! One job at a time, whatever its name. A job that is cut off, by the end of the
//! process or because its lock was lost, is left as it is: the look for lost jobs
//! brings it back.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts, Registry};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::queue::unix_ms;
use super::{FailedAttempt, Failure, Job, JobQueue, Place, QueueError};

/// Between two looks for delayed jobs that are due. A worker of Bull is woken by a
/// message; a question every half second costs less than a second connection.
const PROMOTE_INTERVAL: Duration = Duration::from_millis(500);

/// Between two questions whether somebody should look for lost jobs. Who looks, and how
/// often, is agreed upon in Redis.
const RECOVER_INTERVAL: Duration = Duration::from_secs(1);

/// Pause after Redis did not do what it was asked.
const PAUSE: Duration = Duration::from_secs(1);

/// How often the end of a job is told, while Redis does not answer. After that its lock
/// has run out, and somebody begins it again.
const END_ATTEMPTS: u32 = 20;

/// Characters of a reason.
const MAX_REASON: usize = 2_000;

/// What a worker does with its jobs.
pub trait Handler: Send + Sync + 'static {
    /// Does one job. It may be begun a second time, by another worker too.
    ///
    /// # Cancel safety
    /// Needed: the job may be somebody else's from one moment to the next.
    fn handle<'a>(
        &'a self,
        job: &'a Job,
        context: JobContext<'a>,
    ) -> impl Future<Output = Result<Value, Failure>> + Send + 'a;

    /// Hears of an attempt that failed. `is_last`: the job has failed for good.
    fn failed<'a>(
        &'a self,
        job: &'a Job,
        reason: &'a str,
        is_last: bool,
    ) -> impl Future<Output = ()> + Send + 'a;

    /// Hears that nothing is left to do.
    fn idle(&self);
}

/// What the handler of a job can tell about it.
#[derive(Clone, Copy)]
pub struct JobContext<'a> {
    queue: &'a dyn JobQueue,
    job: &'a Job,
}

/// How a worker works.
#[derive(Clone, Copy, Debug)]
pub struct WorkerSettings {
    /// Time that the job that is being done has when the worker is to stop.
    pub grace: Duration,
}

/// Does the jobs of a queue.
#[derive(Debug)]
pub struct Worker<Q, H> {
    queue: Arc<Q>,
    handler: Arc<H>,
    settings: WorkerSettings,
    figures: Figures,
}

#[derive(Debug)]
struct Figures {
    seconds: Histogram,
    attempts: IntCounterVec,
}

/// How an attempt ended.
enum Outcome {
    Done(Result<Value, Failure>),
    /// The job is somebody else's.
    Lost,
    /// The process must end.
    CutOff,
}

impl<Q: JobQueue, H: Handler> Worker<Q, H> {
    /// Registers its figures with `registry`.
    ///
    /// # Errors
    /// They are there already.
    pub fn new(
        queue: Arc<Q>,
        handler: Arc<H>,
        settings: WorkerSettings,
        registry: &Registry,
    ) -> prometheus::Result<Self> {
        Ok(Self {
            queue,
            handler,
            settings,
            figures: Figures::new(registry)?,
        })
    }

    /// Works until `stop`, and then until the end of the job that it has.
    pub async fn run(&self, stop: &CancellationToken) {
        let jobs = self.take_jobs(stop);
        let upkeep = async {
            tokio::join!(self.promote(), self.recover());
        };
        let (mut jobs, mut upkeep) = (pin!(jobs), pin!(upkeep));
        tokio::select! {
            () = jobs.as_mut() => {}
            () = upkeep.as_mut() => {}
        }
    }

    async fn take_jobs(&self, stop: &CancellationToken) {
        let mut was_busy = false;
        let mut trouble = Trouble::default();
        while !stop.is_cancelled() {
            let job = match self.next(stop, &mut was_busy).await {
                Ok(job) => job,
                Err(error) => {
                    trouble.tell(&error);
                    rest(PAUSE, stop).await;
                    continue;
                }
            };
            trouble.is_over();
            if let Some(job) = job {
                was_busy = true;
                if let Some(pause) = self.work(&job, stop).await {
                    self.handler.idle();
                    rest(pause, stop).await;
                }
            }
        }
    }

    /// The next job, if one comes within some seconds.
    async fn next(
        &self,
        stop: &CancellationToken,
        was_busy: &mut bool,
    ) -> Result<Option<Job>, QueueError> {
        if let Some(job) = self.queue.take(None).await? {
            return Ok(Some(job));
        }
        if *was_busy {
            *was_busy = false;
            self.handler.idle();
            self.queue.tell_drained().await?;
        }
        let Some(id) = self.queue.wait().await? else {
            return Ok(None);
        };
        let job = self.queue.take(Some(&id)).await?;
        match job {
            Some(job) if stop.is_cancelled() => {
                self.queue.put_back(&job, Place::First, None).await?;
                Ok(None)
            }
            job => Ok(job),
        }
    }

    /// Does one job to its end. Returns how long this worker is to take no other.
    async fn work(&self, job: &Job, stop: &CancellationToken) -> Option<Duration> {
        let began = Instant::now();
        let outcome = tokio::select! {
            biased;
            result = self.attempt(job) => Outcome::Done(result),
            () = self.keep_lock(job) => Outcome::Lost,
            () = self.out_of_time(stop) => Outcome::CutOff,
        };
        self.figures.seconds.observe(began.elapsed().as_secs_f64());
        let duration_ms = began.elapsed().as_millis();
        match outcome {
            Outcome::Done(Ok(result)) => {
                self.figures.count("completed");
                tracing::info!(job.id, duration_ms, "[Job {}] done", job.id);
                self.told(job, || self.queue.complete(job, &result)).await;
                None
            }
            Outcome::Done(Err(failure)) => self.unsuccessful(job, failure).await,
            Outcome::Lost => {
                self.figures.count("lost");
                tracing::warn!(job.id, "[Job {}] is another worker's by now", job.id);
                None
            }
            Outcome::CutOff => {
                self.figures.count("cut_off");
                tracing::warn!(
                    job.id,
                    "[Job {}] is cut off; another worker will begin it again",
                    job.id
                );
                None
            }
        }
    }

    async fn attempt(&self, job: &Job) -> Result<Value, Failure> {
        if job.options.is_repeated {
            return Err(Failure::Final(
                "jobs with the option `repeat` are not supported by this worker".to_owned(),
            ));
        }
        let context = JobContext {
            queue: &*self.queue,
            job,
        };
        let work = self.handler.handle(job, context);
        match job.options.timeout {
            None => work.await,
            Some(time) => tokio::time::timeout(time, work).await.unwrap_or_else(|_| {
                Err(Failure::Retry(format!(
                    "Promise timed out after {} milliseconds",
                    time.as_millis()
                )))
            }),
        }
    }

    /// Ends when the lock is lost.
    async fn keep_lock(&self, job: &Job) {
        let mut interval = tokio::time::interval(self.queue.renew_interval());
        interval.tick().await;
        loop {
            interval.tick().await;
            match self.queue.renew(job).await {
                Ok(true) => {}
                Ok(false) => return,
                // The lock may last until Redis is back.
                Err(error) => tracing::warn!(%error, job.id, "a lock was not renewed"),
            }
        }
    }

    async fn out_of_time(&self, stop: &CancellationToken) {
        stop.cancelled().await;
        tokio::time::sleep(self.settings.grace).await;
    }

    async fn unsuccessful(&self, job: &Job, failure: Failure) -> Option<Duration> {
        let reason = cut(failure.reason(), MAX_REASON);
        let (place, pause) = match failure {
            Failure::Later(time, _) => (Place::Until(unix_ms() + milliseconds(time)), None),
            Failure::NotHere(time, _) => (Place::First, Some(time)),
            Failure::Retry(_) | Failure::Final(_) => {
                let is_final = matches!(failure, Failure::Final(_));
                self.failed_attempt(job, reason, is_final).await;
                return None;
            }
        };
        self.figures.count("put_back");
        tracing::info!(job.id, reason, "[Job {}] put back: {reason}", job.id);
        self.told(job, || self.queue.put_back(job, place, None))
            .await;
        pause
    }

    async fn failed_attempt(&self, job: &Job, reason: &str, is_final: bool) {
        let made = job.attempts_made.saturating_add(1);
        let mut failed = FailedAttempt {
            made,
            reason: reason.to_owned(),
            traces: Vec::new(),
        };
        let delay = if is_final || made >= job.options.attempts {
            None
        } else {
            match job.options.backoff.delay_ms(made) {
                Ok(delay) => Some(delay),
                Err(unknown) => {
                    failed.reason = unknown;
                    None
                }
            }
        };
        failed.traces = job.traces_with(format!("Error: {}", failed.reason));
        let result = if delay.is_some() { "retried" } else { "failed" };
        self.figures.count(result);
        tracing::warn!(
            job.id,
            attempt = made,
            attempts = job.options.attempts,
            reason,
            "[Job {}] {result}: {reason}",
            job.id
        );
        // Before the queue: whoever hears of the failure there finds it told here.
        self.handler
            .failed(job, &failed.reason, delay.is_none())
            .await;
        match delay {
            None => self.told(job, || self.queue.fail(job, &failed)).await,
            Some(delay) => {
                let place = match delay {
                    0 => Place::Queue,
                    delay => Place::Until(unix_ms() + delay),
                };
                self.told(job, || self.queue.put_back(job, place, Some(&failed)))
                    .await;
            }
        }
    }

    /// Tells Redis what became of a job, as often as it takes.
    async fn told<'a, F>(&'a self, job: &Job, tell: impl Fn() -> F)
    where
        F: Future<Output = Result<(), QueueError>> + 'a,
    {
        for attempt in 1..=END_ATTEMPTS {
            match tell().await {
                Ok(()) => return,
                // After an attempt whose answer was lost, that is what is found.
                Err(QueueError::Lost { .. }) if attempt > 1 => return,
                Err(error @ QueueError::Lost { .. }) => {
                    tracing::warn!(%error, job.id, "[Job {}] cannot be ended", job.id);
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, job.id, attempt, "the end of a job cannot be told");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn promote(&self) {
        let mut interval = tokio::time::interval(PROMOTE_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut trouble = Trouble::default();
        loop {
            interval.tick().await;
            match self.queue.promote().await {
                Ok(_) => trouble.is_over(),
                Err(error) => trouble.tell(&error),
            }
        }
    }

    async fn recover(&self) {
        let mut interval = tokio::time::interval(RECOVER_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut trouble = Trouble::default();
        loop {
            interval.tick().await;
            let recovered = match self.queue.recover().await {
                Ok(recovered) => recovered,
                Err(error) => {
                    trouble.tell(&error);
                    continue;
                }
            };
            trouble.is_over();
            for id in recovered.returned {
                tracing::warn!(
                    job.id = id,
                    "[Job {id}] has lost its worker and waits again"
                );
            }
            for job in recovered.failed {
                tracing::warn!(job.id, "[Job {}] has lost its worker twice", job.id);
                self.figures.count("failed");
                let reason = "job stalled more than allowable limit";
                self.handler.failed(&job, reason, true).await;
            }
        }
    }
}

impl Figures {
    fn new(registry: &Registry) -> prometheus::Result<Self> {
        let seconds = Histogram::with_opts(
            HistogramOpts::new("bull_job_seconds", "Time that an attempt took.")
                .buckets(vec![0.01, 0.05, 0.25, 1.0, 3.0, 10.0, 30.0, 120.0, 600.0]),
        )?;
        let attempts = IntCounterVec::new(
            Opts::new("bull_job_attempts_total", "Attempts by how they ended."),
            &["result"],
        )?;
        for result in [
            "completed",
            "retried",
            "failed",
            "put_back",
            "lost",
            "cut_off",
        ] {
            attempts.with_label_values(&[result]).reset();
        }
        registry.register(Box::new(seconds.clone()))?;
        registry.register(Box::new(attempts.clone()))?;
        Ok(Self { seconds, attempts })
    }

    fn count(&self, result: &str) {
        self.attempts.with_label_values(&[result]).inc();
    }
}

impl JobContext<'_> {
    /// The attempt that this is, counted from one.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.job.attempts_made.saturating_add(1)
    }

    /// Notes how far the job is, in percent. It is no failure if nobody can be told.
    pub async fn progress(&self, percent: u8) {
        if let Err(error) = self.queue.progress(&self.job.id, &percent.into()).await {
            tracing::debug!(%error, job.id = self.job.id, "progress is not told");
        }
    }

    /// Adds a line to the log of the job.
    pub async fn log(&self, line: &str) {
        tracing::info!(job.id = self.job.id, "[Job {}] {line}", self.job.id);
        if let Err(error) = self.queue.log(&self.job.id, line).await {
            tracing::debug!(%error, job.id = self.job.id, "a line is not in the log of its job");
        }
    }
}

impl std::fmt::Debug for JobContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobContext")
            .field("job", &self.job.id)
            .finish_non_exhaustive()
    }
}

/// Tells of an outage once, and that it is over.
#[derive(Debug, Default)]
struct Trouble {
    is_told: bool,
}

impl Trouble {
    fn tell(&mut self, error: &QueueError) {
        if !self.is_told {
            tracing::warn!(%error, "the queue cannot be used; trying again");
            self.is_told = true;
        }
    }

    fn is_over(&mut self) {
        if self.is_told {
            tracing::info!("the queue can be used again");
            self.is_told = false;
        }
    }
}

/// Waits, but not once the worker is to stop.
async fn rest(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The first `most` characters.
fn cut(text: &str, most: usize) -> &str {
    match text.char_indices().nth(most) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}
