//! Identifies a file as /proc/locks does.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use super::mounts::Mounts;
use crate::sys::identity::{self, Identity};
use crate::sys::{file, file_system};

/// The identification of a file in the kernel's lock table: device and inode number.
///
/// On most file systems stat(2) returns the same numbers. On btrfs and overlayfs it returns others;
/// [`FileId::of`] finds those of the lock table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct FileId {
    /// The major number of the device.
    pub major: u32,
    /// The minor number of the device.
    pub minor: u32,
    /// The inode number.
    pub inode: u64,
}

impl FileId {
    /// Identifies the file at `path`. Follows symbolic links. Does not open the file for reading or
    /// writing, so the file's permissions do not matter, and a FIFO does not block.
    ///
    /// # Errors
    ///
    /// If there is no such file, or if a directory in the path may not be searched.
    pub fn of(path: impl AsRef<Path>) -> io::Result<FileId> {
        FileId::of_open(file::pin(path.as_ref(), true)?.as_fd())
    }

    pub(crate) fn of_open(fd: BorrowedFd<'_>) -> io::Result<FileId> {
        let identity = identity::of(fd)?;
        if !file_system::hides_its_device(fd) {
            return Ok(FileId::from(identity));
        }
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
        let inode = field(&text, "ino:").unwrap_or(identity.inode);
        let mount: Option<u32> = field(&text, "mnt_id:");
        let device = mount.and_then(|mount| Mounts::ours().device(mount));
        let (major, minor) = device.unwrap_or(identity::device_numbers(identity.device));
        Ok(FileId {
            major,
            minor,
            inode,
        })
    }

    pub(crate) fn device(self) -> (u32, u32) {
        (self.major, self.minor)
    }
}

/// The value after `name` in a text with one value in a line, such as fdinfo or status.
pub(crate) fn field<T: std::str::FromStr>(text: &str, name: &str) -> Option<T> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

/// Correct for a file system on which stat(2) returns the numbers of the lock table.
impl From<Identity> for FileId {
    fn from(identity: Identity) -> FileId {
        let (major, minor) = identity::device_numbers(identity.device);
        FileId {
            major,
            minor,
            inode: identity.inode,
        }
    }
}

/// The form of /proc/locks: `fe:00:1234`.
impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}:{}", self.major, self.minor, self.inode)
    }
}
