//! From a request to a held lock: past the gate, through the kernel's queue, and
//! on the file that is at the path.

mod aside;
mod convert;
pub(crate) mod open;
mod orphan;
pub(crate) mod release;
mod turn;

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::open::{Leased, LockFile, Opened, Writing};
use self::turn::Turn;
use crate::gate::{Alone, Entry, Gate, Occupant, Passed, registry};
use crate::inspect::Place;
use crate::lock::FileLock;
use crate::request::Terms;
use crate::sys::file::Access;
use crate::sys::file_lock::{self, Patience};
use crate::sys::identity::Identity;
use crate::sys::{Refusal, file_system};
use crate::wait::helper_thread;
use crate::wait::{KernelError, KernelWait, Stop, Wait};
use crate::{Conflict, Error, Family, Mode};

/// How often, and for how long each time, a request waits for the holder of a
/// removed lock file before it refuses. Who deletes on release holds a removed
/// file for a moment, and then each of those who queued for it does. Only one
/// process that is found there every time holds it for good.
const ORPHAN_LOOKS: u32 = 5;
/// The same for a holder that is at work: on a busy machine it may have to wait for a processor
/// between the removal and the release.
const ORPHAN_LOOKS_AT_WORK: u32 = 50;
const ORPHAN_WAIT: Duration = Duration::from_millis(200);
/// A request without a limit ends after so many attempts to open or create the file, and so much
/// time: then something else is wrong than that others create and remove it meanwhile.
const OPEN_ATTEMPTS: u32 = 1000;
const OPEN_TIME: Duration = Duration::from_secs(10);

impl FileLock {
    /// Takes the lock for `owner`. Returns the locked file.
    #[inline]
    pub(crate) fn take(&self, terms: Terms<'_>, owner: Occupant) -> Result<Arc<LockFile>, Error> {
        let mode = terms.mode;
        let mut wait = Wait::new(terms, self);
        let gate = self.gate();
        let taken = self.pass_gate(gate, mode, owner, &mut wait);
        wait.settle(taken, |file| drop(self.leave(gate, &file, mode, owner)))
    }

    #[inline]
    fn pass_gate(
        &self,
        gate: &Gate,
        mode: Mode,
        owner: Occupant,
        wait: &mut Wait<'_>,
    ) -> Result<Arc<LockFile>, Error> {
        let mut join = true;
        loop {
            let entry = Entry { mode, owner, join };
            let passed = gate
                .enter(entry, wait, |file| {
                    drop(self.unlock(gate, file, Mode::Exclusive))
                })
                .map_err(|stop| {
                    let identity = gate.file().map(|file| file.identity());
                    self.stopped(stop, mode, wait, identity)
                })?;
            match passed {
                Passed::Alone(alone) => return self.take_alone(gate, alone, mode, owner, wait),
                Passed::Joined(joined) => {
                    if !joined.check || joined.file.is_intact() && self.may_join(&joined.file, mode)
                    {
                        return Ok(joined.file);
                    }
                    // The others hold a file that is no longer at the path, or have lost it, or
                    // have to let somebody in first: wait until they are out.
                    let _ = self.leave(gate, &joined.file, mode, owner);
                    join = false;
                }
            }
        }
    }

    /// Whether nobody waits who would be passed: where the order counts, threads that hold the
    /// lock together are not to keep others out, one relieving the other.
    fn may_join(&self, file: &LockFile, mode: Mode) -> bool {
        !self.options().fair || turn::nobody_stays(file, mode)
    }

    /// The part of a thread that has passed the gate alone.
    #[inline]
    fn take_alone(
        &self,
        gate: &Gate,
        alone: Alone,
        mode: Mode,
        owner: Occupant,
        wait: &mut Wait<'_>,
    ) -> Result<Arc<LockFile>, Error> {
        // Whatever goes wrong: nobody is inside then.
        let inside = Inside { gate };
        if alone.kept
            && let Some(file) = &alone.file
        {
            // The holder before may have removed the file or closed its descriptor, and with that
            // lost the lock, however short it was inside.
            if mode == Mode::Exclusive && file.is_intact() {
                inside.stay();
                return Ok(file.clone());
            }
            if file.is_ours() {
                let _ = file.unlock(self.options().family);
            }
        }
        let file = self.lock_in_kernel(gate, alone.file, mode, wait)?;
        gate.taken();
        inside.stay();
        if mode == Mode::Shared {
            gate.share(owner);
        }
        Ok(file)
    }

