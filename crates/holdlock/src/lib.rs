//! File locks for the critical sections of processes.
//!
//! Processes that must not do a thing at the same time agree on the path of a *lock file*. Each
//! process opens a [`FileLock`] on that path, acquires the lock before the critical section and
//! releases it after. The kernel keeps the lock (flock(2)) and frees it when its holder ends,
//! however it ends: a lock is never stale, and nothing has to be cleaned up.
//!
//! ```
//! use holdlock::{Error, FileLock};
//! use std::time::Duration;
//!
//! # let path = std::env::temp_dir().join(format!("holdlock-doc-lib-{}", std::process::id()));
//! let lock = FileLock::open(&path)?;
//! {
//!     let _guard = lock.lock()?; // sleeps until the lock is acquired
//!     // No other process and no other thread is here now.
//! } // released
//!
//! {
//!     let _guard = lock.lock_shared()?; // together with other shared holders
//! }
//!
//! match lock.try_lock_for(Duration::from_secs(2)) {
//!     Ok(guard) => guard.release()?,
//!     // `index.lock: timed out after 2 s waiting for the exclusive lock; held by pid 4711 (make) of ann`
//!     Err(Error::TimedOut(conflict)) => {
//!         for holder in conflict.holders() {
//!             eprintln!("held by {}", holder.pid);
//!         }
//!     }
//!     Err(error) => return Err(error.into()),
//! }
//! # std::fs::remove_file(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In asynchronous code, under every runtime: `lock.lock_async().await?`.
//!
//! # Two things that surprise
//!
//! * `let _ = lock.lock()?;` releases the lock at once, because `_` binds nothing. Lints do not see
//!   it. Write `let _guard = lock.lock()?;`.
//! * A lock is never poisoned, unlike a [`Mutex`](std::sync::Mutex). A guard that is dropped by a
//!   panic releases the lock, and so does the kernel when a process is killed. After that, the
//!   protected data may be incomplete, and the next holder has to check it: write a new file and
//!   rename it, or use a database.
//!
//! # The model
//!
//! | word | meaning |
//! |---|---|
//! | lock file | the file on which the kernel keeps the lock; the processes agree on its path |
//! | [`FileLock`] | path and options; cheap, made once, shared by threads |
//! | [`Guard`], [`OwnedGuard`] | proof of holding the lock; released when dropped |
//! | [`UpgradeableGuard`] | a shared lock with the right to become exclusive, atomically |
//! | [`Mode`] | exclusive, or shared with other shared holders |
//! | [`LockSet`], [`SetGuard`] | several locks that are acquired together, or not at all |
//! | [`Request`] | the mode, how long to wait, and what may end the wait |
//! | [`LockFuture`] | a request that is awaited |
//! | [`Semaphore`] | a lock with N slots: at most N holders, each with the number of its slot |
//! | holder, waiter | a [`Process`] that has the lock, or queues for it |
//!
//! Readers that ask for the shared lock and writers that ask for the exclusive lock have a
//! reader/writer lock, which other libraries have as a type of its own. With [`LockOptions::fair`]
//! it starves neither readers nor writers.
//!
//! # What is promised
//!
//! * **Exclusion** between processes, and between threads, also those that use one `FileLock`.
//!   Users of plain flock(2), such as flock(1), are excluded, too.
//! * **The lock file may be removed** by a holder, or while no process holds the lock: an acquirer
//!   whose file is no longer at the path starts over. A program that removes the file of a lock
//!   *while another process holds it* cannot be stopped, but the library notices:
//!   [`Guard::is_current`] tells the holder, and the next process, which would create the file
//!   anew, fails with [`Error::RemovedWhileHeld`].
//! * **Bounded waits do not poll.** The thread sleeps in the kernel's queue. A timer or a
//!   [`CancelToken`] ends the system call by a signal, see [`wait_signal`].
//! * **Fork and exec.** A child owns nothing: it does not hold the lock and cannot release it by
//!   accident. Descriptors are close-on-exec.
//! * **Nothing is overwritten.** The library never writes or truncates lock files, and does not
//!   follow a symbolic link at the last component of the path. With [`LockOptions::record`] it
//!   writes only to a file that is empty or has its record, and refuses any other file.
//! * **Tokens and dead holders**, with [`LockOptions::record`]: [`Guard::token`] rises with each
//!   exclusive acquisition, and [`Guard::abandoned`] says that the last holder died.
//! * **Deadlocks end.** A wait without limit fails with [`Error::Deadlock`] if it is part of a
//!   cycle of processes or threads, each waiting for a lock of the next. The error shows the cycle,
//!   and the other members continue. A cycle is not an error if one member may have a way out.
//! * **Holders are named.** Errors name the file, the holders and the remedy; [`inspect`] shows
//!   every lock of the host, with the waiters in the order of service.
//!
//! # The resources that the library uses
//!
//! * One descriptor for each `FileLock` that is held, awaited or in constant use ([`FileLock`] says
//!   what that means), and a handler for fork (pthread_atfork(3)).
//! * While tasks of asynchronous code wait: a thread for each `FileLock` that they wait for
//!   ([`FileLock::lock_async`]), and one for the time limits of all.
//! * While a lock is in constant use, and about a second longer: a helper thread that closes its
//!   file afterwards.
//! * In contended waits with a time limit or a token: one POSIX timer for each thread, and one
//!   real-time signal for the process ([`wait_signal`]; [`LockOptions::signals`] forbids it). Where
//!   signals cannot be used, up to 16 helper threads.
//! * During a wait without limit, and some seconds longer: a helper thread that looks for deadlocks
//!   ([`Request::notice_deadlocks`]). Fair requests have such a helper thread, too
//!   ([`LockOptions::fair`]). From the first helper thread on: one descriptor of a note in memory
//!   (memfd_create(2)), which tells other processes about the waits and the helper threads of this
//!   process.
//!
//! Linux only, for now.

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
mod mode;
#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod record;
#[cfg(target_os = "linux")]
mod request;
#[cfg(target_os = "linux")]
mod semaphore;
#[cfg(target_os = "linux")]
mod set;
#[cfg(target_os = "linux")]
mod sync;
#[cfg(target_os = "linux")]
mod sys;
#[cfg(target_os = "linux")]
mod tasks;
#[cfg(target_os = "linux")]
mod upgrade;
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
pub use mode::{Family, Mode};
#[cfg(target_os = "linux")]
pub use options::LockOptions;
#[cfg(target_os = "linux")]
pub use record::{Moment, Passed, Record, RecordState, Run, TokenGate};
#[cfg(target_os = "linux")]
pub use request::{Limit, NoCallback, OnWait, Request, Waiting};
#[cfg(target_os = "linux")]
pub use semaphore::{OwnedSemaphoreGuard, Semaphore, SemaphoreGuard};
#[cfg(target_os = "linux")]
pub use set::{LockSet, Member, SetGuard};
#[cfg(target_os = "linux")]
pub use upgrade::{OwnedUpgradeableGuard, UpgradeableGuard};

