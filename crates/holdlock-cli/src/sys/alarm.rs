//! Ends a blocked system call after a time, without polling and without SIGALRM.
//!
//! The caller may have blocked or ignored SIGALRM. Therefore a real-time signal is unblocked and
//! gets a handler without SA_RESTART, so that the blocked call returns EINTR. The signal may arrive
//! just before the call begins, so the timer repeats it every millisecond, but only *after* the
//! deadline: an interrupted waiter may lose its place in the queue.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use super::check;

const AGAIN_NS: libc::c_long = 1_000_000;

static IS_OVER: AtomicBool = AtomicBool::new(false);

/// A timer that sends the signal. Dropping it restores the signal as the caller of the program left
/// it, which is how the command must find it.
pub(crate) struct Alarm {
    signal: libc::c_int,
    timer: libc::timer_t,
    mask_before: libc::sigset_t,
    action_before: libc::sigaction,
}

impl Alarm {
    /// Sends it after `seconds` and `micros`, which must not both be zero, and then repeatedly.
    pub(crate) fn after(seconds: i64, micros: i64) -> io::Result<Alarm> {
        let signal = libc::SIGRTMIN() + 10;
        let action_before = install(signal)?;
        let mask_before = unblock(signal)?;
        let timer = create(signal)?;
        let setting = libc::itimerspec {
            it_value: libc::timespec {
                tv_sec: seconds,
                tv_nsec: micros * 1000,
            },
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: AGAIN_NS,
            },
        };
        // SAFETY: our own timer and a valid setting.
        check(unsafe { libc::timer_settime(timer, 0, &setting, ptr::null_mut()) })?;
        Ok(Alarm {
            signal,
            timer,
            mask_before,
            action_before,
        })
    }

    /// Whether the time is over.
    pub(crate) fn is_over(&self) -> bool {
        IS_OVER.load(Ordering::Relaxed)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // SAFETY: our own timer, and values which the kernel gave us. The timer goes first: a
        // signal on its way is delivered when that call returns, while our handler is there.
        unsafe {
            libc::timer_delete(self.timer);
            libc::sigprocmask(libc::SIG_SETMASK, &self.mask_before, ptr::null_mut());
            libc::sigaction(self.signal, &self.action_before, ptr::null_mut());
        }
    }
}

fn install(signal: libc::c_int) -> io::Result<libc::sigaction> {
    // SAFETY: plain data for which all-zero is valid: no flags, and so no SA_RESTART.
    let (mut action, mut before): (libc::sigaction, libc::sigaction) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    action.sa_flags = libc::SA_SIGINFO;
    action.sa_sigaction =
        note as extern "C" fn(libc::c_int, *const libc::siginfo_t, *const libc::c_void) as usize;
    // SAFETY: the handler has the type that SA_SIGINFO asks for and is async-signal-safe.
    check(unsafe { libc::sigaction(signal, &action, &mut before) })?;
    Ok(before)
}

fn unblock(signal: libc::c_int) -> io::Result<libc::sigset_t> {
    // SAFETY: sets are plain data, made valid by sigemptyset before they are used.
    unsafe {
        let (mut set, mut before): (libc::sigset_t, libc::sigset_t) =
            (std::mem::zeroed(), std::mem::zeroed());
        libc::sigemptyset(&mut set);
        libc::sigemptyset(&mut before);
        libc::sigaddset(&mut set, signal);
        check(libc::sigprocmask(libc::SIG_UNBLOCK, &set, &mut before))?;
        Ok(before)
    }
}

fn create(signal: libc::c_int) -> io::Result<libc::timer_t> {
    // SAFETY: plain data for which all-zero is valid.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = signal;
    let mut timer: libc::timer_t = ptr::null_mut();
    // SAFETY: a valid event and a valid place for the timer.
    check(unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) })?;
    Ok(timer)
}

extern "C" fn note(
    _signal: libc::c_int,
    info: *const libc::siginfo_t,
    _context: *const libc::c_void,
) {
    // Another process may send the signal, too; that is not the end of our time.
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo.
    if unsafe { (*info).si_code } == libc::SI_TIMER {
        IS_OVER.store(true, Ordering::Relaxed);
    }
}
