//! Guards: proof of holding the lock.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::{Arc, MutexGuard};

use crate::acquire::Inside;
use crate::gate::Owner;
use crate::lock::FileLock;
use crate::open::LockFile;
use crate::sys::file::{self, Patience};
use crate::sys::fork;
use crate::wait::Wait;
use crate::{Error, Mode, Request};

/// Holds the lock until dropped. Stays in the thread that took it:
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
/// Dropping releases the lock and ignores errors; [`release`](Guard::release)
/// reports them. In a child of fork(2) the guard holds nothing, and dropping it
/// there does nothing.
#[must_use = "the lock is released when the guard is dropped"]
pub struct Guard<'a> {
    held: Held<&'a FileLock>,
    /// A MutexGuard is what we are: not Send, but Sync.
    stays: PhantomData<MutexGuard<'static, ()>>,
}

/// As [`Guard`], but may move to another thread and outlive the reference to its lock.
#[must_use = "the lock is released when the guard is dropped"]
pub struct OwnedGuard {
    held: Held<Arc<FileLock>>,
}

/// What an upgrade did between the shared and the exclusive lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// The lock was held all the time: nobody can have held it exclusively in between.
    Kept,
    /// The lock was given up in between. Whatever was read under the shared lock
    /// may have changed.
    Lost,
}

impl<'a> Guard<'a> {
    pub(crate) fn acquire(lock: &'a FileLock, request: Request<'_>) -> Result<Guard<'a>, Error> {
        Held::acquire(lock, request, Owner::this_thread()).map(Guard::new)
    }

    fn new(held: Held<&'a FileLock>) -> Guard<'a> {
        Guard {
            held,
            stays: PhantomData,
        }
    }
}

impl OwnedGuard {
    pub(crate) fn acquire(lock: Arc<FileLock>, request: Request<'_>) -> Result<OwnedGuard, Error> {
        Held::acquire(lock, request, Owner::ANY).map(OwnedGuard::new)
    }

    fn new(held: Held<Arc<FileLock>>) -> OwnedGuard {
        OwnedGuard { held }
    }
}

/// The methods of both guards, which differ in how they hold on to their lock.
macro_rules! guard_methods {
    ($guard:ty, $name:literal) => {
        impl $guard {
            /// Releases the lock, and tells what went wrong, which dropping does not.
            ///
            /// # Errors
            ///
            /// [`Error::System`] when the file could not be deleted, as
            /// [`delete_on_release`](crate::LockOptions::delete_on_release) asks,
            /// or not be unlocked. The lock is released in any case.
            pub fn release(self) -> Result<(), Error> {
                self.held.release()
            }

            /// Exclusive or shared.
            pub fn mode(&self) -> Mode {
                self.held.mode
            }

            /// The absolute path of the lock file.
            pub fn path(&self) -> &Path {
                self.held.lock.path()
            }

            /// Whether the locked file is still the one at the path.
            ///
            /// When it is not, somebody has removed, renamed or replaced the lock
            /// file while we hold it, and others may now lock another file at that
            /// path. No file lock can prevent that. In a child of fork: false.
            ///
            /// # Errors
            ///
            /// [`Error::System`] when the path cannot be examined.
            pub fn is_current(&self) -> Result<bool, Error> {
                self.held.is_current()
            }

            /// Turns an exclusive lock into a shared one. Nobody can hold it
            /// exclusively in between: on Linux the conversion of a held lock to
            /// shared is atomic, on local file systems. A shared lock stays as it is.
            ///
            /// # Errors
            ///
            /// [`Error::System`] when the file system does not convert atomically and
            /// somebody else came first (NFS). The lock is lost then.
            pub fn downgrade(self) -> Result<Self, Error> {
                self.held.downgrade().map(Self::new)
            }

            /// Turns a shared lock into an exclusive one, which is **not atomic**:
            /// when others share the lock it has to be given up and waited for anew.
            /// The result says whether that happened. Two holders who upgrade at the
            /// same time both get through, one after the other, and the second one
            /// sees [`Continuity::Lost`].
            ///
            /// `limits` gives the time limit, the token and the callback of the wait;
            /// its mode does not matter. An exclusive lock stays as it is.
            ///
            /// # Errors
            ///
            /// Those of [`FileLock::acquire`]. The lock is lost then.
            pub fn upgrade_not_atomic(
                self,
                limits: Request<'_>,
            ) -> Result<(Self, Continuity), Error> {
                let (held, continuity) = self.held.upgrade(limits)?;
                Ok((Self::new(held), continuity))
            }
        }

        /// The descriptor that carries the lock, which is close-on-exec. To unlock or to
        /// close it behind the guard's back breaks the guard's promise.
        impl AsFd for $guard {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.held.file.as_fd()
            }
        }

        impl fmt::Debug for $guard {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct($name)
                    .field("path", &self.path())
                    .field("mode", &self.mode())
                    .finish_non_exhaustive()
            }
        }
    };
}

