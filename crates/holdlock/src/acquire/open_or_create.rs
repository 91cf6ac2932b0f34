//! From a name to an open lock file: repeats the attempt until it succeeds or the request ends.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::create::create;
use super::lock_name::not_reachable;
use super::open::{self, Leased, LockFile, Opened, Writing};
use super::orphan::{self, Orphan};
use super::{release, turn};
use crate::inspect::FileId;
use crate::record;
use crate::sys::file::Access;
use crate::sys::file_lock::{self, Blocking};
use crate::sys::file_system;
use crate::wait::{KernelError, KernelWait, Stop, Wait};
use crate::{Conflict, Error, Family, FileLock, Mode};

/// How often a request waits for the holder of a removed lock file before it gives up. A process
/// that deletes on release holds the removed file for a moment, and then so does each process that
/// was queued for it. Only a process that is found there every time really holds the lock.
const ORPHAN_LOOKS: u32 = 5;
/// The same for a holder that is running: on a busy machine it may wait for a processor between the
/// removal and the release.
const ORPHAN_LOOKS_AT_WORK: u32 = 50;
/// For how long each of these waits lasts at most.
const ORPHAN_WAIT: Duration = Duration::from_millis(200);
/// How often, and after which pauses, a request that must not wait tries the removed file.
const ORPHAN_TRIES: u32 = 5;
const ORPHAN_PAUSE: Duration = Duration::from_millis(4);
/// How long a holder that deletes on release usually holds the removed file.
const DELETION_MOMENT: Duration = Duration::from_millis(20);
/// The same for a holder that is running.
const DELETION_MOMENT_AT_WORK: Duration = Duration::from_secs(1);
/// A request without a limit gives up after this number of attempts that failed because other
/// processes create and remove the file, and this time.
const OPEN_ATTEMPTS: u32 = 1000;
const OPEN_TIME: Duration = Duration::from_secs(10);

impl FileLock {
    /// Opens the lock file, or creates it, and closes it again: the caller learns now what is wrong
    /// with the path. The requests, which have time limits, wait for the holder of a removed file
    /// and for leases. Until the first of them the lock is idle, and so has no file open.
    pub(crate) fn try_out(&self) -> Result<(), Error> {
        if let TryOpen::File(file) = self.try_open().map_err(|e| self.cannot_open(e))? {
            let file = self.if_fit(file)?;
            if self.name().is_pinned() {
                self.gate().set_file(Some(Arc::new(file)));
            }
        }
        Ok(())
    }

    /// Opens the lock file, or creates it after making sure that no process holds the lock on a
    /// removed file of that name.
    pub(crate) fn open_or_create(
        &self,
        mode: Mode,
        wait: &mut Wait<'_>,
    ) -> Result<LockFile, Error> {
        let (mut races, mut first_race) = (0, None);
        let mut looks = 0;
        let (mut last, mut first_seen) = (None, Instant::now());
        loop {
            match self.try_open().map_err(|error| self.cannot_open(error))? {
                TryOpen::File(file) => return self.if_fit(file),
                TryOpen::Raced => {
                    races += 1;
                    first_race.get_or_insert_with(Instant::now);
                }
                TryOpen::Leased(leased) => {
                    // The file stays where it is.
                    (races, first_race) = (0, None);
                    if let Some(file) = self.wait_for_lease(&leased, mode, wait)? {
                        return self.if_fit(file);
                    }
                }
                TryOpen::Orphan(orphan) => {
                    let holder = Some((orphan.holder.pid, orphan.file_id));
                    if holder == last {
                        looks += 1;
                    } else {
                        (looks, first_seen) = (0, Instant::now());
                    }
                    last = holder;
                    let (max_looks, moment) = if orphan.may_be_late() {
                        (ORPHAN_LOOKS_AT_WORK, DELETION_MOMENT_AT_WORK)
                    } else {
                        (ORPHAN_LOOKS, DELETION_MOMENT)
                    };
                    if looks >= max_looks {
                        return Err(self.removed_while_held(orphan, mode, wait));
                    }
                    // A holder that deletes on release is seen for a moment.
                    match self.wait_for_orphan(&orphan, mode, wait)? {
                        Ok(()) => {}
                        // The request must not wait for the lock, but for the end of this moment.
                        Err(Stop::Busy) if wait.may_look_again() && self.leaves_soon(&orphan) => {}
                        Err(Stop::Busy) if orphan.may_be_late() => {
                            return Err(self.would_block(orphan, mode, wait));
                        }
                        // A request whose time ends in this moment has just timed out.
                        Err(Stop::TimedOut) if first_seen.elapsed() < moment => {
                            return Err(self.timed_out(orphan, mode, wait));
                        }
                        Err(_) => return Err(self.removed_while_held(orphan, mode, wait)),
                    }
                }
            }
            wait.before_retry()
                .map_err(|stop| self.stopped(stop, mode, wait, None))?;
            let is_long = first_race.is_some_and(|first| first.elapsed() > OPEN_TIME);
            if races >= OPEN_ATTEMPTS && is_long && !wait.has_limit() {
                return Err(self.cannot_open(io::Error::other(
                    "other programs create and remove it again and again; find out which, and stop them",
                )));
            }
        }
    }

