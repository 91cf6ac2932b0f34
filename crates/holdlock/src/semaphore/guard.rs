//! Guards: proof of holding a slot.

use std::fmt;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, MutexGuard};

use super::any_slot::{Acquired, Crew};
use crate::acquire::open::LockFile;
use crate::acquire::release::closed_by_others;
use crate::bytes::Range;
use crate::gate::{Occupant, held_slots};
use crate::sys::fork;
use crate::{Error, Family, FileLock};

/// Holds a slot of a [`Semaphore`](crate::Semaphore) until it is dropped. Stays in the thread that
/// acquired it, like a [`Guard`](crate::Guard).
///
/// Dropping gives the slot back and ignores errors; [`release`](SemaphoreGuard::release) reports
/// them. In a child of fork(2) the guard holds nothing, and dropping it there does nothing.
#[must_use = "the slot is given back when the guard is dropped"]
pub struct SemaphoreGuard<'a> {
    slot: Slot,
    /// Not Send, but Sync.
    stays: PhantomData<(&'a FileLock, MutexGuard<'static, ()>)>,
}

/// As [`SemaphoreGuard`], but may move to another thread and outlive the reference to its
/// semaphore.
#[must_use = "the slot is given back when the guard is dropped"]
pub struct OwnedSemaphoreGuard {
    slot: Slot,
}

impl SemaphoreGuard<'_> {
    pub(super) fn new(slot: Slot) -> Self {
        SemaphoreGuard {
            slot,
            stays: PhantomData,
        }
    }
}

impl OwnedSemaphoreGuard {
    pub(super) fn new(slot: Slot) -> Self {
        OwnedSemaphoreGuard { slot }
    }
}

/// The methods of both guards.
macro_rules! guard_methods {
    ($guard:ty, $name:literal) => {
        impl $guard {
            /// The number of the slot: from 0 to one less than
            /// [`Semaphore::slots`](crate::Semaphore::slots). No other holder has the same number
            /// meanwhile.
            pub fn slot(&self) -> u32 {
                self.slot.number
            }

            /// Gives the slot back and reports errors, which dropping the guard does not.
            ///
            /// # Errors
            ///
            /// [`Error::System`] when the file could not be unlocked. The slot is given back in any
            /// case.
            pub fn release(mut self) -> Result<(), Error> {
                self.slot.give_back()
            }

            /// Gives the slot to the processes that this process will start: returns a descriptor
            /// that holds the slot. Children of fork inherit it, and it stays open in executed
            /// programs. See [`Guard::hand_over`](crate::Guard::hand_over).
            ///
            /// The slot is held until every process that has the descriptor has closed it or has
            /// ended.
            ///
            /// # Errors
            ///
            /// [`Error::System`] if no descriptor is free (fcntl(2), F_DUPFD), or if this process
            /// does not hold the slot: in a child of fork, or after other code has closed the
            /// descriptor. The slot is then given back.
            pub fn hand_over(self) -> Result<OwnedFd, Error> {
                self.slot.hand_over()
            }

            /// The absolute path of the lock file.
            pub fn path(&self) -> &Path {
                self.slot.lock.path()
            }

            /// The lock file, open for reading and writing.
            pub fn file(&self) -> &File {
                self.slot.file.file()
            }

            /// Whether no other holder can have the same slot. False if the lock file was removed,
            /// renamed or replaced meanwhile, if other code of this process has closed the
            /// descriptor, and in a child of fork. See
            /// [`Guard::is_current`](crate::Guard::is_current).
            ///
            /// # Errors
            ///
            /// [`Error::System`] when the path cannot be examined.
            pub fn is_current(&self) -> Result<bool, Error> {
                self.slot.is_current()
            }
        }

        /// The descriptor that holds the slot, which is close-on-exec. See
        /// [`Guard`](crate::Guard#impl-AsFd-for-Guard%3C'_%3E).
        impl AsFd for $guard {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.slot.wait_for_crew();
                self.slot.file.as_fd()
            }
        }

        impl fmt::Debug for $guard {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct($name)
                    .field("path", &self.path())
                    .field("slot", &self.slot())
                    .field("held", &self.slot.is_held())
                    .finish_non_exhaustive()
            }
        }
    };
}

guard_methods!(SemaphoreGuard<'_>, "SemaphoreGuard");
guard_methods!(OwnedSemaphoreGuard, "OwnedSemaphoreGuard");

/// The generation of no process: a [`Slot`] with it gives nothing back when dropped.
const NO_PROCESS: u32 = 0;

/// A slot that is held. Gives it back when dropped.
pub(super) struct Slot {
    /// The lock that opens the file of the semaphore.
    lock: FileLock,
    file: Arc<LockFile>,
    number: u32,
    /// The threads by which the slot was acquired, if they may not have ended yet.
    crew: Option<Crew>,
    occupant: Occupant,
    /// The process that acquired the slot.
    generation: u32,
}

impl Slot {
    pub(super) fn new(
        lock: FileLock,
        file: Arc<LockFile>,
        (number, crew): Acquired,
        occupant: Occupant,
    ) -> Slot {
        held_slots::add(file.identity(), occupant);
        Slot {
            lock,
            file,
            number,
            crew,
            occupant,
            generation: fork::generation(),
        }
    }

    fn is_ours(&self) -> bool {
        self.generation == fork::generation()
    }

    fn is_held(&self) -> bool {
        self.is_ours() && self.file.is_ours()
    }

    /// Unlocks explicitly, because a process that was started without the handlers of fork may have
    /// a copy of the open file description.
    fn give_back(&mut self) -> Result<(), Error> {
        if !self.is_ours() {
            return Ok(());
        }
        self.generation = NO_PROCESS;
        held_slots::remove(self.file.identity(), self.occupant);
        let lock = &self.lock;
        if !self.file.is_ours() {
            return Err(lock.system("giving a slot back", closed_by_others()));
        }
        unlock_all(&self.file).map_err(|error| lock.system("giving a slot back", error))
    }

    fn hand_over(mut self) -> Result<OwnedFd, Error> {
        let failed = |slot: &Slot, error| Err(slot.lock.system("handing the slot over", error));
        if !self.is_ours() {
            let error = io::Error::other("this is a child of fork, and the slot is its parent's");
            return failed(&self, error);
        }
        if !self.file.is_ours() {
            return failed(&self, closed_by_others());
        }
        self.wait_for_crew();
        match self.file.hand_over() {
            Ok(copy) => {
                // Closed without being unlocked: the copy has the slot now.
                self.generation = NO_PROCESS;
                held_slots::remove(self.file.identity(), self.occupant);
                Ok(copy)
            }
            Err(error) => failed(&self, error),
        }
    }

    /// The open file description goes to a child: it must not get what the threads may have locked
    /// for a moment.
    fn wait_for_crew(&self) {
        if let Some(crew) = &self.crew {
            crew.wait_for_end();
        }
    }

    fn is_current(&self) -> Result<bool, Error> {
        if !self.is_ours() {
            return Ok(false);
        }
        self.file
            .check_intact()
            .map_err(|error| self.lock.system("looking at the path", error))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let _ = self.give_back();
    }
}

/// Gives the slot back, and what belongs to it. First the slot, for which others wait.
pub(super) fn unlock_all(file: &LockFile) -> io::Result<()> {
    let slot = file.unlock_bytes(Range::SEMAPHORE);
    file.unlock(Family::Flock).and(slot)
}
