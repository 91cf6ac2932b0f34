//! The errors: what failed, which processes hold the lock, and what to do.

use std::fmt;
use std::fs::TryLockError;
use std::io;
use std::os::fd::AsFd;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::inspect::{self, Deadlock, FileId, PATH_LENGTH, Process, printable};
use crate::sys::fork::ForkCell;
use crate::sys::identity::{self, Identity};
use crate::sys::{Refusal, file};
use crate::{Mode, Record};

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

/// A lock that another process or thread holds.
pub struct Conflict(Box<Known>);

/// The facts about a conflict.
struct Known {
    path: PathBuf,
    mode: Mode,
    waited: Duration,
    identity: Option<Identity>,
    slots: Option<u32>,
    is_behind_others: bool,
    /// The holders, if they were known when the error was made.
    holders: Option<Vec<Process>>,
    /// The holders that were found later. A child of fork looks for them anew.
    found: ForkCell<Vec<Process>>,
    record: ForkCell<Option<Record>>,
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
            slots: None,
            is_behind_others: false,
            holders: None,
            found: ForkCell::new(),
            record: ForkCell::new(),
        }))
    }

    fn after(mut self, waited: Duration) -> Conflict {
        self.0.waited = waited;
        self
    }

    pub(crate) fn with_holders(mut self, holders: Vec<Process>) -> Conflict {
        self.0.holders = Some(holders);
        self
    }

    /// All slots are taken.
    pub(crate) fn about_slots(mut self, slots: u32) -> Conflict {
        self.0.slots = Some(slots);
        self
    }

    /// A slot may be free, but other requests are before this one.
    pub(crate) fn behind_others(mut self) -> Conflict {
        self.0.is_behind_others = true;
        self
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The number of slots, if all slots of a [`Semaphore`](crate::Semaphore) are taken.
    pub fn slots(&self) -> Option<u32> {
        self.0.slots
    }

    /// The mode that was asked for.
    pub fn mode(&self) -> Mode {
        self.0.mode
    }

    /// How long the request had waited.
    pub fn waited(&self) -> Duration {
        self.0.waited
    }

    /// The processes that hold the lock, as far as /proc shows them.
    ///
    /// The first call of this method looks for the holders, and so does printing the error; making
    /// the error does not, so that it is not late. By then another process may hold the lock, or
    /// the lock may be free. Reading /proc/locks takes about 0.1 ms, or some milliseconds if no
    /// process has read it for a while.
    pub fn holders(&self) -> &[Process] {
        let known = &self.0;
        if let Some(holders) = &known.holders {
            return holders;
        }
        known.found.get_or_make(|| {
            let file_id = known
                .identity
                .map(|identity| file_id(&known.path, identity));
            file_id
                .and_then(|file_id| inspect::holders(file_id).ok())
                .unwrap_or_default()
        })
    }

    /// The record of the holder, if the lock file has one ([`LockOptions::record`]) and it agrees
    /// with the kernel: it says since when the lock is held, and why.
    ///
    /// The first call, or printing the error, reads the file.
    ///
    /// [`LockOptions::record`]: crate::LockOptions::record
    pub fn record(&self) -> Option<&Record> {
        let record = self.0.record.get_or_make(|| {
            let record = Record::read(self.path()).ok()??;
            let holders = self.holders().iter().map(|holder| holder.pid);
            record.agrees_with(holders).then_some(record)
        });
        record.as_ref()
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

/// The file of a conflict, as the kernel's lock table names it. On file systems where stat(2) and
/// the table have different numbers, the path leads to the file, if it is still there.
fn file_id(path: &Path, identity: Identity) -> FileId {
    let there = file::pin(path, true).ok();
    let same = there.filter(|file| identity::of(file.as_fd()).is_ok_and(|i| i == identity));
    same.and_then(|file| FileId::of_open(file.as_fd()).ok())
        .unwrap_or_else(|| identity.into())
}

/// The remedy for a file that cannot be opened.
fn remedy(error: &io::Error) -> &'static str {
    match Refusal::of(error) {
        Some(Refusal::SymbolicLink) => {
            "the last component is a symbolic link, which only LockOptions::follow_symlinks follows"
        }
        Some(Refusal::Missing) => "create its directory, or use LockOptions::create_parents",
        Some(Refusal::NotADirectory) => "a part of the path is not a directory",
        Some(Refusal::IsADirectory) => {
            "a directory cannot be opened for writing, and a path that ends in a slash is not created"
        }
        Some(Refusal::NoPermission) => {
            "opening it needs permission to read or write the file, creating it permission to write \
             its directory"
        }
        Some(Refusal::ProcessHasTooManyFiles) => {
            "this process has too many files open: close some, or raise RLIMIT_NOFILE (ulimit -n)"
        }
        Some(Refusal::SystemHasTooManyFiles) => {
            "the whole system has too many files open: close some, or raise fs.file-max"
        }
        Some(Refusal::NoSpace) => {
            "there is no space for a new file: free some space, or use an existing lock file"
        }
        Some(Refusal::ReadOnly) => {
            "the file does not exist and cannot be created there: use a writable directory"
        }
        Some(Refusal::Running) => {
            "the file is a running program, which cannot be written: use another file"
        }
        Some(Refusal::Socket) => "a socket or an event descriptor cannot be a lock file",
        Some(Refusal::NameTooLong) => "use a shorter name",
        _ => "check the path and its permissions",
    }
}

/// The system's text of an error, without its number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// A duration for people: `50 ms`, `1.5 s`, `12 s`, `2 min 5 s`, `3 h 20 min`, `4 d 2 h`.
fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let tenths = (duration.as_millis() + 50) / 100;
    match duration.as_millis() {
        0 => "0 s".to_owned(),
        millis @ 1..1000 => format!("{millis} ms"),
        1000..10_000 if tenths.is_multiple_of(10) => format!("{} s", tenths / 10),
        1000..10_000 => format!("{}.{} s", tenths / 10, tenths % 10),
        10_000..60_000 => format!("{seconds} s"),
        _ => match seconds / 60 {
            minutes @ ..60 => format!("{minutes} min {} s", seconds % 60),
            minutes @ 60..1440 => format!("{} h {} min", minutes / 60, minutes % 60),
            minutes => format!("{} d {} h", minutes / 1440, minutes / 60 % 24),
        },
    }
}

