//! What can go wrong, with who and what to do about it.

use std::fmt;
use std::fs::TryLockError;
use std::io;
use std::os::fd::AsFd;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Mode;
use crate::inspect::{self, Deadlock, PATH_LENGTH, Place, Process, printable};
use crate::sys::fork::ForkCell;
use crate::sys::identity::{self, Identity};
use crate::sys::{Refusal, file};

/// Why a lock was not taken, or not given back.
///
/// Each message names the path, what was attempted, who is in the way as far as
/// /proc tells, and what can be done.
#[non_exhaustive]
pub enum Error {
    /// A request that was not to wait found the lock held.
    WouldBlock(Conflict),
    /// The lock was still held at the deadline.
    TimedOut(Conflict),
    /// The lock file was removed while a process holds the lock on it. To create
    /// a new one would let two in, so nothing was created.
    RemovedWhileHeld(Conflict),
    /// The wait was ended by a [`CancelToken`](crate::CancelToken) or by a request's callback.
    #[non_exhaustive]
    Cancelled {
        /// The lock file.
        path: PathBuf,
        /// How long the request had waited.
        waited: Duration,
    },
    /// The wait could never end: the calling thread holds the lock itself, by a
    /// guard that cannot leave the thread; or the holder waits, by way of other locks
    /// and processes, for what this thread holds.
    #[non_exhaustive]
    Deadlock {
        /// The lock file.
        path: PathBuf,
        /// The mode that was asked for.
        mode: Mode,
        /// Who waits for whom. None: the thread for itself.
        cycle: Option<Deadlock>,
    },
    /// The lock file cannot be opened or created.
    #[non_exhaustive]
    Open {
        /// The lock file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file system does not support this kind of lock.
    #[non_exhaustive]
    Unsupported {
        /// The lock file.
        path: PathBuf,
        /// The file system's name.
        file_system: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Any other failure of a system call.
    #[non_exhaustive]
    System {
        /// The lock file.
        path: PathBuf,
        /// What was attempted.
        operation: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A lock that somebody else has.
pub struct Conflict(Box<Known>);

/// What is known of a conflict.
struct Known {
    path: PathBuf,
    mode: Mode,
    waited: Duration,
    identity: Option<Identity>,
    /// Those that were known when the error was made.
    holders: Option<Vec<Process>>,
    /// Those that were found later. In a child of fork they are looked for anew.
    found: ForkCell<Vec<Process>>,
}

impl Conflict {
    pub(crate) fn new(
        path: &Path,
        mode: Mode,
        waited: Duration,
        identity: Option<Identity>,
    ) -> Conflict {
        Conflict(Box::new(Known {
            path: path.to_owned(),
            mode,
            waited,
            identity,
            holders: None,
            found: ForkCell::new(),
        }))
    }

    pub(crate) fn with_holders(mut self, holders: Vec<Process>) -> Conflict {
        self.0.holders = Some(holders);
        self
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The mode that was asked for.
    pub fn mode(&self) -> Mode {
        self.0.mode
    }

    /// How long the request had waited.
    pub fn waited(&self) -> Duration {
        self.0.waited
    }

    /// Who holds the lock, as far as /proc shows it.
    ///
    /// They are looked for at the first call of this method (or when the error is
    /// printed), so that the error itself comes in time: it may be somebody else
    /// by then, or nobody. Reading /proc/locks takes about 0.1 ms, but some
    /// milliseconds when nobody has read it for a while.
    pub fn holders(&self) -> &[Process] {
        let known = &self.0;
        if let Some(holders) = &known.holders {
            return holders;
        }
        known.found.get_or_make(|| {
            let place = known.identity.map(|identity| place(&known.path, identity));
            place
                .and_then(|place| inspect::holders(place).ok())
                .unwrap_or_default()
        })
    }
}

impl fmt::Debug for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conflict")
            .field("path", &self.path())
            .field("mode", &self.mode())
            .field("waited", &self.waited())
            .field("holders", &self.holders())
            .finish_non_exhaustive()
    }
}

impl Error {
    /// Whether somebody else holds the lock: asking again later may succeed.
    pub fn is_conflict(&self) -> bool {
        self.conflict().is_some()
    }

    /// What is known of the conflict, if this is one.
    pub fn conflict(&self) -> Option<&Conflict> {
        match self {
            Error::WouldBlock(conflict)
            | Error::TimedOut(conflict)
            | Error::RemovedWhileHeld(conflict) => Some(conflict),
            _ => None,
        }
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        match self {
            Error::WouldBlock(conflict)
            | Error::TimedOut(conflict)
            | Error::RemovedWhileHeld(conflict) => conflict.path(),
            Error::Cancelled { path, .. }
            | Error::Deadlock { path, .. }
            | Error::Open { path, .. }
            | Error::Unsupported { path, .. }
            | Error::System { path, .. } => path,
        }
    }

    /// What the operating system said, where that is the reason.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Error::Open { source, .. }
            | Error::Unsupported { source, .. }
            | Error::System { source, .. } => Some(source),
            _ => None,
        }
    }

    /// The operating system's number of the error (errno), where there is one.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.io_error().and_then(io::Error::raw_os_error)
    }

