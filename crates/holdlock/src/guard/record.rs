//! What guards tell of the lock's record, and write into it.

use std::borrow::Borrow;

use super::{Guard, OwnedGuard};
use crate::lock::FileLock;
use crate::{Error, Record, Run};

/// The methods of both guards.
macro_rules! record_methods {
    ($guard:ty) => {
        impl $guard {
            /// The token of this acquisition, if the lock has a
            /// [record](crate::LockOptions::record): a number that is higher than that of every
            /// earlier exclusive acquisition of the lock, by whatever process. A resource that
            /// refuses tokens below the highest token so far is safe from a holder that has lost
            /// the lock without noticing: [`TokenGate`](crate::TokenGate).
            ///
            /// None for a shared lock, and in a child of fork.
            ///
            /// The token rises across crashes and reboots. The record is lost if the lock file is
            /// removed, truncated or restored, or if the power fails before the kernel has written
            /// the file to the disk. Then the token still rises if the wall clock has not been set
            /// back.
            pub fn token(&self) -> Option<u64> {
                let entry = self.held.entry.as_ref()?;
                self.held.is_ours().then_some(entry.token)
            }

            /// The record of the last holder, if that holder did not release the lock: it died, or
            /// lost the lock without noticing. Its work may be half done.
            ///
            /// Only the first guard after that holder gets the record: clean up before you release
            /// this guard. None if the lock has no [record](crate::LockOptions::record), for shared
            /// guards, and after the holder had handed the lock over. A power failure can lose the
            /// record of a release, so that the last holder before it seems to have died.
            #[doc(alias = "poison")]
            #[doc(alias = "EOWNERDEAD")]
            pub fn abandoned(&self) -> Option<&Record> {
                self.held.entry.as_ref()?.abandoned.as_deref()
            }

            /// Records a command that runs while the lock is held: its beginning, its end and its
            /// exit code. Does nothing without a [record](crate::LockOptions::record), in a child
            /// of fork, or for a shared lock.
            ///
            /// # Errors
            ///
            /// [`Error::Record`] if the record cannot be written.
            pub fn record_run(&self, run: Run) -> Result<(), Error> {
                if self.held.entry.is_none() {
                    return Ok(());
                }
                let lock: &FileLock = self.held.lock.borrow();
                lock.record_run(&self.held.file, run)
            }

            /// Releases the lock as if this holder had not come: if the last holder died
            /// ([`abandoned`](Self::abandoned)), the next guard learns of that, too. For a holder
            /// that does not clean up what the last one left.
            ///
            /// # Errors
            ///
            /// Those of [`release`](Self::release), and [`Error::Record`] when the record cannot be
            /// written. The lock is released in any case.
            pub fn release_abandoned(self) -> Result<(), Error> {
                let left = match self.abandoned().filter(|_| self.held.is_ours()) {
                    Some(last) => {
                        let lock: &FileLock = self.held.lock.borrow();
                        lock.record_abandoned(&self.held.file, last)
                    }
                    None => Ok(()),
                };
                self.release().and(left)
            }
        }
    };
}

record_methods!(Guard<'_>);
record_methods!(OwnedGuard);