/// The real-time signal that ends waits at their deadline or when they are cancelled. None if no
/// wait has needed a signal yet, or if other code has taken it. This function changes nothing.
///
/// The library uses SIGRTMIN + 10 (44) unless that signal is taken. Its handler ends the system
/// call in which the thread waits, and does nothing else. The first contended wait that has a time
/// limit or a token installs the handler, without SA_RESTART.
///
/// A signal is taken if it has another handler or is ignored, if it is pending, or if a thread
/// blocks it, because programs that read signals with signalfd(2) or sigwait(2) block them. (A
/// thread that blocks most real-time signals does not count.) Before each further wait the library
/// checks that the signal still has its handler and that the waiting thread does not block it; if
/// other code has taken the signal since, the library uses another free one.
///
/// If each signal is blocked by some thread, the waiting thread unblocks one for the time of the
/// wait. The signal also ends a wait that closes a cycle ([`Request::notice_deadlocks`]), if the
/// thread does not block it. If every real-time signal has another handler, or the kernel grants no
/// timer, helper threads wait instead: at most 16; further requests ask again every 10 ms.
#[cfg(target_os = "linux")]
pub fn wait_signal() -> Option<i32> {
    sys::signal::in_use()
}

/// Uses this real-time signal from now on; see [`wait_signal`]. For programs that must not have
/// such a signal, see [`LockOptions::signals`].
///
/// # Errors
///
/// `InvalidInput` if it is not a real-time signal, `AlreadyExists` if it has a handler or is
/// ignored.
#[cfg(target_os = "linux")]
pub fn set_wait_signal(signal: i32) -> std::io::Result<()> {
    sys::signal::prefer(signal)
}
