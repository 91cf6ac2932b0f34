//! A helper thread that looks for deadlocks among the waits of this process.
//!
//! Every wait that only the lock can end registers here, which costs a mutex and an allocation.
//! Nearly every wait ends before the thread first looks at it ([`FIRST_LOOK`]). The first wait
//! starts the thread, and the thread ends after some time without waits. `cycle` decides what is a
//! deadlock.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::acquire::lock_name::LockName;
use crate::deadlock::cycle::{self, Due, Found};
use crate::deadlock::wait_facts::WaitFacts;
use crate::gate::{Gate, Occupant};
use crate::inspect::Deadlock;
use crate::sys::fork::{self, ForkCell};
use crate::sys::published::{self, WaitNote};
use crate::sys::thread::ThreadId;
use crate::sys::{interrupt, signal};
use crate::wait::Watched;
use crate::{Family, Mode};

/// When a wait is looked at for the first time.
pub(crate) const FIRST_LOOK: Duration = Duration::from_millis(500);
/// The pause after the first look. The member that closes a cycle finds it at its first look, so
/// later looks are only for cycles that another process closes.
const EARLY_PAUSE: Duration = Duration::from_secs(10);
/// How many pauses have this length.
const EARLY_LOOKS: usize = 1;
/// The pause after each later look.
const LATE_PAUSE: Duration = Duration::from_secs(60);
/// The time that the victim of a cycle has to end its wait. If it has not, the other members look
/// again after this time, and end theirs.
const VICTIM_TIME: Duration = Duration::from_secs(1);
/// How many looks follow after VICTIM_TIME while a cycle is not certain. Some members may not sleep
/// yet, or may not have shown yet that their waits have no limit.
const QUICK_LOOKS: usize = 4;
/// After how many pauses without a wait the thread ends.
const MAX_IDLE_ROUNDS: u32 = 10;

/// The registration of a wait with the thread. It lasts until this is dropped.
pub(crate) struct WatchedWait {
    facts: Arc<WaitFacts>,
}

struct ListedWait {
    facts: Arc<WaitFacts>,
    look_at: Instant,
    looks: usize,
    victim_is_late: bool,
}

