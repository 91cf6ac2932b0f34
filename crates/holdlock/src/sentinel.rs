//! A thread that looks after waits which last: one that closes a ring would never end.
//!
//! Every wait is entered here, which costs a mutex and an allocation, and nearly every wait is over
//! before the thread looks at it for the first time ([`FIRST_LOOK`]). The thread is
//! started by the first wait and ends when there was none for a while. What it looks at is in `ring.rs`.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::gate::{Gate, Owner};
use crate::inspect::{Deadlock, HELPER};
use crate::open::LockName;
use crate::ring::{self, Round};
use crate::sys::fork::{self, ForkCell};
use crate::sys::interrupt::{self, ThreadId};
use crate::sys::signal;
use crate::{Family, Mode};

/// When a wait is looked at for the first time.
pub(crate) const FIRST_LOOK: Duration = Duration::from_millis(500);
/// After the first look, after the second, and so on. Who closes a ring sees it at the first
/// look; later ones are for rings that somebody else has closed.
const NEXT_LOOKS: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];
/// When two members of a ring look at it, the one that was started last gives way. The
/// others look again after this time, and give way if it has not.
const SUSPICION: Duration = Duration::from_secs(1);
/// How long the thread stays without anything to look after.
const IDLE: u32 = 10;

/// A wait that the thread looks after, until this is dropped.
pub(crate) struct Watch {
    record: Arc<Record>,
}

/// What is known of a wait.
pub(crate) struct Record {
    pub(crate) gate: Arc<Gate>,
    pub(crate) name: Arc<LockName>,
    pub(crate) family: Family,
    pub(crate) mode: Mode,
    /// The thread that waits; its guard, if it comes to that, may leave it.
    pub(crate) thread: Owner,
    pub(crate) task: ThreadId,
    began: Instant,
    generation: u32,
    verdict: OnceLock<Deadlock>,
    over: Mutex<bool>,
}

struct Entry {
    record: Arc<Record>,
    look_at: Instant,
    looks: usize,
    suspicion: bool,
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    running: bool,
    sleeps_until: Option<Instant>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

static SHARED: ForkCell<Shared> = ForkCell::new();

impl Watch {
    pub(crate) fn begin(
        gate: Arc<Gate>,
        name: Arc<LockName>,
        family: Family,
        mode: Mode,
        began: Instant,
    ) -> Watch {
        let record = Arc::new(Record {
            gate,
            name,
            family,
            mode,
            thread: Owner::this_thread(),
            task: interrupt::thread_id(),
            began,
            generation: fork::generation(),
            verdict: OnceLock::new(),
            over: Mutex::new(false),
        });
        let shared = SHARED.get_or_make(Shared::default);
        let look_at = began + FIRST_LOOK;
        let mut state = shared.lock();
        state.entries.push(Entry {
            record: record.clone(),
            look_at,
            looks: 0,
            suspicion: false,
        });
        if !state.running {
            // Without a thread to be had, rings are not noticed.
            state.running = start();
        } else if state.sleeps_until.is_some_and(|until| until > look_at) {
            shared.changed.notify_one();
        }
        drop(state);
        Watch { record }
    }

    /// Why the wait can never end, if that was found.
    pub(crate) fn verdict(&self) -> Option<&Deadlock> {
        self.record.verdict.get()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // After this, no signal is sent any more ...
        *self.record.over() = true;
        if self.verdict().is_some() {
            // ... and one that is on its way arrives when this system call returns.
            interrupt::thread_id();
        }
        if self.record.generation != fork::generation() {
            return;
        }
        let mut state = SHARED.get_or_make(Shared::default).lock();
        let entries = &mut state.entries;
        if let Some(at) = entries
            .iter()
            .position(|entry| Arc::ptr_eq(&entry.record, &self.record))
        {
            entries.swap_remove(at);
        }
    }
}

impl Record {
    fn over(&self) -> MutexGuard<'_, bool> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the thread, which takes no signals from the host's threads.
fn start() -> bool {
    signal::with_all_blocked(|| {
        std::thread::Builder::new()
            .name(format!("{HELPER}watch"))
            .stack_size(256 * 1024)
            .spawn(run)
            .is_ok()
    })
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
        if idle > IDLE {
            state.running = false;
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

/// Looks at the waits whose time it is, the latest first: of two that were closed by
/// their own process's threads, that one gives way.
fn look(shared: &Shared, now: Instant) {
    let state = shared.lock();
    let all: Vec<Arc<Record>> = state.entries.iter().map(|e| e.record.clone()).collect();
    let mut due: Vec<(Arc<Record>, bool)> = state
        .entries
        .iter()
        .filter(|entry| entry.look_at <= now)
        .map(|entry| (entry.record.clone(), entry.suspicion))
        .collect();
    drop(state);
    due.sort_by_key(|(record, _)| std::cmp::Reverse(record.began));
    let round = Round::new(&all);
    for (record, suspicion) in due {
        let suspicion = match round.closed_by(&record) {
            Some(ring) if suspicion || ring::gives_way(&ring) => {
                end(&record, ring);
                false
            }
            found => found.is_some(),
        };
        let mut state = shared.lock();
        let entry = state
            .entries
            .iter_mut()
            .find(|entry| Arc::ptr_eq(&entry.record, &record));
        if let Some(entry) = entry {
            let pause = NEXT_LOOKS[entry.looks.min(NEXT_LOOKS.len() - 1)];
            entry.looks += 1;
            entry.suspicion = suspicion;
            entry.look_at = Instant::now() + if suspicion { SUSPICION } else { pause };
        }
    }
}

/// Gets the thread out of its wait.
fn end(record: &Record, ring: Deadlock) {
    const TRIES: u32 = 1000;
    let _ = record.verdict.set(ring);
    let Some(signal) = signal::ours() else {
        return;
    };
    // Again and again: a signal that comes just before the call is entered is lost.
    for _ in 0..TRIES {
        {
            let over = record.over();
            if *over {
                return;
            }
            interrupt::nudge(record.task, signal);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
