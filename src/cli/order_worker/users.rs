//! `fanfare order-worker users …`: the accounts for which documents are ordered.

use std::io::Read;

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use fanfare::adapter::order_worker::accounts::{Account, Change, MIN_PASSWORD};
use fanfare::adapter::order_worker::database::Database;
use fanfare::adapter::order_worker::sealing::Sealer;
use fanfare::config::OrderWorkerConfig;
use fanfare::worker;

use super::output;

/// Add, list and change the accounts
#[derive(Debug, Args)]
#[command(
    after_help = "Passwords and cookies are read from the input, never from the command line, which
other users of the machine can see.

Examples:
  fanfare order-worker users add user-1 --gu-login ivanov < password.txt
  fanfare order-worker users list
  fanfare order-worker users deactivate user-1"
)]
pub(super) struct Users {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the accounts; no secrets are shown
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add an account; the password is read from the input
    Add {
        /// By what a worker is told which one it is
        username: String,
        /// The login of the state's portal
        #[arg(long)]
        gu_login: Option<String>,
        /// For people
        #[arg(long)]
        comment: Option<String>,
    },
    /// Set another password, which is read from the input
    SetPassword {
        /// Whose
        username: String,
    },
    /// Import the cookies of a session from the input, as a browser sends them
    SetSession {
        /// Whose
        username: String,
    },
    /// Let workers use an account
    Activate {
        /// Which
        username: String,
    },
    /// Let no worker use it; one that runs stops taking orders
    Deactivate {
        /// Which
        username: String,
    },
}

impl Users {
    pub(super) async fn run(self, config: &OrderWorkerConfig) -> anyhow::Result<()> {
        let database = worker::database(config).await?;
        match self.command {
            Command::List { json } => list(&database, json).await,
            Command::Add {
                username,
                gu_login,
                comment,
            } => {
                let sealer = worker::sealer(config, &database).await?;
                let password = password()?;
                let new = Change {
                    username: Some(&username),
                    password_sealed: Some(&sealer.seal(&password, &username)),
                    gu_login: gu_login.as_deref(),
                    comment: comment.as_deref(),
                    ..Change::default()
                };
                let added = database.add_account(&new).await;
                let account = match added {
                    Err(error) if error.is_duplicate() => {
                        anyhow::bail!("the account {username:?} exists already")
                    }
                    added => added?,
                };
                output::line(&serde_json::to_string(&account)?)?;
                Ok(())
            }
            Command::SetPassword { username } => {
                let sealer = worker::sealer(config, &database).await?;
                let sealed = sealer.seal(&password()?, &username);
                let change = Change {
                    password_sealed: Some(&sealed),
                    ..Change::default()
                };
                changed(&database, &username, &change).await
            }
            Command::SetSession { username } => {
                let sealer = worker::sealer(config, &database).await?;
                let sealed = sealer.seal_session(&input()?, &username);
                let change = Change {
                    session_sealed: Some(&sealed),
                    ..Change::default()
                };
                changed(&database, &username, &change).await
            }
            Command::Activate { username } => switch(&database, &username, true).await,
            Command::Deactivate { username } => switch(&database, &username, false).await,
        }
    }
}

/// Seals all passwords and sessions with the secret of now.
pub(super) async fn recrypt(config: &OrderWorkerConfig) -> anyhow::Result<()> {
    let database = worker::database(config).await?;
    let sealer = worker::sealer(config, &database).await?;
    let (mut sealed, mut unreadable) = (0, 0);
    for account in database.accounts().await.map_err(worker::about_tables)? {
        match resealed(&sealer, &account) {
            Ok(None) => {}
            Ok(Some((password, session))) => {
                let change = Change {
                    password_sealed: Some(&password),
                    session_sealed: session.as_deref(),
                    ..Change::default()
                };
                database.change_account(account.id, &change).await?;
                sealed += 1;
            }
            Err(error) => {
                output::note(&format!("{}: {error}", account.username));
                unreadable += 1;
            }
        }
    }
    output::note(&format!("{sealed} accounts were sealed anew"));
    ensure!(
        unreadable == 0,
        "{unreadable} accounts cannot be opened: set ROSREESTR_CRYPTO_SECRET_PREVIOUS, or their passwords anew"
    );
    Ok(())
}

/// What is to be stored of an account; `None` if it is as it should be.
fn resealed(
    sealer: &Sealer,
    account: &Account,
) -> anyhow::Result<Option<(String, Option<String>)>> {
    let username = &account.username;
    let is_current = sealer.is_current(&account.password)
        && account
            .session
            .as_ref()
            .is_none_or(|session| sealer.is_current_session(session));
    let password = sealer.open(&account.password, username)?;
    let session = account
        .session
        .as_ref()
        .map(|session| sealer.open_session(session, username))
        .transpose()?;
    if is_current {
        return Ok(None);
    }
    let session = session.map(|session| sealer.seal_session(session.reveal(), username));
    Ok(Some((sealer.seal(password.reveal(), username), session)))
}

async fn list(database: &Database, as_json: bool) -> anyhow::Result<()> {
    let accounts = database.accounts().await.map_err(worker::about_tables)?;
    if as_json {
        output::line(&serde_json::to_string(&accounts)?)?;
        return Ok(());
    }
    for account in &accounts {
        let state = if account.is_active { "active" } else { "off" };
        let session = if account.has_session { "session" } else { "-" };
        output::line(&format!(
            "{:<4} {:<24} {state:<7} {session:<8} {}",
            account.id,
            output::printable(&account.username),
            output::printable(account.comment.as_deref().unwrap_or("")),
        ))?;
    }
    if accounts.is_empty() {
        output::note("there are no accounts; add one with `fanfare order-worker users add`");
    }
    Ok(())
}

async fn switch(database: &Database, username: &str, is_active: bool) -> anyhow::Result<()> {
    let change = Change {
        is_active: Some(is_active),
        ..Change::default()
    };
    changed(database, username, &change).await
}

async fn changed(database: &Database, username: &str, change: &Change<'_>) -> anyhow::Result<()> {
    let account = database
        .account_named(username)
        .await
        .map_err(worker::about_tables)?
        .with_context(|| format!("there is no account {username:?}"))?;
    database.change_account(account.id, change).await?;
    Ok(())
}

fn password() -> anyhow::Result<String> {
    let password = input()?;
    ensure!(
        password.chars().count() >= MIN_PASSWORD,
        "the password has fewer than {MIN_PASSWORD} characters"
    );
    Ok(password)
}

/// The input without its line end.
fn input() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .context("cannot read the input")?;
    let text = text.trim_end_matches(['\r', '\n']);
    ensure!(!text.is_empty(), "the input is empty");
    Ok(text.to_owned())
}
