//! The time limits and the tokens of queued tasks: one thread for all of the process.
//!
//! The thread sleeps until the earliest deadline. A token wakes it by a word in memory, because a
//! signal handler may cancel a token. It lasts as long as there are such tasks, and a second
//! longer.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Task;
use crate::CancelToken;
use crate::sys::fork::ForkCell;
use crate::sys::notify::WordRegistration;
use crate::sys::{futex, published};
use crate::wait::Stop;

/// For how long the thread stays without a task. Starting it takes longer than most waits.
const LINGER: Duration = Duration::from_secs(1);

struct Limits {
    /// Changes when the thread has to look at the tasks. It is never freed, so that a token can
    /// change it at any time.
    changes: &'static AtomicU32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By deadline; the number tells tasks with the same deadline apart.
    deadlines: BTreeMap<(Instant, usize), Arc<Task>>,
    tokens: BTreeMap<usize, WithToken>,
    running: bool,
    /// The thread sleeps until then, or until it is woken.
    sleeps_until: Option<Instant>,
}

struct WithToken {
    task: Arc<Task>,
    _wakes_the_thread: WordRegistration,
}

static LIMITS: ForkCell<Limits> = ForkCell::new();

fn limits() -> &'static Limits {
    LIMITS.get_or_make(|| Limits {
        changes: Box::leak(Box::default()),
        state: Mutex::default(),
    })
}

/// A number that no other task has as long as this one lives.
fn number(task: &Arc<Task>) -> usize {
    Arc::as_ptr(task).addr()
}

/// Watches the limits of a task, until [`forget`]. Fails if no thread can be started.
pub(super) fn add(task: &Arc<Task>) -> io::Result<()> {
    let (deadline, token) = (task.deadline(), task.request.token());
    if deadline.is_none() && token.is_none() {
        return Ok(());
    }
    let limits = limits();
    let mut state = limits.lock();
    if !state.running {
        published::start_helper("holdlock-limits", run)?;
        state.running = true;
    }
    if let Some(deadline) = deadline {
        state
            .deadlines
            .insert((deadline, number(task)), task.clone());
        if state.sleeps_until.is_none_or(|until| deadline < until) {
            limits.wake();
        }
    }
    if let Some(token) = token {
        // A token that is cancelled already wakes the thread now.
        let registration = token.notifier().register_word(limits.changes);
        let with_token = WithToken {
            task: task.clone(),
            _wakes_the_thread: registration,
        };
        state.tokens.insert(number(task), with_token);
    }
    Ok(())
}

/// The task's wait has ended, or its own wait watches the limits now.
pub(super) fn forget(task: &Arc<Task>) {
    let (deadline, token) = (task.deadline(), task.request.token());
    if deadline.is_none() && token.is_none() {
        return;
    }
    let mut state = limits().lock();
    if let Some(deadline) = deadline {
        state.deadlines.remove(&(deadline, number(task)));
    }
    let forgotten = state.tokens.remove(&number(task));
    if state.is_empty() && state.running {
        limits().wake();
    }
    drop(state);
    drop(forgotten);
}

impl Limits {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        futex::wake(self.changes);
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.deadlines.is_empty() && self.tokens.is_empty()
    }

    /// The tasks whose waits have to end now. They are no longer watched.
    fn take_due(&mut self, now: Instant) -> Vec<(Arc<Task>, Stop)> {
        let mut due = Vec::new();
        self.tokens.retain(|_, WithToken { task, .. }| {
            let token = task.request.token();
            let is_due = token.is_some_and(CancelToken::is_cancelled);
            if is_due {
                due.push((task.clone(), Stop::Cancelled));
            }
            !is_due
        });
        let later = self.deadlines.split_off(&(now, 0));
        let late = std::mem::replace(&mut self.deadlines, later);
        due.extend(late.into_values().map(|task| (task, Stop::TimedOut)));
        due
    }
}

fn run() {
    let limits = limits();
    let mut idle_since = None;
    loop {
        let seen = limits.changes.load(Ordering::SeqCst);
        let mut state = limits.lock();
        let now = Instant::now();
        let due = state.take_due(now);
        if !due.is_empty() {
            drop(state);
            for (task, stop) in due {
                // If this comes too late, the thread that serves the task ends its wait.
                task.end(stop);
            }
            continue;
        }
        let until = if state.is_empty() {
            let end = *idle_since.get_or_insert(now) + LINGER;
            if now >= end {
                state.running = false;
                return;
            }
            Some(end)
        } else {
            idle_since = None;
            state.deadlines.keys().next().map(|(deadline, _)| *deadline)
        };
        state.sleeps_until = until;
        drop(state);
        let pause = until.map(|until| until.saturating_duration_since(now));
        futex::wait(limits.changes, seen, pause);
    }
}
