//! Ending a blocked system call of this thread: at a deadline, or when told to.
//!
//! The thread blocks in flock(2) itself, so it keeps its place in the kernel's
//! queue. A POSIX timer that signals this one thread (SIGEV_THREAD_ID) goes off
//! at the deadline; the signal's handler makes the call return EINTR (see `call`).
//! The timer goes off again every [`REPEAT`], and only ever *after* the deadline:
//! an interrupted waiter may lose its place.
//!
//! To cancel, another thread (or a signal handler) sends the same signal and
//! starts the waiter's own timer as the repetition.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::notify::{Notifier, Registration};
use super::signal::Unblocked;
use super::thread::ThreadId;
use super::{check, fork, signal};

/// How often a signal that may have been lost is sent again. Where `call` knows the processor, that
/// is next to never.
const REPEAT: Duration = Duration::from_millis(if cfg!(target_arch = "x86_64") { 10 } else { 1 });
/// The same for a cancellation, where the caller waits for us.
const REPEAT_CANCELLED: Duration = Duration::from_micros(100);

/// While it lives, blocked system calls of this thread can be ended.
pub(crate) struct Interrupt<'t> {
    timer: libc::timer_t,
    generation: u32,
    /// Ends before `_unblocked`: nobody sends the signal after that.
    registration: Option<Registration<'t>>,
    _unblocked: Unblocked,
}

impl<'t> Interrupt<'t> {
    /// Prepares this thread. None where signals cannot be used: every real-time
    /// signal is taken, or the kernel gives no timer.
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

    /// From `deadline` on, interrupts until dropped or set anew. False where a sandbox does not let
    /// the timer be set.
    pub(crate) fn at(&self, deadline: Instant) -> bool {
        let ahead = deadline.saturating_duration_since(Instant::now());
        // Zero would stop the timer instead of firing it.
        self.set(ahead.max(Duration::from_nanos(1)), REPEAT)
    }

    /// Interrupts no more, except when notified. The caller looks at the notifier after this.
    pub(crate) fn never(&self) {
        self.set(Duration::ZERO, Duration::ZERO);
    }

    /// Overwrites what a cancellation has set: the caller looks for one after this.
    fn set(&self, first: Duration, then: Duration) -> bool {
        // Timers are not inherited by fork: in a child the number is nobody's or somebody else's.
        self.generation != fork::generation() || set_timer(self.timer, first, then)
    }
}

impl Drop for Interrupt<'_> {
    fn drop(&mut self) {
        // Nobody notifies after this ...
        self.registration = None;
        // ... and a signal that is on its way arrives when this system call returns, at the
        // latest: none is left to interrupt the caller's own calls.
        self.set(Duration::ZERO, Duration::ZERO);
    }
}

/// The timer of this thread for `signal`, made at the first contended wait. None
/// when the kernel gives none, or the thread is ending.
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
        // SAFETY: a valid event and a valid place for the id.
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
        // Not in a child, see `Interrupt::set`.
        if self.generation == fork::generation() {
            // SAFETY: our own timer of this process; no Interrupt of this thread is left, since
            // each ends in the call that began it.
            unsafe { libc::timer_delete(self.id) };
        }
    }
}

/// Sends our signal to a thread of this process; nothing happens if there is none.
pub(crate) fn signal_thread(thread: ThreadId, signal: libc::c_int) {
    signal::send(thread.0, signal);
}

/// Async-signal-safe.
fn set_timer(timer: libc::timer_t, first: Duration, then: Duration) -> bool {
    let time = |duration: Duration| libc::timespec {
        // Far deadlines: a century is for ever.
        tv_sec: duration.as_secs().min(100 * 365 * 86_400) as libc::time_t,
        tv_nsec: duration.subsec_nanos() as libc::c_long,
    };
    let setting = libc::itimerspec {
        it_value: time(first),
        it_interval: time(then),
    };
    // SAFETY: a valid setting; a timer id that is not ours any more is EINVAL.
    unsafe { libc::timer_settime(timer, 0, &setting, std::ptr::null_mut()) == 0 }
}

/// Async-signal-safe, and keeps errno as a signal handler must.
pub(super) fn interrupt_thread(thread: libc::pid_t, signal: libc::c_int, timer: libc::timer_t) {
    // SAFETY: __errno_location is valid in every thread.
    let errno = unsafe { *libc::__errno_location() };
    set_timer(timer, REPEAT_CANCELLED, REPEAT_CANCELLED);
    // SAFETY: the same.
    unsafe { *libc::__errno_location() = errno };
    signal::send(thread, signal);
}
