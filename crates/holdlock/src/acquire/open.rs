//! Opening lock files: what is created, what is refused, what is never done.

use std::borrow::Cow;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sys::file::{self, Access};
use crate::sys::file_lock::{self, Blocking};
use crate::sys::identity::{self, Identity};
use crate::sys::lock_fd::LockFd;
use crate::sys::{Refusal, pin::Pin};
use crate::{Family, Mode};

/// Where processes meet: the path, made absolute once, so that a later chdir(2)
/// does not make it another lock.
#[derive(Debug)]
pub(crate) struct LockName {
    /// For messages, and where the lock file is opened.
    pub(crate) path: PathBuf,
    c_path: CString,
    pub(super) follow: bool,
    /// The one file that this stands for, whatever is at the path.
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
            pinned: None,
        })
    }

    /// The name of a file that is open. Needs /proc.
    pub(crate) fn of_open(fd: BorrowedFd<'_>) -> io::Result<LockName> {
        let pin = Pin::of_open(fd)?;
        let way = file::descriptor_path(pin.as_fd());
        Ok(LockName {
            path: std::fs::read_link(&way)?,
            c_path: CString::new(way.as_os_str().as_bytes())?,
            follow: true,
            pinned: Some(pin),
        })
    }

    /// Whether this stands for one file, which is neither created nor looked for at its path.
    pub(crate) fn is_pinned(&self) -> bool {
        self.pinned.is_some()
    }

    /// Where to open the file.
    fn open_path(&self) -> Cow<'_, Path> {
        match &self.pinned {
            Some(pin) => file::descriptor_path(pin.as_fd()).into(),
            None => Cow::Borrowed(&self.path),
        }
    }

    /// Whether a file that was opened is the one that this stands for. Of a pinned one the number
    /// may be another file's by now, if other code has closed it.
    fn is_expected(&self, opened: Identity) -> bool {
        let pinned = self.pinned.as_ref();
        pinned.is_none_or(|pin| pin.identity == opened)
    }

    /// The inode which the path names now.
    #[inline]
    pub(crate) fn identity(&self) -> io::Result<Identity> {
        identity::at(&self.c_path, self.follow)
    }
}

/// An open lock file.
pub(crate) struct LockFile {
    fd: LockFd,
    name: Arc<LockName>,
    pub(crate) writable: bool,
}

impl LockFile {
    /// Enters what `open` opens as a lock file of this name.
    pub(super) fn open(
        name: &Arc<LockName>,
        writable: bool,
        open: impl FnOnce() -> io::Result<std::fs::File>,
    ) -> io::Result<LockFile> {
        let fd = LockFd::open(open)?;
        if !name.is_expected(fd.identity) {
            return Err(Refusal::BadDescriptor.into());
        }
        Ok(LockFile {
            fd,
            name: name.clone(),
            writable,
        })
    }

    pub(crate) fn file(&self) -> &std::fs::File {
        self.fd.file()
    }

    /// Which inode was opened.
    pub(crate) fn identity(&self) -> Identity {
        self.fd.identity
    }

