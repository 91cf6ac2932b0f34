//! The identity and the type of a file: stat(2).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{by_number, check};

/// An inode. Two names that lead to the same inode are one lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// The inode that `path` names now. This is the cheapest way: measured, lstat(2) costs as much as
/// statx(2) with an empty mask.
#[inline]
pub(crate) fn at(path: &CStr, follow: bool) -> io::Result<Identity> {
    // SAFETY: `stat` is plain data for which all-zero is valid.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: a NUL-terminated string and valid memory for the answer, which both live through the
    // call.
    check(unsafe {
        if follow {
            libc::stat(path.as_ptr(), &mut stat)
        } else {
            libc::lstat(path.as_ptr(), &mut stat)
        }
    })?;
    Ok(stat.into())
}

/// As [`at`], for a file that is written repeatedly. It does not ask for the times: since Linux
/// 6.13, a write that follows a look at the times takes a new time from the clock, which cost a
/// microsecond on tmpfs and two on ext4.
#[inline]
pub(crate) fn at_without_times(path: &CStr, follow: bool) -> io::Result<Identity> {
    // SAFETY: `statx` is plain data for which all-zero is valid.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    let nofollow = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    let looked = check(by_number::statx(path, nofollow, libc::STATX_INO, &mut stat));
    match looked {
        Ok(_) => Ok(Identity {
            device: libc::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
        }),
        // An old kernel, or a sandbox.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
            at(path, follow)
        }
        Err(error) => Err(error),
    }
}

/// Calls fstat(2). Allowed between fork and exec.
#[inline]
fn stat_of(number: libc::c_int) -> io::Result<libc::stat> {
    // SAFETY: `stat` is plain data for which all-zero is valid.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: valid memory for the answer. A number that is not open fails with EBADF.
    check(unsafe { libc::fstat(number, &mut stat) })?;
    Ok(stat)
}

/// The major and minor number of a device, as /proc/locks prints them.
pub(crate) fn device_numbers(device: u64) -> (u32, u32) {
    (libc::major(device), libc::minor(device))
}

/// The inode of an open file.
#[inline]
pub(crate) fn of(fd: BorrowedFd<'_>) -> io::Result<Identity> {
    stat_of(fd.as_raw_fd()).map(Identity::from)
}

/// The inode behind a descriptor's number, if it is open. Allowed between fork and exec.
pub(super) fn of_number(number: libc::c_int) -> Option<Identity> {
    stat_of(number).ok().map(Identity::from)
}

/// The content of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A regular file without content.
    Empty,
    /// A regular file with content.
    Data,
    /// Not a regular file.
    NotAFile,
}

pub(crate) fn content_of(fd: BorrowedFd<'_>) -> io::Result<Content> {
    let stat = stat_of(fd.as_raw_fd())?;
    Ok(match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG if stat.st_size == 0 => Content::Empty,
        libc::S_IFREG => Content::Data,
        _ => Content::NotAFile,
    })
}

/// Whether a descriptor's number is a regular file, a directory or a block device.
pub(super) fn is_storage(number: libc::c_int) -> bool {
    stat_of(number).is_ok_and(|stat| {
        [libc::S_IFREG, libc::S_IFDIR, libc::S_IFBLK].contains(&(stat.st_mode & libc::S_IFMT))
    })
}

impl From<libc::stat> for Identity {
    fn from(stat: libc::stat) -> Identity {
        Identity {
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}
