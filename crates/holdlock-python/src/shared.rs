//! One object as its threads share it: each method is one step, under the mutex.
//!
//! The mutex is never locked while a thread sleeps or while Python code runs.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdlock::{FileLock, Mode, OwnedGuard, Request};
use pyo3::prelude::*;

use crate::cancel::Alert;
use crate::error::Failure;
use crate::fork;
use crate::hold::{Hold, Settings, Threads};
use crate::requester::Requester;
use crate::run;
use crate::state::{Join, State};

pub(crate) struct Shared {
    pub(crate) threads: Threads,
    /// The mode of a request that does not say one.
    pub(crate) mode: Mode,
    /// Whether requests are served in the order in which they arrive.
    pub(crate) fair: bool,
    /// Whether one of the shared holders can have the right to upgrade.
    pub(crate) upgradeable: bool,
    /// Whether the lock file has a record of the holder.
    pub(crate) record: bool,
    /// The reason that the record gives if a request does not give one.
    pub(crate) note: Option<String>,
    state: Mutex<State>,
}

/// The result of an attempt that does not wait.
pub(crate) enum Attempt {
    /// The requester already held the lock.
    Again,
    Taken,
    /// Another process, thread or task holds the lock: the error for a request that does not wait.
    Busy(Failure),
}

impl Shared {
    pub(crate) fn new(threads: Threads, settings: Settings, mode: Mode, fair: bool) -> Shared {
        Shared {
            threads,
            mode,
            fair,
            upgradeable: false,
            record: false,
            note: None,
            state: Mutex::new(State {
                generation: fork::generation(),
                inherited: false,
                threads,
                settings,
                mode,
                lock: None,
                holds: Vec::new(),
                waiting: Vec::new(),
            }),
        }
    }

