//! Releases what is still held when the program has ended: a daemon thread holds it, or something
//! keeps the lock for ever.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pyo3::prelude::*;

use super::holds::Holds;

/// The holds of all objects that have acquired their lock, also of those that have released it.
///
/// The mutex is locked only together with the interpreter.
static ALL: Mutex<Vec<Weak<Holds>>> = Mutex::new(Vec::new());

fn all() -> MutexGuard<'static, Vec<Weak<Holds>>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether `sys` has the attribute. Changed only together with the interpreter.
static PLACED: AtomicBool = AtomicBool::new(false);

/// An attribute of the module `sys`. Python drops these after all other modules: no thread runs
/// Python code by then, so nothing works under the locks any more. The hooks of `atexit` run while
/// daemon threads still work.
#[pyclass(frozen)]
struct AtEnd {
    /// `sys.is_finalizing`: the module has lost its attributes when it is asked.
    is_ending: Py<PyAny>,
}

impl AtEnd {
    fn is_at_end(&self) -> bool {
        let is_ending = Python::try_attach(|py| self.is_ending.call0(py)?.is_truthy(py));
        // Without an answer, the locks end with the process.
        matches!(is_ending, Some(Ok(true)))
    }
}

impl Drop for AtEnd {
    fn drop(&mut self) {
        if !self.is_at_end() {
            // Somebody has removed the attribute, as a test does that restores `sys.__dict__`.
            PLACED.store(false, Ordering::Relaxed);
            return;
        }
        let all = std::mem::take(&mut *all());
        for holds in all.iter().filter_map(Weak::upgrade) {
            holds.release_in_background();
        }
    }
}

/// Has what is held released at the end of the program.
pub(super) fn note(py: Python<'_>, holds: &Arc<Holds>) -> PyResult<()> {
    // Not a second time: the first one would be dropped.
    if !PLACED.swap(true, Ordering::Relaxed) {
        let sys = py.import("sys")?;
        let is_ending = sys.getattr("is_finalizing")?.unbind();
        // No attribute of somebody else has a name with a space.
        sys.setattr("holdlock engines", Py::new(py, AtEnd { is_ending })?)?;
    }
    let mut all = all();
    all.retain(|known| known.strong_count() > 0);
    let holds = Arc::downgrade(holds);
    if !all.iter().any(|known| known.ptr_eq(&holds)) {
        all.push(holds);
    }
    Ok(())
}
