//! Writing without being killed by SIGPIPE.

use std::ptr;

use rustix::io::Errno;

/// Does `write` with SIGPIPE held back, and swallows the one it caused.
///
/// Ignoring the signal for that time would do as well, but the mask costs the same and leaves
/// the disposition alone, which the command inherits.
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
        // Blocked before us, a pending one may be the caller's own: leave it.
        if broken && libc::sigismember(&before, libc::SIGPIPE) == 0 {
            libc::sigtimedwait(&set, ptr::null_mut(), &now);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &before, ptr::null_mut());
    }
    result
}