    #[inline]
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.generation != fork::generation() {
            state.become_child();
        }
        state
    }

    /// The opened lock; None before the first request.
    pub(crate) fn opened(&self) -> Option<Arc<FileLock>> {
        self.state().lock.clone()
    }

    /// Keeps an opened lock, unless another thread was quicker.
    pub(crate) fn keep(&self, lock: Arc<FileLock>) -> Arc<FileLock> {
        self.state().lock.get_or_insert(lock).clone()
    }

    pub(crate) fn settings(&self) -> Settings {
        let state = self.state();
        let hold = state.hold(Requester::Thread);
        hold.map_or(state.settings, |hold| hold.settings)
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Settings)) {
        let mut state = self.state();
        if self.threads == Threads::Apart {
            change(&mut state.hold_mut(Requester::Thread).settings);
        } else {
            change(&mut state.settings);
            let settings = state.settings;
            let holds = state.holds.iter_mut();
            holds.for_each(|hold| hold.settings = settings);
        }
    }

    /// How often the requester has acquired the lock and not yet released it.
    pub(crate) fn counter(&self, requester: Requester<'_>) -> usize {
        self.state().hold(requester).map_or(0, |hold| hold.counter)
    }

    /// The mode in which the requester holds the lock; None: it does not.
    pub(crate) fn held(&self, requester: Requester<'_>) -> Option<Mode> {
        let state = self.state();
        let hold = state.hold(requester).filter(|hold| hold.counter > 0);
        hold.map(|hold| hold.mode)
    }

    /// Looks at the guard of the requester, if it holds the lock.
    pub(crate) fn with_guard<T>(
        &self,
        requester: Requester<'_>,
        look: impl FnOnce(&OwnedGuard) -> Option<T>,
    ) -> Option<T> {
        let state = self.state();
        let guard = state.hold(requester)?.guard.as_ref()?;
        look(guard)
    }

    /// Whether the lock is held, and this requester has acquired it.
    pub(crate) fn was_taken_by(&self, requester: Requester<'_>) -> bool {
        let state = self.state();
        let mut held = state.holds.iter().filter(|hold| hold.counter > 0);
        held.any(|hold| hold.taker == requester.number())
    }

    /// One attempt, which does not wait. None: the lock file has yet to be opened.
    #[inline]
    pub(crate) fn attempt(
        &self,
        py: Python<'_>,
        mode: Option<Mode>,
        requester: Requester<'_>,
        note: Option<&str>,
    ) -> Result<Option<Attempt>, Failure> {
        let note = note.or(self.note.as_deref());
        let mode = mode.unwrap_or(self.mode);
        let mut state = self.state();
        match state.join(mode, requester)? {
            Join::Joined => return Ok(Some(Attempt::Again)),
            Join::Excluded => return Ok(Some(Attempt::Busy(excluded(requester)))),
            Join::Free => {}
        }
        let Some(lock) = &state.lock else {
            return Ok(None);
        };
        let stays = self.stays_in_thread(mode, requester);
        let answer = if self.fair {
            // A fair attempt sleeps for moments, to tell a request that is only passing through the
            // queue from one that waits there.
            let lock = lock.clone();
            drop(state);
            let answer = py.detach(|| try_once(&lock, mode, stays, note));
            state = self.state();
            if answer.is_err() && matches!(state.join(mode, requester)?, Join::Joined) {
                return Ok(Some(Attempt::Again));
            }
            answer
        } else {
            try_once(lock, mode, stays, note)
        };
        match answer {
            Ok(guard) => {
                state.commit(Some(guard), mode, requester);
                Ok(Some(Attempt::Taken))
            }
            Err(error) if error.is_conflict() => Ok(Some(Attempt::Busy(error.into()))),
            Err(error) => Err(error.into()),
        }
    }

    /// An exclusive request with this note, or else that of the lock.
    pub(crate) fn noted(&self, note: Option<&str>) -> Request {
        match note.or(self.note.as_deref()) {
            Some(note) => Request::exclusive().note(note),
            None => Request::exclusive(),
        }
    }

    /// Whether the requester's thread also releases the lock. If all threads hold the lock
    /// together, each of them may release it; another task of the same thread may release the lock
    /// of a task. However, the tasks of one thread are not one shared holder: a thread that asks
    /// twice passes other requests, and its file is not checked again.
    fn stays_in_thread(&self, mode: Mode, requester: Requester<'_>) -> bool {
        if requester.is_task() {
            !self.fair && mode == Mode::Exclusive
        } else {
            self.threads != Threads::Together
        }
    }

    /// Registers a thread's wait, unless the thread can join a holder: then true, and it holds the
    /// lock.
    pub(crate) fn begin_wait(
        &self,
        mode: Mode,
        token: &holdlock::CancelToken,
    ) -> Result<bool, Failure> {
        let mut state = self.state();
        if let Join::Joined = state.join(mode, Requester::Thread)? {
            return Ok(true);
        }
        let me = Requester::Thread.number();
        if state.waiting.iter().any(|(number, _)| *number == me) {
            return Err(Failure::Nested);
        }
        state.waiting.push((me, Alert::Token(token.clone())));
        Ok(false)
    }

    /// Ends a thread's wait, and keeps the lock if the thread has acquired it.
    pub(crate) fn end_wait(&self, guard: Option<(OwnedGuard, Mode)>) {
        let mut state = self.state();
        state.forget_wait(Requester::Thread.number());
        if let Some((guard, mode)) = guard {
            state.commit(Some(guard), mode, Requester::Thread);
        }
    }

    /// Registers a task's wait. The task looks by itself whether it can join a holder.
    pub(crate) fn begin_task_wait(&self, number: u64, alert: Alert) {
        self.state().waiting.push((number, alert));
    }

    pub(crate) fn end_task_wait(&self, number: u64) {
        self.state().forget_wait(number);
    }

    /// Acquires once more a lock that the requester already holds. False: the requester does not
    /// hold it.
    pub(crate) fn join(&self, mode: Mode, requester: Requester<'_>) -> Result<bool, Failure> {
        let joined = self.state().join(mode, requester)?;
        Ok(matches!(joined, Join::Joined))
    }

    /// Keeps a lock for which a task has waited.
    pub(crate) fn commit(&self, guard: OwnedGuard, mode: Mode, requester: Requester<'_>) {
        self.state().commit(Some(guard), mode, requester);
    }

    /// Notes that the requester holds the lock by the guard of another object, on the same file.
    pub(crate) fn commit_together(&self, mode: Mode, requester: Requester<'_>) {
        self.state().commit(None, mode, requester);
    }

    /// Releases the lock if this is its last release, or with `force`.
    #[inline]
    pub(crate) fn release(&self, force: bool, requester: Requester<'_>) -> Result<(), Failure> {
        let mut state = self.state();
        let mut of_ended = Vec::new();
        if force && self.threads == Threads::Apart {
            of_ended = state.give_up_ended();
        }
        let mut ours = None;
        if let Some(hold) = state.hold_if_any(requester)
            && hold.counter > 0
        {
            let excludes = self.threads == Threads::Exclude;
            if excludes && !force && hold.belongs_to_another(requester) {
                return Err(Failure::NotOurs(requester.is_task()));
            }
            hold.counter -= 1;
            if force || hold.counter == 0 {
                ours = hold.give_up();
            }
        }
        drop(state);
        let result = ours.map_or(Ok(()), OwnedGuard::release);
        for guard in of_ended {
            let _ = guard.release();
        }
        Ok(result?)
    }

    /// Gives the lock, however often it was acquired, to the processes that this process will
    /// start.
    pub(crate) fn hand_over(&self, requester: Requester<'_>) -> Result<OwnedFd, Failure> {
        Ok(self.give_up(requester, Failure::NotHeld)?.hand_over()?)
    }

    /// Records that a run under the lock begins, or that it ends with this exit code.
    pub(crate) fn record_run(
        &self,
        requester: Requester<'_>,
        exit: Option<u8>,
    ) -> Result<(), Failure> {
        let mut state = self.state();
        let hold = state.hold_if_any(requester);
        let held = hold.filter(|hold| hold.mode == Mode::Exclusive);
        let Some((run, guard)) = held.and_then(Hold::run_and_guard) else {
            return Err(Failure::RunWithoutLock);
        };
        Ok(guard.record_run(run::at_this_moment(run, exit))?)
    }

    /// Ends the hold of the requester, however often it has acquired the lock.
    pub(crate) fn give_up(
        &self,
        requester: Requester<'_>,
        not_held: Failure,
    ) -> Result<OwnedGuard, Failure> {
        let mut state = self.state();
        if state.inherited {
            return Err(Failure::Inherited);
        }
        let excludes = self.threads == Threads::Exclude;
        let hold = state.hold_if_any(requester);
        let hold = hold
            .filter(|hold| hold.counter > 0 && !(excludes && hold.belongs_to_another(requester)));
        hold.and_then(Hold::give_up).ok_or(not_held)
    }

    /// Releases what all threads and tasks hold.
    pub(crate) fn release_all(&self) -> Result<(), Failure> {
        let mut state = self.state();
        let guards: Vec<OwnedGuard> = state.holds.iter_mut().filter_map(Hold::give_up).collect();
        drop(state);
        let released: Vec<_> = guards.into_iter().map(OwnedGuard::release).collect();
        Ok(released.into_iter().collect::<Result<(), _>>()?)
    }

    /// See [`Hold::lend`].
    pub(crate) fn lend(&self, requester: Requester<'_>) -> Result<i32, Failure> {
        self.state()
            .hold_if_any(requester)
            .map_or(Ok(-1), Hold::lend)
    }
}

#[inline]
fn try_once(
    lock: &FileLock,
    mode: Mode,
    stays: bool,
    note: Option<&str>,
) -> Result<OwnedGuard, holdlock::Error> {
    let mut request = Request::new(mode).try_once();
    if let Some(note) = note {
        request = request.note(note);
    }
    if stays {
        request = request.stays_in_thread();
    }
    lock.acquire_owned(request)
}

fn excluded(requester: Requester<'_>) -> Failure {
    Failure::HeldHere(if requester.is_task() {
        "another task"
    } else {
        "another thread"
    })
}