/// Begins with the path, shortened if it is very long; `{:#}` leaves the path out, for callers that
/// name the file themselves. Names of files and commands are [printable](inspect::printable()).
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            write!(f, "{:.PATH_LENGTH$}: ", printable(self.path()))?;
        }
        match self {
            Error::WouldBlock(conflict) => {
                let begin = match conflict.slots() {
                    None if conflict.0.is_behind_others => {
                        f.write_str("other requests are in the queue before this one")?;
                        "; held by "
                    }
                    None => {
                        f.write_str("already locked")?;
                        " by "
                    }
                    Some(1) => {
                        f.write_str("the only slot is taken")?;
                        "; held by "
                    }
                    Some(slots) => {
                        write!(f, "all {slots} slots are taken")?;
                        "; held by "
                    }
                };
                by(f, begin, conflict)
            }
            Error::TimedOut(conflict) => {
                write!(f, "timed out after {}", spoken(conflict.waited()))?;
                match conflict.slots() {
                    None => write!(f, " waiting for the {} lock", conflict.mode())?,
                    Some(1) => f.write_str(" waiting for the only slot")?,
                    Some(slots) => write!(f, " waiting for one of {slots} slots")?,
                }
                by(f, "; held by ", conflict)
            }
            Error::NotAtomic(conflict) => {
                f.write_str(
                    "the upgrade would not be atomic, because a program that knows nothing of \
                     upgrades shares the lock",
                )?;
                by(f, "; held by ", conflict)?;
                f.write_str("; the lock is released: acquire the exclusive lock, and read anew")
            }
            Error::DifferentSlots {
                conflict,
                slots,
                in_use,
            } => {
                write!(
                    f,
                    "cannot use {slots} slots: the file is in use with {in_use}"
                )?;
                by(f, ", by ", conflict)?;
                f.write_str("; use the same number everywhere, or wait until nobody holds a slot")
            }
            Error::RemovedWhileHeld(conflict) => {
                f.write_str("the lock file was removed while the lock is held")?;
                by(f, " by ", conflict)?;
                f.write_str(
                    "; wait until that process has released it, and do not delete lock files",
                )
            }
            Error::Cancelled { waited, .. } => {
                write!(f, "the wait was cancelled after {}", spoken(*waited))
            }
            Error::Deadlock {
                mode,
                cycle: Some(cycle),
                ..
            } => write!(
                f,
                "waiting for the {mode} lock would be a deadlock: {cycle}; acquire locks in the \
                 same order everywhere"
            ),
            Error::Deadlock {
                mode, cycle: None, ..
            } => write!(
                f,
                "this thread already holds the lock, or waits for it, and a second request ({mode}) \
                 would wait for ever; release the first guard, or pass it on"
            ),
            // If the error is not from the operating system, its own text says what to do.
            Error::Open { source, .. } if Refusal::of(source).is_none() => {
                write!(f, "cannot open the lock file: {source}")
            }
            Error::Open { source, .. } => {
                let (reason, remedy) = (reason(source), remedy(source));
                write!(f, "cannot open the lock file: {reason}; {remedy}")
            }
            Error::Unsupported {
                file_system,
                source,
                ..
            } => write!(
                f,
                "the file system ({}) does not support this kind of lock: {}; put the lock file on a \
                 local file system, or enable locking in the mount options",
                printable(file_system),
                reason(source)
            ),
            Error::Record { source, .. } => {
                write!(
                    f,
                    "cannot keep a record in the lock file: {}",
                    reason(source)
                )?;
                match Refusal::of(source) {
                    Some(Refusal::NoSpace) => f.write_str("; free some space"),
                    _ => Ok(()),
                }
            }
            Error::StaleToken { token, newest, .. } => write!(
                f,
                "token {token} is too old: a later holder of the lock has come with token \
                 {newest}; do not write, and acquire the lock again"
            ),
            Error::System {
                operation, source, ..
            } => {
                write!(f, "{operation} failed: {}", reason(source))?;
                match Refusal::of(source) {
                    Some(Refusal::BadDescriptor) => f.write_str(
                        "; this kind of lock needs the file open for writing, as on NFS and for an \
                         exclusive OFD lock: allow this process to write it",
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
            Error::NotAtomic(_) => "NotAtomic",
            Error::DifferentSlots { .. } => "DifferentSlots",
            Error::Cancelled { .. } => "Cancelled",
            Error::Deadlock { .. } => "Deadlock",
            Error::Open { .. } => "Open",
            Error::Unsupported { .. } => "Unsupported",
            Error::Record { .. } => "Record",
            Error::StaleToken { .. } => "StaleToken",
            Error::System { .. } => "System",
        };
        write!(f, "{variant}({self})")
    }
}

/// `; held by pid 12 (make) of root for 5 min 2 s: the note, and 2 more`, or nothing if no holder
/// is known.
fn by(f: &mut fmt::Formatter<'_>, begin: &str, conflict: &Conflict) -> fmt::Result {
    const NAMED: usize = 3;
    let (holders, record) = (conflict.holders(), conflict.record());
    for (position, holder) in holders.iter().take(NAMED).enumerate() {
        f.write_str(if position == 0 { begin } else { ", " })?;
        write!(f, "{holder}")?;
        if holder.pid == std::process::id() {
            f.write_str(" (this process)")?;
        }
        if let Some(record) = record.filter(|record| record.pid == holder.pid) {
            if let Some(age) = record.since.age() {
                write!(f, " for {}", spoken(age))?;
            }
            if let Some(note) = &record.note {
                write!(f, ": {}", printable(note))?;
            }
        }
    }
    match holders.len().saturating_sub(NAMED) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FileLock;

    #[test]
    fn durations_are_as_people_say_them() {
        let said = |millis| spoken(Duration::from_millis(millis));
        assert_eq!(said(0), "0 s");
        assert_eq!(said(50), "50 ms");
        assert_eq!(said(1003), "1 s");
        assert_eq!(said(1549), "1.5 s");
        assert_eq!(said(9999), "10 s");
        assert_eq!(said(12_900), "12 s");
        assert_eq!(said(125_000), "2 min 5 s");
        assert_eq!(said(12_000_000), "3 h 20 min");
        assert_eq!(said(353_000_000), "4 d 2 h");
    }

    #[test]
    fn the_system_s_words_stand_in_the_message_once_and_without_a_number() {
        let missing = std::env::temp_dir().join("no-such-directory/a.lock");
        let error = FileLock::open(missing).expect_err("no directory");
        let said = error.to_string();
        assert!(
            said.contains("No such file") && !said.contains("os error"),
            "{said}"
        );
        assert!(std::error::Error::source(&error).is_none());
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::NotFound);
    }

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
