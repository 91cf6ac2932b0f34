//! Linux. Each file is one facility of the kernel behind a safe interface:
//!
//! | file | facility |
//! |---|---|
//! | `file` | open(2), linkat(2), F_DUPFD and F_SETSIG of fcntl(2) |
//! | `file_lock` | flock(2), OFD locks of fcntl(2) |
//! | `identity` | stat(2) |
//! | `file_system` | fstatfs(2) |
//! | `pin` | O_PATH of open(2) |
//! | `descriptor_table` | the table of lock file descriptors |
//! | `lock_fd` | the check whether a descriptor is still ours |
//! | `checked_file` | the same check for /proc/locks, which is open for some milliseconds |
//! | `close_in_child` | dup3(2) and close(2) of lock files in a child of fork(2) |
//! | `fork` | MADV_WIPEONFORK of madvise(2), pthread_atfork(3) |
//! | `call` | blocking system calls that a signal ends for certain |
//! | `timer` | timer_create(2) with SIGEV_THREAD_ID |
//! | `interrupt` | ends a system call by that timer |
//! | `notify` | the same for many threads at once |
//! | `signal` | sigaction(2) |
//! | `directory` | getdents64(2) |
//! | `masks` | the signals that the threads of this process block, from /proc |
//! | `thread` | gettid(2), tgkill(2), pthread_sigmask(3) |
//! | `start` | pthread_create(3) |
//! | `futex` | futex(2) |
//! | `clock` | clock_gettime(2) |
//! | `process` | kill(2) with signal 0, getitimer(2) |
//! | `lock_request` | `struct flock`, and the numbers of /proc/PID/syscall |
//! | `by_number` | system calls without a function in old C libraries |
//! | `errno` | the kernel's error numbers |

#![allow(unsafe_code)]

mod by_number;
pub(crate) mod call;
pub(crate) mod checked_file;
pub(crate) mod clock;
mod close_in_child;
mod descriptor_table;
pub(crate) mod directory;
mod errno;
pub(crate) mod file;
pub(crate) mod file_lock;
pub(crate) mod file_system;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod identity;
pub(crate) mod interrupt;
pub(crate) mod lock_fd;
pub(crate) mod lock_request;
mod masks;
pub(crate) mod notify;
pub(crate) mod pin;
pub(crate) mod process;
pub(crate) mod published;
pub(crate) mod signal;
pub(crate) mod start;
pub(crate) mod thread;
mod timer;

/// Turns the -1 of a failed system call into an error.
#[inline]
fn check(result: libc::c_int) -> std::io::Result<libc::c_int> {
    if result == -1 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