#[derive(Default)]
struct State {
    entries: Vec<ListedWait>,
    running: bool,
    sleeps_until: Option<Instant>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

static SHARED: ForkCell<Shared> = ForkCell::new();

impl WatchedWait {
    pub(crate) fn begin(
        gate: Arc<Gate>,
        name: Arc<LockName>,
        family: Family,
        mode: Mode,
        began: Instant,
    ) -> WatchedWait {
        let facts = Arc::new(WaitFacts {
            gate,
            name,
            family,
            mode,
            occupant: Occupant::this_thread(),
            thread_id: ThreadId::current(),
            began,
            generation: fork::generation(),
            verdict: OnceLock::new(),
            over: Mutex::new(false),
        });
        let shared = SHARED.get_or_make(Shared::default);
        let look_at = began + FIRST_LOOK;
        let mut state = shared.lock();
        state.entries.push(ListedWait {
            facts: facts.clone(),
            look_at,
            looks: 0,
            victim_is_late: false,
        });
        if !state.running {
            // If no thread can be started, cycles are not found.
            state.running = published::start_helper("holdlock-watch", run).is_ok();
        } else if state.sleeps_until.is_some_and(|until| until > look_at) {
            shared.changed.notify_one();
        }
        drop(state);
        WatchedWait { facts }
    }
}

impl Watched for WatchedWait {
    fn verdict(&self) -> Option<&Deadlock> {
        self.facts.verdict.get()
    }
}

impl Drop for WatchedWait {
    fn drop(&mut self) {
        // After this no signal is sent ...
        *self.facts.over() = true;
        if self.verdict().is_some() {
            // ... and a signal that is on its way arrives before this system call returns.
            ThreadId::current();
        }
        if self.facts.generation != fork::generation() {
            return;
        }
        let mut state = SHARED.get_or_make(Shared::default).lock();
        let entries = &mut state.entries;
        if let Some(at) = entries
            .iter()
            .position(|entry| Arc::ptr_eq(&entry.facts, &self.facts))
        {
            entries.swap_remove(at);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether all these waits still last.
    fn has_all(&self, known: &[Arc<WaitFacts>]) -> bool {
        let state = self.lock();
        let is_there = |facts: &Arc<WaitFacts>| {
            let mut entries = state.entries.iter();
            entries.any(|entry| Arc::ptr_eq(&entry.facts, facts))
        };
        known.iter().all(is_there)
    }
}

fn run() {
    let shared = SHARED.get_or_make(Shared::default);
    let mut idle = 0;
    let mut state = shared.lock();
    loop {
        let now = Instant::now();
        let next = state.entries.iter().map(|entry| entry.look_at).min();
        if next.is_some_and(|next| next <= now) {
            drop(state);
            look(shared, now);
            state = shared.lock();
            continue;
        }
        idle = if state.entries.is_empty() {
            idle + 1
        } else {
            0
        };
        if idle > MAX_IDLE_ROUNDS {
            state.running = false;
            published::set_wait(WaitNote::Unknown);
            return;
        }
        let until = next.unwrap_or(now + FIRST_LOOK);
        state.sleeps_until = Some(until);
        state = shared
            .changed
            .wait_timeout(state, until - now)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

/// Looks at the waits that are due, the latest first: of two waits of this process in one cycle,
/// the latest is the victim.
fn look(shared: &Shared, now: Instant) {
    let state = shared.lock();
    let all: Vec<Arc<WaitFacts>> = state.entries.iter().map(|e| e.facts.clone()).collect();
    let due = state.entries.iter().filter(|entry| entry.look_at <= now);
    let mut due: Vec<Due> = due
        .map(|entry| (entry.facts.clone(), entry.victim_is_late))
        .collect();
    drop(state);
    due.sort_by_key(|(facts, _)| std::cmp::Reverse(facts.began));
    // Other processes need this to be certain of a deadlock that this wait is part of.
    let wait = cycle::wait_without_limit(&all).filter(|_| shared.has_all(&all));
    published::set_wait(wait.unwrap_or(WaitNote::MayEnd));
    let found = cycle::search(&all, &due);
    for ((facts, _), found) in due.into_iter().zip(found) {
        let next = match found {
            Found::Nothing => Next::Later,
            Found::Possible => Next::Soon,
            Found::OtherVictim => Next::VictimIsLate,
            Found::Certain(cycle, members) if shared.has_all(&members) => {
                end(&facts, cycle);
                Next::Later
            }
            Found::Certain(..) => Next::Soon,
        };
        let mut state = shared.lock();
        let mut entries = state.entries.iter_mut();
        if let Some(entry) = entries.find(|entry| Arc::ptr_eq(&entry.facts, &facts)) {
            entry.look_again(next);
        }
    }
}

/// When to look at a wait again.
enum Next {
    Later,
    /// There may be a cycle, and it may become certain soon.
    Soon,
    /// Another wait of the cycle is the victim: give it time to end.
    VictimIsLate,
}

impl ListedWait {
    fn look_again(&mut self, next: Next) {
        let pause = match next {
            Next::VictimIsLate => VICTIM_TIME,
            Next::Soon if self.looks < QUICK_LOOKS => VICTIM_TIME,
            Next::Soon => EARLY_PAUSE,
            _ if self.looks < EARLY_LOOKS => EARLY_PAUSE,
            _ => LATE_PAUSE,
        };
        self.victim_is_late = match next {
            Next::Later => false,
            Next::Soon => self.victim_is_late,
            Next::VictimIsLate => true,
        };
        self.looks += 1;
        self.look_at = Instant::now() + pause;
    }
}

/// Ends the wait of a thread.
fn end(facts: &WaitFacts, cycle: Deadlock) {
    const TRIES: u32 = 1000;
    let _ = facts.verdict.set(cycle);
    let Some(signal) = signal::ours() else {
        return;
    };
    // Repeatedly: a signal that comes just before the thread enters its system call is lost.
    for _ in 0..TRIES {
        {
            let over = facts.over();
            if *over {
                return;
            }
            interrupt::signal_thread(facts.thread_id, signal);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
