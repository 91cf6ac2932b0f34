//! The common part of the guards: what is held, and by which process.

use std::borrow::Borrow;
use std::sync::Arc;

use super::Continuity;
use crate::acquire::open::LockFile;
use crate::gate::Occupant;
use crate::lock::FileLock;
use crate::record::{Entry, Taken};
use crate::request::Terms;
use crate::sys::fork;
use crate::{Error, Mode};

/// The generation of no process: a [`Held`] with it releases nothing when dropped.
const NO_PROCESS: u32 = 0;

/// The common part of both guards. Releases the lock when dropped.
pub(super) struct Held<L: Borrow<FileLock> + Clone> {
    pub(super) lock: L,
    pub(super) file: Arc<LockFile>,
    pub(super) mode: Mode,
    pub(super) owner: Occupant,
    /// The process that acquired the lock.
    pub(super) generation: u32,
    pub(super) entry: Option<Entry>,
}

impl<L: Borrow<FileLock> + Clone> Held<L> {
    pub(super) fn acquire(lock: L, terms: Terms<'_>, owner: Occupant) -> Result<Held<L>, Error> {
        let generation = fork::generation();
        let mode = terms.mode;
        let Taken { file, entry } = lock.borrow().take(terms, owner)?;
        Ok(Held {
            lock,
            file,
            mode,
            owner,
            generation,
            entry,
        })
    }

    pub(super) fn record(&mut self, note: Option<&str>) -> Result<(), Error> {
        let lock = self.lock.borrow();
        self.entry = lock.record_begin(&self.file, self.mode, note)?;
        Ok(())
    }

    pub(super) fn is_ours(&self) -> bool {
        self.generation == fork::generation()
    }

    pub(super) fn release(mut self) -> Result<(), Error> {
        let result = self.leave();
        self.generation = NO_PROCESS;
        result
    }

    fn leave(&mut self) -> Result<(), Error> {
        if !self.is_ours() {
            return Ok(());
        }
        let lock = self.lock.borrow();
        lock.leave(lock.gate(), &self.file, self.mode, self.owner)
    }

    pub(super) fn into_parts(mut self) -> Parts<L> {
        Parts {
            lock: self.lock.clone(),
            file: self.file.clone(),
            owner: self.owner,
            generation: std::mem::replace(&mut self.generation, NO_PROCESS),
        }
    }

    /// Whether this process holds the lock, as far as its own descriptor tells.
    pub(super) fn is_held(&self) -> bool {
        self.is_ours() && self.file.is_ours()
    }

    pub(super) fn is_current(&self) -> Result<bool, Error> {
        if !self.is_ours() {
            return Ok(false);
        }
        self.file
            .check_intact()
            .map_err(|error| self.lock.borrow().system("looking at the path", error))
    }

    pub(super) fn downgrade(self) -> Result<Held<L>, Error> {
        if self.mode == Mode::Shared || !self.is_ours() {
            return Ok(self);
        }
        let held = self.into_parts();
        held.lock.borrow().to_shared(&held.file, held.owner)?;
        Ok(held.whole(Mode::Shared, None))
    }

    pub(super) fn upgrade(self, limits: Terms<'_>) -> Result<(Held<L>, Continuity), Error> {
        if self.mode == Mode::Exclusive || !self.is_ours() {
            return Ok((self, Continuity::Kept));
        }
        let Parts {
            lock,
            file,
            owner,
            generation,
        } = self.into_parts();
        let (taken, continuity) = lock.borrow().to_exclusive(file, owner, limits)?;
        let held = Held {
            lock,
            file: taken.file,
            mode: Mode::Exclusive,
            owner,
            generation,
            entry: taken.entry,
        };
        Ok((held, continuity))
    }
}

/// The parts of a [`Held`]: dropping them releases nothing.
pub(super) struct Parts<L> {
    pub(super) lock: L,
    pub(super) file: Arc<LockFile>,
    pub(super) owner: Occupant,
    pub(super) generation: u32,
}

impl<L: Borrow<FileLock> + Clone> Parts<L> {
    fn whole(self, mode: Mode, entry: Option<Entry>) -> Held<L> {
        Held {
            lock: self.lock,
            file: self.file,
            mode,
            owner: self.owner,
            generation: self.generation,
            entry,
        }
    }
}

impl<L: Borrow<FileLock> + Clone> Drop for Held<L> {
    fn drop(&mut self) {
        let _ = self.leave();
    }
}
