//! A child that borrows our memory until it has become the command: CLONE_VM and CLONE_VFORK, as
//! posix_spawn(3) makes it.
//!
//! `std::process::Command` does not fit either command. The child of flock(1) leaves SIGPIPE as it
//! is, and passes files without `#!` to /bin/sh. The child of `run` asks for a signal at its
//! parent's death, for which std makes a full copy by fork(3): that takes 60 µs of the 1900 µs of
//! `holdlock run L -- /bin/true`, and runs the library's fork handler, which takes the descriptors
//! of locks away in the child.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::process::{Pid, WaitOptions, waitpid};

/// A program and its arguments, as exec(2) wants them.
pub(crate) struct Argv<'a> {
    /// At least one string, and a null pointer at the end.
    pointers: Vec<*const c_char>,
    /// The same for the environment, where no string is needed. None: that of this process.
    environment: Option<Vec<*const c_char>>,
    _words: PhantomData<&'a CStr>,
}

impl<'a> Argv<'a> {
    /// At least one word.
    pub(crate) fn new(words: impl IntoIterator<Item = &'a CStr>) -> Argv<'a> {
        let words = words.into_iter().map(CStr::as_ptr);
        let pointers: Vec<_> = words.chain([ptr::null()]).collect();
        assert!(pointers.len() > 1);
        Argv {
            pointers,
            environment: None,
            _words: PhantomData,
        }
    }

    /// The program gets this environment. None: that of this process.
    pub(crate) fn with_environment(mut self, variables: Option<&'a [CString]>) -> Argv<'a> {
        self.environment = variables.map(|variables| {
            let variables = variables.iter().map(|variable| variable.as_ptr());
            variables.chain([ptr::null()]).collect()
        });
        self
    }

    /// Becomes the command by execvp(3): it searches PATH, and the shell runs a script without
    /// `#!`. Returns only if that fails. It does not allocate.
    pub(crate) fn exec(&self) -> io::Error {
        // SAFETY: arrays of strings that end in null; that of the words has one at least.
        unsafe {
            match &self.environment {
                None => libc::execvp(self.pointers[0], self.pointers.as_ptr()),
                Some(environment) => {
                    let environment = environment.as_ptr();
                    libc::execvpe(self.pointers[0], self.pointers.as_ptr(), environment)
                }
            };
        }
        io::Error::last_os_error()
    }
}

/// A child that has become the command.
pub(crate) struct Child {
    pub(crate) pid: Pid,
    /// Open before the child runs, if the caller asked for it and the kernel supports it.
    pub(crate) pidfd: Option<OwnedFd>,
}

/// The step that failed.
pub(crate) enum Failed {
    Clone(io::Error),
    Exec(io::Error),
}

/// The task of the child, and the place for its error.
struct Order<'a> {
    prepare: &'a dyn Fn(),
    argv: &'a Argv<'a>,
    errno: AtomicI32,
}

/// Starts a child that does `prepare` and becomes the command.
///
/// # Safety
///
/// `prepare` shares the memory of this thread, which stands still: it must only make system calls,
/// and must not change anything that does not belong to the child.
pub(crate) unsafe fn spawn(
    argv: &Argv<'_>,
    with_pidfd: bool,
    prepare: &dyn Fn(),
) -> Result<Child, Failed> {
    let order = Order {
        prepare,
        argv,
        errno: AtomicI32::new(0),
    };
    let stack = Stack::new(argv.pointers.len()).map_err(Failed::Clone)?;
    let argument = ptr::from_ref(&order).cast_mut().cast::<c_void>();
    let mut pidfd: c_int = -1;
    let mut clone = |more: c_int| {
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD | more;
        // SAFETY: the child runs `child` on a stack of its own, which lives until the child has
        // another program or has ended: with CLONE_VFORK this thread stands still until then. So
        // does `order`. The handlers that we have only set a flag, which does no harm from the
        // child. The last argument is a place for a descriptor.
        let pid = unsafe { libc::clone(child, stack.top(), flags, argument, &raw mut pidfd) };
        (pid, io::Error::last_os_error())
    };
    let (mut pid, mut failed) = clone(if with_pidfd { libc::CLONE_PIDFD } else { 0 });
    let without = [Some(libc::EINVAL), Some(libc::EMFILE), Some(libc::ENFILE)];
    if pid == -1 && with_pidfd && without.contains(&failed.raw_os_error()) {
        // A sandbox does not know pidfds, or no descriptor is free for one.
        (pid, failed) = clone(0);
    }
    drop(stack);
    let pid = u32::try_from(pid).ok().and_then(|_| Pid::from_raw(pid));
    let Some(pid) = pid else {
        return Err(Failed::Clone(failed));
    };
    // SAFETY: a new descriptor, close-on-exec, and only ours. Before Linux 5.2 it stays -1.
    let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
    match order.errno.load(Ordering::Relaxed) {
        0 => Ok(Child { pid, pidfd }),
        errno => {
            let _ = waitpid(Some(pid), WaitOptions::empty());
            Err(Failed::Exec(io::Error::from_raw_os_error(errno)))
        }
    }
}

/// The life of the child until exec.
extern "C" fn child(argument: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes its Order, which outlives this function.
    let order = unsafe { &*argument.cast::<Order<'_>>() };
    (order.prepare)();
    let errno = order.argv.exec().raw_os_error();
    order
        .errno
        .store(errno.unwrap_or(libc::ENOEXEC), Ordering::Relaxed);
    // SAFETY: ends this process without running what belongs to the parent.
    unsafe { libc::_exit(127) }
}

/// A mapping to serve as the child's stack.
struct Stack {
    bottom: *mut c_void,
    size: usize,
}

impl Stack {
    /// A stack with room for execvp(3): a path, and a second array of words for a shell.
    fn new(words: usize) -> io::Result<Stack> {
        const PAGE: usize = 4096;
        let size = (64 * 1024 + words * 2 * size_of::<usize>()).next_multiple_of(PAGE);
        // SAFETY: a new private mapping at an address of the kernel's choice.
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

    /// Where a stack that grows downwards begins; the mapping's end is well aligned.
    fn top(&self) -> *mut c_void {
        self.bottom.wrapping_byte_add(self.size)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: our own mapping; the child that used it has another program by now, or has ended.
        unsafe { libc::munmap(self.bottom, self.size) };
    }
}
