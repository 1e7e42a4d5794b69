//! The queue as Bull 4 keeps it in Redis.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::redis::{ScriptInvocation, Value as Answer, cmd, pipe};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::{BoxFuture, FutureExt};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::job::{Job, Keep};
use super::scripts;
use super::{Counts, FailedAttempt, JobQueue, Loss, NewJob, Place, QueueError, Recovered, Retried};
use crate::engine::{RedisCommands, WaitingConnection};

/// What the score of a delayed job is multiplied by, so that those of one millisecond
/// keep an order.
const SCORE: u64 = 4_096;

/// Lines of the log of one job.
const LOG_LINES: usize = 1_000;

/// Bytes of one line.
const LOG_BYTES: usize = 4_096;

/// How often a job may lose its worker.
const MAX_LOST: u32 = 1;

/// One queue, and this process among those who work on it.
#[derive(Debug)]
pub struct BullQueue {
    redis: RedisCommands,
    name: String,
    /// What all keys begin with.
    keys: String,
    /// What its locks say.
    token: String,
    times: QueueTimes,
    waiting: Mutex<Option<WaitingConnection>>,
}

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct QueueTimes {
    /// A lock lasts so long, if it is not renewed.
    pub lock: Duration,
    /// Between two looks for lost jobs.
    pub look: Duration,
}

impl Default for QueueTimes {
    fn default() -> Self {
        Self {
            lock: Duration::from_secs(30),
            look: Duration::from_secs(30),
        }
    }
}

impl BullQueue {
    /// Time that [`JobQueue::wait`] waits. Shorter than Bull's 5 s: a worker that stops
    /// waits for its end.
    const PATIENCE: Duration = Duration::from_secs(2);

    /// The queue `name`. The prefix is that of `redis`.
    #[must_use]
    pub fn new(redis: RedisCommands, name: &str, times: QueueTimes) -> Self {
        Self {
            keys: format!("{}:{name}:", redis.prefix()),
            name: name.to_owned(),
            token: ulid::Ulid::from_parts(unix_ms(), rand::random()).to_string(),
            redis,
            times,
            waiting: Mutex::default(),
        }
    }

    /// Names of the connections that work on this queue, as Bull counts its workers.
    ///
    /// # Errors
    /// Redis cannot be asked.
    pub async fn worker_count(&self) -> Result<usize, QueueError> {
        let mut commands = pipe();
        commands.cmd("CLIENT").arg("LIST");
        let (list,): (String,) = self.redis.query(&commands).await?;
        let name = format!(" name={} ", self.connection_name());
        Ok(list.lines().filter(|line| line.contains(&name)).count())
    }

    /// Whether the queue is paused.
    ///
    /// # Errors
    /// Redis cannot be asked.
    pub async fn is_paused(&self) -> Result<bool, QueueError> {
        let mut commands = pipe();
        commands.exists(self.key("meta-paused"));
        let (is_paused,): (bool,) = self.redis.query(&commands).await?;
        Ok(is_paused)
    }

    /// The number of the newest job, and when it was added, in Unix milliseconds.
    ///
    /// # Errors
    /// Redis cannot be asked.
    pub async fn newest(&self) -> Result<(u64, Option<u64>), QueueError> {
        let mut commands = pipe();
        commands.get(self.key("id"));
        let (number,): (Option<u64>,) = self.redis.query(&commands).await?;
        let number = number.unwrap_or(0);
        let mut commands = pipe();
        commands.hget(self.key(&number.to_string()), "timestamp");
        let (time,): (Option<u64>,) = self.redis.query(&commands).await?;
        Ok((number, time))
    }

    /// Jobs that have failed since a time, in Unix milliseconds, as far as they are kept.
    ///
    /// # Errors
    /// Redis cannot be asked.
    pub async fn failed_since(&self, since_ms: u64) -> Result<u64, QueueError> {
        let mut commands = pipe();
        commands.zcount(self.key("failed"), since_ms, "+inf");
        let (count,): (u64,) = self.redis.query(&commands).await?;
        Ok(count)
    }

