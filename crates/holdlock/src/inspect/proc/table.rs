//! Parses the lines of the kernel's lock table, and the `lock:` lines in fdinfo.

use std::fmt;

use super::file_id::FileId;
use crate::bytes::Range;
use crate::{Family, Mode};

/// The kind of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "lowercase")
)]
#[non_exhaustive]
pub enum Kind {
    /// A lock of flock(2).
    Flock,
    /// An open file description lock of fcntl(2).
    Ofd,
    /// A POSIX record lock of fcntl(2). It belongs to a process.
    Posix,
    /// A lease (F_SETLEASE) or a delegation. It is not a lock, but opening the file waits for it.
    Lease,
}

impl Kind {
    /// Whether locks of this kind can exclude locks of the `other` kind. Locks of flock(2) and
    /// locks of fcntl(2) ignore each other.
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

/// An entry of the kernel's lock table: a lock, or a request that waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TableEntry {
    pub(crate) kind: Kind,
    pub(crate) mode: Mode,
    /// 0 for a lock. For a request: 1 if the kernel serves it after the release of the lock for
    /// which it waits, 2 if the kernel serves it after the requests of turn 1, and so on.
    pub(crate) turn: u32,
    /// The process that took the lock, or that waits. `None` if the kernel has -1 (OFD) or 0
    /// (another PID namespace).
    pub(crate) pid: Option<u32>,
    pub(crate) file_id: FileId,
    pub(crate) range: Range,
}

impl TableEntry {
    pub(crate) fn is_held(&self) -> bool {
        self.turn == 0
    }

    /// Whether this entry only belongs to a lock, and is no lock that a program wants for itself:
    /// it is a place in the queue of requests, or a byte of an upgradeable lock, or a request that
    /// waits for one of them.
    pub(crate) fn is_for_a_turn(&self) -> bool {
        let bytes = [Range::QUEUE.start, Range::READERS.start, Range::RIGHT.start];
        let is_one = bytes.contains(&self.range.start) || self.range.as_ticket().is_some();
        self.kind == Kind::Ofd && is_one
    }

    /// Whether this is a place in the queue of a request for a slot.
    pub(crate) fn is_for_a_slot(&self) -> bool {
        let place = Range::QUEUE;
        let ticket = self.range.as_ticket();
        let shape = ticket.and_then(|number| Range::ticket(number, place));
        self.kind == Kind::Ofd && self.range == shape.unwrap_or(place)
    }

    /// Whether this is a slot of a semaphore, or a request for one by the request at the head of
    /// the queue.
    pub(crate) fn is_slot(&self) -> bool {
        self.kind == Kind::Ofd && self.range.as_slot().is_some()
    }

    /// The number of slots that a user of a semaphore makes known by this entry.
    pub(crate) fn slot_count(&self) -> Option<u32> {
        self.range
            .as_slot_count()
            .filter(|_| self.kind == Kind::Ofd)
    }

    /// What a process wants for itself by this request. Fair requests and requests for a slot wait
    /// for other bytes first.
    pub(crate) fn wanted(&self) -> (Kind, Mode, Range) {
        if self.is_slot() || self.is_for_a_slot() {
            return (Kind::Ofd, Mode::Exclusive, Range::SLOTS);
        }
        if self.is_for_a_turn() {
            let mode = match self.range {
                // It will share the lock.
                Range::RIGHT => Mode::Shared,
                Range::READERS => self.mode,
                // One byte: the head of the queue, or a ticket.
                Range { start, end } if end == Some(start) => Mode::Shared,
                _ => Mode::Exclusive,
            };
            return (Kind::Flock, mode, Range::WHOLE);
        }
        (self.kind, self.mode, self.range)
    }

    /// Whether both entries describe the same lock. They may come from different files of /proc.
    pub(crate) fn is_same_lock(&self, other: &TableEntry) -> bool {
        self == other
    }
}

