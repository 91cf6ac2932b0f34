//! The process of a server, which is no child of the test program.

use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use crate::DEADLINE;

/// A process in a directory of its own, whose number stands in a file.
///
/// Its number may be given to another process when it has ended. Therefore the process counts only
/// if it works in the directory; a process that has ended, and that nobody has waited for, does
/// not.
#[derive(Clone, Debug)]
pub(super) struct Process {
    /// Without symbolic links.
    directory: PathBuf,
    file: PathBuf,
}

impl Process {
    pub(super) fn new(directory: &Path, file: &str) -> Process {
        let directory = directory.canonicalize().expect("a directory");
        Process {
            file: directory.join(file),
            directory,
        }
    }

    /// None if it does not run.
    fn pid(&self) -> Option<Pid> {
        let pid = std::fs::read_to_string(&self.file).ok()?;
        let place = std::fs::read_link(format!("/proc/{}/cwd", pid.trim()));
        let pid = pid.trim().parse().ok().and_then(Pid::from_raw);
        pid.filter(|_| place.is_ok_and(|place| place == self.directory))
    }

    pub(super) fn is_running(&self) -> bool {
        self.pid().is_some()
    }

    pub(super) fn signal(&self, signal: Signal) {
        let pid = self.pid().expect("the server runs");
        kill_process(pid, signal).expect("sent");
    }

    /// Kills it, as a crash does, and waits until it has ended with all its threads: before that,
    /// its ports are in use.
    pub(super) fn kill(&self) {
        let pid = self.pid().expect("the server runs");
        let process = pidfd_open(pid, PidfdFlags::empty()).expect("the server runs");
        pidfd_send_signal(&process, Signal::KILL).expect("sent");
        let mut ends = [PollFd::new(&process, PollFlags::IN)];
        let limit = Timespec::try_from(DEADLINE).expect("a short time");
        let ended = poll(&mut ends, Some(&limit)).expect("works");
        assert!(ended > 0, "the server goes on after KILL");
    }
}

/// A line of a shell script that kills the processes of this directory.
pub(super) fn kill_all(directory: &Path, files: &str) -> String {
    let directory = directory.display();
    format!(
        "for pid in $(cat '{directory}'/{files}); do \
         [ /proc/$pid/cwd -ef '{directory}' ] && kill -KILL $pid; done"
    )
}
