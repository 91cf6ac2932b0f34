//! The native part of `LockSet` and `AsyncLockSet`: several locks, all or none.
//!
//! A set keeps what it acquires in its locks: within the block each lock object is held, as if it
//! had been acquired by itself. A lock that the requester already holds by its object is acquired
//! once more, and the library acquires the rest.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use holdlock::{
    CancelToken as Token, Error, FileLock, LockSet, Mode, OwnedGuard, Request, SetGuard,
};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyTuple};

use crate::blocking::{self, Limits};
use crate::cancel::{Alert, CancelToken};
use crate::core::Core;
use crate::error::{self, Failure};
use crate::fork;
use crate::hold::Threads;
use crate::lock::{NativeLock, mode_of};
use crate::pending::Pending;
use crate::requester::{Requester, Task};
use crate::signal::{Answer, Signal};
use crate::thread;
use crate::wakeup::Wakeups;

#[pyclass(frozen, subclass, module = "holdlock._native")]
pub(crate) struct NativeLockSet {
    /// Set by `__init__`.
    members: OnceLock<Arc<Members>>,
    /// The default timeout, and whether a request waits by default.
    settings: Mutex<(f64, bool)>,
    held: Mutex<Held>,
}

/// The threads and tasks that hold the set, and the process in which they do.
struct Held {
    generation: u32,
    by: HashMap<u64, Holder>,
}

#[derive(Default)]
struct Holder {
    /// How often it holds the set.
    count: usize,
    /// None: a thread.
    task: Option<Py<Task>>,
}

struct Members(Vec<(Py<NativeLock>, Mode)>);

/// The members by their numbers: those that the requester holds, and the rest.
struct Step {
    joined: Vec<usize>,
    rest: Vec<usize>,
}

impl Members {
    fn core(&self, number: usize) -> PyResult<&Core> {
        self.0[number].0.get().core()
    }

    /// The first lock file, as the caller has named it.
    fn name(&self) -> &OsStr {
        let core = (!self.0.is_empty()).then(|| self.core(0).ok()).flatten();
        core.map_or(OsStr::new(""), Core::name)
    }

    /// The error, with the name of the lock in the way.
    fn raise(&self, py: Python<'_>, failure: Failure) -> PyErr {
        let mut cores = (0..self.0.len()).filter_map(|number| self.core(number).ok());
        let core = match &failure {
            Failure::Library(error) => cores.find(|core| core.path() == error.path()),
            _ => None,
        };
        failure.raise(py, core.map_or_else(|| self.name(), Core::name))
    }

    /// Acquires once more what the requester holds.
    fn join(&self, py: Python<'_>, requester: Requester<'_>) -> PyResult<Step> {
        let mut step = Step {
            joined: Vec::new(),
            rest: Vec::new(),
        };
        for (number, (_, mode)) in self.0.iter().enumerate() {
            let core = self.core(number)?;
            match core.shared.join(*mode, requester) {
                Ok(true) => step.joined.push(number),
                Ok(false) => step.rest.push(number),
                Err(failure) => {
                    self.leave(&step.joined, requester);
                    return Err(failure.raise(py, core.name()));
                }
            }
        }
        Ok(step)
    }

    /// Whether the requester still holds these members: then they are acquired once more.
    fn join_again(&self, joined: &[usize], requester: Requester<'_>) -> bool {
        for (done, number) in joined.iter().enumerate() {
            let core = self.core(*number).ok();
            let again = core.map(|core| core.shared.join(self.0[*number].1, requester));
            if !matches!(again, Some(Ok(true))) {
                self.leave(&joined[..done], requester);
                return false;
            }
        }
        true
    }

    /// Undoes one acquisition of each of these members, the last one first.
    fn leave(&self, members: &[usize], requester: Requester<'_>) -> Option<(usize, Failure)> {
        let mut failed = None;
        for number in members.iter().rev() {
            if let Ok(core) = self.core(*number)
                && let Err(failure) = core.shared.release(false, requester)
            {
                failed.get_or_insert((*number, failure));
            }
        }
        failed
    }

