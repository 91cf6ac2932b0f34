//! The messages of the errors.

use std::fmt;
use std::io;

use super::duration::spoken;
use super::remedy::remedy;
use super::{Conflict, Error};
use crate::inspect::{PATH_LENGTH, printable};
use crate::sys::Refusal;

/// Begins with the path, shortened if it is very long; `{:#}` leaves the path out, for callers that
/// name the file themselves. Names of files and commands are
/// [printable](crate::inspect::printable()).
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            write!(f, "{:.PATH_LENGTH$}: ", printable(self.path()))?;
        }
        match self {
            Error::WouldBlock(conflict) => {
                let begin = match conflict.slots() {
                    None if conflict.is_behind_others() => {
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
                let s = if *slots == 1 { "" } else { "s" };
                write!(
                    f,
                    "cannot use {slots} slot{s}: the file is in use with {in_use}"
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
                    Some(Refusal::NoPermission | Refusal::ReadOnly | Refusal::Running) => f.write_str(
                        "; use a lock file that this process may write, or do without the record",
                    ),
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

/// The system's text of an error, without its number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use crate::FileLock;

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
