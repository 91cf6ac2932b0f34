//! Counts what callers have given up and what the helper thread still gives back, so that a process
//! does not end before.
//!
//! A caller that withdraws its request, or drops its guard without waiting, goes on at once. If the
//! process ended then, the engine would keep the lock or the place in its queue until the lease
//! ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::sys::exit::at_exit;
use crate::sys::fork::PerProcess;

/// How long the end of a process waits for the engines.
const LIMIT: Duration = Duration::from_secs(1);

/// A child of fork gives nothing back: that is its parent's part.
static COUNTER: PerProcess<Counter> = PerProcess::new();

struct Counter {
    count: Mutex<usize>,
    /// Notified when the count is zero.
    zero: Condvar,
}

impl Counter {
    fn count(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request or a lock, on which a caller and the helper thread work.
struct Shared {
    counter: &'static Counter,
    /// Whether it is counted.
    given_up: AtomicBool,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if *self.given_up.get_mut() {
            let mut count = self.counter.count();
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counter.zero.notify_all();
            }
        }
    }
}

/// The caller has it as long as it wants the request or the lock.
pub(crate) struct CallerSide(Arc<Shared>);

impl Drop for CallerSide {
    fn drop(&mut self) {
        *self.0.counter.count() += 1;
        self.0.given_up.store(true, Ordering::Release);
    }
}

/// The helper thread has it as long as there may be something to give back.
pub(crate) struct HelperSide {
    _shared: Arc<Shared>,
}

/// The two sides of a request or of a lock.
pub(crate) fn sides() -> (CallerSide, HelperSide) {
    let counter = COUNTER.get().unwrap_or_else(|| {
        at_exit(wait);
        COUNTER.set(Counter {
            count: Mutex::new(0),
            zero: Condvar::new(),
        })
    });
    let shared = Arc::new(Shared {
        counter,
        given_up: AtomicBool::new(false),
    });
    let helper = HelperSide {
        _shared: shared.clone(),
    };
    (CallerSide(shared), helper)
}

/// Waits until nothing is being given back, but not for ever: the engine may be silent.
extern "C" fn wait() {
    if let Some(counter) = COUNTER.get() {
        let count = counter.count();
        let _ = counter
            .zero
            .wait_timeout_while(count, LIMIT, |count| *count > 0);
    }
}
