//! The parts of one lock object: the arguments of the constructor, and the state.
//!
//! `open.rs` and `acquire.rs` have the larger methods.

use std::ffi::{OsStr, OsString};
use std::os::fd::IntoRawFd;
use std::path::{Path, PathBuf};

use pyo3::prelude::*;

use crate::error::Failure;
use crate::open;
use crate::requester::Requester;
use crate::shared::Shared;

pub(crate) struct Core {
    /// The lock file as the caller has named it.
    name: OsString,
    path: PathBuf,
    /// -1: the umask decides.
    mode: i32,
    /// Whether the object has a function `on_acquired`.
    hook: bool,
    pub(crate) shared: Shared,
}

impl Core {
    /// A relative path means the working directory at this moment.
    pub(crate) fn new(name: OsString, mode: i32, hook: bool, shared: Shared) -> Core {
        let path = std::path::absolute(&name).unwrap_or_else(|_| PathBuf::from(&name));
        Core {
            name,
            path,
            mode,
            hook,
            shared,
        }
    }

    /// The lock file as the caller has named it.
    pub(crate) fn name(&self) -> &OsStr {
        &self.name
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The permissions that were asked for; -1: none were.
    pub(crate) fn mode_setting(&self) -> i32 {
        self.mode
    }

    /// The permissions, if they were asked for.
    pub(crate) fn explicit_mode(&self) -> Option<u32> {
        u32::try_from(self.mode).ok()
    }

    pub(crate) fn has_hook(&self) -> bool {
        self.hook
    }

    /// A note as an argument. It needs a record.
    pub(crate) fn note_of(
        &self,
        py: Python<'_>,
        given: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<String>> {
        let note = open::note_of(given)?;
        if note.is_some() && !self.shared.record {
            return Err(Failure::NoteWithoutRecord.raise(py, &self.name));
        }
        Ok(note)
    }

    /// Releases the lock, and leaves what was abandoned so.
    pub(crate) fn release_abandoned(
        &self,
        py: Python<'_>,
        requester: Requester<'_>,
    ) -> PyResult<()> {
        let released = self.shared.give_up(requester, Failure::NotHeldAbandoned);
        released
            .and_then(|guard| Ok(guard.release_abandoned()?))
            .map_err(|failure| failure.raise(py, &self.name))
    }

    /// Gives the lock to processes that this process starts, and returns a descriptor that holds
    /// it.
    pub(crate) fn hand_over(&self, py: Python<'_>, requester: Requester<'_>) -> PyResult<i32> {
        self.shared
            .hand_over(requester)
            .map(IntoRawFd::into_raw_fd)
            .map_err(|failure| failure.raise(py, &self.name))
    }
}
