//! Opens the lock file when it is first needed.

use std::path::Path;

use holdlock::{FileLock, LockOptions};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::core::Core;
use crate::error::{self, Failure};
use crate::process::Process;

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
        let is_directory =
            |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|it| it.is_dir());
        let mut options = LockOptions::new()
            .fair(self.shared.fair)
            .create_parents(true);
        if let Some(mode) = self.explicit_mode() {
            options = options.permissions(mode);
        }
        if self.name().is_empty() {
            return Err(Failure::Raised(error::os_error(
                libc::ENOENT,
                "No such file or directory",
                self.name(),
            )));
        }
        if self.name().as_encoded_bytes().contains(&0) {
            return Err(Failure::Raised(PyValueError::new_err("embedded null byte")));
        }
        let lock = options.open(self.path())?;
        // The kernel would lock a directory, but a directory as a lock file is a mistake.
        if is_directory(self.path()) {
            return Err(Failure::Raised(error::os_error(
                libc::EISDIR,
                "Is a directory, which cannot be a lock file",
                self.name(),
            )));
        }
        Ok(lock)
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
