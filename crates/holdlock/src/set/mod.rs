//! Several locks at once: all of them, or none.

mod acquire;
mod guard;

use std::io;
use std::path::Path;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::request::{OnWait, Terms};
use crate::tasks::{Acquired, PendingWait, Source, by_own_thread};
use crate::{Error, FileLock, Guard, LockFuture, Mode, OwnedGuard, Request};

pub use guard::SetGuard;

/// Several locks that are acquired together: all of them, or none.
///
/// Each member has its own mode. The mode of a [`Request`] for the set does not matter.
///
/// ```
/// use holdlock::{FileLock, LockSet, Mode};
/// # let dir = std::env::temp_dir().join(format!("holdlock-doc-set-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir)?;
/// let from = FileLock::open(dir.join("from.lock"))?;
/// let to = FileLock::open(dir.join("to.lock"))?;
/// let both = LockSet::new([(&from, Mode::Shared), (&to, Mode::Exclusive)]);
/// {
///     let _guard = both.lock()?; // sleeps until both are acquired
/// } // both released
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # How the locks are acquired
///
/// The set tries its members one after the other, in the order of their device and inode numbers.
/// If one of them is not free, the set releases what it has acquired, waits for that one while it
/// holds no other, and then tries the rest. The locks therefore need no common order: sets cannot
/// deadlock with one another, and a sleeping set keeps no other process out. The time limit, the
/// token and the callback of the request apply to all members together. An error is that of the
/// member that was not free: its [path](Error::path) and its [holders](crate::Conflict::holders).
///
/// The price is that a set has no place in several queues at once: requests for a few of its locks
/// can pass a set of many locks repeatedly, even if the locks are [fair](crate::LockOptions::fair).
/// The set acquires the locks when all of them are free at nearly one moment.
///
/// # One file by several names
///
/// Members that are the same file, by the same path or by hard links, are acquired once, in the
/// stronger mode: exclusive if one of them is exclusive. The options of that member count. Members
/// of different [families](crate::Family) are different locks, even on one file.
#[derive(Clone, Debug)]
pub struct LockSet {
    members: Vec<Member>,
}

/// One lock of a [`LockSet`], with its mode. Made from a [`FileLock`], which is then exclusive, or
/// from a pair of a `FileLock` and a [`Mode`].
#[derive(Clone, Debug)]
pub struct Member {
    lock: FileLock,
    mode: Mode,
}

impl From<(FileLock, Mode)> for Member {
    fn from((lock, mode): (FileLock, Mode)) -> Member {
        Member { lock, mode }
    }
}

impl From<(&FileLock, Mode)> for Member {
    fn from((lock, mode): (&FileLock, Mode)) -> Member {
        (lock.clone(), mode).into()
    }
}

impl From<FileLock> for Member {
    fn from(lock: FileLock) -> Member {
        (lock, Mode::Exclusive).into()
    }
}

impl From<&FileLock> for Member {
    fn from(lock: &FileLock) -> Member {
        lock.clone().into()
    }
}

impl Member {
    /// The lock.
    pub fn lock(&self) -> &FileLock {
        &self.lock
    }

    /// The mode in which the set acquires it.
    pub fn mode(&self) -> Mode {
        self.mode
    }
}

