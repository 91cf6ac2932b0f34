//! Signals as a queue to read from, instead of handlers.
//!
//! The signals are blocked and fetched with sigtimedwait(2), which also shows the sender of each.
//! There are no handlers, so exec has nothing to reset; the child gets the signal mask with which
//! holdlock was started.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::mem::zeroed;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Blocked signals of this thread. They stay blocked for the rest of the program.
pub(crate) struct Blocked {
    before: Before,
    /// The signals that are fetched.
    ours: libc::sigset_t,
}

/// What the program was started with, and its children are.
#[derive(Clone, Copy)]
struct Before {
    mask: libc::sigset_t,
    /// SIGCHLD was ignored: the kernel would discard exit statuses.
    ignored_children: bool,
}

/// Of the first time. The second time, the signals are blocked already.
static BEFORE: OnceLock<Before> = OnceLock::new();

/// A signal that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) number: c_int,
    /// The kernel sent it, for the terminal or for our own timer; no process did.
    pub(crate) from_kernel: bool,
}

impl Blocked {
    /// Blocks these signals and SIGCHLD. Ignored signals (nohup, a script's background job) stay
    /// ignored.
    pub(crate) fn new(numbers: &[c_int]) -> io::Result<Blocked> {
        // SAFETY: a sigset_t is plain data, set up by sigemptyset before use; the pointers are to
        // live values of the right type, and no handler is installed.
        unsafe {
            let mut ours: libc::sigset_t = zeroed();
            libc::sigemptyset(&mut ours);
            libc::sigaddset(&mut ours, libc::SIGCHLD);
            for number in numbers {
                if !is_ignored(*number) {
                    libc::sigaddset(&mut ours, *number);
                }
            }
            let ignored_children = is_ignored(libc::SIGCHLD);
            if ignored_children {
                libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            }
            let mut mask: libc::sigset_t = zeroed();
            match libc::pthread_sigmask(libc::SIG_BLOCK, &ours, &mut mask) {
                0 => Ok(Blocked {
                    before: *BEFORE.get_or_init(|| Before {
                        mask,
                        ignored_children,
                    }),
                    ours,
                }),
                errno => Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }

    /// Puts everything back as it was. Allowed between fork and exec.
    pub(crate) fn restore(&self) {
        // SAFETY: a mask that the kernel gave us; SIGCHLD has no handler that could be lost.
        unsafe {
            if self.before.ignored_children {
                libc::signal(libc::SIGCHLD, libc::SIG_IGN);
            }
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.before.mask, std::ptr::null_mut());
        }
    }

    /// Whether one of these signals has arrived and is not yet fetched.
    pub(crate) fn is_pending(&self, numbers: &[c_int]) -> bool {
        // SAFETY: plain system calls on a live value.
        unsafe {
            let mut pending: libc::sigset_t = zeroed();
            libc::sigpending(&mut pending) == 0
                && numbers
                    .iter()
                    .any(|number| libc::sigismember(&pending, *number) == 1)
        }
    }

    /// Sleeps until one arrives. None: the time is over, or the sleep was interrupted.
    pub(crate) fn next(&self, limit: Option<Duration>) -> io::Result<Option<Arrived>> {
        // SAFETY: the pointers are to live values; a null timeout waits for ever.
        let (number, info) = unsafe {
            let mut info: libc::siginfo_t = zeroed();
            let limit = limit.map(|limit| libc::timespec {
                tv_sec: limit.as_secs() as _,
                tv_nsec: limit.subsec_nanos().into(),
            });
            let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
            (libc::sigtimedwait(&self.ours, &mut info, limit), info)
        };
        if number > 0 {
            let from_kernel = [libc::SI_KERNEL, libc::SI_TIMER].contains(&info.si_code);
            return Ok(Some(Arrived {
                number,
                from_kernel,
            }));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => Ok(None),
            _ => Err(error),
        }
    }
}

pub(super) fn is_ignored(number: c_int) -> bool {
    // SAFETY: asks only, and sigaction is plain data that may be zero.
    unsafe {
        let mut now: libc::sigaction = zeroed();
        libc::sigaction(number, std::ptr::null(), &mut now) == 0
            && now.sa_sigaction == libc::SIG_IGN
    }
}

/// Stops this process, or its whole group, by a signal of job control, so that the shell sees it
/// stopped. Returns when the process continues; at once if no process could continue it (an
/// orphaned group).
pub(crate) fn stop(number: c_int, group: bool) {
    // SAFETY: plain system calls on live values.
    unsafe {
        let one = set_of(number);
        let mut before: libc::sigset_t = zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, &one, &mut before);
        libc::kill(if group { 0 } else { libc::getpid() }, number);
        // It is pending, and takes effect here.
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &one, std::ptr::null_mut());
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
    }
}

