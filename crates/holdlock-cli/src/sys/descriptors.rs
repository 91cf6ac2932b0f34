//! The descriptors that children inherit.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// The numbers by which a command finds the lock: as high as its limit of descriptors permits.
/// Scripts redirect single digits, shells keep their own files from 10 on and at 255, the manual of
/// flock(1) made 200 popular, and programs that close unknown descriptors often stop at 256.
const NUMBERS: [c_int; 6] = [347, 247, 147, 47, 27, 17];

/// Marks every descriptor above 2 close-on-exec, including those that our parent left open. If the
/// kernel cannot do that (before 5.11), they stay as they are.
pub(crate) fn keep_from_children() {
    // SAFETY: sets a flag that matters at exec(2) only; no descriptor is closed in this process.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3 as libc::c_uint,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC as libc::c_uint,
        );
    }
}

/// Makes this process keep the open file over exec(2), by a copy of the descriptor on a high
/// number. Allowed between vfork and exec: it makes only system calls.
pub(crate) fn keep_over_exec(fd: BorrowedFd<'_>) {
    let fd = fd.as_raw_fd();
    // SAFETY: the calls only add a descriptor, or change a flag that matters at exec(2) only.
    unsafe {
        let is_copied = |from: c_int| libc::fcntl(fd, libc::F_DUPFD, from) != -1;
        if !NUMBERS.into_iter().any(is_copied) {
            // No number is left.
            libc::fcntl(fd, libc::F_SETFD, 0);
        }
    }
}

/// Closes a descriptor that this process was started with.
pub(crate) fn close_inherited(fd: RawFd) {
    // SAFETY: nothing in this process owns a descriptor that it has not opened.
    unsafe { libc::close(fd) };
}
