//! `FileLock`: the path and the options that processes agree on.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::acquire::lock_name::LockName;
use crate::deadlock::watcher::WatchedWait;
use crate::gate::{Gate, registry};
use crate::inspect::{self, FileId, Process};
use crate::record::Recorder;
use crate::request::OnWait;
use crate::sys::file;
use crate::sys::fork::ForkCell;
use crate::tasks::TaskQueue;
use crate::wait::callback::Key;
use crate::wait::{Awaited, Watched};
use crate::{Error, Guard, LockFuture, LockOptions, Mode, OwnedGuard, Record, Request};

/// A lock that processes share by the path of a file.
///
/// Opening takes no lock. A `FileLock` is meant to be made once and used often. It is `Send` and
/// `Sync`; share it between threads by reference, in a `static`, or by clones, which are the same
/// lock and cost no more than those of an [`Arc`]. Threads that use one `FileLock` exclude each
/// other just as processes do.
///
/// A free lock has no file open, so that thousands of them take no descriptors and none keeps a
/// file system from being unmounted. One exception makes frequent use cheap: a lock that is
/// released more than ten times a second keeps its file open until it has been unused for about a
/// second, when a helper thread closes it; at most 64 locks of a process do. Each acquisition that
/// opens the file does so by the path: a program that gives up the right to open it, as by
/// setuid(2), locks a file that it has opened before ([`LockOptions::open_file`]).
///
/// As whenever a file is closed, the kernel then frees the POSIX locks (fcntl(2), F_SETLK) that
/// this process itself has on it. So do not use a file with such locks, like an SQLite database, as
/// the lock file of a process that opens it otherwise, too.
///
/// The library never writes or truncates the file, and does not read it, unless
/// [`LockOptions::record`] asks for a record.
///
/// It is also a reader/writer lock: readers call [`lock_shared`](FileLock::lock_shared), writers
/// call [`lock`](FileLock::lock). With [`LockOptions::fair`] neither side starves.
///
/// ```
/// use holdlock::FileLock;
/// # let path = std::env::temp_dir().join(format!("holdlock-doc-lock-{}", std::process::id()));
/// let lock = FileLock::open(&path)?;
/// {
///     let _guard = lock.lock()?;
///     // No other process and no other thread is here now.
/// }
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[doc(alias = "flock")]
#[doc(alias = "lockf")]
#[doc(alias = "LockFileEx")]
#[doc(alias = "RwLock")]
pub struct FileLock {
    shared: Arc<Shared>,
}

/// What the clones of a `FileLock` share.
struct Shared {
    name: Arc<LockName>,
    options: LockOptions,
    gate: ForkCell<Arc<Gate>>,
    tasks: ForkCell<TaskQueue>,
    recorder: ForkCell<Mutex<Recorder>>,
    /// The same lock for requests that want the right to upgrade. It has a gate and an open file of
    /// its own, so that the kernel tells a thread that upgrades from those that only read.
    upgrading: Option<FileLock>,
    /// Whether this is such a lock.
    is_upgrading: bool,
}

impl FileLock {
    /// Opens the lock file at `path` with the default [`LockOptions`], and
    /// creates it, empty, when it is missing.
    ///
    /// The path is made absolute, so a later change of the working directory does not change the
    /// lock. A symbolic link at the last component is refused, and a directory can be a lock. To
    /// open a FIFO or a device never blocks. An existing file is opened for reading only (or for
    /// writing only, if reading is denied). It is closed again, until the first request.
    ///
    /// # Errors
    ///
    /// [`Error::Open`] when the file can neither be opened nor created.
    ///
    /// Blocks only on a network file system whose server is gone. If another process has a lease on
    /// the file (fcntl(2), F_SETLEASE), the first request waits until that process has given it up.
    pub fn open(path: impl AsRef<Path>) -> Result<FileLock, Error> {
        FileLock::open_with(LockOptions::new(), path.as_ref())
    }

    pub(crate) fn open_with(options: LockOptions, path: &Path) -> Result<FileLock, Error> {
        let name = LockName::new(path, options.follow_symlinks).map_err(|source| Error::Open {
            path: path.to_owned(),
            source,
        })?;
        FileLock::new(options, name)
    }

