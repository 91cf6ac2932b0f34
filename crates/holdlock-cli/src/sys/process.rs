//! Starting the command: as a child that does not outlive us, or in our place.
//!
//! A child has to ask itself for the signal at its parent's death, between its
//! making and exec(2). The standard library would make a full copy of our address
//! space for that (fork); here the child borrows it until exec (CLONE_VM and
//! CLONE_VFORK, as posix_spawn(3) does it). That is 60 of 1900 µs quicker for
//! `holdlock run L -- /bin/true`, and does not grow with the address space.
#![allow(unsafe_code)]

use std::ffi::{CString, OsStr, OsString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::process::{Pid, WaitOptions, getpid, waitpid};

use super::descriptors::keep_over_exec;
use super::signals::Blocked;

/// A program and its arguments, as exec(2) wants them.
pub(crate) struct Words {
    /// Points into `_strings`, and ends with a null pointer.
    pointers: Vec<*const c_char>,
    _strings: Vec<CString>,
}

impl Words {
    /// Fails where a word has a NUL byte, which no command line can have.
    pub(crate) fn new(program: &OsStr, arguments: &[OsString]) -> io::Result<Words> {
        let words = std::iter::once(program).chain(arguments.iter().map(OsString::as_os_str));
        let strings: Vec<CString> = words
            .map(|word| CString::new(word.as_bytes()))
            .collect::<Result<_, _>>()?;
        let mut pointers: Vec<_> = strings.iter().map(|word| word.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Ok(Words {
            pointers,
            _strings: strings,
        })
    }
}

/// What the child is to be besides a child.
pub(crate) struct Manner<'a> {
    /// What it inherits besides the standard descriptors: close-on-exec in this process only.
    pub(crate) inherits: &'a [BorrowedFd<'a>],
    /// The signals as they were before we blocked some: the child gets them so.
    pub(crate) signals: &'a Blocked,
}

/// A child that has become the command.
pub(crate) struct Child {
    pub(crate) pid: Pid,
    /// Open from before its first moment on, where the kernel has such.
    pub(crate) pidfd: Option<OwnedFd>,
}

/// What the child needs to know, and where it leaves word of a failure.
struct Order<'a> {
    words: &'a Words,
    manner: &'a Manner<'a>,
    parent: libc::pid_t,
    errno: AtomicI32,
}

/// Starts a child that gets SIGTERM when this thread dies. Found along PATH, and
/// run by the shell where it is a script that does not say by whom: execvp(3).
pub(crate) fn spawn(words: &Words, manner: &Manner<'_>) -> io::Result<Child> {
    let order = Order {
        words,
        manner,
        parent: getpid().as_raw_pid(),
        errno: AtomicI32::new(0),
    };
    let mut stack = Stack::new(words.pointers.len())?;
    let argument = std::ptr::from_ref(&order).cast_mut().cast::<c_void>();
    let mut pidfd: c_int = -1;
    let mut clone = |more: c_int| {
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD | more;
        // SAFETY: the child runs `child` on a stack of its own, which lives until the child has
        // exec'd or exited: with CLONE_VFORK this thread stands still until then. So does `order`.
        // The signals for which we have handlers that do anything are none, so no handler of ours
        // runs in the child while it shares our memory. The last argument is for a descriptor.
        let pid = unsafe { libc::clone(child, stack.top(), flags, argument, &raw mut pidfd) };
        (pid, io::Error::last_os_error())
    };
    let (mut pid, mut failed) = clone(libc::CLONE_PIDFD);
    let (unknown, too_many) = (Some(libc::EINVAL), [Some(libc::EMFILE), Some(libc::ENFILE)]);
    let errno = failed.raw_os_error();
    if pid == -1 && (errno == unknown || too_many.contains(&errno)) {
        // A sandbox that does not know pidfds, or no descriptor is left for one.
        (pid, failed) = clone(0);
    }
    drop(stack);
    let pid = u32::try_from(pid).ok().and_then(|_| Pid::from_raw(pid));
    let Some(pid) = pid else {
        return Err(failed);
    };
    // SAFETY: a new descriptor, close-on-exec, which nobody else owns. Before Linux 5.2 there is
    // none.
    let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
    match order.errno.load(Ordering::Relaxed) {
        0 => Ok(Child { pid, pidfd }),
        errno => {
            let _ = waitpid(Some(pid), WaitOptions::empty());
            Err(io::Error::from_raw_os_error(errno))
        }
    }
}

/// The life of the child until exec. It shares our memory, so it only makes system calls.
extern "C" fn child(argument: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes a reference to its Order, which outlives this function.
    let order = unsafe { &*argument.cast::<Order<'_>>() };
    // SAFETY: system calls which change nothing but this process; nothing is allocated.
    // Whatever fails here makes the command no worse than without.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
        // A parent that died before that line sends no signal any more. (0 is one outside of this
        // PID namespace: after `unshare --pid`, children are in a new one.)
        if ![order.parent, 0].contains(&libc::getppid()) {
            libc::_exit(128 + libc::SIGTERM);
        }
        // Ignored by the standard library at our start.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
    for fd in order.manner.inherits {
        keep_over_exec(*fd);
    }
    order.manner.signals.restore();
    // SAFETY: both point to NUL-terminated strings, the array ends with a null pointer. execvp
    // of glibc and musl allocates on the stack only.
    unsafe { libc::execvp(order.words.pointers[0], order.words.pointers.as_ptr()) };
    let errno = io::Error::last_os_error().raw_os_error();
    order
        .errno
        .store(errno.unwrap_or(libc::ENOEXEC), Ordering::Relaxed);
    // SAFETY: ends this process without running what belongs to the parent.
    unsafe { libc::_exit(127) }
}

/// Becomes the program. Returns only where that fails.
pub(crate) fn exec(words: &Words) -> io::Error {
    // SAFETY: both point to NUL-terminated strings, the array ends with a null pointer. SIGPIPE
    // has no handler that could be lost.
    unsafe {
        let before = libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::execvp(words.pointers[0], words.pointers.as_ptr());
        let error = io::Error::last_os_error();
        libc::signal(libc::SIGPIPE, before);
        error
    }
}

/// The child's stack.
struct Stack {
    start: *mut c_void,
    size: usize,
}

impl Stack {
    /// Room for execvp(3): a path, and a second array of words for a shell.
    fn new(words: usize) -> io::Result<Stack> {
        const PAGE: usize = 4096;
        let size = (64 * 1024 + words * 2 * size_of::<usize>()).next_multiple_of(PAGE);
        // SAFETY: a new private mapping at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Stack { start, size })
    }

    /// Where a stack that grows downwards begins; the mapping's end is well aligned.
    fn top(&mut self) -> *mut c_void {
        self.start.wrapping_byte_add(self.size)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: our own mapping; the child that used it is past exec, or gone.
        unsafe { libc::munmap(self.start, self.size) };
    }
}
