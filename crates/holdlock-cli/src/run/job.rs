//! Everything that the command has started and that still lives.
//!
//! As "child subreaper" we become the parent of every descendant whose own parent ends. So a
//! descendant is always found below us, however it was left behind (nohup, setsid, a double
//! fork), and when wait(2) knows of no child, nothing is left.

use std::fs;

use holdlock::inspect;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, kill_process, pidfd_open,
    pidfd_send_signal, set_child_subreaper, waitid,
};

/// The descendants that this process has because of the command.
pub(super) struct Job {
    us: Pid,
    /// Children from before: a shell may have started something and become us by exec.
    strangers: Vec<Pid>,
}

impl Job {
    /// To be called before the command is started. From now on we get the descendants whose
    /// parents end.
    ///
    /// # Errors
    ///
    /// When the kernel does not let us.
    pub(super) fn begin() -> (Job, Result<(), Errno>) {
        let us = getpid();
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // Nearly nobody has children at this point, and to ask wait(2) costs nothing.
        let has_children = !matches!(waitid(WaitId::All, look), Err(Errno::CHILD));
        let strangers = if has_children {
            children(us).unwrap_or_default()
        } else {
            Vec::new()
        };
        (Job { us, strangers }, set_child_subreaper(Some(us)))
    }

    /// A child of ours was reaped.
    pub(super) fn forget(&mut self, child: Pid) {
        self.strangers.retain(|stranger| *stranger != child);
    }

    /// Whether nothing is left, after wait(2) has said whether there are children.
    pub(super) fn is_over(&self, no_children: bool) -> bool {
        no_children || !self.strangers.is_empty() && self.members().is_empty()
    }

    /// All living descendants, and zombies; parents before their children. A process that is
    /// started meanwhile may be missing.
    pub(super) fn members(&self) -> Vec<Pid> {
        let Some(mut found) = children(self.us) else {
            return search_all(self.us);
        };
        self.strangers
            .iter()
            .for_each(|stranger| found.retain(|pid| pid != stranger));
        let mut next = 0;
        while let Some(pid) = found.get(next) {
            let below = children(*pid).unwrap_or_default();
            // Who gets another parent meanwhile is seen twice.
            let new: Vec<Pid> = below
                .into_iter()
                .filter(|pid| !found.contains(pid))
                .collect();
            found.extend(new);
            next += 1;
        }
        found
    }
}

/// The children of all threads of a process. None where the kernel does not list them
/// (`CONFIG_PROC_CHILDREN`), or the process is gone.
fn children(of: Pid) -> Option<Vec<Pid>> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{of}/task")).ok()?.flatten() {
        let list = fs::read_to_string(task.path().join("children")).ok()?;
        let pids = list
            .split_ascii_whitespace()
            .filter_map(|pid| pid.parse().ok());
        found.extend(pids.filter_map(Pid::from_raw));
    }
    Some(found)
}

/// The same from all processes of the host.
fn search_all(us: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(Pid::from_raw)
        .filter(|pid| descends_from(*pid, us))
        .collect()
}

fn descends_from(pid: Pid, us: Pid) -> bool {
    inspect::ancestors(number(pid)).contains(&number(us))
}

/// Process numbers are never negative.
pub(super) fn number(pid: Pid) -> u32 {
    pid.as_raw_pid().unsigned_abs()
}

/// Sends a signal to a descendant, and to nobody else: its number may belong to another process
/// by now, so it is pinned down first, and then looked at.
pub(super) fn send(pid: Pid, signal: Signal) -> Result<(), Errno> {
    let pinned = pidfd_open(pid, PidfdFlags::empty());
    if matches!(pinned, Err(Errno::SRCH)) || !descends_from(pid, getpid()) {
        return Ok(());
    }
    let sent = match pinned {
        Ok(pinned) => pidfd_send_signal(&pinned, signal),
        // Before Linux 5.3, or where a sandbox forbids it.
        Err(_) => kill_process(pid, signal),
    };
    match sent {
        Err(Errno::SRCH) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn both_ways_find_the_children_of_children() {
        let mut child = Command::new("sh")
            .args(["-c", "sh -c 'echo; read line; :'; :"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let mut ready = [0];
        let stdout = child.stdout.as_mut().expect("piped");
        std::io::Read::read_exact(stdout, &mut ready).expect("it runs");
        let outer = Pid::from_child(&child);
        let inner = children(outer).expect("listed");
        assert_eq!(inner.len(), 1, "{inner:?}");
        let job = Job {
            us: getpid(),
            strangers: Vec::new(),
        };
        for found in [job.members(), search_all(getpid())] {
            assert!(found.contains(&outer), "{found:?}");
            assert!(found.contains(&inner[0]), "{found:?}");
        }
        drop(child.stdin.take());
        child.wait().expect("it ends");
    }
}
