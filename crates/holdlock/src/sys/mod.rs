//! The operating system: what the rest of the library needs from it. This folder has the only
//! unsafe code.
//!
//! The code outside this folder is safe and does not know system calls or errnos. Each system is
//! one folder with the modules of this table. Today there is one: `linux`.
//!
//! | module | what it promises |
//! |---|---|
//! | `file` | opens and creates lock files: never hangs on a FIFO or device, follows a symbolic link only if asked to, leaves nothing open in programs that are executed |
//! | `file_lock` | locks, converts and unlocks a file. `WouldBlock` is a conflict. `Interrupted` means that a signal handler has run. A sleeping call keeps its position in the kernel's queue |
//! | `identity` | the identity and the type of a file, by path or by descriptor |
//! | `file_system` | the name of a file's file system, and whether its lock table has other numbers than stat(2) |
//! | `directory` | lists a directory, also if other code closes its descriptor meanwhile |
//! | `pin` | keeps a file without having it open for reading or writing |
//! | `lock_fd` | descriptors that no child of fork keeps; whether a descriptor is still the file that was opened |
//! | `fork` | notices fork without a system call |
//! | `call`, `interrupt` | end a blocked call of a thread at a deadline or when notified, for certain, and leave no signal behind |
//! | `notify` | ends the waits of many threads, even from a signal handler |
//! | `signal` | the one signal that `interrupt` uses, never one that the program uses |
//! | `thread` | the kernel's number of a thread |
//! | `start` | starts a thread, also in a child of fork |
//! | `futex` | sleeps until another thread changes a word |
//! | `clock` | the monotonic clock and that of the boot |
//! | `process` | whether a process exists, and whether this process has an alarm |
//! | `lock_request` | reads the lock call in which another process is blocked |
//! | `refusal` | sorts the system's errors into kinds |
//!
//! A function that fails returns an [`io::Error`](std::io::Error), which keeps the system's error
//! number for the user. Code that has to tell errors apart uses [`Refusal::of`].

mod linux;
mod refusal;

pub(crate) use linux::{
    call, checked_file, clock, directory, file, file_lock, file_system, fork, futex, identity,
    interrupt, lock_fd, lock_request, notify, pin, process, published, signal, start, thread,
};
pub(crate) use refusal::Refusal;
