//! What can go wrong at an engine, and what to do about it.

use std::fmt;
use std::io;
use std::time::Duration;

use holdlock::Mode;
use holdlock::inspect::printable;

use crate::duration::spoken;
use crate::{Loss, Member};

/// What to do when no server answers.
pub(crate) const NOT_REACHED: &str = "check the addresses and the network, or try again";
/// What was attempted when a limit of this system was reached.
pub(crate) const CONNECTING: &str = "opening a connection";
/// How many characters of a lock's name a message shows.
const LENGTH: usize = 200;

/// Why a lock was not acquired, or was lost.
///
/// Each message begins with the lock's URL, without user, password and options.
#[derive(Clone)]
#[non_exhaustive]
pub enum Error {
    /// The URL of the lock, or one of its options, is not understood.
    #[non_exhaustive]
    Url {
        /// What is wrong, and what to write.
        why: String,
    },
    /// The lock is held, or others wait for it, and the request was not to wait
    /// ([`Request::try_once`](holdlock::Request::try_once)).
    WouldBlock(Conflict),
    /// The lock was still held at the deadline.
    TimedOut(Conflict),
    /// The wait was ended by a [`CancelToken`](holdlock::CancelToken) or by a request's callback.
    #[non_exhaustive]
    Cancelled {
        /// The lock.
        lock: String,
        /// How long the request had waited.
        waited: Duration,
    },
    /// The engine does not answer, or the connection ended.
    #[non_exhaustive]
    Unreachable {
        /// The lock.
        lock: String,
        /// The reason, and what to do.
        why: String,
    },
    /// The engine does not let this user in.
    #[non_exhaustive]
    Credentials {
        /// The lock.
        lock: String,
        /// The reason, and what to do.
        why: String,
    },
    /// The engine answers, but is not a safe place for a lock: a pooler, a standby.
    #[non_exhaustive]
    Unsuitable {
        /// The lock.
        lock: String,
        /// The reason, and what to do.
        why: String,
    },
    /// The lock was lost while a guard stood for it.
    #[non_exhaustive]
    Lost {
        /// The lock.
        lock: String,
        /// What is known about it.
        loss: Loss,
    },
    /// Anything else.
    #[non_exhaustive]
    Failed {
        /// The lock.
        lock: String,
        /// What was attempted.
        operation: &'static str,
        /// The reason, and what to do.
        why: String,
    },
}

/// A lock that others hold or wait for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Conflict {
    /// The lock.
    pub lock: String,
    /// The mode that was asked for.
    pub mode: Mode,
    /// How long the request had waited.
    pub waited: Duration,
    /// Those who hold the lock, as they were seen last.
    pub holders: Vec<Member>,
    /// The engine was started a short time ago and has forgotten its locks. Holders of that time
    /// have this long to notice, and nobody acquires the lock before.
    pub restarted: Option<Duration>,
}

impl Error {
    /// Whether somebody holds the lock: a later request may succeed.
    pub fn is_conflict(&self) -> bool {
        self.conflict().is_some()
    }

    /// The error for an attempt to connect that a limit of this system has ended, if it has: the
    /// server has nothing to do with it.
    pub(crate) fn of_limit(lock: &str, error: &io::Error) -> Option<Error> {
        limit(error).map(|why| Error::Failed {
            lock: lock.to_owned(),
            operation: CONNECTING,
            why,
        })
    }

    /// What is known of the conflict, if this is one.
    pub fn conflict(&self) -> Option<&Conflict> {
        match self {
            Error::WouldBlock(conflict) | Error::TimedOut(conflict) => Some(conflict),
            _ => None,
        }
    }

    /// The lock's URL, without user, password and options; empty if the URL was not understood.
    pub fn lock(&self) -> &str {
        match self {
            Error::Url { .. } => "",
            Error::WouldBlock(conflict) | Error::TimedOut(conflict) => &conflict.lock,
            Error::Cancelled { lock, .. }
            | Error::Unreachable { lock, .. }
            | Error::Credentials { lock, .. }
            | Error::Unsuitable { lock, .. }
            | Error::Lost { lock, .. }
            | Error::Failed { lock, .. } => lock,
        }
    }
}

