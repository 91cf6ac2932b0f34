//! A request by plain flock(2), as other programs make it that know that the file may be removed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::Taker;
use crate::exit::reason;
use crate::torture::mark::Inside;
use crate::torture::mode::Mode;

pub(super) fn round(taker: &mut Taker, mode: Mode) {
    let inside = taker.inside(mode);
    taker.me.ask(inside, mode, None);
    let file = match lock_current(&mode.lock_file(&taker.directory), operation(inside)) {
        Ok(file) => file,
        Err(error) => {
            let text = format!("flock(2): {}", reason(&error));
            taker.failed(mode, text, error.raw_os_error());
            return taker.me.released(mode);
        }
    };
    let section = taker.me.enter(mode, inside);
    taker.linger();
    section.leave();
    // By name: a child of fork may have a copy of the descriptor.
    let _ = flock(&file, FlockOperation::Unlock);
    taker.me.released(mode);
}

fn operation(inside: Inside) -> FlockOperation {
    match inside {
        Inside::Shared => FlockOperation::LockShared,
        _ => FlockOperation::LockExclusive,
    }
}

/// Locks the file that is at the path, also if another one was there before.
pub(in crate::torture) fn lock_current(path: &Path, operation: FlockOperation) -> io::Result<File> {
    loop {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        uninterrupted(|| flock(&file, operation))?;
        let locked = file.metadata()?;
        match fs::metadata(path) {
            Ok(there) if (there.dev(), there.ino()) == (locked.dev(), locked.ino()) => {
                return Ok(file);
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let _ = flock(&file, FlockOperation::Unlock);
    }
}

/// Signals do not end the wait.
pub(super) fn uninterrupted(call: impl Fn() -> Result<(), Errno>) -> Result<(), Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
