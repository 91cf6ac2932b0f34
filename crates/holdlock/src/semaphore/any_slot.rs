//! Taking a free slot, or waiting until one of all slots is free.
//!
//! Linux has no call that waits for one of several locks. Therefore the request at the head of the
//! queue starts a thread for each slot, which blocks in fcntl(2) for that slot. The first thread
//! that gets its slot is the winner: it wakes the request, interrupts the other threads, and waits
//! for their end. A thread that gets a slot although it is not the first gives it back at once. The
//! request stays at the head until all threads have ended, so that no other request meets them.
//!
//! All threads use the request's own open file description. They lock different bytes, so that they
//! do not disturb each other, and if the process is killed, the kernel frees all that they have.
//!
//! Only one request of the whole host does this at a time for a file.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::acquire::open::LockFile;
use crate::acquire::turn::Turn;
use crate::bytes::Range;
use crate::sys::call::Listening;
use crate::sys::file_lock::Blocking;
use crate::sys::interrupt::{Address, Reachable};
use crate::sys::{fork, futex, published};
use crate::wait::{Awaited, KernelError, Stop, Wait};
use crate::{FileLock, Mode};

/// A slot, and the threads by which it was acquired if they may not have ended yet.
pub(super) type Acquired = (u32, Option<Crew>);

/// Locks one of the slots for the request that is at the head of the queue by `turn`. `is_own`
/// tells whether it would wait for its own thread.
pub(super) fn lock(
    lock: &FileLock,
    file: &Arc<LockFile>,
    slots: u32,
    turn: Turn,
    wait: &mut Wait<'_>,
    is_own: impl Fn() -> bool,
) -> Result<Acquired, KernelError> {
    if let Some(slot) = try_all(file, slots)? {
        return Ok((slot, None));
    }
    if !wait.may_sleep() {
        return Err(KernelError::Stop(wait.stop_at_once()));
    }
    if is_own() {
        return Err(KernelError::Stop(Stop::Deadlock));
    }
    wait.begin().map_err(KernelError::Stop)?;
    let mut turn = Some(turn);
    if lock.may_use_signals() {
        let crew = Crew::start(file, slots, &mut turn);
        if let Some(slot) = crew.wait(wait)? {
            return Ok((slot, Some(crew)));
        }
        turn = crew.take_turn();
    }
    // Without signals nothing could end the threads' calls: ask again and again.
    let _at_head = turn;
    loop {
        if let Some(slot) = try_all(file, slots)? {
            return Ok((slot, None));
        }
        wait.sleep_briefly().map_err(KernelError::Stop)?;
    }
}

/// Locks the first slot that is free.
pub(super) fn try_all(file: &LockFile, slots: u32) -> Result<Option<u32>, KernelError> {
    for slot in 0..slots {
        match file.lock_bytes(Mode::Exclusive, Range::slot(slot), Blocking::No) {
            Ok(()) => return Ok(Some(slot)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(KernelError::Io(error)),
        }
    }
    Ok(None)
}

/// The threads that wait for the slots, one for each.
pub(super) struct Crew {
    common: Arc<Common>,
    generation: u32,
}

struct Common {
    /// The slot of the winner, or one of the states below.
    result: AtomicU32,
    /// How to interrupt the threads, by their slots. None: not begun, or no longer waiting.
    waiting: Mutex<Vec<Option<Address>>>,
    /// How many threads may still lock something.
    running: AtomicU32,
    /// Becomes 1 when there is only one such thread left.
    one_left: AtomicU32,
    /// Becomes 1 when no thread is left.
    ended: AtomicU32,
    /// Ends together with the last thread.
    turn: Mutex<Option<Turn>>,
}

/// No thread has a slot yet.
const NONE: u32 = u32::MAX;
/// A thread cannot wait, because it cannot be started or interrupted.
const FAILED: u32 = u32::MAX - 1;
/// The request has ended.
const OVER: u32 = u32::MAX - 2;

/// When to repeat a signal: on some processors one may be lost.
const REPEAT: Duration = Duration::from_millis(5);

impl Common {
    /// The first result counts. Returns whether this is the first.
    fn set(&self, result: u32) -> bool {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let set = self.result.compare_exchange(NONE, result, success, failure);
        set.is_ok()
    }

    /// Wakes the request if this is the first result. Returns whether it is.
    fn announce(&self, result: u32) -> bool {
        let is_first = self.set(result);
        if is_first {
            futex::wake(&self.result);
        }
        is_first
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Option<Address>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The code of the thread that waits for `slot`.
    fn wait_for(&self, slot: u32, file: Arc<LockFile>) {
        let range = Range::slot(slot);
        let sleep = || file.lock_bytes(Mode::Exclusive, range, Blocking::Yes);
        match self.sleep_until_over(slot, sleep) {
            None => {}
            Some(Ok(())) if self.announce(slot) => {
                drop(file);
                self.end_others(&self.one_left);
                self.take_turn();
                self.leave();
                return;
            }
            // Another thread was quicker, or the request has ended.
            Some(Ok(())) => drop(file.unlock_bytes(range)),
            Some(Err(_)) => {
                self.announce(FAILED);
            }
        }
        drop(file);
        self.leave();
    }

    /// Makes the blocking call `sleep` until it has a result. None: another thread has one before.
    fn sleep_until_over(
        &self,
        slot: u32,
        sleep: impl Fn() -> io::Result<()>,
    ) -> Option<io::Result<()>> {
        let Some(reachable) = Reachable::begin() else {
            return Some(Err(io::ErrorKind::Unsupported.into()));
        };
        let listening = Listening::begin();
        self.waiting()[slot as usize] = Some(reachable.address());
        let result = loop {
            // The result is set before the signal is sent.
            listening.reset();
            if self.result.load(Ordering::Acquire) != NONE {
                break None;
            }
            match sleep() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break Some(result),
            }
        };
        // After this no signal is sent.
        self.waiting()[slot as usize] = None;
        result
    }

    /// Called when there is a result: gets the threads out of their calls until `done` is 1.
    fn end_others(&self, done: &AtomicU32) {
        while done.load(Ordering::Acquire) == 0 {
            for address in self.waiting().iter().flatten() {
                address.interrupt();
            }
            futex::wait(done, 0, Some(REPEAT));
        }
    }

    /// The thread has stopped locking.
    fn leave(&self) {
        let done = match self.running.fetch_sub(1, Ordering::AcqRel) {
            2 => &self.one_left,
            1 => &self.ended,
            _ => return,
        };
        done.store(1, Ordering::Release);
        futex::wake(done);
    }

    fn take_turn(&self) -> Option<Turn> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        turn.take()
    }
}

