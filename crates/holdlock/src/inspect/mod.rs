//! Shows the locks of the host: which processes hold them, and which processes wait for them.
//!
//! ```
//! use holdlock::{FileLock, inspect};
//!
//! # let path = std::env::temp_dir().join(format!("holdlock-doc-inspect-{}", std::process::id()));
//! let lock = FileLock::open(&path)?;
//! let _guard = lock.lock()?;
//!
//! for file in inspect::file(&path)?.files {
//!     for lock in file.locks {
//!         for holder in lock.holders {
//!             // exclusive flock: pid 4711 (make all) of ann
//!             println!("{} {}: {}", lock.mode, lock.kind, holder.process);
//!         }
//!     }
//!     for waiter in file.waiters {
//!         println!("waits in turn {}: {:?}", waiter.turn, waiter.process);
//!     }
//! }
//! # std::fs::remove_file(&path)?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What this module reads
//!
//! * **/proc/locks** shows, for each lock, the process that *took* it, the requests that wait for
//!   it in their order, and the file by its device and inode number. A read takes 0.02 ms for a few
//!   locks and 20 ms for ten thousand. If no process has read the file for some milliseconds, the
//!   kernel first lets all running lock calls finish (an RCU grace period), which takes some
//!   milliseconds more.
//! * **/proc/PID/fdinfo** of the takers shows the descriptor and the path of the file, and whether
//!   the taker still has the lock. If a taker does not (it has ended, and a child has inherited the
//!   descriptor), or if the kernel names no taker (OFD locks), this module reads fdinfo of all
//!   processes. The search for the holders of a removed file reads a limited number of descriptors,
//!   the likely ones first, and may miss a holder on a crowded host.
//! * **/proc/PID/task/TID/syscall** and `mem` show the waiting requests for OFD locks. This module
//!   reads them only if there is such a request.
//!
//! This module takes no lock, changes nothing, and does not open lock files for reading. It leaves
//! out processes that end while it looks. [`Snapshot::unseen`] says what is hidden from the caller:
//! the descriptors of other users' processes, unless the caller is root, and locks that were taken
//! in another PID namespace.
//!
//! # Serialisation
//!
//! With the feature `serde`, which is off by default, the types of this module, [`Mode`] and
//! [`Family`](crate::Family) implement `serde::Serialize`. Fields keep their names. Values of
//! enumerations are words in lower case, such as `"exclusive"`. In a path, bytes that are not UTF-8
//! become U+FFFD, so that such a path does not make the serialisation fail. [`Process::started`]
//! has serde's form of a `SystemTime`, and is null for a time before 1970.

mod certain;
mod deadlock;
mod graph;
mod printable;
mod proc;
#[cfg(feature = "serde")]
mod serialize;
mod watch;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use crate::bytes::Range;
pub use certain::bound_ancestors;
pub use deadlock::{Deadlock, Step, kept_by_bound};
pub use printable::{Printable, printable};
pub use proc::ancestors::{ancestors, start_time, waiting_ancestors};
pub use proc::file_id::FileId;
pub use proc::process::{Process, State, is_proc_ours};
pub use proc::table::Kind;
pub use watch::HostWatch;

pub(crate) use certain::{Asleep, has_one_thread, wait_without_limit, we_have_a_timer};
pub(crate) use deadlock::{Heirs, OurWait, Ours};
pub(crate) use graph::Graph;
pub(crate) use proc::boot::boot_id;
pub(crate) use printable::PATH_LENGTH;
pub(crate) use proc::ancestors::is_at_work;
pub(crate) use proc::file::{contended, holders, turn_is_in_the_way, waiters};
pub(crate) use proc::removed::first as removed;

use crate::Mode;
use crate::sys::process::is_root;
use crate::sys::published::Helper;
use proc::{descriptors, file, survey};

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

impl LockedFile {
    /// Whether processes hold locks here that do not exclude each other: of flock(2) and of
    /// fcntl(2) at the same time. This is most likely a mistake.
    pub fn mixes_families(&self) -> bool {
        let held = |kind: Kind| self.locks.iter().any(|lock| lock.kind == kind);
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

/// The locks on the file at `path`, and on removed files that were at `path` and that a process
/// still has locked. Follows symbolic links.
///
/// The snapshot contains no files if no process has a lock there. The call takes 0.2 ms if the
/// kernel names the holders; the [module](self) says when it takes longer.
///
/// # Errors
///
/// If /proc/locks cannot be read, or if the file cannot be reached for another reason than that it
/// does not exist.
pub fn file(path: impl AsRef<Path>) -> io::Result<Snapshot> {
    file::look(path.as_ref())
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
}

/// The locks that a process holds, whichever process took them. Takes 0.1 ms for a process with ten
/// open files. Does not read /proc/locks, and so delays no lock calls of other processes.
///
/// # Errors
///
/// If the process does not exist, or if it belongs to another user.
pub fn locks_of(pid: u32) -> io::Result<Vec<OpenLock>> {
    descriptors::locks_of(pid)
}

/// All locks of the host that the caller may see, by file.
///
/// Looks at the descriptors of every process that the kernel names as a taker, and at the
/// descriptors of all processes if a lock has no such taker.
///
/// # Errors
///
/// If /proc/locks cannot be read.
pub fn host() -> io::Result<Snapshot> {
    survey::host()
}
/// Declares that the calling thread neither holds nor releases locks, until the result is dropped,
/// for programs with a thread that only shows or logs something. Other processes, and this library,
/// can only be certain of a deadlock if no other thread of a waiting process could end it.
///
/// The declaration is in memory that other processes of the user can read (memfd_create(2)).
pub fn helper_thread() -> HelperThread {
    HelperThread(Helper::enter())
}

/// A declaration made by [`helper_thread`]. Drop it in the same thread.
#[must_use = "the declaration ends when it is dropped"]
pub struct HelperThread(#[expect(dead_code, reason = "kept for its drop")] Helper);

impl fmt::Debug for HelperThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HelperThread").finish_non_exhaustive()
    }
}
