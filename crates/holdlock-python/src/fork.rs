//! Noticing that this process is a child.
//!
//! The library sees to it that a child neither keeps nor releases what its parent holds; here it
//! is about what the objects say of themselves.

use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Grows in each child.
static GENERATION: AtomicU32 = AtomicU32::new(1);

/// A number that differs between a process and its children.
#[inline]
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// From now on, children know that they are children.
///
/// By Python's own hook: it runs while no other thread is inside the interpreter, so that no
/// mutex of ours is locked at that moment by a thread that the child does not have.
pub(crate) fn notice_forks(py: Python<'_>) -> PyResult<()> {
    let hook = pyo3::wrap_pyfunction!(after_fork_in_child, py)?;
    let arguments = PyDict::new(py);
    arguments.set_item("after_in_child", hook)?;
    py.import("os")?
        .call_method("register_at_fork", (), Some(&arguments))?;
    Ok(())
}

#[pyfunction]
fn after_fork_in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}
