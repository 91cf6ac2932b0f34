//! The functions for asynchronous code, for a task or (if `task` is None) for the calling thread.

use holdlock::Mode;
use pyo3::prelude::*;

use crate::lock::NativeLock;
use crate::requester::{Requester, Task};

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
