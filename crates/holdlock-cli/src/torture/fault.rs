//! Faults that tests put into the workers, to see that the checker notices each.

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Enters without the lock.
    Skip,
    /// Enters without the lock and leaves no mark.
    Unmarked,
    /// Releases the lock before it leaves.
    Early,
    /// Takes a shared lock for an exclusive section.
    Share,
    /// Locks the file that was at the path once, whatever is there now.
    Stale,
    /// Waits for something else than the lock.
    Asleep,
    /// Keeps a lock that no participant has.
    Keep,
    /// One worker asks from time to time instead of queueing.
    Starve,
    /// Releases the lock in order to make it shared.
    Downgrade,
    /// Says that an upgrade was atomic when it was not.
    Upgrade,
    /// A child of fork releases the lock of its parent.
    Fork,
    /// Does not end a request at its limit.
    Late,
    /// Ends a request before its limit.
    Hasty,
    /// Lets programs inherit the lock file.
    Inherit,
    /// Gives a token that is too low.
    Token,
    /// Does not tell that the last holder died.
    Forget,
    /// Releases one lock of a set.
    Half,
    /// Tells the number of another slot; over an engine, enters without a slot.
    Slot,
    /// Goes on as if the lock were held when it is lost.
    Deaf,
    /// Does not check tokens at the resource.
    Gate,
}

impl Fault {
    pub(crate) const ALL: [(Fault, &str); 20] = [
        (Fault::Skip, "skip"),
        (Fault::Unmarked, "unmarked"),
        (Fault::Early, "early"),
        (Fault::Share, "share"),
        (Fault::Stale, "stale"),
        (Fault::Asleep, "asleep"),
        (Fault::Keep, "keep"),
        (Fault::Starve, "starve"),
        (Fault::Downgrade, "downgrade"),
        (Fault::Upgrade, "upgrade"),
        (Fault::Fork, "fork"),
        (Fault::Late, "late"),
        (Fault::Hasty, "hasty"),
        (Fault::Inherit, "inherit"),
        (Fault::Token, "token"),
        (Fault::Forget, "forget"),
        (Fault::Half, "half"),
        (Fault::Slot, "slot"),
        (Fault::Deaf, "deaf"),
        (Fault::Gate, "gate"),
    ];

    pub(crate) fn named(name: &str) -> Option<Fault> {
        let found = Fault::ALL.iter().find(|(_, other)| *other == name);
        found.map(|(fault, _)| *fault)
    }

    pub(super) fn name(self) -> &'static str {
        let found = Fault::ALL.iter().find(|(fault, _)| *fault == self);
        found.map_or("", |(_, name)| name)
    }
}
