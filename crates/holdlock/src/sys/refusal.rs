//! The kinds of refusal that the library tells apart.

use std::io;

use super::linux::errno;

/// Why the operating system refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no such file, or its directory is missing.
    Missing,
    /// A part of the path is not a directory.
    NotADirectory,
    /// The path ends in a slash or must be a directory, or a directory is opened for writing.
    IsADirectory,
    /// The last component is a symbolic link, or there are too many of them.
    SymbolicLink,
    /// The file's or the directory's permissions do not allow it.
    NoPermission,
    /// The file system is read-only.
    ReadOnly,
    /// A program that runs is not opened for writing.
    Running,
    /// It would have to wait: for a lock, or for a lease on the file.
    WouldBlock,
    /// The descriptor is not open, or not open for writing where that is needed.
    BadDescriptor,
    /// This process has too many files open.
    ProcessHasTooManyFiles,
    /// The whole system has too many files open.
    SystemHasTooManyFiles,
    /// No room on the file system, or the user's quota is used up.
    NoSpace,
    /// The file system or the kernel does not know such locks.
    Unsupported,
    /// It is a socket.
    Socket,
    /// A component of the path is too long.
    NameTooLong,
    /// Another one.
    Other,
}

impl Refusal {
    /// The kind of an error. None for an error that is not the operating system's.
    pub(crate) fn of(error: &io::Error) -> Option<Refusal> {
        error.raw_os_error().map(errno::refusal)
    }
}

/// The error with which the operating system refuses so.
impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> io::Error {
        match errno::number(refusal) {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::ErrorKind::Other.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_found_again_in_its_error() {
        for refusal in [
            Refusal::Missing,
            Refusal::NotADirectory,
            Refusal::SymbolicLink,
            Refusal::WouldBlock,
            Refusal::BadDescriptor,
        ] {
            assert_eq!(Refusal::of(&refusal.into()), Some(refusal));
        }
        assert_eq!(Refusal::of(&io::Error::other("ours")), None);
    }
}
