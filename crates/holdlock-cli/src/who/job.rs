//! The job of a holder that only runs a command under the lock: `holdlock run`, flock(1).

use holdlock::inspect::{Process, State};
use rustix::process::Pid;

use crate::descendants;

/// The processes that such a holder has started and that still run.
pub(super) fn of(holder: &Process) -> Vec<Process> {
    let name = std::fs::read_to_string(format!("/proc/{}/comm", holder.pid)).unwrap_or_default();
    let pid = holder.pid.try_into().ok().and_then(Pid::from_raw);
    let (Some(pid), true) = (pid, ["holdlock", "flock"].contains(&name.trim_end())) else {
        return Vec::new();
    };
    let pids = descendants::of(pid, &[]).unwrap_or_default();
    let processes = pids.into_iter().map(descendants::number);
    let processes = processes.filter_map(Process::of);
    processes
        .filter(|process| process.state != Some(State::Zombie))
        .collect()
}
