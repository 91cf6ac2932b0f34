//! Blocking system calls that our signal ends for certain.
//!
//! A handler that was installed without SA_RESTART makes flock(2) return EINTR, but in two cases
//! it does not:
//!
//! * The signal arrives just before the thread enters the call.
//! * Another signal is pending too. The kernel delivers the lowest number first, and that signal's
//!   flags alone decide whether the call is restarted. Ours comes second, on top of the other
//!   handler, and decides nothing. When signals with SA_RESTART arrive without a pause, this
//!   happens nearly every time: measured, a limit of 100 ms ended 13 s late.
//!
//! Therefore our handler looks where the thread was interrupted:
//!
//! | the thread was | our handler |
//! |---|---|
//! | at the call: before it, or inside, or about to restart it | lets it go on behind the call, with EINTR |
//! | not in a call | notes that the next call is not to be entered |
//! | in another signal's handler, above the call | has itself called again as soon as that handler has returned: it blocks our signal until then, and sends it |
//!
//! No signal is lost in this way. The timers go off again and again all the same: the kernel may
//! have no room for one more pending signal, and this part is for one processor only.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, compiler_fence};

use super::signal;

/// What the handler has to know of its thread. Only that thread uses it: atomics, because the
/// handler interrupts the thread's own code.
#[repr(C)]
struct Call {
    /// Where the code begins and ends from which the thread is sent to `after_call`.
    begin: AtomicUsize,
    end: AtomicUsize,
    after_call: AtomicUsize,
    /// Not 0: do not enter the call.
    skip_call: AtomicU32,
    /// Whether the thread is in a wait.
    listens: AtomicBool,
    /// Whether the thread is in a call.
    calling: AtomicBool,
    /// The signal that the handler blocked, as its number; 0 for none.
    deferred: AtomicU32,
}

thread_local! {
    static CALL: Call = const {
        Call {
            begin: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            after_call: AtomicUsize::new(0),
            skip_call: AtomicU32::new(0),
            listens: AtomicBool::new(false),
            calling: AtomicBool::new(false),
            deferred: AtomicU32::new(0),
        }
    };
}

/// While it lives, a signal of ours that arrives between two calls ends the next one.
pub(crate) struct Listening {
    before: bool,
}

impl Listening {
    pub(crate) fn begin() -> Listening {
        Listening {
            before: CALL.with(|call| call.listens.swap(true, Ordering::Relaxed)),
        }
    }

    /// Forgets the signals that came before. Look for what they could have told *after* this.
    pub(crate) fn reset(&self) {
        CALL.with(|call| call.skip_call.store(0, Ordering::Relaxed));
        compiler_fence(Ordering::SeqCst);
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        CALL.with(|call| {
            call.listens.store(self.before, Ordering::Relaxed);
            call.skip_call.store(0, Ordering::Relaxed);
        });
    }
}

