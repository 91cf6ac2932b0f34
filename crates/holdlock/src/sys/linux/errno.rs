//! The kernel's error numbers.

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

pub(in crate::sys) fn refusal(number: libc::c_int) -> Refusal {
    let known = NUMBERS
        .iter()
        .find(|(_, numbers)| numbers.contains(&number));
    known.map_or(Refusal::Other, |(refusal, _)| *refusal)
}

pub(in crate::sys) fn number(refusal: Refusal) -> Option<libc::c_int> {
    let known = NUMBERS.iter().find(|(known, _)| *known == refusal);
    known.and_then(|(_, numbers)| numbers.first().copied())
}
