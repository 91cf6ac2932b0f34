//! Who holds which lock and who waits for it, of every process of the host.
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
//!             println!("{} {}: {}", lock.mode, lock.kind, holder.process); // exclusive flock: pid 4711 (…) of ann
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
//! # What is looked at
//!
//! * **/proc/locks** names the process that *took* each lock, in which order requests
//!   wait, and the file by device and inode number. When nobody has read it for some
//!   milliseconds the kernel first lets all lock calls under way finish, which takes
//!   some milliseconds more (an RCU grace period); otherwise 0.02 ms for few locks,
//!   20 ms for ten thousand.
//! * **/proc/PID/fdinfo** of the takers, for the descriptor, the path, and whether
//!   they still have the lock. Where one has not (it is gone, and a child has inherited
//!   the descriptor), or where the kernel names none (OFD locks): of all processes. Removed files
//!   are looked for in a thousand descriptors at most, the likely ones first.
//! * **/proc/PID/task/TID/syscall** and `mem`, only where a request for an OFD lock waits.
//!
//! Nothing is locked, opened for reading or changed. Processes that vanish meanwhile are left
//! out. What may not be seen is told in [`Snapshot::unseen`]: the descriptors of other
//! users' processes, unless root asks; locks that were taken in another pid namespace.

mod certain;
mod deadlock;
mod graph;
mod printable;
mod proc;
mod watch;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use certain::bound_ancestors;
pub use deadlock::{Deadlock, Step, kept_by_bound};
pub use printable::{Printable, printable};
pub use proc::ancestors::{ancestors, start_time, waiting_ancestors};
pub use proc::place::Place;
pub use proc::process::{Process, State, is_proc_ours};
pub use proc::table::{Kind, Range};
pub use watch::Watch;

pub(crate) use certain::{Asleep, has_one_thread, mark, we_have_a_timer};
pub(crate) use deadlock::{Heirs, OurWait, Ours};
pub(crate) use graph::Graph;
pub(crate) use printable::PATH_LENGTH;
pub(crate) use proc::ancestors::{HELPER, is_at_work};
pub(crate) use proc::file::{contended, holders, turn_is_in_the_way, waiters};
pub(crate) use proc::removed::first as removed;

use crate::Mode;
use crate::sys::process::is_root;
use proc::{descriptors, file, survey};

/// The locks of some files, at about one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The files on which somebody has a lock or waits for one.
    pub files: Vec<LockedFile>,
    /// What could not be seen.
    pub unseen: Vec<Unseen>,
}

/// A file with locks on it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockedFile {
    /// Which file it is for the kernel.
    pub place: Place,
    /// Where it is, as one of the holders has opened it. None where no holder's
    /// descriptors may be looked at.
    pub path: Option<PathBuf>,
    /// It was removed since: whoever opens the path now gets another file.
    pub removed: bool,
    /// The path is one in another mount namespace, such as a container's.
    pub elsewhere: bool,
    /// Where the path is not known: a place where the file system is mounted.
    pub mount_point: Option<PathBuf>,
    /// The locks that are held.
    pub locks: Vec<Lock>,
    /// The requests that wait, in the order in which they will be served.
    pub waiters: Vec<Waiter>,
}

/// A lock that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lock {
    /// Which kind.
    pub kind: Kind,
    /// Exclusive or shared.
    pub mode: Mode,
    /// Which part of the file; always the whole for flock(2).
    pub range: Range,
    /// The process that took it, where the kernel tells. It need not be a holder any more.
    pub taker: Option<u32>,
    /// The living processes that keep it: the taker, or those who have inherited the open
    /// file. None of them are known where [`Snapshot::unseen`] says why.
    pub holders: Vec<Holder>,
}

impl Lock {
    /// Whether the process that took the lock has ended, or has passed the lock on: others keep it.
    pub fn is_inherited(&self) -> bool {
        let mut holders = self.holders.iter();
        self.others_took_it() || self.taker.is_some() && holders.all(|it| self.was_passed_to(it))
    }

