//! What was acquired for a thread or task that has ended its wait at the same moment, and therefore
//! has not seen it.

#[cfg(feature = "engines")]
use holdlock_engines::EngineGuard;

use holdlock::{OwnedGuard, OwnedSemaphoreGuard, OwnedUpgradeableGuard, Passed, SetGuard};

/// What a request acquires.
pub(crate) trait Acquired {
    /// Releases it as if it had not been acquired: if the last holder died, the next one learns of
    /// that.
    fn release_unseen(self);
}

/// Releases what nobody has seen when it is dropped, unless it is kept.
pub(crate) struct Unseen<G: Acquired>(Option<G>);

impl<G: Acquired> Unseen<G> {
    pub(crate) fn new(acquired: G) -> Unseen<G> {
        Unseen(Some(acquired))
    }

    /// The requester sees it.
    pub(crate) fn keep(mut self) -> Option<G> {
        self.0.take()
    }
}

impl<G: Acquired> Drop for Unseen<G> {
    fn drop(&mut self) {
        if let Some(acquired) = self.0.take() {
            acquired.release_unseen();
        }
    }
}

impl Acquired for OwnedGuard {
    fn release_unseen(self) {
        let _ = self.release_abandoned();
    }
}

impl Acquired for SetGuard<OwnedGuard> {
    fn release_unseen(self) {
        let guards = self.into_guards().into_iter().rev();
        guards.for_each(Acquired::release_unseen);
    }
}

/// A shared lock, which has no record.
impl Acquired for OwnedUpgradeableGuard {
    fn release_unseen(self) {
        drop(self);
    }
}

impl Acquired for OwnedSemaphoreGuard {
    fn release_unseen(self) {
        drop(self);
    }
}

impl Acquired for Passed {
    fn release_unseen(self) {
        drop(self);
    }
}

/// Does not block the loop.
#[cfg(feature = "engines")]
impl Acquired for EngineGuard {
    fn release_unseen(self) {
        self.release_in_background();
    }
}

/// The upgrade of a guard: the guard is still there, and its owner undoes the upgrade.
impl Acquired for () {
    fn release_unseen(self) {}
}