    fn set_of(
        &self,
        py: Python<'_>,
        rest: &[usize],
        requester: Requester<'_>,
    ) -> PyResult<LockSet> {
        let member = |number: &usize| {
            let core = self.core(*number)?;
            let lock = if requester.is_task() {
                core.opened_for_tasks(py)
            } else {
                core.opened(py)
            };
            let lock = lock.map_err(|failure| failure.raise(py, core.name()))?;
            Ok((FileLock::clone(&lock), self.0[*number].1))
        };
        rest.iter().map(member).collect()
    }

    fn any_together(&self) -> bool {
        let mut cores = (0..self.0.len()).filter_map(|number| self.core(number).ok());
        cores.any(|core| core.shared.threads == Threads::Together)
    }

    /// Keeps the guards in the locks.
    fn keep(&self, guard: SetGuard<OwnedGuard>, rest: &[usize], requester: Requester<'_>) {
        let guards = guard.guards().iter();
        let position = |member| {
            let own = guard.get(member)?;
            guards.clone().position(|other| std::ptr::eq(other, own))
        };
        let positions: Vec<Option<usize>> = (0..rest.len()).map(position).collect();
        let mut guards: Vec<_> = guard.into_guards().into_iter().map(Some).collect();
        for (number, position) in rest.iter().zip(positions) {
            let Ok(core) = self.core(*number) else {
                continue;
            };
            let mode = self.0[*number].1;
            match position.and_then(|position| guards[position].take()) {
                Some(guard) => core.shared.commit(guard, mode, requester),
                // Another member is the same file, and has the guard.
                None => core.shared.commit_together(mode, requester),
            }
        }
    }

    /// One attempt, which does not wait.
    fn attempt(
        &self,
        py: Python<'_>,
        requester: Requester<'_>,
        may_wait: bool,
    ) -> PyResult<Option<(Step, LockSet)>> {
        let step = self.join(py, requester)?;
        let tried = self.set_of(py, &step.rest, requester).and_then(|set| {
            let mut request = Request::exclusive().try_once();
            if !requester.is_task() && !self.any_together() {
                request = request.stays_in_thread();
            }
            match py.detach(|| set.acquire_owned(request)) {
                Ok(guard) => {
                    self.keep(guard, &step.rest, requester);
                    Ok(None)
                }
                Err(error) if error.is_conflict() && may_wait => Ok(Some(set)),
                Err(error) => Err(self.raise(py, error.into())),
            }
        });
        match tried {
            Ok(None) => Ok(None),
            Ok(Some(set)) => {
                self.leave(&step.joined, requester);
                Ok(Some((step, set)))
            }
            Err(error) => {
                self.leave(&step.joined, requester);
                Err(error)
            }
        }
    }

    /// Acquires all members for the calling thread.
    fn acquire(&self, py: Python<'_>, limits: &Limits<'_>) -> PyResult<()> {
        let me = Requester::Thread;
        loop {
            let Some((step, set)) = self.attempt(py, me, limits.may_wait())? else {
                return Ok(());
            };
            let token = Token::new();
            let Some(waits) = self.begin_waits(py, &step.rest, &token)? else {
                continue;
            };
            let together = self.any_together();
            let alert = together.then_some(&token);
            let taken = blocking::make(py, limits, alert, !together, |request| {
                set.acquire_owned(request)
            });
            self.end_waits(&waits);
            match taken {
                Ok(guard) if self.join_again(&step.joined, me) => {
                    self.keep(guard, &step.rest, me);
                    return Ok(());
                }
                // Another thread has released a lock that it held together with this one.
                Ok(guard) => drop(guard),
                Err(Failure::Library(Error::Cancelled { .. })) if !limits.is_cancelled() => {}
                Err(failure) => return Err(self.raise(py, failure)),
            }
        }
    }

    /// Registers the waits of the calling thread. None: it can join a holder by now.
    fn begin_waits(
        &self,
        py: Python<'_>,
        rest: &[usize],
        token: &Token,
    ) -> PyResult<Option<Vec<usize>>> {
        let mut begun = Vec::new();
        for number in rest {
            let core = self.core(*number)?;
            match core.shared.begin_wait(self.0[*number].1, token) {
                Ok(false) => begun.push(*number),
                Ok(true) => {
                    self.leave(&[*number], Requester::Thread);
                    self.end_waits(&begun);
                    return Ok(None);
                }
                Err(failure) => {
                    self.end_waits(&begun);
                    return Err(failure.raise(py, core.name()));
                }
            }
        }
        Ok(Some(begun))
    }

