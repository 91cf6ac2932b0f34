//! `Semaphore`: a lock with several slots, each of which one holder can have.
//!
//! A slot is a kernel lock on one byte of the lock file (see `bytes.rs`), so it is free again when
//! its holder ends, however it ends. Each acquisition has an open file description of its own.
//!
//! | file | contents |
//! |---|---|
//! | here | the type, and its public methods |
//! | `acquire` | the steps of a request to a slot, on one page |
//! | `any_slot` | waiting for all slots at once |
//! | `guard` | the guards, and the release |

mod acquire;
mod any_slot;
mod guard;

use std::fmt;
use std::io;
use std::path::Path;
use std::task::Waker;
use std::time::{Duration, Instant};

pub use self::guard::{OwnedSemaphoreGuard, SemaphoreGuard};
use crate::bytes::MAX_SLOTS;
use crate::gate::Occupant;
use crate::inspect::Process;
use crate::request::OnWait;
use crate::tasks::{Acquired, PendingWait, Source, by_own_thread};
use crate::{Error, Family, FileLock, LockFuture, LockOptions, Request};

/// A lock with a number of slots, for at most that many holders at a time.
///
/// Processes and threads that use the same path with the same number of slots share the slots.
/// Each holder has a slot of its own, with a number from 0 to one less than the number of slots, by
/// which it can choose a port, a GPU or a directory: no two holders have the same number at a time.
/// The kernel frees a slot when its holder ends, however it ends.
///
/// Requests are served in the order in which they arrive, also if some of them are killed or give
/// up. A new request takes a free slot at once if no other request waits; otherwise it queues, even
/// if a slot is free at that moment. A process that is stopped (SIGSTOP) keeps its place, and holds
/// up the requests behind it when it is the first one. Waits do not poll. A slot that becomes free
/// wakes the first request in the queue at once. Only that request has a thread for each slot while
/// it waits, because Linux cannot wait for one of several locks.
///
/// ```
/// use holdlock::Semaphore;
/// # let path = std::env::temp_dir().join(format!("holdlock-doc-slots-{}", std::process::id()));
/// let gpus = Semaphore::open(&path, 4)?;
/// let guard = gpus.lock()?; // sleeps until one of the four slots is free
/// assert!(guard.slot() < 4);
/// # drop(guard); std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # With other users of the file
///
/// * Holders of slots share the lock of flock(2) on the file. Therefore the slots and an exclusive
///   lock of flock(1), of flock(2) or of a [`FileLock`] exclude each other; shared locks and slots
///   do not. An exclusive request may wait long while holders acquire and release slots, unless the
///   request is [fair](LockOptions::fair): then it has its turn in the same queue.
/// * While a slot is held, requests with another number of slots fail with
///   [`Error::DifferentSlots`]. When all slots are free, the next request decides the number.
/// * Programs that lock the *whole* file with fcntl(2) exclude the holders of slots, too.
///
/// The file has to be writable, because the slots are OFD locks of fcntl(2). Nothing is written to
/// it. On file systems where flock(2) is a lock of fcntl(2) as well (NFS, CIFS) there are no
/// semaphores: [`Error::Unsupported`].
///
/// Deadlock cycles that include a slot are not noticed, with one exception: a thread that holds all
/// slots itself and requests another one.
#[derive(Clone)]
#[doc(alias = "sem_open")]
#[doc(alias = "sem")]
pub struct Semaphore {
    /// Opens the file. No thread enters its gate.
    lock: FileLock,
    slots: u32,
}

impl Semaphore {
    /// The most slots that a semaphore can have.
    pub const MAX_SLOTS: u32 = MAX_SLOTS;

    /// Opens the lock file at `path` for `slots` slots, with the default [`LockOptions`]. Creates
    /// an empty file if it is missing. Acquires no slot. See [`FileLock::open`].
    ///
    /// # Errors
    ///
    /// [`Error::Open`] if the file can neither be opened nor created, or cannot be written; or if
    /// the number is 0 or larger than [`MAX_SLOTS`](Semaphore::MAX_SLOTS), and then no file is
    /// created. [`LockOptions::open_semaphore`] also refuses options that do not fit a semaphore,
    /// such as [`upgradeable`](LockOptions::upgradeable).
    pub fn open(path: impl AsRef<Path>, slots: u32) -> Result<Semaphore, Error> {
        Semaphore::open_with(LockOptions::new(), path.as_ref(), slots)
    }

    pub(crate) fn open_with(
        mut options: LockOptions,
        path: &Path,
        slots: u32,
    ) -> Result<Semaphore, Error> {
        let unfit = if slots == 0 || slots > MAX_SLOTS {
            format!("a semaphore has 1 to {MAX_SLOTS} slots, and not {slots}")
        } else if options.family != Family::Flock {
            "a semaphore cannot use another family of locks than flock(2)".to_owned()
        } else if options.delete_on_release {
            "the file of a semaphore is not deleted on release".to_owned()
        } else if options.record {
            "the file of a semaphore has no record".to_owned()
        } else if options.upgradeable {
            "a slot has one holder and cannot be upgraded; open the semaphore without upgradeable"
                .to_owned()
        } else {
            // Its requests queue, for which the file is opened as that of a fair lock is.
            options.fair = true;
            let lock = FileLock::open_with(options, path)?;
            return Ok(Semaphore { lock, slots });
        };
        Err(Error::Open {
            path: path.to_owned(),
            source: io::Error::new(io::ErrorKind::InvalidInput, unfit),
        })
    }

    /// The number of slots.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// The absolute path of the lock file.
    pub fn path(&self) -> &Path {
        self.lock.path()
    }

