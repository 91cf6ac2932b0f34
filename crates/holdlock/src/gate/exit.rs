//! Leaving the gate, and sharing it.

use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use super::queue::{ASLEEP, INSIDE, INSIDE_KEPT, JOINED, Line, Wake};
use super::{ALONE, AWAKE, Gate, KEPT, Occupant, QUEUE_BITS, QUEUED, SHARED};
use crate::Mode;
use crate::sys::{clock, futex};

impl Gate {
    /// An exclusive holder leaves. `unlock` gives the kernel's lock back, unless
    /// it is kept for the next thread.
    #[inline]
    pub(crate) fn leave_exclusive<E>(
        &self,
        unlock: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        if self.word.load(Ordering::Relaxed) & QUEUED != 0 && self.keep() {
            return Ok(());
        }
        let result = unlock();
        self.open();
        result
    }

    /// Leaves the kernel's lock to the next thread. False when it must go back.
    fn keep(&self) -> bool {
        let now = clock::nanoseconds();
        if self.fair || !self.handover.may_keep(now) {
            return false;
        }
        let owner = self.alone.load(Ordering::Relaxed);
        self.alone.store(0, Ordering::Relaxed);
        if now < self.passing_until.load(Ordering::Relaxed) {
            // The first sleeper is on its way: whoever is quicker may have it.
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
        let mut line = self.line();
        let exclusive = |line: &Line| {
            line.queue
                .front()
                .is_some_and(|first| first.entry.mode == Mode::Exclusive)
        };
        if !exclusive(&line) {
            self.alone.store(owner, Ordering::Relaxed);
            return false;
        }
        let wake = self.open_to(&mut line, true);
        drop(line);
        wake.go();
        true
    }

    /// A shared holder leaves; the last one gives the kernel's lock back by `unlock`.
    pub(crate) fn leave_shared<E>(
        &self,
        owner: Occupant,
        unlock: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut line = self.line();
        if let Some(mine) = line.sharers.iter().position(|other| *other == owner) {
            line.sharers.swap_remove(mine);
        }
        if !line.sharers.is_empty() {
            return Ok(());
        }
        self.swap_inside(SHARED, ALONE);
        self.alone.store(owner.thread, Ordering::Relaxed);
        drop(line);
        let result = unlock();
        self.open();
        result
    }

    /// Who was alone inside is out, and the kernel's lock with it.
    #[inline]
    pub(crate) fn open(&self) {
        self.alone.store(0, Ordering::Relaxed);
        let left = self
            .word
            .compare_exchange(ALONE, 0, Ordering::Release, Ordering::Relaxed);
        if left.is_err() {
            let mut line = self.line();
            let wake = self.open_to(&mut line, false);
            drop(line);
            wake.go();
        }
    }

    /// Who is alone inside leaves: the first sleeper gets the gate, or is told to try.
    fn open_to(&self, line: &mut Line, kept: bool) -> Wake {
        let passing = clock::nanoseconds() < self.passing_until.load(Ordering::Relaxed);
        if !passing && let Some(first) = line.queue.pop_front() {
            // ALONE stays set: it is the sleeper's now.
            self.alone
                .store(first.entry.owner.thread, Ordering::Relaxed);
            let inside = if kept { INSIDE_KEPT } else { INSIDE };
            let before = first.word.swap(inside, Ordering::AcqRel);
            self.queue_moved(line);
            return Wake((before == ASLEEP).then_some(first));
        }
        let open = if kept { KEPT } else { 0 };
        self.swap_inside(ALONE, open);
        self.call_first(line)
    }

    /// Who is alone inside and has the kernel's shared lock lets the other
    /// shared requests at the head of the queue in as well.
    pub(crate) fn share(&self, owner: Occupant) {
        let mut line = self.line();
        line.sharers.clear();
        line.sharers.push(owner);
        self.alone.store(0, Ordering::Relaxed);
        self.swap_inside(ALONE, SHARED);
        self.admit(line);
    }

    /// Lets the shared requests at the head of the queue in, beside those inside.
    pub(super) fn admit(&self, mut line: MutexGuard<'_, Line>) {
        let mut joined = Vec::new();
        while line.queue.front().is_some_and(|first| first.entry.joins())
            && let Some(first) = line.queue.pop_front()
        {
            line.sharers.push(first.entry.owner);
            first.word.store(JOINED, Ordering::Release);
            joined.push(first);
        }
        if !joined.is_empty() {
            self.queue_moved(&line);
        }
        drop(line);
        for sleeper in joined {
            futex::wake(&sleeper.word);
        }
    }

    /// A single shared holder becomes alone inside. False when there are others.
    pub(crate) fn unshare(&self, owner: Occupant) -> bool {
        let line = self.line();
        if line.sharers.len() != 1 {
            return false;
        }
        self.swap_inside(SHARED, ALONE);
        self.alone.store(owner.thread, Ordering::Relaxed);
        drop(line);
        true
    }

    fn swap_inside(&self, from: u32, to: u32) {
        let _ = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {
                Some(word & !from | to)
            });
    }
}
