//! A thread: its number, signals to it, and the signals that it blocks.

use super::by_number;
use super::masks::Mask;

/// The kernel's number of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadId(pub(super) libc::pid_t);

impl ThreadId {
    /// The calling thread.
    pub(crate) fn current() -> ThreadId {
        ThreadId(by_number::gettid())
    }

    pub(crate) fn number(self) -> u32 {
        self.0.unsigned_abs()
    }
}

/// Sends our signal to a thread of this process, if that thread exists. False if the kernel has no
/// room for another pending signal. Async-signal-safe; preserves errno, as a signal handler has to.
pub(super) fn send(thread: libc::pid_t, signal: libc::c_int) -> bool {
    // SAFETY: __errno_location is valid in every thread. getpid and tgkill take no pointers. tgkill
    // reaches only threads of this process, which have our handler for the signal.
    unsafe {
        let errno = *libc::__errno_location();
        let sent = libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal);
        *libc::__errno_location() = errno;
        sent == 0
    }
}

/// The signals that this thread blocks.
pub(super) fn mask() -> Mask {
    // SAFETY: signal sets are plain data. Without a new mask, the call only fills this one.
    let mask = unsafe {
        let mut mask: libc::sigset_t = std::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut mask);
        mask
    };
    Mask::of(&mask)
}

/// Unblocks `signal` in this thread.
pub(super) fn unblock(signal: libc::c_int) {
    change_mask(libc::SIG_UNBLOCK, signal);
}

pub(super) fn block(signal: libc::c_int) {
    change_mask(libc::SIG_BLOCK, signal);
}

fn change_mask(how: libc::c_int, signal: libc::c_int) {
    // SAFETY: signal sets are plain data, and sigemptyset initialises the set before use.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, signal);
        libc::pthread_sigmask(how, &set, std::ptr::null_mut());
    }
}

/// Calls `inside` while this thread blocks all signals: a thread that is started there blocks them
/// from its beginning.
pub(crate) fn with_signals_blocked<T>(inside: impl FnOnce() -> T) -> T {
    // SAFETY: signal sets are plain data, filled before use. The mask is that of this thread, and
    // is restored below.
    let before = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        before
    };
    let result = inside();
    // SAFETY: the first call filled this set.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    result
}