    fn end_waits(&self, waits: &[usize]) {
        for number in waits {
            if let Ok(core) = self.core(*number) {
                core.shared.end_wait(None);
            }
        }
    }
}

/// The waits of a task. Dropping it ends them.
struct TaskWaits {
    members: Arc<Members>,
    rest: Vec<usize>,
    number: u64,
}

impl TaskWaits {
    fn begin(members: Arc<Members>, rest: Vec<usize>, alert: &Alert) -> TaskWaits {
        let number = thread::fresh_number();
        for member in &rest {
            if let Ok(core) = members.core(*member) {
                core.shared.begin_task_wait(number, alert.clone());
            }
        }
        TaskWaits {
            members,
            rest,
            number,
        }
    }
}

impl Drop for TaskWaits {
    fn drop(&mut self) {
        for member in &self.rest {
            if let Ok(core) = self.members.core(*member) {
                core.shared.end_task_wait(self.number);
            }
        }
    }
}

impl Held {
    fn nothing() -> Held {
        Held {
            generation: fork::generation(),
            by: HashMap::new(),
        }
    }

    /// Undoes one acquisition of this holder. Returns its task.
    fn undo(&mut self, number: u64) -> Option<Option<Py<Task>>> {
        let holder = self.by.get_mut(&number)?;
        holder.count -= 1;
        if holder.count > 0 {
            return Some(
                holder
                    .task
                    .as_ref()
                    .map(|task| Python::attach(|py| task.clone_ref(py))),
            );
        }
        self.by.remove(&number).map(|holder| holder.task)
    }

    /// A task that has ended and holds the set: `asyncio.wait_for` runs an acquisition in a task of
    /// its own.
    fn ended(&self) -> Option<u64> {
        let mut tasks = self.by.values().filter_map(|holder| holder.task.as_ref());
        let ended = tasks.find(|task| task.get().has_ended())?;
        Some(Requester::Task(ended.get()).number())
    }
}

impl NativeLockSet {
    fn members(&self) -> PyResult<&Arc<Members>> {
        self.members
            .get()
            .ok_or_else(|| Python::attach(|py| Failure::NoInit.raise(py, OsStr::new(""))))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.generation != fork::generation() {
            // A child of fork does not hold what its parent holds.
            *held = Held::nothing();
        }
        held
    }

    fn count(&self, task: Option<&Bound<'_, Task>>) {
        let mut held = self.held();
        let holder = held.by.entry(Requester::of(task).number()).or_default();
        holder.count += 1;
        holder.task = task.map(|task| task.clone().unbind());
    }
}

#[pymethods]
impl NativeLockSet {
    #[new]
    #[pyo3(signature = (*_arguments, **_options))]
    fn new(_arguments: &Bound<'_, PyTuple>, _options: Option<&Bound<'_, PyDict>>) -> NativeLockSet {
        NativeLockSet {
            members: OnceLock::new(),
            settings: Mutex::new((-1.0, true)),
            held: Mutex::new(Held::nothing()),
        }
    }

    /// Python code has checked the members: each lock once, and whether it is shared.
    fn __init__(&self, members: Vec<(Py<NativeLock>, bool)>, timeout: f64, blocking: bool) {
        let members = members.into_iter();
        let members = members.map(|(lock, shared)| (lock, mode_of(shared)));
        if self
            .members
            .set(Arc::new(Members(members.collect())))
            .is_ok()
        {
            self._set(timeout, blocking);
        }
    }