    /// Whether the descriptor is still this file. It is not when other code of this process has
    /// closed it; the number may be another file's by now. False in a child of fork.
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        self.fd.is_ours()
    }

    /// Locks the file, or converts its lock, if the descriptor is still ours. If not, fails with
    /// EBADF and does not touch the file that has the number now.
    #[inline]
    pub(crate) fn lock(&self, family: Family, mode: Mode, blocking: Blocking) -> io::Result<()> {
        self.check_ours()?;
        file_lock::lock(self.as_fd(), family, mode, blocking)
    }

    /// Unlocks the file if the descriptor is still ours. If not, its lock is gone already.
    pub(crate) fn unlock(&self, family: Family) -> io::Result<()> {
        if !self.is_ours() {
            return Ok(());
        }
        file_lock::unlock(self.as_fd(), family)
    }

    /// Takes the place at the head of the queue of fair requests, under the conditions of
    /// [`lock`](LockFile::lock).
    pub(crate) fn lock_head(&self, mode: Mode, blocking: Blocking) -> io::Result<()> {
        self.check_ours()?;
        file_lock::lock_head(self.as_fd(), mode, blocking)
    }

    /// Leaves the place at the head of the queue, under the conditions of
    /// [`unlock`](LockFile::unlock).
    pub(crate) fn unlock_head(&self) -> io::Result<()> {
        if !self.is_ours() {
            return Ok(());
        }
        file_lock::unlock_head(self.as_fd())
    }

    fn check_ours(&self) -> io::Result<()> {
        if self.is_ours() {
            Ok(())
        } else {
            Err(Refusal::BadDescriptor.into())
        }
    }

    /// Another descriptor of this lock, for children of fork and for programs that are executed. This
    /// one is to be closed then, not unlocked.
    pub(crate) fn hand_over(&self) -> io::Result<OwnedFd> {
        let copy = file::inheritable_copy(self.as_fd())?;
        self.fd.give_away()?;
        Ok(copy)
    }

    /// Whether the path still names this file. While it is open its inode
    /// number is not given to another file, so one look at the path is enough.
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        self.name
            .identity()
            .is_ok_and(|there| there == self.identity())
    }

    /// [`is_ours`](LockFile::is_ours) and [`is_current`](LockFile::is_current): a lock that was
    /// taken on the descriptor still excludes everybody who meets at the path.
    #[inline]
    pub(crate) fn is_intact(&self) -> bool {
        self.is_ours() && self.is_current()
    }

    /// As [`is_intact`](LockFile::is_intact), for a caller who wants to know why the path cannot
    /// be looked at, unless it is that the file is missing.
    pub(crate) fn check_intact(&self) -> io::Result<bool> {
        match self.name.identity() {
            Ok(there) => Ok(there == self.identity() && self.is_ours()),
            Err(error)
                if matches!(
                    Refusal::of(&error),
                    Some(Refusal::Missing | Refusal::NotADirectory | Refusal::SymbolicLink)
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The same inode with a description of its own, for a thread that may come
    /// too late with a lock on it.
    pub(crate) fn open_again(&self) -> io::Result<LockFile> {
        let access = if self.writable {
            Access::ReadWrite
        } else {
            Access::Read
        };
        LockFile::open(&self.name, self.writable, || {
            file::open_again(self.as_fd(), access)
        })
    }
}

impl AsFd for LockFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether a lock file is opened for writing, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    No,
    /// The lock may need it.
    IfAllowed,
    /// The caller wants to write.
    Needed,
}

/// What opening came to.
pub(crate) enum Opened {
    File(LockFile),
    /// There is no such file; whoever wants one must create it.
    Missing,
    /// Another process has a lease on the file: opening it means to wait.
    Leased(Leased),
}

/// A regular file on which another process has a lease (fcntl(2), F_SETLEASE). The kernel has
/// asked that process to give it back, and takes it after fs.lease-break-time (45 s).
pub(crate) struct Leased {
    pinned: std::fs::File,
    access: Access,
}

impl Leased {
    pub(crate) fn identity(&self) -> Option<Identity> {
        identity::of(self.pinned.as_fd()).ok()
    }

    /// Opens the file, and waits until the lease is gone or a signal handler ran.
    pub(crate) fn open(&self, name: &Arc<LockName>) -> io::Result<LockFile> {
        LockFile::open(name, self.access != Access::Read, || {
            file::open_leased(self.pinned.as_fd(), self.access)
        })
    }
}

/// Opens a lock file that exists.
///
/// flock(2) is content with a file open for reading, and that disturbs nobody:
/// opening for writing would end other programs' read leases, wake those who
/// watch for writers (udev rescans a block device) and fail on a running
/// program. Where the lock needs writing and that is denied, reading has to do.
pub(crate) fn open_existing(name: &Arc<LockName>, writing: Writing) -> io::Result<Opened> {
    let attempts: &[Access] = match writing {
        Writing::No => &[Access::Read, Access::Write],
        Writing::IfAllowed => &[Access::ReadWrite, Access::Read],
        Writing::Needed => &[Access::ReadWrite],
    };
    let mut first_error = None;
    for &access in attempts {
        let opened = LockFile::open(name, access != Access::Read, || {
            file::open(&name.open_path(), access, name.follow)
        });
        match opened {
            Ok(file) => return Ok(Opened::File(file)),
            Err(error) => match Refusal::of(&error) {
                Some(Refusal::Missing) => return Ok(Opened::Missing),
                Some(Refusal::WouldBlock) => return leased(name, access, error),
                Some(
                    Refusal::NoPermission
                    | Refusal::ReadOnly
                    | Refusal::IsADirectory
                    | Refusal::Running,
                ) => {
                    first_error.get_or_insert(error);
                }
                _ => return Err(error),
            },
        }
    }
    Err(first_error.unwrap_or_else(|| io::ErrorKind::PermissionDenied.into()))
}

/// The file that was not opened at once. `error` where that is for another reason than a lease.
fn leased(name: &LockName, access: Access, error: io::Error) -> io::Result<Opened> {
    // The path may name a FIFO by now: what is waited for is what this descriptor holds on to.
    let pinned = match file::pin(&name.open_path(), name.follow) {
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(Opened::Missing),
        other => other?,
    };
    if pinned.metadata()?.is_file() {
        Ok(Opened::Leased(Leased { pinned, access }))
    } else {
        Err(error)
    }
}

/// The removed file that a process holds open by this entry of /proc/PID/fd, for reading or for
/// writing as well; None when something else is there by now.
///
/// The entry is another process's, which may put anything there at any time, a device or a FIFO.
/// So it is looked at without opening it for anything, and what was looked at is what is opened.
pub(crate) fn open_removed(
    name: &Arc<LockName>,
    descriptor_path: &Path,
    access: Access,
    is_it: impl FnOnce(BorrowedFd<'_>) -> bool,
) -> io::Result<Option<LockFile>> {
    let pinned = file::pin(descriptor_path, true)?;
    let metadata = pinned.metadata()?;
    if !(metadata.is_file() || metadata.is_dir()) || !is_it(pinned.as_fd()) {
        return Ok(None);
    }
    LockFile::open(name, access != Access::Read, || {
        file::open_again(pinned.as_fd(), access)
    })
    .map(Some)
}
