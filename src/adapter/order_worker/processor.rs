//! What a job means: an order is taken, placed for money once, and its document fetched.
//!
//! A worker may be killed at any moment and the job begun again by another one. So the
//! step that costs money is written down before and after; whoever finds it begun and not
//! ended asks the portal. A guard in the database keeps a second worker away whose lock
//! is newer than ours, when we were only frozen.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::accounts::Account;
use super::bull::{BullQueue, Failure, Handler, Job, JobContext, JobQueue, NewJob, unix_ms};
use super::cadastre::CadastralNumber;
use super::database::{Database, DatabaseError};
use super::egrn::{Access, Draft, EgrnError, Placed, Portal, Progress};
use super::live::{Attempt, Live};
use super::orders::{Order, Status};
use super::sealing::Sealer;

/// The job that the orders service makes.
pub const PROCESS: &str = "process-order";

/// The job that we make of it when there is a document to wait for.
pub const CHECK: &str = "check-and-download-order";

/// Pause while another worker has the order.
const GUARDED: Duration = Duration::from_secs(5);

/// Pause of this worker when its account is not let in.
const SHUT_OUT: Duration = Duration::from_secs(60);

/// Attempts to fetch a document that is ready, with pauses that grow to some hours.
const CHECK_ATTEMPTS: u32 = 10;

/// Age at which nobody waits for a document any more.
const MAX_AGE: Duration = Duration::from_secs(7 * 86_400);

/// Does the jobs of orders for one account.
#[derive(Debug)]
pub struct Processor {
    /// The orders.
    pub database: Database,
    /// Where jobs come from, and where new ones go.
    pub queue: Arc<BullQueue>,
    /// Opens the password of the account.
    pub sealer: Sealer,
    /// Who has the documents.
    pub portal: Portal,
    /// Who looks on.
    pub live: Live,
    /// The number of the account.
    pub account: i32,
    /// Between two questions whether a document is ready.
    pub poll: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProcessData {
    order_id: i32,
    cad_num: String,
    user_id: i32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CheckData {
    order_id: i32,
    rosreestr_order_num: String,
}

/// Both kinds of jobs have it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyData {
    order_id: i32,
}

impl Handler for Processor {
    async fn handle(&self, job: &Job, context: JobContext<'_>) -> Result<Value, Failure> {
        self.live.worker("worker.busy", Some(&job.id));
        match job.name.as_str() {
            // Large, and made once for an order that takes seconds.
            PROCESS => Box::pin(self.process(job, context)).await,
            CHECK => Box::pin(self.check(job, context)).await,
            name => Err(Failure::Retry(format!(
                "Missing process handler for job type {name}"
            ))),
        }
    }

    async fn failed(&self, job: &Job, reason: &str, is_last: bool) {
        // A document that cannot be fetched now is no error of its order yet.
        if job.name == CHECK && !is_last {
            return;
        }
        let Ok(data) = read::<AnyData>(job) else {
            return;
        };
        let status = if reason == Status::NoBalance.text() {
            Status::NoBalance
        } else {
            Status::Failed(reason.to_owned())
        };
        let told = async {
            if let Some(order) = self.database.order(data.order_id).await?
                && !order.is_complete
            {
                self.tell(job, order, &status).await?;
            }
            Ok::<(), DatabaseError>(())
        };
        if let Err(error) = told.await {
            tracing::error!(%error, job.id, order = data.order_id, "the failure of an order is not written down");
        }
    }

