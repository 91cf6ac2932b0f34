//! The bytes that an upgradeable lock locks besides flock(2).

use std::io;
use std::sync::Arc;

use crate::acquire::open::LockFile;
use crate::bytes::Range;
use crate::gate::{Gate, registry};
use crate::sys::file_lock::Blocking;
use crate::wait::{KernelError, KernelWait, Stop, Wait};
use crate::{FileLock, Mode};

/// Locked bytes, which are unlocked when this is dropped, unless it is [kept](Claim::keep).
pub(crate) struct Claim {
    file: Arc<LockFile>,
    range: Range,
    mode: Mode,
    kept: bool,
}

impl Claim {
    /// Locks the bytes; waits as the request says. `held` tells whether this thread holds what is
    /// waited for.
    pub(super) fn acquire(
        file: &Arc<LockFile>,
        range: Range,
        mode: Mode,
        wait: &mut Wait<'_>,
        held: impl Fn() -> bool,
    ) -> Result<Claim, KernelError> {
        let ask = |blocking| file.lock_bytes(mode, range, blocking);
        let claim = || Claim {
            file: file.clone(),
            range,
            mode,
            kept: false,
        };
        loop {
            match ask(Blocking::No) {
                Ok(()) => return Ok(claim()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(KernelError::Io(error)),
            }
            if !wait.may_sleep() {
                return Err(KernelError::Stop(wait.stop_at_once()));
            }
            if held() {
                return Err(KernelError::Stop(Stop::Deadlock));
            }
            wait.begin().map_err(KernelError::Stop)?;
            match wait.sleep_in_kernel(None, || ask(Blocking::Yes))? {
                KernelWait::Locked => return Ok(claim()),
                // Without signals nothing could end a wait in the queue: ask again and again.
                KernelWait::NoSignals | KernelWait::Capped => {
                    wait.sleep_briefly().map_err(KernelError::Stop)?;
                }
            }
        }
    }

    /// The bytes stay locked until they are unlocked with the file. The claim gives up its share of
    /// the open file, which is closed when the lock no longer needs it.
    pub(crate) fn keep(claim: Option<Claim>) {
        if let Some(mut claim) = claim {
            claim.kept = true;
        }
    }

    /// Locks the same bytes by another open file. Only for shared bytes, which cannot be refused
    /// while this claim shares them.
    pub(crate) fn move_to(self, file: &Arc<LockFile>) -> Claim {
        if Arc::ptr_eq(&self.file, file) {
            return self;
        }
        let _ = file.lock_bytes(self.mode, self.range, Blocking::No);
        Claim {
            file: file.clone(),
            range: self.range,
            mode: self.mode,
            kept: false,
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // Unlocking locked bytes does not fail. If it did, the next close would unlock them.
        let _ = self.file.unlock_bytes(self.range);
    }
}

impl FileLock {
    /// For requests that want the right to upgrade: waits for it.
    pub(crate) fn claim_right(
        &self,
        gate: &Gate,
        file: &Arc<LockFile>,
        wait: &mut Wait<'_>,
    ) -> Result<Option<Claim>, KernelError> {
        if !self.is_upgrading() {
            return Ok(None);
        }
        // A holder of the right may be about to wait for this thread's shared lock.
        let held = || self.is_held_by_this_thread(gate, file, Mode::Exclusive);
        Claim::acquire(file, Range::RIGHT, Mode::Exclusive, wait, held).map(Some)
    }

    /// For readers of an upgradeable lock: waits until no upgrade keeps them out.
    pub(crate) fn claim_share(
        &self,
        gate: &Gate,
        file: &Arc<LockFile>,
        mode: Mode,
        wait: &mut Wait<'_>,
    ) -> Result<Option<Claim>, KernelError> {
        if !self.has_bytes(mode) || self.is_upgrading() {
            return Ok(None);
        }
        let held = || self.is_held_by_this_thread(gate, file, Mode::Shared);
        Claim::acquire(file, Range::READERS, mode, wait, held).map(Some)
    }

    pub(super) fn is_held_by_this_thread(&self, gate: &Gate, file: &LockFile, mode: Mode) -> bool {
        registry::held_by_this_thread(file.identity(), self.options().family, mode, gate)
    }

    /// Shares the readers' byte where no upgrade can keep it from readers.
    pub(crate) fn share_at_once(&self, file: &LockFile) -> io::Result<()> {
        if !self.options().upgradeable {
            return Ok(());
        }
        file.lock_bytes(Mode::Shared, Range::READERS, Blocking::No)
    }

    /// Whether a holder of this mode has locked bytes besides flock(2).
    #[inline]
    pub(crate) fn has_bytes(&self, mode: Mode) -> bool {
        self.options().upgradeable && (mode == Mode::Shared || self.is_upgrading())
    }

    /// Unlocks the bytes of a holder of this mode.
    pub(crate) fn unlock_bytes(&self, file: &LockFile, mode: Mode) -> io::Result<()> {
        if !self.has_bytes(mode) {
            return Ok(());
        }
        file.unlock_bytes(Range::UPGRADE)
    }
}