    /// Sorts a failed lock call.
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

/// The file of a conflict, as the kernel's lock table names it. Where stat(2) has other
/// numbers than the table, the path shows the way, if the file is still there.
fn place(path: &Path, identity: Identity) -> Place {
    let there = file::pin(path, true).ok();
    let same = there.filter(|file| identity::of(file.as_fd()).is_ok_and(|i| i == identity));
    same.and_then(|file| Place::of_open(file.as_fd()).ok())
        .unwrap_or_else(|| identity.into())
}

/// What can be done about a file that does not open.
fn remedy(error: &io::Error) -> &'static str {
    match Refusal::of(error) {
        Some(Refusal::SymbolicLink) => {
            "the last component is a symbolic link, which is not followed unless \
             LockOptions::follow_symlinks asks for it"
        }
        Some(Refusal::Missing) => {
            "its directory is missing; create it, or ask for it with LockOptions::create_parents"
        }
        Some(Refusal::NotADirectory) => "a part of the path is not a directory",
        Some(Refusal::IsADirectory) => "the path ends in a slash, but there is no such directory",
        Some(Refusal::NoPermission) => {
            "opening needs permission to read or write the file, creating it permission to write \
             its directory"
        }
        Some(Refusal::ProcessHasTooManyFiles) => {
            "this process has too many files open; close some or raise RLIMIT_NOFILE (ulimit -n)"
        }
        Some(Refusal::SystemHasTooManyFiles) => {
            "the whole system has too many files open (fs.file-max)"
        }
        Some(Refusal::NoSpace) => {
            "there is no room for a new file; free some, or use a lock file that exists"
        }
        Some(Refusal::ReadOnly) => {
            "the file system is read-only and the file does not exist; use a writable directory"
        }
        Some(Refusal::Socket) => "a socket cannot be a lock file",
        Some(Refusal::NameTooLong) => "use a shorter name",
        _ => "check the path and its permissions",
    }
}

