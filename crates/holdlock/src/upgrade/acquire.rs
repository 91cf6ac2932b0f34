//! Acquiring the right to upgrade, upgrading, and back.
//!
//! All methods are those of the lock for requests that want the right: [`FileLock::upgrading`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Claim;
use crate::acquire::open::LockFile;
use crate::acquire::release::closed_by_others;
use crate::acquire::{ReopenOnDrop, turn};
use crate::bytes::Range;
use crate::gate::{EntryTerms, Gate, Occupant, Passed};
use crate::record::RecordState;
use crate::request::Terms;
use crate::sys::file_lock::Blocking;
use crate::wait::{KernelError, Wait};
use crate::{Conflict, Error, Family, FileLock, Mode};

/// When a reader dies, the kernel frees its byte, and a moment later its share of flock(2). An
/// upgrade that was woken by the first must not come before the second: without this pause it did
/// for one of 40 000 killed readers.
const DEATH: Duration = Duration::from_micros(200);

/// Why an upgrade failed.
pub(super) enum Refused {
    /// The shared lock and the right are still held.
    StillShared(Error),
    /// Nothing is held.
    Lost(Error),
}

impl FileLock {
    /// Takes the shared lock with the right to upgrade it.
    pub(super) fn take_right(
        &self,
        mut terms: Terms<'_>,
        occupant: Occupant,
    ) -> Result<Arc<LockFile>, Error> {
        terms.mode = Mode::Shared;
        let mut wait = Wait::new(terms, self);
        let gate = self.gate();
        let taken = self.enter_with_right(gate, occupant, &mut wait);
        wait.resume_callback_panic(taken, |file| {
            drop(self.give_back_right(&file, Mode::Shared));
        })
    }

    fn enter_with_right(
        &self,
        gate: &Gate,
        occupant: Occupant,
        wait: &mut Wait<'_>,
    ) -> Result<Arc<LockFile>, Error> {
        // One thread of this process at a time.
        let terms = EntryTerms {
            mode: Mode::Exclusive,
            occupant,
            join: false,
        };
        let entered = gate.enter(terms, wait, |file| {
            drop(self.unlock(gate, file, Mode::Shared));
        });
        let file = match entered {
            Ok(Passed::Alone(alone)) => alone.file,
            // Only shared requests join.
            Ok(Passed::Joined(joined)) => Some(joined.file),
            Err(stop) => {
                return Err(self.stopped(stop, Mode::Shared, wait, self.identity()));
            }
        };
        let reopen = ReopenOnDrop { gate };
        let file = self.lock_in_kernel(gate, file, Mode::Shared, wait)?;
        gate.kernel_lock_taken();
        reopen.disarm();
        Ok(file)
    }

    /// Gives the lock back, which is held in this mode, and the right.
    pub(super) fn give_back_right(&self, file: &LockFile, mode: Mode) -> Result<(), Error> {
        self.leave_alone(self.gate(), file, mode)
    }

    /// Turns the shared lock into the exclusive one.
    pub(super) fn upgrade(
        &self,
        file: &Arc<LockFile>,
        mut limits: Terms<'_>,
    ) -> Result<(), Refused> {
        limits.mode = Mode::Exclusive;
        let mut wait = Wait::new(limits, self);
        let mut lost = false;
        let upgraded = self.keep_readers_out(file, &mut wait).and_then(|readers| {
            if !wait.waited().is_zero() {
                std::thread::sleep(DEATH);
            }
            let converted = self.convert(file, &wait);
            match converted {
                Ok(()) => Claim::keep(Some(readers)),
                Err(_) => lost = true,
            }
            converted
        });
        let upgraded = wait.resume_callback_panic(upgraded, |()| drop(self.downgrade(file)));
        upgraded.map_err(|error| {
            if !lost && file.is_ours() {
                return Refused::StillShared(error);
            }
            let _ = self.give_back_right(file, Mode::Shared);
            Refused::Lost(error)
        })
    }

    /// Waits for all readers.
    fn keep_readers_out(&self, file: &Arc<LockFile>, wait: &mut Wait<'_>) -> Result<Claim, Error> {
        let mode = Mode::Exclusive;
        // If it is free. The request that has it may wait for our shared lock, and keeps new
        // readers out as well.
        let fair = self.options().fair;
        let _turn = fair.then(|| turn::before_all(file, mode));
        let held = || self.is_held_by_this_thread(self.gate(), file, mode);
        Claim::acquire(file, Range::READERS, mode, wait, held).map_err(|error| match error {
            KernelError::Stop(stop) => self.stopped(stop, mode, wait, Some(file.identity())),
            KernelError::Io(_) if !file.is_ours() => self.system("upgrading", closed_by_others()),
            KernelError::Io(error) => self.system("upgrading", error),
        })
    }

    /// Converts the lock of flock(2), which no reader shares now.
    fn convert(&self, file: &LockFile, wait: &Wait<'_>) -> Result<(), Error> {
        match file.lock(Family::Flock, Mode::Exclusive, Blocking::No) {
            Ok(()) => Ok(()),
            Err(_) if !file.is_ours() => Err(self.system("upgrading", closed_by_others())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let (path, identity) = (self.path(), Some(file.identity()));
                let conflict = Conflict::new(path, Mode::Exclusive, wait.waited(), identity);
                Err(Error::NotAtomic(conflict))
            }
            Err(error) => Err(self.system("upgrading", error)),
        }
    }

    /// Turns the exclusive lock into the shared one, and keeps the right. After an error the lock
    /// is lost.
    pub(super) fn downgrade(&self, file: &LockFile) -> Result<(), Error> {
        let converted = if file.is_ours() {
            let _ = self.record_end(file, RecordState::Released);
            let shared = file.lock(Family::Flock, Mode::Shared, Blocking::No);
            // The readers come after the conversion: until then they would only wait for it.
            shared.and_then(|()| file.unlock_bytes(Range::READERS))
        } else {
            Err(closed_by_others())
        };
        converted.map_err(|error| {
            let _ = self.give_back_right(file, Mode::Exclusive);
            self.system("downgrading", error)
        })
    }
}
