//! Opens the lock file when it is first needed.

use std::ffi::OsStr;
use std::path::Path;

use holdlock::{FileLock, LockOptions};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::core::Core;
use crate::error::{self, Failure};
use crate::process::Process;

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

impl Core {
    /// The lock. It is opened by the first request, and stays open.
    pub(crate) fn opened(&self, py: Python<'_>) -> Result<FileLock, Failure> {
        if let Some(lock) = self.shared.opened() {
            return Ok(lock);
        }
        // Opening can take long on a network file system.
        let opened = py.detach(|| self.open());
        Ok(self.shared.keep(opened?))
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
