//! A child by vfork(2), and execvp(3).
//!
//! `std::process::Command` gives the child SIGPIPE's default, and its fast way
//! (posix_spawnp) does not hand files without `#!` to /bin/sh as execvp does.
//! flock(1) does the second and not the first, so this does what posix_spawn
//! does, with execvp: a child that shares our memory, on a stack of its own,
//! while we sleep in the kernel until it has become the command.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::os::fd::RawFd;
use std::ptr;

use super::check;

/// A command line as execvp wants it.
pub(crate) struct CommandLine<'a> {
    words: Vec<*const c_char>,
    _borrowed: std::marker::PhantomData<&'a CStr>,
}

impl<'a> CommandLine<'a> {
    /// At least one word.
    pub(crate) fn new(words: &[&'a CStr]) -> CommandLine<'a> {
        assert!(!words.is_empty());
        CommandLine {
            words: words
                .iter()
                .map(|word| word.as_ptr())
                .chain([ptr::null()])
                .collect(),
            _borrowed: std::marker::PhantomData,
        }
    }

    /// Becomes the command; returns only where that fails.
    pub(crate) fn exec(&self) -> io::Error {
        // SAFETY: an array of C strings that ends in null, with one string at least.
        unsafe { libc::execvp(self.words[0], self.words.as_ptr()) };
        io::Error::last_os_error()
    }

    /// Starts the command in a child, which first closes `close`.
    pub(crate) fn spawn(&self, close: Option<RawFd>) -> Result<Child, SpawnError> {
        // For a file without #!, execvp puts the words on the stack once more.
        let stack =
            Stack::new(64 * 1024 + 2 * size_of_val(&self.words[..])).map_err(SpawnError::Fork)?;
        let mut start = Start {
            line: self,
            close,
            failed: None,
        };
        // SAFETY: CLONE_VFORK keeps this thread from running, and so `start` and the stack alive
        // and unshared, until the child has another program or is gone. The child calls only
        // close, execvp (which allocates nothing in glibc) and _exit.
        let pid = check(unsafe {
            libc::clone(
                begin,
                stack.top(),
                libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
                (&raw mut start).cast(),
            )
        })
        .map_err(SpawnError::Fork)?;
        let child = Child { pid };
        // SAFETY: `start` is a live local; volatile because the child wrote it behind our back.
        match unsafe { ptr::read_volatile(&raw const start.failed) } {
            None => Ok(child),
            Some(errno) => {
                // Reap it; its status is only ours.
                let _ = child.wait();
                Err(SpawnError::Exec(io::Error::from_raw_os_error(errno)))
            }
        }
    }
}

/// What could not be done.
pub(crate) enum SpawnError {
    Fork(io::Error),
    Exec(io::Error),
}

struct Start<'a> {
    line: &'a CommandLine<'a>,
    close: Option<RawFd>,
    failed: Option<i32>,
}

extern "C" fn begin(start: *mut c_void) -> c_int {
    // SAFETY: spawn's own Start, whose thread sleeps until we are gone.
    let start = unsafe { &mut *start.cast::<Start<'_>>() };
    if let Some(fd) = start.close {
        // SAFETY: the child's table of descriptors is its own.
        unsafe { libc::close(fd) };
    }
    let error = start.line.exec();
    start.failed = Some(error.raw_os_error().unwrap_or(libc::EINVAL));
    // SAFETY: takes a number; runs nothing of the parent's.
    unsafe { libc::_exit(1) }
}

/// A mapping to serve as the child's stack.
struct Stack {
    bottom: *mut c_void,
    size: usize,
}

impl Stack {
    fn new(size: usize) -> io::Result<Stack> {
        let size = size.next_multiple_of(4096);
        // SAFETY: a new private mapping.
        let bottom = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if bottom == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Stack { bottom, size })
    }

    /// Where a stack begins that grows down.
    fn top(&self) -> *mut c_void {
        // SAFETY: one past the end of the mapping; page-aligned, so aligned for any stack.
        unsafe { self.bottom.byte_add(self.size) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and the child that ran on it has its own memory by now.
        unsafe { libc::munmap(self.bottom, self.size) };
    }
}

/// A child that is the command by now.
pub(crate) struct Child {
    pid: libc::pid_t,
}

/// How a command ended.
pub(crate) enum Ended {
    Status(u8),
    Signal(u8),
}

impl Child {
    /// Waits until the child has ended.
    pub(crate) fn wait(&self) -> io::Result<Ended> {
        let mut status = 0;
        // SAFETY: a valid place for the status.
        while let Err(error) = check(unsafe { libc::waitpid(self.pid, &mut status, 0) }) {
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        Ok(if libc::WIFSIGNALED(status) {
            Ended::Signal(libc::WTERMSIG(status) as u8)
        } else {
            Ended::Status(libc::WEXITSTATUS(status) as u8)
        })
    }
}

/// Gives SIGCHLD its default: were it ignored, no child could be waited for.
pub(crate) fn default_sigchld() {
    // SAFETY: no handler is installed, only a default.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Closes a descriptor that is known by its number only.
pub(crate) fn close(fd: RawFd) {
    // SAFETY: takes a number; the callers' descriptors are owned by nobody, as they are to be
    // inherited.
    unsafe { libc::close(fd) };
}