    /// The newest failed job whose data has this number under a name, among the thousand
    /// newest.
    ///
    /// # Errors
    /// Redis cannot be asked.
    pub async fn failed_job_with(
        &self,
        name: &str,
        number: i32,
    ) -> Result<Option<String>, QueueError> {
        let mut commands = pipe();
        commands.zrevrange(self.key("failed"), 0, 999);
        let (ids,): (Vec<String>,) = self.redis.query(&commands).await?;
        if ids.is_empty() {
            return Ok(None);
        }
        let mut commands = pipe();
        for id in &ids {
            commands.hget(self.key(id), "data");
        }
        let all: Vec<Option<String>> = self.redis.query(&commands).await?;
        let has_it =
            |data: &str| serde_json::from_str::<Value>(data).is_ok_and(|data| data[name] == number);
        let found = ids
            .into_iter()
            .zip(all)
            .find(|(_, data)| data.as_deref().is_some_and(has_it));
        Ok(found.map(|(id, _)| id))
    }

    /// Whether this process is the first of all to say `what` within `time`.
    ///
    /// # Errors
    /// Redis cannot be asked.
    pub async fn is_first(&self, what: &str, time: Duration) -> Result<bool, QueueError> {
        let mut commands = pipe();
        commands
            .cmd("SET")
            .arg(self.key(&format!("fanfare:{what}")))
            .arg(&self.token)
            .arg("NX")
            .arg("PX")
            .arg(milliseconds(time));
        let (done,): (Option<String>,) = self.redis.query(&commands).await?;
        Ok(done.is_some())
    }

    /// As `getWorkers()` and Bull Board look for it.
    fn connection_name(&self) -> String {
        format!("{}:{}", self.redis.prefix(), STANDARD.encode(&self.name))
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.keys)
    }

    /// A call of a script; the first key is that of the queue.
    fn call(&self, script: &'static ::redis::Script) -> ScriptInvocation<'static> {
        let mut call = script.prepare_invoke();
        call.key(&self.keys);
        call
    }

    async fn end(
        &self,
        job: &Job,
        set: &str,
        (field, outcome): (&str, &str),
        keep: Keep,
        failed: Option<&FailedAttempt>,
    ) -> Result<(), QueueError> {
        let (count, age) = keep.numbers();
        let told = json!({ "jobId": job.id, "val": outcome }).to_string();
        let mut call = self.call(&scripts::FINISH);
        call.arg(&job.id)
            .arg(&self.token)
            .arg(unix_ms())
            .arg(set)
            .arg(field)
            .arg(outcome)
            .arg(told)
            .arg(count)
            .arg(age);
        attempt(&mut call, failed);
        self.refused(job, &call).await
    }

    /// Runs a script that answers zero, or how the job was lost.
    async fn refused(&self, job: &Job, call: &ScriptInvocation<'_>) -> Result<(), QueueError> {
        let answer: i64 = self.redis.invoke(call).await?;
        let why = match answer {
            0 => return Ok(()),
            -1 => Loss::Removed,
            -2 => Loss::Unlocked,
            -3 => Loss::NotActive,
            -6 => Loss::Taken,
            _ => return Err(QueueError::Nonsense("the end of a job")),
        };
        Err(QueueError::Lost {
            id: job.id.clone(),
            why,
        })
    }

    async fn tell(&self, job: &str, what: &str, text: &str, told: &str) -> Result<(), QueueError> {
        let mut call = self.call(&scripts::TELL);
        call.arg(job).arg(what).arg(text).arg(told).arg(LOG_LINES);
        let _is_there: i64 = self.redis.invoke(&call).await?;
        Ok(())
    }

    async fn switch(&self, state: &str) -> Result<(), QueueError> {
        let mut call = self.call(&scripts::PAUSE);
        call.arg(state);
        let _: i64 = self.redis.invoke(&call).await?;
        Ok(())
    }

    /// A connection that bears the name by which Bull counts workers.
    async fn named(&self) -> Result<WaitingConnection, QueueError> {
        let mut connection = self.redis.waiting(Self::PATIENCE).await?;
        let mut name = cmd("CLIENT");
        name.arg("SETNAME").arg(self.connection_name());
        let _: Answer = connection.query(&name).await?;
        Ok(connection)
    }
}

