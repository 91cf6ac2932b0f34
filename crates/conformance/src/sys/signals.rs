//! Signals: their handlers, masks and readers.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};

/// Sends a signal to one thread of this process.
pub fn kill_thread(thread: i32, signal: i32) {
    // SAFETY: takes no pointers.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal) };
}

/// Blocks a signal in this thread.
pub fn block(signal: i32) {
    // SAFETY: a signal set, initialised before use.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, signal);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
}

/// Blocks every real-time signal in this thread.
pub fn block_real_time_signals() {
    (libc::SIGRTMIN()..=libc::SIGRTMAX()).for_each(block);
}

/// Reads a signal by signalfd(2).
pub struct SignalReader(File);

impl SignalReader {
    /// Blocks the signal in this thread, and in threads that it starts later.
    pub fn new(signal: i32) -> SignalReader {
        use std::os::fd::FromRawFd;
        block(signal);
        // SAFETY: a signal set, initialised before use; a fresh descriptor.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, signal);
            let number = libc::signalfd(-1, &set, libc::SFD_CLOEXEC);
            assert!(number >= 0, "signalfd: {}", io::Error::last_os_error());
            SignalReader(File::from_raw_fd(number))
        }
    }

    /// Whether a signal arrives within a second.
    pub fn comes(&mut self) -> bool {
        use std::io::Read;
        let mut ready = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid entry.
        let count = unsafe { libc::poll(&mut ready, 1, 1000) };
        let mut message = [0; size_of::<libc::signalfd_siginfo>()];
        count == 1 && self.0.read_exact(&mut message).is_ok()
    }
}

/// Whether this thread blocks a signal.
pub fn is_blocked(signal: i32) -> bool {
    // SAFETY: reads the mask into a valid place.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut set);
        libc::sigismember(&set, signal) == 1
    }
}

/// How often the handler of [`count_signals`] ran.
pub static SIGNALS: AtomicU32 = AtomicU32::new(0);

/// Installs a handler that counts, with the given flags (SA_RESTART or 0).
pub fn count_signals(signal: i32, flags: i32) {
    extern "C" fn count(_: libc::c_int) {
        SIGNALS.fetch_add(1, Ordering::SeqCst);
    }
    install(signal, flags, count);
}

/// Counts signals of this number in [`SIGNALS`] only if the handler runs on the alternate stack,
/// which is not asked for here.
pub fn count_signals_on_the_alternate_stack(signal: i32) {
    extern "C" fn count(_: libc::c_int) {
        // SAFETY: `stack_t` is plain data, filled in by the call, which handlers may make.
        let is_there = unsafe {
            let mut stack: libc::stack_t = std::mem::zeroed();
            libc::sigaltstack(std::ptr::null(), &mut stack);
            stack.ss_flags & libc::SS_ONSTACK != 0
        };
        if is_there {
            SIGNALS.fetch_add(1, Ordering::SeqCst);
        }
    }
    install(signal, libc::SA_RESTART, count);
}

/// Installs a signal handler.
pub fn install(signal: i32, flags: i32, handler: extern "C" fn(libc::c_int)) {
    install_with(signal, flags, false, handler);
}

/// The same; `alone` lets no other signal interrupt the handler.
pub fn install_with(signal: i32, flags: i32, alone: bool, handler: extern "C" fn(libc::c_int)) {
    // SAFETY: a valid action; what the handler does is the caller's affair.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        if alone {
            libc::sigfillset(&mut action.sa_mask);
        }
        action.sa_sigaction = handler as usize;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
    }
}

/// Calls `inside` while SIGPIPE ends the process, which Rust's runtime otherwise prevents.
pub fn with_default_sigpipe<T>(inside: impl FnOnce() -> T) -> T {
    // SAFETY: two dispositions without code of ours.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let result = inside();
    // SAFETY: the disposition that there was.
    unsafe { libc::signal(libc::SIGPIPE, before) };
    result
}
