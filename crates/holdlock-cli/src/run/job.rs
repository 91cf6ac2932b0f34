//! The processes that the command has started and that still live.
//!
//! As a "child subreaper" holdlock becomes the parent of every descendant whose own parent ends.
//! Therefore every descendant is below holdlock, however it was left behind (nohup, setsid, a
//! double fork), and no process is left when wait(2) reports that there is no child.

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
    /// The command, until it is reaped: until then no other process can have its number.
    command: Option<Pid>,
    /// Earlier children: a shell may have started a process and then become holdlock by exec.
    strangers: Vec<Pid>,
}

impl Job {
    /// Makes this process the parent of descendants whose parents end. To be called before the
    /// command is started.
    ///
    /// # Errors
    ///
    /// If the kernel refuses it.
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

    /// Whether no process is left; `no_children` is the answer of wait(2).
    pub(super) fn is_over(&self, no_children: bool) -> bool {
        let is_empty = |members: Vec<Pid>| members.is_empty();
        no_children || !self.strangers.is_empty() && self.members().is_some_and(is_empty)
    }

    /// All living descendants, and zombies; parents before their children. A process that is
    /// started meanwhile may be missing.
    ///
    /// None if they cannot be listed: /proc is not mounted, or is that of another PID namespace, or
    /// no descriptor is free to read it.
    pub(super) fn members(&self) -> Option<Vec<Pid>> {
        if !inspect::is_proc_ours() {
            return None;
        }
        descendants::of(self.us, &self.strangers)
    }

    /// The members to which signals can be sent: at least the command.
    pub(super) fn receivers(&self) -> Vec<Pid> {
        self.members()
            .unwrap_or_else(|| self.command.into_iter().collect())
    }

    /// Sends a signal to a descendant, and to no other process: because its number may belong to
    /// another process by now, a pidfd is opened first, and then the process is checked.
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
                // There is no pidfd before Linux 5.3, or if a sandbox forbids it.
                Err(_) => kill_process(pid, signal),
            }
        };
        match sent {
            Err(Errno::SRCH) => Ok(()),
            other => other,
        }
    }
}
