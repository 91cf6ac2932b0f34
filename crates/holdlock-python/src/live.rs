//! All lock objects of the process: what becomes of them in a child, and at exit.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::state::Shared;

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

type Live = HashMap<usize, Weak<Shared>>;

fn live() -> MutexGuard<'static, Live> {
    static LIVE: OnceLock<Mutex<Live>> = OnceLock::new();
    LIVE.get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn enter(shared: &Arc<Shared>) {
    live().insert(Arc::as_ptr(shared).addr(), Arc::downgrade(shared));
}

pub(crate) fn leave(shared: &Shared) {
    live().remove(&std::ptr::from_ref(shared).addr());
}

/// Releases what this thread holds, and what ended threads have left held: a process that has
/// inherited a descriptor would keep those locks. What a thread holds that still runs it may
/// still need.
#[pyfunction]
pub(crate) fn release_at_exit(alone: bool) {
    let all: Vec<Arc<Shared>> = live().values().filter_map(Weak::upgrade).collect();
    for shared in all {
        // Nobody is left to be told.
        let _ = shared.release_at_exit(alone);
    }
}
