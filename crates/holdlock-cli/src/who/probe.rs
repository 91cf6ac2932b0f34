//! Tries a lock, to learn whether a file is locked: for locks that /proc/locks does not show.
//!
//! A try that fails disturbs no other process. A try that succeeds holds the lock for some
//! microseconds, during which another try (`run -n`) fails; a shared try before it would only make
//! that longer. Therefore there is only one try, and only if nothing else gives the answer.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::sys::range;

/// Whether a process holds a lock on the file at `path`, of flock(2) or fcntl(2).
pub(super) fn is_locked(path: &Path) -> io::Result<bool> {
    // Opening a device can start an action, such as winding a tape.
    let found = std::fs::metadata(path)?.file_type();
    if !found.is_file() && !found.is_dir() {
        return Ok(false);
    }
    // Does not wait if the file has become a FIFO meanwhile, or has a lease.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    if range::is_locked(file.as_fd()) {
        return Ok(true);
    }
    // Unlocked when the file is closed.
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
