//! The record of a holder in the lock file: the holder, the time of the acquisition, and a token.
//!
//! | file | contents |
//! |---|---|
//! | here | the record as users see it |
//! | `moment` | times by two clocks |
//! | `sealed` | the text of fixed size and its checksum |
//! | `crc32` | the checksum |
//! | `format` | a record as lines, both ways |
//! | `recorder` | writing the record while the lock is held |
//! | `enter` | when a request writes it, and when a release does |
//! | `token_gate` | a resource that refuses older tokens |

mod crc32;
mod enter;
mod format;
#[cfg(test)]
mod garbled;
mod moment;
mod recorder;
mod sealed;
mod token_gate;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use enter::{Entry, Taken};
pub use moment::Moment;
pub(crate) use recorder::{Recorder, check};
use sealed::{Content, Found};
pub use token_gate::{Passed, TokenGate};

use crate::inspect::{self, LockedFile, printable};
use crate::sys::file::{self, Access};

/// The record of the last exclusive holder in the lock file
/// ([`LockOptions::record`](crate::LockOptions::record)).
///
/// Another process, perhaps of another user, has written the texts. They are
/// [printable](inspect::printable()). A record proves nothing by itself: a process that may write
/// the file may write any record. [`Record::of`] returns it only if it agrees with the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The token of the last exclusive acquisition.
    pub token: u64,
    /// Whether the lock was released.
    pub state: RecordState,
    /// When the lock was acquired.
    pub since: Moment,
    /// The process that acquired the lock, by the number in its PID namespace.
    pub pid: u32,
    /// When that process was started, in clock ticks since the boot.
    pub(crate) start_time: Option<u64>,
    /// The name of its host.
    pub host: Option<String>,
    /// The name of its user.
    pub user: Option<String>,
    /// Its command line, perhaps shortened.
    pub command: Option<String>,
    /// The reason why the process acquired the lock ([`Request::note`](crate::Request::note)),
    /// perhaps shortened.
    pub note: Option<String>,
    /// The last command that was run under the lock.
    pub last_run: Option<Run>,
    /// The beginning of the last command that ended with exit code 0.
    pub last_success: Option<Moment>,
}

/// The state of the acquisition that a [`Record`] describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordState {
    /// The process holds the lock, or died while it held the lock.
    Held,
    /// The holder released the lock, or shares it now.
    Released,
    /// The holder gave the lock to the processes that it started (`hand_over`). Nothing records
    /// when these release it.
    HandedOver,
}

/// A command that was run under a lock, as `holdlock run` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// When it began.
    pub began: Moment,
    /// When it ended. None: it is running, or its end was not recorded.
    pub ended: Option<Moment>,
    /// Its exit code, or 128 + n if signal n ended it.
    pub exit: Option<u8>,
}

impl Record {
    /// The size of each record in bytes.
    pub const SIZE: u64 = sealed::SIZE as u64;

    /// Reads the record in the file at `path`. None if the file is missing, or has no record that
    /// this version understands.
    ///
    /// Takes no lock, so the record may be out of date when this returns. If a holder is just
    /// writing it, looks again for some milliseconds. Opens only regular files of a record's size.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn read(path: impl AsRef<Path>) -> io::Result<Option<Record>> {
        let pinned = match file::pin(path.as_ref(), true) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let found = pinned.metadata()?;
        if !found.is_file() || found.len() != Record::SIZE {
            return Ok(None);
        }
        let opened = match file::open_again(pinned.as_fd(), Access::Read) {
            // Without /proc.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                file::open(path.as_ref(), Access::Read, true)?
            }
            other => other?,
        };
        Record::read_from(&opened)
    }

    pub(crate) fn read_from(file: &File) -> io::Result<Option<Record>> {
        // A holder may be writing: then a later look finds the whole record, even if the holder has
        // lost its processor meanwhile.
        const LOOKS: usize = 3;
        const PAUSE: Duration = Duration::from_millis(1);
        for _ in 0..LOOKS {
            match Found::read(file)?.content(format::KIND) {
                Content::Lines(lines) => return Ok(format::parse(lines)),
                Content::Damaged => std::thread::sleep(PAUSE),
                Content::Nothing | Content::Newer(_) | Content::Foreign => break,
            }
        }
        Ok(None)
    }

    /// The record of a lock that is held now, if the record agrees with the kernel: the record says
    /// that the lock is held, and the process that it names is one of the holders.
    ///
    /// Reads the file by the descriptor of a holder, or by its path.
    pub fn of(file: &LockedFile) -> Option<Record> {
        let locks = file.locks.iter().flat_map(|lock| &lock.holders);
        let descriptor = locks.filter_map(|holder| {
            let number = holder.descriptor?;
            Some(format!("/proc/{}/fd/{number}", holder.process.pid).into())
        });
        let path = file
            .path
            .iter()
            .filter(|_| !file.removed && !file.elsewhere);
        // The path counts only if the caller may not look at the descriptor.
        let mut places = descriptor.take(1).chain(path.cloned());
        let record = places.find_map(|place: PathBuf| Record::read(place).ok())??;
        let holders = file.holders();
        record
            .agrees_with(holders.iter().map(|holder| holder.pid))
            .then_some(record)
    }

    /// Writes this record of a holder that died into the lock file again: the next holder learns of
    /// the death, as the caller did.
    ///
    /// For a caller that has handed the lock over, and whose program then could not be started.
    /// `lock` is the descriptor from [`Guard::hand_over`](crate::Guard::hand_over), which still
    /// holds the lock, and `token` is the caller's. Does nothing if the file has another record by
    /// now. A caller that still has its guard uses
    /// [`Guard::release_abandoned`](crate::Guard::release_abandoned).
    ///
    /// # Errors
    ///
    /// If the file cannot be read or written.
    pub fn leave_to_next(&self, lock: impl AsFd, token: u64) -> io::Result<()> {
        let file = File::from(lock.as_fd().try_clone_to_owned()?);
        Recorder::take_back(&file, token, self)
    }

    /// Whether the record says that the lock is held, and by one of these holders.
    pub(crate) fn agrees_with(&self, mut holders: impl Iterator<Item = u32>) -> bool {
        self.state != RecordState::Released
            && self.since.is_of_this_boot()
            && self.start_time.is_some()
            && holders.any(|pid| pid == self.pid)
            && inspect::start_time(self.pid) == self.start_time
    }
}

/// The process, the time of its acquisition, and its note: `pid 4711 (make) of ann since 2026-11-26
/// 03:47:33 UTC: migrating accounts`.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.pid)?;
        if let Some(command) = &self.command {
            write!(f, " ({})", printable(command))?;
        }
        if let Some(user) = &self.user {
            write!(f, " of {}", printable(user))?;
        }
        write!(f, " since {}", self.since)?;
        if let Some(note) = &self.note {
            write!(f, ": {}", printable(note))?;
        }
        Ok(())
    }
}
