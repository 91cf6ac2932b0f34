//! Reads the blocking lock call of another process, from /proc/PID/syscall and the process's
//! memory.

use crate::Mode;

/// How many bytes of a `struct flock` [`read_lock_request`] needs.
pub(crate) const LOCK_REQUEST_SIZE: usize = size_of::<libc::flock>();

/// Whether this is fcntl(F_OFD_SETLKW), with numbers from /proc/PID/syscall.
pub(crate) fn is_blocking_ofd_lock(call: libc::c_long, command: u64) -> bool {
    call == libc::SYS_fcntl && command == libc::F_OFD_SETLKW as u64
}

/// The mode, the start and the length of the request in another process's `struct flock`. None if
/// it is not a request for a lock, or its start does not count from the start of the file.
pub(crate) fn read_lock_request(bytes: &[u8; LOCK_REQUEST_SIZE]) -> Option<(Mode, u64, u64)> {
    use std::mem::offset_of;
    let two = |at: usize| Some(i16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let eight = |at: usize| Some(i64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let mode = match i32::from(two(offset_of!(libc::flock, l_type))?) {
        libc::F_WRLCK => Mode::Exclusive,
        libc::F_RDLCK => Mode::Shared,
        _ => return None,
    };
    if i32::from(two(offset_of!(libc::flock, l_whence))?) != libc::SEEK_SET {
        return None;
    }
    let start = u64::try_from(eight(offset_of!(libc::flock, l_start))?).ok()?;
    let length = u64::try_from(eight(offset_of!(libc::flock, l_len))?).ok()?;
    Some((mode, start, length))
}
