//! What a request's callback must not wait for: the very lock that its thread waits for.
//!
//! A thread that runs the callback of a waiting request goes on with that request only when the
//! callback returns. A second request of the callback for the same lock queues behind the first
//! one, or for what only the first one can release, and would wait for ever.

use std::cell::RefCell;

use crate::sys::file::Identity;
use crate::sys::fork;
use crate::{Family, FileLock};

thread_local! {
    /// The waits of this thread whose callbacks are running, the innermost last.
    static WAITS: RefCell<Vec<Awaited>> = const { RefCell::new(Vec::new()) };
}

/// The lock that is waited for.
#[derive(PartialEq, Eq)]
struct Awaited {
    /// The address of the `FileLock`'s gate.
    gate: usize,
    family: Family,
    file: Option<Identity>,
    generation: u32,
}

impl Awaited {
    fn of(lock: &FileLock) -> Awaited {
        let gate = lock.gate();
        Awaited {
            gate: std::ptr::from_ref(&**gate).addr(),
            family: lock.options.family,
            file: gate.file().map(|file| file.identity()),
            generation: fork::generation(),
        }
    }

    fn is_same_lock(&self, other: &Awaited) -> bool {
        let same_file = self.family == other.family && self.file == other.file;
        self.generation == other.generation
            && (self.gate == other.gate || self.file.is_some() && same_file)
    }
}

/// Calls the callback of a request that waits for `lock`.
pub(crate) fn while_awaited<T>(lock: &FileLock, callback: impl FnOnce() -> T) -> T {
    struct Told;
    impl Drop for Told {
        fn drop(&mut self) {
            let _ = WAITS.try_with(|waits| waits.borrow_mut().pop());
        }
    }
    // In a thread that is ending nobody remembers: then a second request hangs as it may.
    let noted = WAITS.try_with(|waits| waits.borrow_mut().push(Awaited::of(lock)));
    let _told = noted.is_ok().then_some(Told);
    callback()
}

/// Whether this runs in the callback of a request that waits for the same lock.
pub(crate) fn is_awaited(lock: &FileLock) -> bool {
    let is_there = |waits: &RefCell<Vec<Awaited>>| {
        let waits = waits.borrow();
        !waits.is_empty() && {
            let this = Awaited::of(lock);
            waits.iter().any(|other| other.is_same_lock(&this))
        }
    };
    WAITS.try_with(is_there).unwrap_or(false)
}
