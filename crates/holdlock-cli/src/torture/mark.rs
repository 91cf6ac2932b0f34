//! What a participant has locked while it is in its section, as one word of shared memory.

use super::mode::Mode;

/// The part of a lock that a participant has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inside {
    Exclusive,
    Shared,
}

/// The mark of a participant that is in its section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) inside: Inside,
    pub(super) mode: Mode,
    /// Which of the processes that had this place one after the other.
    pub(super) incarnation: u32,
}

/// The word of a participant that is outside.
pub(super) const OUTSIDE: u64 = 0;

impl Mark {
    pub(super) fn word(self) -> u64 {
        let inside = match self.inside {
            Inside::Exclusive => 1,
            Inside::Shared => 2,
        };
        inside | (self.mode as u64) << 8 | u64::from(self.incarnation) << 32
    }

    /// None: the participant is outside.
    pub(super) fn of(word: u64) -> Option<Mark> {
        let inside = match word & 0xff {
            1 => Inside::Exclusive,
            2 => Inside::Shared,
            _ => return None,
        };
        Some(Mark {
            inside,
            mode: Mode::at(word >> 8 & 0xff)?,
            incarnation: (word >> 32) as u32,
        })
    }

    /// Whether the two must never be inside at the same time.
    pub(super) fn excludes(self, other: Mark) -> bool {
        self.mode == other.mode
            && !matches!(
                (self.inside, other.inside),
                (Inside::Shared, Inside::Shared)
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_reads_back_as_it_was_written() {
        for mode in Mode::ALL {
            for inside in [Inside::Exclusive, Inside::Shared] {
                let mark = Mark {
                    inside,
                    mode,
                    incarnation: 77,
                };
                assert_eq!(Mark::of(mark.word()), Some(mark));
            }
        }
        assert_eq!(Mark::of(OUTSIDE), None);
    }

    #[test]
    fn only_shared_holders_of_one_lock_may_be_inside_together() {
        let mark = |inside, mode| Mark {
            inside,
            mode,
            incarnation: 0,
        };
        let shared = mark(Inside::Shared, Mode::Fair);
        let exclusive = mark(Inside::Exclusive, Mode::Fair);
        assert!(!shared.excludes(shared));
        assert!(shared.excludes(exclusive) && exclusive.excludes(shared));
        assert!(exclusive.excludes(exclusive));
        assert!(!exclusive.excludes(mark(Inside::Exclusive, Mode::Ofd)));
    }
}