    /// For the collector: a lock may keep its set in an attribute.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.members.get() {
            // A waiting request shares the members, and is none of the collector's objects.
            Some(members) if Arc::strong_count(members) == 1 => {
                members.0.iter().try_for_each(|(lock, _)| visit.call(lock))
            }
            _ => Ok(()),
        }
    }

    /// Acquires all locks with the set's own limit. Native, so that no exception of a signal
    /// handler comes between the acquisition and the block.
    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        let (timeout, blocking) = slf.get()._settings();
        let limit = if blocking { timeout } else { 0.0 };
        slf.get()._take(slf.py(), limit, None)?;
        Ok(slf.clone())
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self._give_back(py, None)
    }

    /// The thread acquires all locks, and waits for at most `limit` seconds; negative: for as long
    /// as it takes; 0: not at all.
    fn _take(
        &self,
        py: Python<'_>,
        limit: f64,
        cancel: Option<Bound<'_, CancelToken>>,
    ) -> PyResult<()> {
        thread::enter(py)?;
        self.members()?.acquire(py, &Limits::new(limit, cancel))?;
        self.count(None);
        Ok(())
    }

    /// The task acquires all locks if they are free now. False: one is not, and the task may wait.
    fn _try(
        &self,
        py: Python<'_>,
        may_wait: bool,
        task: Option<Bound<'_, Task>>,
    ) -> PyResult<bool> {
        let requester = Requester::of(task.as_ref());
        let taken = self.members()?.attempt(py, requester, may_wait)?.is_none();
        if taken {
            self.count(task.as_ref());
        }
        Ok(taken)
    }

    /// A wait of the task for all locks. Its result is True, or False if the task has to try again.
    /// `wakeups` is the pipe of the loop; without it the wait has a pipe of its own.
    #[pyo3(signature = (limit, task, cancel, wakeups=None, /))]
    fn _queue(
        slf: &Bound<'_, Self>,
        limit: f64,
        task: Option<Bound<'_, Task>>,
        cancel: Option<Bound<'_, CancelToken>>,
        wakeups: Option<Bound<'_, Wakeups>>,
    ) -> PyResult<Pending> {
        let py = slf.py();
        let members = slf.get().members()?.clone();
        let signal = Signal::new(wakeups.as_ref())
            .map_err(|error| error::io_error(&error, members.name()))?;
        let requester = Requester::of(task.as_ref());
        let step = members.join(py, requester)?;
        members.leave(&step.joined, requester);
        let set = members.set_of(py, &step.rest, requester)?;
        let token = Token::new();
        let request = Limits::new(limit, None).of(Request::exclusive().cancel(&token));
        let future = set.acquire_async(request);
        let waits = TaskWaits::begin(members, step.rest, &Alert::of(&signal, Some(&token)));
        let (this, task) = (slf.clone().unbind(), task.map(Bound::unbind));
        let theirs = cancel.as_ref().map(|cancel| cancel.clone().unbind());
        let finish = move |py: Python<'_>, answer: Answer<_>| {
            let members = &waits.members;
            let requester = task
                .as_ref()
                .map_or(Requester::Thread, |task| Requester::Task(task.get()));
            let taken = match answer {
                Ok(guard) if members.join_again(&step.joined, requester) => {
                    members.keep(guard, &waits.rest, requester);
                    this.get().count(task.as_ref().map(|task| task.bind(py)));
                    true
                }
                Ok(_) => false,
                Err(Error::Cancelled { .. })
                    if !theirs.is_some_and(|cancel| cancel.get().is_cancelled()) =>
                {
                    false
                }
                Err(error) => return Err(members.raise(py, error.into())),
            };
            Ok(PyBool::new(py, taken).to_owned().into_any().unbind())
        };
        Ok(Pending::new(token, signal, cancel, future, finish))
    }

    /// Undoes one acquisition of the thread or task; if it does not hold the set, one of a task
    /// that has ended. Does nothing if there is none.
    fn _give_back(&self, py: Python<'_>, task: Option<Bound<'_, Task>>) -> PyResult<()> {
        let members = self.members()?;
        let undone = {
            let mut held = self.held();
            let own = held.undo(Requester::of(task.as_ref()).number());
            own.or_else(|| held.ended().and_then(|number| held.undo(number)))
        };
        let Some(task) = undone else {
            return Ok(());
        };
        let requester = task
            .as_ref()
            .map_or(Requester::Thread, |task| Requester::Task(task.get()));
        let all: Vec<usize> = (0..members.0.len()).collect();
        match members.leave(&all, requester) {
            None => Ok(()),
            Some((number, failure)) => Err(failure.raise(py, members.core(number)?.name())),
        }
    }

    fn _is_held(&self, task: Option<Bound<'_, Task>>) -> bool {
        let number = Requester::of(task.as_ref()).number();
        self.held().by.contains_key(&number)
    }

    /// The timeout, and blocking.
    #[getter]
    fn _settings(&self) -> (f64, bool) {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn _set(&self, timeout: f64, blocking: bool) {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = (timeout, blocking);
    }
}
