//! What a run holds while its command runs: a lock, or a slot of a semaphore.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use holdlock::{Error, Guard, OwnedSemaphoreGuard};

/// A lock or a slot that is held.
pub(super) enum Held<'l> {
    Lock(Guard<'l>),
    Slot(OwnedSemaphoreGuard),
}

impl Held<'_> {
    pub(super) fn path(&self) -> &Path {
        match self {
            Held::Lock(guard) => guard.path(),
            Held::Slot(guard) => guard.path(),
        }
    }

    pub(super) fn slot(&self) -> Option<u32> {
        match self {
            Held::Lock(_) => None,
            Held::Slot(guard) => Some(guard.slot()),
        }
    }

    /// The guard of a lock, which may have a record.
    pub(super) fn lock(&self) -> Option<&Guard<'_>> {
        match self {
            Held::Lock(guard) => Some(guard),
            Held::Slot(_) => None,
        }
    }

    /// Releases it as if it had not been acquired: the next holder learns that the one before died.
    pub(super) fn give_back(self) -> Result<(), Error> {
        match self {
            Held::Lock(guard) => guard.release_abandoned(),
            Held::Slot(guard) => guard.release(),
        }
    }

    pub(super) fn release(self) -> Result<(), Error> {
        match self {
            Held::Lock(guard) => guard.release(),
            Held::Slot(guard) => guard.release(),
        }
    }

    pub(super) fn hand_over(self) -> Result<OwnedFd, Error> {
        match self {
            Held::Lock(guard) => guard.hand_over(),
            Held::Slot(guard) => guard.hand_over(),
        }
    }
}

impl AsFd for Held<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Held::Lock(guard) => guard.as_fd(),
            Held::Slot(guard) => guard.as_fd(),
        }
    }
}
