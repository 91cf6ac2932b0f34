//! The locks of a set, and processes that try them.

use holdlock::FileLock;
use holdlock_conformance::{Actor, Scratch};

pub(crate) const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");

pub(crate) fn open(scratch: &Scratch, name: &str) -> FileLock {
    FileLock::open(scratch.path(name)).expect("opens")
}

/// An actor that can try the lock on this file.
pub(crate) fn actor(scratch: &Scratch, name: &str) -> Actor {
    Actor::start(ACTOR, &scratch.path(name))
}

/// Nobody else holds the lock.
#[track_caller]
pub(crate) fn is_free(actor: &mut Actor) {
    actor.must("try");
    actor.must("release");
}

#[track_caller]
pub(crate) fn is_held(actor: &mut Actor) {
    assert!(actor.ask("try").starts_with("WouldBlock"));
}
