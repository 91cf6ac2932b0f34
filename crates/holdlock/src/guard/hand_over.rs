//! Giving the lock to the processes that this process will start.

use std::borrow::Borrow;
use std::io;
use std::os::fd::OwnedFd;

use super::held::Held;
use crate::acquire::{ReopenOnDrop, release};
use crate::lock::FileLock;
use crate::record::RecordState;
use crate::sys::file_lock::Blocking;
use crate::{Error, Mode};

impl<L: Borrow<FileLock> + Clone> Held<L> {
    pub(super) fn hand_over(mut self) -> Result<OwnedFd, Error> {
        let entry = self.entry.take();
        let lock: &FileLock = self.lock.borrow();
        let failed = |error| lock.system("handing the lock over", error);
        if !self.is_ours() {
            return Err(failed(io::Error::other(
                "this is a child of fork, and the lock is its parent's",
            )));
        }
        if !self.file.is_ours() {
            return Err(failed(release::closed_by_others()));
        }
        let family = lock.options().family;
        if self.mode == Mode::Shared && !lock.gate().unshare(self.owner) {
            // Other threads share this description and will unlock it: take another one.
            let own = self.file.open_again().map_err(failed)?;
            lock.share_at_once(&own)
                .and_then(|()| own.lock(family, Mode::Shared, Blocking::No))
                .map_err(failed)?;
            return own.hand_over().map_err(failed);
        }
        let held = self.into_parts();
        let lock: &FileLock = held.lock.borrow();
        let gate = lock.gate();
        let _inside = ReopenOnDrop { gate };
        let _ = lock.record_end(&held.file, RecordState::HandedOver);
        let copy = held.file.hand_over();
        if copy.is_err() {
            if let Some(last) = entry.and_then(|entry| entry.abandoned) {
                let _ = lock.record_abandoned(&held.file, &last);
            }
            let _ = held.file.unlock(family);
        }
        // Closed without being unlocked: the copy has the lock now.
        gate.set_file(None);
        copy.map_err(|error| lock.system("handing the lock over", error))
    }
}
