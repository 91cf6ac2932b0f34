//! Opens the lock file.
//!
//! It is opened for reading only, which is enough for flock(2), so that read-only files can be
//! locks. It is never truncated and never removed.

use std::ffi::CStr;
use std::io;

use rustix::fd::{IntoRawFd, OwnedFd, RawFd};
use rustix::fs::{Access, Mode, OFlags};
use rustix::io::Errno;

use super::say::Stop;
use super::status;

/// A descriptor to lock, and its origin.
pub(super) struct Opened {
    /// Stays open until the end: the command inherits it under this number.
    pub(super) fd: RawFd,
    pub(super) file: Option<&'static CStr>,
    writable: bool,
}

impl Opened {
    /// A number from the command line, open or not.
    pub(super) fn inherited(fd: RawFd) -> Opened {
        Opened {
            fd,
            file: None,
            writable: false,
        }
    }

    /// After `refusal` of a lock: opens the file again, for reading and writing. If the kernel
    /// turns flock(2) into an fcntl lock, as for NFSv4, an exclusive lock needs that.
    ///
    /// Returns the reason if the lock stays refused, or None for another attempt.
    pub(super) fn reopen_for_writing(&mut self, refusal: Errno) -> Result<Option<Errno>, Stop> {
        let Some(file) = self.file.filter(|_| !self.writable) else {
            return Ok(Some(refusal));
        };
        if let Err(reason) = rustix::fs::access(file, Access::READ_OK | Access::WRITE_OK) {
            return Ok(Some(reason));
        }
        // Closed first, so that the new descriptor gets the same number for the command.
        crate::sys::flock_child::close(self.fd);
        let (fd, directory) = try_open(file, OFlags::RDWR).map_err(|e| cannot_open(file, e))?;
        self.fd = fd.into_raw_fd();
        self.writable = true;
        Ok(directory.then_some(Errno::ISDIR))
    }
}

pub(super) fn open(file: &'static CStr, for_writing: bool) -> Result<Opened, Stop> {
    let access = if for_writing {
        OFlags::WRONLY
    } else {
        OFlags::RDONLY
    };
    let (fd, _) = try_open(file, access).map_err(|error| cannot_open(file, error))?;
    Ok(Opened {
        fd: fd.into_raw_fd(),
        file: Some(file),
        writable: false,
    })
}

/// Opens or creates. Also returns whether it is a directory, which can only be opened for reading.
fn try_open(file: &CStr, access: OFlags) -> Result<(OwnedFd, bool), Errno> {
    let create = OFlags::NOCTTY | OFlags::CREATE;
    match open_at_once(file, access | create) {
        Err(Errno::ISDIR) => rustix::fs::open(file, OFlags::RDONLY | OFlags::NOCTTY, Mode::empty())
            .map(|fd| (fd, true)),
        opened => opened.map(|fd| (fd, false)),
    }
}

/// Opens without waiting for a process at the other end of a FIFO, which may never open it.
fn open_at_once(file: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mode = Mode::from_raw_mode(0o666);
    let fd = match rustix::fs::open(file, flags | OFlags::NONBLOCK, mode) {
        // Another process has a lease on the file; the kernel asks it to give up the lease, which
        // takes a limited time.
        Err(Errno::AGAIN) => return rustix::fs::open(file, flags, mode),
        // A FIFO without a reader, opened for writing: opening it for reading and writing never
        // waits.
        Err(Errno::NXIO) if flags.contains(OFlags::WRONLY) => {
            let both = (flags - OFlags::WRONLY) | OFlags::RDWR;
            rustix::fs::open(file, both | OFlags::NONBLOCK, mode)?
        }
        opened => opened?,
    };
    wait_again(&fd)?;
    Ok(fd)
}

/// Removes O_NONBLOCK: the command may read from the descriptor, and must find it as open(2)
/// returns it.
fn wait_again(fd: &OwnedFd) -> Result<(), Errno> {
    rustix::fs::fcntl_setfl(fd, OFlags::empty())
}

fn cannot_open(file: &CStr, error: Errno) -> Stop {
    let code = match error {
        Errno::NOMEM | Errno::MFILE | Errno::NFILE => status::OS_ERROR,
        Errno::ROFS | Errno::NOSPC => status::CANNOT_CREATE,
        _ => status::NO_INPUT,
    };
    let parts = [b"cannot open lock file ", file.to_bytes()];
    Stop::error(code, &parts, &io::Error::from(error))
}