    fn idle(&self) {
        self.live.worker("worker.idle", None);
    }
}

impl Processor {
    async fn process(&self, job: &Job, context: JobContext<'_>) -> Result<Value, Failure> {
        let data: ProcessData = read(job)?;
        context
            .log(&format!(
                "Processing order {} (cadNum: {}) for user {}",
                data.order_id, data.cad_num, data.user_id
            ))
            .await;
        let mut order = self.order(data.order_id).await?;
        if order.is_complete {
            return Ok(json!({ "rosreestrOrderNum": order.rosreestr_order_num }));
        }
        // Before money is spent on it.
        let number = CadastralNumber::parse(&data.cad_num)
            .map_err(|error| Failure::Final(error.to_string()))?;
        if order.cad_num.trim() != number.as_str() {
            return Err(Failure::Final(format!(
                "the job is about {number}, the order about {}",
                order.cad_num
            )));
        }
        let account = self.own_account().await?;
        let access = self.access(&account)?;
        let guard = self.database.guard(order.id).await.map_err(later)?;
        let Some(_guard) = guard else {
            return Err(Failure::Later(
                GUARDED,
                "another worker has this order".to_owned(),
            ));
        };
        self.database
            .assign(order.id, account.id)
            .await
            .map_err(later)?;
        order.rosreestr_user_id = Some(account.id);
        order.status = Status::Processing.text();
        self.live.order(&order, attempt(job));
        context.progress(10).await;
        let placed = match self.placed_before(&order, &access).await? {
            Before::Placed(placed, account) => {
                // Whoever has paid is the one who can fetch the document.
                self.database
                    .assign(order.id, account)
                    .await
                    .map_err(later)?;
                order.rosreestr_user_id = Some(account);
                placed
            }
            Before::Nothing(reference) => match self
                .place(&order, &account, &access, (&number, reference), context)
                .await
            {
                Ok(placed) => placed,
                Err(PlaceError::NotFound) => {
                    self.tell(job, order, &Status::NotFound)
                        .await
                        .map_err(later)?;
                    return Ok(json!({
                        "rosreestrOrderNum": null,
                        "status": Status::NotFound.text(),
                    }));
                }
                Err(PlaceError::Failed(failure)) => return Err(failure),
            },
        };
        let status = if self.portal.has_documents() {
            Status::Registered
        } else {
            Status::Completed
        };
        self.database
            .placed(order.id, &placed.order_num, &status)
            .await
            .map_err(later)?;
        order.rosreestr_order_num = Some(placed.order_num.clone());
        context
            .log(&format!("Ordered as {}", placed.order_num))
            .await;
        if self.portal.has_documents() {
            self.check_later(&order, &placed).await?;
        }
        order.is_complete = status.is_complete();
        order.status = status.text();
        self.live.order(&order, attempt(job));
        context.progress(100).await;
        Ok(json!({ "rosreestrOrderNum": placed.order_num }))
    }

    /// What was placed for this order already and by which account, as far as that was
    /// written down or the portal knows.
    async fn placed_before(&self, order: &Order, access: &Access) -> Result<Before, Failure> {
        let Some(placement) = self.database.placement(order.id).await.map_err(later)? else {
            return Ok(Before::Nothing(None));
        };
        if let Some(order_num) = placement.order_num {
            return Ok(Before::Placed(Placed { order_num }, placement.account));
        }
        tracing::warn!(
            order = order.id,
            "an order was begun before; asking the portal whether it was placed"
        );
        let draft = Draft(placement.draft);
        let found = if placement.account == self.account {
            self.portal.placed(access, &draft).await
        } else {
            let access = self.access_of(placement.account).await?;
            self.portal.placed(&access, &draft).await
        };
        let found = found.map_err(|error| self.of_account(placement.account, failure(error)))?;
        Ok(match found {
            Some(placed) => Before::Placed(placed, placement.account),
            None => Before::Nothing(Some(draft.0)),
        })
    }

