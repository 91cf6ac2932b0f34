//! Work that a process does at its end.

use std::sync::atomic::{AtomicBool, Ordering};

/// Runs the function when the process ends by exit(3), as it does after `main` has returned. Only
/// one function can be given. Threads that call this at the same time may register it twice.
pub(crate) fn at_exit(function: extern "C" fn()) {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.load(Ordering::Acquire) {
        // SAFETY: the function exists as long as the process or the shared library, whose end the C
        // library notices. A function that is not registered is not called.
        let failed = unsafe { libc::atexit(function) };
        REGISTERED.store(failed == 0, Ordering::Release);
    }
}
