//! Which locks are wanted.

use std::path::PathBuf;

use holdlock::inspect::{Kind, Lock, LockedFile, Process, Range, Waiter};

use crate::exit::Failure;
use crate::show::spot::{self, Spot};

/// What is wanted; all that is given has to fit, and of each one.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) pids: Vec<u32>,
    pub(crate) users: Vec<String>,
    pub(crate) kinds: Vec<String>,
    pub(crate) waiting: bool,
}

/// A filter whose paths have been looked at.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    paths: Vec<Spot>,
    pids: Vec<u32>,
    users: Vec<String>,
    kinds: Vec<String>,
    waiting: bool,
}

impl Filter {
    /// Finds out once which files the paths stand for.
    pub(super) fn prepared(self) -> Result<Prepared, Failure> {
        let paths = self.paths.iter().map(|path| Spot::of(path));
        Ok(Prepared {
            paths: paths.collect::<Result<_, _>>()?,
            pids: self.pids,
            users: self.users,
            kinds: self.kinds,
            waiting: self.waiting,
        })
    }
}

impl Prepared {
    /// Gives paths to files that have none, as far as the filter's paths tell.
    pub(super) fn name(&self, files: &mut [LockedFile]) {
        spot::name(files, &self.paths);
    }

    /// The file with only those locks and requests that are wanted. None where that is none.
    pub(super) fn reduced(&self, file: &LockedFile) -> Option<LockedFile> {
        if !self.wants_file(file) {
            return None;
        }
        let mut file = file.clone();
        file.locks.retain(|lock| self.wants_lock(lock));
        file.waiters.retain(|waiter| self.wants_waiter(waiter));
        (!file.locks.is_empty() || !file.waiters.is_empty()).then_some(file)
    }

    pub(super) fn wants_file(&self, file: &LockedFile) -> bool {
        let here = self.paths.is_empty() || self.paths.iter().any(|spot| spot.has(file));
        here && (!self.waiting || !file.waiters.is_empty())
    }

    pub(super) fn wants_lock(&self, lock: &Lock) -> bool {
        // Who took it and has ended is not among the holders, and may yet be asked for.
        let taken = lock.taker.is_some_and(|taker| self.pids.contains(&taker));
        let kept = lock
            .holders
            .iter()
            .any(|holder| self.wants(&holder.process));
        let anybody = self.pids.is_empty() && self.users.is_empty();
        self.wants_kind(lock.kind) && (anybody || kept || taken && self.users.is_empty())
    }

    pub(super) fn wants_waiter(&self, waiter: &Waiter) -> bool {
        let anybody = self.pids.is_empty() && self.users.is_empty();
        let wanted = waiter.process.as_ref().is_some_and(|one| self.wants(one));
        self.wants_kind(waiter.kind) && (anybody || wanted)
    }

    /// Whether a process is one of those asked for.
    pub(super) fn wants(&self, process: &Process) -> bool {
        let is = |user: &String| {
            process.user.as_ref() == Some(user)
                || process.uid.is_some_and(|uid| uid.to_string() == *user)
        };
        (self.pids.is_empty() || self.pids.contains(&process.pid))
            && (self.users.is_empty() || self.users.iter().any(is))
    }

    fn wants_kind(&self, kind: Kind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind.to_string())
    }
}

/// Whether a request of the one kind waits while a lock of the other is held.
pub(super) fn is_in_the_way(lock: &Lock, waiter: &Waiter) -> bool {
    use holdlock::Mode::Shared;
    let together = lock.mode == Shared && waiter.mode == Shared;
    let same_bytes = Range::overlaps(lock.range, waiter.range);
    lock.kind.meets(waiter.kind) && same_bytes && !together
}