    /// Acquires a slot; waits for as long as it takes.
    ///
    /// # Errors
    ///
    /// * [`Error::DifferentSlots`] when the file is in use with another number of slots.
    /// * [`Error::Deadlock`] when this thread itself holds all slots by guards that cannot leave
    ///   it, or the exclusive lock on the file.
    /// * [`Error::RemovedWhileHeld`] when the lock file is missing and a process was found that
    ///   holds a slot on the removed one.
    /// * [`Error::Unsupported`] when the file system cannot lock.
    /// * [`Error::Open`] when the file was removed and cannot be created again.
    pub fn lock(&self) -> Result<SemaphoreGuard<'_>, Error> {
        self.acquire(Request::exclusive())
    }

    /// Acquires a slot if one is free now, and no other request is before this one. Looks for up to
    /// half a second (longer on a very busy machine) whether the requests before it take their
    /// slots, while a slot is free.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`] if all slots are taken ([`Conflict::slots`](crate::Conflict::slots) is
    /// their number) or other requests are before this one (it is `None`); besides those of
    /// [`lock`](Semaphore::lock).
    pub fn try_lock(&self) -> Result<SemaphoreGuard<'_>, Error> {
        self.acquire(Request::exclusive().try_once())
    }

    /// Acquires a slot; waits for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], which names the holders; besides those of [`lock`](Semaphore::lock).
    pub fn try_lock_for(&self, timeout: Duration) -> Result<SemaphoreGuard<'_>, Error> {
        self.acquire(Request::exclusive().timeout(timeout))
    }

    /// Acquires a slot; waits until `deadline` at most. See
    /// [`try_lock_for`](Semaphore::try_lock_for).
    pub fn try_lock_until(&self, deadline: Instant) -> Result<SemaphoreGuard<'_>, Error> {
        self.acquire(Request::exclusive().deadline(deadline))
    }

    /// The general form of all the above: acquires a slot as the request says.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`] besides those of [`lock`](Semaphore::lock),
    /// [`try_lock`](Semaphore::try_lock) and [`try_lock_for`](Semaphore::try_lock_for).
    /// [`Error::System`] for a shared request: a slot has one holder.
    pub fn acquire<W: OnWait>(&self, mut request: Request<W>) -> Result<SemaphoreGuard<'_>, Error> {
        let slot = self.take(request.terms(), Occupant::this_thread())?;
        Ok(SemaphoreGuard::new(slot))
    }

    /// As [`lock`](Semaphore::lock), with a guard that may move to another thread and outlive the
    /// reference. Because of that, a further request of the same thread is not a certain deadlock,
    /// and waits.
    pub fn lock_owned(&self) -> Result<OwnedSemaphoreGuard, Error> {
        self.acquire_owned(Request::exclusive())
    }

    /// As [`try_lock`](Semaphore::try_lock), with a guard that may move to another thread.
    pub fn try_lock_owned(&self) -> Result<OwnedSemaphoreGuard, Error> {
        self.acquire_owned(Request::exclusive().try_once())
    }

    /// As [`try_lock_for`](Semaphore::try_lock_for), with a guard that may move to another thread.
    pub fn try_lock_owned_for(&self, timeout: Duration) -> Result<OwnedSemaphoreGuard, Error> {
        self.acquire_owned(Request::exclusive().timeout(timeout))
    }

    /// As [`acquire`](Semaphore::acquire), with a guard that may move to another thread and outlive
    /// the reference.
    pub fn acquire_owned<W: OnWait>(
        &self,
        mut request: Request<W>,
    ) -> Result<OwnedSemaphoreGuard, Error> {
        let occupant = if request.stays_in_thread {
            Occupant::this_thread()
        } else {
            Occupant::ANY
        };
        self.take(request.terms(), occupant)
            .map(OwnedSemaphoreGuard::new)
    }

    /// Acquires a slot in asynchronous code: `.await` it, under every runtime. See
    /// [`FileLock::lock_async`]; but each task that waits for a slot has a thread and a descriptor
    /// of its own.
    pub fn lock_async(&self) -> LockFuture<OwnedSemaphoreGuard> {
        self.acquire_async(Request::exclusive())
    }

    /// As [`acquire`](Semaphore::acquire), in asynchronous code. See [`FileLock::acquire_async`].
    pub fn acquire_async(&self, request: Request) -> LockFuture<OwnedSemaphoreGuard> {
        LockFuture::new(self.clone(), request)
    }

    /// The processes that hold a slot now, or another lock on the file, as far as /proc shows them.
    /// [`inspect::file`](crate::inspect::file) also shows which slot each of them holds. See
    /// [`FileLock::holders`].
    pub fn holders(&self) -> io::Result<Vec<Process>> {
        self.lock.holders()
    }

    /// The processes that wait for a slot now, in the order of service, as far as /proc shows them.
    pub fn waiters(&self) -> io::Result<Vec<Process>> {
        self.lock.waiters()
    }
}

impl Acquired for OwnedSemaphoreGuard {
    fn release_unseen(self) {
        drop(self);
    }
}

impl Source<OwnedSemaphoreGuard> for Semaphore {
    fn acquire_owned(&self, request: Request) -> Result<OwnedSemaphoreGuard, Error> {
        Semaphore::acquire_owned(self, request)
    }

    fn path(&self) -> &Path {
        Semaphore::path(self)
    }

    fn begin(
        self: Box<Self>,
        request: Request,
        _began: Instant,
        waker: &Waker,
    ) -> io::Result<Box<dyn PendingWait<OwnedSemaphoreGuard>>> {
        by_own_thread(*self, request, waker)
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("path", &self.path())
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}
