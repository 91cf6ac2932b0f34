//! The kernel's error numbers.

use std::io;

use crate::sys::Refusal;

/// The numbers of each refusal, the usual one first.
const NUMBERS: &[(Refusal, &[libc::c_int])] = &[
    (Refusal::Missing, &[libc::ENOENT]),
    (Refusal::NotADirectory, &[libc::ENOTDIR]),
    (Refusal::IsADirectory, &[libc::EISDIR]),
    (Refusal::SymbolicLink, &[libc::ELOOP]),
    (Refusal::NoPermission, &[libc::EACCES, libc::EPERM]),
    (Refusal::ReadOnly, &[libc::EROFS]),
    (Refusal::Running, &[libc::ETXTBSY]),
    (Refusal::WouldBlock, &[libc::EAGAIN]),
    (Refusal::BadDescriptor, &[libc::EBADF]),
    (Refusal::ProcessHasTooManyFiles, &[libc::EMFILE]),
    (Refusal::SystemHasTooManyFiles, &[libc::ENFILE]),
    (Refusal::NoSpace, &[libc::ENOSPC, libc::EDQUOT]),
    (
        Refusal::Unsupported,
        &[libc::ENOSYS, libc::EOPNOTSUPP, libc::ENOLCK],
    ),
    (Refusal::Socket, &[libc::ENXIO]),
    (Refusal::NameTooLong, &[libc::ENAMETOOLONG]),
];

impl Refusal {
    /// The kind of an error. None for an error that does not come from the operating system.
    pub(crate) fn of(error: &io::Error) -> Option<Refusal> {
        error.raw_os_error().map(refusal)
    }
}

/// The error by which the operating system reports this refusal.
impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> io::Error {
        match number(refusal) {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::ErrorKind::Other.into(),
        }
    }
}

fn refusal(number: libc::c_int) -> Refusal {
    let known = NUMBERS
        .iter()
        .find(|(_, numbers)| numbers.contains(&number));
    known.map_or(Refusal::Other, |(refusal, _)| *refusal)
}

fn number(refusal: Refusal) -> Option<libc::c_int> {
    let known = NUMBERS.iter().find(|(known, _)| *known == refusal);
    known.and_then(|(_, numbers)| numbers.first().copied())
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
