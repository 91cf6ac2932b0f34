//! A thread beside a wait: it looks for an ancestor that waits for us, and reports progress.
//!
//! It is started only when a wait has begun, so that a free lock costs nothing of it. To find an
//! ancestor among the holders takes their fdinfo only, and is done at once. The library's own
//! watcher finds the other cycles; those of which it is not certain are reported here as a warning.
//! The holders are in /proc/locks, whose readers hold up all lock calls of the host for a moment:
//! it is read only shortly before the holders are shown, and then more and more rarely.

use std::ffi::OsString;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use holdlock::inspect;
use holdlock::{CancelToken, FileLock, Mode};

use super::deadlock::{Ancestor, cycle_of, inherited, warning};
use super::progress::{Display, Seen};
use crate::sys::signals;

/// A thread of the library that has just been started has no name yet, and could be another one.
const FIRST_LOOKS: u32 = 3;
const BETWEEN_FIRST_LOOKS: Duration = Duration::from_millis(5);
const FIRST_LOOK: Duration = Duration::from_millis(300);
const SECOND_LOOK: Duration = Duration::from_secs(1);
const RAREST_LOOKS: Duration = Duration::from_secs(10);

/// A watched wait.
pub(super) struct Watch(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    over: Condvar,
}

struct State {
    over: bool,
    subject: Subject,
    /// How often the subject has changed.
    turns: u64,
    deadlock: Option<Ancestor>,
    display: Display,
}

/// The wait that is watched.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) lock: FileLock,
    /// What the user calls the lock.
    pub(super) name: OsString,
    pub(super) mode: Mode,
    /// Ends the wait.
    pub(super) token: CancelToken,
}

impl Watch {
    /// Begins to watch. Where no thread can be started, the wait goes on without.
    pub(super) fn start(subject: Subject, mut display: Display) -> Watch {
        display.turn_to(&subject.name);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                over: false,
                subject,
                turns: 0,
                deadlock: None,
                display,
            }),
            over: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("holdlock-show".to_owned())
            .stack_size(256 * 1024);
        // Signals are for the thread that waits now and supervises the command then.
        let _ = signals::without_any(|| thread.spawn(move || watch(&theirs)));
        Watch(shared)
    }

    /// The request waits for another lock of its set now.
    pub(super) fn turn_to(&self, subject: Subject) {
        let mut state = self.0.lock();
        state.display.turn_to(&subject.name);
        state.subject = subject;
        state.turns += 1;
        self.0.over.notify_all();
    }

    /// The wait is over. After this the thread reports nothing; it may be in the middle of reading,
    /// and is not waited for.
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

    /// Ends the wait, if it is still the same one.
    fn give_up(&self, turns: u64, why: Ancestor) {
        let mut state = self.lock();
        if state.turns == turns && !state.over {
            state.over = true;
            state.deadlock = Some(why);
            state.subject.token.cancel();
        }
    }
}

fn watch(shared: &Shared) {
    // It releases no lock.
    let _helper = inspect::helper_thread();
    loop {
        let state = shared.lock();
        if state.over {
            return;
        }
        let (subject, turns) = (state.subject.clone(), state.turns);
        drop(state);
        watch_one(&subject, turns, shared);
    }
}

/// Watches until the wait is over, or has become one for another lock.
fn watch_one(subject: &Subject, turns: u64, shared: &Shared) {
    let us = std::process::id();
    for _ in 0..FIRST_LOOKS {
        if let Some(holder) = inherited(us, &subject.lock, subject.mode) {
            return shared.give_up(turns, Ancestor(holder));
        }
        thread::sleep(BETWEEN_FIRST_LOOKS);
    }
    let mut seen = Seen::default();
    let mut pause = SECOND_LOOK;
    let mut warned = false;
    let mut look_at = Instant::now() + FIRST_LOOK;
    loop {
        let mut state = shared.lock();
        loop {
            let now = Instant::now();
            if state.over || state.turns != turns {
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

        // At the first look it may not have been asleep in its wait yet. And what we hold ourselves
        // by now may be the very lock that we waited for.
        let holder = inherited(us, &subject.lock, subject.mode);
        if let Some(holder) = holder.filter(|holder| *holder != us) {
            return shared.give_up(turns, Ancestor(holder));
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
                state.display.warn(&warning(&cycle, &subject.lock));
            }
        }
        look_at = Instant::now() + pause;
        pause = (pause * 2).min(RAREST_LOOKS);
    }
}
