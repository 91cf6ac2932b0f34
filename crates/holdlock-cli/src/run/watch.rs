//! What happens beside a wait: a look whether we wait for an ancestor, and word of the
//! wait to whoever sits in front of it.
//!
//! A thread does it, started only when a wait has begun, so that a free lock costs
//! nothing of it. To see an ancestor among the holders takes their fdinfo only, and
//! is done at once. (Other cycles are the library's business; those of which it is not certain
//! are told as a warning.) Who holds the lock is in /proc/locks, which holds up everybody's lock calls on the host for a moment: it is read
//! only where it will be shown, shortly before that, and then ever more rarely.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use holdlock::inspect::{self, Deadlock, Kind, Place};
use holdlock::{CancelToken, FileLock, Mode};

use super::progress::{Display, Seen};
use crate::sys::signals;

/// A thread of the library's that has just been started has no name yet, and might be anybody's.
const FIRST_LOOKS: u32 = 3;
const BETWEEN_FIRST_LOOKS: Duration = Duration::from_millis(5);
const FIRST_LOOK: Duration = Duration::from_millis(300);
const SECOND_LOOK: Duration = Duration::from_secs(1);
const RAREST_LOOKS: Duration = Duration::from_secs(10);

/// The process that holds the lock and waits for our end; or ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ancestor(u32);

/// A watched wait.
pub(super) struct Watch(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    over: Condvar,
}

struct State {
    over: bool,
    deadlock: Option<Ancestor>,
    display: Display,
}

/// Whose wait, for what.
pub(super) struct Subject {
    pub(super) lock: Arc<FileLock>,
    pub(super) mode: Mode,
    pub(super) began: Instant,
    /// Ends the wait.
    pub(super) token: CancelToken,
}

impl Watch {
    /// Begins to watch. Without a thread to be had, the wait is a blind one.
    pub(super) fn start(subject: Subject, display: Display) -> Watch {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                over: false,
                deadlock: None,
                display,
            }),
            over: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        // By this name the library knows that it is no thread which could release anything.
        let thread = thread::Builder::new()
            .name("holdlock-show".to_owned())
            .stack_size(256 * 1024);
        // Signals are for the thread that waits now and supervises the command then.
        let _ = signals::without_any(|| thread.spawn(move || watch(&subject, &theirs)));
        Watch(shared)
    }

    /// The wait is over. Nothing will be said any more when this returns; the
    /// thread itself, which may be in the middle of reading, is not waited for.
    pub(super) fn end(self, acquired: bool) -> Option<Ancestor> {
        let mut state = self.0.lock();
        state.over = true;
        state.display.end(acquired);
        self.0.over.notify_all();
        state.deadlock.take()
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_up(&self, subject: &Subject, why: Ancestor) {
        self.lock().deadlock = Some(why);
        subject.token.cancel();
    }
}

fn watch(subject: &Subject, shared: &Shared) {
    let us = std::process::id();
    for _ in 0..FIRST_LOOKS {
        if let Some(holder) = inherited(us, subject) {
            return shared.give_up(subject, Ancestor(holder));
        }
        thread::sleep(BETWEEN_FIRST_LOOKS);
    }
    let mut seen = Seen::default();
    let mut pause = SECOND_LOOK;
    let mut warned = false;
    let mut look_at = subject.began.max(Instant::now()) + FIRST_LOOK;
    loop {
        let mut state = shared.lock();
        loop {
            let now = Instant::now();
            if state.over {
                return;
            }
            if now >= look_at {
                break;
            }
            let until = match state.display.show(&seen, now) {
                Some(next) => look_at.min(next),
                None => look_at,
            };
            let limit = until.saturating_duration_since(now);
            state = shared
                .over
                .wait_timeout(state, limit.max(Duration::from_millis(1)))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let shows = state.display.shows_holders(Instant::now());
        drop(state);

        // It may not have been asleep in its wait yet when we looked first.
        // What we have ourselves by now may be the very lock we waited for.
        let holder = inherited(us, subject);
        if let Some(holder) = holder.filter(|holder| *holder != us) {
            return shared.give_up(subject, Ancestor(holder));
        }
        if shows && let Ok(snapshot) = inspect::file(subject.lock.path()) {
            seen = Seen::of(&snapshot, us);
        }
        // The library comes first: it ends the wait where it is certain.
        if !warned
            && pause > SECOND_LOOK
            && let Some(cycle) = cycle_of(us)
        {
            warned = true;
            let mut state = shared.lock();
            if !state.over {
                state.display.warn(&warning(&cycle, subject));
            }
        }
        look_at = Instant::now() + pause;
        pause = (pause * 2).min(RAREST_LOOKS);
    }
}

/// The ancestor that keeps us out and certainly waits for us. Or ourselves: what became us may
/// have had the lock and left it open.
fn inherited(us: u32, subject: &Subject) -> Option<u32> {
    if !inspect::is_proc_ours() {
        return None;
    }
    // The file may have been replaced meanwhile, and the ancestors asleep by now.
    let place = Place::of(subject.lock.path()).ok()?;
    inspect::kept_by_bound(us, place, Kind::Flock, subject.mode)
}

/// A cycle which our wait is part of, certain or not.
fn cycle_of(us: u32) -> Option<Deadlock> {
    if !inspect::is_proc_ours() {
        return None;
    }
    let mut family = inspect::waiting_ancestors(us);
    family.push(us);
    let holds = |pid: &u32| inspect::locks_of(*pid).is_ok_and(|locks| !locks.is_empty());
    if !family.iter().any(holds) {
        return None;
    }
    let cycles = inspect::host().ok()?.deadlocks();
    let waits = |cycle: &Deadlock| cycle.steps.iter().any(|step| step.waiter.pid == us);
    cycles.into_iter().find(waits)
}

fn warning(cycle: &Deadlock, subject: &Subject) -> String {
    let path = subject.lock.path().display();
    let what = if cycle.certain {
        "this wait is part of a deadlock and can only end by its time limit"
    } else {
        "this wait may be a deadlock"
    };
    format!("warning: {path}: {what}: {cycle}; still waiting")
}

/// What the user is told about a wait that could never have ended.
pub(super) fn message(Ancestor(pid): Ancestor, lock: &FileLock) -> String {
    let holders = lock.holders().unwrap_or_default();
    let found = holders.iter().find(|holder| holder.pid == pid);
    let name = found.map_or_else(|| format!("pid {pid}"), ToString::to_string);
    let what = if pid == std::process::id() {
        "this very process has inherited the lock from what started it".to_owned()
    } else {
        format!("the lock is held by {name}, which is waiting for this very command to end")
    };
    let path = lock.path().display();
    format!("{path}: waiting would be a deadlock: {what}")
}
