//! The types of `crates/holdlock/src/sync.rs`, from loom.

pub(crate) use loom::hint::spin_loop;
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};

macro_rules! per_thread {
    (static $name:ident: $type:ty = const $value:block;) => {
        loom::thread_local! { static $name: $type = $value; }
    };
}
pub(crate) use per_thread as thread_local;

/// Each check multiplies the orders in which a model runs.
pub(crate) const SPINS: u32 = 1;

/// Lets the other threads run: a model has no time.
pub(crate) fn sleep(_: std::time::Duration) {
    loom::thread::yield_now();
}
