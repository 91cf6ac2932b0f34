//! File locks for the critical sections of processes.
//!
//! Two processes that must not do a thing at the same time agree on the path of
//! a *lock file*. Each opens a [`FileLock`] on it and takes the lock before, and
//! releases it after. The kernel keeps the lock (flock(2)): it is free again when
//! its holder ends, however it ends, so a lock is never stale and nothing has to
//! be cleaned up.
//!
//! ```
//! use holdlock::{Error, FileLock};
//! use std::time::Duration;
//!
//! # let path = std::env::temp_dir().join(format!("holdlock-doc-lib-{}", std::process::id()));
//! let lock = FileLock::open(&path)?;
//! match lock.try_lock_for(Duration::from_secs(2)) {
//!     Ok(_guard) => println!("nobody else is here"),
//!     // `index.lock: no exclusive lock after 2.000s; held by pid 4711 (make all) of ann`
//!     Err(error) if error.is_conflict() => eprintln!("{error}"),
//!     Err(error) => return Err(error.into()),
//! }
//! # std::fs::remove_file(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The model
//!
//! | word | meaning |
//! |---|---|
//! | lock file | the file whose inode carries the kernel's lock; its path is where processes meet |
//! | [`FileLock`] | path and options; cheap, kept open, shared by threads |
//! | [`Guard`], [`OwnedGuard`] | proof of holding the lock; released when dropped |
//! | [`Mode`] | exclusive, or shared with other shared holders |
//! | [`Request`] | how long to wait, and who may end the wait |
//! | [`LockFuture`] | a request that is awaited, under whatever async runtime |
//! | holder, waiter | a [`Process`] that has the lock, or queues for it |
//!
//! # What is promised
//!
//! * **Exclusion** between processes, and between threads, also those that use
//!   one `FileLock`; with users of plain flock(2), such as flock(1), too.
//! * **The file may be removed** by a holder or while nobody holds the lock: who
//!   has locked a file that is not at the path any more starts over. Somebody who
//!   removes the file of a lock *while it is held by another* cannot be stopped,
//!   but is noticed: by [`Guard::is_current`], and by whoever would have to
//!   create the file anew ([`Error::RemovedWhileHeld`]).
//! * **Bounded waits do not poll.** The thread sleeps in the kernel's queue. A
//!   timer or a [`CancelToken`] gets it out by a signal, see [`wait_signal`].
//! * **Fork and exec.** A child owns nothing: neither does it hold the lock, nor
//!   can it release it by accident. Descriptors are close-on-exec.
//! * **Nothing is overwritten.** Lock files are never written or truncated,
//!   symbolic links at the last component are not followed.
//! * **Deadlocks end.** A wait without limit that is part of a cycle of processes or threads, each
//!   waiting for a lock of the next, fails with [`Error::Deadlock`], which spells the cycle out. The
//!   others go on. Where one of them may have a way out, there is no error.
//! * **You can see who.** Errors name the file, the holders and the remedy; [`inspect`] shows
//!   every lock of the host, with who waits in which order.
//!
//! # What is used
//!
//! One descriptor for each open `FileLock`. In contended waits with a time limit
//! or a token: one POSIX timer for each thread, and one real-time signal for the
//! process ([`wait_signal`]). A handler for fork (pthread_atfork). A helper thread while
//! and shortly after the process waits, which notices deadlocks
//! ([`Request::notice_deadlocks`]), one while and shortly after a fair request waits
//! ([`LockOptions::fair`]), and up to 16 where signals cannot be used. Linux only, for now.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "holdlock supports Linux only for now: its waits are built on flock(2), POSIX timers with \
     SIGEV_THREAD_ID and futexes. On other systems use std::fs::File::lock meanwhile."
);

#[cfg(target_os = "linux")]
mod acquire;
#[cfg(target_os = "linux")]
mod bytes;
#[cfg(target_os = "linux")]
mod cancel;
#[cfg(target_os = "linux")]
mod deadlock;
#[cfg(target_os = "linux")]
mod error;
#[cfg(target_os = "linux")]
mod future;
#[cfg(target_os = "linux")]
mod gate;
#[cfg(target_os = "linux")]
mod guard;
#[cfg(target_os = "linux")]
pub mod inspect;
#[cfg(target_os = "linux")]
mod lock;
#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod request;
#[cfg(target_os = "linux")]
mod sys;
#[cfg(target_os = "linux")]
mod wait;

#[cfg(target_os = "linux")]
pub use cancel::{CancelNotice, CancelToken};
#[cfg(target_os = "linux")]
pub use error::{Conflict, Error};
#[cfg(target_os = "linux")]
pub use future::LockFuture;
#[cfg(target_os = "linux")]
pub use guard::{Continuity, Guard, OwnedGuard};
#[cfg(target_os = "linux")]
pub use inspect::{Deadlock, Process};
#[cfg(target_os = "linux")]
pub use lock::FileLock;
#[cfg(target_os = "linux")]
pub use options::{Family, LockOptions, Mode};
#[cfg(target_os = "linux")]
pub use request::{Limit, NoCallback, OnWait, Request, Waiting};

/// The real-time signal that ends waits at their deadline or when cancelled:
/// SIGRTMIN + 10 (44) unless that is taken.
///
/// Its handler ends the system call in which the thread waits, and does nothing else. It is
/// installed, without SA_RESTART, at the first contended wait that has a time limit or a token.
///
/// A signal is taken when it has another handler or is ignored, when it is pending, or when a
/// thread blocks it, as programs do that read their signals with signalfd(2) or sigwait(2). (A
/// thread that blocks most real-time signals says nothing about a single one.) Before each further
/// wait the library looks whether the signal still has its handler and whether the waiting thread
/// blocks it; if somebody has taken it since, another free signal is used.
///
/// Where every signal is blocked by some thread, one is unblocked in the waiting thread for the
/// time of the wait. The signal also ends a wait that closes a cycle
/// ([`Request::notice_deadlocks`]), if the thread does not block it. When every real-time signal
/// has another handler (None), or the kernel grants no timer, helper threads wait instead: at most
/// 16, and requests beyond that ask again every 10 ms.
pub fn wait_signal() -> Option<i32> {
    sys::signal::in_use()
}

/// Uses another real-time signal for [`wait_signal`] from now on.
///
/// # Errors
///
/// `InvalidInput` when it is not a real-time signal, `AlreadyExists` when it has
/// a handler or is ignored.
pub fn set_wait_signal(signal: i32) -> std::io::Result<()> {
    sys::signal::prefer(signal)
}
