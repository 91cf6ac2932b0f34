//! The lines of the kernel's lock table, and of the `lock:` entries in fdinfo.

use std::fmt;

use super::place::Place;
use crate::bytes::Range;
use crate::{Family, Mode};

/// Which kind of lock it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// flock(2).
    Flock,
    /// An open file description lock of fcntl(2).
    Ofd,
    /// A POSIX record lock of fcntl(2), which belongs to a process.
    Posix,
    /// A lease (F_SETLEASE) or delegation: not a lock, but who opens the file waits for it.
    Lease,
}

impl Kind {
    /// Whether locks of this kind and of `other` exclude each other. flock(2) and
    /// fcntl(2) do not see one another.
    pub fn meets(self, other: Kind) -> bool {
        use Kind::{Lease, Ofd, Posix};
        match self {
            Ofd | Posix => matches!(other, Ofd | Posix),
            Lease => false,
            Kind::Flock => other == Kind::Flock,
        }
    }
}

impl From<Family> for Kind {
    fn from(family: Family) -> Kind {
        match family {
            Family::Flock => Kind::Flock,
            Family::Ofd => Kind::Ofd,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Flock => "flock",
            Kind::Ofd => "ofd",
            Kind::Posix => "posix",
            Kind::Lease => "lease",
        })
    }
}

/// One lock, or one request that waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) mode: Mode,
    /// 0 for a lock that is held. Requests of turn 1 get theirs when the lock they wait for is
    /// released, those of turn 2 after them, and so on.
    pub(crate) turn: u32,
    /// Who took it. None where the kernel says -1 (OFD) or 0 (another pid namespace).
    pub(crate) pid: Option<u32>,
    pub(crate) place: Place,
    pub(crate) range: Range,
}

impl Entry {
    pub(crate) fn is_held(&self) -> bool {
        self.turn == 0
    }

    /// Whether it stands for the place at the head of the queue of fair requests, or for the queue
    /// behind it, and not for a lock that anybody wants for its own sake.
    pub(crate) fn is_for_a_turn(&self) -> bool {
        self.kind == Kind::Ofd && self.range.start == Range::QUEUE.start
    }

    /// What the fair request behind such an entry is for.
    pub(crate) fn wanted_mode(&self) -> Mode {
        match self.range.end {
            Some(end) if end == Range::QUEUE.start => Mode::Shared,
            _ => Mode::Exclusive,
        }
    }

    /// Whether this is the same lock, though told of in another place.
    pub(crate) fn is_same_lock(&self, other: &Entry) -> bool {
        self == other
    }
}

/// `1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF`; a waiter has `->` before the
/// kind, and in front of that one more space for each turn. None for what is no such line.
pub(crate) fn parse(line: &str) -> Option<Entry> {
    let (_, rest) = line.split_once(':')?;
    let spaces = rest.len() - rest.trim_ascii_start().len();
    let mut words = rest.split_ascii_whitespace().peekable();
    let waiting = words.next_if_eq(&"->").is_some();
    let kind = match words.next()? {
        "FLOCK" => Kind::Flock,
        "OFDLCK" => Kind::Ofd,
        "POSIX" => Kind::Posix,
        "LEASE" | "DELEG" | "LAYOUT" => Kind::Lease,
        _ => return None,
    };
    let mode = match words.nth(1)? {
        "WRITE" => Mode::Exclusive,
        "READ" => Mode::Shared,
        // A lease that is being given back.
        "UNLCK" if kind == Kind::Lease => Mode::Shared,
        _ => return None,
    };
    let pid = words.next()?.parse::<i64>().ok()?;
    let place = place(words.next()?)?;
    let start = words.next()?.parse().ok()?;
    let end = match words.next()? {
        "EOF" => None,
        number => Some(number.parse().ok()?),
    };
    Some(Entry {
        kind,
        mode,
        turn: if waiting {
            u32::try_from(spaces).unwrap_or(u32::MAX).max(1)
        } else {
            0
        },
        pid: u32::try_from(pid).ok().filter(|pid| *pid != 0),
        place,
        range: Range { start, end },
    })
}

fn place(word: &str) -> Option<Place> {
    let mut numbers = word.split(':');
    Some(Place {
        major: u32::from_str_radix(numbers.next()?, 16).ok()?,
        minor: u32::from_str_radix(numbers.next()?, 16).ok()?,
        inode: numbers.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_and_its_waiters() {
        let holder = parse("1: FLOCK  ADVISORY  WRITE 1234 fe:0a:5678 0 EOF\n").unwrap();
        assert_eq!(
            holder,
            Entry {
                kind: Kind::Flock,
                mode: Mode::Exclusive,
                turn: 0,
                pid: Some(1234),
                place: Place {
                    major: 0xfe,
                    minor: 10,
                    inode: 5678
                },
                range: Range::WHOLE,
            }
        );
        let first = parse("1: -> FLOCK  ADVISORY  READ 9 fe:0a:5678 0 EOF\n").unwrap();
        assert_eq!((first.turn, first.mode), (1, Mode::Shared));
        let third = parse("1:   -> FLOCK  ADVISORY  WRITE 9 fe:0a:5678 0 EOF\n").unwrap();
        assert_eq!((third.turn, third.mode), (3, Mode::Exclusive));
    }

    #[test]
    fn a_pid_the_kernel_does_not_tell() {
        let ofd = parse("2: OFDLCK ADVISORY  WRITE -1 00:21:7 0 EOF").unwrap();
        assert_eq!((ofd.kind, ofd.pid), (Kind::Ofd, None));
    }

    #[test]
    fn ranges() {
        let range = |line: &str| parse(line).map(|entry| entry.range);
        let ten = range("2: POSIX  ADVISORY  READ 5 00:21:7 10 19").unwrap();
        let rest = range("2: POSIX  ADVISORY  READ 5 00:21:7 20 EOF").unwrap();
        assert_eq!((ten.start, ten.end), (10, Some(19)));
        assert!(!ten.overlaps(rest) && !rest.overlaps(ten));
        assert!(ten.overlaps(Range::WHOLE) && Range::WHOLE.overlaps(rest));
    }

    #[test]
    fn leases() {
        let lease = parse("3: LEASE  ACTIVE    READ  77 fe:00:1 0 EOF").unwrap();
        assert_eq!((lease.kind, lease.pid), (Kind::Lease, Some(77)));
        let breaking = parse("3: LEASE  BREAKING  UNLCK 77 fe:00:1 0 EOF").unwrap();
        assert_eq!(breaking.kind, Kind::Lease);
    }

    #[test]
    fn other_lines_are_passed_over() {
        for line in [
            "",
            "x",
            "1: FLOCK",
            "1: FLOCK ADVISORY WRITE x fe:00:1 0 EOF",
            "1: FLOCK ADVISORY WRITE 1 fe:00 0 EOF",
            "1: FLOCK ADVISORY WRITE 1 fe:00:1 0 x",
            "1: POSIX ADVISORY *NOINODE*",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
