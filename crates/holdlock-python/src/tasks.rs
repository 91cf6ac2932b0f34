//! The functions for asynchronous code, for a task or (if `task` is None) for the calling thread.

use std::time::Duration;

use holdlock::Mode;
use pyo3::prelude::*;

use crate::cancel::CancelToken;
use crate::error::Failure;
use crate::lock::{NativeLock, mode_of};
use crate::requester::{Requester, Task};
use crate::shared::Attempt;
use crate::thread;
use crate::waiter::{Waiter, Wish};
use crate::wakeup::Wakeups;

/// Acquires the lock without waiting. True: it was not held before; False: the task held it
/// already; None: it is not free, and the task may wait. Does not call the hook.
#[pyfunction]
#[pyo3(signature = (lock, shared, may_wait, task, note=None, /))]
pub(crate) fn try_acquire(
    lock: &Bound<'_, NativeLock>,
    shared: Option<bool>,
    may_wait: bool,
    task: Option<Bound<'_, Task>>,
    note: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<bool>> {
    let py = lock.py();
    thread::enter(py)?;
    let core = lock.get().core()?;
    let note = core.note_of(py, note)?;
    let raise = |failure: Failure| failure.raise(py, core.name());
    core.opened_for_tasks(py).map_err(raise)?;
    let requester = Requester::of(task.as_ref());
    match core
        .shared
        .attempt(py, shared.map(mode_of), requester, note.as_deref())
        .map_err(raise)?
    {
        Some(Attempt::Again) => Ok(Some(false)),
        Some(Attempt::Taken) => Ok(Some(true)),
        Some(Attempt::Busy(busy)) if !may_wait => Err(raise(busy)),
        Some(Attempt::Busy(_)) | None => Ok(None),
    }
}

/// A wait for the lock, of `limit` seconds; negative: without a limit. `wakeups` is the pipe of the
/// loop; without it the wait has a pipe of its own.
#[pyfunction]
#[pyo3(signature = (lock, shared, limit, task, cancel, wakeups=None, note=None, /))]
pub(crate) fn queue(
    lock: &Bound<'_, NativeLock>,
    shared: Option<bool>,
    limit: f64,
    task: Option<Bound<'_, Task>>,
    cancel: Option<Bound<'_, CancelToken>>,
    wakeups: Option<Bound<'_, Wakeups>>,
    note: Option<&Bound<'_, PyAny>>,
) -> PyResult<Waiter> {
    let py = lock.py();
    let core = lock.get().core()?;
    let opened = core
        .opened_for_tasks(py)
        .map_err(|failure| failure.raise(py, core.name()))?;
    let wish = Wish {
        mode: shared.map_or(core.shared.mode, mode_of),
        limit: Duration::try_from_secs_f64(limit).ok(),
        task,
        cancel,
        wakeups,
        note: core.note_of(py, note)?,
    };
    Waiter::new(lock, &opened, wish)
}

/// `FileLock.release`.
#[pyfunction]
#[pyo3(signature = (lock, force, task, /))]
pub(crate) fn release(
    lock: &Bound<'_, NativeLock>,
    force: bool,
    task: Option<Bound<'_, Task>>,
) -> PyResult<()> {
    let core = lock.get().core()?;
    core.shared
        .release(force, Requester::of(task.as_ref()))
        .map_err(|failure| failure.raise(lock.py(), core.name()))
}

/// Undoes the acquisitions of the thread or task until it has acquired the lock so many times. For
/// locks that each thread or task holds by itself.
#[pyfunction]
#[pyo3(signature = (lock, counter, task, /))]
pub(crate) fn undo(
    lock: &Bound<'_, NativeLock>,
    counter: usize,
    task: Option<Bound<'_, Task>>,
) -> PyResult<()> {
    let core = lock.get().core()?;
    let requester = Requester::of(task.as_ref());
    while core.shared.counter(requester) > counter {
        let released = core.shared.release(false, requester);
        released.map_err(|failure| failure.raise(lock.py(), core.name()))?;
    }
    Ok(())
}

/// `FileLock.hand_over`.
#[pyfunction]
#[pyo3(signature = (lock, task, /))]
pub(crate) fn hand_over(
    lock: &Bound<'_, NativeLock>,
    task: Option<Bound<'_, Task>>,
) -> PyResult<i32> {
    let core = lock.get().core()?;
    core.hand_over(lock.py(), Requester::of(task.as_ref()))
}

/// `FileLock.release_abandoned`.
#[pyfunction]
#[pyo3(signature = (lock, task, /))]
pub(crate) fn release_abandoned(
    lock: &Bound<'_, NativeLock>,
    task: Option<Bound<'_, Task>>,
) -> PyResult<()> {
    let core = lock.get().core()?;
    core.release_abandoned(lock.py(), Requester::of(task.as_ref()))
}

/// Releases what all threads and tasks hold.
#[pyfunction]
#[pyo3(signature = (lock, /))]
pub(crate) fn release_all(lock: &Bound<'_, NativeLock>) -> PyResult<()> {
    let core = lock.get().core()?;
    core.shared
        .release_all()
        .map_err(|failure| failure.raise(lock.py(), core.name()))
}

/// How the lock is held. True: shared; False: exclusively; None: not at all.
#[pyfunction]
#[pyo3(signature = (lock, task, /))]
pub(crate) fn held(
    lock: &Bound<'_, NativeLock>,
    task: Option<Bound<'_, Task>>,
) -> PyResult<Option<bool>> {
    let held = lock.get().core()?.shared.held(Requester::of(task.as_ref()));
    Ok(held.map(|mode| mode == Mode::Shared))
}

/// How many times the lock was acquired and not yet released.
#[pyfunction]
#[pyo3(signature = (lock, task, /))]
pub(crate) fn counter(
    lock: &Bound<'_, NativeLock>,
    task: Option<Bound<'_, Task>>,
) -> PyResult<usize> {
    let core = lock.get().core()?;
    Ok(core.shared.counter(Requester::of(task.as_ref())))
}

/// Whether the lock is held, and this task has acquired it.
#[pyfunction]
#[pyo3(signature = (lock, task, /))]
pub(crate) fn was_taken_by(lock: &Bound<'_, NativeLock>, task: &Bound<'_, Task>) -> PyResult<bool> {
    let core = lock.get().core()?;
    Ok(core.shared.was_taken_by(Requester::Task(task.get())))
}

/// A descriptor for the hook.
#[pyfunction]
#[pyo3(signature = (lock, task, /))]
pub(crate) fn lend(lock: &Bound<'_, NativeLock>, task: Option<Bound<'_, Task>>) -> PyResult<i32> {
    let core = lock.get().core()?;
    let lent = core.shared.lend(Requester::of(task.as_ref()));
    lent.map_err(|failure| failure.raise(lock.py(), core.name()))
}
