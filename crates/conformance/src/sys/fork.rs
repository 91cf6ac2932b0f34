//! Children made by fork(2), and handlers that run at a fork.

use std::io;

/// Runs `child` in a child made by fork(2); returns its exit status.
///
/// The child runs nothing but `child` and leaves by _exit, as a panic would. The
/// parent forgets `child` and all that was moved into it.
pub fn fork(child: impl FnOnce() -> i32) -> Child {
    // SAFETY: the child runs `child` and _exits. Callers keep to what a child of a threaded
    // process may do, or are themselves a single thread.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", io::Error::last_os_error()),
        0 => {
            let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            // SAFETY: ends the process.
            unsafe { libc::_exit(status.unwrap_or(101)) }
        }
        pid => {
            // The child drops these values; this process must not drop them, too.
            std::mem::forget(child);
            Child(pid)
        }
    }
}

/// As [`fork`], but by the bare system call: no atfork handlers run.
pub fn bare_fork(child: impl FnOnce() -> i32) -> Child {
    // SAFETY: as in `fork`; clone with SIGCHLD alone is fork.
    match unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } {
        -1 => panic!("clone: {}", io::Error::last_os_error()),
        0 => {
            let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            // SAFETY: ends the process.
            unsafe { libc::_exit(status.unwrap_or(101)) }
        }
        pid => {
            std::mem::forget(child);
            Child(pid as i32)
        }
    }
}

/// A forked child.
pub struct Child(libc::pid_t);

impl Child {
    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.0 as u32
    }

    /// Waits for its end.
    pub fn wait(self) -> i32 {
        let mut status = 0;
        // SAFETY: a valid place for the status.
        let pid = unsafe { libc::waitpid(self.0, &mut status, 0) };
        assert_eq!(pid, self.0);
        if libc::WIFEXITED(status) {
            libc::WEXITSTATUS(status)
        } else {
            128 + libc::WTERMSIG(status)
        }
    }
}

/// A mutex that handlers of pthread_atfork take before each fork and release after it.
static AT_FORK: MutexAtFork =
    MutexAtFork(std::cell::UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));

struct MutexAtFork(std::cell::UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: only the functions of pthread touch what is inside.
unsafe impl Sync for MutexAtFork {}

extern "C" fn lock_at_fork() {
    // SAFETY: initialised statically.
    unsafe { libc::pthread_mutex_lock(AT_FORK.0.get()) };
}

extern "C" fn unlock_at_fork() {
    // SAFETY: the thread that forked has it.
    unsafe { libc::pthread_mutex_unlock(AT_FORK.0.get()) };
}

/// Makes each later fork of this process take a mutex first.
pub fn take_a_mutex_at_fork() {
    // SAFETY: the handlers stay for the life of the process.
    unsafe {
        libc::pthread_atfork(
            Some(lock_at_fork),
            Some(unlock_at_fork),
            Some(unlock_at_fork),
        )
    };
}

/// Calls `inside` while no fork can begin: with the mutex of [`take_a_mutex_at_fork`].
pub fn while_forks_wait<T>(inside: impl FnOnce() -> T) -> T {
    lock_at_fork();
    let result = inside();
    unlock_at_fork();
    result
}
