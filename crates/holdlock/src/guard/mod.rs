//! Guards: proof of holding the lock.

mod hand_over;
mod held;
mod record;

use std::borrow::Borrow;
use std::fmt;
use std::fs::File;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use held::Held;

use crate::gate::{Occupant, Sleeper};
use crate::lock::FileLock;
use crate::record::Taken;
use crate::request::{OnWait, Terms};
use crate::set::sealed;
use crate::sys::fork;
use crate::{Error, Mode, Request};

/// Holds the lock until it is dropped. A guard stays in the thread that acquired it:
///
/// ```compile_fail
/// # let lock = holdlock::FileLock::open("a.lock")?;
/// let guard = lock.lock()?;
/// std::thread::scope(|scope| {
///     scope.spawn(|| drop(guard)); // error: `Guard` cannot be sent between threads
/// });
/// # Ok::<(), holdlock::Error>(())
/// ```
///
/// Dropping the guard releases the lock and ignores errors; [`release`](Guard::release) reports
/// them. In a child of fork(2) the guard holds nothing, and dropping it there does nothing.
#[must_use = "the lock is released when the guard is dropped"]
pub struct Guard<'a> {
    held: Held<&'a FileLock>,
    /// Makes the guard Sync but not Send, like a MutexGuard.
    stays: PhantomData<MutexGuard<'static, ()>>,
}

/// Like [`Guard`], but may move to another thread and outlive the reference to its lock.
#[must_use = "the lock is released when the guard is dropped"]
pub struct OwnedGuard {
    held: Held<FileLock>,
}

/// Whether an upgrade kept the lock between the shared and the exclusive mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// The lock was held all the time: no other process or thread held it exclusively in between.
    Kept,
    /// The lock was released in between. What the caller read under the shared lock may have
    /// changed.
    Lost,
}

impl<'a> Guard<'a> {
    pub(crate) fn acquire(lock: &'a FileLock, terms: Terms<'_>) -> Result<Guard<'a>, Error> {
        Held::acquire(lock, terms, Occupant::this_thread()).map(Guard::new)
    }

    fn new(held: Held<&'a FileLock>) -> Guard<'a> {
        Guard {
            held,
            stays: PhantomData,
        }
    }
}

impl OwnedGuard {
    pub(crate) fn acquire(
        lock: FileLock,
        terms: Terms<'_>,
        stays_in_thread: bool,
    ) -> Result<OwnedGuard, Error> {
        let owner = if stays_in_thread {
            Occupant::this_thread()
        } else {
            Occupant::ANY
        };
        Held::acquire(lock, terms, owner).map(OwnedGuard::new)
    }

    /// For a task that has a place in the gate's queue; see [`FileLock::take_queued`].
    pub(crate) fn acquire_queued(
        lock: &FileLock,
        terms: Terms<'_>,
        began: Instant,
        place: &Arc<Sleeper>,
    ) -> Result<Option<OwnedGuard>, Error> {
        let mode = terms.mode;
        let taken = lock.take_queued(terms, began, place)?;
        let held = |Taken { file, entry }| Held {
            lock: lock.clone(),
            file,
            mode,
            owner: Occupant::ANY,
            generation: fork::generation(),
            entry,
        };
        Ok(taken.map(held).map(OwnedGuard::new))
    }

    fn new(held: Held<FileLock>) -> OwnedGuard {
        OwnedGuard { held }
    }
}

