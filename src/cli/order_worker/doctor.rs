//! `fanfare order-worker doctor`: what works and what does not, and what to do.

use anyhow::ensure;
use fanfare::adapter::order_worker::bull::JobQueue;
use fanfare::adapter::order_worker::live;
use fanfare::config::OrderWorkerConfig;
use fanfare::worker;

use crate::cli::{app, output};

/// Prints one line for each thing that a worker needs.
pub(super) async fn run(config: &OrderWorkerConfig) -> anyhow::Result<()> {
    let mut findings = Findings::default();
    queue(config, &mut findings).await?;
    accounts(config, &mut findings).await?;
    publishing(config, &mut findings).await?;
    ensure!(
        findings.bad == 0,
        "{} of {} things do not work",
        findings.bad,
        findings.all
    );
    Ok(())
}

/// Counts what is told.
#[derive(Default)]
struct Findings {
    all: usize,
    bad: usize,
}

impl Findings {
    fn good(&mut self, text: &str) -> std::io::Result<()> {
        self.all += 1;
        output::line(&format!("ok    {text}"))
    }

    fn bad(&mut self, text: &str) -> std::io::Result<()> {
        self.all += 1;
        self.bad += 1;
        output::line(&format!("BAD   {text}"))
    }
}

async fn queue(config: &OrderWorkerConfig, findings: &mut Findings) -> anyhow::Result<()> {
    let queue = worker::queue(config)?;
    let counts = match queue.counts().await {
        Ok(counts) => counts,
        Err(error) => {
            findings.bad(&format!("Redis does not answer: {error}"))?;
            return Ok(());
        }
    };
    findings.good(&format!(
        "queue {}: {} waiting, {} active, {} delayed, {} completed, {} failed",
        config.queue,
        counts.waiting,
        counts.active,
        counts.delayed,
        counts.completed,
        counts.failed
    ))?;
    if queue.is_paused().await? {
        findings.bad(&format!(
            "the queue is paused, {} jobs wait for its end: queue.resume(), or Bull Board",
            counts.paused
        ))?;
    } else {
        findings.good("the queue is not paused")?;
    }
    let (number, time) = queue.newest().await?;
    match time {
        Some(time) => {
            let time = app::date(i64::try_from(time).unwrap_or(i64::MAX));
            findings.good(&format!("newest job: {number}, of {time}"))?;
        }
        None => findings.good(&format!(
            "{number} jobs were added so far, the newest is gone; none at all means that the producer uses another Redis, database or prefix"
        ))?,
    }
    match queue.worker_count().await {
        Ok(0) => findings.bad("no worker is connected to the queue")?,
        Ok(workers) => findings.good(&format!("{workers} workers are connected"))?,
        Err(error) => findings.bad(&format!("workers cannot be counted: {error}"))?,
    }
    Ok(())
}

async fn accounts(config: &OrderWorkerConfig, findings: &mut Findings) -> anyhow::Result<()> {
    let database = match worker::database(config).await {
        Ok(database) => database,
        Err(error) => {
            findings.bad(&format!("{error:#}"))?;
            return Ok(());
        }
    };
    let accounts = match database.accounts().await.map_err(worker::about_tables) {
        Ok(accounts) => accounts,
        Err(error) => {
            findings.bad(&format!("{error:#}"))?;
            return Ok(());
        }
    };
    findings.good(&format!("database {}", config.database.name))?;
    match &config.account {
        None => findings.bad("ROSREESTR_USER_NAME is not set")?,
        Some(username) => {
            match accounts
                .iter()
                .find(|account| account.username == *username)
            {
                None => findings.bad(&format!(
                    "account {username:?} is not in the table: SELECT id, username, is_active FROM rosreestr_users"
                ))?,
                Some(account) if !account.is_active => findings.bad(&format!(
                    "account {username:?} is not active: UPDATE rosreestr_users SET is_active = true WHERE id = {}",
                    account.id
                ))?,
                Some(_) => findings.good(&format!("account {username:?} is active"))?,
            }
        }
    }
    let sealer = match worker::sealer(config, &database).await {
        Ok(sealer) => sealer,
        Err(error) => {
            findings.bad(&format!("{error:#}"))?;
            return Ok(());
        }
    };
    for account in accounts.iter().filter(|account| account.is_active) {
        let username = &account.username;
        match sealer.open(&account.password, username) {
            Ok(_) if sealer.is_current(&account.password) => {
                findings.good(&format!("the password of {username:?} can be opened"))?;
            }
            Ok(_) => findings.good(&format!(
                "the password of {username:?} can be opened; `recrypt` would seal it anew"
            ))?,
            Err(error) => findings.bad(&format!("account {username:?}: {error}"))?,
        }
    }
    Ok(())
}

async fn publishing(config: &OrderWorkerConfig, findings: &mut Findings) -> anyhow::Result<()> {
    let Some(publish) = &config.publish else {
        findings.good("PUSHER_APP_ID is not set: nobody hears of orders as they go on")?;
        return Ok(());
    };
    let asked = match live::client(publish) {
        Ok(client) => client.channel(live::WORKERS, "").await.map(|_| ()),
        Err(error) => Err(error),
    };
    match asked {
        Ok(()) => findings.good(&format!("Fanfare at {}", publish.url))?,
        Err(error) => findings.bad(&error.to_string())?,
    }
    Ok(())
}
