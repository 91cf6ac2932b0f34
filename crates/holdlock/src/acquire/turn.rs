//! The queue of fair requests and of requests for a slot: each request waits until it is at the
//! head, and only then asks for the lock.
//!
//! The head of the queue is a lock of fcntl(2) on some bytes of the file (see `bytes.rs`). The
//! kernel gives it to the sleeping requests in the order of their arrival. A request at the head
//! keeps these bytes while it waits for the lock, so that no other fair request asks for the lock
//! at the same time. It leaves the head when it has the lock. Where slots are in use, the requests
//! behind the head have tickets (see `ticket`). Programs that use flock(2) do not notice locks of
//! fcntl(2). For programs that use fcntl(2) see `head_watcher`.
//!
//! Requests for a slot pass the head together while no request waits: they share its bytes. A
//! request at the head excludes them.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use crate::acquire::head_watcher::HeadWatch;
use crate::acquire::open::LockFile;
use crate::acquire::ticket::Ticket;
use crate::bytes::Range;
use crate::sys::file_lock::Blocking;
use crate::sys::file_system;
use crate::wait::{KernelError, KernelWait, Stop, Wait};
use crate::{Family, Mode};

/// A request's turn: it is in the queue, and has come to its head, until this is dropped.
pub(crate) struct Turn {
    file: Arc<LockFile>,
    watch: Option<HeadWatch>,
}

impl Turn {
    fn of(file: &Arc<LockFile>) -> Turn {
        Turn {
            file: file.clone(),
            watch: None,
        }
    }

    /// The turn if no other request is in the queue now.
    pub(crate) fn at_once(file: &Arc<LockFile>, place: Range) -> io::Result<Option<Turn>> {
        let locked = lock_head(file, None, place)?;
        Ok(locked.then(|| Turn::of(file)))
    }

    /// Passes the head if no request is in the queue now. Others may pass at the same time, but no
    /// request comes to the head until this is dropped.
    pub(crate) fn pass(file: &Arc<LockFile>) -> io::Result<Option<Turn>> {
        if !Ticket::is_next(None, file)? {
            return Ok(None);
        }
        let locked = lock_if_free(file, Mode::Shared, Range::QUEUE)?;
        Ok(locked.then(|| Turn::of(file)))
    }

    /// Waits until the request is at the head of the queue. None: the request need not wait for its
    /// turn.
    ///
    /// `place` is what the request locks to be at the head. `held` tells whether this thread
    /// already has a lock on the file that excludes the given mode.
    pub(crate) fn acquire(
        file: &Arc<LockFile>,
        place: Range,
        mode: Mode,
        wait: &mut Wait<'_>,
        held: impl Fn(Mode) -> bool,
    ) -> Result<Option<Turn>, KernelError> {
        if let Some(turn) = Turn::at_once(file, place).map_err(KernelError::Io)? {
            return Ok(Some(turn));
        }
        // Leaves the queue if the request ends.
        let turn = Turn::of(file);
        let mut ticket = None;
        let mut looks = 0;
        loop {
            // The request at the head may wait for this thread's shared lock.
            if mode == Mode::Shared && held(Mode::Exclusive) && !held(Mode::Shared) {
                return Ok(None);
            }
            if wait.may_sleep() {
                if held(mode) {
                    return Err(KernelError::Stop(Stop::Deadlock));
                }
                wait.begin().map_err(KernelError::Stop)?;
            } else {
                if looks == LOOKS || !wait.may_look_again() {
                    return Err(KernelError::Stop(wait.stop_at_once()));
                }
                pause_between_looks(looks);
                looks += 1;
            }
            if ticket.is_none() && Ticket::are_used(file, place).map_err(KernelError::Io)? {
                ticket = Ticket::take(file, place).map_err(KernelError::Io)?;
            }
            if wait.may_sleep() && sleep_behind(file, ticket, place, wait)? {
                return Ok(Some(turn));
            }
            if lock_head(file, ticket, place).map_err(KernelError::Io)? {
                return Ok(Some(turn));
            }
        }
    }

    /// The request has to wait at the head for the lock: registers it with the watcher, which makes
    /// it give way to a program that it blocks.
    pub(crate) fn watch_head(&mut self) {
        self.watch = Some(HeadWatch::begin(&self.file));
    }