/// The path in front, shortened if it is very long; `{:#}` leaves it out, for callers that name
/// the file themselves. What others have named, files and commands, is
/// [printable](inspect::printable()).
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            write!(f, "{:.PATH_LENGTH$}: ", printable(self.path()))?;
        }
        match self {
            Error::WouldBlock(conflict) => {
                write!(f, "the {} lock is not free", conflict.mode())?;
                by(f, conflict.holders())
            }
            Error::TimedOut(conflict) => {
                write!(
                    f,
                    "no {} lock after {:.3?}",
                    conflict.mode(),
                    conflict.waited()
                )?;
                by(f, conflict.holders())
            }
            Error::RemovedWhileHeld(conflict) => {
                f.write_str("the lock file was removed while it is held")?;
                by(f, conflict.holders())?;
                f.write_str("; wait until that has ended, and let nobody remove lock files")
            }
            Error::Cancelled { waited, .. } => {
                write!(f, "the wait for the lock was cancelled after {waited:.3?}")
            }
            Error::Deadlock {
                mode,
                cycle: Some(cycle),
                ..
            } => write!(
                f,
                "waiting for the {mode} lock would be a deadlock: {cycle}. Take locks in the same \
                 order everywhere"
            ),
            Error::Deadlock {
                mode, cycle: None, ..
            } => write!(
                f,
                "this thread holds the lock, or waits for it, and asks for it again ({mode}); it would \
                 wait for itself for ever. Release the first guard, or pass it on"
            ),
            // What is not of the kernel says itself what to do.
            Error::Open { source, .. } if Refusal::of(source).is_none() => {
                write!(f, "cannot open the lock file: {source}")
            }
            Error::Open { source, .. } => write!(
                f,
                "cannot open the lock file: {source} ({})",
                remedy(source)
            ),
            Error::Unsupported {
                file_system,
                source,
                ..
            } => write!(
                f,
                "this file system ({}) does not support such locks: {source}; put the lock file \
                 on a local file system, or enable locking in the mount options",
                printable(file_system)
            ),
            Error::System {
                operation, source, ..
            } => {
                write!(f, "{operation} failed: {source}")?;
                match Refusal::of(source) {
                    Some(Refusal::BadDescriptor) => f.write_str(
                        " (this kind of lock needs the file open for writing, as on NFS and for \
                         an exclusive OFD lock; permission to write it is missing)",
                    ),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// The variant and the message: what `unwrap` and a `main` that returns the error print.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = match self {
            Error::WouldBlock(_) => "WouldBlock",
            Error::TimedOut(_) => "TimedOut",
            Error::RemovedWhileHeld(_) => "RemovedWhileHeld",
            Error::Cancelled { .. } => "Cancelled",
            Error::Deadlock { .. } => "Deadlock",
            Error::Open { .. } => "Open",
            Error::Unsupported { .. } => "Unsupported",
            Error::System { .. } => "System",
        };
        write!(f, "{variant}({self})")
    }
}

/// `, held by pid 12 (make) of root and 2 more`
fn by(f: &mut fmt::Formatter<'_>, holders: &[Process]) -> fmt::Result {
    const NAMED: usize = 3;
    for (position, holder) in holders.iter().take(NAMED).enumerate() {
        f.write_str(if position == 0 { "; held by " } else { ", " })?;
        write!(f, "{holder}")?;
        if holder.pid == std::process::id() {
            f.write_str(" (this process)")?;
        }
    }
    match holders.len().saturating_sub(NAMED) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

/// The message has the operating system's error already, so that [`source`](std::error::Error::source)
/// tells only what is behind that one, and nothing is printed twice.
impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.io_error().and_then(std::error::Error::source)
    }
}

/// Nothing in an error can be left half changed by a panic.
impl UnwindSafe for Error {}
impl RefUnwindSafe for Error {}

/// For functions that return [`io::Result`]: the kind stays, and so does the message. What an
/// [`io::Error`] with a message cannot have is the operating system's number: that is
/// [`Error::raw_os_error`], after `error.get_ref()` and `downcast_ref::<holdlock::Error>()`.
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match &error {
            Error::WouldBlock(_) | Error::RemovedWhileHeld(_) => io::ErrorKind::WouldBlock,
            Error::TimedOut(_) => io::ErrorKind::TimedOut,
            // Not Interrupted: generic code would try that again.
            Error::Cancelled { .. } => io::ErrorKind::Other,
            Error::Deadlock { .. } => io::ErrorKind::Deadlock,
            Error::Unsupported { .. } => io::ErrorKind::Unsupported,
            Error::Open { source, .. } | Error::System { source, .. } => source.kind(),
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

#[cfg(test)]
mod tests {
    use crate::FileLock;

    #[test]
    fn unwrap_shows_the_message_with_the_holders() {
        let path = std::env::temp_dir().join(format!("holdlock-debug-{}", std::process::id()));
        let lock = FileLock::open(&path).expect("opens");
        let held = lock.lock().expect("free");
        let other = FileLock::open(&path).expect("opens");
        let error = other.try_lock().expect_err("held");
        let us = format!("pid {} ", std::process::id());
        let shown = format!("{error:?}");
        assert!(
            shown.starts_with("WouldBlock(/") && shown.contains(&us),
            "{shown}"
        );
        drop(held);
        std::fs::remove_file(&path).expect("removed");
    }
}
