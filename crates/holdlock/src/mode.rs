//! The modes of a lock, and the kernel's two families of locks.

/// Whether several processes may hold the lock at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "lowercase")
)]
pub enum Mode {
    /// Exactly one holder.
    Exclusive,
    /// Any number of shared holders, and no exclusive holder.
    Shared,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Mode::Exclusive => "exclusive",
            Mode::Shared => "shared",
        })
    }
}

/// The kernel's two families of locks. Locks of different families do not exclude each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "lowercase")
)]
#[non_exhaustive]
pub enum Family {
    /// flock(2) on the whole file, as flock(1), Python's `fcntl.flock`, `std::fs::File::lock`,
    /// systemd and most lock libraries use it.
    #[default]
    Flock,
    /// Open file description locks of fcntl(2), on the whole file. They exclude the users of POSIX
    /// record locks (apt, Java, s6, SQLite).
    ///
    /// An exclusive lock needs permission to write the file, a shared one to read it.
    Ofd,
}
