//! Lock files, and opening those that exist.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use super::lock_name::{LockName, not_reachable};
use crate::bytes::Range;
use crate::sys::Refusal;
use crate::sys::file::{self, Access};
use crate::sys::file_lock::{self, Blocking};
use crate::sys::identity::{self, Identity};
use crate::sys::lock_fd::LockFd;
use crate::{Family, Mode};

/// An open lock file.
pub(crate) struct LockFile {
    fd: LockFd,
    name: Arc<LockName>,
    pub(crate) writable: bool,
}

impl LockFile {
    /// Opens a lock file of this name by `open`, and registers its descriptor.
    pub(super) fn open(
        name: &Arc<LockName>,
        writable: bool,
        open: impl FnOnce() -> io::Result<std::fs::File>,
    ) -> io::Result<LockFile> {
        let fd = LockFd::open(open)?;
        if !name.is_expected(fd.identity) {
            return Err(not_reachable());
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

    /// The inode that was opened.
    pub(crate) fn identity(&self) -> Identity {
        self.fd.identity
    }

    /// Whether the descriptor is still open on this file. It is not if other code in this process
    /// has closed it; another file may now have its number. False in a child of fork.
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        self.fd.is_ours()
    }

    /// Locks the file, or converts its lock, if [`is_ours`](LockFile::is_ours). Otherwise fails
    /// with EBADF, and does not touch the file that has the number now.
    #[inline]
    pub(crate) fn lock(&self, family: Family, mode: Mode, blocking: Blocking) -> io::Result<()> {
        self.check_ours()?;
        file_lock::lock(self.as_fd(), family, mode, blocking)
    }

    /// Unlocks the file if [`is_ours`](LockFile::is_ours). Otherwise the lock is gone already.
    pub(crate) fn unlock(&self, family: Family) -> io::Result<()> {
        if !self.is_ours() {
            return Ok(());
        }
        file_lock::unlock(self.as_fd(), family)
    }

    /// Locks some bytes, which `bytes` gives a meaning. Checks the descriptor as
    /// [`lock`](LockFile::lock) does.
    pub(crate) fn lock_bytes(
        &self,
        mode: Mode,
        range: Range,
        blocking: Blocking,
    ) -> io::Result<()> {
        self.check_ours()?;
        file_lock::lock_bytes(self.as_fd(), mode, range, blocking)
    }

    /// Unlocks some bytes. Checks the descriptor as [`unlock`](LockFile::unlock) does.
    pub(crate) fn unlock_bytes(&self, range: Range) -> io::Result<()> {
        if !self.is_ours() {
            return Ok(());
        }
        file_lock::unlock_bytes(self.as_fd(), range)
    }

    /// A lock that others have on some of these bytes.
    pub(crate) fn locked_by_others(&self, range: Range) -> io::Result<Option<Range>> {
        self.check_ours()?;
        file_lock::locked_by_others(self.as_fd(), range)
    }

    /// Leaves the queue: gives back the ticket, and the place at the head.
    pub(crate) fn leave_queue(&self) -> io::Result<()> {
        self.unlock_bytes(Range::TICKETS_AND_HEAD)
    }

    fn check_ours(&self) -> io::Result<()> {
        if self.is_ours() {
            Ok(())
        } else {
            Err(Refusal::BadDescriptor.into())
        }
    }

    /// Makes another descriptor of this lock, for children of fork and for programs that are
    /// executed. The caller has to close this file afterwards, and must not unlock it.
    pub(crate) fn hand_over(&self) -> io::Result<OwnedFd> {
        let copy = file::inheritable_copy(self.as_fd())?;
        self.fd.give_away()?;
        Ok(copy)
    }

    /// Whether the path still names this file. One look at the path is enough: while the file is
    /// open, its inode number is not given to another file.
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        self.name
            .identity()
            .is_ok_and(|there| there == self.identity())
    }

    /// Whether the descriptor is still [ours](LockFile::is_ours) and the file still
    /// [at the path](LockFile::is_current). If so, a lock that was taken on the descriptor still
    /// excludes all processes that use the path.
    #[inline]
    pub(crate) fn is_intact(&self) -> bool {
        self.is_ours() && self.is_current()
    }

