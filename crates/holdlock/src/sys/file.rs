//! Lock files: opening, locking, identity.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::lock_fd::MARK;
use super::{call, check};
use crate::{Family, Mode};

/// Which inode: what two names must share to be one lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// Whether a lock call may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Fail with `WouldBlock` instead of sleeping.
    Never,
    /// Sleep until the lock is free or a signal handler ran.
    Sleep,
}

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
    open(&door(fd), access, true)
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
    let path = std::ffi::CString::new(door(fd).as_os_str().as_bytes())?;
    // Not by std, which begins again after a signal.
    let flags = access | libc::O_CLOEXEC | libc::O_NOCTTY | MARK;
    // SAFETY: a NUL-terminated string that lives through the call.
    let opened = check(unsafe { libc::open(path.as_ptr(), flags) })?;
    // SAFETY: opened just now, and nobody else's.
    Ok(unsafe { std::fs::File::from_raw_fd(opened) })
}

fn door(fd: BorrowedFd<'_>) -> PathBuf {
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

/// Holds on to the file that is at `path` now without opening it for anything (O_PATH), which
/// neither waits nor disturbs anybody.
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

/// Takes the whole-file lock of `family`, converting one that is already held.
///
/// `WouldBlock` is a conflict; `Interrupted` means that a signal handler ran.
#[inline]
pub(crate) fn lock(
    fd: BorrowedFd<'_>,
    family: Family,
    mode: Mode,
    patience: Patience,
) -> io::Result<()> {
    match family {
        Family::Flock => {
            let operation = match mode {
                Mode::Exclusive => libc::LOCK_EX,
                Mode::Shared => libc::LOCK_SH,
            };
            let number = fd.as_raw_fd();
            if patience == Patience::Sleep {
                let arguments = [number as usize, operation as usize, 0, 0];
                // SAFETY: flock takes no pointers; `fd` is open for the time of the borrow.
                return unsafe { call::blocking(libc::SYS_flock, arguments) };
            }
            // SAFETY: the same.
            check(unsafe { libc::flock(number, operation | libc::LOCK_NB) }).map(drop)
        }
        Family::Ofd => {
            let kind = match mode {
                Mode::Exclusive => libc::F_WRLCK,
                Mode::Shared => libc::F_RDLCK,
            };
            lock_bytes(fd, kind, (0, 0), patience)
        }
    }
}

/// The bytes which stand for the place at the head of the queue of fair requests, far behind the
/// end of every file: the first for a shared request, both for an exclusive one. So
/// /proc/locks tells which of the two it is, although all exclude each other.
pub(crate) const HEAD: u64 = 0x4000_0000_0000_0000;

/// Takes the place at the head of the queue: an OFD lock, which does not touch that of flock(2).
pub(crate) fn lock_head(fd: BorrowedFd<'_>, mode: Mode, patience: Patience) -> io::Result<()> {
    lock_bytes(fd, libc::F_WRLCK, head(mode), patience)
}

/// Lets the next one come to the head of the queue.
pub(crate) fn unlock_head(fd: BorrowedFd<'_>) -> io::Result<()> {
    ofd(fd, libc::F_OFD_SETLK, libc::F_UNLCK, head(Mode::Exclusive))
}

fn head(mode: Mode) -> (i64, i64) {
    let length = match mode {
        Mode::Shared => 1,
        Mode::Exclusive => 2,
    };
    (HEAD as i64, length)
}

fn lock_bytes(
    fd: BorrowedFd<'_>,
    kind: libc::c_int,
    range: (i64, i64),
    patience: Patience,
) -> io::Result<()> {
    let command = match patience {
        Patience::Never => libc::F_OFD_SETLK,
        Patience::Sleep => libc::F_OFD_SETLKW,
    };
    ofd(fd, command, kind, range).map_err(|error| match error.raw_os_error() {
        // POSIX lets a conflict be either; the rest of us knows one.
        Some(libc::EACCES) => io::Error::from_raw_os_error(libc::EAGAIN),
        _ => error,
    })
}

/// Gives the lock back.
#[inline]
pub(crate) fn unlock(fd: BorrowedFd<'_>, family: Family) -> io::Result<()> {
    loop {
        let result = match family {
            // SAFETY: as in `lock`.
            Family::Flock => check(unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_UN) }).map(drop),
            Family::Ofd => ofd(fd, libc::F_OFD_SETLK, libc::F_UNLCK, (0, 0)),
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// The system call that takes a `struct flock64`.
#[cfg(target_pointer_width = "64")]
const FCNTL: libc::c_long = libc::SYS_fcntl;
#[cfg(not(target_pointer_width = "64"))]
const FCNTL: libc::c_long = libc::SYS_fcntl64;

/// From `start` on `length` bytes; 0 is up to the end of the file, wherever that will be.
fn ofd(
    fd: BorrowedFd<'_>,
    command: libc::c_int,
    kind: libc::c_int,
    (start, length): (i64, i64),
) -> io::Result<()> {
    // SAFETY: `flock` is plain data for which all-zero is valid; OFD commands demand an l_pid of 0.
    let mut range: libc::flock64 = unsafe { std::mem::zeroed() };
    range.l_type = kind as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = start;
    range.l_len = length;
    let number = fd.as_raw_fd();
    if command == libc::F_OFD_SETLKW {
        let range = std::ptr::from_ref(&range) as usize;
        // SAFETY: `range` is a valid struct flock64 and lives through the call. (fcntl64, where
        // there are two.)
        return unsafe { call::blocking(FCNTL, [number as usize, command as usize, range, 0]) };
    }
    // SAFETY: the same.
    check(unsafe { libc::fcntl(number, command, &range) }).map(drop)
}

/// The inode that `path` names now. The cheapest question that answers it:
/// measured, lstat(2) costs what statx(2) with an empty mask costs.
#[inline]
pub(crate) fn identity_at(path: &CStr, follow: bool) -> io::Result<Identity> {
    // SAFETY: `stat` is plain data for which all-zero is valid.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: a NUL-terminated string and a valid place for the answer, both alive in the call.
    check(unsafe {
        if follow {
            libc::stat(path.as_ptr(), &mut stat)
        } else {
            libc::lstat(path.as_ptr(), &mut stat)
        }
    })?;
    Ok(stat.into())
}

/// Allowed between fork and exec.
#[inline]
fn stat_of(number: libc::c_int) -> io::Result<libc::stat> {
    // SAFETY: `stat` is plain data for which all-zero is valid.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: a valid place for the answer; a number that is not open is EBADF.
    check(unsafe { libc::fstat(number, &mut stat) })?;
    Ok(stat)
}

/// Major and minor number of a device, as /proc/locks prints them.
pub(crate) fn device_numbers(device: u64) -> (u32, u32) {
    (libc::major(device), libc::minor(device))
}

/// Opens a file for nothing but to ask about it: whatever its permissions and its type.
pub(crate) fn open_for_name(path: &Path) -> io::Result<std::fs::File> {
    pin(path, true)
}

/// The inode of an open file.
#[inline]
pub(crate) fn identity_of(fd: BorrowedFd<'_>) -> io::Result<Identity> {
    stat_of(fd.as_raw_fd()).map(Identity::from)
}

/// The inode behind a descriptor's number, if there is one. Allowed between fork and exec.
pub(super) fn identity_of_number(number: libc::c_int) -> Option<Identity> {
    stat_of(number).ok().map(Identity::from)
}

/// What is in an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing: a regular file without a byte.
    Empty,
    /// Something: a regular file.
    Data,
    /// It is no regular file.
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

/// Whether a descriptor's number is that of a regular file, a directory or a block device.
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

/// Whether stat(2) tells other numbers of files on this file system than the kernel's lock
/// table does.
pub(crate) fn hides_its_device(fd: BorrowedFd<'_>) -> bool {
    matches!(
        file_system(fd).as_str(),
        "overlay" | "btrfs" | "bcachefs" | "unknown"
    )
}

/// As many bytes of a `struct flock` as [`read_lock_request`] needs.
pub(crate) const LOCK_REQUEST_SIZE: usize = size_of::<libc::flock>();

/// Whether this is fcntl(F_OFD_SETLKW), as /proc/PID/syscall tells of it.
pub(crate) fn is_blocking_ofd_lock(call: libc::c_long, command: u64) -> bool {
    call == libc::SYS_fcntl && command == libc::F_OFD_SETLKW as u64
}

/// Mode, start and length of the request in another process's `struct flock`. None
/// when that is none for a lock from a place that is counted from the file's start.
pub(crate) fn read_lock_request(bytes: &[u8; LOCK_REQUEST_SIZE]) -> Option<(Mode, u64, u64)> {
    use std::mem::offset_of;
    let two = |at: usize| Some(i16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let eight = |at: usize| Some(i64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let mode = match i32::from(two(offset_of!(libc::flock, l_type))?) {
        libc::F_WRLCK => Mode::Exclusive,
        libc::F_RDLCK => Mode::Shared,
        _ => return None,
    };
    if i32::from(two(offset_of!(libc::flock, l_whence))?) != libc::SEEK_SET {
        return None;
    }
    let start = u64::try_from(eight(offset_of!(libc::flock, l_start))?).ok()?;
    let length = u64::try_from(eight(offset_of!(libc::flock, l_len))?).ok()?;
    Some((mode, start, length))
}

/// The name of the file system an open file is on, for error messages.
pub(crate) fn file_system(fd: BorrowedFd<'_>) -> String {
    // SAFETY: `statfs` is plain data for which all-zero is valid.
    let mut answer: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: an open descriptor and a valid place for the answer.
    if check(unsafe { libc::fstatfs(fd.as_raw_fd(), &mut answer) }).is_err() {
        return "unknown".into();
    }
    let name = match answer.f_type as u64 & 0xffff_ffff {
        0x6969 => "nfs",
        0xff53_4d42 => "cifs",
        0xfe53_4d42 => "smb2",
        0x6573_5546 => "fuse",
        0x0102_1997 => "9p",
        0x00c3_6400 => "ceph",
        0x5346_414f => "afs",
        0x0bd0_0bd0 => "lustre",
        0x0116_1970 => "gfs2",
        0x7461_636f => "ocfs2",
        0x794c_7630 => "overlay",
        0x0000_ef53 => "ext2/3/4",
        0x0102_1994 => "tmpfs",
        0x8584_58f6 => "ramfs",
        0x9123_683e => "btrfs",
        0xca45_1a4e => "bcachefs",
        0x5846_5342 => "xfs",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0x4d44 => "vfat",
        0x2011_bab0 => "exfat",
        0x786f_4256 => "vboxsf",
        0x9fa0 => "proc",
        0x6265_6572 => "sysfs",
        other => return format!("type {other:#x}"),
    };
    name.into()
}
