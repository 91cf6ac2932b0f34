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

/// Starts a thread.
pub(crate) struct Builder;

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder
    }

    pub(crate) fn name(self, _: String) -> Builder {
        self
    }

    pub(crate) fn stack_size(self, _: usize) -> Builder {
        self
    }

    pub(crate) fn spawn(
        self,
        run: impl FnOnce() + 'static,
    ) -> std::io::Result<loom::thread::JoinHandle<()>> {
        Ok(loom::thread::spawn(run))
    }
}

/// Lets the other threads run: a model has no time.
pub(crate) fn sleep(_: std::time::Duration) {
    loom::thread::yield_now();
}
