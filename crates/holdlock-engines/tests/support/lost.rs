//! Locks that are lost.

use std::time::Duration;

use holdlock_engines::{EngineGuard, Error, Loss};

/// Waits until the guard says by itself that its lock is lost.
pub(crate) fn wait_for_loss(guard: &EngineGuard) -> Loss {
    guard.lost().wait(Duration::from_secs(60)).expect("lost")
}

/// Whether the lock is lost, or may be.
pub(crate) fn is_lost(result: Result<(), Error>) -> bool {
    matches!(result, Err(Error::Lost { .. }))
}

/// Whether the lock is lost for certain.
pub(crate) fn is_definite(result: Result<(), Error>) -> bool {
    matches!(&result, Err(Error::Lost { loss, .. }) if loss.is_definite())
}
