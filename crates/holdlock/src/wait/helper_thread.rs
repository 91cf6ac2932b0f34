//! Waiting where signals cannot be used: a helper thread blocks in the kernel's queue.
//!
//! Nothing can get such a thread out of the queue before it has the lock. If its request ends
//! early, the thread stays in the queue. Then:
//!
//! * The next request of this process for the same lock takes the thread over, and so its position
//!   in the queue.
//! * If the thread gets the lock while no request wants it, it gives the lock back at once and
//!   ends.
//!
//! A process has at most [`MAX_THREADS`] of these threads. A request that gets none polls, without
//! a position in the queue. Each thread waits on an open file description of its own, so that a
//! lock which comes too late belongs to that thread only.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::acquire::open::LockFile;
use crate::sys::file_lock::Blocking;
use crate::sys::fork::ForkCell;
use crate::sys::futex;
use crate::sys::start::start_thread;
use crate::wait::{KernelError, Wait};
use crate::{Family, Mode};

/// How many threads wait at most, with or without a request.
const MAX_THREADS: usize = 16;

/// A request waits for this thread.
const WANTED: u32 = 0;
/// The request has ended, and another request may take the thread over.
const ABANDONED: u32 = 1;
/// The thread has left the queue. If it has a request, the result is for that request.
const DONE: u32 = 2;

/// One thread in the kernel's queue.
struct HelperThread {
    file: Arc<LockFile>,
    family: Family,
    mode: Mode,
    state: AtomicU32,
    result: Mutex<io::Result<()>>,
}

/// The threads in the queue.
static THREADS: ForkCell<Mutex<Vec<Arc<HelperThread>>>> = ForkCell::new();

fn threads() -> MutexGuard<'static, Vec<Arc<HelperThread>>> {
    let threads = THREADS.get_or_make(Mutex::default);
    threads.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks the file, mostly through another open file description. Returns the file that is locked.
pub(crate) fn lock(
    file: &Arc<LockFile>,
    family: Family,
    mode: Mode,
    wait: &mut Wait<'_>,
) -> Result<Arc<LockFile>, KernelError> {
    loop {
        let Some(thread) = HelperThread::for_request(file, family, mode) else {
            return poll(file, family, mode, wait);
        };
        match thread.wait(wait) {
            // Other code in this process has closed the thread's descriptor. The request's own may
            // still be open.
            Err(KernelError::Io(_)) if !thread.file.is_ours() => {}
            other => return other,
        }
    }
}

/// Tries to lock the file again and again.
pub(crate) fn poll(
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

impl HelperThread {
    /// Takes over an abandoned thread that waits for the same lock, or starts a thread. None: there
    /// are too many, or no thread or descriptor can be made.
    fn for_request(file: &Arc<LockFile>, family: Family, mode: Mode) -> Option<Arc<HelperThread>> {
        let mut threads = threads();
        let of_this_lock = threads.iter().filter(|thread| {
            thread.file.can_stand_for(file) && (thread.family, thread.mode) == (family, mode)
        });
        for thread in of_this_lock {
            let state = &thread.state;
            let took =
                state.compare_exchange(ABANDONED, WANTED, Ordering::AcqRel, Ordering::Acquire);
            if took.is_ok() {
                return Some(thread.clone());
            }
        }
        if threads.len() >= MAX_THREADS {
            return None;
        }
        let thread = Arc::new(HelperThread {
            file: Arc::new(file.open_again().ok()?),
            family,
            mode,
            state: AtomicU32::new(WANTED),
            result: Mutex::new(Ok(())),
        });
        let its_own = thread.clone();
        // The name must not begin like those of the other helper threads. A thread without a
        // request still waits, although its process does not: inspection must not take this for a
        // wait of the process. The thread blocks all signals, so that the program's own threads get
        // them.
        start_thread("waiter-holdlock", move || its_own.run()).ok()?;
        threads.push(thread.clone());
        Some(thread)
    }

    /// Waits for the thread, on behalf of the request.
    fn wait(&self, wait: &mut Wait<'_>) -> Result<Arc<LockFile>, KernelError> {
        if let Err(stop) = wait.sleep_on_word(&self.state, WANTED) {
            let state = &self.state;
            let left =
                state.compare_exchange(WANTED, ABANDONED, Ordering::AcqRel, Ordering::Acquire);
            if left.is_ok() {
                return Err(KernelError::Stop(stop));
            }
            // The thread was quicker: it has a result.
        }
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *result, Ok(()))
            .map(|()| self.file.clone())
            .map_err(KernelError::Io)
    }

    /// The thread's code.
    fn run(self: Arc<HelperThread>) {
        let result = loop {
            match self.file.lock(self.family, self.mode, Blocking::Yes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = result;
        // This comes first, so that no request takes the thread over from now on.
        threads().retain(|other| !Arc::ptr_eq(other, &self));
        if self.state.swap(DONE, Ordering::AcqRel) == WANTED {
            futex::wake(&self.state);
        } else {
            // Unlock before the description is closed, because a child may have inherited it.
            let _ = self.file.unlock(self.family);
        }
    }
}
