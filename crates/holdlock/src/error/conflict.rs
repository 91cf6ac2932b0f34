//! A lock that another process or thread holds, and which process that is.

use std::fmt;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::inspect::{self, FileId, Process};
use crate::sys::file;
use crate::sys::fork::ForkCell;
use crate::sys::identity::{self, Identity};
use crate::{Mode, Record};

/// A lock that another process or thread holds.
pub struct Conflict(Box<Known>);

/// The facts about a conflict.
struct Known {
    path: PathBuf,
    mode: Mode,
    waited: Duration,
    identity: Option<Identity>,
    slots: Option<u32>,
    is_behind_others: bool,
    /// The holders, if they were known when the error was made.
    holders: Option<Vec<Process>>,
    /// The holders that were found later. A child of fork looks for them anew.
    found: ForkCell<Vec<Process>>,
    record: ForkCell<Option<Record>>,
}

impl Conflict {
    pub(crate) fn new(
        path: &Path,
        mode: Mode,
        waited: Duration,
        identity: Option<Identity>,
    ) -> Conflict {
        Conflict(Box::new(Known {
            path: path.to_owned(),
            mode,
            waited,
            identity,
            slots: None,
            is_behind_others: false,
            holders: None,
            found: ForkCell::new(),
            record: ForkCell::new(),
        }))
    }

    pub(super) fn after(mut self, waited: Duration) -> Conflict {
        self.0.waited = waited;
        self
    }

    pub(crate) fn with_holders(mut self, holders: Vec<Process>) -> Conflict {
        self.0.holders = Some(holders);
        self
    }

    /// All slots are taken.
    pub(crate) fn about_slots(mut self, slots: u32) -> Conflict {
        self.0.slots = Some(slots);
        self
    }

    /// A slot may be free, but other requests are before this one.
    pub(crate) fn behind_others(mut self) -> Conflict {
        self.0.is_behind_others = true;
        self
    }

    pub(super) fn is_behind_others(&self) -> bool {
        self.0.is_behind_others
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The number of slots, if all slots of a [`Semaphore`](crate::Semaphore) are taken.
    pub fn slots(&self) -> Option<u32> {
        self.0.slots
    }

    /// The mode that was asked for.
    pub fn mode(&self) -> Mode {
        self.0.mode
    }

    /// How long the request had waited.
    pub fn waited(&self) -> Duration {
        self.0.waited
    }

    /// The processes that hold the lock, as far as /proc shows them.
    ///
    /// The first call of this method looks for the holders, and so does printing the error; making
    /// the error does not, so that it is not late. By then another process may hold the lock, or
    /// the lock may be free. Reading /proc/locks takes about 0.1 ms, or some milliseconds if no
    /// process has read it for a while.
    pub fn holders(&self) -> &[Process] {
        let known = &self.0;
        if let Some(holders) = &known.holders {
            return holders;
        }
        known.found.get_or_make(|| {
            let file_id = known
                .identity
                .map(|identity| file_id(&known.path, identity));
            file_id
                .and_then(|file_id| inspect::holders(file_id).ok())
                .unwrap_or_default()
        })
    }

    /// The record of the holder, if the lock file has one ([`LockOptions::record`]) and it agrees
    /// with the kernel: it says since when the lock is held, and why.
    ///
    /// The first call, or printing the error, reads the file.
    ///
    /// [`LockOptions::record`]: crate::LockOptions::record
    pub fn record(&self) -> Option<&Record> {
        let record = self.0.record.get_or_make(|| {
            let record = Record::read(self.path()).ok()??;
            let holders = self.holders().iter().map(|holder| holder.pid);
            record.agrees_with(holders).then_some(record)
        });
        record.as_ref()
    }
}

impl fmt::Debug for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conflict")
            .field("path", &self.path())
            .field("mode", &self.mode())
            .field("waited", &self.waited())
            .field("holders", &self.holders())
            .finish_non_exhaustive()
    }
}

/// The file of a conflict, as the kernel's lock table names it. On file systems where stat(2) and
/// the table have different numbers, the path leads to the file, if it is still there.
fn file_id(path: &Path, identity: Identity) -> FileId {
    let there = file::pin(path, true).ok();
    let same = there.filter(|file| identity::of(file.as_fd()).is_ok_and(|i| i == identity));
    same.and_then(|file| FileId::of_open(file.as_fd()).ok())
        .unwrap_or_else(|| identity.into())
}
