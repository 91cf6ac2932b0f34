//! The lock calls: flock(2), and the OFD locks of fcntl(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{call, check};
use crate::bytes::Range;
use crate::{Family, Mode};

/// Whether a lock call may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocking {
    /// Fail with `WouldBlock` instead of sleeping.
    No,
    /// Sleep until the lock is acquired or a signal handler has run.
    Yes,
}

/// Takes the whole-file lock of `family`, or converts it if it is already held.
///
/// `WouldBlock` is a conflict. `Interrupted` means that a signal handler has run.
#[inline]
pub(crate) fn lock(
    fd: BorrowedFd<'_>,
    family: Family,
    mode: Mode,
    blocking: Blocking,
) -> io::Result<()> {
    match family {
        Family::Flock => {
            let operation = match mode {
                Mode::Exclusive => libc::LOCK_EX,
                Mode::Shared => libc::LOCK_SH,
            };
            let number = fd.as_raw_fd();
            if blocking == Blocking::Yes {
                let arguments = [number as usize, operation as usize, 0, 0];
                // SAFETY: flock takes no pointers, and `fd` is open during the borrow.
                return unsafe { call::blocking(libc::SYS_flock, arguments) };
            }
            // SAFETY: the same.
            check(unsafe { libc::flock(number, operation | libc::LOCK_NB) }).map(drop)
        }
        Family::Ofd => lock_bytes(fd, mode, Range::WHOLE, blocking),
    }
}

/// Locks some bytes of the file. This is an OFD lock, which does not interfere with the lock of
/// flock(2).
pub(crate) fn lock_bytes(
    fd: BorrowedFd<'_>,
    mode: Mode,
    range: Range,
    blocking: Blocking,
) -> io::Result<()> {
    let kind = match mode {
        Mode::Exclusive => libc::F_WRLCK,
        Mode::Shared => libc::F_RDLCK,
    };
    let command = match blocking {
        Blocking::No => libc::F_OFD_SETLK,
        Blocking::Yes => libc::F_OFD_SETLKW,
    };
    let locked = ofd(fd, command, kind, range).map(drop);
    locked.map_err(|error| match error.raw_os_error() {
        // POSIX allows either error for a conflict; the rest of the library only knows EAGAIN.
        Some(libc::EACCES) => io::Error::from_raw_os_error(libc::EAGAIN),
        _ => error,
    })
}

/// Unlocks some bytes of the file.
pub(crate) fn unlock_bytes(fd: BorrowedFd<'_>, range: Range) -> io::Result<()> {
    ofd(fd, libc::F_OFD_SETLK, libc::F_UNLCK, range).map(drop)
}

/// A lock of fcntl(2) that another open file or process has on some of these bytes.
pub(crate) fn locked_by_others(fd: BorrowedFd<'_>, range: Range) -> io::Result<Option<Range>> {
    let found = ofd(fd, libc::F_OFD_GETLK, libc::F_WRLCK, range)?;
    let is_locked = i32::from(found.l_type) != libc::F_UNLCK;
    let start = found.l_start as u64;
    Ok(is_locked.then(|| Range {
        start,
        end: (found.l_len != 0).then(|| start + found.l_len as u64 - 1),
    }))
}

/// Gives the lock back.
#[inline]
pub(crate) fn unlock(fd: BorrowedFd<'_>, family: Family) -> io::Result<()> {
    loop {
        let result = match family {
            // SAFETY: as in `lock`.
            Family::Flock => check(unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_UN) }).map(drop),
            Family::Ofd => unlock_bytes(fd, Range::WHOLE),
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// The system call that takes a `struct flock64`.
#[cfg(target_pointer_width = "64")]
const FCNTL: libc::c_long = libc::SYS_fcntl;
#[cfg(not(target_pointer_width = "64"))]
const FCNTL: libc::c_long = libc::SYS_fcntl64;

/// fcntl(2) with an OFD command. Returns the struct, in which the kernel answers F_OFD_GETLK.
fn ofd(
    fd: BorrowedFd<'_>,
    command: libc::c_int,
    kind: libc::c_int,
    Range { start, end }: Range,
) -> io::Result<libc::flock64> {
    // SAFETY: `flock64` is plain data for which all-zero is valid. OFD commands require an l_pid of
    // 0.
    let mut range: libc::flock64 = unsafe { std::mem::zeroed() };
    range.l_type = kind as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = start as i64;
    // A length of 0 means up to the end of the file, even if the file grows.
    range.l_len = end.map_or(0, |end| (end - start + 1) as i64);
    let number = fd.as_raw_fd();
    if command == libc::F_OFD_SETLKW {
        let at = std::ptr::from_ref(&range) as usize;
        // SAFETY: `range` is a valid struct flock64 and lives through the call. Where there are two
        // calls, FCNTL is fcntl64.
        unsafe { call::blocking(FCNTL, [number as usize, command as usize, at, 0]) }?;
    } else {
        // SAFETY: the same.
        check(unsafe { libc::fcntl(number, command, &mut range) })?;
    }
    Ok(range)
}
