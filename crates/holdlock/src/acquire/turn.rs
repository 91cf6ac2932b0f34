//! Who is served next when the order counts: fair requests queue for the place at the head first,
//! and only who stands there asks for the lock.
//!
//! The kernel serves those who queue for the place in their order. Whoever stands at the head
//! keeps the place while it waits for the lock, so that nobody asks for it at the same time, and
//! leaves it once it has the lock. The place is a lock of fcntl(2), of which flock(2) and its
//! users see nothing; for those of fcntl(2), see `head_watcher`.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use crate::acquire::head_watcher::HeadWatch;
use crate::acquire::open::LockFile;
use crate::sys::file_lock::Blocking;
use crate::sys::file_system;
use crate::wait::{KernelError, KernelWait, Stop, Wait};
use crate::{Family, Mode};

/// The place at the head of the queue, left when dropped.
pub(crate) struct Turn {
    file: Arc<LockFile>,
    watch: Option<HeadWatch>,
}

impl Turn {
    /// Waits for the place; `held` is whether this thread has a lock on the file that excludes
    /// such a one. None: it need not wait for its turn.
    pub(crate) fn acquire(
        file: &Arc<LockFile>,
        mode: Mode,
        wait: &mut Wait<'_>,
        held: impl Fn(Mode) -> bool,
    ) -> Result<Option<Turn>, KernelError> {
        let ask = |blocking| file.lock_head(mode, blocking);
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
            // Who stands at the head may be waiting for this thread's shared lock.
            if mode == Mode::Shared && held(Mode::Exclusive) && !held(Mode::Shared) {
                return Ok(None);
            }
            if !wait.may_sleep() {
                if looks == LOOKS {
                    return Err(KernelError::Stop(wait.refusal()));
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
                // The order is lost where signals cannot end a wait in the queue.
                KernelWait::NoSignals | KernelWait::Capped => {
                    wait.sleep_briefly().map_err(KernelError::Stop)?;
                }
            }
        }
    }
}

impl Turn {
    /// The lock is not free, so that the request stays at the head for a while: as long as it is
    /// in nobody's way.
    pub(crate) fn watch_head(&mut self) {
        self.watch = Some(HeadWatch::begin(&self.file));
    }
}

/// Whether nobody stays at the head. For threads that are inside: none of their `FileLock` is
/// there then.
pub(crate) fn head_is_free(file: &LockFile, mode: Mode) -> bool {
    for looks in 0..LOOKS {
        match file.lock_head(mode, Blocking::No) {
            Ok(()) => return file.unlock_head().is_ok(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => pause_between_looks(looks),
            Err(_) => {}
        }
    }
    false
}

/// How often a request that is not to wait looks whether the place at the head is free. Who only
/// passes through it is gone in a moment, and no reason to turn back; who stays there, waits.
const LOOKS: u32 = 40;
/// So many of these looks follow at once, for the usual moment; the others are for one which is
/// kept from running just then: a millisecond in all.
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
        // Nothing can be wrong with a lock that is held; if it were, the next close gives it back.
        let _ = self.file.unlock_head();
    }
}

/// Why there can be no fair locks on this file.
pub(crate) fn why_not_fair(file: &LockFile, family: Family) -> Option<io::Error> {
    let file_system = || file_system::name_of(file.as_fd());
    let (kind, why) = if family != Family::Flock {
        (
            io::ErrorKind::InvalidInput,
            "only a lock of flock(2) can be fair",
        )
    } else if !file.writable {
        (
            io::ErrorKind::PermissionDenied,
            "the file of a fair lock has to be writable",
        )
    } else if ["nfs", "cifs", "smb2", "9p", "afs"].contains(&file_system().as_str()) {
        (
            io::ErrorKind::Unsupported,
            "a fair lock needs both flock(2) and fcntl(2), which are one there",
        )
    } else {
        return None;
    };
    Some(io::Error::new(kind, why))
}