/// A system call that may block. `Interrupted` when our signal came, also before the call, and as
/// the kernel says.
///
/// # Safety
///
/// As for the system call: the arguments must be right for it.
pub(super) unsafe fn blocking(number: libc::c_long, arguments: [usize; 4]) -> io::Result<()> {
    CALL.with(|call| {
        call.calling.store(true, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        // SAFETY: the caller's; `call` is this thread's.
        let result = unsafe { enter(number, arguments, call) };
        compiler_fence(Ordering::SeqCst);
        call.calling.store(false, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        let deferred = call.deferred.swap(0, Ordering::Relaxed);
        if deferred != 0 {
            signal::unblock(deferred as libc::c_int);
        }
        result
    })
}

#[cfg(target_arch = "x86_64")]
unsafe fn enter(number: libc::c_long, arguments: [usize; 4], call: &Call) -> io::Result<()> {
    let [a, b, c, d] = arguments;
    let result: isize;
    // SAFETY: the system call is the caller's affair. What is written through `call` are its own
    // fields, at the offsets that are given. Nothing is pushed, and no register changes but those
    // which the kernel and `scratch` use; the handler's jump to label 4 skips the call and
    // nothing else.
    unsafe {
        std::arch::asm!(
            "lea {scratch}, [rip + 2f]",
            "mov qword ptr [{call} + {begin}], {scratch}",
            "lea {scratch}, [rip + 3f]",
            "mov qword ptr [{call} + {end}], {scratch}",
            "lea {scratch}, [rip + 4f]",
            "mov qword ptr [{call} + {after_call}], {scratch}",
            "2:",
            "cmp dword ptr [{call} + {skip_call}], 0",
            "jne 4f",
            "syscall",
            "3:",
            "jmp 5f",
            "4:",
            "mov rax, {interrupted}",
            "5:",
            call = in(reg) std::ptr::from_ref(call),
            scratch = out(reg) _,
            begin = const std::mem::offset_of!(Call, begin),
            end = const std::mem::offset_of!(Call, end),
            after_call = const std::mem::offset_of!(Call, after_call),
            skip_call = const std::mem::offset_of!(Call, skip_call),
            interrupted = const -(libc::EINTR as isize),
            inlateout("rax") number as isize => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    if result < 0 {
        Err(io::Error::from_raw_os_error(-result as i32))
    } else {
        Ok(())
    }
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn enter(number: libc::c_long, arguments: [usize; 4], _call: &Call) -> io::Result<()> {
    let [a, b, c, d] = arguments;
    // SAFETY: the caller's.
    match unsafe { libc::syscall(number, a, b, c, d) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Our signal's handler. `context` is where the thread was interrupted.
///
/// # Safety
///
/// To be called by the handler of `signal` only, with what the kernel gave it.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn interrupted(
    signal: libc::c_int,
    info: *const libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel's own, alive until the handler returns.
    let (info, context) = unsafe { (&*info, &mut *context.cast::<libc::ucontext_t>()) };
    // A stranger's signal may interrupt a thread that never waited, for which there may be no
    // thread-local memory yet, and a handler cannot have it made. Ours are sent to waiting threads.
    // SAFETY: a signal by tgkill says who sent it.
    let ours = info.si_code == libc::SI_TIMER
        || info.si_code == libc::SI_TKILL && unsafe { info.si_pid() == libc::getpid() };
    if !ours {
        return;
    }
    CALL.with(|call| {
        if !call.listens.load(Ordering::Relaxed) {
            return;
        }
        call.skip_call.store(1, Ordering::Relaxed);
        if !call.calling.load(Ordering::Relaxed) {
            return;
        }
        let at = &mut context.uc_mcontext.gregs[libc::REG_RIP as usize];
        let code = call.begin.load(Ordering::Relaxed)..call.end.load(Ordering::Relaxed);
        if *at as usize == code.end {
            return; // the call is over
        }
        if code.contains(&(*at as usize)) {
            *at = call.after_call.load(Ordering::Relaxed) as libc::greg_t;
            return;
        }
        // SAFETY: takes nothing.
        if !signal::send(unsafe { libc::gettid() }, signal) {
            return;
        }
        call.deferred.store(signal as u32, Ordering::Relaxed);
        // SAFETY: the kernel's set is the first 64 bits of what libc reserves for one; it becomes
        // the thread's when the handler returns, and until then the signal waits.
        let blocked = unsafe { &mut *std::ptr::from_mut(&mut context.uc_sigmask).cast::<u64>() };
        *blocked |= 1 << (signal - 1);
    });
}

/// Elsewhere it is enough that the handler runs, if the signal is sent again and again.
///
/// # Safety
///
/// None is needed.
#[cfg(not(target_arch = "x86_64"))]
pub(super) unsafe fn interrupted(
    _signal: libc::c_int,
    _info: *const libc::siginfo_t,
    _context: *mut libc::c_void,
) {
}
