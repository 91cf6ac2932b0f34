//! What one lock object knows: who holds it, how often, and in which thread.
//!
//! The mutex is never kept while a thread waits, nor while Python code runs.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use holdlock::{FileLock, Mode, OwnedGuard, Request};

use crate::asker::Asker;
use crate::cancel::Call;
use crate::fork;

/// What the threads of the process are to one object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// Each holds for itself.
    Apart,
    /// They hold together; any of them may release.
    Together,
    /// One of them holds, the others wait.
    Exclude,
}

/// What a request does if nothing else is said.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) timeout: f64,
    pub(crate) blocking: bool,
    pub(crate) poll_interval: f64,
}

impl Settings {
    /// Whether a request by these settings may wait at all.
    pub(crate) fn may_wait(&self) -> bool {
        self.blocking && self.timeout != 0.0
    }
}

/// Why a request went wrong.
pub(crate) enum Trouble {
    Library(holdlock::Error),
    /// The object was held when this process was forked off.
    Inherited,
    /// Held shared, asked for exclusively.
    Upgrade,
    /// A signal handler asks for what its own thread is waiting for.
    Nested,
    /// Another thread holds it.
    NotOurs,
    /// The caller does not hold what it wants to hand over.
    NotHeld,
    /// Threads that exclude one another ask for what lets them in together.
    SharedMutex,
    /// The constructor was not called.
    Unmade,
    /// The time limit is no number.
    Nan,
}

impl From<holdlock::Error> for Trouble {
    fn from(error: holdlock::Error) -> Trouble {
        Trouble::Library(error)
    }
}

/// How an attempt ended.
pub(crate) enum Attempt {
    /// Was held by this thread already.
    Again,
    /// Taken anew.
    Taken,
    /// Somebody else has it. The error is there if it was the library that said so.
    Busy(Option<holdlock::Error>),
}

/// The lock as it is held by one thread, one task, or by all.
struct Hold {
    /// The thread or task; 0: all.
    whose: u64,
    /// Gone when the thread or task has ended.
    alive: Weak<()>,
    settings: Settings,
    counter: usize,
    mode: Mode,
    guard: Option<OwnedGuard>,
    /// A descriptor of the lock file that can be written to, for who was lent it.
    lent: Option<File>,
    /// The thread or task that took it.
    taker: u64,
}

/// What an object knows, between threads.
pub(crate) struct Shared {
    state: Mutex<State>,
}

struct State {
    generation: u32,
    /// Held when this process was forked off.
    inherited: bool,
    lock: Option<Arc<FileLock>>,
    threads: Threads,
    settings: Settings,
    mode: Mode,
    /// Whether requests are served in their order.
    fair: bool,
    holds: Vec<Hold>,
    /// Who waits: a number, and what has the one look again whether it can join a holder.
    waiting: Vec<(u64, Call)>,
}