    /// Spends money. With the reference under which it was begun before, if it was.
    async fn place(
        &self,
        order: &Order,
        account: &Account,
        access: &Access,
        (number, reference): (&CadastralNumber, Option<String>),
        context: JobContext<'_>,
    ) -> Result<Placed, PlaceError> {
        if self.portal.balance(access).await? == Some(0) {
            return Err(EgrnError::InsufficientBalance.into());
        }
        if !self.portal.exists(access, number).await? {
            return Err(PlaceError::NotFound);
        }
        // A gateway that was only slow answers with the order of before.
        let reference = reference.unwrap_or_else(|| {
            let unique = ulid::Ulid::from_parts(unix_ms(), rand::random());
            format!("order-{}-{unique}", order.id)
        });
        let draft = self.portal.prepare(access, number, &reference).await?;
        let is_begun = self
            .database
            .begin_placement(order.id, account.id, &draft.0)
            .await
            .map_err(later)?;
        if !is_begun {
            let reason = "it was placed in the meantime".to_owned();
            return Err(Failure::Later(GUARDED, reason).into());
        }
        context.progress(50).await;
        match self.portal.confirm(access, number, &draft).await {
            Ok(placed) => Ok(placed),
            Err(error) => {
                // Nobody has to ask later about what was plainly refused.
                if !matches!(
                    error,
                    EgrnError::Transient(_) | EgrnError::Unclear(_) | EgrnError::NotFound
                ) {
                    self.database
                        .forget_placement(order.id)
                        .await
                        .map_err(later)?;
                }
                Err(error.into())
            }
        }
    }

    async fn check_later(&self, order: &Order, placed: &Placed) -> Result<(), Failure> {
        let data = json!({ "orderId": order.id, "rosreestrOrderNum": placed.order_num });
        // The id makes it one job, however often this one is begun again.
        let id = format!("check-{}", order.id);
        let job = NewJob {
            id: Some(&id),
            name: CHECK,
            data: &data,
            delay: self.poll,
            attempts: CHECK_ATTEMPTS,
            backoff: self.poll,
        };
        self.queue
            .add(&job)
            .await
            .map_err(|error| Failure::Retry(error.to_string()))?;
        Ok(())
    }

    async fn check(&self, job: &Job, context: JobContext<'_>) -> Result<Value, Failure> {
        let data: CheckData = read(job)?;
        let order = self.order(data.order_id).await?;
        let order_num = &data.rosreestr_order_num;
        if order.rosreestr_order_num.as_ref() != Some(order_num) {
            return Err(Failure::Final(format!(
                "the job is about {order_num:?}, the order about {:?}",
                order.rosreestr_order_num
            )));
        }
        let done = json!({ "rosreestrOrderNum": order_num });
        if order.is_complete {
            return Ok(done);
        }
        // Only the account that has ordered it can see it, whichever worker asks.
        let account = order.rosreestr_user_id.unwrap_or(self.account);
        let access = self.access_of(account).await?;
        let failure = |error| self.of_account(account, failure(error));
        match self
            .portal
            .status(&access, order_num)
            .await
            .map_err(failure)?
        {
            Progress::Refused(said) => Err(Failure::Final(format!("the portal refuses: {said}"))),
            Progress::Pending(said) => {
                let age = unix_ms().saturating_sub(job.created_ms);
                if u128::from(age) > MAX_AGE.as_millis() {
                    return Err(Failure::Final(format!(
                        "the document is not ready after {} days: {said}",
                        MAX_AGE.as_secs() / 86_400
                    )));
                }
                let status = Status::Portal(said);
                if order.status != status.text() {
                    self.tell(job, order, &status).await.map_err(later)?;
                }
                Err(Failure::Later(self.poll, status.text()))
            }
            Progress::Ready(document) => {
                let content = self
                    .portal
                    .download(&access, &document)
                    .await
                    .map_err(failure)?;
                self.database
                    .keep_file(order.id, order_num, &content)
                    .await
                    .map_err(later)?;
                context
                    .log(&format!(
                        "Document of order {}: {} bytes",
                        order.id,
                        content.len()
                    ))
                    .await;
                self.tell(job, order, &Status::Downloaded)
                    .await
                    .map_err(later)?;
                Ok(done)
            }
        }
    }

    /// Writes a status down and tells those who look on.
    async fn tell(
        &self,
        job: &Job,
        mut order: Order,
        status: &Status,
    ) -> Result<(), DatabaseError> {
        self.database.set_status(order.id, status).await?;
        order.status = status.text();
        order.is_complete = status.is_complete();
        self.live.order(&order, attempt(job));
        Ok(())
    }

