//! From an exclusive lock to a shared one, and back.
//!
//! On Linux, flock(2) converts an exclusive lock to a shared one atomically. In the other direction
//! it gives the shared lock up first.

use std::sync::Arc;

use super::ReopenOnDrop;
use super::open::LockFile;
use super::release::closed_by_others;
use crate::gate::Occupant;
use crate::record::{RecordState, Taken};
use crate::request::Terms;
use crate::sys::file_lock::Blocking;
use crate::wait::Wait;
use crate::{Continuity, Error, FileLock, Mode};

impl FileLock {
    /// Turns the exclusive lock on `file` into a shared lock of `occupant`. After an error the lock
    /// is lost.
    pub(crate) fn to_shared(&self, file: &Arc<LockFile>, occupant: Occupant) -> Result<(), Error> {
        let gate = self.gate();
        let reopen = ReopenOnDrop { gate };
        let family = self.options().family;
        let converted = if file.is_ours() {
            // A reader that dies leaves nothing half done.
            let _ = self.record_end(file, RecordState::Released);
            // No upgrade keeps the readers out now: it would share the lock with us.
            let locked = self.share_at_once(file);
            let locked = locked.and_then(|()| file.lock(family, Mode::Shared, Blocking::No));
            locked.inspect_err(|_| drop(self.unlock_in_kernel(file, Mode::Shared)))
        } else {
            gate.set_file(None);
            self.record_lost();
            Err(closed_by_others())
        };
        converted.map_err(|error| self.system("downgrading", error))?;
        reopen.disarm();
        gate.share(occupant);
        Ok(())
    }

    /// Turns the shared lock of `occupant` into an exclusive one. Returns the file that is locked
    /// afterwards, and whether the lock was given up in between. After an error the lock is lost.
    pub(crate) fn to_exclusive(
        &self,
        file: Arc<LockFile>,
        occupant: Occupant,
        mut limits: Terms<'_>,
    ) -> Result<(Taken, Continuity), Error> {
        limits.mode = Mode::Exclusive;
        let note = limits.note;
        let gate = self.gate();
        if !gate.unshare(occupant) {
            // Other threads share the lock with this one.
            self.leave(gate, &file, Mode::Shared, occupant)?;
            // If one of them hands the lock over, no descriptor of ours may keep it.
            drop(file);
            return Ok((self.take(limits, occupant)?, Continuity::Lost));
        }
        let reopen = ReopenOnDrop { gate };
        let family = self.options().family;
        if file.lock(family, Mode::Exclusive, Blocking::No).is_ok() {
            reopen.disarm();
            let _ = self.unlock_bytes(&file, Mode::Shared);
            let taken = self.record_taken(gate, file, Mode::Exclusive, occupant, note)?;
            return Ok((taken, Continuity::Kept));
        }
        // Now flock(2) has given the shared lock up, and an OFD lock is still held: unlock in both
        // cases.
        let _ = self.unlock_in_kernel(&file, Mode::Shared);
        let mut wait = Wait::new(limits, self);
        let locked = self.lock_in_kernel(gate, Some(file), Mode::Exclusive, &mut wait);
        let locked = wait.resume_callback_panic(locked, |file| drop(file.unlock(family)))?;
        reopen.disarm();
        let taken = self.record_taken(gate, locked, Mode::Exclusive, occupant, note)?;
        Ok((taken, Continuity::Lost))
    }
}
