//! What a process has used so far, as the kernel counts it.

use anyhow::Context;
use procfs::process::Process;

/// Counters of one process at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Nanoseconds on a processor, from the scheduler: exact, unlike clock ticks.
    /// Threads that have ended are missing; a server's workers do not end.
    pub(crate) cpu_ns: u64,
    /// Resident bytes.
    pub(crate) resident: u64,
}

/// Reads the counters of `pid`, or nothing if no process was named.
pub(crate) fn usage(pid: Option<i32>) -> anyhow::Result<Option<Usage>> {
    let Some(pid) = pid else {
        return Ok(None);
    };
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
    read()
        .map(Some)
        .with_context(|| format!("cannot read the counters of process {pid}"))
}