    async fn order(&self, id: i32) -> Result<Order, Failure> {
        let order = self.database.order(id).await.map_err(later)?;
        order.ok_or_else(|| Failure::Final(format!("there is no order {id}")))
    }

    /// The account of this worker, as it is now: somebody may have switched it off.
    async fn own_account(&self) -> Result<Account, Failure> {
        let account = self.database.account(self.account).await.map_err(later)?;
        account
            .filter(|account| account.is_active)
            .ok_or_else(|| Failure::NotHere(SHUT_OUT, "the account is not active".to_owned()))
    }

    async fn access_of(&self, account: i32) -> Result<Access, Failure> {
        let found = self.database.account(account).await.map_err(later)?;
        match found {
            Some(found) => self
                .access(&found)
                .map_err(|failure| self.of_account(account, failure)),
            None => Err(Failure::Final(format!(
                "the account {account} that has ordered this is gone"
            ))),
        }
    }

    /// What a failure means that concerns an account: that of another worker pauses
    /// nobody. Its job waits, and others go on.
    fn of_account(&self, account: i32, failure: Failure) -> Failure {
        match failure {
            Failure::NotHere(time, reason) if account != self.account => {
                Failure::Later(time, reason)
            }
            failure => failure,
        }
    }

    /// Opens what the portal must be shown. Only here, and for this one use.
    fn access(&self, account: &Account) -> Result<Access, Failure> {
        let not_here = |error: super::sealing::SealError| {
            Failure::NotHere(SHUT_OUT, format!("account {}: {error}", account.username))
        };
        let password = self
            .sealer
            .open(&account.password, &account.username)
            .map_err(not_here)?;
        let cookies = account
            .session
            .as_ref()
            .map(|session| self.sealer.open_session(session, &account.username))
            .transpose()
            .map_err(not_here)?;
        Ok(Access {
            account: account.username.clone(),
            login: account.gu_login.clone(),
            password,
            cookies,
        })
    }
}

/// What was done for an order before.
enum Before {
    /// Nothing that is placed; perhaps by what a begun order is known.
    Nothing(Option<String>),
    /// Placed, by this account.
    Placed(Placed, i32),
}

/// Why an order was not placed.
enum PlaceError {
    /// There is no such object.
    NotFound,
    Failed(Failure),
}

impl From<EgrnError> for PlaceError {
    fn from(error: EgrnError) -> Self {
        Self::Failed(failure(error))
    }
}

impl From<Failure> for PlaceError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What an error of the portal means for the job.
fn failure(error: EgrnError) -> Failure {
    match error {
        EgrnError::InsufficientBalance => Failure::Final(Status::NoBalance.text()),
        EgrnError::Auth(_) => Failure::NotHere(SHUT_OUT, error.to_string()),
        EgrnError::RateLimited(pause) => Failure::Later(pause, error.to_string()),
        EgrnError::Unclear(_) => Failure::Final(error.to_string()),
        EgrnError::NotFound | EgrnError::Transient(_) => Failure::Retry(error.to_string()),
    }
}

/// A database that is gone is no failure of an order; one with other tables is.
fn later(error: DatabaseError) -> Failure {
    if error.is_outage() {
        Failure::Later(GUARDED, error.to_string())
    } else {
        Failure::Retry(error.to_string())
    }
}

fn read<'a, T: Deserialize<'a>>(job: &'a Job) -> Result<T, Failure> {
    T::deserialize(&job.data).map_err(|error| {
        Failure::Final(format!("the data of a {} job is wrong: {error}", job.name))
    })
}

/// Reads what any kind of job has, for [`super::fuzz`].
#[cfg(any(test, fuzzing))]
pub(super) fn read_any(job: &Job) {
    let _ = read::<ProcessData>(job);
    let _ = read::<AnyData>(job);
}

fn attempt(job: &Job) -> Attempt {
    Attempt {
        attempt: job.attempts_made.saturating_add(1),
        max_attempts: job.options.attempts.max(1),
    }
}