    /// Ends the registration. Returns whether the request is still at the head.
    pub(crate) fn stop_watch(&mut self) -> bool {
        self.watch.take().is_none_or(HeadWatch::end)
    }
}

/// Locks the head if the request is the next one, and no request is there.
fn lock_head(file: &LockFile, ticket: Option<Ticket>, place: Range) -> io::Result<bool> {
    Ok(Ticket::is_next(ticket, file)? && lock_if_free(file, Mode::Exclusive, place)?)
}

fn lock_if_free(file: &LockFile, mode: Mode, range: Range) -> io::Result<bool> {
    loop {
        match file.lock_bytes(mode, range, Blocking::No) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sleeps until the next request before this one has left the queue, or for the head. Returns
/// whether this request is at the head.
fn sleep_behind(
    file: &LockFile,
    ticket: Option<Ticket>,
    place: Range,
    wait: &mut Wait<'_>,
) -> Result<bool, KernelError> {
    let before = ticket.map(|ticket| ticket.before(file, place)).transpose();
    let before = before.map_err(KernelError::Io)?.flatten();
    let awaited = before.unwrap_or(place);
    let sleep = || file.lock_bytes(Mode::Exclusive, awaited, Blocking::Yes);
    match wait.sleep_in_kernel(None, sleep)? {
        KernelWait::Locked if before.is_none() => return Ok(true),
        KernelWait::Locked => file.unlock_bytes(awaited).map_err(KernelError::Io)?,
        // Without signals nothing could end a wait in the queue: ask again and again.
        KernelWait::NoSignals | KernelWait::Capped => {
            wait.sleep_briefly().map_err(KernelError::Stop)?;
        }
    }
    Ok(false)
}

/// The turn, if no request is in the queue. For threads that are inside: then no thread of the same
/// `FileLock` is in the queue.
pub(crate) fn after_looks(file: &Arc<LockFile>, mode: Mode) -> Option<Turn> {
    look_for(|| Turn::at_once(file, Range::head_of_queue(mode)))
}

/// The place at the head, if no request is there. Passes the requests behind the head. For threads
/// that are inside, as [`after_looks`].
pub(crate) fn before_all(file: &Arc<LockFile>, mode: Mode) -> Option<Turn> {
    look_for(|| {
        let locked = lock_if_free(file, Mode::Exclusive, Range::head_of_queue(mode))?;
        Ok(locked.then(|| Turn::of(file)))
    })
}

fn look_for(look: impl Fn() -> io::Result<Option<Turn>>) -> Option<Turn> {
    for looks in 0..LOOKS {
        match look() {
            Ok(Some(turn)) => return Some(turn),
            Ok(None) => pause_between_looks(looks),
            Err(_) => {}
        }
    }
    None
}

/// How often a request that must not wait looks whether the head is free. A request that only
/// passes through the head leaves at once: do not fail because of it. A request that stays there
/// waits for the lock.
const LOOKS: u32 = 40;
/// The first looks follow each other without a sleep, because most requests leave within that time.
/// The later looks are for a request that gets no processor just then. All looks take about a
/// millisecond.
const QUICK_LOOKS: u32 = 30;

fn pause_between_looks(looks: u32) {
    if looks < QUICK_LOOKS {
        std::thread::yield_now();
    } else {
        std::thread::sleep(Duration::from_micros(100));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.watch = None;
        // Unlocking a held lock does not fail. If it did, the next close would unlock it.
        let _ = self.file.leave_queue();
    }
}

/// Why fair and upgradeable locks are not possible on this file. None: they are possible.
pub(crate) fn why_no_bytes(file: &LockFile, family: Family) -> Option<io::Error> {
    let file_system = || file_system::name_of(file.as_fd());
    let (kind, why) = if family != Family::Flock {
        (
            io::ErrorKind::InvalidInput,
            "only a lock of flock(2) can be fair or upgradeable",
        )
    } else if !file.writable {
        (
            io::ErrorKind::PermissionDenied,
            "the file of a fair or upgradeable lock or of a semaphore has to be writable",
        )
    } else if ["nfs", "cifs", "smb2", "9p", "afs"].contains(&file_system().as_str()) {
        (
            io::ErrorKind::Unsupported,
            "a fair or upgradeable lock and a semaphore need flock(2) and fcntl(2) to be separate, and \
             there they are the same",
        )
    } else {
        return None;
    };
    Some(io::Error::new(kind, why))
}
