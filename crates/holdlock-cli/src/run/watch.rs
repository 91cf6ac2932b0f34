//! What happens beside a wait: a look whether it can ever end, and word of it to
//! whoever sits in front of it.
//!
//! A thread does it, started only when a wait has begun, so that a free lock costs
//! nothing of it. To see an ancestor among the holders takes their fdinfo only,
//! and is done at once. The rest needs /proc/locks, which holds up everybody's lock
//! calls on the host for a moment: it is read 0.3 s after the wait began, then
//! after another second, and ever more rarely.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use holdlock::{CancelToken, FileLock, Mode};

use super::family;
use super::progress::{Display, Seen};
use super::ring::{self, Place, Table};
use crate::sys::signals;

const FIRST_LOOK: Duration = Duration::from_millis(300);
const SECOND_LOOK: Duration = Duration::from_secs(1);
const RAREST_LOOKS: Duration = Duration::from_secs(10);

/// Why a wait could never have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deadlock {
    /// This process, which we are running for or which we are, holds the lock.
    Ancestor(u32),
    /// These processes wait, each for the next one and the last for the first.
    Ring(Vec<u32>),
}

/// A watched wait.
pub(super) struct Watch(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    over: Condvar,
}

struct State {
    over: bool,
    deadlock: Option<Deadlock>,
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
        let thread = thread::Builder::new().stack_size(256 * 1024);
        // Signals are for the thread that waits now and supervises the command then.
        let _ = signals::without_any(|| thread.spawn(move || watch(&subject, &theirs)));
        Watch(shared)
    }

    /// The wait is over. Nothing will be said any more when this returns; the
    /// thread itself, which may be in the middle of reading, is not waited for.
    pub(super) fn end(self) -> Option<Deadlock> {
        let mut state = self.0.lock();
        state.over = true;
        state.display.clear();
        self.0.over.notify_all();
        state.deadlock.take()
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_up(&self, subject: &Subject, why: Deadlock) {
        self.lock().deadlock = Some(why);
        subject.token.cancel();
    }
}

fn watch(subject: &Subject, shared: &Shared) {
    let us = std::process::id();
    let place = Place::of(subject.lock.path());
    let line = family::ancestors(us);
    if let Some(holder) = place.and_then(|place| inherited(us, &line, place, subject.mode)) {
        return shared.give_up(subject, Deadlock::Ancestor(holder));
    }
    let mut seen = Seen::default();
    let mut pause = SECOND_LOOK;
    let mut look_at = subject.began.max(Instant::now()) + FIRST_LOOK;
    let mut suspicion = false;
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
        let named = state.display.names_holders(Instant::now());
        drop(state);

        // The file may have been replaced meanwhile.
        if let (Some(place), Ok(table)) = (Place::of(subject.lock.path()), Table::read()) {
            // It may not have been asleep in its wait yet when we looked first.
            // What we have ourselves by now may be the very lock we waited for.
            let holder = inherited(us, &line, place, subject.mode);
            if let Some(holder) = holder.filter(|holder| *holder != us) {
                return shared.give_up(subject, Deadlock::Ancestor(holder));
            }
            if let Some(ring) =
                table.ring(us, place, subject.mode, family::ancestors, family::waits)
            {
                // The one who came last gives way; the others only if it does not.
                if suspicion || is_youngest(&ring) {
                    return shared.give_up(subject, Deadlock::Ring(ring));
                }
                suspicion = true;
            }
            seen.look(&table, place, us, named.then_some(&*subject.lock));
        }
        look_at = Instant::now() + pause;
        pause = (pause * 2).min(RAREST_LOOKS);
    }
}

/// The ancestor that has a lock open which keeps us out, and waits for us. Or
/// ourselves: what became us may have had the lock and left it open.
fn inherited(us: u32, line: &[u32], place: Place, mode: Mode) -> Option<u32> {
    let holder = line.iter().copied().find(|pid| has_open(*pid, place, mode));
    match holder {
        Some(holder) => family::waits(holder, line).then_some(holder),
        None => has_open(us, place, mode).then_some(us),
    }
}

fn has_open(pid: u32, place: Place, mode: Mode) -> bool {
    let fdinfo = std::fs::read_dir(format!("/proc/{pid}/fdinfo"));
    let files = fdinfo.into_iter().flatten().flatten();
    files
        .filter_map(|file| std::fs::read_to_string(file.path()).ok())
        .any(|info| {
            info.lines()
                .filter_map(|line| ring::parse(line.strip_prefix("lock:")?))
                .any(|entry| entry.blocks(place, mode))
        })
}

/// Whether the first of the ring was started after all others.
fn is_youngest(ring: &[u32]) -> bool {
    let age = |pid: &u32| (family::start_time(*pid), *pid);
    ring.iter().map(age).max() == ring.first().map(age)
}

/// What the user is told about a wait that could never have ended.
pub(super) fn message(deadlock: &Deadlock, lock: &FileLock) -> String {
    let named = |pid: u32| {
        let holders = lock.holders().unwrap_or_default();
        let found = holders.iter().find(|holder| holder.pid == pid);
        found.map_or_else(|| format!("pid {pid}"), ToString::to_string)
    };
    let path = lock.path().display();
    let what = match deadlock {
        Deadlock::Ancestor(pid) if *pid == std::process::id() => {
            "this very process has inherited the lock from what started it".to_owned()
        }
        Deadlock::Ancestor(pid) => format!(
            "the lock is held by {}, which is waiting for this very command to end",
            named(*pid)
        ),
        Deadlock::Ring(ring) if ring.len() < 2 => {
            "the lock is held by what is waiting for this very command to end".to_owned()
        }
        Deadlock::Ring(ring) => {
            let others: Vec<String> = ring.iter().skip(1).map(u32::to_string).collect();
            format!(
                "the lock is held by what is waiting, as pid {}, for a lock that is held here; \
                 take both locks in one order, or at once with --lock",
                others.join(", ")
            )
        }
    };
    format!("{path}: waiting would be a deadlock: {what}")
}
