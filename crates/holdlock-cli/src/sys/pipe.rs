//! Writing without being killed by SIGPIPE.

use std::ptr;

use rustix::io::Errno;

/// Runs `write` with SIGPIPE blocked, and discards a SIGPIPE that it caused.
///
/// Ignoring the signal for that time would also work, but the mask costs the same and does not
/// change the signal's action, which the command inherits.
pub(crate) fn without_sigpipe(write: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    // SAFETY: sets are plain data, made valid by sigemptyset before they are used.
    let (set, before) = unsafe {
        let (mut set, mut before): (libc::sigset_t, libc::sigset_t) =
            (std::mem::zeroed(), std::mem::zeroed());
        libc::sigemptyset(&mut set);
        libc::sigemptyset(&mut before);
        libc::sigaddset(&mut set, libc::SIGPIPE);
        libc::sigprocmask(libc::SIG_BLOCK, &set, &mut before);
        (set, before)
    };
    let result = write();
    let broken = result == Err(Errno::PIPE);
    let now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: valid sets and a valid time; the mask is the one we found.
    unsafe {
        // If the caller had blocked it, a pending signal may be the caller's own: leave it.
        if broken && libc::sigismember(&before, libc::SIGPIPE) == 0 {
            libc::sigtimedwait(&set, ptr::null_mut(), &now);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &before, ptr::null_mut());
    }
    result
}
