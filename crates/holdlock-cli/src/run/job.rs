//! Everything that the command has started and that still lives.
//!
//! As "child subreaper" we become the parent of every descendant whose own parent ends. So a
//! descendant is always found below us, however it was left behind (nohup, setsid, a double
//! fork), and when wait(2) knows of no child, nothing is left.

use std::fs;
use std::io;

use holdlock::inspect;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, kill_process, pidfd_open,
    pidfd_send_signal, set_child_subreaper, waitid,
};

/// The descendants that this process has because of the command.
pub(super) struct Job {
    us: Pid,
    /// The command, until it is reaped: up to then its number is nobody else's.
    command: Option<Pid>,
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
        let job = Job {
            us,
            command: None,
            strangers,
        };
        (job, set_child_subreaper(Some(us)))
    }

    pub(super) fn started(&mut self, command: Pid) {
        self.command = Some(command);
    }

    /// A child of ours was reaped.
    pub(super) fn forget(&mut self, child: Pid) {
        self.command = self.command.filter(|command| *command != child);
        self.strangers.retain(|stranger| *stranger != child);
    }

    /// Whether nothing is left, after wait(2) has said whether there are children.
    pub(super) fn is_over(&self, no_children: bool) -> bool {
        let is_empty = |members: Vec<Pid>| members.is_empty();
        no_children || !self.strangers.is_empty() && self.members().is_some_and(is_empty)
    }

    /// All living descendants, and zombies; parents before their children. A process that is
    /// started meanwhile may be missing.
    ///
    /// None where they cannot be listed: /proc is not mounted, or is that of another PID namespace,
    /// or there is no descriptor left to read it with.
    pub(super) fn members(&self) -> Option<Vec<Pid>> {
        if !inspect::is_proc_ours() {
            return None;
        }
        let mut found = match children(self.us) {
            // Not listed by this kernel (`CONFIG_PROC_CHILDREN`).
            Err(error) if is_gone(&error) => return search_all(self.us).ok(),
            found => found.ok()?,
        };
        self.strangers
            .iter()
            .for_each(|stranger| found.retain(|pid| pid != stranger));
        let mut next = 0;
        while let Some(pid) = found.get(next) {
            let below = match children(*pid) {
                Err(error) if is_gone(&error) => Vec::new(),
                below => below.ok()?,
            };
            // Who gets another parent meanwhile is seen twice.
            let new: Vec<Pid> = below
                .into_iter()
                .filter(|pid| !found.contains(pid))
                .collect();
            found.extend(new);
            next += 1;
        }
        Some(found)
    }

    /// Those members to which signals can be sent: the command at least.
    pub(super) fn receivers(&self) -> Vec<Pid> {
        self.members()
            .unwrap_or_else(|| self.command.into_iter().collect())
    }

    /// Sends a signal to a descendant, and to nobody else: its number may belong to another process
    /// by now, so it is pinned down first, and then looked at.
    pub(super) fn send(&self, pid: Pid, signal: Signal) -> Result<(), Errno> {
        let sent = if Some(pid) == self.command {
            kill_process(pid, signal)
        } else {
            let pinned = pidfd_open(pid, PidfdFlags::empty());
            let is_ours = inspect::is_proc_ours() && descends_from(pid, self.us);
            if matches!(pinned, Err(Errno::SRCH)) || !is_ours {
                return Ok(());
            }
            match pinned {
                Ok(pinned) => pidfd_send_signal(&pinned, signal),
                // Before Linux 5.3, or where a sandbox forbids it.
                Err(_) => kill_process(pid, signal),
            }
        };
        match sent {
            Err(Errno::SRCH) => Ok(()),
            other => other,
        }
    }
}

/// The process, or the file, is not there.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ESRCH | libc::ENOTDIR)
    )
}

/// The children of all threads of a process.
fn children(of: Pid) -> io::Result<Vec<Pid>> {
    const TRIES: usize = 10;
    let mut found = Ok(Vec::new());
    for _ in 0..TRIES {
        found = list_children(of);
        // The children of a thread that has ended meanwhile are another thread's now, which may have
        // been looked at before.
        if !found.as_ref().is_err_and(is_gone) {
            break;
        }
    }
    found
}

fn list_children(of: Pid) -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{of}/task"))? {
        let list = fs::read_to_string(task?.path().join("children"))?;
        let pids = list
            .split_ascii_whitespace()
            .filter_map(|pid| pid.parse().ok());
        found.extend(pids.filter_map(Pid::from_raw));
    }
    Ok(found)
}

/// The same from all processes of the host.
fn search_all(us: Pid) -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        let pid = pid.and_then(Pid::from_raw);
        found.extend(pid.filter(|pid| descends_from(*pid, us)));
    }
    Ok(found)
}

fn descends_from(pid: Pid, us: Pid) -> bool {
    inspect::ancestors(number(pid)).contains(&number(us))
}

/// Process numbers are never negative.
pub(super) fn number(pid: Pid) -> u32 {
    pid.as_raw_pid().unsigned_abs()
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
        io::Read::read_exact(stdout, &mut ready).expect("it runs");
        let outer = Pid::from_child(&child);
        let inner = children(outer).expect("listed");
        assert_eq!(inner.len(), 1, "{inner:?}");
        let job = Job {
            us: getpid(),
            command: None,
            strangers: Vec::new(),
        };
        let both = [job.members(), search_all(getpid()).ok()];
        for found in both.map(|found| found.expect("listed")) {
            assert!(found.contains(&outer), "{found:?}");
            assert!(found.contains(&inner[0]), "{found:?}");
        }
        drop(child.stdin.take());
        child.wait().expect("it ends");
    }
}
