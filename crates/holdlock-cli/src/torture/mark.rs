//! What a participant has locked while it is in its section, as one word of shared memory.

use super::mode::Mode;

/// The part of a lock that a participant has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inside {
    Exclusive,
    Shared,
    /// Some of several locks, or of the slots of one.
    Members(Members),
}

/// The locks of a set, or the slots of a semaphore, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Members {
    pub(super) exclusive: u8,
    pub(super) shared: u8,
}

impl Members {
    /// All of them, exclusively.
    pub(super) const ALL: Members = Members {
        exclusive: u8::MAX,
        shared: 0,
    };

    /// One of them, exclusively.
    pub(super) fn one(number: u32) -> Members {
        Members {
            exclusive: 1 << number,
            shared: 0,
        }
    }
}

/// How many counters the data of a mode has, one for each part that can be locked alone.
pub(super) const PARTS: usize = 8;

impl Inside {
    /// The parts of the data that the holder may read, and whether it may write them.
    pub(super) fn parts(self) -> impl Iterator<Item = (usize, bool)> {
        let Members { exclusive, shared } = match self {
            Inside::Exclusive => Members {
                exclusive: 1,
                shared: 0,
            },
            Inside::Shared => Members {
                exclusive: 0,
                shared: 1,
            },
            Inside::Members(members) => members,
        };
        let has = |bits: u8, part: usize| bits >> part & 1 == 1;
        let both = (0..PARTS).map(move |part| (part, has(exclusive, part), has(shared, part)));
        both.filter(|(_, exclusive, shared)| *exclusive || *shared)
            .map(|(part, exclusive, _)| (part, exclusive))
    }

    /// Whether the holder may write.
    pub(super) fn is_exclusive(self) -> bool {
        self.parts().any(|(_, exclusive)| exclusive)
    }

    /// Whether the two must never be inside at the same time.
    fn excludes(self, other: Inside) -> bool {
        let mut parts = self.parts();
        parts.any(|(part, exclusive)| {
            let mut others = other.parts();
            others.any(|(other, too)| part == other && (exclusive || too))
        })
    }
}

impl Inside {
    /// For people. `part` is the name of a part: `slot`.
    pub(super) fn named(self, part: &str) -> String {
        match self {
            Inside::Exclusive | Inside::Members(Members::ALL) => "exclusive".to_owned(),
            Inside::Shared => "shared".to_owned(),
            Inside::Members(_) => {
                let parts = self.parts().map(|(number, exclusive)| {
                    let mode = if exclusive { "" } else { " (shared)" };
                    format!("{part} {number}{mode}")
                });
                parts.collect::<Vec<_>>().join(" and ")
            }
        }
    }
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
    /// | bits | meaning |
    /// |---|---|
    /// | 0 to 7 | the kind of `Inside` |
    /// | 8 to 15 | the mode |
    /// | 16 to 31 | the parts |
    /// | 32 to 63 | the incarnation |
    pub(super) fn word(self) -> u64 {
        let (kind, parts) = match self.inside {
            Inside::Exclusive => (1, 0),
            Inside::Shared => (2, 0),
            Inside::Members(Members { exclusive, shared }) => {
                (3, u64::from(exclusive) | u64::from(shared) << 8)
            }
        };
        kind | (self.mode as u64) << 8 | parts << 16 | u64::from(self.incarnation) << 32
    }

    /// None: the participant is outside.
    pub(super) fn of(word: u64) -> Option<Mark> {
        let inside = match word & 0xff {
            1 => Inside::Exclusive,
            2 => Inside::Shared,
            3 => Inside::Members(Members {
                exclusive: (word >> 16) as u8,
                shared: (word >> 24) as u8,
            }),
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
        self.mode == other.mode && self.inside.excludes(other.inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn members(exclusive: u8, shared: u8) -> Inside {
        Inside::Members(Members { exclusive, shared })
    }

    #[test]
    fn a_word_reads_back_as_it_was_written() {
        for mode in Mode::ALL {
            for inside in [Inside::Exclusive, Inside::Shared, members(0x81, 0x42)] {
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
    fn only_shared_holders_and_holders_of_different_locks_may_be_inside_together() {
        let (exclusive, shared) = (Inside::Exclusive, Inside::Shared);
        assert!(!shared.excludes(shared));
        assert!(shared.excludes(exclusive) && exclusive.excludes(shared));
        assert!(exclusive.excludes(exclusive));
        assert!(!members(0b0011, 0b1000).excludes(members(0b0100, 0b1000)));
        assert!(members(0b0011, 0b1000).excludes(members(0b0010, 0)));
        assert!(members(0b0011, 0b1000).excludes(members(0b1000, 0)));
        assert!(members(0, 0b1000).excludes(members(0b1000, 0)));
        let mark = |mode| Mark {
            inside: exclusive,
            mode,
            incarnation: 0,
        };
        assert!(!mark(Mode::Fair).excludes(mark(Mode::Ofd)));
    }

    #[test]
    fn a_set_is_named_by_its_locks() {
        let set = members(0b101, 0b10).named("lock");
        assert_eq!(set, "lock 0 and lock 1 (shared) and lock 2");
    }
}
