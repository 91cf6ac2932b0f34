//! The one signal that ends blocked waits.
//!
//! A deadline or a cancellation has to get a thread out of flock(2). Only a signal can do that, and
//! only if its handler runs and was installed without SA_RESTART. The library uses one real-time
//! signal, and never one that the program uses. The program uses a signal if it has a handler for
//! it, or if it blocks it: programs that read their signals with signalfd(2) or sigwait(2) do that
//! (see `masks`).

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use super::fork::ForkCell;
use super::masks::{self, Mask};
use super::thread::{block, unblock};
use super::{call, check, thread};

/// The signal in use, 0 before the first contended wait.
static IN_USE: AtomicI32 = AtomicI32::new(0);
/// The signal that the program asked for, 0 for none.
static PREFERRED: AtomicI32 = AtomicI32::new(0);
/// Whether some thread blocks every signal, so that the library had to choose one of these.
static NONE_BETTER: AtomicBool = AtomicBool::new(false);
static CHOOSING: ForkCell<Mutex<()>> = ForkCell::new();

/// The signal to try first: SIGRTMIN + 10, unless the program asked for another one.
fn preferred() -> libc::c_int {
    match PREFERRED.load(Ordering::Relaxed) {
        0 => libc::SIGRTMIN() + 10,
        signal => signal,
    }
}

/// Makes `signal` the preferred one. Fails if it is not a real-time signal or the program uses it.
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

/// A signal that is ours now: its handler was checked just now. None if the program uses every
/// real-time signal.
pub(crate) fn ours() -> Option<libc::c_int> {
    in_use().or_else(|| choose(Mask::default()))
}

/// The signal in use, if its handler is still ours.
pub(crate) fn in_use() -> Option<libc::c_int> {
    let signal = IN_USE.load(Ordering::Relaxed);
    (signal != 0 && matches!(owner(signal), Ok(Owner::Us))).then_some(signal)
}

/// Chooses a signal: at the first use, or when the program has begun to use the signal in use.
/// Avoids the signals of `not_these` if it can.
fn choose(not_these: Mask) -> Option<libc::c_int> {
    let choosing = CHOOSING.get_or_make(|| Mutex::new(()));
    let _one_at_a_time = choosing.lock().unwrap_or_else(|e| e.into_inner());
    // Many threads may come here at once, and looking at the masks of all threads takes time: use
    // what another thread has chosen.
    if let Some(chosen) = in_use().filter(|signal| !not_these.has(*signal)) {
        return Some(chosen);
    }
    let avoided = masks::blocked_or_pending().union(not_these);
    let all = || std::iter::once(preferred()).chain((libc::SIGRTMIN()..libc::SIGRTMAX()).rev());
    let unused = all().find(|&signal| !avoided.has(signal) && take(signal).unwrap_or(false));
    NONE_BETTER.store(unused.is_none(), Ordering::Relaxed);
    let chosen = unused.or_else(|| all().find(|&signal| take(signal).unwrap_or(false)))?;
    IN_USE.store(chosen, Ordering::Relaxed);
    Some(chosen)
}

/// Our signal. The thread does not block it while this lives.
pub(super) struct Unblocked {
    pub(super) signal: libc::c_int,
    was_blocked: bool,
}

impl Unblocked {
    /// None if the program uses every real-time signal.
    pub(super) fn begin() -> Option<Unblocked> {
        let mut signal = ours()?;
        // First look, then unblock: a signal that the program waits for may be pending, and would
        // be lost as soon as it is unblocked.
        let mask = thread::mask();
        if mask.has(signal) && may_be_read(signal, mask) {
            signal = choose(mask)?;
        }
        let was_blocked = mask.has(signal);
        if was_blocked {
            unblock(signal);
        }
        Some(Unblocked {
            signal,
            was_blocked,
        })
    }
}

impl Drop for Unblocked {
    fn drop(&mut self) {
        if self.was_blocked {
            block(self.signal);
        }
    }
}

/// Whether a thread with this mask blocks our signal because the program reads it from there.
fn may_be_read(signal: libc::c_int, blocked: Mask) -> bool {
    !blocked.blocks_most()
        && PREFERRED.load(Ordering::Relaxed) != signal
        && !NONE_BETTER.load(Ordering::Relaxed)
}

enum Owner {
    Us,
    Unused,
    Program,
}

fn owner(signal: libc::c_int) -> io::Result<Owner> {
    // SAFETY: sigaction is plain data for which all-zero is valid.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: this only reads the disposition, into valid memory.
    check(unsafe { libc::sigaction(signal, std::ptr::null(), &mut action) })?;
    Ok(match action.sa_sigaction {
        found if found == handler() && action.sa_flags & libc::SA_RESTART == 0 => Owner::Us,
        libc::SIG_DFL => Owner::Unused,
        _ => Owner::Program,
    })
}

/// Installs our handler for a signal that the program does not use. False if the program uses it.
fn take(signal: libc::c_int) -> io::Result<bool> {
    match owner(signal)? {
        Owner::Us => return Ok(true),
        Owner::Program => return Ok(false),
        Owner::Unused => {}
    }
    // SAFETY: as above.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler();
    // Without SA_RESTART, so that the signal ends system calls. With SA_ONSTACK, for programs whose
    // threads have tiny stacks. No other signal interrupts the handler: the program's handlers
    // would run on the alternate stack, which may be too small for them.
    action.sa_flags = libc::SA_ONSTACK | libc::SA_SIGINFO;
    // SAFETY: the set is valid memory.
    unsafe { libc::sigfillset(&mut action.sa_mask) };
    // SAFETY: a valid action. The handler may run anywhere: it only changes the interrupted
    // thread's own words, and the address at which the thread continues only where `call` allows
    // it.
    check(unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) })?;
    Ok(true)
}

fn handler() -> usize {
    on_signal as extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) as usize
}

extern "C" fn on_signal(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: this is the handler, and the kernel made these arguments.
    unsafe { call::interrupted(signal, info, context) };
}
