//! When the record is written: at the end of each exclusive acquisition, and before the lock is
//! given up.

use std::io;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::{Record, RecordState, Recorder, Run};
use crate::acquire::open::LockFile;
use crate::gate::{Gate, Occupant};
use crate::{Error, FileLock, Mode};

/// What an exclusive acquisition wrote and found.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) token: u64,
    /// The record of the last holder, if that one did not release the lock.
    pub(crate) abandoned: Option<Box<Record>>,
}

/// A lock that was taken.
pub(crate) struct Taken {
    pub(crate) file: Arc<LockFile>,
    /// None for shared locks and for locks without a record.
    pub(crate) entry: Option<Entry>,
}

impl FileLock {
    /// Records the acquisition of a lock that this process holds. If that fails, gives the lock
    /// back.
    #[inline]
    pub(crate) fn record_taken(
        &self,
        gate: &Gate,
        file: Arc<LockFile>,
        mode: Mode,
        occupant: Occupant,
        note: Option<&str>,
    ) -> Result<Taken, Error> {
        if !self.is_recorded(mode) {
            return Ok(Taken { file, entry: None });
        }
        match self.record_begin(&file, mode, note) {
            Ok(entry) => Ok(Taken { file, entry }),
            Err(error) => {
                let _ = self.leave(gate, &file, mode, occupant);
                Err(error)
            }
        }
    }

    #[inline]
    fn is_recorded(&self, mode: Mode) -> bool {
        mode == Mode::Exclusive && self.options().record
    }

    /// Records the acquisition of a lock that this process holds.
    pub(crate) fn record_begin(
        &self,
        file: &LockFile,
        mode: Mode,
        note: Option<&str>,
    ) -> Result<Option<Entry>, Error> {
        if !self.is_recorded(mode) {
            return Ok(None);
        }
        let recorded = self.recorder().acquired(file, note);
        recorded
            .map(Some)
            .map_err(|error| self.cannot_record(error))
    }

    /// Records that this process gives the exclusive lock up. The caller has made sure that the
    /// descriptor is ours.
    #[inline]
    pub(crate) fn record_end(&self, file: &LockFile, state: RecordState) -> Result<(), Error> {
        if !self.options().record {
            return Ok(());
        }
        let ended = self.recorder().ends(file, state);
        ended.map_err(|error| self.cannot_record(error))
    }

    /// Records that this thread releases the lock, which another thread of this process may get at
    /// once. If the process is killed then, the record must not say that this holder died.
    #[inline]
    pub(crate) fn record_leaving(&self, file: &LockFile, mode: Mode) -> Result<(), Error> {
        if !self.is_recorded(mode) || !file.is_ours() {
            return Ok(());
        }
        let passed = self.recorder().passes_on(file);
        passed.map_err(|error| self.cannot_record(error))
    }

    /// This process has lost the lock: it must not write the record now.
    pub(crate) fn record_lost(&self) {
        if self.options().record {
            self.recorder().lost();
        }
    }

    /// Leaves the record of the last holder, which died, to the next one.
    pub(crate) fn record_abandoned(&self, file: &LockFile, last: &Record) -> Result<(), Error> {
        if !file.is_ours() {
            return Ok(());
        }
        let left = self.recorder().leave_abandoned(file.file(), last);
        left.map_err(|error| self.cannot_record(error))
    }

    /// Records a command that is run by the holder.
    pub(crate) fn record_run(&self, file: &LockFile, run: Run) -> Result<(), Error> {
        if !self.options().record || !file.is_ours() {
            return Ok(());
        }
        let recorded = self.recorder().run(file, run);
        recorded.map_err(|error| self.cannot_record(error))
    }

    pub(crate) fn cannot_record(&self, source: io::Error) -> Error {
        Error::Record {
            path: self.path().to_owned(),
            source,
        }
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder_cell()
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
