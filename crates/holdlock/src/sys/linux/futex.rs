//! Sleeping until a word changes: futex(2).

use std::io;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use super::call;

/// Why a sleep ended. The caller has to look at the word again, because any wake-up may be
/// spurious.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slept {
    /// A signal handler has run.
    Interrupted,
    /// A thread sent a wake-up, or the time is over, or the word was not as expected.
    Other,
}

/// Sleeps while `word` is `expected`. Ends after a wake-up, a signal handler or the timeout.
pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> Slept {
    let time = timeout.map(timespec);
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: FUTEX_WAIT reads the word and the time, which both live through the call. Private,
    // because only threads of this process share the word.
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

/// As [`wait`], but for a thread whose wait has ended: a signal of ours that came before does not
/// end this sleep.
pub(super) fn sleep(word: &AtomicU32, expected: u32, timeout: Duration) {
    // SAFETY: as in `wait`.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            expected,
            &timespec(timeout),
        );
    }
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: time.as_secs().min(i64::MAX as u64) as _,
        tv_nsec: time.subsec_nanos() as libc::c_long,
    }
}

/// Wakes the thread that sleeps on `word`.
pub(crate) fn wake(word: &AtomicU32) {
    // SAFETY: FUTEX_WAKE uses the address only as a key.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            1,
        );
    }
}
