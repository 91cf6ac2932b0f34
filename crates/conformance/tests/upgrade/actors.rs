//! A lock that is opened for upgrades, and the processes that use it.

use std::path::Path;

use holdlock::{FileLock, LockOptions, Request};
use holdlock_conformance::{Actor, Scratch, queue};

pub(crate) const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");

pub(crate) fn options() -> LockOptions {
    LockOptions::new().upgradeable(true)
}

pub(crate) fn open(scratch: &Scratch) -> FileLock {
    options().open(scratch.lock()).expect("opens")
}

pub(crate) fn actor(scratch: &Scratch) -> Actor {
    Actor::start_with(ACTOR, &scratch.lock(), &["upgradeable"])
}

/// A process that knows nothing of upgrades.
pub(crate) fn plain(scratch: &Scratch) -> Actor {
    Actor::start(ACTOR, &scratch.lock())
}

pub(crate) fn forever() -> Request {
    Request::exclusive()
}

/// Waits until a request for bytes of this lock sleeps.
pub(crate) fn wait_for_request(path: &Path) {
    queue::eventually("a request sleeps", || queue::length(path) > 0);
}
