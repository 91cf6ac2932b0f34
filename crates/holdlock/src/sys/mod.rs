//! The operating system: the only unsafe code and the only direct system calls.
//!
//! Everything above this folder is safe code. Each file here is one facility of
//! the kernel behind a safe interface:
//!
//! | file | facility |
//! |---|---|
//! | `file` | flock(2), OFD locks of fcntl(2), stat(2), open(2) |
//! | `interrupt` | ending a blocked system call at a deadline or on request |
//! | `bell` | telling threads that are blocked so to stop |
//! | `signal` | the one signal that `interrupt` uses |
//! | `masks` | which signals the threads of this process block |
//! | `call` | blocking calls that the signal ends for certain |
//! | `futex` | sleeping until another thread changes a word |
//! | `clock` | the monotonic clock |
//! | `process` | whether a process exists; whether ours has an alarm(2) |
//! | `fork` | noticing fork(2) without a system call |
//! | `lock_fd` | descriptors that no child of fork(2) keeps |

#![allow(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "holdlock supports Linux only for now: its waits are built on flock(2), POSIX timers with \
     SIGEV_THREAD_ID and futexes. On other systems use std::fs::File::lock meanwhile."
);

pub(crate) mod bell;
pub(crate) mod call;
pub(crate) mod clock;
pub(crate) mod file;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod interrupt;
pub(crate) mod lock_fd;
mod masks;
pub(crate) mod process;
pub(crate) mod signal;

/// Turns the -1 of a system call into the error it stands for.
#[inline]
fn check(result: libc::c_int) -> std::io::Result<libc::c_int> {
    if result == -1 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
