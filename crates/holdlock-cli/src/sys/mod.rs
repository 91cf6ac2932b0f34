//! System calls for which `rustix` and `std` have no safe function: the only unsafe code of the
//! command.
//!
//! | file | facility |
//! |---|---|
//! | `start` | the start of the program, in place of the standard library's |
//! | `range` | flock(2), and byte-range locks of open file descriptions |
//! | `alarm` | ending a blocked system call after a time |
//! | `cancel_on_signal` | signals that end a wait in place of the program |
//! | `descriptors` | the descriptors that children inherit |
//! | `wake` | continuing this process after a stop |
//! | `fnmatch` | patterns for paths, fnmatch(3) |
//! | `groups` | process groups and sessions, getsid(2), getpgrp(2), tcgetpgrp(3) |
//! | `pipe` | writing without being killed by SIGPIPE |
//! | `slim` | little memory while waiting, madvise(2) |
//! | `vfork` | a child that borrows our memory until exec, clone(2) and execvp(3) |
//! | `flock_child` | flock(1)'s command |
//! | `run_child` | `run`'s command, which does not outlive us |
//! | `shared_memory` | memory that processes share, mmap(2) |
//! | `signals` | signals as a queue to read from |
//! | `signal_fd` | the same, to wait for together with keys |
//! | `thread` | gettid(2), tgkill(2), and fork(2) with threads |
//! | `name_service` | names of hosts and users in a static program |
//! | `local_time` | the time of day, localtime(3) |

#![allow(unsafe_code)]

pub(crate) mod alarm;
#[cfg(feature = "engines")]
pub(crate) mod cancel_on_signal;
pub(crate) mod descriptors;
pub(crate) mod flock_child;
pub(crate) mod fnmatch;
pub(crate) mod groups;
pub(crate) mod local_time;
#[cfg(feature = "engines")]
pub(crate) mod name_service;
pub(crate) mod pipe;
pub(crate) mod range;
pub(crate) mod run_child;
pub(crate) mod shared_memory;
pub(crate) mod signal_fd;
pub(crate) mod signals;
pub(crate) mod slim;
pub(crate) mod start;
pub(crate) mod thread;
pub(crate) mod vfork;
pub(crate) mod wake;

use std::io;

/// Turns the -1 of a system call into its error.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
