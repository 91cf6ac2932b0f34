//! The right to upgrade: one of many shared holders has it, and its upgrade is atomic.
//!
//! | a holder | has locked |
//! |---|---|
//! | that reads | flock(2) shared, and [`Range::READERS`](crate::bytes::Range::READERS) shared |
//! | that may upgrade | flock(2) shared, and [`Range::RIGHT`](crate::bytes::Range::RIGHT) |
//! | that has upgraded | flock(2) exclusive, the right, and the readers' byte exclusively |
//! | that writes without having upgraded | flock(2) exclusive |
//!
//! An upgrade first locks the readers' byte for itself: that waits for all readers and keeps new
//! ones out. Meanwhile flock(2) is shared, so that no writer gets in. Then nobody else shares it,
//! and flock(2) converts it at once, without waiting. The kernel does that in one step: a writer
//! that waits does not get in between. Whatever ends the wait before, the shared lock is still
//! there.
//!
//! A shared holder that has not locked the readers' byte makes the conversion fail. The kernel has
//! given the shared lock up by then: that is [`Error::NotAtomic`](crate::Error::NotAtomic).
//!
//! The order, in which nobody waits for a request behind it: the right, the place at the head of
//! the queue of fair requests, the readers' byte, flock(2). An upgrade does not wait for the place:
//! the request that has it may wait for the upgrading holder's shared lock. It then keeps new
//! readers out, as the upgrade does if it finds the place free.

mod acquire;
mod claim;
mod guard;

use std::io;
use std::path::Path;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::request::OnWait;
use crate::tasks::{Acquired, PendingWait, Source, by_own_thread};
use crate::{Error, FileLock, LockFuture, Request};

pub(crate) use claim::Claim;
pub use guard::{OwnedUpgradeableGuard, UpgradeableGuard};

/// Shared locks with the right to upgrade, for locks with
/// [`LockOptions::upgradeable`](crate::LockOptions::upgradeable).
impl FileLock {
    /// Acquires the shared lock with the right to [upgrade](UpgradeableGuard::upgrade) it; waits
    /// for as long as it takes. One holder at a time has the right; the others only read.
    ///
    /// ```
    /// use holdlock::{LockOptions, Request};
    /// # let path = std::env::temp_dir().join(format!("holdlock-doc-upgrade-{}", std::process::id()));
    /// # let (stale, rebuild) = (|| true, || ());
    /// let lock = LockOptions::new().upgradeable(true).open(&path)?;
    /// let mut guard = lock.lock_upgradeable()?; // others read at the same time
    /// if stale() {
    ///     guard.upgrade(Request::exclusive())?; // what was read is still true
    ///     rebuild();
    /// }
    /// # drop(guard); std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`lock`](FileLock::lock). [`Error::Deadlock`] also when this thread shares the lock
    /// by another guard and another holder has the right: that one's upgrade would wait for this
    /// thread. [`Error::Unsupported`] when the lock was opened without
    /// [`LockOptions::upgradeable`](crate::LockOptions::upgradeable).
    pub fn lock_upgradeable(&self) -> Result<UpgradeableGuard<'_>, Error> {
        self.acquire_upgradeable(Request::shared())
    }

    /// As [`lock_upgradeable`](FileLock::lock_upgradeable), if the lock and the right are free now.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`] when one of them is not.
    pub fn try_lock_upgradeable(&self) -> Result<UpgradeableGuard<'_>, Error> {
        self.acquire_upgradeable(Request::shared().try_once())
    }

    /// As [`lock_upgradeable`](FileLock::lock_upgradeable); waits for at most `timeout`.
    pub fn try_lock_upgradeable_for(
        &self,
        timeout: Duration,
    ) -> Result<UpgradeableGuard<'_>, Error> {
        self.acquire_upgradeable(Request::shared().timeout(timeout))
    }

    /// As [`lock_upgradeable`](FileLock::lock_upgradeable); waits until `deadline` at most.
    pub fn try_lock_upgradeable_until(
        &self,
        deadline: Instant,
    ) -> Result<UpgradeableGuard<'_>, Error> {
        self.acquire_upgradeable(Request::shared().deadline(deadline))
    }

    /// The general form of [`lock_upgradeable`](FileLock::lock_upgradeable). The request's mode
    /// does not matter.
    pub fn acquire_upgradeable<W: OnWait>(
        &self,
        mut request: Request<W>,
    ) -> Result<UpgradeableGuard<'_>, Error> {
        UpgradeableGuard::acquire(self, request.terms())
    }

    /// As [`acquire_upgradeable`](FileLock::acquire_upgradeable), with a guard that may move to
    /// another thread and outlive the reference.
    pub fn acquire_upgradeable_owned<W: OnWait>(
        &self,
        mut request: Request<W>,
    ) -> Result<OwnedUpgradeableGuard, Error> {
        let stays = request.stays_in_thread;
        OwnedUpgradeableGuard::acquire(self, request.terms(), stays)
    }

    /// As [`acquire_upgradeable`](FileLock::acquire_upgradeable), in asynchronous code; see
    /// [`lock_async`](FileLock::lock_async); but each task that waits has a thread of its own. An
    /// upgrade may wait in the thread that asks for it.
    pub fn acquire_upgradeable_async(&self, request: Request) -> LockFuture<OwnedUpgradeableGuard> {
        LockFuture::new(Upgrading(self.clone()), request)
    }
}

/// A lock whose requests want the right to upgrade.
struct Upgrading(FileLock);

impl Acquired for OwnedUpgradeableGuard {
    fn release_unseen(self) {
        drop(self); // it shares the lock, and has learned nothing
    }
}

impl Source<OwnedUpgradeableGuard> for Upgrading {
    fn acquire_owned(&self, request: Request) -> Result<OwnedUpgradeableGuard, Error> {
        self.0.acquire_upgradeable_owned(request)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn begin(
        self: Box<Self>,
        request: Request,
        _began: Instant,
        waker: &Waker,
    ) -> io::Result<Box<dyn PendingWait<OwnedUpgradeableGuard>>> {
        by_own_thread(*self, request, waker)
    }
}
