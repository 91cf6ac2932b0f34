//! The state of a lock at one moment.

use std::path::{Path, PathBuf};

use holdlock::inspect::{self, Kind, Lock, LockedFile, Process, Snapshot, Unseen};

use super::{UNKNOWN, probe};
use crate::exit::{Failure, reason};
use crate::show::text;

/// What is known about the locks at a path.
pub(crate) struct View {
    pub(crate) path: PathBuf,
    pub(crate) exists: bool,
    pub(crate) answer: Answer,
    pub(crate) snapshot: Snapshot,
}

/// Whether a holder took its lock itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It took at least one of its locks.
    Taken,
    /// The kernel does not name the takers of OFD locks.
    Unknown,
    /// Other processes took all of its locks.
    Inherited,
}

/// Whether a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Held,
    Free,
    /// By a process that cannot be shown: it is outside of our PID namespace.
    HeldOutside,
}

impl View {
    pub(crate) fn of(path: PathBuf) -> Result<View, Failure> {
        let mut view = View {
            path,
            exists: false,
            answer: Answer::Free,
            snapshot: Snapshot::default(),
        };
        view.look()?;
        Ok(view)
    }

    /// Reads the state again.
    pub(crate) fn look(&mut self) -> Result<(), Failure> {
        self.snapshot = inspect::file(&self.path).map_err(|error| not_seen(&self.path, &error))?;
        self.exists = self.path.exists();
        self.answer = if self.is_seen_held() {
            Answer::Held
        } else if self.exists && self.snapshot.unseen.contains(&Unseen::OtherNamespaces) {
            self.try_it()?
        } else {
            Answer::Free
        };
        Ok(())
    }

    pub(crate) fn is_free(&self) -> bool {
        self.answer == Answer::Free
    }

    /// Whether /proc/locks shows a lock. A waiter waits for a holder, even for one that cannot be
    /// seen.
    fn is_seen_held(&self) -> bool {
        let files = &self.snapshot.files;
        files.iter().any(|file| {
            !file.waiters.is_empty() || file.locks.iter().any(|lock| lock.kind != Kind::Lease)
        })
    }

    /// In a PID namespace, /proc/locks leaves out the locks of the processes outside.
    fn try_it(&mut self) -> Result<Answer, Failure> {
        let is_locked = probe::is_locked(&self.path).map_err(|error| {
            let why = format!(
                "cannot tell whether a process outside this PID namespace holds it: {}; \
                 ask on the host",
                reason(&error)
            );
            Failure::new(UNKNOWN, format!("{}: {why}", text::path(&self.path)))
        })?;
        // The try has shown what could not be seen.
        let unseen = &mut self.snapshot.unseen;
        unseen.retain(|what| is_locked || *what != Unseen::OtherNamespaces);
        Ok(if is_locked {
            Answer::HeldOutside
        } else {
            Answer::Free
        })
    }

    /// The file that is at the path now, if it has locks.
    pub(super) fn current(&self) -> Option<&LockedFile> {
        self.snapshot.files.iter().find(|file| !file.removed)
    }

    /// Files that were at the path.
    pub(super) fn removed(&self) -> impl Iterator<Item = &LockedFile> {
        self.snapshot.files.iter().filter(|file| file.removed)
    }

    /// The locks on all of them.
    pub(super) fn locks(&self) -> impl Iterator<Item = &Lock> {
        self.snapshot.files.iter().flat_map(|file| &file.locks)
    }

    /// The processes that hold a lock, each once.
    pub(super) fn holders(&self) -> Vec<&Process> {
        let holders = self
            .locks()
            .filter(|lock| lock.kind != Kind::Lease)
            .flat_map(|lock| &lock.holders);
        let mut found: Vec<&Process> = Vec::new();
        for holder in holders {
            if !found.iter().any(|other| other.pid == holder.process.pid) {
                found.push(&holder.process);
            }
        }
        found
    }

    /// Whether a holder took its locks itself. A lease is no lock.
    pub(super) fn origin(&self, process: &Process) -> Origin {
        let locks = self.locks().filter(|lock| lock.kind != Kind::Lease);
        let not_passed_on = locks.filter(|lock| {
            let mut holders = lock.holders.iter();
            holders.any(|it| it.process.pid == process.pid && !lock.was_passed_to(it))
        });
        let kinds: Vec<Kind> = not_passed_on.map(|lock| lock.kind).collect();
        if kinds.is_empty() {
            Origin::Inherited
        } else if kinds.iter().all(|kind| *kind == Kind::Ofd) {
            Origin::Unknown
        } else {
            Origin::Taken
        }
    }
}

/// The message about a lock that is held by a process that cannot be shown.
pub(crate) fn outside(path: &Path) -> String {
    format!(
        "{}: held by a process outside this PID namespace; run this command on the host",
        text::path(path)
    )
}

fn not_seen(path: &Path, error: &std::io::Error) -> Failure {
    let path = text::path(path);
    let message = if Path::new("/proc/locks").exists() {
        format!("cannot look at {path}: {}", reason(error))
    } else {
        format!(
            "cannot see the holders of {path}: /proc is not mounted here; mount it \
             (mount -t proc proc /proc)"
        )
    };
    Failure::new(UNKNOWN, message)
}