    /// As [`is_intact`](LockFile::is_intact), but fails if the path cannot be looked at. A missing
    /// file is not an error, but `false`.
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

    /// Whether a request for `other` can use this file instead: the same inode, of the same name
    /// and open in the same way.
    pub(crate) fn can_stand_for(&self, other: &LockFile) -> bool {
        self.is_ours()
            && self.identity() == other.identity()
            && self.writable == other.writable
            && self.name.is_same(&other.name)
    }

    /// Opens the same inode with an open file description of its own, for a helper thread: it may
    /// get the lock after its request has ended.
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

/// Whether a lock file is opened for writing as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    No,
    /// The lock may need it.
    IfAllowed,
    /// The caller wants to write.
    Needed,
}

/// The result of opening a file.
pub(crate) enum Opened {
    File(LockFile),
    /// There is no such file: the caller has to create it.
    Missing,
    /// Another process has a lease on the file: opening the file waits for it.
    Leased(Leased),
}

/// A regular file on which another process has a lease (fcntl(2), F_SETLEASE). The kernel has asked
/// that process to give the lease back, and breaks it after fs.lease-break-time (45 s).
pub(crate) struct Leased {
    pinned: std::fs::File,
    access: Access,
}

impl Leased {
    pub(crate) fn identity(&self) -> Option<Identity> {
        identity::of(self.pinned.as_fd()).ok()
    }

    /// Opens the file. Waits until the lease is gone or a signal handler has run.
    pub(crate) fn open(&self, name: &Arc<LockName>) -> io::Result<LockFile> {
        LockFile::open(name, self.access != Access::Read, || {
            file::open_leased(self.pinned.as_fd(), self.access)
        })
    }
}

/// Opens a lock file that exists.
///
/// Opens it for reading where possible, because that is enough for flock(2) and disturbs no other
/// program. Opening for writing would break other programs' read leases, wake programs that watch
/// for writers (udev rescans a block device), and fail for a program that is running. If the lock
/// needs writing and writing is denied, this opens the file for reading.
pub(crate) fn open_existing(name: &Arc<LockName>, writing: Writing) -> io::Result<Opened> {
    let attempts: &[Access] = match writing {
        Writing::No => &[Access::Read, Access::Write],
        Writing::IfAllowed => &[Access::ReadWrite, Access::Read],
        Writing::Needed => &[Access::ReadWrite],
    };
    let mut first_error = None;
    for &access in attempts {
        match open_now(name, access) {
            Ok(opened) => return Ok(opened),
            Err(error) => match Refusal::of(&error) {
                Some(Refusal::Missing) => return Ok(Opened::Missing),
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

/// Opens the file without waiting.
fn open_now(name: &Arc<LockName>, access: Access) -> io::Result<Opened> {
    let open = |open: &dyn Fn() -> io::Result<std::fs::File>| {
        LockFile::open(name, access != Access::Read, open)
    };
    let refused = match open(&|| file::open(&name.open_path(), access, name.follow)) {
        Err(error) if Refusal::of(&error) == Some(Refusal::WouldBlock) => error,
        opened => return opened.map(Opened::File),
    };
    // By now the path may name a FIFO. Therefore look at the pinned file, and wait for that one
    // only.
    let pinned = file::pin(&name.open_path(), name.follow)?;
    if pinned.metadata()?.is_file() {
        return Ok(Opened::Leased(Leased { pinned, access }));
    }
    // The lease was on a file that was there before, or this is a device that says the same again.
    match open(&|| file::open_again(pinned.as_fd(), access)) {
        // /proc is missing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(refused),
        opened => opened.map(Opened::File),
    }
}

/// Opens the removed file that a process has open at this entry of /proc/PID/fd, for reading or for
/// writing as well. None if the entry is another file by now.
///
/// The other process can replace the entry at any time, for instance by a device or a FIFO.
/// Therefore this pins the file without opening it, looks at the pinned file, and then opens that
/// one.
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
