//! The options by which a lock file is opened, created and locked.

use std::os::fd::AsFd;
use std::path::Path;

use crate::{Error, Family, FileLock, Semaphore};

/// Options for opening a [`FileLock`], in the manner of [`std::fs::OpenOptions`].
///
/// The defaults are right for most uses: a missing file is created with the permissions `0666 &
/// !umask`, and the file stays when the lock is released.
///
/// ```
/// use holdlock::LockOptions;
/// # let dir = std::env::temp_dir().join(format!("holdlock-doc-options-{}", std::process::id()));
/// let lock = LockOptions::new()
///     .permissions(0o660)
///     .create_parents(true)
///     .open(dir.join("cache/index.lock"))?;
/// # drop(lock); std::fs::remove_dir_all(&dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct LockOptions {
    pub(crate) family: Family,
    pub(crate) permissions: Option<u32>,
    pub(crate) create_parents: bool,
    pub(crate) follow_symlinks: bool,
    pub(crate) delete_on_release: bool,
    pub(crate) fair: bool,
    pub(crate) writable: bool,
    pub(crate) record: bool,
    pub(crate) upgradeable: bool,
    /// Not `signals`: the default is false.
    pub(crate) without_signals: bool,
}

impl LockOptions {
    /// Whether the lock consists of more than the lock of flock(2): of OFD locks on some bytes.
    pub(crate) fn locks_bytes(&self) -> bool {
        self.fair || self.upgradeable
    }

    /// The defaults.
    pub fn new() -> LockOptions {
        LockOptions::default()
    }

    /// Use this family of kernel locks. Default: [`Family::Flock`].
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// Create a missing lock file with exactly these permissions, whatever the umask is. An
    /// existing file keeps its permissions. Default: `0666 & !umask`.
    ///
    /// On file systems with unnamed files (O_TMPFILE; all common local ones) the file has these
    /// permissions from the moment it appears; on others it is closed to other users for a moment.
    pub fn permissions(mut self, mode: u32) -> Self {
        self.permissions = Some(mode & 0o7777);
        self
    }

    /// Create missing parent directories. Default: no.
    pub fn create_parents(mut self, create: bool) -> Self {
        self.create_parents = create;
        self
    }

    /// Follow a symbolic link at the last component of the path. Default: no, because in a shared
    /// directory any user may have put it there. Links among the parent directories are always
    /// followed.
    pub fn follow_symlinks(mut self, follow: bool) -> Self {
        self.follow_symlinks = follow;
        self
    }

    /// Remove the lock file at each release. Default: no.
    ///
    /// The holder first removes the file and then unlocks it, and an acquirer whose file is no
    /// longer at the path starts over, so this is as safe as leaving the file. Each acquisition
    /// costs more. It costs some milliseconds if it has to create the file, because it first looks
    /// in /proc/locks for a holder of a removed file. Other programs that use the file have to
    /// check, as this library does, that the file which they locked is still at the path; flock(1)
    /// does not.
    ///
    /// If there are several shared holders, the last one removes the file. If symbolic links are
    /// followed, the file is removed and the link stays. A directory, or a file that has content
    /// when it is opened, is refused ([`Error::Open`]): it was not made to be a lock file.
    pub fn delete_on_release(mut self, delete: bool) -> Self {
        self.delete_on_release = delete;
        self
    }

    /// Serve requests in the order in which they arrive. Default: no.
    ///
    /// The kernel wakes waiters in their order, but does not hand the lock over: a process that
    /// releases the lock and at once requests it again is quicker than the waiter that wakes up,
    /// and a shared request passes a waiting exclusive request. A fair request first queues for the
    /// place at the head of a queue, and only the request at the head asks for the lock. No fair
    /// request passes a waiter, except one that arrives while the place at the head changes hands.
    /// Writers therefore make progress while readers come and go: shared and exclusive requests
    /// with this option are a reader/writer lock. A [`LockSet`](crate::LockSet) waits for its turn
    /// at the member for which it sleeps.
    ///
    /// The threads that use one `FileLock`, or its clones, first queue among themselves: only one
    /// of them at a time has a place in the queue of the processes. A thread that waits for
    /// another of them gets its place after that one has released the lock, and requests of other
    /// processes that have arrived in the meantime are served before it. A thread with a
    /// `FileLock` of its own has a place of its own from the beginning.
    ///
    /// Only requests of locks with this option queue: other programs can pass them. Each
    /// acquisition costs two more system calls, and each change from one process to the next costs
    /// a wake-up. [`FileLock::try_lock`] lets the waiters go first, which takes up to a
    /// millisecond. A thread that has a shared lock may acquire another one before its turn.
    ///
    /// The place at the head is an OFD lock of fcntl(2) on two bytes far behind the end of the
    /// file, for which the file has to be writable. Only for [`Family::Flock`], and not on file
    /// systems where flock(2) is a lock of fcntl(2) as well (NFS, CIFS): [`Error::Unsupported`].
    pub fn fair(mut self, fair: bool) -> Self {
        self.fair = fair;
        self
    }

