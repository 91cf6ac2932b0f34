//! A lock as it is at one moment.

use std::path::PathBuf;

use holdlock::inspect::{self, Kind, Lock, LockedFile, Process, Snapshot};

use crate::exit::Failure;
use crate::show::text;

/// What is known about the locks at a path.
pub(super) struct View {
    pub(super) path: PathBuf,
    pub(super) exists: bool,
    pub(super) snapshot: Snapshot,
}

impl View {
    pub(super) fn of(path: PathBuf) -> Result<View, Failure> {
        let mut view = View {
            path,
            exists: false,
            snapshot: Snapshot::default(),
        };
        view.look()?;
        Ok(view)
    }

    /// Looks again.
    pub(super) fn look(&mut self) -> Result<(), Failure> {
        self.snapshot = inspect::file(&self.path)
            .map_err(|error| Failure::system(&text::path(&self.path), error))?;
        self.exists = self.path.exists();
        Ok(())
    }

    /// Whether somebody has a lock. Who waits waits for somebody, even where that cannot be seen.
    pub(super) fn is_held(&self) -> bool {
        let files = &self.snapshot.files;
        files.iter().any(|file| {
            !file.waiters.is_empty() || file.locks.iter().any(|lock| lock.kind != Kind::Lease)
        })
    }

    /// The file that is at the path now, where anybody has a lock on it.
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

    /// Who keeps a lock, each once.
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

    /// Whether a holder has taken none of its locks itself.
    pub(super) fn only_inherited(&self, process: &Process) -> bool {
        let mut kept = self.locks().flat_map(|lock| {
            let holders = lock.holders.iter();
            let its = holders.filter(|holder| holder.process.pid == process.pid);
            its.map(move |holder| lock.was_passed_to(holder))
        });
        kept.all(|inherited| inherited)
    }
}