/// Parses `1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF`. A waiter has `->` before the kind, and
/// before that one space more for each turn. `None` if the line is no entry.
pub(crate) fn parse(line: &str) -> Option<TableEntry> {
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
        // A lease that its holder is giving back.
        "UNLCK" if kind == Kind::Lease => Mode::Shared,
        _ => return None,
    };
    let pid = words.next()?.parse::<i64>().ok()?;
    let file_id = file_id(words.next()?)?;
    let start = words.next()?.parse().ok()?;
    let end = match words.next()? {
        "EOF" => None,
        number => Some(number.parse().ok()?),
    };
    Some(TableEntry {
        kind,
        mode,
        turn: if waiting {
            u32::try_from(spaces).unwrap_or(u32::MAX).max(1)
        } else {
            0
        },
        pid: u32::try_from(pid).ok().filter(|pid| *pid != 0),
        file_id,
        range: Range { start, end },
    })
}

fn file_id(word: &str) -> Option<FileId> {
    let mut numbers = word.split(':');
    Some(FileId {
        major: u32::from_str_radix(numbers.next()?, 16).ok()?,
        minor: u32::from_str_radix(numbers.next()?, 16).ok()?,
        inode: numbers.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_indentation_of_a_waiter_is_its_turn() {
        let holder = parse("1: FLOCK  ADVISORY  WRITE 1234 fe:0a:5678 0 EOF\n").unwrap();
        assert_eq!(
            holder,
            TableEntry {
                kind: Kind::Flock,
                mode: Mode::Exclusive,
                turn: 0,
                pid: Some(1234),
                file_id: FileId {
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
    fn an_ofd_lock_has_no_pid() {
        let ofd = parse("2: OFDLCK ADVISORY  WRITE -1 00:21:7 0 EOF").unwrap();
        assert_eq!((ofd.kind, ofd.pid), (Kind::Ofd, None));
    }

    #[test]
    fn ranges_end_at_a_byte_or_at_the_end_of_the_file() {
        let range = |line: &str| parse(line).map(|entry| entry.range);
        let ten = range("2: POSIX  ADVISORY  READ 5 00:21:7 10 19").unwrap();
        let rest = range("2: POSIX  ADVISORY  READ 5 00:21:7 20 EOF").unwrap();
        assert_eq!((ten.start, ten.end), (10, Some(19)));
        assert!(!ten.overlaps(rest) && !rest.overlaps(ten));
        assert!(ten.overlaps(Range::WHOLE) && Range::WHOLE.overlaps(rest));
    }

    #[test]
    fn leases_have_a_kind_of_their_own() {
        let lease = parse("3: LEASE  ACTIVE    READ  77 fe:00:1 0 EOF").unwrap();
        assert_eq!((lease.kind, lease.pid), (Kind::Lease, Some(77)));
        let breaking = parse("3: LEASE  BREAKING  UNLCK 77 fe:00:1 0 EOF").unwrap();
        assert_eq!(breaking.kind, Kind::Lease);
    }

    #[test]
    fn malformed_lines_are_ignored() {
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

    #[test]
    fn broken_lines_are_ignored_or_understood() {
        let samples: [&[u8]; 3] = [
            b"1: FLOCK  ADVISORY  WRITE 4711 08:01:1234567 0 EOF",
            b"2: -> OFDLCK ADVISORY  READ -1 00:2f:99 4611686018427387904 4611686018427387905",
            b"3:     -> POSIX  ADVISORY  WRITE 1 fd:00:18446744073709551615 0 EOF",
        ];
        let mut understood = 0;
        holdlock_test_support::garbled(&samples, |line| {
            let line = String::from_utf8_lossy(line);
            if let Some(entry) = parse(&line) {
                understood += 1;
                let _ = (entry.is_held(), entry.is_for_a_turn(), entry.is_slot());
                let _ = entry.is_for_a_slot();
                let _ = (
                    entry.slot_count(),
                    entry.wanted(),
                    entry.is_same_lock(&entry),
                );
            }
        });
        assert!(understood > 1000, "only {understood}");
    }
}