/// The methods of both guards, which differ in how they refer to their lock.
macro_rules! guard_methods {
    ($guard:ty, $name:literal) => {
        impl $guard {
            /// Releases the lock and reports errors, which dropping the guard does not.
            ///
            /// # Errors
            ///
            /// [`Error::System`] if the file could not be unlocked, or could not be deleted as
            /// [`delete_on_release`](crate::LockOptions::delete_on_release) asks. The lock is
            /// released in any case.
            pub fn release(self) -> Result<(), Error> {
                self.held.release()
            }

            /// Gives the lock to the processes that this process will start: returns a descriptor
            /// that holds the lock. Children of fork inherit it, and it stays open in executed
            /// programs.
            ///
            /// The lock is held until every process that has the descriptor has closed it or has
            /// ended, or until one of them unlocks it with flock(2). Nothing checks that the lock
            /// file stays at its path, and nothing deletes it. For the [`FileLock`] of this
            /// process, the lock is then held by another process.
            ///
            /// A program that acquires a lock and then becomes a daemon hands the lock over first,
            /// and keeps the descriptor open until it ends:
            ///
            /// ```
            /// use holdlock::FileLock;
            /// # let path = std::env::temp_dir().join(format!("holdlock-doc-hand-{}", std::process::id()));
            /// # let daemonize = || ();
            /// let lock = FileLock::open(&path)?;
            /// let _until_the_end = lock.try_lock()?.hand_over()?;
            /// daemonize();
            /// assert!(lock.try_lock().is_err());
            /// # std::fs::remove_file(&path)?;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            ///
            /// [`Error::System`] if no descriptor is free (fcntl(2), F_DUPFD), or if this process
            /// does not hold the lock: in a child of fork, or after other code has closed the
            /// descriptor. The lock is then released.
            pub fn hand_over(self) -> Result<OwnedFd, Error> {
                self.held.hand_over()
            }

            /// Exclusive or shared.
            pub fn mode(&self) -> Mode {
                self.held.mode
            }

            /// The absolute path of the lock file.
            pub fn path(&self) -> &Path {
                Borrow::<FileLock>::borrow(&self.held.lock).path()
            }

            /// The lock file, for reading, and with
            /// [`LockOptions::writable`](crate::LockOptions::writable) for writing, while the lock
            /// is held. Its position is at the start or where the last holder that used the same
            /// [`FileLock`] left it: seek first.
            pub fn file(&self) -> &File {
                self.held.file.file()
            }

            /// Whether this guard still excludes every process that uses the path.
            ///
            /// False if the lock file was removed, renamed or replaced while the guard holds the
            /// lock: other processes may now lock another file at that path, which no file lock can
            /// prevent. False if other code of this process has closed the guard's descriptor,
            /// which releases the lock. False in a child of fork, which owns nothing.
            ///
            /// # Errors
            ///
            /// [`Error::System`] if the path cannot be examined.
            pub fn is_current(&self) -> Result<bool, Error> {
                self.held.is_current()
            }

            /// Converts an exclusive lock into a shared one. No other process can hold it
            /// exclusively in between: Linux converts a held lock to shared atomically, on local
            /// file systems. A shared lock stays as it is.
            ///
            /// # Errors
            ///
            /// [`Error::System`] if the file system does not convert atomically (NFS) and another
            /// process acquired the lock in between; or if the lock is
            /// [upgradeable](crate::LockOptions::upgradeable) and another program has locked the
            /// whole file by fcntl(2). The lock is then lost.
            pub fn downgrade(self) -> Result<Self, Error> {
                self.held.downgrade().map(Self::new)
            }

            /// Converts a shared lock into an exclusive one, which is **not atomic**: if other
            /// holders share the lock, the caller's share is released, and the caller waits for the
            /// exclusive lock. The result says whether that happened. Two holders that upgrade at
            /// the same time both succeed, one after the other, and the second one sees
            /// [`Continuity::Lost`]. [`FileLock::lock_upgradeable`] has an upgrade that is atomic.
            ///
            /// `limits` gives the time limit, the token and the callback of the wait;
            /// its mode does not matter. An exclusive lock stays as it is.
            ///
            /// # Errors
            ///
            /// Those of [`FileLock::acquire`]. The lock is then lost.
            pub fn upgrade_not_atomic<W: OnWait>(
                self,
                mut limits: Request<W>,
            ) -> Result<(Self, Continuity), Error> {
                let (held, continuity) = self.held.upgrade(limits.terms())?;
                Ok((Self::new(held), continuity))
            }
        }

        impl sealed::Held for $guard {
            fn release(self) -> Result<(), Error> {
                self.held.release()
            }

            fn release_abandoned(self) -> Result<(), Error> {
                <$guard>::release_abandoned(self)
            }

            fn record(&mut self, note: Option<&str>) -> Result<(), Error> {
                self.held.record(note)
            }
        }

        /// The descriptor that holds the lock, which is close-on-exec. Code that unlocks or closes
        /// it releases the lock, and the guard does not notice at once. In a child of fork the
        /// descriptor is a placeholder that cannot be read, written or locked (EBADF); use
        /// `hand_over` if the child has to keep the lock.
        impl AsFd for $guard {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.held.file.as_fd()
            }
        }

        impl fmt::Debug for $guard {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut guard = f.debug_struct($name);
                guard.field("path", &self.path());
                guard.field("mode", &self.mode());
                guard.field("held", &self.held.is_held());
                guard.finish_non_exhaustive()
            }
        }
    };
}

guard_methods!(Guard<'_>, "Guard");
guard_methods!(OwnedGuard, "OwnedGuard");

#[cfg(test)]
mod tests {
    use super::*;

    /// The promises that the compiler keeps.
    #[test]
    fn locks_and_owned_guards_move_between_threads_and_guards_are_shared() {
        fn send<T: Send>() {}
        fn sync<T: Sync>() {}
        send::<FileLock>();
        sync::<FileLock>();
        send::<OwnedGuard>();
        sync::<OwnedGuard>();
        sync::<Guard<'_>>();
        send::<Error>();
        sync::<Error>();
        send::<crate::CancelToken>();
        sync::<crate::CancelToken>();
    }
}
