//! The operating system: what the rest of the library asks of it, and the only unsafe code.
//!
//! Everything above this folder is safe code and knows no system calls and no errnos. A system is
//! one folder here with the modules of this table; today that is `linux`.
//!
//! | module | what it promises |
//! |---|---|
//! | `file` | opens and creates lock files: never hangs on a FIFO or device, follows a symbolic link only when told, leaves nothing open in programs that are executed |
//! | `file_lock` | locks, converts and unlocks a file. `WouldBlock` is a conflict, `Interrupted` means that a signal handler ran; a sleeping call keeps its place in the kernel's queue |
//! | `identity` | tells which file a path or a descriptor names, and what is in it |
//! | `file_system` | names a file's file system, and knows those with numbers of their own |
//! | `pin` | holds on to a file that is open, without having it open for reading or writing |
//! | `lock_fd` | keeps descriptors that no child of fork has, and tells whether one is still the file that was opened |
//! | `fork` | notices fork without a system call |
//! | `call`, `interrupt` | end a blocked call of a thread at a deadline or when notified, for certain, and without a signal left over |
//! | `notify` | ends the waits of many threads from a signal handler |
//! | `signal` | the one signal that `interrupt` uses, never one that the program uses |
//! | `thread` | the kernel's number of a thread |
//! | `futex` | sleeps until another thread changes a word |
//! | `clock` | the monotonic clock |
//! | `process` | tells whether a process exists, and whether ours has an alarm |
//! | `lock_request` | reads the lock call in which another process is blocked |
//! | `refusal` | sorts errors of the system into kinds |
//!
//! Functions that fail return an [`io::Error`](std::io::Error), which keeps the system's number for
//! the user. Who needs to tell errors apart asks [`Refusal::of`].

mod linux;
mod refusal;

pub(crate) use linux::{
    call, clock, file, file_lock, file_system, fork, futex, identity, interrupt, lock_fd,
    lock_request, notify, pin, process, published, signal, thread,
};
pub(crate) use refusal::Refusal;
