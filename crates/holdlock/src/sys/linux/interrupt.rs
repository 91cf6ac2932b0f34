//! Ends a blocked system call of this thread at a deadline or when notified.
//!
//! The thread blocks in flock(2) itself, so it keeps its position in the kernel's queue. A POSIX
//! timer (SIGEV_THREAD_ID) sends a signal to this one thread at the deadline, and the signal's
//! handler makes the call return EINTR (see `call`). The timer repeats every [`REPEAT`], but only
//! *after* the deadline: an interrupted waiter may lose its position.
//!
//! To cancel, another thread or a signal handler sends the same signal, and starts the waiter's own
//! timer, which repeats it.

use std::time::{Duration, Instant};

use super::fork;
use super::notify::{Notifier, Registration};
use super::signal::Unblocked;
use super::thread::{self, ThreadId};
use super::timer::{set_timer, thread_timer};

/// How often a signal that may be lost is repeated. On the processor that `call` supports, that
/// happens hardly ever.
const REPEAT: Duration = Duration::from_millis(if cfg!(target_arch = "x86_64") { 10 } else { 1 });
/// While this lives, blocked system calls of this thread can be ended.
pub(crate) struct Interrupt<'t> {
    timer: libc::timer_t,
    generation: u32,
    /// Declared before `_unblocked` so that it is dropped first: after that no thread sends the
    /// signal.
    registration: Option<Registration<'t>>,
    _unblocked: Unblocked,
}

impl<'t> Interrupt<'t> {
    /// Prepares this thread. None if signals cannot be used: the program uses every real-time
    /// signal, or the kernel creates no timer.
    pub(crate) fn prepare(notifier: Option<&'t Notifier>) -> Option<Interrupt<'t>> {
        let unblocked = Unblocked::begin()?;
        let timer = thread_timer(unblocked.signal)?;
        Some(Interrupt {
            timer,
            generation: fork::generation(),
            registration: notifier.map(|notifier| notifier.register(timer, unblocked.signal)),
            _unblocked: unblocked,
        })
    }

    /// From `deadline` on, interrupts this thread until dropped or set again. False if a sandbox
    /// forbids setting the timer.
    pub(crate) fn at(&self, deadline: Instant) -> bool {
        let ahead = deadline.saturating_duration_since(Instant::now());
        // Zero would stop the timer instead of firing it.
        self.set(ahead.max(Duration::from_nanos(1)), REPEAT)
    }

    /// From now on, interrupts only when notified. The caller has to check the notifier after this.
    pub(crate) fn never(&self) {
        self.set(Duration::ZERO, Duration::ZERO);
    }

    /// Sets the timer. This overwrites the setting of a cancellation, so the caller has to check
    /// for one after this.
    fn set(&self, first: Duration, then: Duration) -> bool {
        // A child of fork does not inherit timers: there the number names no timer or another one.
        self.generation != fork::generation() || set_timer(self.timer, first, then)
    }
}

impl Drop for Interrupt<'_> {
    fn drop(&mut self) {
        // No thread notifies this one after this ...
        self.registration = None;
        // ... and a signal that is on its way arrives before this system call returns: none is left
        // to interrupt the caller's own calls.
        self.set(Duration::ZERO, Duration::ZERO);
    }
}

/// While this lives, other threads can end the blocked system calls of this one. It costs less than
/// an [`Interrupt`], because there is no timer: the sender repeats the signal.
pub(crate) struct Reachable {
    unblocked: Unblocked,
}

/// A thread that is [`Reachable`].
#[derive(Clone, Copy)]
pub(crate) struct Address {
    thread: ThreadId,
    signal: libc::c_int,
}

impl Reachable {
    /// None if the program uses every real-time signal.
    pub(crate) fn begin() -> Option<Reachable> {
        Some(Reachable {
            unblocked: Unblocked::begin()?,
        })
    }

    pub(crate) fn address(&self) -> Address {
        Address {
            thread: ThreadId::current(),
            signal: self.unblocked.signal,
        }
    }
}

impl Address {
    /// Ends the system call in which the thread is blocked, if it exists.
    pub(crate) fn interrupt(self) {
        thread::send(self.thread.0, self.signal);
    }
}

/// Sends our signal to a thread of this process, if that thread exists.
pub(crate) fn signal_thread(thread: ThreadId, signal: libc::c_int) {
    thread::send(thread.0, signal);
}
