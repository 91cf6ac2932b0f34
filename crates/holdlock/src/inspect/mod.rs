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
//! With the feature `serde`, which is off by default, the types of this module,
//! [`Mode`](crate::Mode) and [`Family`](crate::Family) implement `serde::Serialize`. Fields keep
//! their names. Values of enumerations are words in lower case, such as `"exclusive"`. In a path,
//! bytes that are not UTF-8 become U+FFFD, so that such a path does not make the serialisation
//! fail. [`Process::started`] has serde's form of a `SystemTime`, and is null for a time before
//! 1970.

mod certain;
mod deadlock;
mod graph;
mod heirs;
mod printable;
mod proc;
#[cfg(feature = "serde")]
mod serialize;
mod snapshot;
mod watch;

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::Path;

pub use crate::bytes::Range;
pub use certain::bound_ancestors;
pub use deadlock::{Deadlock, Step};
pub use heirs::{kept_by_bound, slots_kept_by_bound};
pub use printable::{Printable, printable};
pub use proc::ancestors::{ancestors, start_time, waiting_ancestors};
pub use proc::file_id::FileId;
pub use proc::process::{Process, State, is_proc_ours};
pub use proc::table::Kind;
pub use snapshot::{Holder, Lock, LockedFile, OpenLock, Snapshot, Unseen, Waiter};
pub use watch::HostWatch;

pub(crate) use certain::{Asleep, has_one_thread, wait_without_limit, we_have_a_timer};
pub(crate) use deadlock::{OurWait, Ours};
pub(crate) use graph::Graph;
pub(crate) use heirs::Heirs;
pub(crate) use printable::PATH_LENGTH;
pub(crate) use proc::ancestors::is_at_work;
pub(crate) use proc::boot::{boot_clock_offset, boot_id};
pub(crate) use proc::file::{contended, holders, turn_is_in_the_way, waiters};
pub(crate) use proc::process::this_process;
pub(crate) use proc::removed::first as removed;

use crate::sys::published::Helper;
use proc::{descriptors, file, survey};

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

impl Snapshot {
    /// The cycles of processes that wait for one another.
    ///
    /// Looks at the threads, the time limits and the ancestors of the processes that hold a lock
    /// and wait for another one. If there may be a cycle, also looks at all processes, for one that
    /// has inherited a lock of the cycle and may release it.
    pub fn deadlocks(&self) -> Vec<Deadlock> {
        let mut covered = HashSet::new();
        if Graph::of_possible(self, None)
            .cycles(&mut covered)
            .is_empty()
        {
            return Vec::new();
        }
        covered.clear();
        let heirs = Heirs::of_contended(self);
        let mut found = Graph::of_certain(&heirs, None, &[]).cycles(&mut covered);
        found.extend(Graph::of_possible(&heirs.snapshot, None).cycles(&mut covered));
        found
    }
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
