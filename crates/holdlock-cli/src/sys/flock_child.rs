//! The command of flock(1).

use std::io;
use std::os::fd::RawFd;

use rustix::io::Errno;
use rustix::process::{WaitOptions, waitpid};

use super::vfork::{self, Argv, Child, Failed};

/// How a command ended.
pub(crate) enum Ended {
    Status(u8),
    Signal(u8),
}

/// Starts the command in a child, which first closes `close`.
pub(crate) fn spawn(argv: &Argv<'_>, close: Option<RawFd>) -> Result<Child, Failed> {
    let prepare = || {
        if let Some(fd) = close {
            // SAFETY: the child's table of descriptors is its own.
            unsafe { libc::close(fd) };
        }
    };
    // SAFETY: `prepare` makes one system call, about the child's own descriptor.
    unsafe { vfork::spawn(argv, false, &prepare) }
}

/// Waits until the child has ended.
pub(crate) fn wait(child: &Child) -> io::Result<Ended> {
    loop {
        let status = match waitpid(Some(child.pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => status,
            Ok(None) | Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        return Ok(match status.terminating_signal() {
            Some(signal) => Ended::Signal(signal as u8),
            None => Ended::Status(status.exit_status().unwrap_or_default() as u8),
        });
    }
}

/// Gives SIGCHLD its default: if it were ignored, wait(2) would not report a child.
pub(crate) fn default_sigchld() {
    // SAFETY: no handler is installed, only a default.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Closes a descriptor that is known by its number only.
pub(crate) fn close(fd: RawFd) {
    // SAFETY: takes a number; the callers' descriptors are owned by nobody, as they are to be
    // inherited.
    unsafe { libc::close(fd) };
}
