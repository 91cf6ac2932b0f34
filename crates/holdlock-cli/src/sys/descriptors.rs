//! The descriptors that children inherit.

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use super::check;

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

/// Gives up a descriptor that this process was started with. A standard stream (0 to 2) stays open,
/// so that no other file gets its number: it becomes another open file of the same file, or of
/// /dev/null where that is impossible.
pub(crate) fn give_up_inherited(fd: RawFd) {
    if !(0..=2).contains(&fd) {
        // SAFETY: nothing in this process owns a descriptor that it has not opened.
        unsafe { libc::close(fd) };
        return;
    }
    let null = || File::options().read(true).write(true).open("/dev/null");
    if let Ok(other) = open_again(fd).or_else(|_| null()) {
        // SAFETY: takes numbers, and the standard streams are owned by nothing.
        unsafe { libc::dup3(other.as_raw_fd(), fd, 0) };
    }
}

/// Opens the file of a standard stream anew, to read where the stream has got to, or to append: the
/// two open files have no common position, and must not write over each other's output.
fn open_again(fd: RawFd) -> io::Result<File> {
    // SAFETY: takes numbers.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    let access = flags & libc::O_ACCMODE;
    let other = File::options()
        .read(access != libc::O_WRONLY)
        .write(access != libc::O_RDONLY)
        // Does not wait for a process that has a lease on the file.
        .custom_flags(libc::O_NONBLOCK)
        .open(format!("/proc/self/fd/{fd}"))?;
    // SAFETY: the calls take numbers.
    unsafe {
        libc::lseek(
            other.as_raw_fd(),
            libc::lseek(fd, 0, libc::SEEK_CUR),
            libc::SEEK_SET,
        );
        check(libc::fcntl(
            other.as_raw_fd(),
            libc::F_SETFL,
            flags | libc::O_APPEND,
        ))?;
    }
    Ok(other)
}
