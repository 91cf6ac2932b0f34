//! The errors: what failed, which processes hold the lock, and what to do.
//!
//! | file | contents |
//! |---|---|
//! | here | the errors |
//! | `conflict` | the processes that hold the lock |
//! | `message` | the texts |
//! | `remedy` | what to do if the lock file cannot be opened |
//! | `duration` | durations for people |

mod conflict;
mod duration;
mod message;
mod remedy;

use std::fs::TryLockError;
use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use conflict::Conflict;

use crate::Mode;
use crate::inspect::Deadlock;
use crate::sys::Refusal;

/// Why a lock was not acquired, or not released.
///
/// Each message names the path, the attempt, the holders as far as /proc shows them, and the
/// remedy.
#[non_exhaustive]
pub enum Error {
    /// Another process or thread holds the lock, and the request does not wait
    /// ([`Request::try_once`](crate::Request::try_once)).
    WouldBlock(Conflict),
    /// The lock was still held at the deadline.
    TimedOut(Conflict),
    /// The lock file was removed while a process holds the lock on it. A new file would let a
    /// second process in, so the request has not created one.
    RemovedWhileHeld(Conflict),
    /// An [upgrade](crate::UpgradeableGuard::upgrade) would not have been atomic, and the lock is
    /// lost: a program that knows nothing of upgrades shared it. flock(2) then gives the shared
    /// lock up before it grants the exclusive one. Acquire the exclusive lock, and read anew.
    NotAtomic(Conflict),
    /// Others use the [`Semaphore`](crate::Semaphore) with another number of slots. When none of
    /// them holds a slot, a request may succeed.
    #[non_exhaustive]
    DifferentSlots {
        /// The users with the other number.
        conflict: Conflict,
        /// The number of slots of this request.
        slots: u32,
        /// The number of slots of the others.
        in_use: u32,
    },
    /// The wait was ended by a [`CancelToken`](crate::CancelToken) or by a request's callback.
    #[non_exhaustive]
    Cancelled {
        /// The lock file.
        path: PathBuf,
        /// How long the request had waited.
        waited: Duration,
    },
    /// The wait could never end. Either the calling thread itself holds the lock, by a guard that
    /// cannot leave the thread; or the holder waits, through other locks and processes, for a lock
    /// that this thread holds.
    #[non_exhaustive]
    Deadlock {
        /// The lock file.
        path: PathBuf,
        /// The mode that was asked for.
        mode: Mode,
        /// The cycle of waits. None: the thread waits for itself.
        cycle: Option<Deadlock>,
    },
    /// The lock file cannot be opened or created.
    #[non_exhaustive]
    Open {
        /// The lock file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file system does not support this kind of lock.
    #[non_exhaustive]
    Unsupported {
        /// The lock file.
        path: PathBuf,
        /// The file system's name.
        file_system: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The lock file cannot have a [record](crate::LockOptions::record): it has other content, or
    /// the record cannot be read or written. Nothing was overwritten, and the lock is not held.
    #[non_exhaustive]
    Record {
        /// The lock file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A [`TokenGate`](crate::TokenGate) has already admitted a later holder of the lock: the
    /// caller no longer holds the lock, and must not write.
    #[non_exhaustive]
    StaleToken {
        /// The file of the gate.
        path: PathBuf,
        /// The token of the caller.
        token: u64,
        /// The highest admitted token.
        newest: u64,
    },
    /// Any other failure of a system call.
    #[non_exhaustive]
    System {
        /// The lock file.
        path: PathBuf,
        /// The operation that failed.
        operation: &'static str,
        /// The error of the operating system.
        source: io::Error,
    },
}

impl Error {
    /// Whether another process or thread holds the lock: a later request may succeed.
    pub fn is_conflict(&self) -> bool {
        self.conflict().is_some()
    }

    /// The conflict, if this error is one.
    pub fn conflict(&self) -> Option<&Conflict> {
        match self {
            Error::WouldBlock(conflict)
            | Error::TimedOut(conflict)
            | Error::RemovedWhileHeld(conflict)
            | Error::NotAtomic(conflict)
            | Error::DifferentSlots { conflict, .. } => Some(conflict),
            _ => None,
        }
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        match self {
            Error::WouldBlock(conflict)
            | Error::TimedOut(conflict)
            | Error::RemovedWhileHeld(conflict)
            | Error::NotAtomic(conflict)
            | Error::DifferentSlots { conflict, .. } => conflict.path(),
            Error::Cancelled { path, .. }
            | Error::Deadlock { path, .. }
            | Error::Open { path, .. }
            | Error::Unsupported { path, .. }
            | Error::Record { path, .. }
            | Error::StaleToken { path, .. }
            | Error::System { path, .. } => path,
        }
    }

    /// The error of the operating system, if there is one.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Error::Open { source, .. }
            | Error::Unsupported { source, .. }
            | Error::Record { source, .. }
            | Error::System { source, .. } => Some(source),
            _ => None,
        }
    }

    /// The operating system's number of the error (errno), if there is one.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.io_error().and_then(io::Error::raw_os_error)
    }

