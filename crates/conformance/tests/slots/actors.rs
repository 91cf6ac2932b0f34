//! Processes that acquire slots as a test tells them.

use std::path::Path;
use std::process::Command;

use holdlock_conformance::{Actor, queue, sys};

pub(crate) const ACTOR: &str = env!("CARGO_BIN_EXE_slot-actor");

pub(crate) fn actor(path: &Path, slots: u32) -> Actor {
    actor_with(path, slots, &[])
}

pub(crate) fn actor_with(path: &Path, slots: u32, options: &[&str]) -> Actor {
    let mut command = Command::new(ACTOR);
    command.arg(path).arg(slots.to_string()).args(options);
    Actor::from_command(command)
}

/// The slot that the actor has acquired by this order.
#[track_caller]
pub(crate) fn slot(actor: &mut Actor, order: &str) -> u32 {
    let answer = actor.ask(order);
    slot_in(&answer)
}

#[track_caller]
pub(crate) fn slot_in(answer: &str) -> u32 {
    let slot = answer
        .strip_prefix("ok ")
        .and_then(|slot| slot.parse().ok());
    slot.unwrap_or_else(|| panic!("{answer}"))
}

/// Gives the order, after which the actor waits for all slots at the head of the queue.
pub(crate) fn must_wait_at_head(actor: &mut Actor, order: &str, path: &Path, slots: usize) {
    actor.tell(order);
    queue::eventually("a request waits for all slots", || {
        queue::length(path) == slots
    });
}

/// Gives the order, after which the actor waits behind another request.
pub(crate) fn must_queue(actor: &mut Actor, order: &str) {
    actor.tell(order);
    sys::wait_until_queued(actor.pid(), &[libc::SYS_fcntl]);
}

/// Actors that hold all slots; the first one holds slot 0.
pub(crate) fn holders(path: &Path, slots: u32) -> Vec<Actor> {
    let hold = |number| {
        let mut actor = actor(path, slots);
        assert_eq!(slot(&mut actor, "lock"), number);
        actor
    };
    (0..slots).map(hold).collect()
}
