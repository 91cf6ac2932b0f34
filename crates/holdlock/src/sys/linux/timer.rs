//! The timer of a thread, which sends our signal to this one thread.

use std::cell::RefCell;
use std::time::Duration;

use super::thread::{self, ThreadId};
use super::{check, fork};

/// How often the signal of a cancellation is repeated: a caller waits for the thread.
const REPEAT_CANCELLED: Duration = Duration::from_micros(100);

/// The timer of this thread for `signal`. The first wait creates it. None if the kernel creates no
/// timer, or the thread is ending.
pub(super) fn thread_timer(signal: libc::c_int) -> Option<libc::timer_t> {
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

/// Async-signal-safe.
pub(super) fn set_timer(timer: libc::timer_t, first: Duration, then: Duration) -> bool {
    let time = |duration: Duration| libc::timespec {
        // A century stands for every later deadline.
        tv_sec: duration.as_secs().min(100 * 365 * 86_400) as _,
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
    thread::send(thread, signal);
}
