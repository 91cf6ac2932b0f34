//! The two kinds of lock: flock(2), and byte ranges of open file descriptions.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use holdlock::inspect::Range;
use rustix::fs::FlockOperation;

use super::{check, slim};

/// What to do with a range: F_WRLCK, F_RDLCK or F_UNLCK.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Exclusive,
    Shared,
    Unlock,
}

/// Locks or unlocks `length` bytes from `start` on; length 0 means up to the end of the file,
/// however long it becomes.
pub(crate) fn lock(
    fd: RawFd,
    kind: Kind,
    wait: bool,
    (start, length): (i64, i64),
) -> io::Result<()> {
    // SAFETY: plain data for which all-zero is valid; l_pid must be 0 for these locks.
    let mut range: libc::flock64 = unsafe { std::mem::zeroed() };
    range.l_type = match kind {
        Kind::Exclusive => libc::F_WRLCK,
        Kind::Shared => libc::F_RDLCK,
        Kind::Unlock => libc::F_UNLCK,
    } as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = start;
    range.l_len = length;
    let command = if wait {
        libc::F_OFD_SETLKW
    } else {
        libc::F_OFD_SETLK
    };
    if wait {
        slim::give_back_code();
    }
    // SAFETY: a valid range that outlives the call; a wrong descriptor is EBADF.
    check(unsafe { libc::fcntl(fd, command, &range) }).map(drop)
}

/// Whether a process holds a lock of fcntl(2) on the file, which flock(2) does not see. One system
/// call; false also if the system call fails.
pub(crate) fn is_locked(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: plain data for which all-zero is valid, with the pid 0 that is asked for.
    let mut range: libc::flock64 = unsafe { std::mem::zeroed() };
    range.l_type = libc::F_WRLCK as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    // Up to the bytes by which requests for flock(2) and for slots queue.
    range.l_len = Range::TICKETS.start as i64;
    // SAFETY: an open descriptor and a valid range that outlives the call, which fills it in.
    let asked = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_GETLK, &mut range) };
    asked == 0 && i32::from(range.l_type) != libc::F_UNLCK
}

/// flock(2) on a number that may not be an open descriptor, which `rustix` cannot express.
pub(crate) fn flock_now(fd: RawFd, kind: Kind) -> io::Result<()> {
    let operation = match kind {
        Kind::Exclusive => libc::LOCK_EX,
        Kind::Shared => libc::LOCK_SH,
        Kind::Unlock => libc::LOCK_UN,
    };
    // SAFETY: takes two numbers; a wrong descriptor is EBADF.
    check(unsafe { libc::flock(fd, operation | libc::LOCK_NB) }).map(drop)
}

/// The same with waiting, after [`flock_now`] found the descriptor open.
pub(crate) fn flock_asleep(fd: RawFd, kind: Kind) -> io::Result<()> {
    slim::sleep(
        fd,
        match kind {
            Kind::Exclusive => FlockOperation::LockExclusive,
            Kind::Shared => FlockOperation::LockShared,
            Kind::Unlock => FlockOperation::Unlock,
        },
    )
}
