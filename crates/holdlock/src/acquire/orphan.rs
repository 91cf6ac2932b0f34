//! Finds a lock file that was removed while a process holds it.
//!
//! No file lock can prevent another program from removing the file of a held lock. The next process
//! finds no file, creates one, and locks *that* one. Therefore a process that is about to create a
//! missing lock file looks first whether another process still holds a lock on a deleted file of
//! this name.

use std::path::{Path, PathBuf};

use crate::Family;
use crate::inspect::{self, FileId, Process};

/// A living process that holds a deleted lock file.
pub(crate) struct Orphan {
    pub(crate) holder: Process,
    pub(crate) file_id: FileId,
    /// The path by which the deleted file can be opened: /proc/PID/fd/N.
    pub(crate) descriptor_path: PathBuf,
}

impl Orphan {
    /// Whether the holder may be about to release the lock: it may have removed the file itself and
    /// have got no processor since.
    pub(crate) fn may_be_late(&self) -> bool {
        inspect::is_at_work(self.holder.pid)
    }
}

/// The living holder of a deleted file that was at `path`, if /proc shows one.
///
/// Reads /proc/locks once, which takes 0.05 ms, or some milliseconds if no process has read it for
/// a while. If there are locks on the same file system, looks at the descriptors of their holders
/// as well. Each step is limited to some milliseconds, however many locks other processes hold.
pub(crate) fn find(path: &Path, family: Family) -> Option<Orphan> {
    let found = inspect::removed(path, family.into()).ok()??;
    Some(Orphan {
        holder: Process::of(found.pid)?,
        file_id: found.file_id,
        descriptor_path: found.fd_link,
    })
}