    pub(crate) fn open_file(options: LockOptions, file: BorrowedFd<'_>) -> Result<FileLock, Error> {
        let name = LockName::of_open(file).map_err(|source| Error::Open {
            path: file::descriptor_path(file),
            source,
        })?;
        let lock = FileLock::new(options, name)?;
        if lock.options().delete_on_release {
            return Err(lock.cannot_open(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a file that is locked by its descriptor is not deleted on release; open its path",
            )));
        }
        Ok(lock)
    }

    fn new(options: LockOptions, mut name: LockName) -> Result<FileLock, Error> {
        name.is_written = options.record;
        let name = Arc::new(name);
        let made = |options, upgrading, is_upgrading| FileLock {
            shared: Arc::new(Shared {
                name: name.clone(),
                options,
                gate: ForkCell::new(),
                tasks: ForkCell::new(),
                recorder: ForkCell::new(),
                upgrading,
                is_upgrading,
            }),
        };
        let upgrading = options
            .upgradeable
            .then(|| made(options.clone(), None, true));
        let lock = made(options, upgrading, false);
        lock.check_options()?;
        lock.try_out()?;
        Ok(lock)
    }

    fn check_options(&self) -> Result<(), Error> {
        let options = self.options();
        let why = if !options.record {
            return Ok(());
        } else if options.delete_on_release {
            "a record would be lost with a file that is deleted on release; choose one of the two"
        } else if options.writable {
            "a file that the caller writes cannot have a record; choose one of the two"
        } else {
            return Ok(());
        };
        Err(self.cannot_open(io::Error::new(io::ErrorKind::InvalidInput, why)))
    }

    /// The absolute path of the lock file.
    pub fn path(&self) -> &Path {
        &self.name().path
    }

    /// Acquires the exclusive lock; waits for as long as it takes.
    ///
    /// The waiting thread sleeps in flock(2), in the kernel's queue, which wakes waiters in their
    /// order.
    ///
    /// # Errors
    ///
    /// * [`Error::Deadlock`] when this thread holds the lock already by a
    ///   [`Guard`], through this or another `FileLock` on the same file; and, after half a
    ///   second, when the wait closes a cycle of processes or threads that wait for one another.
    /// * [`Error::RemovedWhileHeld`] when the lock file is missing and a process
    ///   was found that holds the lock on the removed one.
    /// * [`Error::Unsupported`] when the file system cannot lock.
    /// * [`Error::Open`] when the file was removed and cannot be created again.
    pub fn lock(&self) -> Result<Guard<'_>, Error> {
        self.acquire(Request::exclusive())
    }

    /// Acquires the exclusive lock if it is free now.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`] when it is not; besides those of [`lock`](FileLock::lock).
    pub fn try_lock(&self) -> Result<Guard<'_>, Error> {
        self.acquire(Request::exclusive().try_once())
    }

    /// Acquires the exclusive lock; waits for at most `timeout`.
    ///
    /// The wait does not poll: the thread sleeps in flock(2) and keeps its place
    /// in the queue until a timer interrupts it at the deadline, within about 0.1 ms.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], which names the holders; besides those of [`lock`](FileLock::lock).
    pub fn try_lock_for(&self, timeout: Duration) -> Result<Guard<'_>, Error> {
        self.acquire(Request::exclusive().timeout(timeout))
    }

    /// Acquires the exclusive lock; waits until `deadline` at most. See
    /// [`try_lock_for`](FileLock::try_lock_for).
    pub fn try_lock_until(&self, deadline: Instant) -> Result<Guard<'_>, Error> {
        self.acquire(Request::exclusive().deadline(deadline))
    }

    /// As [`lock`](FileLock::lock), but shared with other shared holders.
    ///
    /// A thread that has a shared guard may acquire another one. Shared requests pass an exclusive
    /// one that waits, unless the lock is [fair](LockOptions::fair).
    pub fn lock_shared(&self) -> Result<Guard<'_>, Error> {
        self.acquire(Request::shared())
    }

    /// As [`try_lock`](FileLock::try_lock), but shared with other shared holders.
    pub fn try_lock_shared(&self) -> Result<Guard<'_>, Error> {
        self.acquire(Request::shared().try_once())
    }

    /// As [`try_lock_for`](FileLock::try_lock_for), but shared with other shared holders.
    pub fn try_lock_shared_for(&self, timeout: Duration) -> Result<Guard<'_>, Error> {
        self.acquire(Request::shared().timeout(timeout))
    }

    /// As [`try_lock_until`](FileLock::try_lock_until), but shared with other shared holders.
    pub fn try_lock_shared_until(&self, deadline: Instant) -> Result<Guard<'_>, Error> {
        self.acquire(Request::shared().deadline(deadline))
    }

    /// The general form of all the above: acquires the lock as the request says.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`] besides those of [`lock`](FileLock::lock),
    /// [`try_lock`](FileLock::try_lock) and [`try_lock_for`](FileLock::try_lock_for).
    pub fn acquire<W: OnWait>(&self, mut request: Request<W>) -> Result<Guard<'_>, Error> {
        Guard::acquire(self, request.terms())
    }

    /// As [`lock`](FileLock::lock), with a guard that may move to another thread
    /// and outlive the reference. Because of that, a second request by the same
    /// thread is no certain deadlock, and waits.
    pub fn lock_owned(&self) -> Result<OwnedGuard, Error> {
        self.acquire_owned(Request::exclusive())
    }

    /// As [`try_lock`](FileLock::try_lock), with a guard that may move to another thread.
    pub fn try_lock_owned(&self) -> Result<OwnedGuard, Error> {
        self.acquire_owned(Request::exclusive().try_once())
    }

    /// As [`try_lock_for`](FileLock::try_lock_for), with a guard that may move to another thread.
    pub fn try_lock_owned_for(&self, timeout: Duration) -> Result<OwnedGuard, Error> {
        self.acquire_owned(Request::exclusive().timeout(timeout))
    }

    /// As [`lock_shared`](FileLock::lock_shared), with a guard that may move to another thread.
    pub fn lock_shared_owned(&self) -> Result<OwnedGuard, Error> {
        self.acquire_owned(Request::shared())
    }

    /// As [`try_lock_shared`](FileLock::try_lock_shared), with a guard that may move to another
    /// thread.
    pub fn try_lock_shared_owned(&self) -> Result<OwnedGuard, Error> {
        self.acquire_owned(Request::shared().try_once())
    }

    /// As [`try_lock_shared_for`](FileLock::try_lock_shared_for), with a guard that may move to
    /// another thread.
    pub fn try_lock_shared_owned_for(&self, timeout: Duration) -> Result<OwnedGuard, Error> {
        self.acquire_owned(Request::shared().timeout(timeout))
    }

    /// As [`acquire`](FileLock::acquire), with a guard that may move to another
    /// thread and outlive the reference.
    pub fn acquire_owned<W: OnWait>(&self, mut request: Request<W>) -> Result<OwnedGuard, Error> {
        let stays = request.stays_in_thread;
        OwnedGuard::acquire(self.clone(), request.terms(), stays)
    }

    /// Acquires the exclusive lock in asynchronous code: `.await` it, under whatever runtime.
    ///
    /// The first poll acquires a lock that is free, by the system calls of
    /// [`try_lock`](FileLock::try_lock). If the lock is held, the task queues among the threads of
    /// the process, in the order of arrival. A thread sleeps in the kernel's queue for the first
    /// task, wakes it, and goes on with the next one. All tasks that wait for one `FileLock` and
    /// its clones share this thread, which has a small stack, and a descriptor; separate
    /// `FileLock`s on one path have one of each. One more thread of the process keeps the time
    /// limits and the tokens of the tasks behind the first. Dropping the future, as timeouts and
    /// `select!` do, cancels the wait: the lock is not acquired later.
    ///
    /// Deadlocks of tasks are not noticed: a task that holds the lock and awaits it again waits for
    /// ever, unless a time limit ends the wait.
    ///
    /// ```
    /// use holdlock::FileLock;
    /// use std::time::Duration;
    ///
    /// async fn rebuild(lock: &FileLock) -> Result<(), holdlock::Error> {
    ///     let guard = lock.lock_async().timeout(Duration::from_secs(5)).await?;
    ///     // ... nobody else is here, also across further awaits
    ///     guard.release()
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`lock`](FileLock::lock); [`Error::TimedOut`] where a
    /// [`timeout`](LockFuture::timeout) was given; [`Error::System`] when no thread can be started.
    pub fn lock_async(&self) -> LockFuture {
        self.acquire_async(Request::exclusive())
    }

    /// As [`lock_async`](FileLock::lock_async), but shared with other shared holders.
    pub fn lock_shared_async(&self) -> LockFuture {
        self.acquire_async(Request::shared())
    }

    /// As [`acquire`](FileLock::acquire), in asynchronous code. What the request says of threads
    /// and deadlocks ([`stays_in_thread`](Request::stays_in_thread),
    /// [`notice_deadlocks`](Request::notice_deadlocks)) has no effect.
    pub fn acquire_async(&self, request: Request) -> LockFuture {
        LockFuture::new(self.clone(), request)
    }

    /// The processes that hold a lock of either family on the lock file now, as far as /proc shows
    /// them.
    ///
    /// Takes about 0.2 ms, or some milliseconds if no process on the host has read /proc/locks for
    /// a while: the kernel then lets all lock calls under way finish first. If /proc/locks does not
    /// name a holder (of OFD and inherited locks), this looks at all processes.
    pub fn holders(&self) -> io::Result<Vec<Process>> {
        self.file_id().map_or(Ok(Vec::new()), inspect::holders)
    }

    /// The processes that wait for a lock on the lock file now, in the order of /proc/locks.
    /// Threads that wait for another thread of their own process are not among them, nor are those
    /// that wait for an OFD lock.
    pub fn waiters(&self) -> io::Result<Vec<Process>> {
        self.file_id().map_or(Ok(Vec::new()), inspect::waiters)
    }

    /// The record in the lock file, whether or not this lock was opened with
    /// [`LockOptions::record`]. None if the file has no record that this version understands.
    ///
    /// Takes no lock: unless the caller holds it, the record may be out of date when this returns.
    /// It may say that a lock is held whose holder has died; [`holders`](FileLock::holders) asks
    /// the kernel.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn record(&self) -> io::Result<Option<Record>> {
        match self.gate().file().filter(|file| file.is_intact()) {
            Some(file) => Record::read_from(file.file()),
            None => Record::read(self.path()),
        }
    }

    fn file_id(&self) -> Option<FileId> {
        match FileId::of(self.path()) {
            Ok(file_id) => Some(file_id),
            Err(_) => FileId::of_open(self.gate().file()?.as_fd()).ok(),
        }
    }

    pub(crate) fn name(&self) -> &Arc<LockName> {
        &self.shared.name
    }

    pub(crate) fn options(&self) -> &LockOptions {
        &self.shared.options
    }

    /// What this process knows of the record. A child of fork begins anew.
    pub(crate) fn recorder_cell(&self) -> &Mutex<Recorder> {
        let recorder = || Mutex::new(Recorder::new());
        self.shared.recorder.get_or_make(recorder)
    }

    /// The lock for requests that want the right to upgrade.
    pub(crate) fn upgrading(&self) -> Option<&FileLock> {
        self.shared.upgrading.as_ref()
    }

    /// Whether this is a lock for requests that want the right to upgrade.
    pub(crate) fn is_upgrading(&self) -> bool {
        self.shared.is_upgrading
    }

    /// The tasks of this process that wait for the lock.
    pub(crate) fn tasks(&self) -> &TaskQueue {
        self.shared.tasks.get_or_make(TaskQueue::default)
    }

    /// This process's gate. A child of fork has a new one, without a file.
    pub(crate) fn gate(&self) -> &Arc<Gate> {
        self.shared.gate.get_or_make(|| {
            // The right to upgrade is not kept for the next thread: it would have to be shared
            // again first.
            let fair = self.options().fair || self.is_upgrading();
            let gate = Gate::new(fair, self.name().is_pinned());
            registry::add(self.options().family, &gate);
            gate
        })
    }
}

impl Awaited for FileLock {
    fn key(&self) -> Key {
        self.gate().key(self.options().family)
    }

    fn may_use_signals(&self) -> bool {
        !self.options().without_signals
    }

    fn watch(&self, mode: Mode, began: Instant) -> Box<dyn Watched> {
        let gate = self.gate().clone();
        let family = self.options().family;
        Box::new(WatchedWait::begin(
            gate,
            self.name().clone(),
            family,
            mode,
            began,
        ))
    }
}

impl fmt::Debug for FileLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileLock")
            .field("path", &self.name().path)
            .field("options", self.options())
            .finish_non_exhaustive()
    }
}
