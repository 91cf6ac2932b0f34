//! Waiting where signals cannot be used: a thread of our own blocks in the
//! kernel's queue, and unlocks at once if it comes too late.
//!
//! The thread waits on a description of its own, so that a lock which comes too
//! late is nobody's but the thread's.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::inspect::HELPER;
use crate::open::LockFile;
use crate::sys::file::{self, Patience};
use crate::sys::futex;
use crate::wait::{KernelError, Wait};
use crate::{Family, Mode};

const WAITING: u32 = 0;
const DONE: u32 = 1;
const ABANDONED: u32 = 2;

struct Errand {
    word: AtomicU32,
    result: Mutex<io::Result<()>>,
}

/// Locks the file, through a new description which is returned. Where not even
/// a thread is to be had, asks again and again.
pub(crate) fn lock(
    file: &Arc<LockFile>,
    family: Family,
    mode: Mode,
    wait: &mut Wait<'_>,
) -> Result<Arc<LockFile>, KernelError> {
    let own = match file.open_again() {
        Ok(own) => Arc::new(own),
        Err(_) => return poll(file, family, mode, wait),
    };
    let errand = Arc::new(Errand {
        word: AtomicU32::new(WAITING),
        result: Mutex::new(Ok(())),
    });
    let theirs = (own.clone(), errand.clone());
    let thread = std::thread::Builder::new()
        .name(format!("{HELPER}waiter"))
        .stack_size(64 * 1024)
        .spawn(move || run(&theirs.0, family, mode, &theirs.1));
    if thread.is_err() {
        return poll(file, family, mode, wait);
    }
    let stopped = wait.thread(&errand.word, WAITING).err();
    if let Some(stop) = stopped {
        let abandoned =
            errand
                .word
                .compare_exchange(WAITING, ABANDONED, Ordering::AcqRel, Ordering::Acquire);
        if abandoned.is_ok() {
            return Err(KernelError::Stop(stop));
        }
        // It has the lock after all.
    }
    let mut result = errand.result.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::replace(&mut *result, Ok(()))
        .map(|()| own)
        .map_err(KernelError::Io)
}

/// The last resort.
fn poll(
    file: &Arc<LockFile>,
    family: Family,
    mode: Mode,
    wait: &mut Wait<'_>,
) -> Result<Arc<LockFile>, KernelError> {
    loop {
        match file::lock(file.as_fd(), family, mode, Patience::Never) {
            Ok(()) => return Ok(file.clone()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(KernelError::Io(error)),
        }
        wait.nap().map_err(KernelError::Stop)?;
    }
}

fn run(file: &LockFile, family: Family, mode: Mode, errand: &Errand) {
    let result = loop {
        match file::lock(file.as_fd(), family, mode, Patience::Sleep) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other,
        }
    };
    *errand.result.lock().unwrap_or_else(PoisonError::into_inner) = result;
    let delivered =
        errand
            .word
            .compare_exchange(WAITING, DONE, Ordering::AcqRel, Ordering::Acquire);
    match delivered {
        Ok(_) => futex::wake(&errand.word),
        Err(_) => drop(file::unlock(file.as_fd(), family)),
    }
}
