//! The compared ways of locking, behind one interface.

mod by_hand;
mod limited;

use std::io;
use std::path::Path;
use std::time::Duration;

use by_hand::{LibcChecked, Raw, RawChecked, RawSure};
use holdlock::{FileLock, LockOptions};
pub(crate) use holdlock_test_support::peers::Lock;
use holdlock_test_support::peers::{FdLock, Fs4, Holdlock, Std, open};
use limited::{HoldlockFor, StdPoll};

/// One way of locking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// flock(2) by hand.
    Raw,
    /// flock(2) and lstat(2) by hand: locks, and checks that the file is still at its path.
    RawChecked,
    /// The same, and fcntl(2) with F_GETFL before the lock and before the unlock: also checks that
    /// the descriptor still belongs to the file.
    RawSure,
    /// flock(2) and lstat(2) through libc, as a C program would do it.
    LibcChecked,
    Std,
    /// std's try_lock and a sleep, again and again.
    StdPoll {
        millis: u64,
    },
    Fs4,
    FdLock,
    Holdlock,
    /// holdlock with a deadline.
    HoldlockFor {
        millis: u64,
    },
    /// holdlock, first come, first served.
    HoldlockFair,
    /// One `FileLock` for all threads of a process.
    HoldlockShared,
}

impl Peer {
    /// The name for tables and for workers.
    pub(crate) fn name(self) -> String {
        match self {
            Peer::Raw => "raw flock".into(),
            Peer::RawChecked => "raw flock + lstat".into(),
            Peer::RawSure => "raw flock + lstat + 2 fcntl".into(),
            Peer::LibcChecked => "libc flock + lstat".into(),
            Peer::Std => "std".into(),
            Peer::StdPoll { millis } => format!("std try_lock each {millis} ms"),
            Peer::Fs4 => "fs4".into(),
            Peer::FdLock => "fd-lock".into(),
            Peer::Holdlock => "holdlock".into(),
            Peer::HoldlockFor { millis } => format!("holdlock deadline {millis} ms"),
            Peer::HoldlockFair => "holdlock fair".into(),
            Peer::HoldlockShared => "holdlock shared".into(),
        }
    }

    /// The peer of a [`name`](Peer::name).
    pub(crate) fn from_name(name: &str) -> Option<Peer> {
        let millis = name.split(' ').find_map(|word| word.parse().ok());
        let millis = millis.unwrap_or_default();
        [
            Peer::Raw,
            Peer::RawChecked,
            Peer::RawSure,
            Peer::LibcChecked,
            Peer::Std,
            Peer::StdPoll { millis },
            Peer::Fs4,
            Peer::FdLock,
            Peer::Holdlock,
            Peer::HoldlockFor { millis },
            Peer::HoldlockFair,
            Peer::HoldlockShared,
        ]
        .into_iter()
        .find(|peer| peer.name() == name)
    }

    /// Whether its waiters sleep in the kernel's queue.
    pub(crate) fn queues(self) -> bool {
        !matches!(self, Peer::StdPoll { .. })
    }

    /// Opens the lock file, and creates it if it is missing.
    pub(crate) fn open(self, path: &Path) -> io::Result<Box<dyn Lock>> {
        Ok(match self {
            Peer::Raw => Box::new(Raw(open(path)?)),
            Peer::RawChecked => Box::new(RawChecked::new(open(path)?, path)?),
            Peer::RawSure => Box::new(RawSure(RawChecked::new(open(path)?, path)?)),
            Peer::LibcChecked => Box::new(LibcChecked(RawChecked::new(open(path)?, path)?)),
            Peer::Std => Box::new(Std(open(path)?)),
            Peer::StdPoll { millis } => Box::new(StdPoll {
                std: Std(open(path)?),
                pause: Duration::from_millis(millis),
            }),
            Peer::Fs4 => Box::new(Fs4(open(path)?)),
            Peer::FdLock => Box::new(FdLock::new(open(path)?)),
            Peer::Holdlock | Peer::HoldlockShared => Box::new(Holdlock(FileLock::open(path)?)),
            Peer::HoldlockFair => Box::new(Holdlock(LockOptions::new().fair(true).open(path)?)),
            Peer::HoldlockFor { millis } => Box::new(HoldlockFor {
                lock: FileLock::open(path)?,
                limit: Duration::from_millis(millis),
            }),
        })
    }

    /// One lock for each of these threads of one process.
    pub(crate) fn open_for_threads(
        self,
        path: &Path,
        threads: usize,
    ) -> io::Result<Vec<Box<dyn Lock>>> {
        if self != Peer::HoldlockShared {
            return (0..threads).map(|_| self.open(path)).collect();
        }
        let lock = FileLock::open(path)?;
        let one = |_| Box::new(Holdlock(lock.clone())) as Box<dyn Lock>;
        Ok((0..threads).map(one).collect())
    }
}
