//! What participants do, for the history.

use super::mode::Mode;

/// A step of a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum What {
    Ask,
    AskShared,
    Enter,
    EnterShared,
    Leave,
    Release,
    Refused,
    TimedOut,
    Cancelled,
    Downgrade,
    Upgrade,
    Remove,
    Rename,
    Replace,
    Fork,
    Execute,
    Unreachable,
    Lost,
    Fenced,
    Broken,
}

impl What {
    const ALL: [(What, &str); 20] = [
        (What::Ask, "ask"),
        (What::AskShared, "ask-shared"),
        (What::Enter, "enter"),
        (What::EnterShared, "enter-shared"),
        (What::Leave, "leave"),
        (What::Release, "release"),
        (What::Refused, "refused"),
        (What::TimedOut, "timed-out"),
        (What::Cancelled, "cancelled"),
        (What::Downgrade, "downgrade"),
        (What::Upgrade, "upgrade"),
        (What::Remove, "remove"),
        (What::Rename, "rename"),
        (What::Replace, "replace"),
        (What::Fork, "fork"),
        (What::Execute, "execute"),
        (What::Unreachable, "unreachable"),
        (What::Lost, "lost"),
        (What::Fenced, "fenced"),
        (What::Broken, "broken"),
    ];

    pub(super) fn name(self) -> &'static str {
        What::ALL[self as usize].1
    }
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Nanoseconds of the monotonic clock.
    pub(super) at: u64,
    pub(super) what: What,
    pub(super) mode: Mode,
    /// Which request of the participant.
    pub(super) round: u32,
    /// A number that belongs to it: the limit of a request in nanoseconds, the pid of a child.
    pub(super) detail: u64,
}

impl Event {
    pub(super) fn words(&self) -> [u64; 3] {
        let what = self.what as u64 | (self.mode as u64) << 8 | u64::from(self.round) << 32;
        [self.at, what, self.detail]
    }

    pub(super) fn of([at, what, detail]: [u64; 3]) -> Option<Event> {
        Some(Event {
            at,
            what: What::ALL.get((what & 0xff) as usize)?.0,
            mode: Mode::at(what >> 8 & 0xff)?,
            round: (what >> 32) as u32,
            detail,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_the_steps() {
        for (index, (what, _)) in What::ALL.iter().enumerate() {
            assert_eq!(*what as usize, index);
        }
    }
}
