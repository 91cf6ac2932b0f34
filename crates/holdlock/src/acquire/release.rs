//! From a held lock back to a free one, and deletion on release.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use crate::acquire::create;
use crate::acquire::open::LockFile;
use crate::gate::{Gate, Occupant};
use crate::lock::FileLock;
use crate::record::RecordState;
use crate::sys::file_lock::{self, Blocking};
use crate::sys::identity::{self, Content};
use crate::{Error, Mode};

impl FileLock {
    /// Gives the lock back: to the next thread, or to the kernel.
    #[inline]
    pub(crate) fn leave(
        &self,
        gate: &Gate,
        file: &Arc<LockFile>,
        mode: Mode,
        occupant: Occupant,
    ) -> Result<(), Error> {
        match mode {
            Mode::Exclusive => self.leave_alone(gate, file, mode),
            Mode::Shared => gate.leave_shared(occupant, || self.unlock(gate, file, mode)),
        }
    }

    /// The same for a thread that is alone inside.
    #[inline]
    pub(crate) fn leave_alone(
        &self,
        gate: &Gate,
        file: &LockFile,
        mode: Mode,
    ) -> Result<(), Error> {
        let mut recorded = Ok(());
        let left = gate.leave_exclusive(
            || recorded = self.record_leaving(file, mode),
            || self.unlock(gate, file, mode),
        );
        left.and(recorded)
    }

    /// Gives the kernel's lock back. Before that, writes the record or deletes the file, if the
    /// options ask for it. Only a thread that is alone inside may call this.
    #[inline]
    pub(crate) fn unlock(&self, gate: &Gate, file: &LockFile, mode: Mode) -> Result<(), Error> {
        if !file.is_ours() {
            // Nothing is left to unlock, and the number may now be another file's: do not touch
            // that file.
            gate.set_file(None);
            self.record_lost();
            return Err(self.system("unlocking", closed_by_others()));
        }
        let options = self.options();
        let prepared = if options.record || options.delete_on_release {
            self.prepare_unlock(gate, file, mode)
        } else {
            Ok(())
        };
        let unlocked = if mode == Mode::Exclusive && self.has_bytes(mode) {
            // Upgraded: nobody shares the lock before flock(2) is unlocked, so no byte has to last
            // until then, and the next holder finds the bytes free.
            let bytes = self.unlock_bytes(file, mode);
            bytes.and(file_lock::unlock(file.as_fd(), options.family))
        } else {
            let unlocked = file_lock::unlock(file.as_fd(), options.family);
            unlocked.and(self.unlock_bytes(file, mode))
        };
        match unlocked {
            Ok(()) => prepared,
            Err(error) => {
                // Closing the last descriptor unlocks the file as well.
                gate.set_file(None);
                Err(self.system("unlocking", error))
            }
        }
    }

    /// Writes the record and deletes the file, as the options ask.
    fn prepare_unlock(&self, gate: &Gate, file: &LockFile, mode: Mode) -> Result<(), Error> {
        let recorded = match mode {
            Mode::Exclusive => self.record_end(file, RecordState::Released),
            Mode::Shared => Ok(()),
        };
        if !self.options().delete_on_release {
            return recorded;
        }
        let deleted = self.delete(file, mode);
        // A removed file is not used again.
        gate.set_file(None);
        recorded.and(deleted)
    }

    /// Unlocks the file, and then the bytes that an upgradeable lock has locked besides: while they
    /// are locked, the lock may be held.
    pub(crate) fn unlock_in_kernel(&self, file: &LockFile, mode: Mode) -> io::Result<()> {
        let unlocked = file.unlock(self.options().family);
        unlocked.and(self.unlock_bytes(file, mode))
    }

    /// Removes the lock file while this process still holds its lock. A waiter then finds that its
    /// file is no longer at the path, and starts over.
    fn delete(&self, file: &LockFile, mode: Mode) -> Result<(), Error> {
        if mode == Mode::Shared {
            // Others may share the lock, and only the last holder removes the file. A failed
            // conversion gives the shared lock up; the caller is about to do that anyway.
            let family = self.options().family;
            match file.lock(family, Mode::Exclusive, Blocking::No) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(self.system("locking before deletion", error)),
            }
        }
        if !file.is_current() {
            return Ok(()); // what is at the path is not ours to remove
        }
        match create::final_path(self.name()).and_then(std::fs::remove_file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.system("deleting the lock file", error))
            }
            _ => Ok(()),
        }
    }
}

/// The error of a release whose descriptor was closed by other code.
pub(crate) fn closed_by_others() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        "other code in this process has closed the descriptor of the lock file, and with that \
         released the lock; keep such code from closing descriptors that it did not open",
    )
}

/// Refuses deletion on release for anything but an empty regular file: other files were not made to
/// be lock files.
pub(crate) fn may_be_deleted(file: &LockFile) -> io::Result<()> {
    let refused = |what: &str| {
        let message =
            format!("{what} is not deleted on release; name a file of its own for the lock");
        Err(io::Error::new(io::ErrorKind::InvalidInput, message))
    };
    match identity::content_of(file.as_fd())? {
        Content::Empty => Ok(()),
        Content::Data => refused("a file that has content"),
        Content::NotAFile => refused("what is not a regular file"),
    }
}