impl JobQueue for BullQueue {
    fn wait(&self) -> BoxFuture<'_, Result<Option<String>, QueueError>> {
        async {
            let mut waiting = self.waiting.lock().await;
            let mut connection = match waiting.take() {
                Some(connection) => connection,
                None => self.named().await?,
            };
            let mut command = cmd("BRPOPLPUSH");
            command
                .arg(self.key("wait"))
                .arg(self.key("active"))
                .arg(Self::PATIENCE.as_secs());
            let id = connection.query(&command).await?;
            *waiting = Some(connection);
            Ok(id)
        }
        .boxed()
    }

    fn take<'a>(&'a self, id: Option<&'a str>) -> BoxFuture<'a, Result<Option<Job>, QueueError>> {
        async move {
            let mut call = self.call(&scripts::TAKE);
            call.arg(id.unwrap_or(""))
                .arg(&self.token)
                .arg(milliseconds(self.times.lock))
                .arg(unix_ms());
            let answer: Vec<Answer> = self.redis.invoke(&call).await?;
            let mut parts = answer.into_iter();
            if let Some(Answer::Int(ghosts)) = parts.next()
                && ghosts > 0
            {
                tracing::warn!(ghosts, "ids in the queue had no job behind them");
            }
            let Some(id) = parts.next().and_then(text) else {
                return Ok(None);
            };
            let fields = parts.next().map(fields).unwrap_or_default();
            Ok(Some(Job::read(id, fields)))
        }
        .boxed()
    }

    fn renew_interval(&self) -> Duration {
        self.times.lock / 2
    }

    fn renew<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<bool, QueueError>> {
        async move {
            let mut call = self.call(&scripts::RENEW);
            call.arg(&job.id)
                .arg(&self.token)
                .arg(milliseconds(self.times.lock));
            let answer: i64 = self.redis.invoke(&call).await?;
            Ok(answer == 1)
        }
        .boxed()
    }

    fn complete<'a>(
        &'a self,
        job: &'a Job,
        result: &'a Value,
    ) -> BoxFuture<'a, Result<(), QueueError>> {
        async move {
            let result = result.to_string();
            let outcome = ("returnvalue", result.as_str());
            self.end(job, "completed", outcome, job.options.keep_completed, None)
                .await
        }
        .boxed()
    }

    fn fail<'a>(
        &'a self,
        job: &'a Job,
        failed: &'a FailedAttempt,
    ) -> BoxFuture<'a, Result<(), QueueError>> {
        let outcome = ("failedReason", failed.reason.as_str());
        self.end(
            job,
            "failed",
            outcome,
            job.options.keep_failed,
            Some(failed),
        )
        .boxed()
    }

    fn put_back<'a>(
        &'a self,
        job: &'a Job,
        place: Place,
        failed: Option<&'a FailedAttempt>,
    ) -> BoxFuture<'a, Result<(), QueueError>> {
        async move {
            let mut call = self.call(&scripts::PUT_BACK);
            call.arg(&job.id).arg(&self.token);
            match place {
                Place::Until(time) => {
                    let number: u64 = job.id.parse().unwrap_or(0);
                    call.arg(time).arg(time * SCORE + number % SCORE);
                }
                Place::First | Place::Queue => {
                    call.arg("").arg("");
                }
            }
            let is_first = place == Place::First;
            let priority = if is_first { 0 } else { job.options.priority };
            call.arg(priority)
                .arg(u8::from(is_first || job.options.is_lifo));
            attempt(&mut call, failed);
            call.arg(failed.map_or("", |failed| &failed.reason));
            self.refused(job, &call).await
        }
        .boxed()
    }

    fn promote(&self) -> BoxFuture<'_, Result<usize, QueueError>> {
        async {
            let mut call = self.call(&scripts::PROMOTE);
            call.arg(unix_ms() * SCORE).arg(&self.token);
            Ok(self.redis.invoke(&call).await?)
        }
        .boxed()
    }

    fn recover(&self) -> BoxFuture<'_, Result<Recovered, QueueError>> {
        async {
            let mut call = self.call(&scripts::RECOVER);
            call.arg(unix_ms())
                .arg(milliseconds(self.times.look))
                .arg(MAX_LOST)
                .arg(&self.token);
            let (returned, failed): (Vec<String>, Vec<(String, String, String)>) =
                self.redis.invoke(&call).await?;
            let failed = failed
                .into_iter()
                .map(|(id, name, data)| {
                    let fields =
                        HashMap::from([("name".to_owned(), name), ("data".to_owned(), data)]);
                    Job::read(id, fields)
                })
                .collect();
            Ok(Recovered { returned, failed })
        }
        .boxed()
    }

    fn tell_drained(&self) -> BoxFuture<'_, Result<(), QueueError>> {
        async {
            let mut commands = pipe();
            commands.publish(self.key("drained"), "").ignore();
            Ok(self.redis.query(&commands).await?)
        }
        .boxed()
    }

    fn progress<'a>(
        &'a self,
        job: &'a str,
        progress: &'a Value,
    ) -> BoxFuture<'a, Result<(), QueueError>> {
        async move {
            let told = json!({ "jobId": job, "progress": progress }).to_string();
            self.tell(job, "progress", &progress.to_string(), &told)
                .await
        }
        .boxed()
    }

    fn log<'a>(&'a self, job: &'a str, line: &'a str) -> BoxFuture<'a, Result<(), QueueError>> {
        let line = &line[..line.floor_char_boundary(LOG_BYTES)];
        self.tell(job, "log", line, "").boxed()
    }

    fn add<'a>(&'a self, job: &'a NewJob<'a>) -> BoxFuture<'a, Result<String, QueueError>> {
        async move {
            let now = unix_ms();
            let delay = milliseconds(job.delay);
            let mut options = json!({
                "attempts": job.attempts,
                "backoff": { "type": "exponential", "delay": milliseconds(job.backoff) },
                "delay": delay,
                "timestamp": now,
                "removeOnComplete": true,
            });
            if let Some(id) = job.id {
                options["jobId"] = id.into();
            }
            let mut call = self.call(&scripts::ADD);
            call.arg(job.id.unwrap_or(""))
                .arg(job.name)
                .arg(job.data.to_string())
                .arg(options.to_string())
                .arg(now)
                .arg(delay)
                .arg((now + delay) * SCORE)
                .arg(0)
                .arg(0)
                .arg(&self.token);
            Ok(self.redis.invoke(&call).await?)
        }
        .boxed()
    }

    fn pause(&self) -> BoxFuture<'_, Result<(), QueueError>> {
        self.switch("paused").boxed()
    }

    fn resume(&self) -> BoxFuture<'_, Result<(), QueueError>> {
        self.switch("resumed").boxed()
    }

    fn retry<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Retried, QueueError>> {
        async move {
            let mut call = self.call(&scripts::RETRY);
            call.arg(id).arg(unix_ms()).arg(&self.token);
            let answer: i64 = self.redis.invoke(&call).await?;
            match answer {
                0 => Ok(Retried::Waits),
                -1 => Ok(Retried::Unknown),
                -2 => Ok(Retried::NotFailed),
                _ => Err(QueueError::Nonsense("a job to try again")),
            }
        }
        .boxed()
    }

    fn counts(&self) -> BoxFuture<'_, Result<Counts, QueueError>> {
        async {
            let mut commands = pipe();
            commands
                .llen(self.key("wait"))
                .llen(self.key("active"))
                .zcard(self.key("completed"))
                .zcard(self.key("failed"))
                .zcard(self.key("delayed"))
                .llen(self.key("paused"));
            let [waiting, active, completed, failed, delayed, paused]: [u64; 6] =
                self.redis.query(&commands).await?;
            Ok(Counts {
                waiting,
                active,
                completed,
                failed,
                delayed,
                paused,
            })
        }
        .boxed()
    }
}

/// Attempts and traces, or nothing for an attempt that does not count.
fn attempt(call: &mut ScriptInvocation<'_>, failed: Option<&FailedAttempt>) {
    match failed {
        Some(failed) => call
            .arg(failed.made)
            .arg(Value::from(failed.traces.clone()).to_string()),
        None => call.arg("").arg(""),
    };
}

fn text(answer: Answer) -> Option<String> {
    match answer {
        Answer::BulkString(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Answer::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// Names and values in turn.
fn fields(answer: Answer) -> HashMap<String, String> {
    let Answer::Array(list) = answer else {
        return HashMap::new();
    };
    let texts: Vec<String> = list
        .into_iter()
        .map(|part| text(part).unwrap_or_default())
        .collect();
    texts
        .chunks_exact(2)
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Now, as JavaScript counts.
pub(in crate::adapter::order_worker) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, milliseconds)
}
