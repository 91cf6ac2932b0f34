//! Callbacks of waiting requests, and the locks for which they must not wait.
//!
//! A thread that runs the callback of a request continues with that request only after the callback
//! has returned. If the callback asks for the same lock, its request queues behind the first one
//! and would wait for ever.

use std::cell::RefCell;

use crate::Family;
use crate::sys::fork;
use crate::sys::identity::Identity;

thread_local! {
    /// The locks of the requests whose callbacks this thread is running, the innermost last.
    static WAITS: RefCell<Vec<Key>> = const { RefCell::new(Vec::new()) };
}

/// Identifies the lock that a request is for.
#[derive(PartialEq, Eq)]
pub(crate) struct Key {
    /// The address of the gate.
    gate: usize,
    family: Family,
    file: Option<Identity>,
    generation: u32,
}

impl Key {
    pub(crate) fn new(gate: usize, family: Family, file: Option<Identity>) -> Key {
        Key {
            gate,
            family,
            file,
            generation: fork::generation(),
        }
    }

    fn is_same_lock(&self, other: &Key) -> bool {
        let same_file = self.family == other.family && self.file == other.file;
        self.generation == other.generation
            && (self.gate == other.gate || self.file.is_some() && same_file)
    }
}

/// Calls the callback of a request that waits for the lock `key`.
pub(crate) fn while_awaited<T>(key: Key, callback: impl FnOnce() -> T) -> T {
    struct Forget;
    impl Drop for Forget {
        fn drop(&mut self) {
            let _ = WAITS.try_with(|waits| waits.borrow_mut().pop());
        }
    }
    // Fails in a thread that is ending. Then a second request for the lock hangs.
    let noted = WAITS.try_with(|waits| waits.borrow_mut().push(key));
    let _forget = noted.is_ok().then_some(Forget);
    callback()
}

/// Whether this thread is in the callback of a request that waits for the same lock.
pub(crate) fn is_awaited(key: impl FnOnce() -> Key) -> bool {
    let is_there = |waits: &RefCell<Vec<Key>>| {
        let waits = waits.borrow();
        !waits.is_empty() && {
            let this = key();
            waits.iter().any(|other| other.is_same_lock(&this))
        }
    };
    WAITS.try_with(is_there).unwrap_or(false)
}
