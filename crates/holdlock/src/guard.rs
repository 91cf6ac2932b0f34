//! Guards: proof of holding the lock.

use std::borrow::Borrow;
use std::fmt;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use crate::acquire::ReopenOnDrop;
use crate::acquire::open::LockFile;
use crate::acquire::release;
use crate::gate::{Occupant, Sleeper};
use crate::lock::FileLock;
use crate::record::{Entry, RecordState, Taken};
use crate::request::{OnWait, Terms};
use crate::set::sealed;
use crate::sys::file_lock::Blocking;
use crate::sys::fork;
use crate::{Error, Mode, Record, Request, Run};

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

            /// Releases the lock as if this holder had not come: if the last holder died
            /// ([`abandoned`](Self::abandoned)), the next guard learns of that, too. For a holder
            /// that does not clean up what the last one left.
            ///
            /// # Errors
            ///
            /// Those of [`release`](Self::release), and [`Error::Record`] when the record cannot be
            /// written. The lock is released in any case.
            pub fn release_abandoned(self) -> Result<(), Error> {
                let left = match self.abandoned().filter(|_| self.held.is_ours()) {
                    Some(last) => {
                        let lock: &FileLock = self.held.lock.borrow();
                        lock.record_abandoned(&self.held.file, last)
                    }
                    None => Ok(()),
                };
                self.release().and(left)
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

            /// The token of this acquisition, if the lock has a
            /// [record](crate::LockOptions::record): a number that is higher than that of every
            /// earlier exclusive acquisition of the lock, by whatever process. A resource that
            /// refuses tokens below the highest token so far is safe from a holder that has lost
            /// the lock without noticing: [`TokenGate`](crate::TokenGate).
            ///
            /// None for a shared lock, and in a child of fork.
            ///
            /// The token rises across crashes and reboots. The record is lost if the lock file is
            /// removed, truncated or restored, or if the power fails before the kernel has written
            /// the file to the disk. Then the token still rises if the wall clock has not been set
            /// back.
            pub fn token(&self) -> Option<u64> {
                let entry = self.held.entry.as_ref()?;
                self.held.is_ours().then_some(entry.token)
            }

            /// The record of the last holder, if that holder did not release the lock: it died, or
            /// lost the lock without noticing. Its work may be half done.
            ///
            /// Only the first guard after that holder gets the record: clean up before you release
            /// this guard. None if the lock has no [record](crate::LockOptions::record), for shared
            /// guards, and after the holder had handed the lock over. A power failure can lose the
            /// record of a release, so that the last holder before it seems to have died.
            #[doc(alias = "poison")]
            #[doc(alias = "EOWNERDEAD")]
            pub fn abandoned(&self) -> Option<&Record> {
                self.held.entry.as_ref()?.abandoned.as_deref()
            }

            /// Records a command that runs while the lock is held: its beginning, its end and its
            /// exit code. Does nothing without a [record](crate::LockOptions::record), in a child
            /// of fork, or for a shared lock.
            ///
            /// # Errors
            ///
            /// [`Error::Record`] if the record cannot be written.
            pub fn record_run(&self, run: Run) -> Result<(), Error> {
                if self.held.entry.is_none() {
                    return Ok(());
                }
                let lock: &FileLock = self.held.lock.borrow();
                lock.record_run(&self.held.file, run)
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
            /// process acquired the lock in between. The lock is then lost.
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

/// The generation of no process: a [`Held`] with it releases nothing when dropped.
const NO_PROCESS: u32 = 0;

/// The common part of both guards. Releases the lock when dropped.
struct Held<L: Borrow<FileLock> + Clone> {
    lock: L,
    file: Arc<LockFile>,
    mode: Mode,
    owner: Occupant,
    /// The process that acquired the lock.
    generation: u32,
    entry: Option<Entry>,
}

impl<L: Borrow<FileLock> + Clone> Held<L> {
    fn acquire(lock: L, terms: Terms<'_>, owner: Occupant) -> Result<Held<L>, Error> {
        let generation = fork::generation();
        let mode = terms.mode;
        let Taken { file, entry } = lock.borrow().take(terms, owner)?;
        Ok(Held {
            lock,
            file,
            mode,
            owner,
            generation,
            entry,
        })
    }

    fn record(&mut self, note: Option<&str>) -> Result<(), Error> {
        let lock = self.lock.borrow();
        self.entry = lock.record_begin(&self.file, self.mode, note)?;
        Ok(())
    }

    fn is_ours(&self) -> bool {
        self.generation == fork::generation()
    }

    fn release(mut self) -> Result<(), Error> {
        let result = self.leave();
        self.generation = NO_PROCESS;
        result
    }

    fn leave(&mut self) -> Result<(), Error> {
        if !self.is_ours() {
            return Ok(());
        }
        let lock = self.lock.borrow();
        lock.leave(lock.gate(), &self.file, self.mode, self.owner)
    }

    fn into_parts(mut self) -> Parts<L> {
        Parts {
            lock: self.lock.clone(),
            file: self.file.clone(),
            owner: self.owner,
            generation: std::mem::replace(&mut self.generation, NO_PROCESS),
        }
    }

    /// Whether this process holds the lock, as far as its own descriptor tells.
    fn is_held(&self) -> bool {
        self.is_ours() && self.file.is_ours()
    }

    fn hand_over(mut self) -> Result<OwnedFd, Error> {
        let entry = self.entry.take();
        let lock: &FileLock = self.lock.borrow();
        let failed = |error| lock.system("handing the lock over", error);
        if !self.is_ours() {
            return Err(failed(io::Error::other(
                "this is a child of fork, and the lock is its parent's",
            )));
        }
        if !self.file.is_ours() {
            return Err(failed(release::closed_by_others()));
        }
        let family = lock.options().family;
        if self.mode == Mode::Shared && !lock.gate().unshare(self.owner) {
            // Other threads share this description and will unlock it: take another one.
            let own = self.file.open_again().map_err(failed)?;
            lock.share_at_once(&own)
                .and_then(|()| own.lock(family, Mode::Shared, Blocking::No))
                .map_err(failed)?;
            return own.hand_over().map_err(failed);
        }
        let held = self.into_parts();
        let lock: &FileLock = held.lock.borrow();
        let gate = lock.gate();
        let _inside = ReopenOnDrop { gate };
        let _ = lock.record_end(&held.file, RecordState::HandedOver);
        let copy = held.file.hand_over();
        if copy.is_err() {
            if let Some(last) = entry.and_then(|entry| entry.abandoned) {
                let _ = lock.record_abandoned(&held.file, &last);
            }
            let _ = held.file.unlock(family);
        }
        // Closed without being unlocked: the copy has the lock now.
        gate.set_file(None);
        copy.map_err(|error| lock.system("handing the lock over", error))
    }

    fn is_current(&self) -> Result<bool, Error> {
        if !self.is_ours() {
            return Ok(false);
        }
        self.file
            .check_intact()
            .map_err(|error| self.lock.borrow().system("looking at the path", error))
    }

    fn downgrade(self) -> Result<Held<L>, Error> {
        if self.mode == Mode::Shared || !self.is_ours() {
            return Ok(self);
        }
        let held = self.into_parts();
        held.lock.borrow().to_shared(&held.file, held.owner)?;
        Ok(held.whole(Mode::Shared, None))
    }

    fn upgrade(self, limits: Terms<'_>) -> Result<(Held<L>, Continuity), Error> {
        if self.mode == Mode::Exclusive || !self.is_ours() {
            return Ok((self, Continuity::Kept));
        }
        let Parts {
            lock,
            file,
            owner,
            generation,
        } = self.into_parts();
        let (taken, continuity) = lock.borrow().to_exclusive(file, owner, limits)?;
        let held = Held {
            lock,
            file: taken.file,
            mode: Mode::Exclusive,
            owner,
            generation,
            entry: taken.entry,
        };
        Ok((held, continuity))
    }
}

/// The parts of a [`Held`]: dropping them releases nothing.
struct Parts<L> {
    lock: L,
    file: Arc<LockFile>,
    owner: Occupant,
    generation: u32,
}

impl<L: Borrow<FileLock> + Clone> Parts<L> {
    fn whole(self, mode: Mode, entry: Option<Entry>) -> Held<L> {
        Held {
            lock: self.lock,
            file: self.file,
            mode,
            owner: self.owner,
            generation: self.generation,
            entry,
        }
    }
}

impl<L: Borrow<FileLock> + Clone> Drop for Held<L> {
    fn drop(&mut self) {
        let _ = self.leave();
    }
}

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
