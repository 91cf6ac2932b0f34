//! The result of `acquire`.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

/// An acquired lock. A `with` statement on it releases the lock once at its end.
#[pyclass(frozen, module = "holdlock")]
pub(crate) struct AcquireReturnProxy {
    /// The lock.
    #[pyo3(get)]
    lock: Py<PyAny>,
}

#[pymethods]
impl AcquireReturnProxy {
    #[new]
    pub(crate) fn new(lock: Py<PyAny>) -> AcquireReturnProxy {
        AcquireReturnProxy { lock }
    }

    /// For the collector: a lock may keep the proxy in an attribute.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.lock)
    }

    fn __enter__(&self, py: Python<'_>) -> Py<PyAny> {
        self.lock.clone_ref(py)
    }

    #[pyo3(signature = (*exception))]
    fn __exit__(&self, py: Python<'_>, exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        let lock = self.lock.bind(py);
        // A read/write lock has no `__exit__`.
        match lock.getattr_opt("__exit__")? {
            Some(exit) => exit.call1(exception.clone()).map(drop),
            None => lock.call_method0("release").map(drop),
        }
    }

    /// `AcquireReturnProxy[FileLock]` in annotations.
    #[classmethod]
    fn __class_getitem__(class: &Bound<'_, PyType>, item: Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let alias = class.py().import("types")?.getattr("GenericAlias")?;
        alias.call1((class, item)).map(Bound::unbind)
    }
}