impl LockSet {
    /// Makes a set of these locks, and acquires no lock. A set without members is acquired at once.
    ///
    /// ```
    /// use holdlock::{FileLock, LockSet};
    /// # let dir = std::env::temp_dir().join(format!("holdlock-doc-set-new-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir)?;
    /// let locks = ["a", "b"].map(|name| FileLock::open(dir.join(name)));
    /// let set: LockSet = locks.into_iter().collect::<Result<_, _>>()?; // all exclusive
    /// set.try_lock()?.release()?;
    /// # std::fs::remove_dir_all(&dir)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new<M: Into<Member>>(members: impl IntoIterator<Item = M>) -> LockSet {
        LockSet {
            members: members.into_iter().map(Into::into).collect(),
        }
    }

    /// The members, in the order in which they were given.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Acquires all members; waits for as long as it takes.
    ///
    /// # Errors
    ///
    /// Those of [`FileLock::lock`], for one of the members; then no lock of the set is held.
    /// [`Error::Deadlock`] also if this thread already holds one of the locks by another guard.
    pub fn lock(&self) -> Result<SetGuard<Guard<'_>>, Error> {
        self.acquire(Request::exclusive())
    }

    /// Acquires all members if all are free now.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`] for the first member that is not free; besides those of
    /// [`lock`](LockSet::lock).
    pub fn try_lock(&self) -> Result<SetGuard<Guard<'_>>, Error> {
        self.acquire(Request::exclusive().try_once())
    }

    /// Acquires all members; waits for at most `timeout` in all.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] for the member for which the set waited last; besides those of
    /// [`lock`](LockSet::lock).
    pub fn try_lock_for(&self, timeout: Duration) -> Result<SetGuard<Guard<'_>>, Error> {
        self.acquire(Request::exclusive().timeout(timeout))
    }

    /// Acquires all members; waits until `deadline` at most. See
    /// [`try_lock_for`](LockSet::try_lock_for).
    pub fn try_lock_until(&self, deadline: Instant) -> Result<SetGuard<Guard<'_>>, Error> {
        self.acquire(Request::exclusive().deadline(deadline))
    }

    /// The general form of all the above: acquires all members as the request says. Its mode does
    /// not matter.
    ///
    /// A callback learns before each sleep for which member the set waits:
    /// [`Waiting::For`](crate::Waiting::For).
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`] besides those of [`lock`](LockSet::lock),
    /// [`try_lock`](LockSet::try_lock) and [`try_lock_for`](LockSet::try_lock_for).
    pub fn acquire<W: OnWait>(
        &self,
        mut request: Request<W>,
    ) -> Result<SetGuard<Guard<'_>>, Error> {
        acquire::all(&self.members, request.terms(), Guard::acquire)
    }

    /// As [`acquire`](LockSet::acquire), with guards that may move to another thread and outlive
    /// the set.
    pub fn acquire_owned<W: OnWait>(
        &self,
        mut request: Request<W>,
    ) -> Result<SetGuard<OwnedGuard>, Error> {
        let stays = request.stays_in_thread;
        let take =
            |lock: &FileLock, terms: Terms<'_>| OwnedGuard::acquire(lock.clone(), terms, stays);
        acquire::all(&self.members, request.terms(), take)
    }

    /// Acquires all members in asynchronous code, as [`FileLock::lock_async`] does one lock; but
    /// each task that waits has a thread of its own.
    pub fn lock_async(&self) -> LockFuture<SetGuard<OwnedGuard>> {
        self.acquire_async(Request::exclusive())
    }

    /// As [`acquire`](LockSet::acquire), in asynchronous code. What the request says of threads and
    /// deadlocks has no effect.
    pub fn acquire_async(&self, request: Request) -> LockFuture<SetGuard<OwnedGuard>> {
        LockFuture::new(self.clone(), request)
    }
}

impl Acquired for SetGuard<OwnedGuard> {
    fn release_unseen(self) {
        self.into_guards()
            .into_iter()
            .rev()
            .for_each(Acquired::release_unseen);
    }
}

impl Source<SetGuard<OwnedGuard>> for LockSet {
    fn acquire_owned(&self, request: Request) -> Result<SetGuard<OwnedGuard>, Error> {
        LockSet::acquire_owned(self, request)
    }

    /// The first member's, for the errors of the wait itself.
    fn path(&self) -> &Path {
        self.members
            .first()
            .map_or(Path::new(""), |member| member.lock.path())
    }

    fn begin(
        self: Box<Self>,
        request: Request,
        _began: Instant,
        waker: &Waker,
    ) -> io::Result<Box<dyn PendingWait<SetGuard<OwnedGuard>>>> {
        by_own_thread(*self, request, waker)
    }
}

impl<M: Into<Member>> FromIterator<M> for LockSet {
    fn from_iter<I: IntoIterator<Item = M>>(members: I) -> LockSet {
        LockSet::new(members)
    }
}

pub(crate) mod sealed {
    use super::Error;

    /// What the guards of a set can do.
    pub trait Held {
        fn release(self) -> Result<(), Error>;
        /// Releases the lock as if this holder had not come.
        fn release_abandoned(self) -> Result<(), Error>;
        /// Writes the record of the acquisition, if the lock has one.
        fn record(&mut self, note: Option<&str>) -> Result<(), Error>;
    }
}
