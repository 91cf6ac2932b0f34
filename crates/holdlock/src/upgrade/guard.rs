//! Proof of holding the lock with the right to upgrade.

use std::fmt;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::{Arc, MutexGuard};

use super::acquire::Refused;
use crate::acquire::open::LockFile;
use crate::gate::Occupant;
use crate::record::{Entry, Record};
use crate::request::{OnWait, Terms};
use crate::sys::fork;
use crate::{Error, FileLock, Mode, Request};

/// Holds the shared lock with the right to [upgrade](UpgradeableGuard::upgrade) it, until dropped.
/// Stays in the thread that acquired it.
///
/// Other processes and threads may share the lock, but none of them has the right to upgrade at the
/// same time. Made by [`FileLock::lock_upgradeable`].
#[must_use = "the lock is released when the guard is dropped"]
pub struct UpgradeableGuard<'a> {
    held: HeldRight,
    /// Borrows the lock, and is not Send, as [`Guard`](crate::Guard).
    stays: PhantomData<(&'a FileLock, MutexGuard<'static, ()>)>,
}

/// As [`UpgradeableGuard`], but may move to another thread and outlive the reference to its lock.
#[must_use = "the lock is released when the guard is dropped"]
pub struct OwnedUpgradeableGuard {
    held: HeldRight,
}

impl<'a> UpgradeableGuard<'a> {
    pub(super) fn acquire(
        lock: &'a FileLock,
        terms: Terms<'_>,
    ) -> Result<UpgradeableGuard<'a>, Error> {
        let held = HeldRight::acquire(lock, terms, Occupant::this_thread())?;
        Ok(UpgradeableGuard {
            held,
            stays: PhantomData,
        })
    }
}

impl OwnedUpgradeableGuard {
    pub(super) fn acquire(
        lock: &FileLock,
        terms: Terms<'_>,
        stays_in_thread: bool,
    ) -> Result<OwnedUpgradeableGuard, Error> {
        let occupant = if stays_in_thread {
            Occupant::this_thread()
        } else {
            Occupant::ANY
        };
        let held = HeldRight::acquire(lock, terms, occupant)?;
        Ok(OwnedUpgradeableGuard { held })
    }
}

/// The methods of both guards.
macro_rules! guard_methods {
    ($guard:ty, $name:literal) => {
        impl $guard {
            /// Turns the shared lock into the exclusive one: waits for the readers, and for nobody
            /// else. The upgrade is atomic: no other process or thread holds the lock exclusively
            /// between the two, so what was read is still true.
            ///
            /// `limits` gives the time limit, the token and the callback of the wait; its mode does
            /// not matter. A guard that is exclusive stays as it is.
            ///
            /// # Errors
            ///
            /// * [`Error::WouldBlock`], [`Error::TimedOut`], [`Error::Cancelled`] and
            ///   [`Error::Deadlock`], as for [`FileLock::acquire`]: the guard still shares the
            ///   lock, and still has the right.
            /// * [`Error::NotAtomic`] when a program that knows nothing of upgrades shares the
            ///   lock, for instance `flock -s`, or a `FileLock` without
            ///   [`LockOptions::upgradeable`](crate::LockOptions::upgradeable); seldom, when a
            ///   reader's process ends at this moment. [`Error::System`] when other code has closed
            ///   the descriptor. The lock is lost then.
            pub fn upgrade<W: OnWait>(&mut self, mut limits: Request<W>) -> Result<(), Error> {
                self.held.upgrade(limits.terms())
            }

            /// Turns the exclusive lock back into the shared one, and keeps the right to upgrade.
            /// No other process can hold the lock exclusively in between. A shared guard stays as
            /// it is.
            ///
            /// # Errors
            ///
            /// [`Error::System`] when other code has closed the descriptor. The lock is lost then.
            pub fn downgrade(&mut self) -> Result<(), Error> {
                self.held.downgrade()
            }

            /// As [`downgrade`](Self::downgrade), as if the lock had not been upgraded: if the last
            /// holder died ([`abandoned`](Self::abandoned)), the next exclusive holder learns of
            /// that, too.
            ///
            /// # Errors
            ///
            /// Those of [`downgrade`](Self::downgrade), and [`Error::Record`] when the record
            /// cannot be written; then the lock is shared all the same.
            pub fn downgrade_abandoned(&mut self) -> Result<(), Error> {
                let left = self.held.leave_abandoned();
                self.held.downgrade().and(left)
            }

            /// Releases the lock and the right, and reports errors, which dropping the guard does
            /// not.
            ///
            /// # Errors
            ///
            /// Those of [`Guard::release`](crate::Guard::release).
            pub fn release(mut self) -> Result<(), Error> {
                self.held.leave()
            }

            /// As [`release`](Self::release), as if the lock had not been upgraded; see
            /// [`Guard::release_abandoned`](crate::Guard::release_abandoned).
            ///
            /// # Errors
            ///
            /// Those of [`Guard::release_abandoned`](crate::Guard::release_abandoned).
            pub fn release_abandoned(mut self) -> Result<(), Error> {
                let left = self.held.leave_abandoned();
                self.held.leave().and(left)
            }

            /// Shared, or exclusive after an [upgrade](Self::upgrade).
            pub fn mode(&self) -> Mode {
                self.held.mode
            }

            /// The absolute path of the lock file.
            pub fn path(&self) -> &Path {
                self.held.lock.path()
            }

            /// The lock file; see [`Guard::file`](crate::Guard::file).
            pub fn file(&self) -> &File {
                self.held.file.file()
            }

            /// Whether this guard still excludes every process that uses the path; see
            /// [`Guard::is_current`](crate::Guard::is_current). False after an upgrade that has
            /// lost the lock.
            ///
            /// # Errors
            ///
            /// [`Error::System`] when the path cannot be examined.
            pub fn is_current(&self) -> Result<bool, Error> {
                self.held.is_current()
            }

            /// The token of the upgrade, if the lock has a record; see
            /// [`Guard::token`](crate::Guard::token). None while the lock is shared.
            pub fn token(&self) -> Option<u64> {
                let entry = self.held.entry.as_ref()?;
                self.held.is_ours().then_some(entry.token)
            }

            /// The record of the last exclusive holder, if it did not release the lock; see
            /// [`Guard::abandoned`](crate::Guard::abandoned). None while the lock is shared.
            pub fn abandoned(&self) -> Option<&Record> {
                self.held.entry.as_ref()?.abandoned.as_deref()
            }
        }

        impl fmt::Debug for $guard {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut guard = f.debug_struct($name);
                guard.field("path", &self.path());
                guard.field("mode", &self.mode());
                guard.field("held", &(self.held.is_ours() && self.held.file.is_ours()));
                guard.finish_non_exhaustive()
            }
        }
    };
}

