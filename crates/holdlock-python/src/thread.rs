//! The identity of the calling thread, and whether a thread is still running.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::once::once;

thread_local! {
    static NUMBER: Cell<u64> = const { Cell::new(0) };
    static ALIVE: RefCell<Weak<()>> = const { RefCell::new(Weak::new()) };
}

/// A number for this thread. No other thread ever gets it, unlike the system's number.
#[inline]
pub(crate) fn number() -> u64 {
    let number = NUMBER.get();
    if number != 0 {
        return number;
    }
    NUMBER.set(fresh_number());
    NUMBER.get()
}

/// A number that no thread, task or wait has had before.
pub(crate) fn fresh_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A reference that dies with this thread.
pub(crate) fn alive() -> Weak<()> {
    ALIVE.with_borrow(Weak::clone)
}

/// Python keeps it until the thread ends: it is gone before `join()` returns in another thread. The
/// system's thread may end later.
#[pyclass(frozen)]
struct Presence {
    _alive: Arc<()>,
}

/// Makes the end of this thread noticeable, before it acquires a lock.
#[inline]
pub(crate) fn enter(py: Python<'_>) -> PyResult<()> {
    if ALIVE.with_borrow(|alive| alive.strong_count() > 0) {
        return Ok(());
    }
    begin(py)
}

/// Python's data of each thread. Made early: while the interpreter ends, nothing can be imported.
pub(crate) fn local(py: Python<'_>) -> PyResult<&Py<PyAny>> {
    static LOCAL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    once(py, &LOCAL, || {
        let local = py.import("_thread")?.getattr("_local")?.call0()?;
        Ok(local.unbind())
    })
}

#[cold]
fn begin(py: Python<'_>) -> PyResult<()> {
    let local = local(py)?;
    let alive = Arc::new(());
    ALIVE.set(Arc::downgrade(&alive));
    local
        .bind(py)
        .setattr("presence", Presence { _alive: alive })
}
