//! Signals that end a wait in place of the program.
//!
//! A program that is killed while it waits at an engine leaves its place there, and with it the
//! lock when its turn comes, until the engine's time limit. The first signal therefore only cancels
//! the wait. The second one has its usual effect.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::mem::zeroed;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use holdlock::CancelToken;

use super::signals::is_ignored;

/// The first signal that has arrived; 0 for none.
static ARRIVED: AtomicI32 = AtomicI32::new(0);
static TOKEN: OnceLock<CancelToken> = OnceLock::new();

/// While it lives, these signals cancel the token. When it is dropped, they have their default
/// effect again.
pub(crate) struct CancelOnSignal(Vec<c_int>);

impl CancelOnSignal {
    /// Signals that are ignored, as after nohup(1), stay so.
    pub(crate) fn new(numbers: &[c_int]) -> CancelOnSignal {
        TOKEN.get_or_init(CancelToken::new);
        let numbers: Vec<c_int> = numbers
            .iter()
            .copied()
            .filter(|n| !is_ignored(*n))
            .collect();
        for number in &numbers {
            // SAFETY: the handler makes only calls that are allowed in one; a sigaction is plain
            // data that may be zero.
            unsafe {
                let mut action: libc::sigaction = zeroed();
                action.sa_sigaction = on_signal as extern "C" fn(c_int) as usize;
                action.sa_flags = libc::SA_RESTART;
                libc::sigaction(*number, &action, std::ptr::null_mut());
            }
        }
        CancelOnSignal(numbers)
    }

    pub(crate) fn token(&self) -> CancelToken {
        TOKEN.get_or_init(CancelToken::new).clone()
    }

    /// The first signal that has arrived.
    pub(crate) fn arrived(&self) -> Option<c_int> {
        Some(ARRIVED.load(Ordering::SeqCst)).filter(|number| *number != 0)
    }
}

impl Drop for CancelOnSignal {
    fn drop(&mut self) {
        for number in &self.0 {
            set_default(*number);
        }
    }
}

fn set_default(number: c_int) {
    // SAFETY: a plain system call. The handler that it replaces is ours.
    unsafe { libc::signal(number, libc::SIG_DFL) };
}

extern "C" fn on_signal(number: c_int) {
    if ARRIVED.swap(number, Ordering::SeqCst) != 0 {
        set_default(number);
        // SAFETY: allowed in a handler. The signal takes effect when the handler returns.
        unsafe { libc::raise(number) };
        return;
    }
    if let Some(token) = TOKEN.get() {
        token.cancel();
    }
}
