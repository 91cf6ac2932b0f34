//! Children of fork(2).

#![allow(unsafe_code, reason = "fork")]

/// Runs `body` in a child, which exits with what it returns.
pub(crate) fn in_child(body: impl FnOnce() -> bool) -> libc::pid_t {
    // SAFETY: the child calls only code that is meant for children of fork.
    match unsafe { libc::fork() } {
        0 => {
            let code = if body() { 0 } else { 1 };
            // SAFETY: ends the child.
            unsafe { libc::_exit(code) }
        }
        pid => pid,
    }
}

pub(crate) fn ended_well(pid: libc::pid_t) -> bool {
    let mut status = 0;
    // SAFETY: waits for a child of ours.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}
