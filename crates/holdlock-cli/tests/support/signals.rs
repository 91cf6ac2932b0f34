//! The signals that a shell makes background jobs ignore. Programs pass that on to all processes
//! that they start.
#![allow(unsafe_code, reason = "signal(2)")]

use std::sync::Once;

/// Gives these signals their default effects, in this process and in all that it starts.
pub(crate) fn heed() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
            // SAFETY: no handler is set, and nothing here has one for these signals.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    });
}
