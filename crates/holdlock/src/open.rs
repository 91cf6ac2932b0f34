//! Opening lock files: what is created, what is refused, what is never done.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::LockOptions;
use crate::sys::clock;
use crate::sys::file::{self, Access, Identity};
use crate::sys::fork::LockFd;

/// Where processes meet: the path, made absolute once, so that a later chdir(2)
/// does not make it another lock.
#[derive(Debug)]
pub(crate) struct LockName {
    pub(crate) path: PathBuf,
    c_path: CString,
    follow: bool,
}

impl LockName {
    pub(crate) fn new(path: &Path, follow: bool) -> io::Result<LockName> {
        let path = std::path::absolute(path)?;
        let c_path = CString::new(path.as_os_str().as_bytes())?;
        Ok(LockName {
            path,
            c_path,
            follow,
        })
    }

    /// The inode which the path names now.
    #[inline]
    pub(crate) fn identity(&self) -> io::Result<Identity> {
        file::identity_at(&self.c_path, self.follow)
    }
}

/// An open lock file.
pub(crate) struct LockFile {
    fd: LockFd,
    name: Arc<LockName>,
    pub(crate) identity: Identity,
    pub(crate) writable: bool,
}

impl LockFile {
    /// Whether the path still names this file. While it is open its inode
    /// number is not given to another file, so one look at the path is enough.
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        self.name
            .identity()
            .is_ok_and(|there| there == self.identity)
    }

    /// As [`is_current`](LockFile::is_current), for who wants to know of a
    /// failure other than a missing file.
    pub(crate) fn check_current(&self) -> io::Result<bool> {
        match self.name.identity() {
            Ok(there) => Ok(there == self.identity),
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The nanoseconds of a system call that does next to nothing with the file:
    /// the least of a few.
    pub(crate) fn quickest_call(&self) -> u64 {
        let time = |_| {
            let before = clock::nanoseconds();
            let _ = file::touch(self.as_fd());
            clock::nanoseconds() - before
        };
        (0..8).map(time).min().unwrap_or(0)
    }

    fn open(
        name: &Arc<LockName>,
        writable: bool,
        mut open: impl FnMut() -> io::Result<std::fs::File>,
    ) -> io::Result<LockFile> {
        let mut identity = Identity {
            device: 0,
            inode: 0,
        };
        let fd = LockFd::open(|| {
            let file = open()?;
            let metadata = file.metadata()?;
            identity = Identity {
                device: metadata.dev(),
                inode: metadata.ino(),
            };
            Ok(file)
        })?;
        Ok(LockFile {
            fd,
            name: name.clone(),
            identity,
            writable,
        })
    }

    /// The same inode with a description of its own, for a thread that may come
    /// too late with a lock on it.
    pub(crate) fn open_again(&self) -> io::Result<LockFile> {
        let again = PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_fd().as_raw_fd()));
        let access = if self.writable {
            Access::ReadWrite
        } else {
            Access::Read
        };
        LockFile::open(&self.name, self.writable, || {
            file::open(&again, access, true)
        })
    }
}

impl AsFd for LockFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What opening came to.
pub(crate) enum Opened {
    File(LockFile),
    /// There is no such file; whoever wants one must create it.
    Missing,
}

/// Opens a lock file that exists.
///
/// flock(2) is content with a file open for reading, and that disturbs nobody:
/// opening for writing would end other programs' read leases, wake those who
/// watch for writers (udev rescans a block device) and fail on a running
/// program. `writable` asks for writing too, where the lock needs it; if that is
/// denied, reading has to do.
pub(crate) fn open_existing(name: &Arc<LockName>, writable: bool) -> io::Result<Opened> {
    let attempts: &[Access] = if writable {
        &[Access::ReadWrite, Access::Read]
    } else {
        &[Access::Read, Access::Write]
    };
    let mut first_error = None;
    for &access in attempts {
        let opened = LockFile::open(name, access != Access::Read, || open_one(name, access));
        match opened {
            Ok(file) => return Ok(Opened::File(file)),
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT) => return Ok(Opened::Missing),
                Some(libc::EACCES | libc::EPERM | libc::EROFS | libc::EISDIR | libc::ETXTBSY) => {
                    first_error.get_or_insert(error);
                }
                _ => return Err(error),
            },
        }
    }
    Err(first_error.unwrap_or_else(|| io::ErrorKind::PermissionDenied.into()))
}

fn open_one(name: &LockName, access: Access) -> io::Result<std::fs::File> {
    match file::open(&name.path, access, name.follow) {
        Err(error) if error.raw_os_error() == Some(libc::EWOULDBLOCK) => {
            // Somebody has a lease on the file and is told now to give it back, which the kernel
            // enforces after fs.lease-break-time (45 s). Wait for it, unless this is a FIFO.
            let metadata = std::fs::metadata(&name.path)?;
            if metadata.file_type().is_fifo() {
                return Err(error);
            }
            file::open_leased(&name.path, access, name.follow)
        }
        other => other,
    }
}

/// Creates the lock file. `AlreadyExists`: somebody else was first, open that one.
pub(crate) fn create(
    name: &Arc<LockName>,
    options: &LockOptions,
    writable: bool,
) -> io::Result<LockFile> {
    let path = final_path(name)?;
    let result = create_at(name, &path, options, writable);
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound && options.create_parents => {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            create_at(name, &path, options, writable)
        }
        other => other,
    }
}

fn create_at(
    name: &Arc<LockName>,
    path: &Path,
    options: &LockOptions,
    writable: bool,
) -> io::Result<LockFile> {
    match options.mode {
        None => {
            let access = if writable {
                Access::ReadWrite
            } else {
                Access::Read
            };
            // A retry after a fork must open, not create, what the first attempt has created.
            let mut created = false;
            LockFile::open(name, writable, || {
                if created {
                    return file::open(path, access, false);
                }
                let file = file::create_new(path, access, 0o666)?;
                created = true;
                Ok(file)
            })
        }
        Some(mode) => {
            let mut made = Some(file::create_with_mode(path, mode)?);
            LockFile::open(name, true, || match made.take() {
                Some(file) => Ok(file),
                None => file::open(path, Access::ReadWrite, false),
            })
        }
    }
}

/// Where a dangling symbolic link points, when links are to be followed: there
/// the file is created.
fn final_path(name: &LockName) -> io::Result<PathBuf> {
    let mut path = name.path.clone();
    if !name.follow {
        return Ok(path);
    }
    for _ in 0..40 {
        match std::fs::read_link(&path) {
            Ok(target) => {
                let parent = path.parent().unwrap_or(Path::new("/"));
                path = parent.join(target);
            }
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}
