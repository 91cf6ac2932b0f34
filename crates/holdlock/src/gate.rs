//! Threads of this process: the queue in front of the kernel's.
//!
//! All threads that use one [`FileLock`](crate::FileLock) share one open file
//! description, and the kernel does not tell them apart: it would let them all
//! in. So a thread first passes this gate, and only the thread that has passed
//! deals with the kernel.
//!
//! * Sleepers are served first come, first served.
//! * A *running* thread may pass them, as in every fast mutex, because waking a
//!   sleeper takes longer than most critical sections; but for at most
//!   [`PASSING`] since a sleeper last got in. Who holds the lock for longer than
//!   that hands it to the first sleeper directly.
//! * While exclusive requests of this process wait, the kernel's lock is *kept*
//!   from one to the next: [`KEEPING`] times in a row, or for [`KEEPING_TIME`],
//!   whichever is longer. Other processes are excluded all that time, as they
//!   must be; then they get their chance.

//!
//! # The word
//!
//! | bit | meaning | changed by |
//! |---|---|---|
//! | ALONE | one thread is inside: an exclusive holder, or one that deals with the kernel | set by who enters; cleared by who leaves |
//! | SHARED | the shared holders of `Line::sharers` are inside | under the mutex |
//! | KEPT | nobody is inside, but the kernel's exclusive lock is held | with ALONE |
//! | QUEUED | `Line::queue` is not empty | under the mutex |
//! | AWAKE | the first sleeper was told to try and is on its way | under the mutex |
//! | FIRST_SHARES | the first sleeper asks for a shared lock | under the mutex |
//!
//! While ALONE or SHARED is set the word changes only under the mutex or by who
//! is inside. Nobody can fall asleep unseen: a sleeper sets QUEUED in the very
//! operation that sees ALONE or SHARED still set, and who leaves without the
//! mutex does so by a compare-and-swap from a word without QUEUED, or with AWAKE.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::Mode;
use crate::open::LockFile;
use crate::sys::{clock, futex};
use crate::wait::{Stop, Wait};

/// How long running threads may pass sleeping ones.
const PASSING: Duration = Duration::from_micros(200);
/// How many times in a row the kernel's lock may be kept for the next thread.
const KEEPING: u32 = 64;
/// How long it may be kept without counting.
const KEEPING_TIME: Duration = Duration::from_micros(50);
/// Who was inside for no longer than this many nanoseconds cannot have removed or
/// renamed the lock file: it is how long an fstat(2) takes here, and a call that
/// also walks a path and changes a directory takes longer (measured, three times
/// as long at the least). After longer stays the file's identity is checked, also
/// when the kernel's lock is kept. 0 until it is measured.
static HARMLESS: AtomicU64 = AtomicU64::new(0);
/// How often a thread looks whether the gate is open before it sleeps.
const SPINS: u32 = 60;

const ALONE: u32 = 1;
const SHARED: u32 = 1 << 1;
const KEPT: u32 = 1 << 2;
const QUEUED: u32 = 1 << 3;
const AWAKE: u32 = 1 << 4;
const FIRST_SHARES: u32 = 1 << 5;
const OCCUPIED: u32 = ALONE | SHARED;
const QUEUE_BITS: u32 = QUEUED | AWAKE | FIRST_SHARES;

/// Who is inside, as far as a deadlock can be told from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The thread, for guards that cannot leave it. 0 for those that can.
    thread: u64,
}

impl Owner {
    /// The calling thread, with a guard that stays in it.
    pub(crate) fn this_thread() -> Owner {
        Owner {
            thread: thread_number(),
        }
    }

    /// Whoever has the guard.
    pub(crate) const ANY: Owner = Owner { thread: 0 };
}

