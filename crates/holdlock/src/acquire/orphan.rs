//! A lock file that was removed while it is held.
//!
//! No file lock can stop a stranger who removes the file of a lock that is held:
//! the next process finds no file, creates one, and locks *that*. But whoever is
//! about to create a missing lock file can look first whether some process still
//! holds a lock on a deleted file of that very name.

use std::path::{Path, PathBuf};

use crate::Family;
use crate::inspect::{self, Place, Process};

/// A living holder of a deleted file.
pub(crate) struct Orphan {
    pub(crate) holder: Process,
    pub(crate) place: Place,
    /// The way to the deleted file: /proc/PID/fd/N.
    pub(crate) door: PathBuf,
}

impl Orphan {
    /// Whether the holder may have removed the file itself as its last act, and has had no
    /// processor since to release the lock.
    pub(crate) fn may_be_late(&self) -> bool {
        inspect::is_at_work(self.holder.pid)
    }
}

/// The living holder of a deleted file that was at `path`, as far as /proc shows it.
///
/// One read of /proc/locks, which takes 0.05 ms, or some milliseconds when nobody has read it for
/// a while. Where locks are held on that file system, the descriptors of the processes that hold
/// them are looked at, too. Neither goes on for longer than some milliseconds, however many locks
/// others hold.
pub(crate) fn find(path: &Path, family: Family) -> Option<Orphan> {
    let found = inspect::removed(path, family.into()).ok()??;
    Some(Orphan {
        holder: Process::of(found.pid)?,
        place: found.place,
        door: found.fd_link,
    })
}
