//! Everything that the command has started and that still lives.
//!
//! As "child subreaper" we become the parent of every descendant whose own parent ends. So a
//! descendant is always found below us, however it was left behind (nohup, setsid, a double
//! fork), and when wait(2) knows of no child, nothing is left.

use holdlock::inspect;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, kill_process, pidfd_open,
    pidfd_send_signal, set_child_subreaper, waitid,
};

use crate::descendants::{self, children, descends_from};

/// The descendants that this process has because of the command.
pub(super) struct Job {
    us: Pid,
    /// The command, until it is reaped: up to then no other process has its number.
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
        // There are rarely children at this point, and a call of wait(2) costs nothing.
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
        descendants::of(self.us, &self.strangers)
    }

    /// Those members to which signals can be sent: the command at least.
    pub(super) fn receivers(&self) -> Vec<Pid> {
        self.members()
            .unwrap_or_else(|| self.command.into_iter().collect())
    }

    /// Sends a signal to a descendant, and to no other process: its number may belong to another
    /// one by now, so it is pinned first, and then checked.
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
