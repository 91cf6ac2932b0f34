//! Ends a blocked system call of this thread at a deadline or when notified.
//!
//! The thread blocks in flock(2) itself, so it keeps its position in the kernel's queue. A POSIX
//! timer (SIGEV_THREAD_ID) sends a signal to this one thread at the deadline, and the signal's
//! handler makes the call return EINTR (see `call`). The timer repeats every [`REPEAT`], but only
//! *after* the deadline: an interrupted waiter may lose its position.
//!
//! To cancel, another thread or a signal handler sends the same signal, and starts the waiter's own
//! timer, which repeats it.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::notify::{Notifier, Registration};
use super::signal::Unblocked;
use super::thread::ThreadId;
use super::{check, fork, signal};

/// How often a signal that may be lost is repeated. On the processor that `call` supports, that
/// happens hardly ever.
const REPEAT: Duration = Duration::from_millis(if cfg!(target_arch = "x86_64") { 10 } else { 1 });
/// The same for a cancellation, where a caller waits for this thread.
const REPEAT_CANCELLED: Duration = Duration::from_micros(100);

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
        signal::send(self.thread.0, self.signal);
    }
}

/// The timer of this thread for `signal`. The first wait creates it. None if the kernel creates no
/// timer, or the thread is ending.
fn thread_timer(signal: libc::c_int) -> Option<libc::timer_t> {
    let timer = TIMER.try_with(|timer| {
        let mut timer = timer.try_borrow_mut().ok()?;
        let usable = timer
            .as_ref()
            .is_some_and(|t| t.signal == signal && t.generation == fork::generation());
        if !usable {
            *timer = ThreadTimer::new(signal);
        }
        timer.as_ref().map(|timer| timer.id)
    });
    timer.ok().flatten()
}

thread_local! {
    static TIMER: RefCell<Option<ThreadTimer>> = const { RefCell::new(None) };
}

struct ThreadTimer {
    id: libc::timer_t,
    signal: libc::c_int,
    generation: u32,
}

impl ThreadTimer {
    fn new(signal: libc::c_int) -> Option<ThreadTimer> {
        // SAFETY: sigevent is plain data for which all-zero is valid.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal;
        event.sigev_notify_thread_id = ThreadId::current().0;
        let mut id: libc::timer_t = std::ptr::null_mut();
        // SAFETY: a valid event and valid memory for the id.
        check(unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut id) }).ok()?;
        Some(ThreadTimer {
            id,
            signal,
            generation: fork::generation(),
        })
    }
}

impl Drop for ThreadTimer {
    fn drop(&mut self) {
        // Not in a child of fork, see `Interrupt::set`.
        if self.generation == fork::generation() {
            // SAFETY: a timer of this process, made by `new`. No Interrupt of this thread is left,
            // since each ends in the call that began it.
            unsafe { libc::timer_delete(self.id) };
        }
    }
}

/// Sends our signal to a thread of this process, if that thread exists.
pub(crate) fn signal_thread(thread: ThreadId, signal: libc::c_int) {
    signal::send(thread.0, signal);
}

/// Async-signal-safe.
fn set_timer(timer: libc::timer_t, first: Duration, then: Duration) -> bool {
    let time = |duration: Duration| libc::timespec {
        // A century stands for every later deadline.
        tv_sec: duration.as_secs().min(100 * 365 * 86_400) as libc::time_t,
        tv_nsec: duration.subsec_nanos() as libc::c_long,
    };
    let setting = libc::itimerspec {
        it_value: time(first),
        it_interval: time(then),
    };
    // SAFETY: a valid setting. A timer id that no longer exists fails with EINVAL.
    unsafe { libc::timer_settime(timer, 0, &setting, std::ptr::null_mut()) == 0 }
}

/// Async-signal-safe; preserves errno, as a signal handler has to.
pub(super) fn interrupt_thread(thread: libc::pid_t, signal: libc::c_int, timer: libc::timer_t) {
    // SAFETY: __errno_location is valid in every thread.
    let errno = unsafe { *libc::__errno_location() };
    set_timer(timer, REPEAT_CANCELLED, REPEAT_CANCELLED);
    // SAFETY: the same.
    unsafe { *libc::__errno_location() = errno };
    signal::send(thread, signal);
}
