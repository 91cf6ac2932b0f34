//! The queue of fair requests and of requests for a slot: each request waits until it is at the
//! head, and only then asks for the lock.
//!
//! The head of the queue is a lock of fcntl(2) on some bytes of the file (see `bytes.rs`). The
//! kernel gives it to the waiting requests in the order of their arrival. A request at the head
//! keeps these bytes while it waits for the lock, so that no other fair request asks for the lock
//! at the same time. It leaves the head when it has the lock. Programs that use flock(2) do not
//! notice locks of fcntl(2). For programs that use fcntl(2) see `head_watcher`.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use crate::acquire::head_watcher::HeadWatch;
use crate::acquire::open::LockFile;
use crate::bytes::Range;
use crate::sys::file_lock::Blocking;
use crate::sys::file_system;
use crate::wait::{KernelError, KernelWait, Stop, Wait};
use crate::{Family, Mode};

/// A request's turn: it is at the head of the queue until this is dropped.
pub(crate) struct Turn {
    file: Arc<LockFile>,
    watch: Option<HeadWatch>,
}

impl Turn {
    /// The turn if no request is at the head now.
    pub(crate) fn at_once(file: &Arc<LockFile>, place: Range) -> Option<Turn> {
        file.lock_head(place, Blocking::No).ok()?;
        Some(Turn {
            file: file.clone(),
            watch: None,
        })
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
        let ask = |blocking| file.lock_head(place, blocking);
        let turn = || {
            Ok(Some(Turn {
                file: file.clone(),
                watch: None,
            }))
        };
        let mut looks = 0;
        loop {
            match ask(Blocking::No) {
                Ok(()) => return turn(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(KernelError::Io(error)),
            }
            // The request at the head may wait for this thread's shared lock.
            if mode == Mode::Shared && held(Mode::Exclusive) && !held(Mode::Shared) {
                return Ok(None);
            }
            if !wait.may_sleep() {
                if looks == LOOKS {
                    return Err(KernelError::Stop(wait.stop_at_once()));
                }
                pause_between_looks(looks);
                looks += 1;
                continue;
            }
            if held(mode) {
                return Err(KernelError::Stop(Stop::Deadlock));
            }
            wait.begin().map_err(KernelError::Stop)?;
            match wait.sleep_in_kernel(None, || ask(Blocking::Yes))? {
                KernelWait::Locked => return turn(),
                // Without signals nothing could end a wait in the queue: ask again and again, and
                // lose the order.
                KernelWait::NoSignals | KernelWait::Capped => {
                    wait.sleep_briefly().map_err(KernelError::Stop)?;
                }
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

/// The turn, if no request waits at the head. For threads that are inside: then no thread of the
/// same `FileLock` is at the head.
pub(crate) fn after_looks(file: &Arc<LockFile>, mode: Mode) -> Option<Turn> {
    for looks in 0..LOOKS {
        match file.lock_head(Range::head_of_queue(mode), Blocking::No) {
            Ok(()) => {
                return Some(Turn {
                    file: file.clone(),
                    watch: None,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => pause_between_looks(looks),
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
        let _ = self.file.unlock_head();
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
