//! The kinds of system errors that the library tells apart.

/// Why the operating system refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no such file, or its directory is missing.
    Missing,
    /// A component of the path is not a directory.
    NotADirectory,
    /// The path ends in a slash or has to be a directory, or a directory is opened for writing.
    IsADirectory,
    /// The last component is a symbolic link, or the path has too many links.
    SymbolicLink,
    /// The permissions of the file or directory do not allow it.
    NoPermission,
    /// The file system is read-only.
    ReadOnly,
    /// A program that is running cannot be opened for writing.
    Running,
    /// The call would have to wait, for a lock or for a lease on the file.
    WouldBlock,
    /// The descriptor is not open, or not open for writing where that is needed.
    BadDescriptor,
    /// This process has too many files open.
    ProcessHasTooManyFiles,
    /// The whole system has too many files open.
    SystemHasTooManyFiles,
    /// The file system is full, or the user's quota is used up.
    NoSpace,
    /// The file system or the kernel does not support such locks.
    Unsupported,
    /// The file is a socket.
    Socket,
    /// A component of the path is too long.
    NameTooLong,
    /// Any other error.
    Other,
}