    /// Waits until another process has given its lease on the file back. None: try to open again.
    fn wait_for_lease(
        &self,
        leased: &Leased,
        mode: Mode,
        wait: &mut Wait<'_>,
    ) -> Result<Option<LockFile>, Error> {
        let opened = Cell::new(None);
        let waited = wait.begin().map_err(KernelError::Stop).and_then(|()| {
            wait.sleep_in_kernel(None, || {
                opened.set(Some(leased.open(self.name())?));
                Ok(())
            })
        });
        match waited {
            Ok(KernelWait::Locked) => return Ok(opened.take()),
            Err(KernelError::Stop(stop)) => {
                return Err(self.stopped(stop, mode, wait, leased.identity()));
            }
            // Signals cannot be used, or /proc is missing: try again after a short sleep.
            Ok(KernelWait::NoSignals | KernelWait::Capped) | Err(KernelError::Io(_)) => {}
        }
        wait.sleep_briefly()
            .map_err(|stop| self.stopped(stop, mode, wait, leased.identity()))?;
        Ok(None)
    }

    /// Returns the file if the requested kind of lock is possible on it.
    fn if_fit(&self, file: LockFile) -> Result<LockFile, Error> {
        if self.options().delete_on_release {
            release::may_be_deleted(&file).map_err(|error| self.cannot_open(error))?;
        }
        if self.options().record {
            record::check(&file).map_err(|error| self.cannot_record(error))?;
        }
        let unfit = self
            .options()
            .locks_bytes()
            .then(|| turn::why_no_bytes(&file, self.options().family));
        match unfit.flatten() {
            None => Ok(file),
            Some(error) if error.kind() == io::ErrorKind::Unsupported => Err(Error::Unsupported {
                path: self.name().path.clone(),
                file_system: file_system::name_of(file.as_fd()),
                source: error,
            }),
            Some(error) => Err(self.cannot_open(error)),
        }
    }

    /// Tries once to open or create the lock file. Never waits.
    fn try_open(&self) -> io::Result<TryOpen> {
        // A shared OFD lock only needs reading, but one descriptor serves both modes.
        let writing = if self.options().writable || self.options().record {
            Writing::Needed
        } else if self.options().family == Family::Ofd || self.options().locks_bytes() {
            Writing::IfAllowed
        } else {
            Writing::No
        };
        match open::open_existing(self.name(), writing)? {
            Opened::File(file) => return Ok(TryOpen::File(file)),
            Opened::Leased(leased) => return Ok(TryOpen::Leased(leased)),
            Opened::Missing if self.name().is_pinned() => return Err(not_reachable()),
            Opened::Missing => {}
        }
        if let Some(orphan) = orphan::find(&self.name().path, self.options().family) {
            return Ok(TryOpen::Orphan(orphan));
        }
        match create(self.name(), self.options(), writing != Writing::No) {
            Ok(file) => Ok(TryOpen::File(file)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::AlreadyExists | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(TryOpen::Raced)
            }
            // Another process removed the directory that was just created.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && self.options().create_parents =>
            {
                Ok(TryOpen::Raced)
            }
            Err(error) => Err(error),
        }
    }