guard_methods!(UpgradeableGuard<'_>, "UpgradeableGuard");
guard_methods!(OwnedUpgradeableGuard, "OwnedUpgradeableGuard");

/// The generation of no process: nothing is held.
const NO_PROCESS: u32 = 0;

/// What both guards are made of. Releases when dropped.
struct HeldRight {
    /// The lock for requests that want the right.
    lock: FileLock,
    file: Arc<LockFile>,
    mode: Mode,
    /// The process that holds the lock.
    generation: u32,
    entry: Option<Entry>,
}

impl HeldRight {
    fn acquire(lock: &FileLock, terms: Terms<'_>, occupant: Occupant) -> Result<HeldRight, Error> {
        let Some(lock) = lock.upgrading() else {
            return Err(lock.system("acquiring the right to upgrade", not_upgradeable()));
        };
        let generation = fork::generation();
        let file = lock.take_right(terms, occupant)?;
        Ok(HeldRight {
            lock: lock.clone(),
            file,
            mode: Mode::Shared,
            generation,
            entry: None,
        })
    }

    fn is_ours(&self) -> bool {
        self.generation == fork::generation()
    }

    fn check_ours(&self, operation: &'static str) -> Result<(), Error> {
        if self.is_ours() {
            return Ok(());
        }
        let why = "the lock is not held: an upgrade has lost it, or this is a child of fork";
        Err(self.lock.system(operation, io::Error::other(why)))
    }

    fn upgrade(&mut self, limits: Terms<'_>) -> Result<(), Error> {
        self.check_ours("upgrading")?;
        if self.mode == Mode::Exclusive {
            return Ok(());
        }
        let note = limits.note;
        match self.lock.upgrade(&self.file, limits) {
            Ok(()) => {}
            Err(Refused::StillShared(error)) => return Err(error),
            Err(Refused::Lost(error)) => {
                self.generation = NO_PROCESS;
                return Err(error);
            }
        }
        self.mode = Mode::Exclusive;
        match self.lock.record_begin(&self.file, self.mode, note) {
            Ok(entry) => self.entry = entry,
            Err(error) => return self.downgrade().and(Err(error)),
        }
        Ok(())
    }

    fn downgrade(&mut self) -> Result<(), Error> {
        self.check_ours("downgrading")?;
        if self.mode == Mode::Shared {
            return Ok(());
        }
        self.entry = None;
        let downgraded = self.lock.downgrade(&self.file);
        match downgraded {
            Ok(()) => self.mode = Mode::Shared,
            Err(_) => self.generation = NO_PROCESS,
        }
        downgraded
    }

    /// Writes the record of the last holder again, if that one died.
    fn leave_abandoned(&mut self) -> Result<(), Error> {
        let is_ours = self.is_ours();
        let last = self.entry.take().and_then(|entry| entry.abandoned);
        match last.filter(|_| is_ours) {
            Some(last) => self.lock.record_abandoned(&self.file, &last),
            None => Ok(()),
        }
    }

    fn is_current(&self) -> Result<bool, Error> {
        if !self.is_ours() {
            return Ok(false);
        }
        let intact = self.file.check_intact();
        intact.map_err(|error| self.lock.system("looking at the path", error))
    }

    fn leave(&mut self) -> Result<(), Error> {
        if !self.is_ours() {
            return Ok(());
        }
        self.generation = NO_PROCESS;
        self.lock.give_back_right(&self.file, self.mode)
    }
}

impl Drop for HeldRight {
    fn drop(&mut self) {
        let _ = self.leave();
    }
}

fn not_upgradeable() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "open the lock with LockOptions::upgradeable, as all processes that read under it should",
    )
}
