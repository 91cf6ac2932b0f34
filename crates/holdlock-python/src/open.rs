//! Opens the lock file when it is first needed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use holdlock::{FileLock, LockOptions};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::core::Core;
use crate::error::{self, Failure};
use crate::process::Process;
use crate::shared::Shared;

/// A path as an argument. `argument` is its name.
pub(crate) fn path_of(argument: &str, given: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    given.extract().map_err(|error: PyErr| {
        // `__fspath__` may have raised an error of its own, and a str may not be encodable.
        if given.is_instance_of::<PyString>() || !error.is_instance_of::<PyTypeError>(given.py()) {
            return error;
        }
        let kind = given.get_type().qualname();
        let kind = kind.map_or_else(|_| "another type".to_owned(), |kind| kind.to_string());
        PyTypeError::new_err(format!(
            "{argument} must be a str or an os.PathLike object of a str, not {kind}"
        ))
    })
}

/// A note as an argument.
pub(crate) fn note_of(given: Option<&Bound<'_, PyAny>>) -> PyResult<Option<String>> {
    let Some(given) = given.filter(|given| !given.is_none()) else {
        return Ok(None);
    };
    match given.cast::<PyString>() {
        // It may contain a path that is no text.
        Ok(text) => Ok(Some(text.to_string_lossy().into_owned())),
        Err(_) => {
            let kind = given.get_type().qualname();
            let kind = kind.map_or_else(|_| "another type".to_owned(), |kind| kind.to_string());
            Err(PyTypeError::new_err(format!(
                "note must be a str, not {kind}"
            )))
        }
    }
}

/// Opens a lock file, unless its name is no name of a file.
pub(crate) fn checked<T>(
    name: &OsStr,
    path: &Path,
    open: impl FnOnce(&Path) -> Result<T, holdlock::Error>,
) -> Result<T, Failure> {
    if name.is_empty() {
        let message = "No such file or directory";
        return Err(error::os_error(libc::ENOENT, message, name).into());
    }
    if name.as_encoded_bytes().contains(&0) {
        return Err(PyValueError::new_err("embedded null byte").into());
    }
    // The kernel would lock a directory, but a directory as a lock file is a mistake.
    if std::fs::symlink_metadata(path).is_ok_and(|it| it.is_dir()) {
        let message = "Is a directory, which cannot be a lock file";
        return Err(error::os_error(libc::EISDIR, message, name).into());
    }
    Ok(open(path)?)
}

/// All that makes a difference between two opened locks: the path, the permissions, and the options
/// `fair`, `record` and `upgradeable`.
type Key = (PathBuf, i32, [bool; 3]);

/// The locks of asynchronous code. Objects with the same key share one, and so its thread. The
/// mutex is locked only together with the interpreter, so that no child of fork finds it locked.
static OF_TASKS: Mutex<BTreeMap<Key, Weak<FileLock>>> = Mutex::new(BTreeMap::new());

impl Core {
    /// The lock. It is opened by the first request.
    pub(crate) fn opened(&self, py: Python<'_>) -> Result<Arc<FileLock>, Failure> {
        if let Some(lock) = self.shared.opened() {
            return Ok(lock);
        }
        // Opening can take long on a network file system.
        let opened = py.detach(|| self.open());
        Ok(self.shared.keep(Arc::new(opened?)))
    }

    /// As [`opened`](Core::opened). Objects on the same path and with the same options share one
    /// lock.
    pub(crate) fn opened_for_tasks(&self, py: Python<'_>) -> Result<Arc<FileLock>, Failure> {
        if let Some(lock) = self.shared.opened() {
            return Ok(lock);
        }
        let key = || {
            let path = self.path().to_owned();
            let Shared {
                fair,
                record,
                upgradeable,
                ..
            } = self.shared;
            (path, self.mode_setting(), [fair, record, upgradeable])
        };
        let known = || OF_TASKS.lock().unwrap_or_else(PoisonError::into_inner);
        let there = known().get(&key()).and_then(Weak::upgrade);
        if let Some(lock) = there {
            return Ok(self.shared.keep(lock));
        }
        let opened = py.detach(|| self.open())?;
        let mut known = known();
        // Another thread may have opened it meanwhile.
        let there = known.get(&key()).and_then(Weak::upgrade);
        let lock = there.unwrap_or_else(|| Arc::new(opened));
        if known.len().is_power_of_two() {
            known.retain(|_, lock| lock.strong_count() > 0);
        }
        known.insert(key(), Arc::downgrade(&lock));
        drop(known);
        Ok(self.shared.keep(lock))
    }

    fn open(&self) -> Result<FileLock, Failure> {
        let mut options = LockOptions::new()
            .fair(self.shared.fair)
            .record(self.shared.record)
            .upgradeable(self.shared.upgradeable)
            .create_parents(true);
        if let Some(mode) = self.explicit_mode() {
            options = options.permissions(mode);
        }
        checked(self.name(), self.path(), |path| options.open(path))
    }

    /// The holders or the waiters. A missing file has none.
    pub(crate) fn look(
        &self,
        py: Python<'_>,
        look: impl Fn(&FileLock) -> std::io::Result<Vec<holdlock::Process>> + Sync,
    ) -> PyResult<Vec<Process>> {
        if !self.path().exists() {
            return Ok(Vec::new());
        }
        let raise = |failure: Failure| failure.raise(py, self.name());
        let lock = self.opened(py).map_err(raise)?;
        let found = py
            .detach(|| look(&lock))
            .map_err(|error| error::io_error(&error, self.name()))?;
        Ok(found.into_iter().map(Process::from).collect())
    }
}
