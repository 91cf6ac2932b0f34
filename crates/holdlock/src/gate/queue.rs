//! The queue at the gate: of threads that sleep, and of tasks of asynchronous code.
//!
//! A task has a place in the queue as a thread has. `tasks` has a thread that looks at the places
//! of the tasks, one after another in the order of the queue.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::{
    AWAKE, EntryTerms, FIRST_SHARES, Gate, Joined, KEPT, OCCUPIED, Occupant, Passed, QUEUE_BITS,
    QUEUED, SHARED, thread_number,
};
use crate::Mode;
use crate::acquire::open::LockFile;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{MutexGuard, SPINS, spin_loop};
use crate::sys::{clock, futex};
use crate::wait::{Stop, Wait};

/// For how long running threads may pass sleeping ones.
const PASSING_TIME: Duration = Duration::from_micros(200);

/// The waiting threads and the shared holders, protected by the gate's mutex.
#[derive(Default)]
pub(super) struct Lists {
    pub(super) queue: VecDeque<Arc<Sleeper>>,
    pub(super) sharers: Vec<Occupant>,
}

/// A place in the queue: of a thread, or of a task and the thread that serves it. `state` is one of
/// the constants below; it changes only under the mutex.
pub(crate) struct Sleeper {
    pub(super) state: AtomicU32,
    pub(super) terms: EntryTerms,
}

/// The thread has to sleep on.
pub(super) const ASLEEP: u32 = 0;
/// The thread is the first one: it enters when the gate is open.
const TRY: u32 = 1;
/// The thread is inside, alone.
pub(super) const INSIDE: u32 = 2;
/// The thread is inside, alone, and the kernel's lock was kept for it.
pub(super) const INSIDE_KEPT: u32 = 3;
/// The thread is inside, as one more shared holder.
pub(super) const JOINED: u32 = 4;

/// A wake-up that is sent after the mutex is unlocked, so that the woken thread need not wait for
/// the mutex.
#[must_use]
pub(super) struct Wake(pub(super) Option<Arc<Sleeper>>);

impl Wake {
    pub(super) fn send(self) {
        if let Some(sleeper) = self.0 {
            futex::wake(&sleeper.state);
        }
    }
}

