//! Members who join a presence channel, which all before them are told.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use tokio::task::JoinSet;

use super::{OPENING, failure, open};
use crate::Server;
use crate::ledger::Tally;
use crate::process::Meter;
use crate::progress;
use crate::report::Report;
use crate::subscriber::Subscriber;

const CHANNEL: &str = "presence-load";

/// The settings of `presence`.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Presence {
    /// Members in the end; the server must allow so many
    #[arg(long, default_value_t = 100)]
    members: usize,
    /// Members that join at the same time
    #[arg(long, default_value_t = 1)]
    at_once: usize,
    /// Seconds without any delivery after which the run has failed
    #[arg(long, default_value_t = 20)]
    stalled: u64,
}

/// What one member has seen.
struct Seen {
    user: usize,
    /// How many members there were when it had joined.
    count: usize,
    /// Who joined after it.
    joined: Vec<usize>,
    /// Open until all have been checked: a member that goes is told as well.
    _connection: Subscriber,
}

impl Presence {
    pub(crate) async fn run(self, server: &Server) -> anyhow::Result<Report> {
        let members = self.members;
        ensure!(
            members > 1 && self.at_once > 0,
            "--members must be at least 2, --at-once at least 1"
        );
        let mut connections = open(server, members, OPENING)
            .await?
            .into_iter()
            .enumerate();
        // Each is told of all who came later.
        let events = members * (members - 1) / 2;
        let tally = Arc::new(Tally::new(events, Duration::from_secs(self.stalled)));
        let mut watching = JoinSet::new();
        let mut points = Vec::new();
        let join_all = async {
            loop {
                let mut joining = JoinSet::new();
                for (user, mut connection) in connections.by_ref().take(self.at_once) {
                    let server = server.clone();
                    joining.spawn(async move {
                        let count = connection.join(&server, CHANNEL, user).await?;
                        anyhow::Ok((user, count, connection))
                    });
                }
                if joining.is_empty() {
                    break;
                }
                while let Some(joined) = joining.join_next().await {
                    let (user, count, mut connection) = joined??;
                    ensure!(
                        (1..=members).contains(&count),
                        "user {user} joined as one of {count}"
                    );
                    let tally = Arc::clone(&tally);
                    watching.spawn(async move {
                        let joined = connection.joins(&tally, members - count).await?;
                        anyhow::Ok(Seen {
                            user,
                            count,
                            joined,
                            _connection: connection,
                        })
                    });
                }
            }
            tokio::select! {
                outcome = tally.complete() => outcome,
                outcome = failure(&mut watching) => outcome,
            }
        };

        let meter = Meter::start(&server.pid)?;
        tokio::select! {
            outcome = join_all => outcome?,
            () = progress::watch(&tally, &mut points) => {}
        }
        let spent = meter.stop()?;
        tally.end();
        let mut seen = Vec::with_capacity(members);
        while let Some(ended) = watching.join_next().await {
            seen.push(ended??);
        }
        check(&mut seen)?;

        let mut report = Report::new(
            "presence",
            format!("{members} members, {} join at once", self.at_once),
        );
        report.add("join events, all checked", events as f64, "");
        report.add("time until all were told", spent.seconds, "s");
        if let Some(cpu_us) = spent.server_cpu_us {
            report.add("server CPU per join event", cpu_us / events as f64, "us");
            report.add("server CPU per join", cpu_us / members as f64, "us");
        }
        report.own_cpu("join event", &spent, events as f64);
        report.series("deliveries per second", "seconds", points);
        Ok(report)
    }
}

/// All have seen the same order: who came as the third was told of the fourth, the
/// fifth and so on.
fn check(seen: &mut [Seen]) -> anyhow::Result<()> {
    seen.sort_by_key(|seen| seen.count);
    let order: Vec<usize> = seen.iter().map(|seen| seen.user).collect();
    for (position, seen) in seen.iter().enumerate() {
        ensure!(
            seen.count == position + 1,
            "two members joined as number {}",
            seen.count
        );
        ensure!(
            seen.joined == order[position + 1..],
            "user {} was told of others than joined after it, or in another order",
            seen.user
        );
    }
    Ok(())
}
