//! The names of lock files.

use std::borrow::Cow;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::sys::identity::{self, Identity};
use crate::sys::pin::Pin;
use crate::sys::{Refusal, file};

/// Why a file that the caller has open cannot be opened anew.
pub(super) fn not_reachable() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        "the file cannot be reached by its descriptor: /proc is not mounted, or other code in this \
         process has closed the descriptor",
    )
}

/// The name of a lock, on which all processes that use the lock agree: a path that is made absolute
/// once. A later chdir(2) therefore does not change which lock it names.
#[derive(Debug)]
pub(crate) struct LockName {
    /// For messages, and for opening the lock file.
    pub(crate) path: PathBuf,
    c_path: CString,
    pub(super) follow: bool,
    /// The library writes the file at each acquisition.
    pub(crate) is_written: bool,
    /// The one file that this name stands for, whatever is at the path.
    pinned: Option<Pin>,
}

impl LockName {
    pub(crate) fn new(path: &Path, follow: bool) -> io::Result<LockName> {
        let path = std::path::absolute(path)?;
        let c_path = CString::new(path.as_os_str().as_bytes())?;
        Ok(LockName {
            path,
            c_path,
            follow,
            is_written: false,
            pinned: None,
        })
    }

    /// The name of a file that is already open. Needs /proc.
    pub(crate) fn of_open(fd: BorrowedFd<'_>) -> io::Result<LockName> {
        let pin = Pin::of_open(fd).map_err(|error| match Refusal::of(&error) {
            Some(Refusal::Missing) => not_reachable(),
            _ => error,
        })?;
        let descriptor = file::descriptor_path(pin.as_fd());
        // A pipe that is opened anew has one more end, which its other users would notice.
        if std::fs::metadata(&descriptor)?.file_type().is_fifo() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a pipe cannot be locked by its descriptor; use a regular file",
            ));
        }
        Ok(LockName {
            path: std::fs::read_link(&descriptor)?,
            c_path: CString::new(descriptor.as_os_str().as_bytes())?,
            follow: true,
            is_written: false,
            pinned: Some(pin),
        })
    }

    /// Whether this name stands for one file. That file is neither created nor looked up at its
    /// path.
    pub(crate) fn is_pinned(&self) -> bool {
        self.pinned.is_some()
    }

    /// The path by which the file is opened.
    pub(super) fn open_path(&self) -> Cow<'_, Path> {
        match &self.pinned {
            Some(pin) => file::descriptor_path(pin.as_fd()).into(),
            None => Cow::Borrowed(&self.path),
        }
    }

    /// Whether the opened file is the one that this name stands for. If other code has closed the
    /// descriptor of a pinned file, another file may now have that number.
    pub(super) fn is_expected(&self, opened: Identity) -> bool {
        let pinned = self.pinned.as_ref();
        pinned.is_none_or(|pin| pin.identity == opened)
    }

    /// Whether `other` names the same lock: what one finds at its path, the other finds, too.
    pub(super) fn is_same(&self, other: &LockName) -> bool {
        match (&self.pinned, &other.pinned) {
            (Some(ours), Some(theirs)) => ours.identity == theirs.identity,
            (None, None) => (&self.c_path, self.follow) == (&other.c_path, other.follow),
            _ => false,
        }
    }

    /// The inode that the path names now.
    #[inline]
    pub(crate) fn identity(&self) -> io::Result<Identity> {
        if self.is_written {
            identity::at_without_times(&self.c_path, self.follow)
        } else {
            identity::at(&self.c_path, self.follow)
        }
    }
}
