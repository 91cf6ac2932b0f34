//! Opening and creating lock files.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::check;
use super::descriptor_table::MARK;

/// How a lock file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// For reading: that is enough for flock(2) on local file systems.
    Read,
    /// For reading and writing: for OFD locks, and for flock(2) over NFS.
    ReadWrite,
    /// For writing, if reading is denied.
    Write,
}

/// Opens a lock file that exists: open(2).
///
/// Does not hang on a FIFO or a device (O_NONBLOCK), and does not make a terminal the controlling
/// one (O_NOCTTY). std adds O_CLOEXEC. If another process has a lease on the file, this fails with
/// `WouldBlock`, and the kernel asks that process to give the lease back.
pub(crate) fn open(path: &Path, access: Access, follow: bool) -> io::Result<std::fs::File> {
    options(access, follow, libc::O_NONBLOCK).open(path)
}

/// Opens the file of an open descriptor again, with an open file description of its own. Needs
/// /proc.
pub(crate) fn open_again(fd: BorrowedFd<'_>, access: Access) -> io::Result<std::fs::File> {
    open(&descriptor_path(fd), access, true)
}

/// As [`open_again`], but waits until the lease on the file is gone or a signal handler has run
/// (`Interrupted`). `fd` has to be a [pinned](pin) regular file: opening a FIFO could wait for
/// ever.
pub(crate) fn open_leased(fd: BorrowedFd<'_>, access: Access) -> io::Result<std::fs::File> {
    use std::os::unix::ffi::OsStrExt;
    let access = match access {
        Access::Read => libc::O_RDONLY,
        Access::ReadWrite => libc::O_RDWR,
        Access::Write => libc::O_WRONLY,
    };
    let path = std::ffi::CString::new(descriptor_path(fd).as_os_str().as_bytes())?;
    // Without std, because std repeats the call after a signal.
    let flags = access | libc::O_CLOEXEC | libc::O_NOCTTY | MARK;
    // SAFETY: a NUL-terminated string that lives through the call.
    let opened = check(unsafe { libc::open(path.as_ptr(), flags) })?;
    // SAFETY: the descriptor was opened just now and has no other owner.
    Ok(unsafe { std::fs::File::from_raw_fd(opened) })
}

/// A path that leads to the file of this process's descriptor.
pub(crate) fn descriptor_path(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// The flags of an open file description that cannot change after open(2), with the mark: how the
/// file may be used, the mark, and some more that few files have. -1 if the descriptor is not open.
#[inline]
pub(super) fn lasting_flags(fd: BorrowedFd<'_>) -> libc::c_int {
    const LASTING: libc::c_int = libc::O_ACCMODE | libc::O_NOFOLLOW | libc::O_PATH | MARK;
    // SAFETY: fcntl with this command takes no pointers, and fails with EBADF for a number that is
    // not open.
    match unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) } {
        -1 => -1,
        flags => flags & LASTING,
    }
}

/// Confirms that a lock file is registered, on its open file description: sets the signal that the
/// kernel sends when the file is ready (F_SETSIG of fcntl(2)). It sends none for lock files, since
/// nobody asks for that, and no other code sets the signal for them. False if the kernel cannot do
/// this.
pub(super) fn confirm(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: fcntl with this command takes no pointers, and `fd` is open during the borrow.
    unsafe { libc::fcntl(fd.as_raw_fd(), F_SETSIG, libc::SIGIO) == 0 }
}

/// Whether an open file description is [confirmed](confirm).
pub(super) fn is_confirmed(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: fcntl with this command takes no pointers, and fails with EBADF for a number that is
    // not open.
    unsafe { libc::fcntl(fd.as_raw_fd(), F_GETSIG) == libc::SIGIO }
}

/// The `libc` crate has these two for some C libraries only.
const F_SETSIG: libc::c_int = 10;
const F_GETSIG: libc::c_int = 11;

/// Takes the mark off an open file description: then a handler of fork does not recognise it as a
/// lock file's.
pub(super) fn take_mark_off(fd: BorrowedFd<'_>) -> io::Result<()> {
    let number = fd.as_raw_fd();
    // SAFETY: fcntl with these commands takes no pointers, and `fd` is open during the borrow.
    unsafe {
        let flags = check(libc::fcntl(number, libc::F_GETFL))?;
        check(libc::fcntl(number, libc::F_SETFL, flags & !MARK)).map(drop)
    }
}

/// The number from which a free descriptor is searched for programs to inherit. Scripts use single
/// digits, so the search begins well above them if the limit of descriptors allows it.
const INHERITED_FROM: [libc::c_int; 4] = [347, 147, 47, 3];

/// Another descriptor of the same open file description. Children of fork keep it, and it stays
/// open in programs that are executed.
pub(crate) fn inheritable_copy(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let fd = fd.as_raw_fd();
    let mut copy = Err(io::ErrorKind::NotFound.into());
    for from in INHERITED_FROM {
        // SAFETY: fcntl with this command takes no pointers, and `fd` is open during the borrow.
        copy = check(unsafe { libc::fcntl(fd, libc::F_DUPFD, from) });
        if copy.is_ok() {
            break;
        }
    }
    // SAFETY: the descriptor was made just now and has no other owner.
    copy.map(|copy| unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Holds on to the file that is at `path` now without opening it for reading or writing (O_PATH).
/// Works for every type and every permission of the file, never waits, and disturbs no other
/// program.
pub(crate) fn pin(path: &Path, follow: bool) -> io::Result<std::fs::File> {
    let nofollow = if follow { 0 } else { libc::O_NOFOLLOW };
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | nofollow)
        .open(path)
}

/// Creates a lock file with `mode & !umask`. Fails if the file exists.
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

/// Creates `path` so that it appears with exactly `mode`, whatever the umask is: an unnamed file
/// gets the mode first and its name afterwards.
///
/// If the file system has no unnamed files, creates the file without permissions for other users
/// and then sets the mode. So no other user can open the file before it has its mode.
pub(crate) fn create_with_mode(path: &Path, mode: u32) -> io::Result<std::fs::File> {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(mode);
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // linkat makes sure that the name is new. O_EXCL is not used here: with O_TMPFILE it forbids
    // linkat.
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
    // SAFETY: both are NUL-terminated strings that live through the call.
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
