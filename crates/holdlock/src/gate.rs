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
//!   [`PASSING`] since the last time the lock changed hands by the queue. Who
//!   holds the lock for longer than that hands it to the first sleeper directly.
//! * While exclusive requests of this process wait, the kernel's lock is *kept*
//!   from one to the next, at most [`KEEPING`] times in a row. Other processes
//!   are excluded all that time, as they must be; then they get their chance.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Mode;
use crate::open::LockFile;
use crate::sys::futex;
use crate::wait::{Stop, Wait};

/// How long running threads may pass sleeping ones.
const PASSING: Duration = Duration::from_micros(200);
/// How many times in a row the kernel's lock may be kept for the next thread.
const KEEPING: u32 = 64;
/// A check of the lock file's identity is good for this long. No system call
/// that removes or renames a file is as quick, so that no holder can do it unseen.
const CHECK_LASTS: Duration = Duration::from_micros(1);

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

    /// If `self` must leave before `other` can enter, it never will.
    fn waits_for(self, other: Owner) -> bool {
        other.thread != 0 && (self.thread == other.thread || thread_number() == other.thread)
    }
}

/// A small number of this thread, never reused.
fn thread_number() -> u64 {
    use std::cell::Cell;
    use std::sync::atomic::AtomicU64;
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

/// The gate of one `FileLock` in one process.
pub(crate) struct Gate {
    state: Mutex<State>,
}

struct State {
    inside: Inside,
    /// The open lock file. Only the thread that has passed the gate replaces it.
    file: Option<Arc<LockFile>>,
    /// Nobody is inside, yet the kernel's exclusive lock is still held, for a
    /// thread that was woken and is on its way.
    kept: bool,
    /// Times the kernel's lock was kept since it was last taken.
    kept_in_row: u32,
    /// When the file's identity was last checked while kept.
    checked: Option<Instant>,
    /// When a sleeper last got in.
    queue_moved: Option<Instant>,
    queue: VecDeque<Arc<Sleeper>>,
}

enum Inside {
    Nobody,
    /// An exclusive holder, or a thread that deals with the kernel.
    One(Owner),
    Shared(Vec<Owner>),
}

/// A thread in the queue. `word` tells how it fares.
struct Sleeper {
    word: AtomicU32,
    entry: Entry,
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

/// Sleep on.
const ASLEEP: u32 = 0;
/// You are first and the gate is open: try to get in before somebody passes you.
const TRY: u32 = 1;
/// You are inside, and to deal with the kernel.
const INSIDE: u32 = 2;
/// You are inside, as one more shared holder.
const JOINED: u32 = 3;

/// How a thread passed the gate.
pub(crate) enum Passed {
    /// It is alone inside and must see to the kernel's lock.
    Alone(Alone),
    /// It is a further shared holder of a lock that is held already.
    Joined(Joined),
}

/// What a thread finds that joined others.
pub(crate) struct Joined {
    pub(crate) file: Arc<LockFile>,
    /// It has to be checked that the file is still the one at the path.
    pub(crate) check: bool,
}

/// What a thread finds that passed the gate alone.
pub(crate) struct Alone {
    pub(crate) file: Option<Arc<LockFile>>,
    /// The kernel's exclusive lock on this file was kept.
    pub(crate) kept: bool,
    /// It has to be checked that the file is still the one at the path.
    pub(crate) check: bool,
}

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
            state: Mutex::new(State {
                inside: Inside::Nobody,
                file: None,
                kept: false,
                kept_in_row: 0,
                checked: None,
                queue_moved: None,
                queue: VecDeque::new(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics; and if it did, every state is a consistent one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock file, if one is open.
    pub(crate) fn file(&self) -> Option<Arc<LockFile>> {
        self.state().file.clone()
    }

    /// Sets the file that later passers find. Only for who is alone inside.
    pub(crate) fn set_file(&self, file: Option<Arc<LockFile>>) {
        let old = std::mem::replace(&mut self.state().file, file);
        drop(old); // may close it: not under the mutex
    }

    /// Whether the calling thread is inside with a guard that cannot leave it,
    /// in a mode that excludes `mode`.
    pub(crate) fn held_by_this_thread(&self, mode: Mode) -> bool {
        let me = thread_number();
        match &self.state().inside {
            Inside::Nobody => false,
            Inside::One(owner) => owner.thread == me,
            Inside::Shared(owners) => {
                mode == Mode::Exclusive && owners.iter().any(|owner| owner.thread == me)
            }
        }
    }

    /// Waits for this process's other threads, and goes in.
    ///
    /// `unlock` gives the kernel's lock back; it is called in the rare case that
    /// the lock was kept for us and we do not want it any more.
    pub(crate) fn enter(
        &self,
        entry: Entry,
        wait: &mut Wait<'_>,
        unlock: impl FnOnce(&LockFile),
    ) -> Result<Passed, Stop> {
        let mut state = self.state();
        if let Some(passed) = state.walk_in(entry, None) {
            return Ok(passed);
        }
        if !wait.may_sleep() {
            return Err(Stop::Busy);
        }
        if state.deadlocks(entry) {
            return Err(Stop::Deadlock);
        }
        drop(state);
        // The caller's callback may run here, so outside of the mutex and before queueing.
        wait.begin()?;
        let mut state = self.state();
        if let Some(passed) = state.walk_in(entry, None) {
            return Ok(passed);
        }
        let sleeper = Arc::new(Sleeper {
            word: AtomicU32::new(ASLEEP),
            entry,
        });
        state.queue.push_back(sleeper.clone());
        drop(state);
        self.sleep(&sleeper, wait)
            .inspect_err(|_| self.tidy(unlock))
    }

    fn sleep(&self, sleeper: &Arc<Sleeper>, wait: &mut Wait<'_>) -> Result<Passed, Stop> {
        loop {
            let stopped = wait.thread(&sleeper.word, ASLEEP).err();
            let mut state = self.state();
            match sleeper.word.load(Ordering::Acquire) {
                INSIDE => return Ok(Passed::Alone(state.alone())),
                JOINED => {
                    if let Some(joined) = state.joined(true) {
                        return Ok(Passed::Joined(joined));
                    }
                }
                TRY => {
                    if let Some(passed) = state.walk_in(sleeper.entry, Some(sleeper)) {
                        return Ok(passed);
                    }
                }
                _ => {}
            }
            if let Some(stop) = stopped {
                state.queue.retain(|other| !Arc::ptr_eq(other, sleeper));
                // If we were first and told to try, the next one is first now.
                let wake = match state.inside {
                    Inside::Nobody => state.open_gate(),
                    _ => Wake(None),
                };
                drop(state);
                wake.go();
                return Err(stop);
            }
            // Somebody passed us. It will be out again soon: look for a moment before sleeping.
            drop(state);
            if self.spin(sleeper) {
                continue;
            }
            let state = self.state();
            if sleeper.word.load(Ordering::Acquire) == TRY
                && !matches!(state.inside, Inside::Nobody)
            {
                sleeper.word.store(ASLEEP, Ordering::Release);
            }
        }
    }

    /// True when it is worth trying again.
    fn spin(&self, sleeper: &Sleeper) -> bool {
        for _ in 0..40 {
            for _ in 0..8 {
                std::hint::spin_loop();
            }
            if sleeper.word.load(Ordering::Acquire) != TRY {
                return true;
            }
            if let Ok(state) = self.state.try_lock()
                && matches!(state.inside, Inside::Nobody)
            {
                return true;
            }
        }
        false
    }

    /// After a sleeper gave up: if the kernel's lock was kept for it and nobody
    /// else is there to take it, it goes back.
    fn tidy(&self, unlock: impl FnOnce(&LockFile)) {
        let mut state = self.state();
        if !(matches!(state.inside, Inside::Nobody) && state.kept && state.queue.is_empty()) {
            return;
        }
        state.inside = Inside::One(Owner::ANY);
        let file = state.file.clone();
        drop(state);
        if let Some(file) = file {
            unlock(&file);
        }
        self.open();
    }

    /// Who passed alone and has taken the kernel's shared lock lets the other
    /// shared requests at the head of the queue in as well.
    pub(crate) fn share(&self, owner: Owner) {
        let mut state = self.state();
        let mut inside = vec![owner];
        let mut joined = Vec::new();
        while state.queue.front().is_some_and(|first| first.entry.joins())
            && let Some(first) = state.queue.pop_front()
        {
            inside.push(first.entry.owner);
            first.word.store(JOINED, Ordering::Release);
            joined.push(first);
        }
        state.inside = Inside::Shared(inside);
        drop(state);
        for sleeper in joined {
            futex::wake(&sleeper.word);
        }
    }

    /// A single shared holder becomes alone inside. False when there are others.
    pub(crate) fn unshare(&self, owner: Owner) -> bool {
        let mut state = self.state();
        match &state.inside {
            Inside::Shared(owners) if owners.len() == 1 => {
                state.inside = Inside::One(owner);
                true
            }
            _ => false,
        }
    }

    /// An exclusive holder leaves. `unlock` gives the kernel's lock back, unless
    /// it is kept for the next thread.
    pub(crate) fn leave_exclusive<E>(
        &self,
        unlock: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut state = self.state();
        if state.kept_in_row < KEEPING
            && state
                .queue
                .front()
                .is_some_and(|first| first.entry.mode == Mode::Exclusive)
        {
            state.kept = true;
            let wake = state.open_gate();
            drop(state);
            wake.go();
            return Ok(());
        }
        drop(state);
        let result = unlock();
        self.open();
        result
    }

    /// A shared holder leaves; the last one gives the kernel's lock back by `unlock`.
    pub(crate) fn leave_shared<E>(
        &self,
        owner: Owner,
        unlock: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut state = self.state();
        if let Inside::Shared(owners) = &mut state.inside {
            if let Some(mine) = owners.iter().position(|other| *other == owner) {
                owners.swap_remove(mine);
            }
            if !owners.is_empty() {
                return Ok(());
            }
        }
        state.inside = Inside::One(owner);
        drop(state);
        let result = unlock();
        self.open();
        result
    }

    /// Who was alone inside is out, and the kernel's lock with it.
    pub(crate) fn open(&self) {
        let mut state = self.state();
        state.kept = false;
        state.kept_in_row = 0;
        state.checked = None;
        let wake = state.open_gate();
        drop(state);
        wake.go();
    }
}

impl State {
    /// Goes in if that is possible at once. `turn` is the first sleeper, when it tries.
    fn walk_in(&mut self, entry: Entry, turn: Option<&Arc<Sleeper>>) -> Option<Passed> {
        match &mut self.inside {
            Inside::Nobody => {
                match turn {
                    Some(sleeper) => {
                        self.queue.retain(|other| !Arc::ptr_eq(other, sleeper));
                        self.queue_moved = Some(Instant::now());
                    }
                    None if !self.queue.is_empty() && self.passing_is_over() => return None,
                    None => {}
                }
                self.inside = Inside::One(entry.owner);
                Some(Passed::Alone(self.alone()))
            }
            Inside::Shared(owners) if entry.joins() => {
                // A second share of one thread must not queue behind a request that waits for
                // the first.
                let has_one = owners.iter().any(|other| entry.owner.waits_for(*other));
                if !has_one && !self.queue.is_empty() {
                    return None;
                }
                owners.push(entry.owner);
                self.joined(!has_one).map(Passed::Joined)
            }
            _ => None,
        }
    }

    fn deadlocks(&self, entry: Entry) -> bool {
        match &self.inside {
            Inside::Nobody => false,
            Inside::One(other) => entry.owner.waits_for(*other),
            Inside::Shared(owners) => {
                !entry.joins() && owners.iter().any(|other| entry.owner.waits_for(*other))
            }
        }
    }

    /// The file is there: it is set before the first holder shares it.
    fn joined(&self, check: bool) -> Option<Joined> {
        let file = self.file.clone()?;
        Some(Joined { file, check })
    }

    fn alone(&mut self) -> Alone {
        let kept = std::mem::take(&mut self.kept);
        let mut check = true;
        if kept {
            let now = Instant::now();
            check = self
                .checked
                .is_none_or(|checked| now.duration_since(checked) >= CHECK_LASTS);
            if check {
                self.checked = Some(now);
            }
            self.kept_in_row += 1;
        }
        Alone {
            file: self.file.clone(),
            kept,
            check,
        }
    }

    fn passing_is_over(&self) -> bool {
        self.queue_moved
            .is_none_or(|moved| moved.elapsed() >= PASSING)
    }

    /// Nobody is inside any more: the first sleeper gets the gate, or is told to try.
    fn open_gate(&mut self) -> Wake {
        self.inside = Inside::Nobody;
        let Some(first) = self.queue.front() else {
            return Wake(None);
        };
        if self.passing_is_over() {
            self.queue_moved = Some(Instant::now());
            let first = self.queue.pop_front();
            if let Some(first) = &first {
                self.inside = Inside::One(first.entry.owner);
                first.word.store(INSIDE, Ordering::Release);
            }
            return Wake(first);
        }
        let asleep = first
            .word
            .compare_exchange(ASLEEP, TRY, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok();
        Wake(asleep.then(|| first.clone()))
    }
}
