//! Fair requests step head_watcher for programs that lock the whole file by fcntl(2).
//!
//! Such a program sees the place at the head of the queue, which is a lock of fcntl(2): no byte is
//! beyond a lock of the whole file. Mail programs take both locks, one after the other. So one of
//! them may hold the lock of flock(2) for which the request at the head waits, and wait for the
//! head's bytes itself.
//!
//! The kernel does not tell a holder that somebody waits. A helper thread looks at /proc/locks for
//! the requests that stay at the head, and gives the place of one that is in the way to whoever
//! comes next. That request stays where it is in the queue of flock(2).

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::acquire::open::LockFile;
use crate::inspect::{self, HELPER, Place};
use crate::sys::fork::{self, ForkCell};
use crate::sys::signal;

/// When a request that stays at the head is looked at for the first time. Most have the lock
/// before that.
const FIRST_LOOK: Duration = Duration::from_millis(100);
/// Each pause between two looks is twice the one before, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often the thread finds nothing to look at before it ends: some seconds.
const IDLE: u32 = 50;

/// A request that stays at the head, until this is dropped.
pub(crate) struct HeadWatch {
    file: Arc<LockFile>,
    generation: u32,
}

struct ListedRequest {
    /// The description on which the place is taken: one request at a time is there with it.
    file: Arc<LockFile>,
    look_at: Instant,
    pause: Duration,
}

#[derive(Default)]
struct State {
    entries: Vec<ListedRequest>,
    running: bool,
}

static STATE: ForkCell<Mutex<State>> = ForkCell::new();

fn state() -> MutexGuard<'static, State> {
    let state = STATE.get_or_make(Mutex::default);
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HeadWatch {
    pub(crate) fn begin(file: &Arc<LockFile>) -> HeadWatch {
        let mut state = state();
        state.entries.push(ListedRequest {
            file: file.clone(),
            look_at: Instant::now() + FIRST_LOOK,
            pause: FIRST_LOOK,
        });
        if !state.running {
            // Without a thread to be had, nobody looks.
            state.running = start();
        }
        HeadWatch {
            file: file.clone(),
            generation: fork::generation(),
        }
    }
}

impl Drop for HeadWatch {
    fn drop(&mut self) {
        if self.generation == fork::generation() {
            // After this the thread leaves the place alone.
            let of_others = |entry: &ListedRequest| !Arc::ptr_eq(&entry.file, &self.file);
            state().entries.retain(of_others);
        }
    }
}

/// Starts the thread, which takes no signals from the host's threads.
fn start() -> bool {
    signal::with_all_blocked(|| {
        std::thread::Builder::new()
            .name(format!("{HELPER}head_watcher"))
            .stack_size(128 * 1024)
            .spawn(run)
            .is_ok()
    })
}

fn run() {
    let mut idle = 0;
    while idle < IDLE {
        let now = Instant::now();
        let next = {
            let mut state = state();
            idle = if state.entries.is_empty() {
                idle + 1
            } else {
                0
            };
            state.running = idle < IDLE;
            state.entries.iter().map(|entry| entry.look_at).min()
        };
        // What comes meanwhile is not to be looked at before the end of such a pause.
        let pause = next.map_or(FIRST_LOOK, |next| next.saturating_duration_since(now));
        if pause.is_zero() {
            look(now);
        } else {
            std::thread::sleep(pause.min(FIRST_LOOK));
        }
    }
}

fn look(now: Instant) {
    let due: Vec<Arc<LockFile>> = {
        let state = state();
        let due = state.entries.iter().filter(|entry| entry.look_at <= now);
        due.map(|entry| entry.file.clone()).collect()
    };
    for file in due {
        let is_in_the_way = Place::of_open(file.as_fd()).is_ok_and(inspect::turn_is_in_the_way);
        let mut state = state();
        let of_this = |entry: &ListedRequest| Arc::ptr_eq(&entry.file, &file);
        let Some(at) = state.entries.iter().position(of_this) else {
            continue; // it has the lock, or has given up
        };
        if is_in_the_way {
            // With the mutex: the request does not leave the place itself meanwhile.
            let _ = file.unlock_head();
            state.entries.swap_remove(at);
        } else {
            let entry = &mut state.entries[at];
            entry.pause = (entry.pause * 2).min(LONGEST_PAUSE);
            entry.look_at = Instant::now() + entry.pause;
        }
    }
}
