//! Threads as the kernel sees them, and a child of a process with threads.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;

use rustix::process::Pid;

use super::check;

/// The kernel's number of this thread.
pub(crate) fn id() -> i32 {
    // SAFETY: takes nothing.
    // By number: glibc has the function since 2.30 only.
    unsafe { libc::syscall(libc::SYS_gettid) as libc::pid_t }
}

extern "C" fn nothing(_: c_int) {}

/// Gives a signal a handler that does nothing, without SA_RESTART: the signal only interrupts
/// system calls.
pub(crate) fn interrupt_by(signal: c_int) -> io::Result<()> {
    // SAFETY: plain data for which all-zero is valid, and a handler that does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(c_int) as usize;
        check(libc::sigaction(signal, &action, std::ptr::null_mut())).map(drop)
    }
}

/// Sends a signal to a thread of this process. A thread that has ended gets none.
pub(crate) fn signal(thread: i32, signal: c_int) {
    // SAFETY: takes no pointers.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal) };
}

/// fork(2). None in the child, which has this thread alone. It releases locks as a child may, and
/// leaves by [`leave`].
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the C library puts its own locks in order at a fork, and so does the lock library;
    // the child uses nothing else.
    let pid = check(unsafe { libc::fork() })?;
    Ok(Pid::from_raw(pid))
}

/// Ends this process at once.
pub(crate) fn leave(status: c_int) -> ! {
    // SAFETY: takes a number, does not return.
    unsafe { libc::_exit(status) }
}
