//! The modes of a lock, and the two families of locks that the kernel has.

/// Whether several processes may hold the lock at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "lowercase")
)]
pub enum Mode {
    /// One holder and no other.
    Exclusive,
    /// Any number of shared holders, no exclusive one.
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

/// Which of the kernel's two families of locks to use. They do not see each other.
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