impl Shared {
    pub(crate) fn new(threads: Threads, settings: Settings, mode: Mode, fair: bool) -> Shared {
        Shared {
            state: Mutex::new(State {
                generation: fork::generation(),
                inherited: false,
                lock: None,
                threads,
                settings,
                mode,
                fair,
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

    pub(crate) fn threads(&self) -> Threads {
        self.state().threads
    }

    pub(crate) fn is_held_together(&self) -> bool {
        self.threads() == Threads::Together
    }

    pub(crate) fn mode(&self) -> Mode {
        self.state().mode
    }

    pub(crate) fn is_fair(&self) -> bool {
        self.state().fair
    }

    /// The opened lock; None before the first acquisition.
    pub(crate) fn opened(&self) -> Option<Arc<FileLock>> {
        self.state().lock.clone()
    }

    /// Keeps an opened lock, unless another thread was quicker.
    pub(crate) fn keep(&self, lock: FileLock) -> Arc<FileLock> {
        self.state().lock.get_or_insert(Arc::new(lock)).clone()
    }

    pub(crate) fn settings(&self) -> Settings {
        let state = self.state();
        state
            .hold(Asker::Thread)
            .map_or(state.settings, |hold| hold.settings)
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Settings)) {
        let mut state = self.state();
        if state.threads == Threads::Apart {
            change(&mut state.hold_mut(Asker::Thread).settings);
        } else {
            change(&mut state.settings);
            let settings = state.settings;
            state
                .holds
                .iter_mut()
                .for_each(|hold| hold.settings = settings);
        }
    }

    pub(crate) fn counter(&self) -> usize {
        self.counter_of(Asker::Thread)
    }

    pub(crate) fn counter_of(&self, asker: Asker<'_>) -> usize {
        self.state().hold(asker).map_or(0, |hold| hold.counter)
    }

    /// In which mode it is held; None: not at all.
    pub(crate) fn held(&self, asker: Asker<'_>) -> Option<Mode> {
        let state = self.state();
        let hold = state.hold(asker).filter(|hold| hold.counter > 0);
        hold.map(|hold| hold.mode)
    }

    /// Whether this one took what is held, alone or for all.
    pub(crate) fn was_taken_by(&self, asker: Asker<'_>) -> bool {
        let state = self.state();
        let mut held = state.holds.iter().filter(|hold| hold.counter > 0);
        held.any(|hold| hold.taker == asker.number())
    }

    /// One attempt, which does not wait. None where the lock file has yet to be opened.
    #[inline]
    pub(crate) fn attempt(
        &self,
        mode: Option<Mode>,
        asker: Asker<'_>,
    ) -> Result<Option<Attempt>, Trouble> {
        let mut state = self.state();
        let mode = mode.unwrap_or(state.mode);
        if let Some(attempt) = state.join(mode, asker)? {
            return Ok(Some(attempt));
        }
        let Some(lock) = &state.lock else {
            return Ok(None);
        };
        let mut request = Request::new(mode).try_once();
        // What all threads hold together any of them may release; what a task holds, a task of the
        // same thread will. Where the order counts, tasks of one thread are not to pass as if they
        // were one.
        let stays = if asker.is_task() {
            !state.fair
        } else {
            state.threads != Threads::Together
        };
        if stays {
            request = request.stays_in_thread();
        }
        match lock.acquire_owned(request) {
            Ok(guard) => {
                state.commit(guard, mode, asker);
                Ok(Some(Attempt::Taken))
            }
            Err(error) if error.is_conflict() => Ok(Some(Attempt::Busy(Some(error)))),
            Err(error) => Err(error.into()),
        }
    }

    /// Before a thread waits: looks once more whether it can join a holder, and if not enters it
    /// among those who wait.
    pub(crate) fn begin_wait(
        &self,
        mode: Mode,
        token: &holdlock::CancelToken,
    ) -> Result<bool, Trouble> {
        let mut state = self.state();
        if let Some(Attempt::Again) = state.join(mode, Asker::Thread)? {
            return Ok(true);
        }
        let me = Asker::Thread.number();
        if state.waiting.iter().any(|(number, _)| *number == me) {
            return Err(Trouble::Nested);
        }
        state.waiting.push((me, Call::Token(token.clone())));
        Ok(false)
    }

    /// A thread's wait is over, with what it came to.
    pub(crate) fn end_wait(&self, guard: Option<(OwnedGuard, Mode)>) {
        let mut state = self.state();
        state.forget(Asker::Thread.number());
        if let Some((guard, mode)) = guard {
            state.commit(guard, mode, Asker::Thread);
        }
    }

    /// A task waits: `number` is the wait's, and the task looks for itself whether it can join.
    pub(crate) fn begin_task_wait(&self, number: u64, call: Call) {
        self.state().waiting.push((number, call));
    }

    /// A task's wait is over.
    pub(crate) fn end_task_wait(&self, number: u64) {
        self.state().forget(number);
    }

    /// Acquires once more what is held already. False: it is not.
    pub(crate) fn join(&self, mode: Mode, asker: Asker<'_>) -> Result<bool, Trouble> {
        let joined = self.state().join(mode, asker)?;
        Ok(matches!(joined, Some(Attempt::Again)))
    }

    /// Keeps what a task has waited for.
    pub(crate) fn commit(&self, guard: OwnedGuard, mode: Mode, asker: Asker<'_>) {
        self.state().commit(guard, mode, asker);
    }

    /// Gives the lock back, if it was acquired as often as it was released, or by `force`.
    #[inline]
    pub(crate) fn release(&self, force: bool, asker: Asker<'_>) -> Result<(), Trouble> {
        let mut state = self.state();
        let apart = state.threads == Threads::Apart;
        let mut left = Vec::new();
        if force && apart {
            left = state.leave_ended();
        }
        let mut ours = None;
        let excludes = state.threads == Threads::Exclude;
        if let Some(hold) = state.hold_if_any(asker)
            && hold.counter > 0
        {
            if excludes && !force && hold.taker != asker.number() {
                return Err(Trouble::NotOurs);
            }
            hold.counter -= 1;
            if force || hold.counter == 0 {
                ours = hold.give_up();
            }
        }
        drop(state);
        let result = ours.map_or(Ok(()), OwnedGuard::release);
        for guard in left {
            let _ = guard.release();
        }
        Ok(result?)
    }

    /// Gives the lock, however often it was acquired, to the processes that this one will start.
    pub(crate) fn hand_over(&self, asker: Asker<'_>) -> Result<OwnedFd, Trouble> {
        let mut state = self.state();
        if state.inherited {
            return Err(Trouble::Inherited);
        }
        let excludes = state.threads == Threads::Exclude;
        let hold = state.hold_if_any(asker);
        let hold =
            hold.filter(|hold| hold.counter > 0 && !(excludes && hold.taker != asker.number()));
        let guard = hold.and_then(Hold::give_up).ok_or(Trouble::NotHeld)?;
        drop(state);
        Ok(guard.hand_over()?)
    }

    /// Gives back all that is held, whoever holds it.
    pub(crate) fn release_all(&self) -> Result<(), Trouble> {
        let mut state = self.state();
        let guards: Vec<OwnedGuard> = state.holds.iter_mut().filter_map(Hold::give_up).collect();
        drop(state);
        let released: Vec<_> = guards.into_iter().map(OwnedGuard::release).collect();
        Ok(released.into_iter().collect::<Result<(), _>>()?)
    }

    /// A descriptor of the locked file for who wants to write to it: the lock's own can only be
    /// read. Closing it does not unlock.
    pub(crate) fn lend(&self, asker: Asker<'_>) -> i32 {
        let mut state = self.state();
        let Some(hold) = state.hold_if_any(asker) else {
            return -1;
        };
        let Some(guard) = &hold.guard else {
            return -1;
        };
        let own = guard.as_fd().as_raw_fd();
        hold.lent = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(PathBuf::from(format!("/proc/self/fd/{own}")))
            .ok();
        hold.lent.as_ref().map_or(own, AsRawFd::as_raw_fd)
    }
}

impl Hold {
    fn give_up(&mut self) -> Option<OwnedGuard> {
        self.counter = 0;
        self.lent = None;
        self.guard.take()
    }
}

impl State {
    #[cold]
    fn become_child(&mut self) {
        self.generation = fork::generation();
        self.inherited |= self.holds.iter().any(|hold| hold.counter > 0);
        self.holds.iter_mut().for_each(|hold| drop(hold.give_up()));
        self.waiting.clear();
    }

    fn key(&self, asker: Asker<'_>) -> u64 {
        match self.threads {
            Threads::Apart => asker.number(),
            Threads::Together | Threads::Exclude => 0,
        }
    }

    fn hold(&self, asker: Asker<'_>) -> Option<&Hold> {
        let key = self.key(asker);
        self.holds.iter().find(|hold| hold.whose == key)
    }

    #[inline]
    fn hold_if_any(&mut self, asker: Asker<'_>) -> Option<&mut Hold> {
        let key = self.key(asker);
        self.holds.iter_mut().find(|hold| hold.whose == key)
    }

    fn hold_mut(&mut self, asker: Asker<'_>) -> &mut Hold {
        let key = self.key(asker);
        let position = self.holds.iter().position(|hold| hold.whose == key);
        let position = position.unwrap_or_else(|| {
            // Who has ended and holds nothing will not come again.
            self.holds.retain(|hold| {
                hold.counter > 0 || hold.whose == 0 || hold.alive.strong_count() > 0
            });
            self.holds.push(Hold {
                whose: key,
                alive: asker.alive(),
                settings: self.settings,
                counter: 0,
                mode: self.mode,
                guard: None,
                lent: None,
                taker: 0,
            });
            self.holds.len() - 1
        });
        &mut self.holds[position]
    }

    fn forget(&mut self, number: u64) {
        self.waiting.retain(|(other, _)| *other != number);
    }

    /// Acquires once more what is held already. None: it is not.
    #[inline]
    fn join(&mut self, mode: Mode, asker: Asker<'_>) -> Result<Option<Attempt>, Trouble> {
        if self.inherited {
            return Err(Trouble::Inherited);
        }
        let excludes = self.threads == Threads::Exclude;
        if excludes && mode == Mode::Shared {
            return Err(Trouble::SharedMutex);
        }
        match self.hold_if_any(asker) {
            Some(hold) if hold.counter > 0 => {
                if excludes && hold.taker != asker.number() {
                    return Ok(Some(Attempt::Busy(None)));
                }
                if hold.mode == Mode::Shared && mode == Mode::Exclusive {
                    return Err(Trouble::Upgrade);
                }
                hold.counter += 1;
                Ok(Some(Attempt::Again))
            }
            _ => Ok(None),
        }
    }

    #[inline]
    fn commit(&mut self, guard: OwnedGuard, mode: Mode, asker: Asker<'_>) {
        let hold = self.hold_mut(asker);
        if hold.counter > 0 {
            // Two waited for a shared lock and both got it: they hold it together.
            hold.counter += 1;
            return;
        }
        hold.guard = Some(guard);
        hold.counter = 1;
        hold.mode = mode;
        hold.taker = asker.number();
        if self.threads == Threads::Together {
            // Who waits can hold it together with this one.
            for (_, call) in &self.waiting {
                call.ring();
            }
        }
    }

    /// What threads and tasks held that have ended without releasing it.
    fn leave_ended(&mut self) -> Vec<OwnedGuard> {
        let ended = self
            .holds
            .iter_mut()
            .filter(|hold| hold.alive.strong_count() == 0);
        ended.filter_map(Hold::give_up).collect()
    }
}
