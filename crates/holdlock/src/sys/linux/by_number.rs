//! System calls for which an old C library has no function. With the function's name in it, the
//! Python module could not be loaded there: the wheels are for glibc from 2.17 on, and gettid came
//! with glibc 2.30, as getdents64 did, statx with 2.28, memfd_create with 2.27.

use std::ffi::CStr;
use std::io;

/// The kernel's number of the calling thread. Async-signal-safe.
#[inline]
pub(super) fn gettid() -> libc::pid_t {
    // SAFETY: takes no arguments, and cannot fail.
    unsafe { libc::syscall(libc::SYS_gettid) as libc::pid_t }
}

/// Looks at a path, from the working directory.
#[inline]
pub(super) fn statx(
    path: &CStr,
    flags: libc::c_int,
    mask: libc::c_uint,
    stat: &mut libc::statx,
) -> libc::c_int {
    // SAFETY: a NUL-terminated string and valid memory for the answer, which both live through the
    // call.
    unsafe {
        libc::syscall(
            libc::SYS_statx,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            mask,
            std::ptr::from_mut(stat),
        ) as libc::c_int
    }
}

/// Makes a file in memory.
pub(super) fn memfd_create(name: &CStr, flags: libc::c_uint) -> libc::c_int {
    // SAFETY: a NUL-terminated string, which the kernel copies.
    unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), flags) as libc::c_int }
}

/// Reads entries of a directory into the capacity of `entries`. Nothing: there are no more.
pub(super) fn getdents64(fd: libc::c_int, entries: &mut Vec<u8>) -> io::Result<()> {
    entries.clear();
    // SAFETY: the memory belongs to `entries`, lives through the call, and has this size.
    let length = unsafe {
        libc::syscall(
            libc::SYS_getdents64,
            fd,
            entries.as_mut_ptr(),
            entries.capacity(),
        )
    };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has written this many bytes, not more than the capacity.
    unsafe { entries.set_len(length) };
    Ok(())
}