    /// The same error of a request that has waited for this time in all.
    pub(crate) fn after(self, waited: Duration) -> Error {
        match self {
            Error::WouldBlock(conflict) => Error::WouldBlock(conflict.after(waited)),
            Error::TimedOut(conflict) => Error::TimedOut(conflict.after(waited)),
            Error::RemovedWhileHeld(conflict) => Error::RemovedWhileHeld(conflict.after(waited)),
            Error::Cancelled { path, .. } => Error::Cancelled { path, waited },
            other => other,
        }
    }

    /// The error for a lock call that failed.
    pub(crate) fn from_lock_call(
        path: &Path,
        operation: &'static str,
        source: io::Error,
        file_system: impl FnOnce() -> String,
    ) -> Error {
        let path = path.to_owned();
        match Refusal::of(&source) {
            Some(Refusal::Unsupported) => Error::Unsupported {
                path,
                file_system: file_system(),
                source,
            },
            _ => Error::System {
                path,
                operation,
                source,
            },
        }
    }
}

/// The message already has the operating system's error, so [`source`](std::error::Error::source)
/// returns only the source of that error, and nothing is printed twice.
impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.io_error().and_then(std::error::Error::source)
    }
}

/// A panic cannot leave an error half changed.
impl UnwindSafe for Error {}
impl RefUnwindSafe for Error {}

/// For functions that return [`io::Result`]: the kind stays, and so does the message. What an
/// [`io::Error`] with a message cannot have is the operating system's number: that is
/// [`Error::raw_os_error`], after `error.get_ref()` and `downcast_ref::<holdlock::Error>()`.
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match &error {
            Error::WouldBlock(_) | Error::RemovedWhileHeld(_) | Error::NotAtomic(_) => {
                io::ErrorKind::WouldBlock
            }
            Error::TimedOut(_) => io::ErrorKind::TimedOut,
            // Not WouldBlock: to try again at once is of no use.
            Error::DifferentSlots { .. } => io::ErrorKind::ResourceBusy,
            // Not Interrupted: generic code would try that again.
            Error::Cancelled { .. } => io::ErrorKind::Other,
            Error::Deadlock { .. } => io::ErrorKind::Deadlock,
            Error::Unsupported { .. } => io::ErrorKind::Unsupported,
            Error::Open { source, .. }
            | Error::Record { source, .. }
            | Error::System { source, .. } => source.kind(),
            Error::StaleToken { .. } => io::ErrorKind::PermissionDenied,
        };
        io::Error::new(kind, error)
    }
}

/// For programs that match on what [`File::try_lock`](std::fs::File::try_lock) returns.
impl From<Error> for TryLockError {
    fn from(error: Error) -> TryLockError {
        match error {
            Error::WouldBlock(_) => TryLockError::WouldBlock,
            other => TryLockError::Error(other.into()),
        }
    }
}
