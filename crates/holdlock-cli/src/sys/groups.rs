//! Process groups and sessions as plain numbers.
//!
//! A program that is started in a PID namespace from outside of it may be in a group and a session
//! whose leaders have no number there. The kernel returns 0 for such a leader, which
//! `rustix::process` takes for impossible.

use std::os::fd::{AsFd, AsRawFd};

/// The session of a process, or our own.
pub(crate) fn session_of(pid: Option<rustix::process::Pid>) -> Option<i32> {
    let pid = rustix::process::Pid::as_raw(pid);
    // SAFETY: a system call that changes nothing; a wrong number is ESRCH.
    super::check(unsafe { libc::getsid(pid) }).ok()
}

/// Our own process group.
pub(crate) fn own_group() -> i32 {
    // SAFETY: a system call that changes nothing and cannot fail.
    unsafe { libc::getpgrp() }
}

/// The process group in the foreground of a terminal.
pub(crate) fn in_foreground(terminal: impl AsFd) -> Option<i32> {
    // SAFETY: the descriptor is open; one that is no terminal is ENOTTY.
    super::check(unsafe { libc::tcgetpgrp(terminal.as_fd().as_raw_fd()) }).ok()
}
