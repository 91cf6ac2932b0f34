//! What the inspection finds: files, their locks, holders and waiting requests.

use std::fmt;
use std::path::PathBuf;

use super::proc::file_id::FileId;
use super::proc::process::Process;
use super::proc::table::Kind;
use crate::Mode;
use crate::bytes::Range;
use crate::sys::process::is_root;

/// The locks of one or more files, at about one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// The files on which a process holds a lock or waits for one.
    pub files: Vec<LockedFile>,
    /// What the caller may not see.
    pub unseen: Vec<Unseen>,
}

/// A file with locks or waiting requests.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LockedFile {
    /// The kernel's identification of the file.
    pub file_id: FileId,
    /// The path by which one of the holders has opened the file. `None` if the caller may not look
    /// at the descriptors of any holder.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::inspect::serialize::path")
    )]
    pub path: Option<PathBuf>,
    /// The file was removed while it was open: a process that opens the path now gets another file.
    pub removed: bool,
    /// The path belongs to another mount namespace, for example a container's.
    pub elsewhere: bool,
    /// If the path is unknown: a directory on which the file system is mounted.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::inspect::serialize::path")
    )]
    pub mount_point: Option<PathBuf>,
    /// If processes use the file as a [`Semaphore`](crate::Semaphore): the number of its slots.
    pub slots: Option<u32>,
    /// The locks that processes hold.
    pub locks: Vec<Lock>,
    /// The waiting requests, in the order in which the kernel serves them.
    pub waiters: Vec<Waiter>,
}

/// A lock that one or more processes hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Lock {
    /// The kind of the lock.
    pub kind: Kind,
    /// Exclusive or shared.
    pub mode: Mode,
    /// The locked bytes; flock(2) always locks the whole file.
    pub range: Range,
    /// The slot of a [`Semaphore`](crate::Semaphore) that belongs to this lock: each holder of a
    /// slot shares the lock of flock(2).
    pub slot: Option<u32>,
    /// The process that took the lock, if the kernel names it. This process may have ended or may
    /// have passed the lock on, so it is not always a holder.
    pub taker: Option<u32>,
    /// The processes that hold the lock: the taker, or processes that have inherited the open file.
    /// Empty if the caller may not see them; then [`Snapshot::unseen`] gives the reason.
    pub holders: Vec<Holder>,
}

impl Lock {
    /// Whether only other processes than the taker hold the lock: the taker has ended, or has
    /// passed the lock on.
    pub fn is_inherited(&self) -> bool {
        let mut holders = self.holders.iter();
        self.others_took_it() || self.taker.is_some() && holders.all(|it| self.was_passed_to(it))
    }

    /// Whether another process took the lock, and this holder got it with the open file: it
    /// inherited the file, or received it, perhaps without knowing of the lock. False if the kernel
    /// does not name the taker.
    pub fn was_passed_to(&self, holder: &Holder) -> bool {
        self.others_took_it() || self.taker.is_some_and(|taker| taker != holder.process.pid)
    }

    /// Whether a missing taker means that the taker is not among the holders. For flock(2) the
    /// kernel names every taker in our PID namespace that has not ended. (In the first PID
    /// namespace it also names takers that have ended. It never names the taker of an OFD lock.)
    fn others_took_it(&self) -> bool {
        self.taker.is_none() && self.kind == Kind::Flock
    }
}

/// A process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Holder {
    /// The process.
    pub process: Process,
    /// The descriptor of the locked file in that process. `None` if the caller may not look at its
    /// descriptors; then the process is the taker that the kernel names.
    pub descriptor: Option<u32>,
}

/// A request that waits for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Waiter {
    /// The kind of the requested lock.
    pub kind: Kind,
    /// Exclusive or shared.
    pub mode: Mode,
    /// The requested bytes.
    pub range: Range,
    /// When the kernel serves the request: turn 1 after the release of the present locks, turn 2
    /// after the release of the locks of turn 1, and so on. Several shared requests may have the
    /// same turn.
    pub turn: u32,
    /// The waiting process. `None` if the caller may not see it.
    pub process: Option<Process>,
    /// The descriptor of the file in that process, if it is known.
    pub descriptor: Option<u32>,
}

impl Waiter {
    /// Whether the request is for a slot of a [`Semaphore`](crate::Semaphore), whichever becomes
    /// free first.
    pub fn is_for_a_slot(&self) -> bool {
        self.kind == Kind::Ofd && self.range == Range::SLOTS
    }
}

impl LockedFile {
    /// Whether processes hold locks here that do not exclude each other: of flock(2) and of
    /// fcntl(2) at the same time. This is most likely a mistake. The bytes that this library locks
    /// beside flock(2), such as a slot, do not count.
    pub fn mixes_families(&self) -> bool {
        let held = |kind: Kind| {
            let mut locks = self.locks.iter().filter(|lock| lock.kind == kind);
            locks.any(|lock| kind != Kind::Ofd || !lock.range.is_beside_flock())
        };
        held(Kind::Flock) && (held(Kind::Ofd) || held(Kind::Posix))
    }

    /// The processes that hold a lock on the file, each one once.
    pub fn holders(&self) -> Vec<&Process> {
        let mut found: Vec<&Process> = Vec::new();
        for holder in self.locks.iter().flat_map(|lock| &lock.holders) {
            if !found.iter().any(|other| other.pid == holder.process.pid) {
                found.push(&holder.process);
            }
        }
        found
    }
}

/// A gap in a [`Snapshot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Unseen {
    /// The number of processes that the caller may not look at. Root may look at processes of
    /// other users, unless a container or a security module forbids it. One of these processes may
    /// hold a lock that has no holder in the snapshot, or may wait for a lock.
    Processes(usize),
    /// The caller is in its own PID namespace, for example in a container: the kernel hides locks
    /// that were taken outside of this namespace.
    OtherNamespaces,
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unseen::Processes(number) if is_root() => write!(
                f,
                "{number} {} could not be looked at although this is root: a container or a \
                 security module forbids it",
                if *number == 1 { "process" } else { "processes" }
            ),
            Unseen::Processes(1) => f.write_str(
                "1 process of another user could not be looked at: permission denied; \
                 run as root to see its locks",
            ),
            Unseen::Processes(number) => write!(
                f,
                "{number} processes of other users could not be looked at: permission denied; \
                 run as root to see their locks"
            ),
            Unseen::OtherNamespaces => f.write_str(
                "locks that were taken outside of this pid namespace (a container?) are not shown: \
                 the kernel hides them; look on the host",
            ),
        }
    }
}

/// A lock on a file that a process has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct OpenLock {
    /// The descriptor of the file.
    pub descriptor: u32,
    /// The kernel's identification of the file.
    pub file_id: FileId,
    /// The kind of the lock.
    pub kind: Kind,
    /// Exclusive or shared.
    pub mode: Mode,
    /// The locked bytes.
    pub range: Range,
    /// The slot of a [`Semaphore`](crate::Semaphore), if the lock is one.
    pub slot: Option<u32>,
}
