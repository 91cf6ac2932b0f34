//! The kernel's number of a thread: gettid(2).

/// The kernel's number of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadId(pub(super) libc::pid_t);

impl ThreadId {
    /// The calling thread.
    pub(crate) fn current() -> ThreadId {
        // SAFETY: takes no arguments, and cannot fail.
        ThreadId(unsafe { libc::gettid() })
    }

    pub(crate) fn number(self) -> u32 {
        self.0.unsigned_abs()
    }
}
