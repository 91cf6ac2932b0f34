//! Blocking system calls that our signal ends for certain.
//!
//! A handler that was installed without SA_RESTART makes flock(2) return EINTR, but not in two
//! cases:
//!
//! * The signal arrives just before the thread enters the call.
//! * Another signal is pending as well. The kernel delivers the lowest number first, and the flags
//!   of that signal alone decide whether the call is restarted. Our signal comes second, on top of
//!   the other handler, and decides nothing. If signals with SA_RESTART arrive without a pause,
//!   this happens nearly every time: measured, a limit of 100 ms ended 13 s late.
//!
//! Therefore our handler looks where the thread was interrupted:
//!
//! | the thread was | our handler |
//! |---|---|
//! | at the call: before it, in it, or about to restart it | makes the thread continue after the call, with EINTR |
//! | not in a call | notes that the thread must skip the next call |
//! | in another signal's handler, above the call | blocks our signal until that handler has returned, and sends it again |
//!
//! So no signal is lost. The timers repeat the signal nevertheless: the kernel may have no room for
//! another pending signal, and the code here is for one processor architecture only.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, compiler_fence};

use super::thread;

/// What the handler has to know about its thread. Only that thread uses it. The fields are atomics
/// because the handler interrupts the thread's own code.
#[repr(C)]
struct Call {
    /// The begin and the end of the code that the handler ends, by making the thread continue at
    /// `after_call`.
    begin: AtomicUsize,
    end: AtomicUsize,
    after_call: AtomicUsize,
    /// Not 0: skip the call.
    skip_call: AtomicU32,
    /// Whether the thread is in a wait.
    listens: AtomicBool,
    /// Whether the thread is in a call.
    calling: AtomicBool,
    /// The number of the signal that the handler blocked; 0 for none.
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

/// While this lives, a signal of ours that arrives between two calls ends the next one.
pub(crate) struct Listening {
    before: bool,
}

impl Listening {
    pub(crate) fn begin() -> Listening {
        Listening {
            before: CALL.with(|call| call.listens.swap(true, Ordering::Relaxed)),
        }
    }

    /// Forgets the signals that came before. The caller has to check *after* this for what they
    /// could have meant.
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

/// Makes a system call that may block. Fails with `Interrupted` if our signal came, even before the
/// call, and in the cases in which the kernel does.
pub(super) unsafe fn blocking(number: libc::c_long, arguments: [usize; 4]) -> io::Result<()> {
    CALL.with(|call| {
        call.calling.store(true, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        // SAFETY: the caller guarantees the arguments; `call` is this thread's.
        let result = unsafe { enter(number, arguments, call) };
        compiler_fence(Ordering::SeqCst);
        call.calling.store(false, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        let deferred = call.deferred.swap(0, Ordering::Relaxed);
        if deferred != 0 {
            thread::unblock(deferred as libc::c_int);
        }
        result
    })
}

#[cfg(target_arch = "x86_64")]
unsafe fn enter(number: libc::c_long, arguments: [usize; 4], call: &Call) -> io::Result<()> {
    let [a, b, c, d] = arguments;
    let result: isize;
    // SAFETY: the caller guarantees that the system call is sound. Only fields of `call` are
    // written, at their offsets. Nothing is pushed. Only the registers of the kernel and `scratch`
    // change. The handler's jump to label 4 skips the call and nothing else.
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
    // SAFETY: the caller guarantees the arguments.
    match unsafe { libc::syscall(number, a, b, c, d) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The handler of our signal. `context` tells where the thread was interrupted.
///
/// # Safety
///
/// Only the handler of `signal` may call this, with the arguments that the kernel gave it.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn interrupted(
    signal: libc::c_int,
    info: *const libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel made both; they live until the handler returns.
    let (info, context) = unsafe { (&*info, &mut *context.cast::<libc::ucontext_t>()) };
    // Ignore signals from elsewhere: they may interrupt a thread that never waited. Such a thread
    // may have no thread-local memory yet, and a handler cannot allocate it. Our own signals are
    // only sent to waiting threads.
    // SAFETY: for a signal of tgkill the kernel fills in the sender.
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
        if !thread::send(super::by_number::gettid(), signal) {
            return;
        }
        call.deferred.store(signal as u32, Ordering::Relaxed);
        // SAFETY: the kernel's set is the first 64 bits of libc's set. It becomes the thread's mask
        // when the handler returns; until then the signal stays pending.
        let blocked = unsafe { &mut *std::ptr::from_mut(&mut context.uc_sigmask).cast::<u64>() };
        *blocked |= 1 << (signal - 1);
    });
}

/// On other processors the signal is only repeated, and the handler does nothing.
///
/// # Safety
///
/// No requirements.
#[cfg(not(target_arch = "x86_64"))]
pub(super) unsafe fn interrupted(
    _signal: libc::c_int,
    _info: *const libc::siginfo_t,
    _context: *mut libc::c_void,
) {
}