/// Ends this process by a signal with its default effect, without a core dump. Returns only if the
/// signal does not end a process.
pub(crate) fn die_of(number: c_int) {
    // SAFETY: plain system calls on live values; there is no handler that could be lost.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
        libc::signal(number, libc::SIG_DFL);
        libc::raise(number);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set_of(number), std::ptr::null_mut());
    }
}

/// The caller of this program ignores SIGPIPE.
static IGNORES_BROKEN_PIPES: AtomicBool = AtomicBool::new(false);

/// From now on a write to a pipe without a reader is an error and does not end this process.
pub(crate) fn ignore_broken_pipes() {
    // SAFETY: a plain system call; no handler is installed.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    IGNORES_BROKEN_PIPES.store(before == libc::SIG_IGN, Ordering::Relaxed);
}

/// Puts SIGPIPE back as it was. Allowed between fork and exec.
pub(crate) fn restore_broken_pipes() {
    if !IGNORES_BROKEN_PIPES.load(Ordering::Relaxed) {
        // SAFETY: a plain system call; no handler is installed.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    }
}

/// From now on a write beyond the limit of file sizes (`ulimit -f`) is an error and does not end
/// this process. Only for a process that starts no more commands: they would inherit this.
pub(crate) fn let_writes_fail_at_size_limit() {
    // SAFETY: a plain system call; there is no handler that could be lost.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

fn set_of(number: c_int) -> libc::sigset_t {
    // SAFETY: a sigset_t is plain data, set up by sigemptyset before use.
    unsafe {
        let mut one: libc::sigset_t = zeroed();
        libc::sigemptyset(&mut one);
        libc::sigaddset(&mut one, number);
        one
    }
}

/// Runs `act`, a write, without the signals of a write: SIGTTOU might stop a process in the
/// background of a terminal, and SIGXFSZ ends a process that exceeds the limit of file sizes. That
/// write fails instead.
pub(crate) fn without_those_of_a_write<T>(act: impl FnOnce() -> T) -> T {
    let size_limit = set_of(libc::SIGXFSZ);
    let mut both = set_of(libc::SIGTTOU);
    let now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: plain system calls on live values.
    unsafe {
        libc::sigaddset(&mut both, libc::SIGXFSZ);
        with_blocked(&both, || {
            let result = act();
            // It is pending for this thread.
            libc::sigtimedwait(&size_limit, std::ptr::null_mut(), &now);
            result
        })
    }
}

/// Runs `act` with all signals blocked. A thread that it starts gets no signal, not even in its
/// first moment: a SIGCHLD would be lost there, and a SIGTERM would end us.
pub(crate) fn without_any<T>(act: impl FnOnce() -> T) -> T {
    // SAFETY: a plain system call on a live value.
    let all = unsafe {
        let mut all: libc::sigset_t = zeroed();
        libc::sigfillset(&mut all);
        all
    };
    with_blocked(&all, act)
}

fn with_blocked<T>(set: &libc::sigset_t, act: impl FnOnce() -> T) -> T {
    // SAFETY: plain system calls on live values.
    unsafe {
        let mut before: libc::sigset_t = zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, set, &mut before);
        let result = act();
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        result
    }
}