    /// Takes the kernel's lock, on the file that is at the path once it is taken.
    #[inline]
    pub(crate) fn lock_in_kernel(
        &self,
        gate: &Gate,
        file: Option<Arc<LockFile>>,
        mode: Mode,
        wait: &mut Wait<'_>,
    ) -> Result<Arc<LockFile>, Error> {
        let mut next = file;
        loop {
            let file = match next.take() {
                Some(file) => file,
                None => {
                    let file = Arc::new(self.open_or_create(mode, wait)?);
                    gate.set_file(Some(file.clone()));
                    file
                }
            };
            match self.lock_this(gate, file, mode, wait)? {
                Locked::Yes(file) if file.is_current() => return Ok(file),
                // Somebody removed, renamed or replaced it before we had the lock. Unlock before
                // closing: a child may have inherited the description.
                Locked::Yes(file) => drop(file.unlock(self.options().family)),
                Locked::Again(file) => {
                    next = Some(file);
                    continue;
                }
                Locked::Closed => {}
            }
            gate.set_file(None);
            wait.again()
                .map_err(|stop| self.stopped(stop, mode, wait, None))?;
        }
    }

    #[inline]
    fn lock_this(
        &self,
        gate: &Gate,
        file: Arc<LockFile>,
        mode: Mode,
        wait: &mut Wait<'_>,
    ) -> Result<Locked, Error> {
        let family = self.options().family;
        let failed = |source: io::Error| {
            Error::from_lock_call(&self.name().path, lock_call(mode), source, || {
                file_system::name_of(file.as_fd())
            })
        };
        let identity = file.identity();
        let stopped = |stop, wait: &Wait<'_>| self.stopped(stop, mode, wait, Some(identity));
        // Kept until the lock is ours, or the request ends.
        let mut turn = match self.turn(gate, &file, mode, wait) {
            Ok(turn) => turn,
            Err(KernelError::Stop(stop)) => return Err(stopped(stop, wait)),
            Err(KernelError::Io(_)) if !file.is_ours() => return Ok(Locked::Closed),
            Err(KernelError::Io(error)) => return Err(self.system("queueing for the lock", error)),
        };
        match file.lock(family, mode, Patience::Never) {
            Ok(()) => return Ok(Locked::Yes(file)),
            Err(_) if !file.is_ours() => return Ok(Locked::Closed),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return Ok(Locked::Again(file));
            }
            Err(error) if Refusal::of(&error) == Some(Refusal::BadDescriptor) && !file.writable => {
                // NFS wants an exclusive lock's file open for writing.
                let again = match open::open_existing(self.name(), Writing::IfAllowed) {
                    Ok(Opened::File(again)) if again.writable => Arc::new(again),
                    _ => return Err(failed(error)),
                };
                gate.set_file(Some(again.clone()));
                return Ok(Locked::Again(again));
            }
            Err(error) => return Err(failed(error)),
        }
        if !wait.may_sleep() {
            return Err(stopped(wait.refusal(), wait));
        }
        if registry::held_by_this_thread(identity, family, mode, gate) {
            return Err(stopped(Stop::Deadlock, wait));
        }
        wait.begin().map_err(|stop| stopped(stop, wait))?;
        if let Some(turn) = &mut turn {
            turn.stay();
        }
        let sleep = || file.lock(family, mode, Patience::Sleep);
        let locked = match wait.kernel(None, sleep) {
            Ok(KernelWait::Locked) => Ok(file.clone()),
            Ok(KernelWait::NoSignals | KernelWait::Capped) => {
                helper_thread::lock(&file, family, mode, wait).inspect(|locked| {
                    gate.set_file(Some(locked.clone()));
                })
            }
            Err(error) => Err(error),
        };
        match locked {
            // Of a descriptor that was closed meanwhile the kernel says that it is locked, and it is
            // not.
            Ok(locked) if !locked.is_ours() => Ok(Locked::Closed),
            Ok(locked) => Ok(Locked::Yes(locked)),
            Err(KernelError::Stop(stop)) => Err(stopped(stop, wait)),
            Err(KernelError::Io(_)) if !file.is_ours() => Ok(Locked::Closed),
            Err(KernelError::Io(error)) => Err(failed(error)),
        }
    }

    /// Where the order counts: waits for the place at the head of the queue.
    fn turn(
        &self,
        gate: &Gate,
        file: &Arc<LockFile>,
        mode: Mode,
        wait: &mut Wait<'_>,
    ) -> Result<Option<Turn>, KernelError> {
        if !self.options().fair {
            return Ok(None);
        }
        let family = self.options().family;
        Turn::come(file, mode, wait, |mode| {
            registry::held_by_this_thread(file.identity(), family, mode, gate)
        })
    }

    /// Opens the lock file, or creates it after making sure that nobody holds
    /// the lock on a removed file of that name.
    fn open_or_create(&self, mode: Mode, wait: &mut Wait<'_>) -> Result<LockFile, Error> {
        let began = Instant::now();
        let mut attempts = 0;
        let mut looks = 0;
        let mut last = None;
        loop {
            match self.try_open().map_err(|error| self.cannot_open(error))? {
                TryOpen::File(file) => return self.if_fit(file),
                TryOpen::Raced => {}
                TryOpen::Leased(leased) => {
                    if let Some(file) = self.outwait_lease(&leased, mode, wait)? {
                        return self.if_fit(file);
                    }
                }
                TryOpen::Orphan(orphan) => {
                    let who = Some((orphan.holder.pid, orphan.place));
                    looks = if who == last { looks + 1 } else { 0 };
                    last = who;
                    let patience = if orphan.may_be_late() {
                        ORPHAN_LOOKS_AT_WORK
                    } else {
                        ORPHAN_LOOKS
                    };
                    if looks >= patience || !self.outwaits(&orphan, mode, wait)? {
                        return Err(self.refused(orphan, mode, wait));
                    }
                }
            }
            wait.again()
                .map_err(|stop| self.stopped(stop, mode, wait, None))?;
            attempts += 1;
            if attempts >= OPEN_ATTEMPTS && began.elapsed() > OPEN_TIME {
                return Err(self.cannot_open(io::Error::other(
                    "it is created and removed again and again by others",
                )));
            }
        }
    }

    /// Waits until another process has given its lease on the file back. None: look again.
    fn outwait_lease(
        &self,
        leased: &Leased,
        mode: Mode,
        wait: &mut Wait<'_>,
    ) -> Result<Option<LockFile>, Error> {
        let opened = Cell::new(None);
        let waited = wait.begin().map_err(KernelError::Stop).and_then(|()| {
            wait.kernel(None, || {
                opened.set(Some(leased.open(self.name())?));
                Ok(())
            })
        });
        match waited {
            Ok(KernelWait::Locked) => return Ok(opened.take()),
            Err(KernelError::Stop(stop)) => {
                return Err(self.stopped(stop, mode, wait, leased.identity()));
            }
            // Signals cannot be used, or /proc is missing: look now and then.
            Ok(KernelWait::NoSignals | KernelWait::Capped) | Err(KernelError::Io(_)) => {}
        }
        wait.nap()
            .map_err(|stop| self.stopped(stop, mode, wait, leased.identity()))?;
        Ok(None)
    }

    /// The file, if locks on it can be as they are asked for.
    pub(crate) fn if_fit(&self, file: LockFile) -> Result<LockFile, Error> {
        if self.options().delete_on_release {
            release::may_be_deleted(&file).map_err(|error| self.cannot_open(error))?;
        }
        let unfit = self
            .options()
            .fair
            .then(|| turn::unfit(&file, self.options().family));
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

    /// One attempt to open or create the lock file. Never waits.
    pub(crate) fn try_open(&self) -> io::Result<TryOpen> {
        // A shared OFD lock needs reading only, but one descriptor serves for both modes.
        let writing = if self.options().writable {
            Writing::Needed
        } else if self.options().family == Family::Ofd || self.options().fair {
            Writing::IfAllowed
        } else {
            Writing::No
        };
        match open::open_existing(self.name(), writing)? {
            Opened::File(file) => return Ok(TryOpen::File(file)),
            Opened::Leased(leased) => return Ok(TryOpen::Leased(leased)),
            Opened::Missing if self.name().is_pinned() => return Err(Refusal::Missing.into()),
            Opened::Missing => {}
        }
        if let Some(orphan) = orphan::find(&self.name().path, self.options().family) {
            return Ok(TryOpen::Orphan(orphan));
        }
        match open::create(self.name(), self.options(), writing != Writing::No) {
            Ok(file) => Ok(TryOpen::File(file)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::AlreadyExists | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(TryOpen::Raced)
            }
            // Somebody removed the directory that was created just now.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && self.options().create_parents =>
            {
                Ok(TryOpen::Raced)
            }
            Err(error) => Err(error),
        }
    }

    /// Waits in the kernel's queue of the removed file, for a short while. False
    /// when the request's own time is over.
    fn outwaits(
        &self,
        orphan: &orphan::Orphan,
        mode: Mode,
        wait: &mut Wait<'_>,
    ) -> Result<bool, Error> {
        let until = Instant::now() + ORPHAN_WAIT;
        let family = self.options().family;
        let access = match family {
            Family::Flock => Access::Read,
            Family::Ofd => Access::ReadWrite,
        };
        let is_it = |fd: BorrowedFd<'_>| Place::of_open(fd).is_ok_and(|it| it == orphan.place);
        let waited = match wait.begin() {
            Err(stop) => Err(KernelError::Stop(stop)),
            Ok(()) => match open::open_removed(self.name(), &orphan.door, access, is_it) {
                // The holder has closed it, or opened something else by that number: look again.
                Ok(None) => return Ok(true),
                // Exclusive, also for a shared request: until nobody at all holds the removed file.
                Ok(Some(door)) => wait.kernel(Some(until), || {
                    file_lock::lock(door.as_fd(), family, Mode::Exclusive, Patience::Sleep)
                }),
                Err(error) => Err(KernelError::Io(error)),
            },
        };
        match waited {
            Ok(KernelWait::Locked | KernelWait::Capped) => Ok(true),
            Err(KernelError::Stop(Stop::Cancelled)) => {
                Err(self.stopped(Stop::Cancelled, mode, wait, None))
            }
            Err(KernelError::Stop(_)) => Ok(false),
            // The file cannot be opened (any more), or signals cannot be used: look now and then.
            Ok(KernelWait::NoSignals) | Err(KernelError::Io(_)) => {
                while Instant::now() < until
                    && orphan::find(&self.name().path, family).is_some()
                    && wait.nap().is_ok()
                {}
                Ok(wait.check().is_ok())
            }
        }
    }

    fn refused(&self, orphan: orphan::Orphan, mode: Mode, wait: &Wait<'_>) -> Error {
        let conflict = Conflict::new(&self.name().path, mode, wait.waited(), None);
        Error::RemovedWhileHeld(conflict.with_holders(vec![orphan.holder]))
    }

    pub(crate) fn stopped(
        &self,
        stop: Stop,
        mode: Mode,
        wait: &Wait<'_>,
        identity: Option<Identity>,
    ) -> Error {
        let path = &self.name().path;
        let waited = wait.waited();
        match stop {
            Stop::Busy => Error::WouldBlock(Conflict::new(path, mode, waited, identity)),
            Stop::TimedOut => Error::TimedOut(Conflict::new(path, mode, waited, identity)),
            Stop::Cancelled => Error::Cancelled {
                path: path.clone(),
                waited,
            },
            Stop::Deadlock => Error::Deadlock {
                path: path.clone(),
                mode,
                cycle: None,
            },
            Stop::Cycle => Error::Deadlock {
                path: path.clone(),
                mode,
                cycle: wait.cycle(),
            },
        }
    }

    pub(crate) fn cannot_open(&self, source: io::Error) -> Error {
        Error::Open {
            path: self.name().path.clone(),
            source,
        }
    }

    pub(crate) fn system(&self, operation: &'static str, source: io::Error) -> Error {
        Error::System {
            path: self.name().path.clone(),
            operation,
            source,
        }
    }
}

fn lock_call(mode: Mode) -> &'static str {
    match mode {
        Mode::Exclusive => "locking (exclusive)",
        Mode::Shared => "locking (shared)",
    }
}

/// What a lock call came to.
enum Locked {
    Yes(Arc<LockFile>),
    /// Not yet: try this file, which may be open for writing now.
    Again(Arc<LockFile>),
    /// Other code of this process has closed the descriptor.
    Closed,
}

/// What an attempt to open the lock file came to.
pub(crate) enum TryOpen {
    File(LockFile),
    /// Another process was quicker at creating or removing it.
    Raced,
    Leased(Leased),
    Orphan(orphan::Orphan),
}

/// Opens the gate again when dropped, unless told to [`stay`](Inside::stay).
pub(crate) struct Inside<'g> {
    pub(crate) gate: &'g Gate,
}

impl Inside<'_> {
    pub(crate) fn stay(self) {
        std::mem::forget(self);
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.gate.open();
    }
}
