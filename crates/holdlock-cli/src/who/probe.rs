//! Whether a file is locked, found out by a try: for the locks that /proc/locks does not show.
//!
//! A try that fails disturbs nobody. One that succeeds holds the lock for some microseconds, in
//! which another try (`run -n`) would be refused; a shared try before it would only add to that.
//! So it is done once, and only where the answer cannot be had otherwise.

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
    // To open a device can start something, as winding a tape.
    let found = std::fs::metadata(path)?.file_type();
    if !found.is_file() && !found.is_dir() {
        return Ok(false);
    }
    // What has become a FIFO meanwhile, or has a lease on it, is not waited for.
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