/// A small number of this thread, never 0 and never reused.
fn thread_number() -> u64 {
    use std::cell::Cell;
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static NUMBER: Cell<u64> = const { Cell::new(0) };
    }
    NUMBER.with(|number| {
        if number.get() == 0 {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}

/// How a thread wants to go in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) mode: Mode,
    pub(crate) owner: Owner,
    /// Whether it may join other shared holders, or must be alone first.
    pub(crate) join: bool,
}

impl Entry {
    fn joins(self) -> bool {
        self.join && self.mode == Mode::Shared
    }
}

/// How a thread passed the gate.
pub(crate) enum Passed {
    /// It is alone inside and must see to the kernel's lock.
    Alone(Alone),
    /// It is a further shared holder of a lock that is held already.
    Joined(Joined),
}

/// What a thread finds that passed the gate alone.
pub(crate) struct Alone {
    pub(crate) file: Option<Arc<LockFile>>,
    /// The kernel's exclusive lock on this file was kept.
    pub(crate) kept: bool,
    /// It has to be checked that the file is still the one at the path.
    pub(crate) check: bool,
}

/// What a thread finds that joined others.
pub(crate) struct Joined {
    pub(crate) file: Arc<LockFile>,
    /// It has to be checked that the file is still the one at the path.
    pub(crate) check: bool,
}

/// The gate of one `FileLock` in one process.
pub(crate) struct Gate {
    word: AtomicU32,
    /// The thread that is alone inside, 0 when there is none or it is not known.
    alone: AtomicU64,
    /// Until when running threads may pass sleeping ones, in nanoseconds.
    passing_until: AtomicU64,
    /// The open lock file. Only who is alone inside replaces it.
    file: Mutex<Option<Arc<LockFile>>>,
    estate: Estate,
    line: Mutex<Line>,
}

/// What those who are inside leave to the next. Touched by who is alone inside
/// only, so `word` orders the accesses.
#[derive(Default)]
struct Estate {
    /// Times the kernel's lock was kept since it was last taken.
    kept_in_row: AtomicU32,
    /// When the kernel's lock was last taken, in nanoseconds; 0 if not known.
    taken: AtomicU64,
    /// Since when the thread inside may have done something to the file: when the
    /// last one left, in nanoseconds; 0 if not known.
    since: AtomicU64,
    /// The last holder stayed long enough to have removed the file.
    check: AtomicBool,
}

#[derive(Default)]
struct Line {
    queue: VecDeque<Arc<Sleeper>>,
    sharers: Vec<Owner>,
}

/// A thread in the queue. `word` tells how it fares; it changes under the mutex.
struct Sleeper {
    word: AtomicU32,
    entry: Entry,
}

/// Sleep on.
const ASLEEP: u32 = 0;
/// You are first: go in when the gate is open.
const TRY: u32 = 1;
/// You are inside, alone.
const INSIDE: u32 = 2;
/// You are inside, alone, and the kernel's lock was kept for you.
const INSIDE_KEPT: u32 = 3;
/// You are inside, as one more shared holder.
const JOINED: u32 = 4;

/// A wake-up, made after the mutex is free so that the woken need not wait for it.
#[must_use]
struct Wake(Option<Arc<Sleeper>>);

impl Wake {
    fn go(self) {
        if let Some(sleeper) = self.0 {
            futex::wake(&sleeper.word);
        }
    }
}

impl Gate {
    pub(crate) fn new() -> Gate {
        Gate {
            word: AtomicU32::new(0),
            alone: AtomicU64::new(0),
            passing_until: AtomicU64::new(0),
            file: Mutex::default(),
            estate: Estate::default(),
            line: Mutex::default(),
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // Nothing in here panics; and if it did, every state is a consistent one.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock file, if one is open.
    pub(crate) fn file(&self) -> Option<Arc<LockFile>> {
        self.file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sets the file that later passers find. Only for who is alone inside.
    pub(crate) fn set_file(&self, file: Option<Arc<LockFile>>) {
        let mut place = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *place, file);
        drop(place);
        drop(old); // may close it: not under the mutex
    }

    /// Whether the calling thread is inside with a guard that cannot leave it,
    /// in a mode that excludes `mode`.
    pub(crate) fn held_by_this_thread(&self, mode: Mode) -> bool {
        let me = thread_number();
        let word = self.word.load(Ordering::Acquire);
        if word & ALONE != 0 {
            return self.alone.load(Ordering::Relaxed) == me;
        }
        word & SHARED != 0
            && mode == Mode::Exclusive
            && self.line().sharers.iter().any(|owner| owner.thread == me)
    }

    /// Waits for this process's other threads, and goes in.
    ///
    /// `unlock` gives the kernel's lock back; it is called in the rare case that
    /// the lock was kept for us and we do not want it any more.
    #[inline]
    pub(crate) fn enter(
        &self,
        entry: Entry,
        wait: &mut Wait<'_>,
        unlock: impl FnOnce(&LockFile),
    ) -> Result<Passed, Stop> {
        match self.walk_in(entry.owner) {
            Some(alone) => Ok(Passed::Alone(alone)),
            None => self.enter_slowly(entry, wait, unlock),
        }
    }

    /// Goes in alone, if nobody is inside. Where sleepers are queued the gate is
    /// open only as long as they may be passed.
    #[inline]
    fn walk_in(&self, owner: Owner) -> Option<Alone> {
        let word = self.word.load(Ordering::Relaxed);
        (word & OCCUPIED == 0 && self.occupy(word, owner)).then(|| self.inherit(word & KEPT != 0))
    }

    /// Sets ALONE in an open gate, whose word is `word`.
    #[inline]
    fn occupy(&self, word: u32, owner: Owner) -> bool {
        let inside = (word | ALONE) & !KEPT;
        let done = self
            .word
            .compare_exchange(word, inside, Ordering::Acquire, Ordering::Relaxed);
        if done.is_ok() {
            self.alone.store(owner.thread, Ordering::Relaxed);
        }
        done.is_ok()
    }

    /// What who has just become alone inside finds.
    #[inline]
    fn inherit(&self, kept: bool) -> Alone {
        let estate = &self.estate;
        let mut check = true;
        if kept {
            check = estate.check.load(Ordering::Relaxed);
            let kept_in_row = estate.kept_in_row.load(Ordering::Relaxed);
            estate.kept_in_row.store(kept_in_row + 1, Ordering::Relaxed);
        } else {
            estate.kept_in_row.store(0, Ordering::Relaxed);
        }
        Alone {
            file: self.file(),
            kept,
            check,
        }
    }

    /// Who is alone inside has taken the kernel's lock, and checked the file.
    #[inline]
    pub(crate) fn taken(&self) {
        // The time is of use only if somebody waits to whom the lock may be passed.
        let now = match self.word.load(Ordering::Relaxed) & QUEUED {
            0 => 0,
            _ => clock::nanoseconds(),
        };
        self.estate.taken.store(now, Ordering::Relaxed);
        self.estate.since.store(now, Ordering::Relaxed);
    }

    /// Who is inside on a kept lock has checked the file.
    pub(crate) fn checked(&self, file: &LockFile) {
        if HARMLESS.load(Ordering::Relaxed) == 0 {
            HARMLESS.store(file.quickest_call(), Ordering::Relaxed);
        }
        let now = clock::nanoseconds();
        self.estate.since.store(now, Ordering::Relaxed);
    }

    #[cold]
    fn enter_slowly(
        &self,
        entry: Entry,
        wait: &mut Wait<'_>,
        unlock: impl FnOnce(&LockFile),
    ) -> Result<Passed, Stop> {
        if let Some(passed) = self.join_or_refuse(entry, wait)? {
            return Ok(passed);
        }
        // The caller's callback may run here, so outside of the mutex and before queueing.
        wait.begin()?;
        let sleeper = Arc::new(Sleeper {
            word: AtomicU32::new(ASLEEP),
            entry,
        });
        let mut line = self.line();
        if let Some(joined) = self.join(&mut line, entry) {
            return Ok(Passed::Joined(joined));
        }
        line.queue.push_back(sleeper.clone());
        // Whoever is inside must know of us before it leaves: then it may keep the lock for us.
        if let Some(alone) = self.stand_in_line(&mut line, &sleeper, TRY) {
            return Ok(Passed::Alone(alone));
        }
        drop(line);
        self.sleep(&sleeper, wait)
            .inspect_err(|_| self.tidy(unlock))
    }

    /// Everything short of queueing.
    fn join_or_refuse(&self, entry: Entry, wait: &Wait<'_>) -> Result<Option<Passed>, Stop> {
        if self.word.load(Ordering::Relaxed) & SHARED != 0 {
            let mut line = self.line();
            if let Some(joined) = self.join(&mut line, entry) {
                return Ok(Some(Passed::Joined(joined)));
            }
        }
        if !wait.may_sleep() {
            return Err(Stop::Busy);
        }
        if self.deadlocks(entry) {
            return Err(Stop::Deadlock);
        }
        Ok(None)
    }

    fn deadlocks(&self, entry: Entry) -> bool {
        // A guard that can move may be released elsewhere; whoever asks, it is no deadlock.
        let mode = if entry.joins() {
            Mode::Shared
        } else {
            Mode::Exclusive
        };
        self.held_by_this_thread(mode)
    }

    /// Becomes one more shared holder, if that is possible.
    fn join(&self, line: &mut Line, entry: Entry) -> Option<Joined> {
        if !entry.joins() || self.word.load(Ordering::Relaxed) & SHARED == 0 {
            return None;
        }
        // A second share of one thread must not queue behind a request that waits for the first.
        let me = thread_number();
        let has_one = line.sharers.iter().any(|other| other.thread == me);
        if !has_one && !line.queue.is_empty() {
            return None;
        }
        line.sharers.push(entry.owner);
        self.joined(!has_one)
    }

    /// The file is there: it is set before the first holder shares it.
    fn joined(&self, check: bool) -> Option<Joined> {
        let file = self.file()?;
        Some(Joined { file, check })
    }

    /// Makes sure that whoever leaves sees to the queue. `sleeper`, if it is the
    /// first, goes in when they have left already, or else fares as `first_fares`.
    fn stand_in_line(
        &self,
        line: &mut Line,
        sleeper: &Arc<Sleeper>,
        first_fares: u32,
    ) -> Option<Alone> {
        let is_first = line
            .queue
            .front()
            .is_some_and(|first| Arc::ptr_eq(first, sleeper));
        if !is_first {
            return None; // there is a queue, and they know
        }
        sleeper.word.store(first_fares, Ordering::Release);
        let mut bits = QUEUED;
        if first_fares == TRY {
            bits |= AWAKE;
        }
        if sleeper.entry.mode == Mode::Shared {
            bits |= FIRST_SHARES;
        }
        loop {
            let word = self.word.load(Ordering::Relaxed);
            if word & OCCUPIED == 0 {
                if self.occupy(word, sleeper.entry.owner) {
                    line.queue.pop_front();
                    self.queue_moved(line);
                    return Some(self.inherit(word & KEPT != 0));
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

    /// Sets the bits that tell of the queue after somebody left it, and gives
    /// running threads their time again.
    fn queue_moved(&self, line: &Line) {
        self.passing_until.store(
            clock::nanoseconds() + PASSING.as_nanos() as u64,
            Ordering::Relaxed,
        );
        self.show_queue(line);
    }

    fn show_queue(&self, line: &Line) {
        let mut bits = 0;
        if let Some(first) = line.queue.front() {
            bits |= QUEUED;
            if first.entry.mode == Mode::Shared {
                bits |= FIRST_SHARES;
            }
            if first.word.load(Ordering::Relaxed) == TRY {
                bits |= AWAKE;
            }
        }
        // The closure always answers, so this cannot fail.
        let _ = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {
                Some(word & !QUEUE_BITS | bits)
            });
    }

    fn sleep(&self, sleeper: &Arc<Sleeper>, wait: &mut Wait<'_>) -> Result<Passed, Stop> {
        loop {
            let stopped = wait.thread(&sleeper.word, ASLEEP).err();
            let mut spins = 0;
            while sleeper.word.load(Ordering::Acquire) == TRY
                && self.word.load(Ordering::Relaxed) & OCCUPIED != 0
                && spins < SPINS
            {
                spins += 1;
                pause();
            }
            let mut line = self.line();
            match sleeper.word.load(Ordering::Acquire) {
                INSIDE => return Ok(Passed::Alone(self.inherit(false))),
                INSIDE_KEPT => return Ok(Passed::Alone(self.inherit(true))),
                JOINED => {
                    if let Some(joined) = self.joined(true) {
                        return Ok(Passed::Joined(joined));
                    }
                }
                _ if stopped.is_none() => {
                    if let Some(alone) = self.stand_in_line(&mut line, sleeper, ASLEEP) {
                        return Ok(Passed::Alone(alone));
                    }
                }
                _ => {}
            }
            if let Some(stop) = stopped {
                line.queue.retain(|other| !Arc::ptr_eq(other, sleeper));
                self.show_queue(&line);
                // What we were told, or kept others from, is now for the next one.
                if self.word.load(Ordering::Acquire) & SHARED != 0 {
                    self.admit(line);
                } else {
                    let wake = self.call_first(&line);
                    drop(line);
                    wake.go();
                }
                return Err(stop);
            }
        }
    }

    /// Tells the first sleeper to try, if the gate is open.
    fn call_first(&self, line: &Line) -> Wake {
        if self.word.load(Ordering::Acquire) & OCCUPIED != 0 {
            return Wake(None); // who is inside does it when leaving
        }
        let Some(first) = line.queue.front() else {
            return Wake(None);
        };
        if first.word.load(Ordering::Relaxed) != ASLEEP {
            return Wake(None);
        }
        first.word.store(TRY, Ordering::Release);
        self.show_queue(line);
        Wake(Some(first.clone()))
    }

    /// After a sleeper gave up: if the kernel's lock was kept for it and nobody
    /// else is there to take it, it goes back.
    fn tidy(&self, unlock: impl FnOnce(&LockFile)) {
        if self.word.load(Ordering::Acquire) != KEPT || !self.occupy(KEPT, Owner::ANY) {
            return;
        }
        if let Some(file) = self.file() {
            unlock(&file);
        }
        self.open();
    }

    /// Who is alone inside and has the kernel's shared lock lets the other
    /// shared requests at the head of the queue in as well.
    pub(crate) fn share(&self, owner: Owner) {
        let mut line = self.line();
        line.sharers.clear();
        line.sharers.push(owner);
        self.alone.store(0, Ordering::Relaxed);
        self.swap_inside(ALONE, SHARED);
        self.admit(line);
    }

    /// Lets the shared requests at the head of the queue in, beside those inside.
    fn admit(&self, mut line: MutexGuard<'_, Line>) {
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
    pub(crate) fn unshare(&self, owner: Owner) -> bool {
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
        let estate = &self.estate;
        let now = clock::nanoseconds();
        let kept_for = now - estate.taken.load(Ordering::Relaxed);
        if estate.kept_in_row.load(Ordering::Relaxed) >= KEEPING
            && kept_for >= KEEPING_TIME.as_nanos() as u64
        {
            return false;
        }
        let stay = now - estate.since.load(Ordering::Relaxed);
        estate.since.store(now, Ordering::Relaxed);
        estate
            .check
            .store(stay >= HARMLESS.load(Ordering::Relaxed), Ordering::Relaxed);
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
        owner: Owner,
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
}

fn pause() {
    for _ in 0..4 {
        std::hint::spin_loop();
    }
}