/// Begins with the lock; `{:#}` leaves it out, for callers that name the lock themselves.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() && !self.lock().is_empty() {
            write!(f, "{:.LENGTH$}: ", printable(self.lock()))?;
        }
        match self {
            Error::Url { why } => write!(f, "cannot use the URL of the lock: {why}"),
            Error::WouldBlock(conflict) => {
                match (conflict.restarted, conflict.holders.is_empty()) {
                    (Some(left), _) => restarted(f, "cannot acquire the lock yet", left),
                    (None, true) => f.write_str("others wait for the lock"),
                    (None, false) => {
                        f.write_str("already locked")?;
                        by(f, " by ", &conflict.holders)
                    }
                }
            }
            Error::TimedOut(conflict) => {
                let waited = spoken(conflict.waited);
                let what = format!(
                    "timed out after {waited} waiting for the {} lock",
                    conflict.mode
                );
                match conflict.restarted {
                    Some(left) => restarted(f, &what, left),
                    None => {
                        f.write_str(&what)?;
                        by(f, "; held by ", &conflict.holders)
                    }
                }
            }
            Error::Cancelled { waited, .. } => {
                write!(f, "the wait was cancelled after {}", spoken(*waited))
            }
            Error::Unreachable { why, .. } => write!(f, "cannot reach the engine: {why}"),
            Error::Credentials { why, .. } => write!(f, "the engine refuses the login: {why}"),
            Error::Unsuitable { why, .. } => write!(f, "cannot keep the lock there: {why}"),
            Error::Lost { loss, .. } => write!(f, "{loss}"),
            Error::Failed { operation, why, .. } => write!(f, "{operation} failed: {why}"),
        }
    }
}

fn restarted(f: &mut fmt::Formatter<'_>, what: &str, left: Duration) -> fmt::Result {
    write!(
        f,
        "{what}: the server was started a moment ago, or became the primary, and may have \
         forgotten its locks; holders of that time have {} more to notice, wait as long",
        spoken(left)
    )
}

/// The variant and the message: what `unwrap` and a `main` that returns the error print.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = match self {
            Error::Url { .. } => "Url",
            Error::WouldBlock(_) => "WouldBlock",
            Error::TimedOut(_) => "TimedOut",
            Error::Cancelled { .. } => "Cancelled",
            Error::Unreachable { .. } => "Unreachable",
            Error::Credentials { .. } => "Credentials",
            Error::Unsuitable { .. } => "Unsuitable",
            Error::Lost { .. } => "Lost",
            Error::Failed { .. } => "Failed",
        };
        write!(f, "{variant}({self})")
    }
}

impl std::error::Error for Error {}

/// For functions that return [`io::Result`]: the kind tells the cases apart.
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match &error {
            Error::Url { .. } => io::ErrorKind::InvalidInput,
            Error::WouldBlock(_) => io::ErrorKind::WouldBlock,
            Error::TimedOut(_) => io::ErrorKind::TimedOut,
            Error::Unreachable { .. } => io::ErrorKind::NotConnected,
            Error::Credentials { .. } => io::ErrorKind::PermissionDenied,
            Error::Unsuitable { .. } => io::ErrorKind::Unsupported,
            Error::Lost { .. } => io::ErrorKind::ConnectionAborted,
            // Not Interrupted: generic code would try that again.
            Error::Cancelled { .. } | Error::Failed { .. } => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// `; held by pid 12 (make) of root on db1 and 2 more`, or nothing where no holder is known.
fn by(f: &mut fmt::Formatter<'_>, begin: &str, holders: &[Member]) -> fmt::Result {
    const NAMED: usize = 3;
    for (position, holder) in holders.iter().take(NAMED).enumerate() {
        f.write_str(if position == 0 { begin } else { ", " })?;
        write!(f, "{holder}")?;
    }
    match holders.len().saturating_sub(NAMED) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

/// Whether an error comes from a limit of this process or of the host: says which, and what to do.
pub(crate) fn limit(error: &io::Error) -> Option<String> {
    let remedy = match error.raw_os_error()? {
        libc::EMFILE => "raise the limit of open files (ulimit -n)",
        libc::ENFILE => "raise the limit of open files of the host (sysctl fs.file-max)",
        libc::ENOMEM | libc::ENOBUFS => "free memory",
        _ => return None,
    };
    Some(format!("{error}; {remedy}"))
}

/// Text of a server, fit for a message: one line.
pub(crate) fn one_line(text: &str) -> String {
    printable(text).to_string()
}