guard_methods!(Guard<'_>, "Guard");
guard_methods!(OwnedGuard, "OwnedGuard");

/// The generation of no process: a [`Held`] with it releases nothing when dropped.
const NO_PROCESS: u32 = 0;

/// What both guards are made of. Releases when dropped.
struct Held<L: Deref<Target = FileLock> + Clone> {
    lock: L,
    file: Arc<LockFile>,
    mode: Mode,
    owner: Owner,
    /// The process that took it.
    generation: u32,
}

impl<L: Deref<Target = FileLock> + Clone> Held<L> {
    fn acquire(lock: L, request: Request<'_>, owner: Owner) -> Result<Held<L>, Error> {
        let generation = fork::generation();
        let mode = request.mode;
        let file = lock.take(request, owner)?;
        Ok(Held {
            lock,
            file,
            mode,
            owner,
            generation,
        })
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
        self.lock
            .leave(self.lock.gate(), &self.file, self.mode, self.owner)
    }

    fn into_parts(mut self) -> Parts<L> {
        Parts {
            lock: self.lock.clone(),
            file: self.file.clone(),
            owner: self.owner,
            generation: std::mem::replace(&mut self.generation, NO_PROCESS),
        }
    }

    fn is_current(&self) -> Result<bool, Error> {
        if !self.is_ours() {
            return Ok(false);
        }
        self.file
            .check_current()
            .map_err(|error| self.lock.system("looking at the path", error))
    }

    fn downgrade(self) -> Result<Held<L>, Error> {
        if self.mode == Mode::Shared || !self.is_ours() {
            return Ok(self);
        }
        let held = self.into_parts();
        let gate = held.lock.gate();
        let inside = Inside { gate };
        let family = held.lock.options.family;
        match file::lock(held.file.as_fd(), family, Mode::Shared, Patience::Never) {
            Ok(()) => {
                inside.stay();
                gate.share(held.owner);
                Ok(held.whole(Mode::Shared))
            }
            Err(error) => {
                let _ = file::unlock(held.file.as_fd(), family);
                Err(held.lock.system("downgrading", error))
            }
        }
    }

    fn upgrade(self, mut limits: Request<'_>) -> Result<(Held<L>, Continuity), Error> {
        if self.mode == Mode::Exclusive || !self.is_ours() {
            return Ok((self, Continuity::Kept));
        }
        let mut held = self.into_parts();
        let gate = held.lock.gate();
        if !gate.unshare(held.owner) {
            // Other threads share the lock with us.
            held.lock
                .leave(gate, &held.file, Mode::Shared, held.owner)?;
            limits.mode = Mode::Exclusive;
            let held = Held::acquire(held.lock, limits, held.owner)?;
            return Ok((held, Continuity::Lost));
        }
        let inside = Inside { gate };
        let family = held.lock.options.family;
        let converted = file::lock(held.file.as_fd(), family, Mode::Exclusive, Patience::Never);
        let mut continuity = Continuity::Kept;
        if converted.is_err() {
            // flock(2) has given the shared lock up then, OFD has not: be sure of it.
            let _ = file::unlock(held.file.as_fd(), family);
            continuity = Continuity::Lost;
            let file = Some(held.file.clone());
            limits.mode = Mode::Exclusive;
            let lock = held.lock.clone();
            let mut wait = Wait::new(&mut limits, &lock);
            let locked = held
                .lock
                .lock_in_kernel(gate, file, Mode::Exclusive, &mut wait);
            held.file = wait.settle(locked, |file| drop(file::unlock(file.as_fd(), family)))?;
        }
        inside.stay();
        Ok((held.whole(Mode::Exclusive), continuity))
    }
}

/// A [`Held`] taken apart: dropping it releases nothing.
struct Parts<L> {
    lock: L,
    file: Arc<LockFile>,
    owner: Owner,
    generation: u32,
}

impl<L: Deref<Target = FileLock> + Clone> Parts<L> {
    fn whole(self, mode: Mode) -> Held<L> {
        Held {
            lock: self.lock,
            file: self.file,
            mode,
            owner: self.owner,
            generation: self.generation,
        }
    }
}

impl<L: Deref<Target = FileLock> + Clone> Drop for Held<L> {
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