    /// Whether this holder has not taken the lock itself: it has inherited the open file, or the
    /// file was handed to it, perhaps without its doing. False where nobody can tell.
    pub fn was_passed_to(&self, holder: &Holder) -> bool {
        self.others_took_it() || self.taker.is_some_and(|taker| taker != holder.process.pid)
    }

    /// Of flock(2), the kernel names every taker in our PID namespace that has not ended. (Of OFD
    /// locks it never names any, and in the first PID namespace also those that have ended.)
    fn others_took_it(&self) -> bool {
        self.taker.is_none() && self.kind == Kind::Flock
    }
}

/// A process that keeps a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Who.
    pub process: Process,
    /// The descriptor by which it has the file open. None where we may not look: then the
    /// process is the one which the kernel says took the lock.
    pub descriptor: Option<u32>,
}

/// A request that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiter {
    /// Which kind of lock it wants.
    pub kind: Kind,
    /// Exclusive or shared.
    pub mode: Mode,
    /// Which part of the file.
    pub range: Range,
    /// When it is served: those of turn 1 once the present locks are released, those of turn
    /// 2 after them. Several shared requests may have one turn.
    pub turn: u32,
    /// Who. None where that could not be seen.
    pub process: Option<Process>,
    /// The descriptor, where it is known.
    pub descriptor: Option<u32>,
}

impl LockedFile {
    /// The kinds of lock that are held here although they do not exclude each other:
    /// flock(2) and fcntl(2) at the same time, which is hardly what anybody wanted.
    pub fn mixes_families(&self) -> bool {
        let held = |kind: Kind| self.locks.iter().any(|lock| lock.kind == kind);
        held(Kind::Flock) && (held(Kind::Ofd) || held(Kind::Posix))
    }

    /// Everybody who keeps a lock on the file, each once.
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

/// Something that could not be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unseen {
    /// So many processes belong to others, and one of them may keep a lock that
    /// is shown without a holder, or wait for one. Root sees them.
    Processes(usize),
    /// We are in a pid namespace of our own, such as a container's: the kernel does not show
    /// locks that were taken outside of it.
    OtherNamespaces,
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unseen::Processes(number) if is_root() => write!(
                f,
                "{number} {} could not be looked at, although you are root: a container or a \
                 security module forbids it",
                if *number == 1 { "process" } else { "processes" }
            ),
            Unseen::Processes(1) => {
                f.write_str("1 process of another user could not be looked at; root would see it")
            }
            Unseen::Processes(number) => write!(
                f,
                "{number} processes of other users could not be looked at; root would see them"
            ),
            Unseen::OtherNamespaces => f.write_str(
                "this is a pid namespace of its own (a container?): locks that were taken \
                 outside of it are not shown; ask on the host",
            ),
        }
    }
}

/// The locks on the file at `path`, and on removed files of that name which a living
/// process still holds. Symbolic links are followed.
///
/// No files when nobody has a lock there. 0.2 ms where the kernel names the holders; see the
/// [module](self) for when it takes longer.
///
/// # Errors
///
/// When /proc/locks cannot be read, or the file cannot be reached for another reason than
/// that it does not exist.
pub fn file(path: impl AsRef<Path>) -> io::Result<Snapshot> {
    file::look(path.as_ref())
}

/// A lock that a process has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenLock {
    /// By which descriptor.
    pub descriptor: u32,
    /// On which file.
    pub place: Place,
    /// Which kind.
    pub kind: Kind,
    /// Exclusive or shared.
    pub mode: Mode,
    /// Which part of the file.
    pub range: Range,
}

/// The locks that a process keeps, whoever took them. Without /proc/locks, so that it disturbs
/// nobody; 0.1 ms for a process with ten files open.
///
/// # Errors
///
/// When there is no such process, or it is another user's.
pub fn locks_of(pid: u32) -> io::Result<Vec<OpenLock>> {
    descriptors::locks_of(pid)
}

/// All locks of the host, by file, as far as they can be seen.
///
/// Looks at the descriptors of every process that holds a lock, and at all processes where
/// the kernel does not name a holder.
///
/// # Errors
///
/// When /proc/locks cannot be read.
pub fn host() -> io::Result<Snapshot> {
    survey::host()
}
