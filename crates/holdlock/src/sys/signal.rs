//! The one signal that ends blocked waits.
//!
//! A deadline or a cancellation must get a thread out of flock(2). The only
//! thing that does is a signal whose handler runs and which was installed
//! without SA_RESTART. We use one real-time signal, with a handler that does
//! nothing, and never one that somebody else has taken.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};

use super::check;
use super::fork::ForkCell;

/// The signal in use, 0 before the first contended wait.
static IN_USE: AtomicI32 = AtomicI32::new(0);
/// The signal to prefer, 0 for the default.
static PREFERRED: AtomicI32 = AtomicI32::new(0);
static CHOOSING: ForkCell<Mutex<()>> = ForkCell::new();

/// SIGRTMIN + 10 unless the program asked for another.
fn preferred() -> libc::c_int {
    match PREFERRED.load(Ordering::Relaxed) {
        0 => libc::SIGRTMIN() + 10,
        signal => signal,
    }
}

/// Makes `signal` the preferred one; an error when it is no real-time signal or taken.
pub(crate) fn prefer(signal: i32) -> io::Result<()> {
    if !(libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&signal) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "signal {signal} is not a real-time signal ({}..={})",
                libc::SIGRTMIN(),
                libc::SIGRTMAX()
            ),
        ));
    }
    if !take(signal)? {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("signal {signal} already has a handler or is ignored"),
        ));
    }
    PREFERRED.store(signal, Ordering::Relaxed);
    IN_USE.store(signal, Ordering::Relaxed);
    Ok(())
}

/// A signal which is ours at this moment: its handler was looked at just now.
/// None when every real-time signal is taken.
pub(crate) fn ours() -> Option<libc::c_int> {
    let signal = IN_USE.load(Ordering::Relaxed);
    if signal != 0 && matches!(owner(signal), Ok(Owner::Us)) {
        return Some(signal);
    }
    // First use, or somebody replaced our handler: then the signal is theirs now.
    let choosing = CHOOSING.get_or_make(|| Mutex::new(()));
    let _one_at_a_time = choosing.lock().unwrap_or_else(|e| e.into_inner());
    let candidates = std::iter::once(preferred()).chain((libc::SIGRTMIN()..libc::SIGRTMAX()).rev());
    for signal in candidates {
        if take(signal).unwrap_or(false) {
            IN_USE.store(signal, Ordering::Relaxed);
            return Some(signal);
        }
    }
    None
}

enum Owner {
    Us,
    Nobody,
    SomebodyElse,
}

fn owner(signal: libc::c_int) -> io::Result<Owner> {
    // SAFETY: sigaction is plain data for which all-zero is valid.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: only reads the disposition into a valid place.
    check(unsafe { libc::sigaction(signal, std::ptr::null(), &mut action) })?;
    let handler = on_signal as extern "C" fn(libc::c_int) as usize;
    Ok(match action.sa_sigaction {
        found if found == handler && action.sa_flags & libc::SA_RESTART == 0 => Owner::Us,
        libc::SIG_DFL => Owner::Nobody,
        _ => Owner::SomebodyElse,
    })
}

/// Installs our handler for a signal that nobody uses. False when it is taken.
fn take(signal: libc::c_int) -> io::Result<bool> {
    match owner(signal)? {
        Owner::Us => return Ok(true),
        Owner::SomebodyElse => return Ok(false),
        Owner::Nobody => {}
    }
    // SAFETY: as above.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
    // No SA_RESTART, that is the point. SA_ONSTACK for hosts whose threads have tiny stacks.
    action.sa_flags = libc::SA_ONSTACK;
    // SAFETY: a valid action whose handler does nothing, so that it may run anywhere.
    check(unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) })?;
    Ok(true)
}

extern "C" fn on_signal(_signal: libc::c_int) {}

/// Lets `signal` through in this thread; true when it was blocked before.
pub(crate) fn unblock(signal: libc::c_int) -> bool {
    change_mask(libc::SIG_UNBLOCK, signal)
}

/// Blocks `signal` again, as it was before [`unblock`].
pub(crate) fn block(signal: libc::c_int) {
    change_mask(libc::SIG_BLOCK, signal);
}

fn change_mask(how: libc::c_int, signal: libc::c_int) -> bool {
    // SAFETY: signal sets are plain data, initialised by sigemptyset before use.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, signal);
        libc::pthread_sigmask(how, &set, &mut before);
        libc::sigismember(&before, signal) == 1
    }
}

/// Calls `inside` while this thread blocks all signals: a thread that is started there begins so.
pub(crate) fn with_all_blocked<T>(inside: impl FnOnce() -> T) -> T {
    // SAFETY: signal sets are plain data, filled before use; the mask is this thread's own, and
    // is put back below.
    let before = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        before
    };
    let result = inside();
    // SAFETY: the set that the first call filled in.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    result
}
