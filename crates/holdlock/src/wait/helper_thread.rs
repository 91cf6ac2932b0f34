//! Waiting where signals cannot be used: a thread of our own blocks in the kernel's queue.
//!
//! Nothing gets such a thread out of the queue before it has the lock. When its request ends
//! early, the thread stays, and
//!
//! * the next request of this process for the same lock takes it over, with its place in the
//!   queue;
//! * if it gets the lock while no request wants it, it gives the lock back at once, and ends.
//!
//! There are at most [`MAX_THREADS`] of these threads in a process. Requests for which none is left ask
//! again and again, without a place in the queue. Each thread waits on a description of its own,
//! so that a lock which comes too late is nobody's but the thread's.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::acquire::open::LockFile;
use crate::sys::file_lock::Blocking;
use crate::sys::fork::ForkCell;
use crate::sys::{futex, signal};
use crate::wait::{KernelError, Wait};
use crate::{Family, Mode};

/// How many threads wait at most, with or without a request.
const MAX_THREADS: usize = 16;

/// A request waits for this thread.
const WANTED: u32 = 0;
/// The request has ended; another one may take the thread over.
const ABANDONED: u32 = 1;
/// The thread is out of the queue, and leaves what came of it to its request, if it has one.
const DONE: u32 = 2;

/// One thread in the kernel's queue.
struct Waiter {
    file: Arc<LockFile>,
    family: Family,
    mode: Mode,
    word: AtomicU32,
    result: Mutex<io::Result<()>>,
}

/// Those that are in the queue.
static WAITERS: ForkCell<Mutex<Vec<Arc<Waiter>>>> = ForkCell::new();

fn waiters() -> MutexGuard<'static, Vec<Arc<Waiter>>> {
    let waiters = WAITERS.get_or_make(Mutex::default);
    waiters.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks the file, mostly through another description, which is returned.
pub(crate) fn lock(
    file: &Arc<LockFile>,
    family: Family,
    mode: Mode,
    wait: &mut Wait<'_>,
) -> Result<Arc<LockFile>, KernelError> {
    loop {
        let Some(waiter) = Waiter::for_request(file, family, mode) else {
            return poll(file, family, mode, wait);
        };
        match waiter.wait(wait) {
            // Other code of this process has closed its descriptor; the request's own may be open.
            Err(KernelError::Io(_)) if !waiter.file.is_ours() => {}
            other => return other,
        }
    }
}

/// Asks again and again.
fn poll(
    file: &Arc<LockFile>,
    family: Family,
    mode: Mode,
    wait: &mut Wait<'_>,
) -> Result<Arc<LockFile>, KernelError> {
    loop {
        match file.lock(family, mode, Blocking::No) {
            Ok(()) => return Ok(file.clone()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(KernelError::Io(error)),
        }
        wait.sleep_briefly().map_err(KernelError::Stop)?;
    }
}

impl Waiter {
    /// An abandoned one that waits for this very lock, or else a new one. None: there are too
    /// many, or no thread or descriptor is to be had.
    fn for_request(file: &Arc<LockFile>, family: Family, mode: Mode) -> Option<Arc<Waiter>> {
        let mut waiters = waiters();
        let of_this_lock = waiters.iter().filter(|waiter| {
            waiter.file.is_ours()
                && waiter.file.identity() == file.identity()
                && (waiter.family, waiter.mode) == (family, mode)
        });
        for waiter in of_this_lock {
            let word = &waiter.word;
            let took =
                word.compare_exchange(ABANDONED, WANTED, Ordering::AcqRel, Ordering::Acquire);
            if took.is_ok() {
                return Some(waiter.clone());
            }
        }
        if waiters.len() >= MAX_THREADS {
            return None;
        }
        let waiter = Arc::new(Waiter {
            file: Arc::new(file.open_again().ok()?),
            family,
            mode,
            word: AtomicU32::new(WANTED),
            result: Mutex::new(Ok(())),
        });
        let its_own = waiter.clone();
        // Not by the name of a helper: a thread whose request has ended still waits, and the process
        // does not, so that this is no wait of the whole process. The host's signals are none of
        // its business.
        let thread = signal::with_all_blocked(|| {
            std::thread::Builder::new()
                .name("waiter-holdlock".to_owned())
                .stack_size(64 * 1024)
                .spawn(move || its_own.run())
        });
        thread.ok()?;
        waiters.push(waiter.clone());
        Some(waiter)
    }

    /// The request's part.
    fn wait(&self, wait: &mut Wait<'_>) -> Result<Arc<LockFile>, KernelError> {
        if let Err(stop) = wait.sleep_on_word(&self.word, WANTED) {
            let word = &self.word;
            let left =
                word.compare_exchange(WANTED, ABANDONED, Ordering::AcqRel, Ordering::Acquire);
            if left.is_ok() {
                return Err(KernelError::Stop(stop));
            }
            // It has the lock after all.
        }
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *result, Ok(()))
            .map(|()| self.file.clone())
            .map_err(KernelError::Io)
    }

    /// The thread's part.
    fn run(self: Arc<Waiter>) {
        let result = loop {
            match self.file.lock(self.family, self.mode, Blocking::Yes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = result;
        // First, so that no request takes it over from now on.
        waiters().retain(|other| !Arc::ptr_eq(other, &self));
        if self.word.swap(DONE, Ordering::AcqRel) == WANTED {
            futex::wake(&self.word);
        } else {
            // Before the description is closed: a child may have inherited it.
            let _ = self.file.unlock(self.family);
        }
    }
}
