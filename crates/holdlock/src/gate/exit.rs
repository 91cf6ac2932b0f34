//! Leaving the gate, and sharing it.

use super::queue::{ASLEEP, INSIDE, INSIDE_KEPT, JOINED, Lists, Wake};
use super::{ALONE, AWAKE, Gate, KEPT, Occupant, QUEUE_BITS, QUEUED, SHARED};
use crate::Mode;
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering;
use crate::sys::{clock, futex};

impl Gate {
    /// An exclusive holder leaves. `unlock` gives the kernel's lock back, unless the lock is kept
    /// for the next thread. `before_keeping` runs if the lock may be kept.
    #[inline]
    pub(crate) fn leave_exclusive<E>(
        &self,
        before_keeping: impl FnOnce(),
        unlock: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        if self.word.load(Ordering::Relaxed) & QUEUED != 0 && self.keep_for_next(before_keeping) {
            return Ok(());
        }
        let result = unlock();
        self.open();
        result
    }

    /// Keeps the kernel's lock for the next thread. False if the kernel's lock has to be given
    /// back.
    fn keep_for_next(&self, before_keeping: impl FnOnce()) -> bool {
        let now = clock::nanoseconds();
        if self.fair || !self.handover.may_keep(now) {
            return false;
        }
        before_keeping();
        let occupant = self.alone.load(Ordering::Relaxed);
        self.alone.store(0, Ordering::Relaxed);
        if now < self.passing_until.load(Ordering::Relaxed) {
            // The first sleeper is about to try. The gate opens for it and for running threads
            // alike.
            let word = self.word.load(Ordering::Relaxed);
            if word & QUEUE_BITS == QUEUED | AWAKE {
                let open = word & !ALONE | KEPT;
                let left =
                    self.word
                        .compare_exchange(word, open, Ordering::Release, Ordering::Relaxed);
                if left.is_ok() {
                    return true;
                }
            }
        }
        let mut lists = self.lists();
        let exclusive = |lists: &Lists| {
            lists
                .queue
                .front()
                .is_some_and(|first| first.terms.mode == Mode::Exclusive)
        };
        if !exclusive(&lists) {
            self.alone.store(occupant, Ordering::Relaxed);
            return false;
        }
        let wake = self.leave_to_next(&mut lists, true);
        drop(lists);
        wake.send();
        true
    }

    /// A shared holder leaves. The last one gives the kernel's lock back by `unlock`.
    pub(crate) fn leave_shared<E>(
        &self,
        occupant: Occupant,
        unlock: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut lists = self.lists();
        if let Some(mine) = lists.sharers.iter().position(|other| *other == occupant) {
            lists.sharers.swap_remove(mine);
        }
        if !lists.sharers.is_empty() {
            return Ok(());
        }
        self.replace_bit(SHARED, ALONE);
        self.alone.store(occupant.thread, Ordering::Relaxed);
        drop(lists);
        let result = unlock();
        self.open();
        result
    }

    /// The thread that was alone inside leaves, and has given the kernel's lock back.
    #[inline]
    pub(crate) fn open(&self) {
        self.rest();
        self.alone.store(0, Ordering::Relaxed);
        let left = self
            .word
            .compare_exchange(ALONE, 0, Ordering::Release, Ordering::Relaxed);
        if left.is_err() {
            let mut lists = self.lists();
            let wake = self.leave_to_next(&mut lists, false);
            drop(lists);
            wake.send();
        }
    }

    /// The thread that is alone inside leaves: hands the gate to the first sleeper, or opens the
    /// gate and tells the first sleeper to try.
    fn leave_to_next(&self, lists: &mut Lists, kept: bool) -> Wake {
        let passing = clock::nanoseconds() < self.passing_until.load(Ordering::Relaxed);
        if !passing && let Some(first) = lists.queue.pop_front() {
            // ALONE stays set: from now on it stands for the sleeper.
            self.alone
                .store(first.terms.occupant.thread, Ordering::Relaxed);
            let inside = if kept { INSIDE_KEPT } else { INSIDE };
            let before = first.state.swap(inside, Ordering::AcqRel);
            self.queue_moved(lists);
            return Wake((before == ASLEEP).then_some(first));
        }
        let open = if kept { KEPT } else { 0 };
        self.replace_bit(ALONE, open);
        self.wake_first(lists)
    }

    /// The thread that is alone inside has the kernel's shared lock: lets the other shared requests
    /// at the front of the queue in.
    pub(crate) fn share(&self, occupant: Occupant) {
        let mut lists = self.lists();
        lists.sharers.clear();
        lists.sharers.push(occupant);
        self.alone.store(0, Ordering::Relaxed);
        self.replace_bit(ALONE, SHARED);
        self.admit(lists);
    }

    /// Lets the shared requests at the front of the queue join the shared holders.
    pub(super) fn admit(&self, mut lists: MutexGuard<'_, Lists>) {
        let mut joined = Vec::new();
        while lists.queue.front().is_some_and(|first| first.terms.joins())
            && let Some(first) = lists.queue.pop_front()
        {
            lists.sharers.push(first.terms.occupant);
            first.state.store(JOINED, Ordering::Release);
            joined.push(first);
        }
        if !joined.is_empty() {
            self.queue_moved(&lists);
        }
        drop(lists);
        for sleeper in joined {
            futex::wake(&sleeper.state);
        }
    }

    /// Makes a single shared holder the thread that is alone inside. False if there are other
    /// shared holders.
    pub(crate) fn unshare(&self, occupant: Occupant) -> bool {
        let lists = self.lists();
        if lists.sharers.len() != 1 {
            return false;
        }
        self.replace_bit(SHARED, ALONE);
        self.alone.store(occupant.thread, Ordering::Relaxed);
        drop(lists);
        true
    }

    fn replace_bit(&self, from: u32, to: u32) {
        let _ = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {
                Some(word & !from | to)
            });
    }
}
