//! Values that are made once, by calls of Python.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// The value of the cell. `make` makes it, if there is none.
///
/// No lock is held while `make` runs. It calls Python, where a signal handler may run that uses
/// locks itself, and needs the same value; and another thread may fork, whose child would wait for
/// a thread that it does not have. If two calls make the value, both get that of the first one.
pub(crate) fn once<'a, T>(
    py: Python<'_>,
    cell: &'a PyOnceLock<T>,
    make: impl FnOnce() -> PyResult<T>,
) -> PyResult<&'a T> {
    if let Some(value) = cell.get(py) {
        return Ok(value);
    }
    let value = make()?;
    Ok(cell.get_or_init(py, || value))
}