impl Gate {
    pub(super) fn lists(&self) -> MutexGuard<'_, Lists> {
        // The code that runs under the mutex does not panic. If it did, the state would still be
        // consistent.
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cold]
    pub(super) fn enter_slowly(
        &self,
        terms: EntryTerms,
        wait: &mut Wait<'_>,
        unlock: impl FnOnce(&LockFile),
    ) -> Result<Passed, Stop> {
        if let Some(passed) = self.join_or_stop(terms, wait)? {
            return Ok(passed);
        }
        // This may run the caller's callback: it comes before the mutex is locked and before the
        // thread is queued.
        wait.begin()?;
        let sleeper = Arc::new(Sleeper {
            state: AtomicU32::new(ASLEEP),
            terms,
        });
        let mut lists = self.lists();
        if let Some(joined) = self.join(&mut lists, terms) {
            return Ok(Passed::Joined(joined));
        }
        lists.queue.push_back(sleeper.clone());
        // The thread inside has to see this request before it leaves, so that it can keep the
        // kernel's lock for this thread.
        if let Some(kept) = self.enter_or_announce(&mut lists, &sleeper, TRY) {
            return Ok(Passed::Alone(self.entered_alone(kept)));
        }
        drop(lists);
        self.sleep(&sleeper, wait, None)
            .inspect_err(|_| self.release_kept_lock(unlock))
    }

    /// Takes a place in the queue for a task. Then some thread has to call
    /// [`enter_queued`](Gate::enter_queued) soon, or [`withdraw`](Gate::withdraw): the gate may
    /// open for this place, or the task may be inside already.
    pub(crate) fn queue_up(&self, terms: EntryTerms) -> Arc<Sleeper> {
        let sleeper = Arc::new(Sleeper {
            state: AtomicU32::new(ASLEEP),
            terms,
        });
        let mut lists = self.lists();
        lists.queue.push_back(sleeper.clone());
        // ASLEEP, because no thread is about to try for this place at once.
        if let Some(kept) = self.enter_or_announce(&mut lists, &sleeper, ASLEEP) {
            let inside = if kept { INSIDE_KEPT } else { INSIDE };
            sleeper.state.store(inside, Ordering::Release);
        } else if self.word.load(Ordering::Acquire) & SHARED != 0 {
            self.admit(lists);
        }
        sleeper
    }

    /// Waits for the turn of a place that [`queue_up`](Gate::queue_up) made, and enters. After an
    /// error the place is no longer in the queue. For `unlock` see [`enter`](Gate::enter).
    pub(crate) fn enter_queued(
        &self,
        sleeper: &Arc<Sleeper>,
        wait: &mut Wait<'_>,
        unlock: impl FnOnce(&LockFile),
    ) -> Result<Passed, Stop> {
        let stopped = wait.begin().err();
        self.sleep(sleeper, wait, stopped)
            .inspect_err(|_| self.release_kept_lock(unlock))
    }

    /// Gives a place up that no thread waits for. False if its task is inside by now: then the task
    /// has to [`enter`](Gate::enter_queued) and leave. For `unlock` see [`enter`](Gate::enter).
    pub(crate) fn withdraw(&self, sleeper: &Arc<Sleeper>, unlock: impl FnOnce(&LockFile)) -> bool {
        let lists = self.lists();
        // Under the mutex no place gets in.
        if ![ASLEEP, TRY].contains(&sleeper.state.load(Ordering::Acquire)) {
            return false;
        }
        self.leave_queue(lists, sleeper);
        self.release_kept_lock(unlock);
        true
    }

    /// Joins the shared holders if possible. Otherwise fails if the request may not wait.
    fn join_or_stop(&self, terms: EntryTerms, wait: &Wait<'_>) -> Result<Option<Passed>, Stop> {
        if self.word.load(Ordering::Relaxed) & SHARED != 0 {
            let mut lists = self.lists();
            if let Some(joined) = self.join(&mut lists, terms) {
                return Ok(Some(Passed::Joined(joined)));
            }
        }
        if !wait.may_sleep() {
            return Err(wait.stop_at_once());
        }
        if self.deadlocks(terms) {
            return Err(Stop::Deadlock);
        }
        Ok(None)
    }

    fn deadlocks(&self, terms: EntryTerms) -> bool {
        // A guard that can move to another thread may be released there. Therefore such a guard is
        // no deadlock, whichever thread asks.
        let mode = if terms.joins() {
            Mode::Shared
        } else {
            Mode::Exclusive
        };
        self.held_by_this_thread(mode)
    }

    /// Becomes one more shared holder, if that is possible.
    fn join(&self, lists: &mut Lists, terms: EntryTerms) -> Option<Joined> {
        if !terms.joins() || self.word.load(Ordering::Relaxed) & SHARED == 0 {
            return None;
        }
        // A thread's second shared lock must not queue behind a request that waits for the thread's
        // first one.
        let me = thread_number();
        let has_one = lists.sharers.iter().any(|other| other.thread == me);
        if !has_one && !lists.queue.is_empty() {
            return None;
        }
        lists.sharers.push(terms.occupant);
        self.joined(!has_one)
    }

    /// The file is always there: it is set before the first holder shares it.
    fn joined(&self, check: bool) -> Option<Joined> {
        let file = self.file()?;
        Some(Joined { file, check })
    }

    /// Ensures that the thread inside sees the queue when it leaves.
    ///
    /// If `sleeper` is the first in the queue and no thread is inside by now, `sleeper` enters; the
    /// result then tells whether the kernel's lock was kept. If it is the first and a thread is
    /// inside, its state becomes `first_state`.
    fn enter_or_announce(
        &self,
        lists: &mut Lists,
        sleeper: &Arc<Sleeper>,
        first_state: u32,
    ) -> Option<bool> {
        let is_first = lists
            .queue
            .front()
            .is_some_and(|first| Arc::ptr_eq(first, sleeper));
        if !is_first {
            return None; // QUEUED is set already
        }
        sleeper.state.store(first_state, Ordering::Release);
        let mut bits = QUEUED;
        if first_state == TRY {
            bits |= AWAKE;
        }
        if sleeper.terms.mode == Mode::Shared {
            bits |= FIRST_SHARES;
        }
        loop {
            let word = self.word.load(Ordering::Relaxed);
            if word & OCCUPIED == 0 {
                if self.occupy(word, sleeper.terms.occupant) {
                    lists.queue.pop_front();
                    self.queue_moved(lists);
                    return Some(word & KEPT != 0);
                }
                continue;
            }
            let queued = word & !QUEUE_BITS | bits;
            let done =
                self.word
                    .compare_exchange(word, queued, Ordering::AcqRel, Ordering::Relaxed);
            if done.is_ok() {
                return None;
            }
        }
    }

    /// Updates the queue's bits after a sleeper left the queue, and lets running threads pass again
    /// for a while.
    pub(super) fn queue_moved(&self, lists: &Lists) {
        if !self.fair {
            self.passing_until.store(
                clock::nanoseconds() + PASSING_TIME.as_nanos() as u64,
                Ordering::Relaxed,
            );
        }
        self.publish_queue(lists);
    }

    fn publish_queue(&self, lists: &Lists) {
        let mut bits = 0;
        if let Some(first) = lists.queue.front() {
            bits |= QUEUED;
            if first.terms.mode == Mode::Shared {
                bits |= FIRST_SHARES;
            }
            if first.state.load(Ordering::Relaxed) == TRY {
                bits |= AWAKE;
            }
        }
        // The closure always returns a value, so this cannot fail.
        let _ = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {
                Some(word & !QUEUE_BITS | bits)
            });
    }

    /// Sleeps until the place is inside. `stopped` tells that the request has to end unless it is
    /// inside already.
    fn sleep(
        &self,
        sleeper: &Arc<Sleeper>,
        wait: &mut Wait<'_>,
        mut stopped: Option<Stop>,
    ) -> Result<Passed, Stop> {
        loop {
            if stopped.is_none() {
                stopped = wait.sleep_on_word(&sleeper.state, ASLEEP).err();
            }
            let mut spins = 0;
            while sleeper.state.load(Ordering::Acquire) == TRY
                && self.word.load(Ordering::Relaxed) & OCCUPIED != 0
                && spins < SPINS
            {
                spins += 1;
                pause();
            }
            let mut lists = self.lists();
            match sleeper.state.load(Ordering::Acquire) {
                INSIDE => return Ok(Passed::Alone(self.entered_alone(false))),
                INSIDE_KEPT => return Ok(Passed::Alone(self.entered_alone(true))),
                JOINED => {
                    if let Some(joined) = self.joined(true) {
                        return Ok(Passed::Joined(joined));
                    }
                }
                _ if stopped.is_none() => {
                    if let Some(kept) = self.enter_or_announce(&mut lists, sleeper, ASLEEP) {
                        return Ok(Passed::Alone(self.entered_alone(kept)));
                    }
                }
                _ => {}
            }
            if let Some(stop) = stopped {
                self.leave_queue(lists, sleeper);
                return Err(stop);
            }
        }
    }

    fn leave_queue(&self, mut lists: MutexGuard<'_, Lists>, sleeper: &Arc<Sleeper>) {
        lists.queue.retain(|other| !Arc::ptr_eq(other, sleeper));
        self.publish_queue(&lists);
        // The wake-up that this place got, or the shared requests behind it, now concern the next
        // one.
        if self.word.load(Ordering::Acquire) & SHARED != 0 {
            self.admit(lists);
        } else {
            let wake = self.wake_first(&lists);
            drop(lists);
            wake.send();
        }
    }

    /// Tells the first sleeper to try, if the gate is open.
    pub(super) fn wake_first(&self, lists: &Lists) -> Wake {
        if self.word.load(Ordering::Acquire) & OCCUPIED != 0 {
            return Wake(None); // the thread inside does it when it leaves
        }
        let Some(first) = lists.queue.front() else {
            return Wake(None);
        };
        if first.state.load(Ordering::Relaxed) != ASLEEP {
            return Wake(None);
        }
        first.state.store(TRY, Ordering::Release);
        self.publish_queue(lists);
        Wake(Some(first.clone()))
    }

    /// Called after a request at the gate has ended. If the kernel's lock was kept for that request
    /// and no other thread is there to take the lock, gives the lock back.
    fn release_kept_lock(&self, unlock: impl FnOnce(&LockFile)) {
        if self.word.load(Ordering::Acquire) != KEPT || !self.occupy(KEPT, Occupant::ANY) {
            return;
        }
        if let Some(file) = self.file() {
            unlock(&file);
        }
        self.open();
    }
}

fn pause() {
    for _ in 0..4 {
        spin_loop();
    }
}
