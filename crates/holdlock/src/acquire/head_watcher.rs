//! Fair requests give way to programs that lock the whole file by fcntl(2).
//!
//! A fair request at the head of the queue holds an fcntl(2) lock on some bytes of the file. A lock
//! of the whole file covers these bytes as well, so a program that locks the whole file by fcntl(2)
//! waits for the request. Mail programs take both locks, one after the other: such a program may
//! hold the flock(2) lock for which the request waits, and wait for the request's bytes. That is a
//! deadlock.
//!
//! The kernel does not tell a holder that another process waits. Therefore a helper thread looks in
//! /proc/locks at each request that waits at the head. If a request is in the way, the thread
//! unlocks its bytes, and the next request gets to the head. The request itself keeps its position
//! in the queue of flock(2). The requests that wait behind the head have tickets, which are in the
//! way as well: each of them gives way after it has come to the head.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::acquire::open::LockFile;
use crate::inspect::{self, FileId};
use crate::sys::fork::{self, ForkCell};
use crate::sys::published;

/// When a request at the head is looked at for the first time. Most requests have the lock before
/// that.
const FIRST_LOOK: Duration = Duration::from_millis(100);
/// Each pause between two looks is twice as long as the one before, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// After how many pauses without a request the thread ends: some seconds.
const MAX_IDLE_ROUNDS: u32 = 50;

/// The registration of a request that waits at the head. It lasts until this is dropped.
pub(crate) struct HeadWatch {
    file: Arc<LockFile>,
    generation: u32,
}

struct ListedRequest {
    /// The open file description whose bytes are locked. Only one request at a time uses it.
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
            // If no thread can be started, no request gives way.
            state.running = published::start_helper("holdlock-head", run).is_ok();
        }
        HeadWatch {
            file: file.clone(),
            generation: fork::generation(),
        }
    }

    /// Ends the registration. Returns whether the thread has left the request at the head.
    pub(crate) fn end(self) -> bool {
        self.remove()
    }

    /// After this the thread does not unlock the request's bytes. Returns whether the request was
    /// still registered.
    fn remove(&self) -> bool {
        if self.generation != fork::generation() {
            return false;
        }
        let mut state = state();
        let before = state.entries.len();
        let is_other = |entry: &ListedRequest| !Arc::ptr_eq(&entry.file, &self.file);
        state.entries.retain(is_other);
        state.entries.len() < before
    }
}

impl Drop for HeadWatch {
    fn drop(&mut self) {
        self.remove();
    }
}

fn run() {
    let mut idle = 0;
    while idle < MAX_IDLE_ROUNDS {
        let now = Instant::now();
        let next = {
            let mut state = state();
            idle = if state.entries.is_empty() {
                idle + 1
            } else {
                0
            };
            state.running = idle < MAX_IDLE_ROUNDS;
            state.entries.iter().map(|entry| entry.look_at).min()
        };
        // A request that is registered during the sleep need not be looked at before FIRST_LOOK is
        // over.
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
        let is_in_the_way = FileId::of_open(file.as_fd()).is_ok_and(inspect::turn_is_in_the_way);
        let mut state = state();
        let is_it = |entry: &ListedRequest| Arc::ptr_eq(&entry.file, &file);
        let Some(at) = state.entries.iter().position(is_it) else {
            continue; // the request has the lock, or has ended
        };
        if is_in_the_way {
            // Under the mutex, so that the request does not leave the head itself at the same time.
            let _ = file.leave_queue();
            state.entries.swap_remove(at);
        } else {
            let entry = &mut state.entries[at];
            entry.pause = (entry.pause * 2).min(LONGEST_PAUSE);
            entry.look_at = Instant::now() + entry.pause;
        }
    }
}