impl Crew {
    /// Starts the threads, which take over the turn.
    fn start(file: &Arc<LockFile>, slots: u32, turn: &mut Option<Turn>) -> Crew {
        let common = Arc::new(Common {
            result: AtomicU32::new(NONE),
            waiting: Mutex::new(vec![None; slots as usize]),
            running: AtomicU32::new(slots),
            one_left: AtomicU32::new(u32::from(slots == 1)),
            ended: AtomicU32::new(0),
            turn: Mutex::new(turn.take()),
        });
        let start = |slot| {
            let (common, file) = (common.clone(), file.clone());
            let run = move || common.wait_for(slot, file);
            // To the host this is one request, which the inspection does not take for several.
            published::start_helper("holdlock-slot", run).is_ok()
        };
        let missing = (0..slots).find(|slot| !start(*slot)).map(|at| slots - at);
        if let Some(missing) = missing {
            common.set(FAILED);
            (0..missing).for_each(|_| common.leave());
        }
        Crew {
            common,
            generation: fork::generation(),
        }
    }

    /// Waits until a thread has a slot. None: the threads cannot wait. Unless there is a slot, all
    /// threads have ended when this returns.
    fn wait(&self, wait: &mut Wait<'_>) -> Result<Option<u32>, KernelError> {
        let result = &self.common.result;
        let slept = wait.sleep_on_word_while(result, NONE, || self.is_here());
        if !self.is_here() {
            // A callback has forked, and the threads are the parent's.
            return Ok(None);
        }
        self.common.set(OVER);
        let result = result.load(Ordering::Acquire);
        if !matches!(result, FAILED | OVER) {
            return Ok(Some(result));
        }
        self.common.end_others(&self.common.ended);
        match slept {
            Err(stop) if result == OVER => {
                drop(self.take_turn());
                Err(KernelError::Stop(stop))
            }
            _ => Ok(None),
        }
    }

    fn is_here(&self) -> bool {
        self.generation == fork::generation()
    }

    fn take_turn(&self) -> Option<Turn> {
        // A child of fork might wait for the mutex for ever.
        self.is_here().then(|| self.common.take_turn()).flatten()
    }

    /// Waits until no thread is left that may lock something: not for long, because the threads are
    /// being interrupted.
    pub(super) fn wait_for_end(&self) {
        let ended = &self.common.ended;
        while self.is_here() && ended.load(Ordering::Acquire) == 0 {
            futex::wait(ended, 0, None);
            if ended.load(Ordering::Acquire) != 0 {
                // The last thread has woken one of those that wait here, for example for the
                // descriptor of one guard: each of them wakes the next one.
                futex::wake(ended);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use holdlock_test_support::eventually;

    use super::*;

    const NAME: &str = "waits-for-crew";

    /// How many threads of this test sleep until a word changes.
    fn asleep() -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").expect("/proc");
        let of = |task: &std::fs::DirEntry, name: &str| {
            std::fs::read_to_string(task.path().join(name)).unwrap_or_default()
        };
        let tasks = tasks.flatten();
        let ours = tasks.filter(|task| of(task, "comm").trim_end() == NAME);
        ours.filter(|task| of(task, "wchan").contains("futex"))
            .count()
    }

    #[test]
    fn the_end_of_the_threads_wakes_all_that_wait_for_it() {
        const WAITERS: usize = 3;
        let crew = Arc::new(Crew {
            common: Arc::new(Common {
                result: AtomicU32::new(0),
                waiting: Mutex::default(),
                running: AtomicU32::new(1),
                one_left: AtomicU32::new(1),
                ended: AtomicU32::new(0),
                turn: Mutex::default(),
            }),
            generation: fork::generation(),
        });
        let (tell, told) = mpsc::channel();
        for _ in 0..WAITERS {
            let (crew, tell) = (crew.clone(), tell.clone());
            let named = thread::Builder::new().name(NAME.to_owned());
            let waits = named.spawn(move || {
                crew.wait_for_end();
                tell.send(())
            });
            drop(waits.expect("a thread"));
        }
        eventually("all sleep", || asleep() == WAITERS);
        crew.common.leave();
        for _ in 0..WAITERS {
            let told = told.recv_timeout(Duration::from_secs(120));
            told.expect("every one is woken");
        }
    }
}
