//! Sleeping on a word: futex(2).

use std::io;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use super::call;

/// Why a sleep ended. The caller looks at the word again: any return may be spurious.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slept {
    /// A signal handler ran.
    Interrupted,
    /// Somebody woke the thread, or the time is over, or the word was not as expected.
    Other,
}

/// Sleeps while `word` is `expected`, until woken, a signal handler ran, or the
/// time is over.
pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> Slept {
    let time = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos() as libc::c_long,
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: FUTEX_WAIT reads the word and the time, both alive in the call. Private: the word
    // is shared by threads of this process only.
    let slept = unsafe {
        let word = word.as_ptr() as usize;
        let arguments = [word, operation as usize, expected as usize, time as usize];
        call::blocking(libc::SYS_futex, arguments)
    };
    match slept {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Slept::Interrupted,
        _ => Slept::Other,
    }
}

/// Wakes the thread that sleeps on `word`.
pub(crate) fn wake(word: &AtomicU32) {
    // SAFETY: FUTEX_WAKE uses the address as a key only.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            1,
        );
    }
}
