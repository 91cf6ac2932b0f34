//! The holds of one object: by one thread, by one task, or by all threads of the process.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Weak;

use holdlock::{Mode, Moment, OwnedGuard};

use crate::error::Failure;
use crate::requester::Requester;

/// How the threads of the process use one object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// Each thread holds the lock by itself.
    Apart,
    /// The threads hold the lock together; each of them may release it.
    Together,
    /// One thread holds the lock, the others wait.
    Exclude,
}

/// The default settings of a request.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) timeout: f64,
    pub(crate) blocking: bool,
    pub(crate) poll_interval: f64,
}

impl Settings {
    /// Whether a request with these settings may wait.
    pub(crate) fn may_wait(&self) -> bool {
        self.blocking && self.timeout != 0.0
    }
}

/// The use of the object by one thread, by one task or by all threads. It keeps the settings while
/// the lock is not held.
pub(crate) struct Hold {
    /// The number of the thread or task; 0: all threads.
    pub(crate) whose: u64,
    /// Dead when the thread or task has ended; if all threads share the hold, the one that has
    /// acquired the lock.
    pub(crate) alive: Weak<()>,
    pub(crate) settings: Settings,
    /// How often the lock was acquired and not yet released. 0: it is not held.
    pub(crate) counter: usize,
    pub(crate) mode: Mode,
    pub(crate) guard: Option<OwnedGuard>,
    /// When the run began that was recorded last and has not ended.
    pub(crate) run: Option<Moment>,
    /// A writable descriptor of the lock file, for the hook.
    pub(crate) lent: Option<File>,
    /// The number of the thread or task that acquired the lock.
    pub(crate) taker: u64,
}

impl Hold {
    /// Whether another thread has acquired the lock, or another task that still runs.
    pub(crate) fn belongs_to_another(&self, requester: Requester<'_>) -> bool {
        let has_ended = requester.is_task() && self.alive.strong_count() == 0;
        self.taker != requester.number() && !has_ended
    }

    /// What is needed to record a run. None: the lock is not held, or by another object.
    pub(crate) fn run_and_guard(&mut self) -> Option<(&mut Option<Moment>, &OwnedGuard)> {
        Some((&mut self.run, self.guard.as_ref()?))
    }

    /// Ends the hold. The lock is released when the guard is dropped.
    pub(crate) fn give_up(&mut self) -> Option<OwnedGuard> {
        self.counter = 0;
        (self.lent, self.run) = (None, None);
        self.guard.take()
    }

    /// A descriptor of the locked file that can be written to, if possible: the lock's own can only
    /// be read. Closing it does not unlock. -1: the lock is not held.
    ///
    /// In a directory to which other users can write, one of them may have given another file the
    /// name of the lock: a file with more names than one is not lent there.
    pub(crate) fn lend(&mut self) -> Result<i32, Failure> {
        let Some(guard) = &self.guard else {
            return Ok(-1);
        };
        if has_another_name(guard) && is_shared(guard.path().parent()) {
            return Err(Failure::SecondName);
        }
        let own = guard.as_fd().as_raw_fd();
        self.lent = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(PathBuf::from(format!("/proc/self/fd/{own}")))
            .ok();
        Ok(self.lent.as_ref().map_or(own, AsRawFd::as_raw_fd))
    }
}

fn has_another_name(guard: &OwnedGuard) -> bool {
    let known = guard.file().metadata();
    known.is_ok_and(|known| known.nlink() > 1)
}

/// Whether other users than root can give names in this directory.
fn is_shared(directory: Option<&Path>) -> bool {
    let known = directory.and_then(|directory| directory.metadata().ok());
    known.is_none_or(|known| {
        let by_others = known.mode() & 0o022 != 0;
        by_others || ![0, rustix::process::geteuid().as_raw()].contains(&known.uid())
    })
}
