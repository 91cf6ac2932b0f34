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
