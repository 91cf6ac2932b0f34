//! Which file a line of /proc/locks speaks of.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use super::mounts::Mounts;
use crate::sys::identity::{self, Identity};
use crate::sys::{file, file_system};

/// A file, as the kernel's lock table names it: device and inode number.
///
/// On most file systems that is what stat(2) says. On btrfs and overlayfs stat
/// tells other numbers; [`Place::of`] finds the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Major number of the device.
    pub major: u32,
    /// Minor number of the device.
    pub minor: u32,
    /// Inode number.
    pub inode: u64,
}

impl Place {
    /// The place of the file at `path`, symbolic links followed. The file is not
    /// opened for reading or writing: neither its permissions nor a FIFO matter.
    ///
    /// # Errors
    ///
    /// When there is no such file, or a directory above may not be searched.
    pub fn of(path: impl AsRef<Path>) -> io::Result<Place> {
        Place::of_open(file::pin(path.as_ref(), true)?.as_fd())
    }

    pub(crate) fn of_open(fd: BorrowedFd<'_>) -> io::Result<Place> {
        let identity = identity::of(fd)?;
        if !file_system::hides_its_device(fd) {
            return Ok(Place::from(identity));
        }
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
        let inode = field(&text, "ino:").unwrap_or(identity.inode);
        let mount: Option<u32> = field(&text, "mnt_id:");
        let device = mount.and_then(|mount| Mounts::ours().device(mount));
        let (major, minor) = device.unwrap_or(identity::device_numbers(identity.device));
        Ok(Place {
            major,
            minor,
            inode,
        })
    }

    pub(crate) fn device(self) -> (u32, u32) {
        (self.major, self.minor)
    }
}

/// The value after `name` in a text of lines like fdinfo's and status's.
pub(crate) fn field<T: std::str::FromStr>(text: &str, name: &str) -> Option<T> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

/// Right where stat(2) tells what the kernel's lock table does.
impl From<Identity> for Place {
    fn from(identity: Identity) -> Place {
        let (major, minor) = identity::device_numbers(identity.device);
        Place {
            major,
            minor,
            inode: identity.inode,
        }
    }
}

/// As /proc/locks prints it: `fe:00:1234`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}:{}", self.major, self.minor, self.inode)
    }
}