    /// Waits in the kernel's queue of the removed file for a short time. An inner error if the
    /// request's own time is over.
    fn wait_for_orphan(
        &self,
        orphan: &Orphan,
        mode: Mode,
        wait: &mut Wait<'_>,
    ) -> Result<Result<(), Stop>, Error> {
        let until = Instant::now() + ORPHAN_WAIT;
        let family = self.options().family;
        let waited = match wait.begin() {
            Err(stop) => Err(KernelError::Stop(stop)),
            Ok(()) => match self.open_orphan(orphan) {
                // The holder has closed the file, or the number is another file's: look again.
                Ok(None) => return Ok(Ok(())),
                // Exclusive also for a shared request: wait until no process holds the removed
                // file.
                Ok(Some(removed)) => wait.sleep_in_kernel(Some(until), || {
                    file_lock::lock(removed.as_fd(), family, Mode::Exclusive, Blocking::Yes)
                }),
                Err(error) => Err(KernelError::Io(error)),
            },
        };
        let ended = match waited {
            Ok(KernelWait::Locked | KernelWait::Capped) => Ok(()),
            Err(KernelError::Stop(stop)) => Err(stop),
            // The file cannot be opened, or signals cannot be used: look again from time to time.
            Ok(KernelWait::NoSignals) | Err(KernelError::Io(_)) => {
                while Instant::now() < until
                    && orphan::find(&self.name().path, family).is_some()
                    && wait.sleep_briefly().is_ok()
                {}
                wait.check()
            }
        };
        match ended {
            Err(Stop::Cancelled) => Err(self.stopped(Stop::Cancelled, mode, wait, None)),
            ended => Ok(ended),
        }
    }

    /// Whether the holder of the removed file releases it within some milliseconds. Does not search
    /// for the holder again: on a host with many processes a search may miss it.
    fn leaves_soon(&self, orphan: &Orphan) -> bool {
        for _ in 0..ORPHAN_TRIES {
            std::thread::sleep(ORPHAN_PAUSE);
            let is_free = match self.open_orphan(orphan) {
                Ok(Some(removed)) => {
                    let family = self.options().family;
                    file_lock::lock(removed.as_fd(), family, Mode::Exclusive, Blocking::No).is_ok()
                }
                Ok(None) => true,
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            };
            if is_free {
                return true;
            }
        }
        false
    }

    /// Opens the removed file. None: the holder has closed it.
    fn open_orphan(&self, orphan: &Orphan) -> io::Result<Option<LockFile>> {
        let access = match self.options().family {
            Family::Flock => Access::Read,
            Family::Ofd => Access::ReadWrite,
        };
        let is_it = |fd: BorrowedFd<'_>| FileId::of_open(fd).is_ok_and(|it| it == orphan.file_id);
        open::open_removed(self.name(), &orphan.descriptor_path, access, is_it)
    }

    fn timed_out(&self, orphan: Orphan, mode: Mode, wait: &Wait<'_>) -> Error {
        let conflict = Conflict::new(&self.name().path, mode, wait.waited(), None);
        Error::TimedOut(conflict.with_holders(vec![orphan.holder]))
    }

    fn would_block(&self, orphan: Orphan, mode: Mode, wait: &Wait<'_>) -> Error {
        let conflict = Conflict::new(&self.name().path, mode, wait.waited(), None);
        Error::WouldBlock(conflict.with_holders(vec![orphan.holder]))
    }

    fn removed_while_held(&self, orphan: Orphan, mode: Mode, wait: &Wait<'_>) -> Error {
        let conflict = Conflict::new(&self.name().path, mode, wait.waited(), None);
        Error::RemovedWhileHeld(conflict.with_holders(vec![orphan.holder]))
    }
}

/// The result of one attempt to open the lock file.
enum TryOpen {
    File(LockFile),
    /// Another process created or removed the file at the same time.
    Raced,
    Leased(Leased),
    Orphan(Orphan),
}
