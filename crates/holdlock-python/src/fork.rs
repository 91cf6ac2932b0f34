//! Notices that this process is a child of fork.
//!
//! The library makes sure that a child neither keeps nor releases the locks of its parent. This
//! file lets the objects in the child know that they are not held.

use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyDict;

/// A number that each child increases by one.
static GENERATION: AtomicU32 = AtomicU32::new(1);

/// A number that differs between a process and its children.
#[inline]
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Registers a hook that changes the number in each child.
///
/// Python's own hook runs while no other thread runs Python code. Therefore no thread that is
/// missing in the child has locked a mutex of this module at that moment.
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
