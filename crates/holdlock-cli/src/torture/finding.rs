//! What a run may find.

use super::mode::Mode;

/// A kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Two participants were inside that exclude each other.
    Overlap,
    /// The counter of the exclusive sections changed in the section of a participant.
    LostUpdate,
    /// A participant sleeps although the lock is free.
    LostWakeup,
    /// The lock is held although no participant has it.
    Kept,
    /// A fair request was passed by later ones.
    Starved,
    /// A request did not end at its time limit, or when it was cancelled.
    Overdue,
    /// A request gave up before its time limit.
    Early,
    /// A program that a holder started has the lock file open.
    Inherited,
    /// A conversion reported that the lock was kept all the time, but it was not.
    Conversion,
    /// A request failed although nothing was wrong.
    Failed,
    /// A token was not higher than the one before.
    Token,
    /// A holder was not told that the one before had died, or was told so although it had not.
    Abandoned,
    /// A set was acquired without one of its locks.
    HalfSet,
    /// A holder was not told that its lock was lost.
    Unnoticed,
    /// A resource that checks tokens took an older one, or refused that of the holder.
    Fence,
}

impl Kind {
    const ALL: [(Kind, &str, &str); 15] = [
        (Kind::Overlap, "overlap", "two holders at the same time"),
        (
            Kind::LostUpdate,
            "lost-update",
            "the data of a section changed behind the holder's back",
        ),
        (
            Kind::LostWakeup,
            "lost-wakeup",
            "a waiter sleeps although the lock is free",
        ),
        (Kind::Kept, "kept", "the lock is held, but no holder has it"),
        (Kind::Starved, "starved", "later requests passed a fair one"),
        (
            Kind::Overdue,
            "overdue",
            "a request did not end at its limit",
        ),
        (Kind::Early, "early", "a request gave up before its limit"),
        (
            Kind::Inherited,
            "inherited",
            "a program inherited the lock file's descriptor",
        ),
        (
            Kind::Conversion,
            "conversion",
            "a conversion lost the lock and did not say so",
        ),
        (Kind::Failed, "failed", "a request failed"),
        (
            Kind::Token,
            "token",
            "a token is not higher than the one before",
        ),
        (
            Kind::Abandoned,
            "abandoned",
            "the death of a holder was not reported, or was reported wrongly",
        ),
        (
            Kind::HalfSet,
            "half-set",
            "a set was acquired without one of its locks",
        ),
        (
            Kind::Unnoticed,
            "unnoticed",
            "a holder was not told that its lock was lost",
        ),
        (
            Kind::Fence,
            "fence",
            "a resource took an older token, or refused that of the holder",
        ),
    ];

    pub(super) fn at(index: u64) -> Option<Kind> {
        Kind::ALL
            .get(usize::try_from(index).ok()?)
            .map(|(kind, ..)| *kind)
    }

    /// For machines.
    pub(super) fn name(self) -> &'static str {
        Kind::ALL[self as usize].1
    }

    /// For people.
    pub(super) fn meaning(self) -> &'static str {
        Kind::ALL[self as usize].2
    }
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) kind: Kind,
    pub(super) mode: Mode,
    pub(super) participant: usize,
    /// The other participant of an overlap.
    pub(super) other: Option<usize>,
    /// Nanoseconds of the monotonic clock.
    pub(super) at: u64,
    /// What exactly.
    pub(super) text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_the_kinds() {
        for (index, (kind, ..)) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, index);
            assert_eq!(Kind::at(index as u64), Some(*kind));
        }
    }
}
