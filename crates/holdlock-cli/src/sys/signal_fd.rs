//! Signals to wait for together with keys: signalfd(2).
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::check;
use super::signals::is_ignored;

/// Blocked signals of this thread, which arrive as data to read.
pub(crate) struct SignalFd {
    fd: OwnedFd,
    before: libc::sigset_t,
}

impl SignalFd {
    /// Blocks these signals. Ignored signals, as after nohup(1), are left alone.
    pub(crate) fn new(numbers: &[c_int]) -> io::Result<SignalFd> {
        // SAFETY: a sigset_t is plain data, set up by sigemptyset before use; the pointers are to
        // live values; the descriptor is new and only ours.
        unsafe {
            let mut ours: libc::sigset_t = zeroed();
            libc::sigemptyset(&mut ours);
            for number in numbers {
                if !is_ignored(*number) {
                    libc::sigaddset(&mut ours, *number);
                }
            }
            let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
            let fd = check(libc::signalfd(-1, &ours, flags))?;
            let fd = OwnedFd::from_raw_fd(fd);
            let mut before: libc::sigset_t = zeroed();
            match libc::pthread_sigmask(libc::SIG_BLOCK, &ours, &mut before) {
                0 => Ok(SignalFd { fd, before }),
                errno => Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }

    /// A signal that has arrived, if there is one.
    pub(crate) fn next(&self) -> Option<c_int> {
        // SAFETY: signalfd_siginfo is plain data, and as long as is said.
        unsafe {
            let mut info: libc::signalfd_siginfo = zeroed();
            let size = size_of::<libc::signalfd_siginfo>();
            let place = std::ptr::from_mut(&mut info).cast();
            let read = libc::read(self.fd.as_raw_fd(), place, size);
            (read == size as isize).then_some(info.ssi_signo as c_int)
        }
    }

    /// Gives the signal its default effect, which mostly ends the program here.
    pub(crate) fn yield_to(&self, number: c_int) {
        // SAFETY: plain system calls; there is no handler that could be lost.
        unsafe {
            libc::signal(number, libc::SIG_DFL);
            libc::raise(number);
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut());
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
