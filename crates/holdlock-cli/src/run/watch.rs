//! A thread beside a wait: it looks for an ancestor that waits for us, and reports progress.
//!
//! The thread starts only when a wait has begun, so a free lock does not pay for it. It looks at
//! once for an ancestor among the holders, which needs only the fdinfo of the ancestors. The
//! library's own watcher finds the other cycles; this thread warns of cycles that are not certain.
//! The holders are in /proc/locks, and each reading delays all lock calls of the host for a moment.
//! Therefore the thread reads it only shortly before it shows the holders, and then less and less
//! often.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use holdlock::inspect;
use holdlock::{CancelToken, Mode};

use super::deadlock::{Ancestor, cycle_of, inherited, warning};
use super::progress::{Display, Seen};
use crate::sys::signals;

/// The number of early looks: a thread that the library has just started has no name yet, and
/// counts as a thread of the program.
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
    pub(super) path: PathBuf,
    /// What the user calls the lock.
    pub(super) name: OsString,
    pub(super) what: What,
    /// Ends the wait.
    pub(super) token: CancelToken,
}

/// What is waited for.
#[derive(Clone, Copy)]
pub(super) enum What {
    Lock(Mode),
    Slot { of: u32 },
}

impl Watch {
    /// Begins to watch. If no thread can be started, the wait continues without it.
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
        // Signals are for the thread that now waits and later supervises the command.
        let _ = signals::without_any(|| thread.spawn(move || watch(&theirs)));
        Watch(shared)
    }

    /// The request now waits for another lock of its set.
    pub(super) fn turn_to(&self, subject: Subject) {
        let mut state = self.0.lock();
        state.display.turn_to(&subject.name);
        state.subject = subject;
        state.turns += 1;
        self.0.over.notify_all();
    }

    /// Ends the watch. After this the thread reports nothing. The caller does not wait for it,
    /// because it may be in the middle of a reading.
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
    // The thread releases no lock.
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

/// Watches until the wait is over, or until the request waits for another lock.
fn watch_one(subject: &Subject, turns: u64, shared: &Shared) {
    let us = std::process::id();
    for _ in 0..FIRST_LOOKS {
        if let Some(holder) = inherited(us, &subject.path, subject.what) {
            return shared.give_up(turns, Ancestor(holder));
        }
        thread::sleep(BETWEEN_FIRST_LOOKS);
    }
    let mut seen = None;
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
            // The first line names the holder, so it comes after the first look.
            let next = seen.as_ref().and_then(|seen| state.display.show(seen, now));
            let until = next.map_or(look_at, |next| look_at.min(next));
            let limit = until.saturating_duration_since(now);
            state = shared
                .over
                .wait_timeout(state, limit.max(Duration::from_millis(1)))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let shows = state.display.shows_holders(Instant::now());
        drop(state);

        // At the first look the ancestor may not have been asleep yet. And a lock that we hold now
        // may be the lock for which we waited.
        let holder = inherited(us, &subject.path, subject.what);
        if let Some(holder) = holder.filter(|holder| *holder != us) {
            return shared.give_up(turns, Ancestor(holder));
        }
        let found = shows.then(|| inspect::file(&subject.path));
        if let Some(Ok(snapshot)) = found {
            seen = Some(Seen::of(&snapshot, us));
        }
        // A holder that cannot be looked for is not a reason to show nothing.
        seen.get_or_insert_default();
        // The library comes first: it ends the wait if the cycle is certain.
        if !warned
            && pause > SECOND_LOOK
            && let Some(cycle) = cycle_of(us)
        {
            warned = true;
            let mut state = shared.lock();
            if !state.over {
                state.display.warn(&warning(&cycle, &subject.path));
            }
        }
        look_at = Instant::now() + pause;
        pause = (pause * 2).min(RAREST_LOOKS);
    }
}
