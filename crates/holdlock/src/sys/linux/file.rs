//! Opening and creating lock files.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::check;
use super::lock_fd::MARK;

/// How a lock file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// For reading: all that flock(2) asks for on local file systems.
    Read,
    /// For reading and writing: for OFD locks, and for flock(2) over NFS.
    ReadWrite,
    /// For writing, where reading is denied.
    Write,
}

/// open(2) of a lock file that exists.
///
/// A FIFO or a device does not hang (O_NONBLOCK) and no terminal becomes the
/// controlling one (O_NOCTTY); std adds O_CLOEXEC. A file on which another process has a lease is
/// `WouldBlock`, and that process is asked to give it back.
pub(crate) fn open(path: &Path, access: Access, follow: bool) -> io::Result<std::fs::File> {
    options(access, follow, libc::O_NONBLOCK).open(path)
}

/// Opens anew what is open already, with a description of its own. Needs /proc.
pub(crate) fn open_again(fd: BorrowedFd<'_>, access: Access) -> io::Result<std::fs::File> {
    open(&descriptor_path(fd), access, true)
}

/// As [`open_again`], but waits until a lease on the file was given back or a signal handler ran
/// (`Interrupted`). `fd` has to be a [pinned](pin) regular file: to open a FIFO might wait for ever.
pub(crate) fn open_leased(fd: BorrowedFd<'_>, access: Access) -> io::Result<std::fs::File> {
    use std::os::unix::ffi::OsStrExt;
    let access = match access {
        Access::Read => libc::O_RDONLY,
        Access::ReadWrite => libc::O_RDWR,
        Access::Write => libc::O_WRONLY,
    };
    let path = std::ffi::CString::new(descriptor_path(fd).as_os_str().as_bytes())?;
    // Not by std, which begins again after a signal.
    let flags = access | libc::O_CLOEXEC | libc::O_NOCTTY | MARK;
    // SAFETY: a NUL-terminated string that lives through the call.
    let opened = check(unsafe { libc::open(path.as_ptr(), flags) })?;
    // SAFETY: opened just now, and nobody else's.
    Ok(unsafe { std::fs::File::from_raw_fd(opened) })
}

/// A path that leads to what this process has open.
pub(crate) fn descriptor_path(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// The flags of a description that were given by open(2) and stay as they are: how it may be used, the
/// mark, and some more that few files have. -1 where nothing is open.
#[inline]
pub(super) fn lasting_flags(fd: BorrowedFd<'_>) -> libc::c_int {
    const LASTING: libc::c_int = libc::O_ACCMODE | libc::O_NOFOLLOW | libc::O_PATH | MARK;
    // SAFETY: fcntl with this command takes no pointers; a number that is not open is EBADF.
    match unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) } {
        -1 => -1,
        flags => flags & LASTING,
    }
}

/// Makes a description one that no handler of fork recognises as a lock file's.
pub(super) fn take_mark_off(fd: BorrowedFd<'_>) -> io::Result<()> {
    let number = fd.as_raw_fd();
    // SAFETY: fcntl with these commands takes no pointers; `fd` is open for the time of the borrow.
    unsafe {
        let flags = check(libc::fcntl(number, libc::F_GETFL))?;
        check(libc::fcntl(number, libc::F_SETFL, flags & !MARK)).map(drop)
    }
}

/// From which number on a descriptor is sought that programs are to inherit: out of the way of
/// scripts, which use single digits, as far as the limit of descriptors leaves room.
const INHERITED_FROM: [libc::c_int; 4] = [347, 147, 47, 3];

/// Another descriptor of the same description, which children of fork keep and which stays open in
/// programs that are executed.
pub(crate) fn inheritable_copy(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let fd = fd.as_raw_fd();
    let mut copy = Err(io::ErrorKind::NotFound.into());
    for from in INHERITED_FROM {
        // SAFETY: fcntl with this command takes no pointers; `fd` is open for the time of the borrow.
        copy = check(unsafe { libc::fcntl(fd, libc::F_DUPFD, from) });
        if copy.is_ok() {
            break;
        }
    }
    // SAFETY: made just now, and nobody else's.
    copy.map(|copy| unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Holds on to the file that is at `path` now without opening it for reading or writing (O_PATH),
/// whatever its permissions and its type. Neither waits nor disturbs anybody.
pub(crate) fn pin(path: &Path, follow: bool) -> io::Result<std::fs::File> {
    let nofollow = if follow { 0 } else { libc::O_NOFOLLOW };
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | nofollow)
        .open(path)
}

/// Creates a lock file that must not exist yet, with `mode & !umask`.
pub(crate) fn create_new(path: &Path, access: Access, mode: u32) -> io::Result<std::fs::File> {
    options(
        access,
        false,
        libc::O_NONBLOCK | libc::O_CREAT | libc::O_EXCL,
    )
    .mode(mode)
    .open(path)
}

fn options(access: Access, follow: bool, flags: libc::c_int) -> std::fs::OpenOptions {
    let nofollow = if follow { 0 } else { libc::O_NOFOLLOW };
    let mut options = std::fs::OpenOptions::new();
    options
        .read(access != Access::Write)
        .write(access != Access::Read)
        .custom_flags(flags | nofollow | libc::O_NOCTTY | MARK);
    options
}

/// Creates `path` so that it appears with exactly `mode`, whatever the umask:
/// an unnamed file gets the mode first and the name last.
///
/// Where the file system has no unnamed files the file is created without any
/// permission for others and widened at once, so that nobody opens it too early.
pub(crate) fn create_with_mode(path: &Path, mode: u32) -> io::Result<std::fs::File> {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(mode);
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // An exclusive name is asked for by linkat, not here: O_TMPFILE|O_EXCL would forbid the link.
    let unnamed = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_TMPFILE | libc::O_NOCTTY | MARK)
        .mode(0o600)
        .open(parent);
    if let Ok(file) = unnamed {
        file.set_permissions(permissions.clone())?;
        let magic = format!("/proc/self/fd/{}\0", file.as_raw_fd());
        match link_following(&magic, path) {
            Ok(()) => return Ok(file),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) => {} // /proc is missing, or links are not allowed here
        }
    }
    let file = create_new(path, Access::ReadWrite, 0o600)?;
    file.set_permissions(permissions)?;
    Ok(file)
}

fn link_following(nul_terminated: &str, to: &Path) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let to = std::ffi::CString::new(to.as_os_str().as_bytes())?;
    let from = CStr::from_bytes_with_nul(nul_terminated.as_bytes())
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: both are NUL-terminated strings which live through the call.
    check(unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    })
    .map(drop)
}
