//! The engine of a run: where its locks are, and by which names.

#[cfg(not(feature = "engines"))]
mod absent;
#[cfg(feature = "engines")]
mod present;

use std::time::Duration;

#[cfg(not(feature = "engines"))]
pub(super) use absent::Engine;
#[cfg(feature = "engines")]
pub(super) use present::Engine;

/// What a run tells of its engine.
pub(super) struct About {
    pub(super) shown: String,
    pub(super) kind: &'static str,
    pub(super) ttl: Duration,
}