    /// Open the lock file for reading and writing, so that it can be the data that the lock
    /// protects: [`Guard::file`](crate::Guard::file). Default: no.
    ///
    /// Opening fails if writing is denied ([`Error::Open`]). The library itself writes nothing.
    ///
    /// ```
    /// use holdlock::LockOptions;
    /// use std::io::{Read, Seek, Write};
    /// # let path = std::env::temp_dir().join(format!("holdlock-doc-writable-{}", std::process::id()));
    /// let counter = LockOptions::new().writable(true).open(&path)?;
    /// let guard = counter.lock()?;
    /// let mut file = guard.file();
    /// let mut text = String::new();
    /// file.rewind()?; // the last holder in this process may have moved the position
    /// file.read_to_string(&mut text)?;
    /// let next = text.trim().parse::<u64>().unwrap_or(0) + 1;
    /// file.rewind()?;
    /// file.set_len(0)?;
    /// writeln!(file, "{next}")?;
    /// # drop(guard); std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn writable(mut self, writable: bool) -> Self {
        self.writable = writable;
        self
    }

    /// Of the shared holders, let one at a time have the right to upgrade:
    /// [`FileLock::lock_upgradeable`]. Default: no.
    ///
    /// The upgrade to the exclusive lock is atomic: from the first moment of the shared lock to the
    /// last one of the exclusive lock no other process or thread holds the lock exclusively. It
    /// waits for nobody but the readers, and passes writers that wait. All processes that read
    /// under the lock should use the option. A reader that does not, such as `flock -s`, makes an
    /// upgrade fail with [`Error::NotAtomic`](crate::Error::NotAtomic); writers need not know of
    /// it.
    ///
    /// Each shared acquisition costs two more system calls. They lock bytes far behind the end of
    /// the file with OFD locks, for which the file has to be writable. Only for [`Family::Flock`],
    /// and not where flock(2) is a lock of fcntl(2) as well: [`Error::Unsupported`]. New readers
    /// can pass an upgrade that waits, unless the lock is also [fair](LockOptions::fair).
    pub fn upgradeable(mut self, upgradeable: bool) -> Self {
        self.upgradeable = upgradeable;
        self
    }

    /// Keep a record in the lock file: a token that rises with each exclusive acquisition
    /// ([`Guard::token`](crate::Guard::token)), the holder, the time of the acquisition and a note
    /// ([`Record`](crate::Record)), and whether the last holder died
    /// ([`Guard::abandoned`](crate::Guard::abandoned)). Default: no.
    ///
    /// The file is opened for reading and writing. Each exclusive acquisition and its release write
    /// 1024 bytes of readable text at the beginning of the file, while the lock is held; nothing is
    /// synced to the disk. Shared requests write nothing. All processes that use the lock should
    /// use the option: while a process without it holds the lock, the record describes the last
    /// holder that used it.
    ///
    /// # Errors
    ///
    /// Opening fails with [`Error::Record`] if the file has other content or is not a regular file,
    /// and with [`Error::Open`] if it cannot be written. Requests fail with [`Error::Record`], and
    /// hold nothing, if the content has changed since, or if the record cannot be written.
    ///
    /// Do not combine the option with [deletion on release](LockOptions::delete_on_release),
    /// because the record would be lost with the file, nor with a file that [the caller
    /// writes](LockOptions::writable).
    ///
    /// ```
    /// use holdlock::LockOptions;
    /// # let path = std::env::temp_dir().join(format!("holdlock-doc-record-{}", std::process::id()));
    /// let lock = LockOptions::new().record(true).open(&path)?;
    /// let first = lock.lock()?.token();
    /// let guard = lock.lock()?;
    /// assert!(guard.token() > first);
    /// if let Some(last) = guard.abandoned() {
    ///     eprintln!("{last} has died; cleaning up what it left");
    /// }
    /// # drop(guard); std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn record(mut self, record: bool) -> Self {
        self.record = record;
        self
    }

    /// Use a real-time signal to end waits ([`wait_signal`](crate::wait_signal)). Default: yes.
    ///
    /// With `false` the library installs no handler and sends no signal for this lock. A wait with
    /// a time limit or a token then uses a helper thread in the kernel's queue, at most 16 in a
    /// process. Further requests, and fair requests, try the lock every 10 ms, and a thread that
    /// waits for another thread of the process notices a cancellation within 10 ms. The only
    /// deadlock that is noticed is that of a thread with itself.
    pub fn signals(mut self, signals: bool) -> Self {
        self.without_signals = !signals;
        self
    }

    /// Makes a lock on a file that the caller has open, with or without a path: an inherited
    /// descriptor, a temporary file without a name, memory (memfd_create(2)).
    ///
    /// The file is opened anew through /proc, so the lock does not belong to the caller's
    /// descriptor, which may be closed. Nothing is created. Renaming or removing the file does not
    /// affect the lock. Such a lock keeps the file open, also while it is free.
    ///
    /// # Errors
    ///
    /// [`Error::Open`] if /proc is not mounted, if the permissions of the file do not allow opening
    /// it, or if the lock is to be [deleted on release](LockOptions::delete_on_release).
    pub fn open_file(&self, file: impl AsFd) -> Result<FileLock, Error> {
        FileLock::open_file(self.clone(), file.as_fd())
    }

    /// Opens the lock file at `path`, and creates it if it is missing. Does not lock it. See
    /// [`FileLock::open`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<FileLock, Error> {
        FileLock::open_with(self.clone(), path.as_ref())
    }

    /// Opens the lock file at `path` for a semaphore with this number of slots, and creates it when
    /// it is missing. Takes no slot. See [`Semaphore::open`].
    ///
    /// Requests for a slot are always [fair](LockOptions::fair). With another
    /// [family](LockOptions::family), [deletion](LockOptions::delete_on_release), a
    /// [record](LockOptions::record) or [upgrades](LockOptions::upgradeable) the file is not
    /// opened: [`Error::Open`].
    pub fn open_semaphore(&self, path: impl AsRef<Path>, slots: u32) -> Result<Semaphore, Error> {
        Semaphore::open_with(self.clone(), path.as_ref(), slots)
    }
}
