//! Who is inside, as far as a deadlock can be told from it.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Who is inside, as far as a deadlock can be told from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Occupant {
    /// The thread, for guards that cannot leave it. 0 for those that can.
    pub(super) thread: u64,
}

impl Occupant {
    /// The calling thread, with a guard that stays in it.
    pub(crate) fn this_thread() -> Occupant {
        Occupant {
            thread: thread_number(),
        }
    }

    /// Whoever has the guard.
    pub(crate) const ANY: Occupant = Occupant { thread: 0 };
}

/// A small number of this thread, never 0 and never reused.
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
