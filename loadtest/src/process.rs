//! What a process has used so far, as the kernel counts it.

use std::time::Instant;

use anyhow::Context;
use procfs::process::Process;

/// Counters of one process at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    /// Nanoseconds on a processor, from the scheduler: exact, unlike clock ticks.
    /// Threads that have ended are missing; a server's workers do not end.
    cpu_ns: u64,
    /// Resident bytes.
    resident: u64,
}

/// A stretch of a run, from its start.
#[derive(Debug)]
pub(crate) struct Meter {
    pids: Vec<i32>,
    server: Option<Usage>,
    own: Usage,
    began: Instant,
}

/// What a stretch of a run has cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    pub(crate) seconds: f64,
    /// Microseconds of the server's CPU time, if its process is known.
    pub(crate) server_cpu_us: Option<f64>,
    /// Microseconds of this program's CPU time.
    pub(crate) own_cpu_us: f64,
    /// Bytes by which the server has grown.
    pub(crate) server_grown: Option<f64>,
}

impl Meter {
    /// Begins to measure the processes `pids` together, and this one.
    pub(crate) fn start(pids: &[i32]) -> anyhow::Result<Self> {
        Ok(Self {
            pids: pids.to_vec(),
            server: together(pids)?,
            own: usage(own_pid())?,
            began: Instant::now(),
        })
    }

    pub(crate) fn stop(&self) -> anyhow::Result<Spent> {
        let seconds = self.began.elapsed().as_secs_f64();
        let server = together(&self.pids)?;
        let pair = self.server.zip(server);
        Ok(Spent {
            seconds,
            server_cpu_us: pair.map(|(before, after)| cpu_us(before, after)),
            own_cpu_us: cpu_us(self.own, usage(own_pid())?),
            server_grown: pair
                .map(|(before, after)| after.resident.saturating_sub(before.resident) as f64),
        })
    }
}

fn cpu_us(before: Usage, after: Usage) -> f64 {
    after.cpu_ns.saturating_sub(before.cpu_ns) as f64 / 1_000.0
}

/// What all of them have used; nothing when there are none.
fn together(pids: &[i32]) -> anyhow::Result<Option<Usage>> {
    let mut sum = Usage::default();
    for &pid in pids {
        let one = usage(pid)?;
        sum.cpu_ns += one.cpu_ns;
        sum.resident += one.resident;
    }
    Ok((!pids.is_empty()).then_some(sum))
}

fn usage(pid: i32) -> anyhow::Result<Usage> {
    let read = || -> procfs::ProcResult<Usage> {
        let process = Process::new(pid)?;
        let mut cpu_ns = 0;
        for task in process.tasks()? {
            cpu_ns += task?.schedstat()?.sum_exec_runtime;
        }
        Ok(Usage {
            cpu_ns,
            resident: process.statm()?.resident * procfs::page_size(),
        })
    };
    read().with_context(|| format!("cannot read the counters of process {pid}"))
}

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(i32::MAX)
}
