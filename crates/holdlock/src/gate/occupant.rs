//! Identifies a thread inside the gate, for the search for deadlocks.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::thread_local;

/// Identifies a thread inside the gate, for the search for deadlocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Occupant {
    /// The thread, for a guard that cannot move to another thread. 0 for a guard that can.
    pub(super) thread: u64,
}

impl Occupant {
    /// The calling thread, with a guard that stays in it.
    pub(crate) fn this_thread() -> Occupant {
        Occupant {
            thread: thread_number(),
        }
    }

    /// A guard that can move: it may be in any thread.
    pub(crate) const ANY: Occupant = Occupant { thread: 0 };
}

/// The number of this thread within the process; never 0, never reused.
pub(super) fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static NUMBER: Cell<u64> = const { Cell::new(0) };
    }
    NUMBER.with(|number| {
        if number.get() == 0 {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}
